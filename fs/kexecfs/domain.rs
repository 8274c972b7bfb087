// SPDX-License-Identifier: GPL-2.0-only

//! One preservation domain: its state, its files, its limits.
//!
//! `op` is held over each operation, calls into LUO included; `table` is a leaf, held for a look
//! at what it guards and never over a call out. See `registry.rs` for the order of all locks.

use crate::{
    handover::{
        Arrived,
        Records, //
    },
    name::Name,
    options::Options,
    state::{
        Event,
        State, //
    },
};
use kernel::{
    fs::File,
    liveupdate::{
        Compatible,
        HeldFile,
        IncomingSession,
        OutgoingSession, //
    },
    new_condvar,
    new_mutex,
    prelude::*,
    ratelimit::Ratelimit,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVarBox,
        Arc,
        CondVar,
        Mutex, //
    },
    task::{
        Kgid,
        Kuid, //
    },
    time::Jiffies, //
};

/// Why something failed: for the log and for the file `error`.
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) file: Option<Name>,
    pub(crate) reason: &'static str,
}

impl Failure {
    pub(crate) fn new(error: Error, reason: &'static str) -> Self {
        Self {
            error,
            file: None,
            reason,
        }
    }

    pub(crate) fn of_file(mut self, name: &Name) -> Self {
        // Without memory for the name the rest is still worth telling.
        self.file = name.try_clone().ok();
        self
    }
}

/// Where only the errno is known, as for want of memory.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = if error == ENOMEM {
            "no memory"
        } else {
            "the kernel could not do it"
        };

        Self::new(error, reason)
    }
}

/// A file that is preserved.
pub(crate) struct Preserved {
    token: u64,
    pub(crate) size: u64,
    pub(crate) compatible: Compatible,
}

/// A name in `fd_preserve`.
enum Slot {
    /// Its file is waited for.
    Pending,
    Done(Preserved),
}

/// A file that was handed over: a name in `fd_restore`.
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) size: u64,
    token: u64,
    /// Set once the file is released, by `rm` or `finish`.
    released: Atomic<bool>,
}

/// The files that an event released.
pub(crate) struct Released(RBTree<Name, Arc<Entry>>);

impl Released {
    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

/// What the lock `op` guards: the domain's dealings with LUO and KHO.
struct Op {
    outgoing: Option<OutgoingSession>,
    incoming: Option<IncomingSession>,
    /// What is written down for the next kernel, from `prepare` on.
    records: Option<Records>,
    next_token: u64,
}

/// What the lock `table` guards: all that can be looked at.
struct Table {
    state: State,
    /// The state that a failed reboot goes back to.
    before_reboot: State,
    options: Options,
    preserved: RBTree<Name, Slot>,
    /// How many of `preserved` there are, with and without their files.
    slots: u32,
    pending: u32,
    restorable: RBTree<Name, Arc<Entry>>,
    failure: Option<Failure>,
}

impl Table {
    /// Why the domain can't be written down yet, if a file is just being preserved.
    fn pending_failure(&self) -> Option<Failure> {
        self.preserved
            .iter()
            .find(|(_, slot)| matches!(slot, Slot::Pending))
            .map(|(name, _)| Failure::new(EBUSY, "it is still being preserved").of_file(name))
    }

    /// # Errors
    ///
    /// `EBUSY` if the domain is written down.
    fn changeable(&self) -> Result {
        match self.state {
            State::Normal | State::Updated => Ok(()),
            State::Prepared | State::Frozen => Err(EBUSY),
        }
    }
}

/// A preservation domain.
#[pin_data]
pub(crate) struct Domain {
    pub(crate) name: Name,
    session: Name,
    #[pin]
    op: Mutex<Op>,
    #[pin]
    table: Mutex<Table>,
    /// Notified when `pending` falls.
    #[pin]
    settled: CondVar,
    changed: PollCondVarBox,
    /// For what its users make the log say.
    #[pin]
    pub(crate) messages: Ratelimit,
    /// How often `state` and `error` have changed.
    state_changes: Atomic<u32>,
    error_changes: Atomic<u32>,
}

impl Domain {
    /// An empty domain.
    pub(crate) fn new(name: Name) -> Result<Arc<Self>> {
        let session = name.session()?;

        Self::with(name, session, State::Normal, Options::new()?, RBTree::new())
    }

    /// A domain that the previous kernel handed over.
    ///
    /// Its session has to be [claimed](Self::claim).
    pub(crate) fn updated(arrived: Arrived) -> Result<Arc<Self>> {
        let session = match arrived.session {
            Some(session) => session,
            None => arrived.name.session()?,
        };
        let mut restorable = RBTree::new();

        for (name, file) in &arrived.files {
            let entry = Entry::new(name.try_clone()?, file.token, file.size)?;

            restorable.try_create_and_insert(name.try_clone()?, entry, GFP_KERNEL_ACCOUNT)?;
        }
        Self::with(
            arrived.name,
            session,
            State::Updated,
            arrived.options,
            restorable,
        )
    }

    fn with(
        name: Name,
        session: Name,
        state: State,
        options: Options,
        restorable: RBTree<Name, Arc<Entry>>,
    ) -> Result<Arc<Self>> {
        let changed = PollCondVarBox::new(c"Domain::changed", kernel::static_lock_class!())?;

        Arc::pin_init(
            pin_init!(Self {
                name,
                session,
                op <- new_mutex!(
                    Op {
                        outgoing: None,
                        incoming: None,
                        records: None,
                        next_token: 0,
                    },
                    "Domain::op"
                ),
                table <- new_mutex!(
                    Table {
                        state,
                        before_reboot: state,
                        options,
                        preserved: RBTree::new(),
                        slots: 0,
                        pending: 0,
                        restorable,
                        failure: None,
                    },
                    "Domain::table"
                ),
                settled <- new_condvar!("Domain::settled"),
                changed,
                messages <- Ratelimit::new(),
                state_changes: Atomic::new(0),
                error_changes: Atomic::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    // What can be looked at.

    pub(crate) fn state(&self) -> State {
        self.table.lock().state
    }

    pub(crate) fn options(&self) -> Options {
        self.table.lock().options
    }

    /// How often `state` has changed so far.
    pub(crate) fn state_changes(&self) -> u32 {
        self.state_changes.load(Relaxed)
    }

    /// How often `error` has changed so far.
    pub(crate) fn error_changes(&self) -> u32 {
        self.error_changes.load(Relaxed)
    }

    /// Wakes who polls `state` or `error`.
    pub(crate) fn changed(&self) -> &PollCondVarBox {
        &self.changed
    }

    /// Whether neither a file is preserved nor one waits to be restored.
    pub(crate) fn is_empty(&self) -> bool {
        let table = self.table.lock();

        table.preserved.is_empty() && table.restorable.is_empty()
    }

    /// Whether the domain is as a new one.
    pub(crate) fn is_new(&self) -> bool {
        let table = self.table.lock();

        table.preserved.is_empty()
            && table.failure.is_none()
            && Options::new().is_ok_and(|options| options == table.options)
    }

    /// The line that `error` shows.
    pub(crate) fn error_line(&self, line: &mut KVVec<u8>) -> Result {
        let table = self.table.lock();
        let Some(failure) = &table.failure else {
            return Ok(());
        };
        let errno = failure
            .error
            .name()
            .map_or(&b"?"[..], |name| name.to_bytes());
        let file = failure
            .file
            .as_ref()
            .map_or(&b"-"[..], |name| name.as_bytes());

        for part in [errno, b"\t", file, b"\t", failure.reason.as_bytes(), b"\n"] {
            line.extend_from_slice(part, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// Calls `each` for every preserved file, in the order of their names.
    pub(crate) fn for_each_preserved(
        &self,
        mut each: impl FnMut(&Name, &Preserved) -> Result,
    ) -> Result {
        for (name, slot) in &self.table.lock().preserved {
            if let Slot::Done(preserved) = slot {
                each(name, preserved)?;
            }
        }
        Ok(())
    }

    /// The files that wait to be restored, in the order of their names.
    pub(crate) fn restorable(&self) -> Result<KVVec<Arc<Entry>>> {
        let mut entries = KVVec::new();

        for entry in self.table.lock().restorable.values() {
            entries.push(entry.clone(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(entries)
    }

    // What a mount does.

    /// Sets the options.
    ///
    /// # Errors
    ///
    /// `EBUSY` if they are written down already, `EINVAL` if more files are preserved than
    /// `options` allows.
    pub(crate) fn set_options(&self, options: Options) -> Result {
        let _op = self.op.lock();
        let mut table = self.table.lock();

        if options == table.options {
            return Ok(());
        }
        table.changeable()?;
        if options.max_fds < table.options.max_fds && options.max_fds < table.slots {
            return Err(EINVAL);
        }
        table.options = options;
        Ok(())
    }

    /// Lets `f` change the owner and mode of the root, which it returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` if they are written down already.
    pub(crate) fn change_root(&self, f: impl FnOnce() -> Result<(Kuid, Kgid, u16)>) -> Result {
        let _op = self.op.lock();

        self.table.lock().changeable()?;
        let (uid, gid, mode) = f()?;
        let mut table = self.table.lock();

        table.options = Options {
            uid,
            gid,
            mode,
            ..table.options
        };
        Ok(())
    }

    /// Drops all that a domain in the state `normal` holds, so that it is as new.
    pub(crate) fn clear(&self) -> Result {
        let options = Options::new()?;
        let mut op = self.op.lock();
        let mut table = self.table.lock();
        let preserved = core::mem::take(&mut table.preserved);
        let failure = table.failure.take();

        table.slots = 0;
        table.options = options;
        drop(table);
        op.outgoing = None;
        op.next_token = 0;
        drop(op);
        drop((preserved, failure));
        Ok(())
    }

    // What comes from user space. The caller is inside the gate, but for `hold`.

    /// Reserves `name` for a file that is to be preserved.
    pub(crate) fn reserve(&self, name: &Name) -> Result<(), Failure> {
        let node = RBTreeNode::new(name.try_clone()?, Slot::Pending, GFP_KERNEL_ACCOUNT)?;
        let _op = self.op.lock();
        let mut table = self.table.lock();

        if table.state != State::Normal {
            return Err(Failure::new(EBUSY, "the state forbids it"));
        }
        if table.preserved.get(name).is_some() {
            return Err(Failure::new(EEXIST, "the name is taken"));
        }
        if table.slots >= table.options.max_fds {
            return Err(Failure::new(EDQUOT, "max_fds= files are preserved"));
        }
        table.slots += 1;
        table.pending += 1;
        table.preserved.insert(node);
        Ok(())
    }

    /// Gives back what [`Domain::reserve`] took.
    pub(crate) fn unreserve(&self, name: &Name) {
        let mut table = self.table.lock();

        table.pending -= 1;
        table.slots -= 1;
        let node = table.preserved.remove_node(name);
        drop(table);
        drop(node);
        self.settled.notify_all();
    }

    /// Preserves a file under a name that is reserved for it.
    pub(crate) fn preserve(&self, name: &Name, file: HeldFile) -> Result<(), Failure> {
        let mut op = self.op.lock();
        let size = file.file().i_size_read().try_into().map_err(Error::from)?;
        let token = op.next_token;
        let next_token = token.checked_add(1).ok_or(EOVERFLOW)?;
        let session = match op.outgoing.take() {
            Some(session) => session,
            None => OutgoingSession::create(self.session.as_c_str())
                .map_err(|e| Failure::new(e, "no LUO session can be had"))?,
        };
        let result = session.preserve(file, token);

        op.outgoing = Some(session);
        let compatible = match result {
            Ok(compatible) => compatible,
            Err((file, e)) => {
                self.drop_empty_session(&mut op);
                drop(op);
                // Without the lock: it may be the last reference to the file.
                drop(file);
                return Err(Failure::new(e, "LUO could not preserve it"));
            }
        };
        op.next_token = next_token;

        let mut table = self.table.lock();
        if let Some(slot) = table.preserved.get_mut(name) {
            *slot = Slot::Done(Preserved {
                token,
                size,
                compatible,
            });
        }
        table.pending -= 1;
        drop(table);
        self.settled.notify_all();
        Ok(())
    }

    /// Takes a preserved file back.
    pub(crate) fn unpreserve(&self, name: &Name) -> Result<(), Failure> {
        let mut op = self.op.lock();
        let token = {
            let table = self.table.lock();

            if table.state != State::Normal {
                return Err(Failure::new(EBUSY, "the state forbids it"));
            }
            match table.preserved.get(name) {
                None => return Err(Failure::new(ENOENT, "there is no such file")),
                Some(Slot::Pending) => {
                    return Err(Failure::new(EBUSY, "it is still being preserved"));
                }
                Some(Slot::Done(preserved)) => preserved.token,
            }
        };
        let session = op.outgoing.as_ref().ok_or(ENOENT)?;

        session.unpreserve(token).map_err(|e| {
            if e == EBUSY {
                Failure::new(e, "a file that was preserved later may depend on it")
            } else {
                Failure::new(e, "LUO could not take it back")
            }
        })?;
        let mut table = self.table.lock();
        table.slots -= 1;
        let node = table.preserved.remove_node(name);
        drop(table);
        drop(node);
        self.drop_empty_session(&mut op);
        Ok(())
    }

    /// Destroys a session that holds no file any more.
    fn drop_empty_session(&self, op: &mut Op) {
        let used = self
            .table
            .lock()
            .preserved
            .values()
            .any(|slot| matches!(slot, Slot::Done(_)));

        if !used {
            op.outgoing = None;
        }
    }

    /// Hands out the open file of an entry.
    ///
    /// Runs in the process that gets it, which is charged for its memory.
    pub(crate) fn retrieve(&self, entry: &Entry) -> Result<ARef<File>, Failure> {
        let op = self.op.lock();

        if entry.is_released() {
            return Err(Failure::new(ESTALE, "it was released"));
        }
        if self.state() != State::Updated {
            return Err(Failure::new(EBUSY, "the state forbids it"));
        }
        let session = op.incoming.as_ref().ok_or(EIO)?;

        session
            .retrieve(entry.token)
            .map_err(|e| Failure::new(e, "LUO could not retrieve it"))
    }

    /// Releases an entry for good.
    pub(crate) fn release(&self, entry: &Entry) -> Result<(), Failure> {
        let op = self.op.lock();

        if entry.is_released() {
            return Err(Failure::new(ESTALE, "it was released"));
        }
        if self.state() != State::Updated {
            return Err(Failure::new(EBUSY, "the state forbids it"));
        }
        let session = op.incoming.as_ref().ok_or(EIO)?;

        session.finish_file(entry.token).map_err(|e| {
            if e == EBUSY {
                Failure::new(e, "a file that was preserved later may depend on it")
            } else {
                Failure::new(e, "LUO could not release it")
            }
        })?;
        entry.released.store(true, Relaxed);
        let node = self.table.lock().restorable.remove_node(&entry.name);
        drop(node);
        Ok(())
    }

    /// Carries out an event.
    ///
    /// Returns the files that it released. Their names have to be removed outside the gate: who
    /// reads the directory keeps its lock as long as it likes.
    pub(crate) fn event(&self, event: Event) -> Result<Released, Failure> {
        let mut released = RBTree::new();
        {
            let mut op = self.op.lock();
            let next = self
                .state()
                .after(event)
                .map_err(|e| Failure::new(e, "the state forbids it"))?;

            match event {
                Event::Prepare => op.records = Some(self.write_down(&op)?),
                Event::Cancel => op.records = None,
                Event::Finish => {
                    Self::finish(&mut op)?;
                    released = core::mem::take(&mut self.table.lock().restorable);
                    for entry in released.values() {
                        entry.released.store(true, Relaxed);
                    }
                }
            }
            self.table.lock().state = next;
        }
        self.state_has_changed();
        Ok(Released(released))
    }

    fn finish(op: &mut Op) -> Result<(), Failure> {
        let Some(session) = op.incoming.take() else {
            return Ok(());
        };

        session.finish().map_err(|(session, e)| {
            op.incoming = Some(session);
            Failure::new(e, "LUO could not finish it")
        })
    }

    /// Writes the domain down for the next kernel.
    fn write_down(&self, op: &Op) -> Result<Records, Failure> {
        if let Some(failure) = self.table.lock().pending_failure() {
            return Err(failure);
        }
        let session = op.outgoing.as_ref().map(|_| &self.session);

        // Under `op` no file comes or goes, but for names that are given up.
        Records::new(|writer| {
            let table = self.table.lock();
            let files = table
                .preserved
                .iter()
                .filter_map(|(name, slot)| match slot {
                    Slot::Pending => None,
                    Slot::Done(preserved) => Some((name, preserved.token, preserved.size)),
                });

            writer.domain(&self.name, session, &table.options, files)
        })
        .map_err(|e| Failure::new(e, "it could not be written down"))
    }

    // What a reboot does, behind the shut gate.

    /// Freezes the domain for a reboot, and prepares it if nobody did.
    ///
    /// Waits for files that are just being preserved; what is left of `patience` then is for the
    /// next domain. Returns whether it was prepared here. A domain that nobody finished keeps what
    /// is known of itself; the files that were handed over to it end with this kernel.
    pub(crate) fn freeze(&self, patience: &mut Jiffies) -> Result<bool, Failure> {
        self.settle(patience)?;

        let mut op = self.op.lock();
        let before = self.state();
        let written = match before {
            State::Normal | State::Updated => {
                op.records = Some(self.write_down(&op)?);
                true
            }
            State::Prepared | State::Frozen => false,
        };
        let mut table = self.table.lock();

        table.before_reboot = before;
        table.state = State::Frozen;
        drop(table);
        drop(op);
        self.state_has_changed();
        Ok(written)
    }

    /// Whether files that were handed over end with this kernel, as nobody finished the domain.
    pub(crate) fn loses_files(&self) -> bool {
        !self.table.lock().restorable.is_empty()
    }

    /// Calls `f` with what is written down for the next kernel.
    pub(crate) fn with_records<T>(&self, f: impl FnOnce(&Records) -> Result<T>) -> Result<T> {
        f(self.op.lock().records.as_ref().ok_or(EINVAL)?)
    }

    /// Undoes [`Domain::freeze`].
    pub(crate) fn thaw(&self) {
        {
            let mut op = self.op.lock();
            let mut table = self.table.lock();

            if table.state != State::Frozen {
                return;
            }
            table.state = table.before_reboot;
            let prepared = table.state == State::Prepared;
            drop(table);
            if !prepared {
                op.records = None;
            }
        }
        self.state_has_changed();
    }

    /// Waits for the files that are being preserved, as long as `patience` lasts.
    fn settle(&self, patience: &mut Jiffies) -> Result<(), Failure> {
        let mut table = self.table.lock();

        while table.pending != 0 && *patience != 0 {
            use kernel::sync::CondVarTimeoutResult as Woken;

            *patience = match self
                .settled
                .wait_interruptible_timeout(&mut table, *patience)
            {
                Woken::Woken { jiffies } => jiffies,
                Woken::Signal { .. } => return Err(Failure::new(EINTR, "a signal came")),
                Woken::Timeout => 0,
            };
        }
        table.pending_failure().map_or(Ok(()), Err)
    }

    // What a load of LUO's sessions does.

    /// Claims the session with the files that were handed over.
    ///
    /// Files without a record get a name, and records without a file are dropped.
    pub(crate) fn claim(&self) -> Result {
        let session = match IncomingSession::claim(self.session.as_c_str()) {
            Ok(session) => session,
            Err(e) if e == ENOENT => {
                let lost = core::mem::take(&mut self.table.lock().restorable);

                for name in lost.keys() {
                    pr_warn!("{}: {name}: LUO has no session with it\n", self.name);
                }
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let mut tokens = KVVec::new();

        session.for_each_file(&mut |token, _| Ok(tokens.push(token, GFP_KERNEL)?))?;
        let old = core::mem::take(&mut self.table.lock().restorable);
        let there = self.intersect(&old, &tokens)?;
        let mut op = self.op.lock();

        // Nothing needs it, but a token then means one file over many kexecs.
        op.next_token = tokens
            .iter()
            .max()
            .and_then(|token| token.checked_add(1))
            .unwrap_or(0);
        op.incoming = Some(session);
        self.table.lock().restorable = there;
        Ok(())
    }

    /// Returns the files that there are: those of `old` that `tokens` has, and a name for each
    /// other.
    fn intersect(
        &self,
        old: &RBTree<Name, Arc<Entry>>,
        tokens: &[u64],
    ) -> Result<RBTree<Name, Arc<Entry>>> {
        let mut by_token = RBTree::new();
        let mut there = RBTree::new();

        for entry in old.values() {
            by_token.try_create_and_insert(entry.token, entry.clone(), GFP_KERNEL)?;
        }
        for &token in tokens {
            let entry = match by_token.remove(&token) {
                Some(entry) => entry,
                None => {
                    let name = Name::of_token(token)?;

                    pr_warn!("{}: a file without a record is {name}\n", self.name);
                    Entry::new(name, token, 0)?
                }
            };
            let name = entry.name.try_clone()?;

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

    // What others are told.

    /// Keeps why something failed, or that it succeeded, for `error`, and wakes who polls.
    ///
    /// Returns whether that is a change.
    pub(crate) fn note(&self, failure: Option<Failure>) -> bool {
        let old = {
            let mut table = self.table.lock();

            if failure.is_none() && table.failure.is_none() {
                return false;
            }
            core::mem::replace(&mut table.failure, failure)
        };

        drop(old);
        self.error_changes.add(1, Relaxed);
        self.changed.notify_all();
        true
    }

    /// Wakes who polls `state`.
    fn state_has_changed(&self) {
        self.state_changes.add(1, Relaxed);
        self.changed.notify_all();
    }
}

impl Entry {
    fn new(name: Name, token: u64, size: u64) -> Result<Arc<Self>> {
        let entry = Self {
            name,
            size,
            token,
            released: Atomic::new(false),
        };

        Ok(Arc::new(entry, GFP_KERNEL_ACCOUNT)?)
    }

    /// Whether the file was released, by `rm` or `finish`.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }
}
