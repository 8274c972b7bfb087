// SPDX-License-Identifier: GPL-2.0-only

//! The incoming LUO session of a domain.

use super::{
    entry::{
        counted,
        Entry, //
    },
    op::Op,
    Domain, //
};
use crate::words::name::Name;
use kernel::{
    cred::with_kernel_creds,
    fs::{
        file::Offset,
        File, //
    },
    liveupdate::{
        Compatible,
        IncomingSession, //
    },
    prelude::*,
    rbtree::RBTree,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc, //
    },
    workqueue::{
        self,
        WorkItem, //
    }, //
};

impl WorkItem for Domain {
    type Pointer = Arc<Domain>;

    fn run(this: Arc<Domain>) {
        this.release_given_up(&mut this.op.lock());
    }
}

impl Domain {
    /// Retrieves a file, which ends when the domain is discarded.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the domain is discarded, and those of [`IncomingSession::retrieve`].
    pub(super) fn retrieve_from(
        &self,
        session: &IncomingSession,
        token: u64,
    ) -> Result<ARef<File>> {
        session.retrieve(token, &self.discarded).map_err(|e| {
            // That may be why.
            self.check_alive().err().unwrap_or(e)
        })
    }

    /// Retrieves a file of `data/` for good.
    pub(super) fn retrieve_data(
        &self,
        op: &mut Op,
        token: u64,
        size: Offset,
    ) -> Result<ARef<File>> {
        self.check_alive()?;
        let session = op.incoming.as_ref().ok_or(EIO)?;
        // The task that opens it does not get this file: it is no business of the security module.
        // And a record without its file is no file that isn't there.
        let file = with_kernel_creds(|| self.retrieve_from(session, token));
        let file = file.map_err(|e| if e == ENOENT { EIO } else { e })?;

        if file.i_size_read() != size {
            // Each open of it says so.
            if self.messages.ratelimit(c"kexecfs") {
                pr_err!(
                    "{}: a file in data/ has another size than its record\n",
                    self.name
                );
            }
            return Err(EIO);
        }
        session.finish_file(token)?;
        op.nr_unretrieved = op.nr_unretrieved.saturating_sub(1);
        self.given_up.lock().expect_fewer();
        Ok(file)
    }

    /// Claims the session with the files that were handed over, unless that has been done.
    ///
    /// Files without a record get a name, and records without a file are dropped.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if LUO has no handler for one of them: there may be one later.
    pub(crate) fn claim(&self) -> Result {
        if self.claimed.load(Relaxed) {
            return Ok(());
        }
        self.claim_session()
            .map_err(|e| if e == ENODEV { EOPNOTSUPP } else { e })?;
        self.claimed.store(true, Relaxed);
        Ok(())
    }

    fn claim_session(&self) -> Result {
        let mut in_tree = RBTree::new();
        // A token means one file over many kexecs, also one whose contents are lost.
        let mut last = None;

        if let Some(tree) = self.tree() {
            for token in tree.tokens() {
                in_tree.try_create_and_insert(token, (), GFP_KERNEL)?;
                last = last.max(Some(token));
            }
        }
        let session = match IncomingSession::claim(self.session.as_c_str()) {
            Ok(session) => session,
            Err(e) if e == ENOENT => {
                self.lose_files();
                self.check_contents(in_tree);
                self.op.lock().next_token = after(last);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let mut files = KVVec::new();
        let mut nr_unretrieved = 0;

        session.for_each_file(&mut |token, compatible| {
            if in_tree.remove(&token).is_some() {
                nr_unretrieved += 1;
            } else {
                files.push((token, compatible), GFP_KERNEL)?;
            }
            last = last.max(Some(token));
            Ok(())
        })?;
        self.check_contents(in_tree);
        let old = core::mem::take(&mut self.table.lock().restorable);
        let there = match self.intersect(&old, &files) {
            Ok(there) => there,
            Err(e) => {
                self.table.lock().restorable = old;
                return Err(e);
            }
        };
        let mut op = self.op.lock();

        op.nr_unretrieved = nr_unretrieved;
        op.next_token = after(last);
        op.incoming = Some(session);
        self.space.uncharge_bytes(counted(&old));
        self.space.charge_bytes_force(counted(&there));
        self.table.lock().restorable = there;
        Ok(())
    }

    /// There is no session: drops the records of the files that were in it.
    fn lose_files(&self) {
        let lost = core::mem::take(&mut self.table.lock().restorable);

        self.space.uncharge_bytes(counted(&lost));
        for name in lost.keys() {
            pr_warn!("{}: {name}: LUO has no session with it\n", self.name);
        }
    }

    /// Says how many files of `data/` have no contents: to open them gives an error.
    fn check_contents(&self, lost: RBTree<u64, ()>) {
        let lost = lost.keys().count();

        if lost != 0 {
            pr_err!(
                "{}: LUO lacks the contents of {lost} files in data/\n",
                self.name
            );
        }
    }

    /// Returns the files that there are: those of `old` that `files` has, and a name for each
    /// other.
    fn intersect(
        &self,
        old: &RBTree<Name, Arc<Entry>>,
        files: &[(u64, Compatible)],
    ) -> Result<RBTree<Name, Arc<Entry>>> {
        let mut by_token = RBTree::new();
        let mut there = RBTree::new();

        for entry in old.values() {
            by_token.try_create_and_insert(entry.token(), entry.clone(), GFP_KERNEL)?;
        }
        for &(token, compatible) in files {
            let (name, size) = match by_token.remove(&token) {
                Some(entry) => (entry.name.try_clone()?, entry.size()),
                None => {
                    let name = Name::of_token(token)?;

                    pr_warn!("{}: a file without a record is {name}\n", self.name);
                    (name, 0)
                }
            };
            let entry = Entry::incoming(name.try_clone()?, token, size, Some(compatible))?;

            if there
                .try_create_and_insert(name, entry, GFP_KERNEL)?
                .is_some()
            {
                return Err(EIO);
            }
        }
        for entry in by_token.values() {
            pr_warn!("{}: {}: LUO has no such file\n", self.name, entry.name);
        }
        Ok(there)
    }

    /// Makes room for a further file of `data/` that may be given up, which doesn't fail then.
    pub(crate) fn reserve_give_up(&self) -> Result {
        self.given_up.lock().expect_another()
    }

    /// Gives up a file of `data/` that was never opened, and can't be any more.
    ///
    /// A tree that could not be restored, by the attempt `attempt`, gives nothing up: the next one
    /// gets it. Does not wait for a task that is retrieving another one: a worker comes back to it.
    /// LUO releases no file that is carried, as in a reboot: see [`Domain::retry_given_up`].
    pub(crate) fn give_up(self: &Arc<Self>, token: u64, attempt: u32) {
        let goes_on = self.published.load(Relaxed) != attempt;

        if !self.given_up.lock().add(token, goes_on) {
            return;
        }
        match self.op.try_lock() {
            Some(mut op) => self.release_given_up(&mut op),
            None => self.enqueue_given_up(),
        }
    }

    /// Releases what a reboot has kept from being released, which has failed.
    pub(crate) fn retry_given_up(self: &Arc<Self>) {
        if !self.given_up.lock().tokens.is_empty() {
            self.enqueue_given_up();
        }
    }

    fn enqueue_given_up(self: &Arc<Self>) {
        // It may be on its way already.
        drop(workqueue::system_dfl_long().enqueue(self.clone()));
    }

    /// Releases the files that have been given up.
    fn release_given_up(&self, op: &mut Op) {
        let Some(session) = &op.incoming else {
            // They went with it.
            self.given_up.lock().tokens.clear();
            return;
        };

        loop {
            let Some((at, token)) = self.given_up.lock().last() else {
                return;
            };

            match session.finish_file(token) {
                Ok(()) => op.nr_unretrieved = op.nr_unretrieved.saturating_sub(1),
                // A reboot is under way: see `retry_given_up()`.
                Err(e) if e == EBUSY => return,
                // If LUO lacks it, it was never counted.
                Err(_) => {}
            }
            // More may have come behind it, but none has gone: that needs `op`.
            let _ = self.given_up.lock().tokens.remove(at);
        }
    }
}

/// The first token that no file has, if `last` is the greatest of all.
fn after(last: Option<u64>) -> u64 {
    last.and_then(|token| token.checked_add(1)).unwrap_or(0)
}
