// SPDX-License-Identifier: GPL-2.0-only

//! `state` and `error`.

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
            fd_restore,
            look_up_all_watched,
            remove_all,
            Watched, //
        },
        text::{
            append,
            OpenText, //
        }, //
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
        name::COMMAND_MAX,
        state::{
            Event,
            State, //
        }, //
    }, //
};
use kernel::{
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        file_ops::poll,
        File,
        FileOperations,
        Inode,
        OpenFile,
        SuperBlock, //
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

/// `state`: shows the state, takes events.
pub(crate) struct StateFile;

#[vtable]
impl FileOperations for StateFile {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenText<Arc<Domain>>>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        let domain = inode.sb().info();
        let open = OpenText::new(domain.into(), domain.state_changes())?;

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
            open.mark_seen(open.source.state_changes());
            open.source.check_alive()?;
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
            (Err(e), _) => Err(Failure::new(
                e,
                "the writer is not the subject that opened the file",
            )),
            (_, Err(e)) => Err(Failure::new(
                e,
                "no event, which are: prepare, cancel, finish",
            )),
            (Ok(()), Ok(None)) => return domain.check_alive().map(|()| len),
            (Ok(()), Ok(Some(Event::Prepare))) => domain.prepare(file.sb()),
            (Ok(()), Ok(Some(Event::Cancel))) => inside(|| domain.cancel()),
            (Ok(()), Ok(Some(Event::Finish))) => finish(domain, file.sb()),
        };
        let sb = file.sb();

        result.map_err(|failure| report(sb, failure))?;
        // Outside the gate, as all that follows.
        domain.used(sb);
        domain.keep(sb);
        succeeded(sb);
        notify(sb, STATE);
        notify_control();
        Ok(len)
    }

    fn poll(open: Pin<&OpenText<Arc<Domain>>>, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, open.source.changed());
        open.poll(open.source.state_changes()) | poll::OUT
    }
}

/// Finishes the domain, and removes the names of the files that were handed over.
fn finish(domain: &Domain, sb: &SuperBlock<KexecFs>) -> Result<(), Failure> {
    let dir = fd_restore(sb)?;

    let watched = if domain.state() == State::Updated {
        look_up_all_watched(&dir, domain)
    } else {
        Watched::new()
    };
    let _releasing = domain.releasing();
    let released = inside(|| domain.finish())?;

    // Outside the gate: a reader of the directory keeps its lock as long as it likes.
    if !released.is_empty() {
        remove_all(&dir, &released, watched);
    }
    Ok(())
}

/// `error`: shows why the last command failed.
pub(crate) struct ErrorFile;

#[vtable]
impl FileOperations for ErrorFile {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenText<Arc<Domain>>>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        let domain = inode.sb().info();
        let open = OpenText::new(domain.into(), domain.error_changes())?;

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
            open.mark_seen(open.source.error_changes());
            open.source.check_alive()?;
            open.source.error_line(text)
        })
    }

    fn poll(open: Pin<&OpenText<Arc<Domain>>>, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, open.source.changed());
        open.poll(open.source.error_changes())
    }
}
