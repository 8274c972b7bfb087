// SPDX-License-Identifier: GPL-2.0-only

//! The tree of a domain: how its files are made, and their owner is changed.

use crate::{
    data::{
        item::{
            Node,
            DATA, //
        },
        restore::{
            look_up,
            make_empty, //
        }, //
    },
    domain::Domain,
    files::{
        attr::ControlFile,
        fds::{
            FdPreserve,
            FdUnpreserve,
            FD_PRESERVE,
            FD_UNPRESERVE, //
        },
        restore_dir::{
            self,
            fd_restore,
            RestoreDir,
            FD_RESTORE,
            FIRST, //
        },
        state::{
            ErrorFile,
            StateFile, //
        }, //
    },
    gate,
    identity::ino,
    types::KexecFs,
    watch::{
        notify_control,
        ERROR,
        STATE, //
    },
    words::options::Options, //
};
use kernel::{
    fs::{
        file::LocalFile,
        Dentry,
        DirContext,
        FileOperations,
        FileOps,
        Found,
        Inode,
        InodeOperations,
        InodeOps,
        Lookup,
        Mode,
        NewInode,
        SetAttr,
        SuperBlock, //
    },
    prelude::*,
    static_lock_class,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

/// Builds the tree below `root`.
pub(crate) fn make_tree(
    sb: &SuperBlock<KexecFs>,
    root: &Dentry<KexecFs>,
    options: &Options,
) -> Result {
    let domain = sb.info();
    let generation = domain.identity.generation();
    let file = |name, ino, permissions, ops| -> Result {
        let node = KBox::new(Node::Control, GFP_KERNEL_ACCOUNT)?;
        let mut inode = NewInode::new(sb, Mode::reg(permissions), node)?;

        inode.set_handle(ino, generation);
        inode.set_owner(options.uid, options.gid);
        inode.set_inode_ops(InodeOps::file::<ControlFile>())?;
        inode.set_file_ops(ops)?;
        root.start_creating(name)?.make_persistent(inode)?;
        Ok(())
    };

    file(STATE, ino::STATE, 0o644, FileOps::new::<StateFile>())?;
    file(ERROR, ino::ERROR, 0o444, FileOps::new::<ErrorFile>())?;
    file(
        FD_PRESERVE,
        ino::FD_PRESERVE,
        0o600,
        FileOps::new::<FdPreserve>(),
    )?;
    file(
        FD_UNPRESERVE,
        ino::FD_UNPRESERVE,
        0o200,
        FileOps::new::<FdUnpreserve>(),
    )?;

    let node = KBox::new(Node::Control, GFP_KERNEL_ACCOUNT)?;
    let mut inode = NewInode::new(sb, Mode::dir(0o700), node)?;

    inode.set_handle(ino::FD_RESTORE, generation);
    inode.set_owner(options.uid, options.gid);
    inode.set_nlink(2);
    inode.set_inode_ops(InodeOps::dir::<RestoreDir>())?;
    inode.set_file_ops(FileOps::new::<RestoreDir>())?;
    domain.init_owner((options.uid, options.gid), inode.times().ctime);
    root.start_creating(FD_RESTORE)?.instantiate(inode)?;
    // One that came in is restored when somebody looks for it.
    match domain.tree() {
        Some(_) => Ok(()),
        None => make_empty(sb, root, options),
    }
}

/// Makes the root directory.
pub(crate) fn new_root<'a>(
    sb: &'a SuperBlock<KexecFs>,
    options: &Options,
) -> Result<NewInode<'a, KexecFs>> {
    let node = KBox::new(Node::Root, GFP_KERNEL_ACCOUNT)?;
    let mut root = NewInode::new(sb, Mode::dir(options.mode), node)?;

    root.set_handle(ino::ROOT, sb.info().identity.generation());
    root.set_owner(options.uid, options.gid);
    // Its name, its "." and the ".." of fd_restore and data.
    root.set_nlink(4);
    root.set_inode_ops(InodeOps::dir::<RootDir>())?;
    root.set_file_ops(FileOps::immutable_dir::<RootDir>())?;
    // It is held while `data` is looked up, and locks the inodes that this makes.
    root.set_lock_class(c"kexecfs root", static_lock_class!());
    Ok(root)
}

/// Changes the owner and mode of the tree of a mounted domain, as far as `options` differ.
///
/// # Errors
///
/// `EBUSY` if an inode is locked: a reader of a directory keeps its lock as long as it likes.
pub(crate) fn change_owner(
    root: &Dentry<KexecFs>,
    domain: &Domain,
    before: &Options,
    options: &Options,
) -> Result {
    let owner_stays = (before.uid, before.gid) == (options.uid, options.gid);
    let set_owner = |dentry: &Dentry<KexecFs>| -> Result {
        let inode = dentry.inode().ok_or(ENOENT)?.try_lock().ok_or(EBUSY)?;

        inode.set_owner(options.uid, options.gid);
        Ok(())
    };

    if before.mode != options.mode {
        let inode = root.inode().ok_or(ENOENT)?.try_lock().ok_or(EBUSY)?;

        inode.set_mode(Mode::dir(options.mode));
    }
    if owner_stays {
        return Ok(());
    }
    set_owner(root)?;
    for name in [STATE, ERROR, FD_PRESERVE, FD_UNPRESERVE] {
        let dentry = root.lookup_noperm_positive_unlocked(name)?;

        set_owner(&dentry)?;
    }
    restore_dir::change_owner(&*fd_restore(root.sb())?, domain, (options.uid, options.gid))
}

/// The root directory.
struct RootDir;

#[vtable]
impl InodeOperations for RootDir {
    type FileSystem = KexecFs;

    fn lookup<'a>(lookup: Lookup<'a, KexecFs>) -> Result<Found<'a, KexecFs>> {
        if lookup.name() == DATA.to_bytes() {
            look_up(lookup)
        } else {
            Ok(lookup.nothing())
        }
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        let inside = gate::enter()?;
        let attr = attr.prepare()?.ready()?;

        attr.dentry().sb().info().change_root(|| {
            attr.copy();
            let inode = attr.dentry().inode().ok_or(ENOENT)?;

            Ok((inode.uid(), inode.gid(), inode.mode().permissions()))
        })?;
        drop(inside);
        notify_control();
        Ok(())
    }
}

#[vtable]
impl FileOperations for RootDir {
    type FileSystem = KexecFs;
    type Data = Arc<Domain>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Arc<Domain>> {
        Ok(inode.sb().info().into())
    }

    /// There are the same names always. To list them is not to look for `data`, nor does it keep
    /// a task waiting that does.
    fn iterate_shared(domain: ArcBorrow<'_, Domain>, ctx: &mut DirContext<'_>) -> Result {
        if !ctx.emit_dots() {
            return Ok(());
        }
        let (file, dir) = (Mode::reg(0), Mode::dir(0));
        let entries = [
            (STATE, ino::STATE, file),
            (ERROR, ino::ERROR, file),
            (FD_PRESERVE, ino::FD_PRESERVE, file),
            (FD_UNPRESERVE, ino::FD_UNPRESERVE, file),
            (FD_RESTORE, ino::FD_RESTORE, dir),
            (DATA, domain.data_ino(), dir),
        ];
        let listed = usize::try_from(ctx.pos() - FIRST)?;

        for (name, ino, mode) in entries.into_iter().skip(listed) {
            if !ctx.emit(name.to_bytes(), ino, mode) {
                break;
            }
        }
        Ok(())
    }
}
