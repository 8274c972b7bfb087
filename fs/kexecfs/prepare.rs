// SPDX-License-Identifier: GPL-2.0-only

//! From `normal` to `prepared` and back: `data/` and the records.
//!
//! First names, attributes and sizes are fixed by shutting the gate `Domain::changes`. Then every
//! file of `data/` is held, without any lock, since its writers may take as long as they like. At
//! last all are preserved in the domain's session and the records written, under `Domain::op`.

mod serialize;

use crate::{
    data::{
        content::{
            Content,
            Plan, //
        },
        item::content,
        walk::{
            Snapshot,
            Visit, //
        }, //
    },
    domain::{
        size_of_held,
        Carried,
        Domain,
        Entry,
        Op, //
    },
    gate::inside,
    handover::Writer,
    space::{
        size_of,
        Room, //
    },
    timeout::Timeout,
    types::KexecFs,
    words::{
        failure::Failure,
        name::Name,
        state::{
            Event,
            State, //
        }, //
    }, //
};
use kernel::{
    fs::{File, Path, SuperBlock},
    kho::abi::kexecfs as abi,
    liveupdate::{
        HeldFile,
        OutgoingSession, //
    },
    memalloc::MayFail,
    memcontrol::NoWait,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
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

/// How long a reboot waits until it tries to hold a file again.
const RETRY_MSECS: u32 = 10;

/// A file of `data/` that is part of what is handed over.
pub(crate) struct HandedOn {
    pub(crate) content: Arc<Content>,
    pub(crate) token: u64,
    /// The inner file, unless what came is handed on as it came.
    pub(crate) inner: Option<Path>,
    /// What it has in large pages beyond what it counts, which counts as long as it is pinned.
    pub(crate) excess: u64,
}

/// A file whose pages are handed over.
pub(crate) struct Large {
    content: Arc<Content>,
    inner: Path,
    name: Option<Name>,
    held: Option<HeldFile>,
}

/// A file of `fd_restore` that has been restored.
struct Restored<'a> {
    entry: Arc<Entry>,
    file: ARef<File>,
    /// Once it is held, with the room for what it has grown by.
    held: Option<(HeldFile, Room<'a>)>,
}

/// The files of `data/`, by what has to be done with them.
#[derive(Default)]
pub(crate) struct Files<'a> {
    large: KVVec<Large>,
    /// Files of `fd_restore` that have been restored.
    restored: KVVec<Restored<'a>>,
    /// Those that nobody opened, with their tokens and names.
    carried: KVVec<(Arc<Content>, u64, Option<Name>)>,
    /// What there is in `data/`.
    snapshot: Option<Snapshot<'a>>,
    /// How long its records get.
    plan: Writer<'a>,
}

impl<'a> Files<'a> {
    /// Walks through `data/`, and decides for each file in it.
    // What it needs of the stack is not needed afterwards.
    #[inline(never)]
    fn plan(sb: &'a SuperBlock<KexecFs>, domain: &Domain, timeout: &Timeout<'_>) -> Result<Self> {
        let mut files = Self::default();
        let snapshot = Snapshot::take(sb, domain.next_walk(), || timeout.check(domain))?;

        snapshot.for_each(|visit| {
            timeout.check(domain)?;
            if visit.first && visit.inode.mode().is_reg() {
                files.add(&visit)?;
            }
            serialize::write_name(&mut files.plan, &visit, &|| timeout.check(domain))
        })?;
        files.snapshot = Some(snapshot);
        Ok(files)
    }

    /// Decides for a file.
    fn add(&mut self, visit: &Visit<'_>) -> Result {
        let content = content(visit.inode)?;

        match content.plan() {
            Plan::Pack => {}
            Plan::Carry(token) => self.carried.push(
                (content.clone(), token, Name::of_file(visit.name).ok()),
                GFP_KERNEL_ACCOUNT,
            )?,
            Plan::Hold(inner) => self.large.push(
                Large {
                    content: content.clone(),
                    inner,
                    name: Name::of_file(visit.name).ok(),
                    held: None,
                },
                GFP_KERNEL_ACCOUNT,
            )?,
        }
        Ok(())
    }

    /// Holds all whose pages are handed over.
    fn hold(&mut self, domain: &'a Domain, timeout: &mut Timeout<'_>) -> Result<(), Failure> {
        for large in &mut self.large {
            let held = timeout
                .check(domain)
                .and_then(|()| large.inner.kernel_file_open())
                .and_then(|file| timeout.hold(file))
                .and_then(|held| timeout.populate(held));

            large.held = Some(held.map_err(|e| large.failure(e))?);
        }
        for restored in &mut self.restored {
            let held = timeout
                .check(domain)
                .and_then(|()| timeout.hold(restored.file.clone()))
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
    /// `EAGAIN` if that takes too long.
    fn hold(&mut self, file: ARef<File>) -> Result<HeldFile> {
        if matches!(self, Timeout::Never) {
            return HeldFile::hold(file);
        }
        loop {
            match HeldFile::try_hold(file.clone()) {
                Err(e) if e == EAGAIN && self.left() != 0 => {
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
        let result = match self {
            Timeout::Never => held.populate(),
            // Left to when it is preserved.
            Timeout::ForUsers(_) => Ok(()),
            Timeout::At(_) => {
                let _nowait = NoWait::new();

                held.populate()
            }
        };

        result.map(|()| held).map_err(|e| self.error(e))
    }
}

impl Restored<'_> {
    fn failure(&self, e: Error) -> Failure {
        if e == EAGAIN {
            Failure::new(EBUSY, "it was restored, and is being written to")
        } else {
            Failure::new(e, "it was restored, and can't be handed on").or_no_memory()
        }
        .of_file(&self.entry.name)
    }
}

impl Large {
    fn failure(&self, e: Error) -> Failure {
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

impl Domain {
    // Events.

    /// The event `prepare`.
    pub(crate) fn prepare(&self, sb: &SuperBlock<KexecFs>) -> Result<(), Failure> {
        // What it takes grows with the domain.
        let _mayfail = MayFail::new();

        inside(|| self.begin_preparing())?;
        let preparing = self.preparing.acquire();

        // Outside the gate: its files' writers may take as long as they like. A reboot waits a
        // while for it, and then doesn't take place.
        let result = self.write_down(Some(sb), &mut Timeout::Never);

        self.end_preparing(result.is_ok().then_some(State::Prepared));
        drop(preparing);
        self.keep(sb);
        result
    }

    /// The event `cancel`.
    pub(crate) fn cancel(&self) -> Result<(), Failure> {
        let undone = {
            let mut op = self.lock_op()?;
            let next = self.after(Event::Cancel)?;
            let undone = self.take_back(&mut op);

            // Before the state allows for another prepare.
            self.reopen();
            self.set_state(next);
            undone
        };

        drop(undone);
        Ok(())
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
        self.settle(&mut timeout)?;

        let before = self.state();

        if before == State::Prepared {
            self.write_times(&timeout)
                .map_err(|failure| timeout.failure(self, failure))?;
            self.set_frozen(before);
            return Ok(());
        }
        self.write_down(sb, &mut timeout)?;
        self.set_frozen(before);
        Ok(())
    }

    /// Undoes [`Domain::freeze`].
    pub(crate) fn thaw(&self) {
        let Some(state) = self.set_thawed() else {
            return;
        };

        if state != State::Prepared {
            let undone = self.take_back(&mut self.op.lock());

            self.reopen();
            drop(undone);
        }
        self.state_has_changed();
    }

    /// Writes down anew when files of `data/` were modified, which goes on while they are prepared.
    fn write_times(&self, timeout: &Timeout<'_>) -> Result<(), Failure> {
        let mut op = self.op.lock();
        let op = &mut *op;
        let records = op.records.as_mut().ok_or(EIO)?;

        for file in &op.handed_on {
            timeout.check(self)?;
            if let Some(inner) = &file.inner {
                let times = inner.times();

                // Nothing else changes while the domain is prepared.
                records.change_inode(file.content.record.load(Relaxed), |record| {
                    (record.mtime_sec, record.mtime_nsec) = (times.mtime.sec, times.mtime.nsec);
                    (record.ctime_sec, record.ctime_nsec) = (record.ctime_sec, record.ctime_nsec)
                        .max((times.ctime.sec, times.ctime.nsec));
                })?;
            }
        }
        Ok(())
    }

    // How it is done.

    /// Preserves a file of `data/` whose contents are in its record, or would be, for a task that
    /// is about to open it for writing.
    pub(crate) fn preserve_instead(
        &self,
        op: &mut Op,
        content: Arc<Content>,
        inner: &Path,
        held: HeldFile,
    ) -> Result {
        let file = HandedOn {
            content,
            token: op.next_token,
            inner: Some(inner.clone()),
            excess: 0,
        };

        op.handed_on.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let next_token = file.token.checked_add(1).ok_or(EOVERFLOW)?;
        // Perhaps this is the first file of the domain.
        let preserved = self
            .make_session(op)
            .map_err(|failure| failure.error)?
            .preserve(held, file.token);

        if let Err((_, e)) = preserved {
            self.drop_empty_session(op);
            return Err(e);
        }
        op.next_token = next_token;
        file.content.token.store(file.token, Relaxed);
        let (at, token) = (file.content.record.load(Relaxed), file.token);

        op.handed_on.push(file, GFP_KERNEL_ACCOUNT)?;
        match &mut op.records {
            Some(records) => records.change_inode(at, |record| {
                record.token = token;
                record.flags |= abi::INODE_TOKEN;
            }),
            // The prepare that is under way has not written them yet.
            None => Ok(()),
        }
    }

    /// Fixes `data/` and writes the domain down. After an error all is as before, unless a reboot
    /// goes on without the domain: then [`Domain::include`] has to take it back.
    ///
    /// The caller has taken care that nobody else does the same.
    fn write_down(
        &self,
        sb: Option<&SuperBlock<KexecFs>>,
        timeout: &mut Timeout<'_>,
    ) -> Result<(), Failure> {
        let mut files = Files::default();

        self.changes.shut();
        if let Timeout::Never = timeout {
            // Who retrieves a file has the lock for as long as that takes, and nobody begins to
            // behind the shut gate: all that follows waits for what is short.
            if let Err(e) = self.lock_op().map(drop) {
                self.reopen();
                return Err(e.into());
            }
        }
        let result = self.write_down_fixed(sb, timeout, &mut files);
        let Err(failure) = result else {
            return Ok(());
        };
        let mut op = self.op.lock();

        if timeout.is_left_behind(self) {
            self.leave_unfinished(&mut op, files.large);
            return Err(timeout.failure(self, failure));
        }
        let undone = self.take_back(&mut op);

        drop(op);
        // Without the lock: they may be the last references, as those in `files`.
        drop((undone, files));
        self.reopen();
        Err(failure)
    }

    /// Makes changes of `data/` possible again.
    pub(crate) fn reopen(&self) {
        self.changes.open();
    }

    fn write_down_fixed<'a>(
        &'a self,
        sb: Option<&'a SuperBlock<KexecFs>>,
        timeout: &mut Timeout<'_>,
        files: &mut Files<'a>,
    ) -> Result<(), Failure> {
        let start = Instant::<Monotonic>::now();

        if let Some(sb) = sb {
            *files = Files::plan(sb, self, timeout)?;
        }
        files.restored = self.take_over_restored()?;
        files.hold(self, timeout)?;
        if let Some(snapshot) = &files.snapshot {
            self.tell_nameless(snapshot.inodes());
        }
        // A reboot may wait for the lock.
        let _nowait = NoWait::new();
        let mut op = self.op.lock();

        // Who discards it meanwhile takes back what is in `op`.
        self.alive()?;
        self.preserve_all(&mut op, files, timeout)?;
        let records = self.serialize(&op.carried, files, timeout)?;
        let records = op.records.insert(records);

        self.set_written(Some(records.bytes()));
        if self.messages.ratelimit(c"kexecfs") {
            pr_info!(
                "{}: prepared {} bytes of records in {} us\n",
                self.name,
                records.bytes(),
                start.elapsed().as_micros_ceil()
            );
        }
        Ok(())
    }

    /// Tells how many files end with this kernel since they have no name.
    fn tell_nameless(&self, named: usize) {
        let all = usize::try_from(self.inodes.load(Relaxed)).unwrap_or(0);
        let nameless = all.saturating_sub(named);

        if nameless > 0 && self.messages.ratelimit(c"kexecfs") {
            pr_info!(
                "{}: {nameless} files of data/ have no name and are not handed over\n",
                self.name
            );
        }
    }

    /// Preserves what is held, and hands on what nobody opened or restored.
    fn preserve_all(
        &self,
        op: &mut Op,
        files: &mut Files<'_>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        self.carry_all(op, files, timeout)?;
        if files.large.is_empty() {
            return Ok(());
        }
        op.handed_on
            .reserve(files.large.len(), GFP_KERNEL_ACCOUNT)?;
        self.make_session(op)?;
        let session = op.outgoing.as_ref().ok_or(EIO)?;

        for large in &mut files.large {
            timeout.check(self)?;

            let held = large.held.take().ok_or(EIO)?;
            let token = op.next_token;

            op.next_token = token.checked_add(1).ok_or(EOVERFLOW)?;
            if let Err((held, e)) = session.preserve(held, token) {
                large.held = Some(held);
                return Err(large.failure(timeout.error(e)));
            }
            // It is full now: all that is pinned is among its blocks.
            let counted = &large.content.counted;
            let excess = counted.excess(size_of(&large.inner), large.inner.i_blocks());
            let room = self.space.take_bytes(excess);

            op.handed_on.push(
                HandedOn {
                    content: large.content.clone(),
                    token,
                    inner: Some(large.inner.clone()),
                    excess: room.map_or(0, |()| excess),
                },
                GFP_KERNEL_ACCOUNT,
            )?;
            room.map_err(|e| Failure::new(e, "size= leaves no room for large pages of a file"))?;
            large.content.token.store(token, Relaxed);
        }
        Ok(())
    }

    /// Hands on what the previous kernel handed over.
    fn carry_all(
        &self,
        op: &mut Op,
        files: &mut Files<'_>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        let entries = self.restorable()?;
        let tree = self.tree();

        if op.incoming.is_none() {
            return Ok(());
        }
        self.make_session(op)?;
        let (Some(incoming), Some(session)) = (&op.incoming, &op.outgoing) else {
            return Err(EIO.into());
        };

        // In the order of the entries, none of which comes or goes meanwhile.
        let mut restored = files.restored.iter_mut().peekable();

        for entry in entries {
            timeout.check(self)?;
            op.carried.reserve(1, GFP_KERNEL_ACCOUNT)?;
            let restored = restored.next_if(|restored| Arc::ptr_eq(&restored.entry, &entry));
            let carried = match restored {
                Some(restored) => self.carry_restored(restored, session, timeout)?,
                None => {
                    incoming
                        .carry(entry.token, session)
                        .map_err(|e| cannot_carry(timeout.error(e)).of_file(&entry.name))?;
                    Carried {
                        size: entry.size,
                        counted: 0,
                        entry,
                    }
                }
            };

            op.carried.push(carried, GFP_KERNEL_ACCOUNT)?;
        }
        // Contents that LUO lacks stay so: that has been said when they came.
        let carry = |token, name: Option<&Name>| {
            timeout.check(self)?;
            match incoming.carry(token, session) {
                Ok(()) => Ok(true),
                Err(e) if e == ENOENT => Ok(false),
                Err(e) => {
                    let failure =
                        Failure::new(timeout.error(e), "a file in data/ could not be handed on");

                    Err(match name {
                        Some(name) => failure.of_file(name),
                        None => failure,
                    })
                }
            }
        };

        for (content, token, name) in &files.carried {
            op.handed_on.reserve(1, GFP_KERNEL_ACCOUNT)?;
            if carry(*token, name.as_ref())? {
                op.handed_on.push(
                    HandedOn {
                        content: content.clone(),
                        token: *token,
                        inner: None,
                        excess: 0,
                    },
                    GFP_KERNEL_ACCOUNT,
                )?;
            }
        }
        for token in tree.iter().flat_map(|tree| tree.tokens()) {
            op.carried_tokens.reserve(1, GFP_KERNEL_ACCOUNT)?;
            if carry(token, None)? {
                op.carried_tokens.push(token, GFP_KERNEL_ACCOUNT)?;
            }
        }
        self.drop_empty_session(op);
        Ok(())
    }

    /// Takes the files that have been restored over from LUO, which gets them anew.
    ///
    /// From then on the domain keeps them, also if it isn't prepared after all.
    fn take_over_restored(&self) -> Result<KVVec<Restored<'_>>, Failure> {
        let _nowait = NoWait::new();
        let mut op = self.op.lock();
        let mut all = KVVec::new();
        let result = self.restorable()?.into_iter().try_for_each(|entry| {
            let file = match entry.kept() {
                Some(file) => file,
                None if entry.restored.load(Relaxed) => self
                    .take_over_entry(&mut op, &entry)
                    .map_err(|e| cannot_carry(e).of_file(&entry.name))?,
                None => return Ok(()),
            };
            let restored = Restored {
                entry,
                file,
                held: None,
            };

            Ok(all.push(restored, GFP_KERNEL_ACCOUNT)?)
        });

        // It was only made to ask the handlers.
        self.drop_empty_session(&mut op);
        result.map(|()| all)
    }

    fn take_over_entry(&self, op: &mut Op, entry: &Entry) -> Result<ARef<File>> {
        self.make_session(op).map_err(|failure| failure.error)?;
        let (Some(incoming), Some(session)) = (&op.incoming, &op.outgoing) else {
            return Err(EIO);
        };

        // Asks the handler: what has been restored is busy if it can be handed on at all.
        match incoming.carry(entry.token, session) {
            Err(e) if e == EBUSY => {}
            Err(e) => return Err(e),
            Ok(()) => {
                session.unpreserve(entry.token)?;
                return Err(EIO);
            }
        }
        let file = self.retrieve_from(incoming, entry.token)?;

        incoming.finish_file(entry.token)?;
        entry.keep(file.clone());
        Ok(file)
    }

    /// Hands on a file that has been restored.
    fn carry_restored(
        &self,
        restored: &mut Restored<'_>,
        session: &OutgoingSession,
        timeout: &Timeout<'_>,
    ) -> Result<Carried, Failure> {
        let entry = &restored.entry;
        let (held, room) = restored.held.take().ok_or(EIO)?;
        let size = size_of_held(&held);

        match session.preserve(held, entry.token) {
            Ok(_) => Ok(Carried {
                entry: entry.clone(),
                size,
                counted: room.fill(),
            }),
            Err((held, e)) => {
                // Given up by who called, without the lock: it may wait.
                restored.held = Some((held, room));
                Err(restored.failure(timeout.error(e)))
            }
        }
    }

    /// Takes back what [`Domain::write_down`] did, with the files that were opened for writing
    /// since, and makes the plans for the files of `data/` void: no open preserves any by them
    /// afterwards.
    ///
    /// The caller drops what is returned after it released `Domain::op`.
    pub(crate) fn take_back(&self, op: &mut Op) -> KVVec<HandedOn> {
        self.space
            .give_bytes(op.carried.iter().map(|carried| carried.counted).sum());
        self.space
            .give_bytes(op.handed_on.iter().map(|file| file.excess).sum());
        let undone = op.take_back();

        self.prepares.add(1, Relaxed);
        op.records = None;
        self.set_written(None);
        self.drop_empty_session(op);
        undone
    }
}

impl Op {
    /// Takes the files of `data/` and those that are carried out of the outgoing session, the last
    /// first.
    fn take_back(&mut self) -> KVVec<HandedOn> {
        if let Some(session) = &self.outgoing {
            let unpreserve = |token| {
                if let Err(e) = session.unpreserve(token) {
                    pr_err!("a file that was prepared could not be taken back: {e:?}\n");
                }
            };

            self.handed_on
                .iter()
                .rev()
                .for_each(|file| unpreserve(file.token));
            self.carried_tokens
                .iter()
                .rev()
                .copied()
                .for_each(unpreserve);
            self.carried
                .iter()
                .rev()
                .for_each(|carried| unpreserve(carried.entry.token));
        }
        self.carried.clear();
        self.carried_tokens.clear();
        core::mem::take(&mut self.handed_on)
    }
}

/// Why a file that nobody has finished can't be handed on.
fn cannot_carry(e: Error) -> Failure {
    if e == EOPNOTSUPP {
        Failure::new(
            EBUSY,
            "this kind of file can't be handed on: finish or discard the domain",
        )
    } else {
        Failure::new(e, "LUO could not hand it on")
    }
}
