// SPDX-License-Identifier: GPL-2.0-only

//! `fd_restore`: descriptors out of a domain.
//!
//! Its entries are those of the files that the domain holds, whether they are preserved or were
//! handed over.

use crate::{
    data::item::Node,
    domain::{
        Domain,
        Entry, //
    },
    files::{
        attr::{
            set_attributes,
            ControlFile, //
        },
        command::{
            check_subject,
            report,
            succeeded, //
        },
        text::append, //
    },
    gate::inside,
    types::KexecFs,
    watch::{
        notify,
        notify_control,
        STATE, //
    },
    words::{
        failure::Failure,
        name::Name, //
    }, //
};
use kernel::{
    fs::{
        file::{
            flags,
            receive_fd,
            LocalFile,
            Offset, //
        },
        Creating,
        Dentry,
        DentryRef,
        File,
        FileOperations,
        FileOps,
        Inode,
        InodeOperations,
        InodeOps,
        Mode,
        NewInode,
        OpenFile,
        SetAttr,
        SuperBlock,
        Unlink, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::UserSliceWriter, //
};

/// Its name in the root of a domain.
pub(super) const FD_RESTORE: &CStr = c"fd_restore";

/// The directory `fd_restore`, once the domain is mounted.
pub(super) fn fd_restore(sb: &SuperBlock<KexecFs>) -> Result<DentryRef<'_, KexecFs>> {
    sb.root()
        .ok_or(ENOENT)?
        .lookup_noperm_positive_unlocked(FD_RESTORE)
}

/// Makes the inode of an entry, which belongs to the owner of the directory.
pub(super) fn new_entry<'a>(
    fd_restore: &'a Dentry<KexecFs>,
    entry: &Arc<Entry>,
) -> Result<NewInode<'a, KexecFs>> {
    let sb = fd_restore.sb();
    let dir = fd_restore.inode().ok_or(ENOENT)?;
    let node = KBox::new(Node::Entry(entry.clone()), GFP_KERNEL_ACCOUNT)?;
    let mut inode = NewInode::new(sb, Mode::reg(0o400), node)?;

    inode.set_ino(sb.info().identity.new_ino()?);
    inode.set_owner(dir.uid(), dir.gid());
    inode.set_inode_ops(InodeOps::file::<ControlFile>())?;
    inode.set_file_ops(FileOps::new::<FdRestore>())?;
    Ok(inode)
}

/// Looks up a name for an entry whose file is about to be preserved, and locks the directory.
///
/// The domain has reserved it: what has the name already is an entry that was released, which some
/// task has still to remove.
pub(super) fn create_entry<'a>(
    fd_restore: &'a Dentry<KexecFs>,
    name: &Name,
) -> Result<Creating<'a, KexecFs>> {
    match fd_restore.start_creating(name.as_c_str()) {
        Err(e) if e == EEXIST => {
            remove_released(fd_restore, name);
            fd_restore.start_creating(name.as_c_str())
        }
        result => result,
    }
}

/// Removes the name of an entry that was released, but not that of a later one.
///
/// Outside the gate: a reader of the directory keeps its lock as long as it likes. A name that
/// stays for want of memory gives `ESTALE`.
pub(super) fn remove_released(fd_restore: &Dentry<KexecFs>, name: &Name) {
    fd_restore.remove_by_name(
        name.as_c_str(),
        |inode| matches!(inode.data(), Node::Entry(entry) if entry.is_released()),
    );
}

/// The directory `fd_restore`.
pub(super) struct RestoreDir;

#[vtable]
impl InodeOperations for RestoreDir {
    type FileSystem = KexecFs;

    fn unlink(unlink: Unlink<'_, KexecFs>) -> Result {
        let inode = unlink.dentry().inode().ok_or(ENOENT)?;
        let Node::Entry(entry) = inode.data() else {
            return Err(EPERM);
        };
        let sb = inode.sb();

        let is_change = inside(|| sb.info().release_entry(entry))
            .map_err(|failure| report(sb, failure.of_file(&entry.name)))?;

        succeeded(sb);
        if is_change {
            notify(sb, STATE);
        }
        notify_control();
        unlink.simple_unlink()
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        attr.inode().sb().info().check_alive()?;
        set_attributes(attr)
    }
}

/// `fd_restore/NAME`: gives the reader a descriptor.
struct FdRestore;

/// An open `fd_restore/NAME`.
#[pin_data]
struct OpenEntry {
    domain: Arc<Domain>,
    entry: Arc<Entry>,
    /// The descriptor of the last reader. It is kept, since a shell reads byte by byte.
    #[pin]
    given: Mutex<Option<Received>>,
}

/// A descriptor that a reader got.
struct Received {
    fd: u32,
    /// The address of its file, which is only compared: no other file has it before the entry is
    /// released, since the domain keeps the file until then.
    file: usize,
    /// The number and a newline.
    text: KVVec<u8>,
}

impl Received {
    /// Whether the current process has the descriptor. A task that
    /// inherited the open file by a fork() may not.
    fn is_here(&self, control: &OpenFile<'_, KexecFs>) -> bool {
        control
            .fget(self.fd)
            .is_ok_and(|file| address(&file) == self.file)
    }
}

fn address(file: &File) -> usize {
    core::ptr::from_ref(file).addr()
}

#[vtable]
impl FileOperations for FdRestore {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenEntry>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        let Node::Entry(entry) = inode.data() else {
            return Err(EINVAL);
        };

        let domain = inode.sb().info();
        let open = KBox::pin_init(
            pin_init!(OpenEntry {
                domain: domain.into(),
                entry: entry.clone(),
                given <- new_mutex!(None, "OpenEntry::given"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;

        domain.used(inode.sb());
        Ok(open)
    }

    fn read(
        open: Pin<&OpenEntry>,
        file: &OpenFile<'_, KexecFs>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        check_subject(file)?;
        open.domain.check_alive()?;
        let mut given = open.given.lock();

        if given.is_some() && open.entry.is_released() {
            return Err(ESTALE);
        }
        if !given.as_ref().is_some_and(|given| given.is_here(file)) {
            // No descriptor for a reader that doesn't get its number.
            if to.is_empty() || *pos != 0 {
                return Ok(0);
            }
            let new = restore(&open, file)
                .map_err(|failure| report(file.sb(), failure.of_file(&open.entry.name)))?;

            *given = Some(new);
            succeeded(file.sb());
        }
        let text = given.as_ref().map_or(&[][..], |given| &given.text);

        to.write_slice_file(text, pos)
    }
}

/// Puts the file into the table of the current process.
fn restore(open: &OpenEntry, control: &LocalFile) -> Result<Received, Failure> {
    let file = inside(|| open.domain.retrieve(&open.entry))?;

    // open(2) doesn't tell a file of O_CLOEXEC: the descriptor that is read from has it.
    let flags = if control.get_close_on_exec() {
        flags::O_CLOEXEC
    } else {
        0
    };

    let mut text = KVVec::with_capacity(20, GFP_KERNEL_ACCOUNT)?;
    let fd = receive_fd(&file, flags)
        .map_err(|e| Failure::new(e, "the descriptor could not be made"))?;

    append(&mut text, fmt!("{fd}\n"))?;
    Ok(Received {
        fd,
        file: address(&file),
        text,
    })
}
