// SPDX-License-Identifier: GPL-2.0-only

//! From `normal` to `prepared` and back: `data/` and the records.
//!
//! First names, attributes and sizes are fixed by shutting the gate `Domain::changes`. Then every
//! file of `data/` is held, without any lock, since its writers may take as long as they like. At
//! last all are preserved in the domain's session and the records written, under `Domain::op`.

mod rehearse;
mod serialize;

pub(crate) use rehearse::Rehearsed;

use crate::{
    data::{
        content::{
            Content,
            Plan, //
        },
        item::content,
        restore::restore,
        walk::{
            Snapshot,
            Visit, //
        }, //
    },
    domain::{
        Domain,
        HeldData,
        HeldEntry,
        Limit,
        OpGuard,
        Timeout,
        RETRY_MSECS, //
    },
    gate::inside,
    handover::{
        Tree,
        Writer, //
    },
    types::KexecFs,
    words::{
        failure::Failure,
        name::Name,
        state::{
            State,
            Step, //
        }, //
    }, //
};
use kernel::{
    fs::{
        File,
        SuperBlock, //
    },
    liveupdate::HeldFile,
    memalloc::MayFail,
    memcontrol::NoWait,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The files of `data/`, by what has to be done with them.
#[derive(Default)]
struct Files<'a> {
    /// Those whose pages are preserved.
    held: KVVec<HeldData>,
    /// The contents of each of them.
    contents: KVVec<Arc<Content>>,
    /// Files of `fd_restore` that have been restored.
    restored: KVVec<HeldEntry<'a>>,
    /// Those that were never opened, with their tokens and names.
    carried: KVVec<(u64, Option<Name>)>,
    /// The names and inodes of `data/`.
    snapshot: Option<Snapshot<'a>>,
    /// The same as they came in.
    tree: Option<Arc<Tree>>,
    /// Measures the records.
    plan: Writer<'a>,
}

impl<'a> Files<'a> {
    /// Walks through `data/`, and decides for each file in it.
    // What it needs of the stack is not needed afterwards.
    #[inline(never)]
    fn plan(
        &mut self,
        sb: &'a SuperBlock<KexecFs>,
        domain: &Domain,
        timeout: &Timeout<'_>,
    ) -> Result {
        let snapshot = Snapshot::take(sb, domain.next_walk(), || timeout.check(domain))?;

        snapshot.for_each(|visit| {
            timeout.check(domain)?;
            if visit.first && visit.inode.mode().is_reg() {
                self.add(&visit)?;
            }
            serialize::write_name(&mut self.plan, None, &visit, &|| timeout.check(domain))
        })?;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// Decides for a file.
    fn add(&mut self, visit: &Visit<'_>) -> Result {
        let content = content(visit.inode)?;

        match content.plan() {
            Plan::Pack => {}
            Plan::Carry(token) => self
                .carried
                .push((token, Name::of_file(visit.name).ok()), GFP_KERNEL_ACCOUNT)?,
            Plan::Hold(inner) => {
                let held = HeldData::new(inner, Name::of_file(visit.name).ok());

                self.contents.push(content.clone(), GFP_KERNEL_ACCOUNT)?;
                self.held.push(held, GFP_KERNEL_ACCOUNT)?;
            }
        }
        Ok(())
    }

    /// Holds all whose pages are preserved.
    fn hold(&mut self, domain: &'a Domain, timeout: &mut Timeout<'_>) -> Result<(), Failure> {
        for data in &mut self.held {
            let held = timeout
                .check(domain)
                .and_then(|()| data.inner.kernel_file_open())
                .and_then(|file| timeout.hold(domain, file))
                .and_then(|held| timeout.populate(held));

            data.held = Some(held.map_err(|e| data.failure(e))?);
        }
        for restored in &mut self.restored {
            let held = timeout
                .check(domain)
                .and_then(|()| timeout.hold(domain, restored.file.clone()))
                .map_err(|e| restored.failure(e))?;
            let counted = restored.entry.counted();
            let mut room = domain
                .make_room(&held, counted)
                .map_err(|failure| failure.of_file(&restored.entry.name))?;
            let held = timeout.populate(held).map_err(|e| restored.failure(e))?;

            domain
                .fit_room(&mut room, &held, counted)
                .map_err(|failure| failure.of_file(&restored.entry.name))?;
            restored.held = Some((held, room));
        }
        Ok(())
    }
}

impl Timeout<'_> {
    /// Waits until a file can be held.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if that takes too long, and those of [`Timeout::check`].
    fn hold(&mut self, domain: &Domain, file: ARef<File>) -> Result<HeldFile> {
        if self.is_queued() {
            return HeldFile::hold(file);
        }
        loop {
            match HeldFile::try_hold(file.clone()) {
                Err(e) if e == EAGAIN && self.left() != 0 => {
                    self.check(domain)?;
                    fsleep(Delta::from_millis(RETRY_MSECS.into()));
                    self.set_left(
                        self.left()
                            .saturating_sub(msecs_to_jiffies(RETRY_MSECS).max(1)),
                    );
                }
                result => break result,
            }
        }
    }

    /// Fills the holes of a held file.
    ///
    /// # Errors
    ///
    /// `ETIME` if that takes too long.
    fn populate(&self, held: HeldFile) -> Result<HeldFile> {
        let result = match self.limit() {
            Limit::None => held.populate(),
            // Left to when it is preserved.
            Limit::ForUsers(_) => Ok(()),
            Limit::At(_) => {
                let _nowait = NoWait::new();

                held.populate()
            }
        };

        result.map(|()| held).map_err(|e| self.error(e))
    }
}

/// Has `data/` in the superblock, for a task that is outside of all gates.
fn restore_data(sb: &SuperBlock<KexecFs>) -> Result<(), Failure> {
    restore(sb).map_err(|e| Failure::new(e, "data/ could not be restored").or_no_memory())
}

impl Domain {
    // Events.

    /// The event `prepare`.
    pub(crate) fn prepare(&self, sb: &SuperBlock<KexecFs>) -> Result<(), Failure> {
        restore_data(sb)?;
        inside(|| self.begin_preparing())?;
        self.prepare_within(sb, Timeout::event())
    }

    /// The event `prepare` for all domains, in a worker: until `cancelled` is true. A domain that
    /// is not `normal`, or no longer, is left alone: returns whether it has been prepared.
    pub(crate) fn prepare_for_all(
        &self,
        sb: &SuperBlock<KexecFs>,
        cancelled: &Atomic<bool>,
    ) -> Result<bool, Failure> {
        loop {
            if self.is_discarded() || self.state() != State::Normal {
                return Ok(false);
            }
            restore_data(sb)?;
            match inside(|| self.try_begin_preparing())? {
                Ok(()) => {
                    self.prepare_within(sb, Timeout::event_for_all(cancelled))?;
                    return Ok(true);
                }
                // Its owner does, or somebody reads `check`.
                Err(_) if !cancelled.load(Relaxed) => {
                    fsleep(Delta::from_millis(RETRY_MSECS.into()));
                }
                Err(_) => return Err(Failure::new(EINTR, "the writer was killed")),
            }
        }
    }

    /// Prepares the domain, which the caller has reserved for that.
    fn prepare_within(
        &self,
        sb: &SuperBlock<KexecFs>,
        mut timeout: Timeout<'_>,
    ) -> Result<(), Failure> {
        // What it takes grows with the domain.
        let _mayfail = MayFail::new();
        let preparing = self.preparing.acquire();

        // Outside the gate: its files' writers may take as long as they like. A reboot waits a
        // while for it, and then doesn't take place.
        let result = self.prepare_with(Some(sb), &mut timeout);

        self.end_preparing(result.is_ok());
        drop(preparing);
        if result.is_ok() {
            self.keep(sb);
        }
        result
    }

    /// The event `cancel`.
    pub(crate) fn cancel(&self) -> Result<(), Failure> {
        let (undone, result) = {
            let mut op = self.lock_op_killable()?;

            self.check_step(Step::Cancel)?;
            let undone = op.unpreserve_all();

            // Before the state allows for another prepare.
            self.changes.open();
            (undone, self.set_cancelled())
        };

        // Without the lock: they may be the last references.
        drop(undone);
        Ok(result?)
    }

    // Reboots, behind the shut gate.

    /// Freezes the domain for a reboot, and prepares it if nobody did.
    ///
    /// Waits for files that are just being preserved.
    pub(crate) fn freeze(
        &self,
        sb: Option<&SuperBlock<KexecFs>>,
        mut timeout: Timeout<'_>,
    ) -> Result<(), Failure> {
        self.wait_pending(&mut timeout)?;
        if self.state() == State::Prepared {
            self.write_times(&timeout)
                .map_err(|failure| timeout.failure(self, failure))?;
        } else {
            // No mount comes behind the shut gate, nor a look-up of what came in.
            self.prepare_with(sb, &mut timeout)?;
        }
        self.set_frozen()
    }

    /// Undoes [`Domain::freeze`].
    pub(crate) fn thaw(&self) {
        let Some(state) = self.set_thawed() else {
            return;
        };

        if state != State::Prepared {
            let undone = self.lock_op().unpreserve_all();

            self.changes.open();
            drop(undone);
        }
        self.state_has_changed();
    }

    // How it is done.

    /// Fixes `data/`, preserves the files and serializes the domain. Without a superblock, or if
    /// `data/` has not been restored there, that is what came in. After an error all is as before,
    /// unless a reboot goes on without the domain: then [`Domain::include`] has to undo it.
    ///
    /// The caller has taken care that nobody else does the same.
    fn prepare_with(
        &self,
        sb: Option<&SuperBlock<KexecFs>>,
        timeout: &mut Timeout<'_>,
    ) -> Result<(), Failure> {
        let mut files = Files::default();

        self.changes.shut();
        if !timeout.is_reboot() {
            // A task that retrieves a file has the lock for as long as that takes, and none begins
            // to behind the shut gate: all that follows waits for short operations.
            if let Err(e) = self.lock_op_killable().map(drop) {
                self.changes.open();
                return Err(e.into());
            }
        }
        let result = self.prepare_fixed(sb, timeout, &mut files);
        let Err(failure) = result else {
            return Ok(());
        };
        let mut op = self.lock_op();

        if timeout.is_excluded(self) {
            op.leave_unfinished(files.held);
            return Err(timeout.failure(self, failure));
        }
        let undone = op.unpreserve_all();

        drop(op);
        // Without the lock: they may be the last references, as those in `files`.
        drop((undone, files));
        self.changes.open();
        Err(timeout.failure(self, failure))
    }

    // What it needs of the stack is not needed before and after.
    #[inline(never)]
    fn prepare_fixed<'a>(
        &'a self,
        sb: Option<&'a SuperBlock<KexecFs>>,
        timeout: &mut Timeout<'_>,
        files: &mut Files<'a>,
    ) -> Result<(), Failure> {
        let start = Instant::<Monotonic>::now();

        // Behind the shut gate: what is restored meanwhile stays as it came, see `publish_tree()`.
        files.tree = self.tree();
        if let (None, Some(sb)) = (&files.tree, sb) {
            files.plan(sb, self, timeout)?;
        }
        files.restored = self.detach_restored()?;
        files.hold(self, timeout)?;
        // A reboot may wait for the lock.
        let _nowait = NoWait::new();
        let mut op = self.lock_op();

        // A task that discards it meanwhile undoes what is in `op`.
        self.check_alive()?;
        self.carry_all(&mut op, files, timeout)?;
        self.preserve_all(&mut op, files, timeout)?;
        let records = self.serialize(&mut op, files, timeout)?;
        let bytes = records.bytes();

        op.set_records(records);
        if !timeout.is_rehearsal() {
            self.log_prepared(files, bytes, start);
        }
        Ok(())
    }

    // Nor is what this needs of the stack needed before.
    #[inline(never)]
    fn log_prepared(&self, files: &Files<'_>, bytes: usize, start: Instant<Monotonic>) {
        if let Some(snapshot) = &files.snapshot {
            self.log_nameless(snapshot.inodes());
        }
        if self.messages.ratelimit(c"kexecfs") {
            pr_info!(
                "{}: prepared {} bytes of records in {} us\n",
                self.name,
                bytes,
                start.elapsed().as_micros_ceil()
            );
        }
    }

    /// Tells how many files end with this kernel since they have no name.
    fn log_nameless(&self, named: usize) {
        let all = usize::try_from(self.inodes.load(Relaxed)).unwrap_or(0);
        let nameless = all.saturating_sub(named);

        if nameless > 0 && self.messages.ratelimit(c"kexecfs") {
            pr_info!(
                "{}: {nameless} files of data/ have no name and are not handed over\n",
                self.name
            );
        }
    }

    /// Takes the files that have been restored out of the incoming session.
    fn detach_restored<'a>(&self) -> Result<KVVec<HeldEntry<'a>>, Failure> {
        let _nowait = NoWait::new();

        self.lock_op().detach_restored()
    }

    /// Carries what the previous kernel handed over, or preserves it anew if it has been restored.
    fn carry_all(
        &self,
        op: &mut OpGuard<'_>,
        files: &mut Files<'_>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        let entries = self.restorable()?;

        if !op.has_incoming() {
            return Ok(());
        }
        op.make_session()?;
        // In the order of the entries, none of which comes or goes meanwhile.
        let mut restored = files.restored.iter_mut().peekable();

        for entry in entries {
            match restored.next_if(|restored| Arc::ptr_eq(&restored.entry, &entry)) {
                Some(restored) => op.preserve_restored(restored, timeout)?,
                None => op.carry_entry(entry, timeout)?,
            }
        }
        for (token, name) in &files.carried {
            op.carry_data(*token, name.as_ref(), timeout)?;
        }
        for token in files.tree.iter().flat_map(|tree| tree.tokens()) {
            op.carry_data(token, None, timeout)?;
        }
        op.drop_empty_session();
        Ok(())
    }

    /// Preserves the files of `data/` that are held.
    fn preserve_all(
        &self,
        op: &mut OpGuard<'_>,
        files: &mut Files<'_>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        if files.held.is_empty() {
            return Ok(());
        }
        op.make_session()?;
        for (data, content) in files.held.iter_mut().zip(&files.contents) {
            let token = op.preserve_data(data, timeout)?;

            // It is full now: all that is pinned is among its blocks.
            op.charge_excess(content.counted.excess(data.inner.i_blocks()))?;
            content.token.store(token, Relaxed);
        }
        Ok(())
    }
}
