// SPDX-License-Identifier: GPL-2.0-only

//! What the lock `Domain::table` guards: all of a domain that can be looked at.

use crate::{
    domain::entry::{
        Entry,
        Owner, //
    },
    handover::Tree,
    words::{
        failure::Failure,
        name::Name,
        options::Options,
        state::{
            Base,
            State,
            Status,
            Step, //
        }, //
    }, //
};
use kernel::{
    fs::Timespec,
    prelude::*,
    rbtree::RBTree,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// What can be looked at.
pub(super) struct Table {
    /// Changed by [`Table::advance`] only.
    status: Status,
    pub(super) options: Options,
    /// The names in `fd_preserve`: also of files that are about to be preserved.
    pub(super) preserved: RBTree<Name, Arc<Entry>>,
    /// How many of `preserved` there are, with and without their files.
    pub(super) slots: u32,
    pub(super) pending: u32,
    pub(super) restorable: RBTree<Name, Arc<Entry>>,
    /// The owner that the inodes of `restorable` have, or get, as far as it wasn't changed for one.
    pub(super) restorable_owner: Owner,
    /// The owner of `fd_restore`, and of what is preserved.
    pub(super) dir_owner: Owner,
    /// When all names in `fd_restore` got their owner.
    pub(super) owned: Timespec,
    /// `data/` as it came in, until somebody looks for it.
    pub(super) tree: Option<Arc<Tree>>,
    pub(super) failure: Option<Failure>,
    /// Until the domain is finished, if the previous kernel handed it over.
    pub(super) incoming: Option<Incoming>,
    /// How many bytes of records are serialized for the next kernel.
    pub(super) serialized: Option<usize>,
}

/// How a domain came in that waits to be finished.
pub(super) struct Incoming {
    pub(super) since: Instant<Monotonic>,
    /// For how many seconds it has waited in earlier kernels.
    pub(super) waited: u64,
    /// How many bytes of records came with it.
    pub(super) bytes: usize,
}

impl Incoming {
    /// For how many seconds nobody has finished the domain.
    fn waiting(&self) -> u64 {
        let here = u64::try_from(self.since.elapsed().as_millis() / 1000).unwrap_or(0);

        self.waited.saturating_add(here)
    }
}

impl Table {
    pub(super) fn new(
        options: Options,
        restorable: RBTree<Name, Arc<Entry>>,
        tree: Option<Arc<Tree>>,
        incoming: Option<Incoming>,
    ) -> Self {
        let base = match incoming {
            Some(_) => Base::Updated,
            None => Base::Normal,
        };

        Self {
            status: Status::new(base),
            options,
            preserved: RBTree::new(),
            slots: 0,
            pending: 0,
            restorable,
            restorable_owner: (options.uid, options.gid),
            dir_owner: (options.uid, options.gid),
            owned: Timespec::default(),
            tree,
            failure: None,
            incoming,
            serialized: None,
        }
    }

    /// Sets the owner of `fd_restore` and of the names in it that have none of their own.
    pub(super) fn set_owner(&mut self, owner: Owner, now: Timespec) {
        self.restorable_owner = owner;
        self.dir_owner = owner;
        self.owned = now;
    }

    /// The files that are preserved, in the order of their names.
    pub(super) fn preserved(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.preserved.values().filter(|entry| entry.is_held())
    }

    pub(super) fn status(&self) -> Status {
        self.status
    }

    pub(super) fn state(&self) -> State {
        self.status.state(!self.restorable.is_empty())
    }

    /// For how many seconds descriptors that were handed over have waited to be finished, over all
    /// kernels, if there are any.
    pub(super) fn waiting(&self) -> Option<u64> {
        if self.restorable.is_empty() {
            return None;
        }
        self.incoming.as_ref().map(Incoming::waiting)
    }

    /// Takes a step, and returns where it has led.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the status forbids it.
    pub(super) fn advance(&mut self, step: Step) -> Result<Status> {
        self.status = self.status.after(step)?;
        Ok(self.status)
    }

    /// # Errors
    ///
    /// `EBUSY` if the status forbids the step.
    pub(super) fn check_step(&self, step: Step) -> Result<(), Failure> {
        match self.status.after(step) {
            Ok(_) => Ok(()),
            Err(e) if self.status.is_preparing() => Err(Failure::new(e, "it is being prepared")),
            Err(e) => Err(Failure::new(e, self.state().forbids())),
        }
    }

    /// # Errors
    ///
    /// `EBUSY` unless the domain is in the state `state`, and stays so: while it is being prepared
    /// nothing is added or removed.
    pub(super) fn check_state(&self, state: State) -> Result<(), Failure> {
        if self.state() != state {
            Err(Failure::new(EBUSY, self.state().forbids()))
        } else if self.status.is_preparing() {
            Err(Failure::new(EBUSY, "it is being prepared"))
        } else {
            Ok(())
        }
    }

    /// # Errors
    ///
    /// `EBUSY` if the domain is serialized, or is just being so.
    pub(super) fn check_mutable(&self) -> Result {
        if self.status.is_open() {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Why the domain can't be serialized yet, if a file is just being preserved.
    pub(super) fn pending_failure(&self) -> Option<Failure> {
        if self.pending == 0 {
            return None;
        }
        self.preserved
            .values()
            .find(|entry| !entry.is_held())
            .map(|entry| Failure::new(EBUSY, "it is still being preserved").of_file(&entry.name))
    }
}
