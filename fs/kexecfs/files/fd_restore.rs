// SPDX-License-Identifier: GPL-2.0-only

//! `fd_restore/NAME`: descriptors out of a domain.

use crate::{
    data::item::Node,
    domain::{
        Attr,
        Domain,
        Entry, //
    },
    files::{
        attr::set_attributes,
        command::{
            check_subject,
            report,
            succeeded, //
        }, //
    },
    gate::inside,
    types::KexecFs,
    words::failure::Failure, //
};
use kernel::{
    fmt::Write as _,
    fs::{
        file::{
            flags,
            receive_fd,
            LocalFile,
            Offset, //
        },
        File,
        FileOperations,
        GetAttr,
        Inode,
        InodeOperations,
        OpenFile,
        SetAttr, //
    },
    new_mutex,
    prelude::*,
    str::Formatter,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::UserSliceWriter, //
};

/// `fd_restore/NAME`: gives the reader a descriptor.
pub(super) struct FdRestore;

/// An open `fd_restore/NAME`.
#[pin_data]
pub(super) struct OpenEntry {
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
    /// The number and a newline, and how many bytes that is.
    text: [u8; TEXT_MAX],
    len: usize,
}

/// How long the text of a number can be: ten digits and a newline.
const TEXT_MAX: usize = 11;

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
        let text = given
            .as_ref()
            .and_then(|given| given.text.get(..given.len))
            .unwrap_or_default();

        to.write_slice_file(text, pos)
    }
}

#[vtable]
impl InodeOperations for FdRestore {
    type FileSystem = KexecFs;

    /// What is changed outlives the inode, in its entry.
    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        let inode = attr.inode();
        let Node::Entry(entry) = inode.data() else {
            return Err(EINVAL);
        };

        inode.sb().info().check_alive()?;
        let mut kept = KBox::new(Attr::of(inode), GFP_KERNEL_ACCOUNT)?;

        set_attributes(attr)?;
        *kept = Attr::of(inode);
        entry.set_attr(kept);
        Ok(())
    }

    /// `finish` removes all names without a look at their inodes.
    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        if matches!(attr.inode().data(), Node::Entry(entry) if entry.is_released()) {
            attr.set_nlink(0);
        }
        Ok(())
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

    let fd = receive_fd(&file, flags)
        .map_err(|e| Failure::new(e, "the descriptor could not be made"))?;
    let mut text = [0; TEXT_MAX];
    let mut f = Formatter::new(&mut text);

    // There is room for any number.
    let _ = f.write_fmt(fmt!("{fd}\n"));
    let len = f.bytes_written();

    Ok(Received {
        fd,
        file: address(&file),
        text,
        len,
    })
}
