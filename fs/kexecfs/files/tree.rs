// SPDX-License-Identifier: GPL-2.0-only

//! The tree of a domain, and its files `state` and `error`.

use crate::{
    data::{
        item::Node,
        restore::make_data, //
    },
    domain::Domain,
    files::{
        command::{
            check_subject,
            read_command,
            report,
            set_attributes,
            succeeded, //
        },
        fds::{
            FdPreserve,
            FdRestore,
            FdUnpreserve, //
        },
        text::{
            append,
            OpenText, //
        }, //
    },
    gate::{
        self,
        inside, //
    },
    identity::ino,
    types::KexecFs,
    watch::{
        tell,
        tell_control,
        ERROR,
        STATE, //
    },
    words::{
        failure::Failure,
        name::COMMAND_MAX,
        options::Options,
        state::Event, //
    }, //
};
use kernel::{
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        file_ops::poll,
        Dentry,
        File,
        FileOperations,
        FileOps,
        Inode,
        InodeOperations,
        InodeOps,
        Mode,
        NewInode,
        OpenFile, //
        SetAttr,
        SuperBlock,
        Unlink,
    },
    prelude::*,
    sync::{
        poll::PollTable,
        Arc, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    },
};

const FD_PRESERVE: &CStr = c"fd_preserve";
const FD_UNPRESERVE: &CStr = c"fd_unpreserve";
const FD_RESTORE: &CStr = c"fd_restore";

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
        inode.set_inode_ops(InodeOps::file::<Control>());
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
    inode.set_inode_ops(InodeOps::dir::<RestoreDir>());
    inode.set_file_ops(FileOps::simple_dir())?;
    let fd_restore = root.start_creating(FD_RESTORE)?.make_persistent(inode)?;

    for entry in domain.restorable()?.iter() {
        let node = KBox::new(Node::Entry(entry.clone()), GFP_KERNEL_ACCOUNT)?;
        let mut inode = NewInode::new(sb, Mode::reg(0o400), node)?;

        inode.set_ino(domain.identity.new_ino()?);
        inode.set_owner(options.uid, options.gid);
        inode.set_inode_ops(InodeOps::file::<Control>());
        inode.set_file_ops(FileOps::new::<FdRestore>())?;
        fd_restore
            .start_creating(entry.name.as_c_str())?
            .make_persistent(inode)?;
    }
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
    root.set_inode_ops(InodeOps::dir::<Root>());
    root.set_file_ops(FileOps::simple_dir())?;
    Ok(root)
}

/// Changes the owner and mode of the tree of a mounted domain, as far as `options` differ.
///
/// # Errors
///
/// `EBUSY` if an inode is locked: who reads a directory keeps its lock as long as it likes.
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
    let fd_restore = root.lookup_noperm_positive_unlocked(FD_RESTORE)?;

    set_owner(&fd_restore)?;
    for name in [STATE, ERROR, FD_PRESERVE, FD_UNPRESERVE] {
        let dentry = root.lookup_noperm_positive_unlocked(name)?;

        set_owner(&dentry)?;
    }
    for entry in domain.restorable()?.iter() {
        // One that is released meanwhile needs no owner.
        if let Ok(dentry) = fd_restore.lookup_noperm_positive_unlocked(entry.name.as_c_str()) {
            set_owner(&dentry)?;
        }
    }
    Ok(())
}

/// The root directory.
struct Root;

#[vtable]
impl InodeOperations for Root {
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
        tell_control();
        Ok(())
    }
}

/// A control file. Its owner and mode can be changed, and hold until the domain is unmounted.
struct Control;

#[vtable]
impl InodeOperations for Control {
    type FileSystem = KexecFs;

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        attr.inode().sb().info().alive()?;
        set_attributes(attr)
    }
}

/// The directory `fd_restore`.
struct RestoreDir;

#[vtable]
impl InodeOperations for RestoreDir {
    type FileSystem = KexecFs;

    fn unlink(unlink: Unlink<'_, KexecFs>) -> Result {
        let inode = unlink.dentry().inode().ok_or(ENOENT)?;
        let Node::Entry(entry) = inode.data() else {
            return Err(EPERM);
        };
        let sb = inode.sb();

        inside(|| sb.info().release_entry(entry))
            .map_err(|failure| report(sb, failure.of_file(&entry.name)))?;
        succeeded(sb);
        tell_control();
        unlink.simple_unlink()
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        attr.inode().sb().info().alive()?;
        set_attributes(attr)
    }
}

/// `state`: shows the state, takes events.
pub(crate) struct StateFile;

#[vtable]
impl FileOperations for StateFile {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenText<Arc<Domain>>>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        let domain = inode.sb().info();

        OpenText::new(domain.into(), domain.state_changes())
    }

    fn read(
        open: Pin<&OpenText<Arc<Domain>>>,
        file: &OpenFile<'_, KexecFs>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            open.see(open.source.state_changes());
            open.source.alive()?;
            append(text, fmt!("{}\n", open.source.state().as_str()))
        })
    }

    fn write(
        open: Pin<&OpenText<Arc<Domain>>>,
        file: &OpenFile<'_, KexecFs>,
        from: &mut UserSliceReader,
    ) -> Result<usize> {
        let len = from.len();
        let mut buf = [0; COMMAND_MAX];
        let event = read_command(from, &mut buf, Event::from_bytes);
        let domain = &open.source;
        let result = match (check_subject(file), event) {
            (Err(e), _) => Err(Failure::new(e, "the writer isn't who opened the file")),
            (_, Err(e)) => Err(Failure::new(
                e,
                "no event, which are: prepare, cancel, finish",
            )),
            (Ok(()), Ok(None)) => return domain.alive().map(|()| len),
            (Ok(()), Ok(Some(Event::Prepare))) => domain.prepare(file.sb()).map(|()| None),
            (Ok(()), Ok(Some(Event::Cancel))) => inside(|| domain.cancel()).map(|()| None),
            (Ok(()), Ok(Some(Event::Finish))) => inside(|| domain.finish()).map(Some),
        };
        let sb = file.sb();
        let released = result.map_err(|failure| report(sb, failure))?;

        // Outside the gate, as what follows.
        domain.keep(sb);
        let fd_restore = sb
            .root()
            .map(|root| root.lookup_noperm_positive_unlocked(FD_RESTORE));

        // Outside the gate: who reads the directory keeps its lock as long as it likes. A name that
        // stays for want of memory gives ESTALE.
        if let (Some(Ok(fd_restore)), Some(released)) = (fd_restore, released) {
            for name in released.names() {
                fd_restore.remove_by_name(name.as_c_str());
            }
        }
        succeeded(sb);
        tell(sb, STATE);
        tell_control();
        Ok(len)
    }

    fn poll(open: Pin<&OpenText<Arc<Domain>>>, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, open.source.changed());
        open.poll(open.source.state_changes()) | poll::OUT
    }
}

/// `error`: shows why the last command failed.
pub(crate) struct ErrorFile;

#[vtable]
impl FileOperations for ErrorFile {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenText<Arc<Domain>>>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        let domain = inode.sb().info();

        OpenText::new(domain.into(), domain.error_changes())
    }

    fn read(
        open: Pin<&OpenText<Arc<Domain>>>,
        file: &OpenFile<'_, KexecFs>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            open.see(open.source.error_changes());
            open.source.alive()?;
            open.source.error_line(text)
        })
    }

    fn poll(open: Pin<&OpenText<Arc<Domain>>>, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, open.source.changed());
        open.poll(open.source.error_changes())
    }
}
