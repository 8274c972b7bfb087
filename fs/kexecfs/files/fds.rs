// SPDX-License-Identifier: GPL-2.0-only

//! Descriptors in and out: `fd_preserve`, `fd_unpreserve` and `fd_restore/NAME`.

use crate::{
    data::item::Node,
    domain::{
        Domain,
        Entry, //
    },
    files::{
        command::{
            check_subject,
            read_command,
            report,
            succeeded, //
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
    types::KexecFs,
    watch::notify_control,
    words::{
        failure::Failure,
        name::{
            fd_and_name,
            Name,
            COMMAND_MAX, //
        }, //
    }, //
};
use kernel::{
    fs::{
        file::{
            flags,
            fmode,
            receive_fd,
            LocalFile,
            Offset, //
        },
        File,
        FileOperations,
        Inode,
        OpenFile, //
    },
    liveupdate::HeldFile,
    memalloc::MayFail,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    },
};

/// Names in the root of a domain.
pub(super) const FD_PRESERVE: &CStr = c"fd_preserve";
pub(super) const FD_UNPRESERVE: &CStr = c"fd_unpreserve";
pub(super) const FD_RESTORE: &CStr = c"fd_restore";

const NO_HANDLER: &str =
    "LUO has no handler for this kind of file, but for memfds and unlinked files of a tmpfs";

/// `fd_preserve`: preserves a descriptor of the writer, lists the files of the domain.
pub(crate) struct FdPreserve;

#[vtable]
impl FileOperations for FdPreserve {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenText<Arc<Domain>>>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        OpenText::new(inode.sb().info().into(), 0)
    }

    fn read(
        open: Pin<&OpenText<Arc<Domain>>>,
        file: &OpenFile<'_, KexecFs>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            let _inside = gate::enter()?;

            open.source.check_alive()?;
            open.source.for_each_file(|name, compatible, size| {
                text.extend_from_slice(name.as_bytes(), GFP_KERNEL_ACCOUNT)?;
                text.push(b'\t', GFP_KERNEL_ACCOUNT)?;
                text.extend_from_slice(compatible, GFP_KERNEL_ACCOUNT)?;
                append(text, fmt!("\t{size}\n"))
            })
        })
    }

    fn write(
        open: Pin<&OpenText<Arc<Domain>>>,
        file: &OpenFile<'_, KexecFs>,
        from: &mut UserSliceReader,
    ) -> Result<usize> {
        let len = from.len();
        let mut buf = [0; COMMAND_MAX];
        let command = read_command(from, &mut buf, fd_and_name);
        let domain = &open.source;

        match (check_subject(file), command) {
            (Err(e), _) => Err(Failure::new(
                e,
                "the writer is not the subject that opened the file",
            )),
            (_, Err(e)) if e == EBADF => Err(Failure::new(e, "there is no such descriptor")),
            (_, Err(e)) => Err(Failure::new(e, "no command, which is: FD or FD NAME")),
            (Ok(()), Ok(None)) => return domain.check_alive().map(|()| len),
            (Ok(()), Ok(Some((fd, name)))) => {
                preserve(domain, file, fd, &name).map_err(|failure| failure.of_file(&name))
            }
        }
        .map_err(|failure| report(file.sb(), failure))?;
        succeeded(file.sb());
        notify_control();
        Ok(len)
    }
}

/// Preserves the descriptor `fd` of the current process.
fn preserve(
    domain: &Domain,
    control: &OpenFile<'_, KexecFs>,
    fd: u32,
    name: &Name,
) -> Result<(), Failure> {
    let file = control.fget(fd).map_err(|e| {
        if e == ELOOP {
            Failure::new(EOPNOTSUPP, NO_HANDLER)
        } else {
            Failure::new(e, "there is no such descriptor")
        }
    })?;

    // A task that was given a file to read must not get it back to write.
    if file.f_mode() & (fmode::READ | fmode::WRITE) != fmode::READ | fmode::WRITE {
        return Err(Failure::new(EBADF, "it isn't open for reading and writing"));
    }
    // The memory that it takes grows with the file.
    let _mayfail = MayFail::new();

    inside(|| domain.reserve(name))?;

    // Outside the gate and without a lock: a writer may keep the file as long as it likes, and a
    // cgroup may let its members wait for memory.
    let preserved = hold(file).and_then(|held| {
        let mut room = domain.make_room(&held, 0)?;

        held.populate()
            .map_err(|e| Failure::new(e, "its holes could not be filled").or_no_memory())?;
        domain.fit_room(&mut room, &held, 0)?;
        inside(|| domain.preserve(name, held, room))
    });

    preserved.inspect_err(|_| domain.unreserve(name))
}

fn hold(file: ARef<File>) -> Result<HeldFile, Failure> {
    HeldFile::hold(file).map_err(|e| {
        if e == EOPNOTSUPP {
            Failure::new(e, NO_HANDLER)
        } else if e == EBUSY {
            Failure::new(e, "it is preserved already, here or elsewhere")
        } else {
            Failure::new(e, "it could not be held")
        }
    })
}

/// `fd_unpreserve`: takes a preserved file back.
pub(crate) struct FdUnpreserve;

#[vtable]
impl FileOperations for FdUnpreserve {
    type FileSystem = KexecFs;
    type Data = Arc<Domain>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        Ok(inode.sb().info().into())
    }

    fn write(
        domain: kernel::sync::ArcBorrow<'_, Domain>,
        file: &OpenFile<'_, KexecFs>,
        from: &mut UserSliceReader,
    ) -> Result<usize> {
        let len = from.len();
        let mut buf = [0; COMMAND_MAX];
        let name = read_command(from, &mut buf, Name::of_file);

        match (check_subject(file), name) {
            (Err(e), _) => Err(Failure::new(
                e,
                "the writer is not the subject that opened the file",
            )),
            (_, Err(e)) => Err(Failure::new(e, "no name of a file")),
            (Ok(()), Ok(None)) => return domain.check_alive().map(|()| len),
            (Ok(()), Ok(Some(name))) => {
                inside(|| domain.unpreserve(&name)).map_err(|failure| failure.of_file(&name))
            }
        }
        .map_err(|failure| report(file.sb(), failure))?;
        succeeded(file.sb());
        notify_control();
        Ok(len)
    }
}

/// `fd_restore/NAME`: gives the reader a descriptor.
pub(crate) struct FdRestore;

/// An open `fd_restore/NAME`.
#[pin_data]
pub(crate) struct OpenEntry {
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
    /// released, since LUO or the domain keeps the file until then.
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

        KBox::pin_init(
            pin_init!(OpenEntry {
                domain: inode.sb().info().into(),
                entry: entry.clone(),
                given <- new_mutex!(None, "OpenEntry::given"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
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
