// SPDX-License-Identifier: GPL-2.0-only

//! Descriptors into a domain: `fd_preserve` and `fd_unpreserve`.

use crate::{
    domain::Domain,
    files::{
        command::{
            check_subject,
            read_command,
            report,
            succeeded, //
        },
        restore_dir::{
            add_name,
            fd_restore,
            look_up_watched,
            remove_name, //
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
            fmode,
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
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    },
};

/// Names in the root of a domain.
pub(super) const FD_PRESERVE: &CStr = c"fd_preserve";
pub(super) const FD_UNPRESERVE: &CStr = c"fd_unpreserve";

const NO_HANDLER: &str =
    "LUO has no handler for this kind of file, but for memfds and unlinked files of a tmpfs";

/// `fd_preserve`: preserves a descriptor of the writer, lists the files of the domain.
pub(crate) struct FdPreserve;

#[vtable]
impl FileOperations for FdPreserve {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenText<Arc<Domain>>>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        let domain = inode.sb().info();
        let open = OpenText::new(domain.into(), 0)?;

        domain.used(inode.sb());
        Ok(open)
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

    let entry = inside(|| domain.reserve(name))?;

    // Outside the gate and without a lock: a writer may keep the file as long as it likes, and a
    // cgroup may let its members wait for memory.
    let preserved = hold(file).and_then(|held| {
        let mut room = domain.make_room(&held, 0)?;

        held.populate()
            .map_err(|e| Failure::new(e, "its holes could not be filled").or_no_memory())?;
        domain.fit_room(&mut room, &held, 0)?;
        inside(|| domain.preserve(&entry, held, room))
    });

    preserved.inspect_err(|_| domain.unreserve(&entry))?;
    add_name(control.sb(), domain, &entry);
    Ok(())
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
        let domain = inode.sb().info();

        domain.used(inode.sb());
        Ok(domain.into())
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
                unpreserve(&domain, file, &name).map_err(|failure| failure.of_file(&name))
            }
        }
        .map_err(|failure| report(file.sb(), failure))?;
        succeeded(file.sb());
        notify_control();
        Ok(len)
    }
}

/// Unpreserves the file `name`, and removes its name.
fn unpreserve(
    domain: &Domain,
    control: &OpenFile<'_, KexecFs>,
    name: &Name,
) -> Result<(), Failure> {
    let dir = fd_restore(control.sb())?;

    let _watched = look_up_watched(&dir, name);
    let _releasing = domain.releasing();
    let entry = inside(|| domain.unpreserve(name))?;

    remove_name(&dir, &entry);
    domain.set_names_changed();
    Ok(())
}
