// SPDX-License-Identifier: GPL-2.0-only

//! The tree of a domain: how its files are made, and their owner is changed.

use crate::{
    data::{
        item::Node,
        restore::make_data, //
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
            FD_RESTORE, //
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
        Dentry,
        FileOps,
        InodeOperations,
        InodeOps,
        Mode,
        NewInode,
        SetAttr,
        SuperBlock, //
    },
    prelude::*,
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
    make_data(sb, root, options, domain.tree().as_ref())
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
    root.set_file_ops(FileOps::simple_dir())?;
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
