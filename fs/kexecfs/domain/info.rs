// SPDX-License-Identifier: GPL-2.0-only

//! What the machine-wide view shows of a domain.

use super::Domain;
use crate::words::{
    options::Options,
    state::State, //
};
use kernel::fmt;

/// What the machine-wide view shows of a domain.
pub(crate) struct DomainInfo {
    pub(crate) state: State,
    pub(crate) mounted: bool,
    pub(crate) files: u64,
    pub(crate) inodes: u64,
    pub(crate) bytes: u64,
    /// In bytes of records.
    pub(crate) handed_over: usize,
    pub(crate) options: Options,
    /// In seconds.
    pub(crate) waiting: Option<u64>,
}

/// What a domain holds, for the log when it is dropped.
pub(crate) struct Holdings {
    files: u64,
    entries: u64,
    bytes: u64,
}

impl Holdings {
    pub(crate) fn is_empty(&self) -> bool {
        self.files == 0 && self.entries == 0
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "preserved files: {}, entries of data/: {}, bytes: {}",
            self.files, self.entries, self.bytes
        )
    }
}

impl Domain {
    /// What the domain holds. Takes leaves only.
    pub(crate) fn holdings(&self) -> Holdings {
        let info = self.info(false);

        Holdings {
            files: info.files,
            // One is `data/` itself.
            entries: info.inodes.saturating_sub(1),
            bytes: info.bytes,
        }
    }

    /// What `domains` shows of the domain. `mounted` says whether there is a superblock.
    pub(crate) fn info(&self, mounted: bool) -> DomainInfo {
        let usage = self.space.usage();
        let mounted = mounted && !self.is_only_kept();
        let table = self.table.lock();
        let files = u64::from(table.slots) + table.restorable.values().count() as u64;
        let mut bytes = usage.bytes();

        // Once it is prepared that counts for the limit.
        if table.serialized.is_none() {
            bytes = table
                .restorable
                .values()
                .fold(bytes, |sum, entry| sum.saturating_add(entry.grown_by()));
        }
        DomainInfo {
            state: table.state(),
            mounted,
            files,
            inodes: usage.inodes(),
            bytes,
            handed_over: table
                .serialized
                .or(table.incoming.as_ref().map(|incoming| incoming.bytes))
                .unwrap_or(0),
            options: table.options,
            waiting: table.waiting(),
        }
    }
}
