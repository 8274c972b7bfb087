// SPDX-License-Identifier: GPL-2.0-only

//! What the lock `Domain::op` guards, and what a prepare holds until it is there.

use crate::{
    domain::entry::Entry,
    handover::Records,
    space::Reservation,
    words::{
        failure::Failure,
        name::Name, //
    }, //
};
use kernel::{
    fs::{
        File,
        Path, //
    },
    liveupdate::{
        HeldFile,
        IncomingSession,
        OutgoingSession, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// A domain's dealings with LUO and KHO.
#[derive(Default)]
pub(super) struct Op {
    pub(super) outgoing: Option<OutgoingSession>,
    pub(super) incoming: Option<IncomingSession>,
    /// What is serialized for the next kernel, from `prepare` on.
    pub(super) records: Option<Records>,
    /// The tokens of all that a prepare has put into the outgoing session, in that order.
    pub(super) prepared: KVVec<u64>,
    /// Those of them that are files of `data/`, in the order of their tokens.
    pub(super) data_files: KVVec<DataFile>,
    /// Those that are files in `fd_restore`.
    pub(super) carried: KVVec<CarriedFile>,
    pub(super) next_token: u64,
    /// How many files of `data/` are in the incoming session.
    pub(super) nr_unretrieved: u32,
    /// What a prepare held that failed, if what it did was not undone: a reboot goes on without the
    /// domain.
    pub(super) unfinished: Option<KVVec<HeldData>>,
}

/// A file of `data/` whose pages are preserved.
pub(crate) struct DataFile {
    pub(super) token: u64,
    /// Where the record of its inode lies in the stream, once that is written.
    pub(super) at: Option<usize>,
    pub(super) inner: Path,
    /// What it has in large pages beyond what it counts, which counts as long as it is pinned.
    pub(super) excess: u64,
}

/// A file in `fd_restore` that is carried, or was restored and is preserved anew.
pub(super) struct CarriedFile {
    pub(super) entry: Arc<Entry>,
    pub(super) size: u64,
    /// How many bytes more than before it counts for the limit, if it has been restored.
    pub(super) counted: u64,
}

/// A file of `data/` that a prepare holds, to preserve its pages.
pub(crate) struct HeldData {
    pub(crate) inner: Path,
    name: Option<Name>,
    /// Between the hold and the preservation.
    pub(crate) held: Option<HeldFile>,
}

impl HeldData {
    /// One that is not held yet.
    pub(crate) fn new(inner: Path, name: Option<Name>) -> Self {
        Self {
            inner,
            name,
            held: None,
        }
    }

    /// Why it can't be held or preserved.
    pub(crate) fn failure(&self, e: Error) -> Failure {
        let reason = if e == EAGAIN {
            "a file in data/ is being written to"
        } else if e == ENOSPC {
            "the LUO session can't hold as many files"
        } else {
            "a file in data/ could not be held"
        };
        let failure = Failure::new(if e == EAGAIN { EBUSY } else { e }, reason).or_no_memory();

        match &self.name {
            Some(name) => failure.of_file(name),
            None => failure,
        }
    }
}

/// A file in `fd_restore` that has been restored, and is to be preserved anew.
pub(crate) struct HeldEntry<'a> {
    pub(crate) entry: Arc<Entry>,
    pub(crate) file: ARef<File>,
    /// Between the hold and the preservation, with the room for what it has grown by.
    pub(crate) held: Option<(HeldFile, Reservation<'a>)>,
}

impl HeldEntry<'_> {
    /// Why it can't be held or preserved.
    pub(crate) fn failure(&self, e: Error) -> Failure {
        if e == EAGAIN {
            Failure::new(EBUSY, "it was restored, and is being written to")
        } else {
            Failure::new(e, "it was restored, and can't be carried").or_no_memory()
        }
        .of_file(&self.entry.name)
    }
}
