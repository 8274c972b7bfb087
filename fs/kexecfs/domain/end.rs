// SPDX-License-Identifier: GPL-2.0-only

//! The ends of a domain: it is discarded, or dropped with its last mount.

use super::{
    fds::Released,
    op::DataFile,
    Domain, //
};
use crate::{
    types::KexecFs,
    words::{
        options::Options,
        state::Step, //
    }, //
};
use kernel::{
    fs::ActiveSuper,
    liveupdate::IncomingSession,
    prelude::*,
    sync::atomic::Relaxed, //
};

/// What is left of a domain that has been discarded.
pub(crate) struct Discarded {
    /// Whether its LUO session isn't its own, or no more.
    pub(crate) unclaimed: bool,
    _kept: Option<ActiveSuper<KexecFs>>,
    _undone: KVVec<DataFile>,
}

impl Domain {
    /// Drops all that the domain holds, for good. `mounted` says whether there is a superblock.
    ///
    /// The caller is inside the gate, and drops what is returned after it has left it: that may be
    /// the end of the superblock.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the domain is in use and `force` isn't given.
    pub(crate) fn discard(&self, mounted: bool, force: bool) -> Result<Discarded> {
        if mounted && !force && !self.is_only_kept() {
            return Err(EBUSY);
        }
        // A task that prepares or preserves just now finds that under `op`, and undoes what it did.
        self.discarded.store(true, Relaxed);
        let undone = {
            let mut op = self.op.lock();

            self.unpreserve_all(&mut op)
        };

        let cleared = self.clear();

        if let Err(e) = &cleared {
            pr_err!("{}: its LUO session can't be finished: {e:?}\n", self.name);
        }
        // No status forbids that.
        let _ = self.table.lock().advance(Step::Discard);

        self.error_changes.add(1, Relaxed);
        self.state_has_changed();
        Ok(Discarded {
            unclaimed: cleared.is_err() || !self.claimed.load(Relaxed),
            _kept: self.kept.lock().take(),
            _undone: undone,
        })
    }

    /// Drops all that a domain holds which is not kept, so that it is as new.
    pub(crate) fn clear(&self) -> Result {
        self.forget_tree();
        let options = Options::new()?;
        let mut op = self.op.lock();
        let mut table = self.table.lock();
        let preserved = Released::new(core::mem::take(&mut table.preserved));
        let restorable = Released::new(core::mem::take(&mut table.restorable));
        let failure = table.failure.take();

        // A task that is still waiting in hold() releases its own slot.
        table.slots = table.pending;
        table.options = options;
        table.incoming = None;
        drop(table);
        self.space.uncharge_bytes(preserved.bytes);
        self.space.uncharge_bytes(restorable.bytes);
        // What else counts is given back as the inodes go, with the superblock.
        self.space.reset_limits(&options);
        op.outgoing = None;
        op.next_token = 0;
        op.nr_unretrieved = 0;
        let finished = op.incoming.take().map(IncomingSession::finish);

        drop(op);
        drop((preserved, restorable, failure));
        if let Some(Err((_, e))) = finished {
            return Err(e);
        }
        Ok(())
    }
}
