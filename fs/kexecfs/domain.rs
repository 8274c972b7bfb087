// SPDX-License-Identifier: GPL-2.0-only

//! One preservation domain: its state, its files, its limits.
//!
//! `op` is held over each operation, calls into LUO included; `table` is a leaf, held for a look
//! at what it guards and never over a call out. See `registry.rs` for the order of all locks.

use crate::{
    content::size_of,
    gate::Gate,
    handover::{
        Arrived,
        Records,
        Writer, //
    },
    name::Name,
    options::{
        Errors,
        Options, //
    },
    prepare::HandedOn,
    sb::KexecFs,
    space::{
        bytes_of,
        Room,
        Space, //
    },
    state::{
        Event,
        State, //
    },
    tree::Tree,
};
use kernel::{
    alloc::AllocError,
    fs::{
        file::Offset,
        xattr::SimpleXattrCache,
        ActiveSuper,
        File,
        Path,
        SuperBlock, //
    },
    liveupdate::{
        Compatible,
        HeldFile,
        IncomingSession,
        OutgoingSession, //
    },
    new_condvar,
    new_mutex,
    new_spinlock,
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
        srcu,
        Arc,
        CondVar,
        Mutex,
        SpinLock, //
    },
    task::{
        Kgid,
        Kuid, //
    },
    time::{
        Instant,
        Jiffies,
        Monotonic, //
    }, //
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

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        Error::from(error).into()
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
    /// How many bytes it counts for the domain's limit.
    counted: u64,
    pub(crate) compatible: Compatible,
}

/// A name in `fd_preserve`.
enum Slot {
    /// Its file is waited for.
    Pending,
    Done(Preserved),
}

impl Slot {
    /// How many bytes it counts for the domain's limit.
    fn bytes(&self) -> u64 {
        match self {
            Slot::Pending => 0,
            Slot::Done(preserved) => preserved.counted,
        }
    }
}

/// A file that was handed over: a name in `fd_restore`.
#[pin_data]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) size: u64,
    pub(crate) token: u64,
    /// Set once the file is released, by `rm` or `finish`.
    released: Atomic<bool>,
    /// Set once the file has been restored. Changed under `Domain::op`.
    pub(crate) restored: Atomic<bool>,
    /// The file, if it was handed on after it had been restored: LUO is done with it then.
    #[pin]
    kept: SpinLock<Option<ARef<File>>>,
}

/// A file in `fd_restore` that is handed on.
pub(crate) struct Carried {
    pub(crate) entry: Arc<Entry>,
    /// Its size, and how many bytes more than before it counts for the limit, if it has been
    /// restored.
    pub(crate) size: u64,
    pub(crate) counted: u64,
}

/// The files that an event released.
pub(crate) struct Released(RBTree<Name, Arc<Entry>>);

impl Released {
    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

/// What is left of a domain that has been discarded.
pub(crate) struct Discarded {
    /// Whether its LUO session isn't its own, or no more.
    pub(crate) unclaimed: bool,
    _kept: Option<ActiveSuper<KexecFs>>,
    _undone: KVVec<HandedOn>,
}

/// What the machine-wide view shows of a domain.
pub(crate) struct Line {
    pub(crate) state: State,
    pub(crate) mounted: bool,
    pub(crate) files: u64,
    pub(crate) inodes: u64,
    pub(crate) bytes: u64,
    pub(crate) handed_over: usize,
    pub(crate) options: Options,
    /// In seconds.
    pub(crate) waiting: Option<u64>,
}

/// What the lock `op` guards: the domain's dealings with LUO and KHO.
pub(crate) struct Op {
    pub(crate) outgoing: Option<OutgoingSession>,
    pub(crate) incoming: Option<IncomingSession>,
    /// What is written down for the next kernel, from `prepare` on.
    pub(crate) records: Option<Records>,
    /// The files of `data/` that are handed over as files, from `prepare` on.
    pub(crate) handed_on: KVVec<HandedOn>,
    /// The files in `fd_restore` that are handed on, from `prepare` on.
    pub(crate) carried: KVVec<Carried>,
    /// Likewise, those of a tree that nobody mounted.
    pub(crate) carried_tokens: KVVec<u64>,
    pub(crate) next_token: u64,
    /// How many files of `data/` are in the incoming session.
    pub(crate) unopened: u32,
    /// Whether a reboot goes on without the domain.
    left_behind: bool,
}

impl Op {
    /// Retrieves a file of `data/` for good.
    pub(crate) fn take_over(&mut self, token: u64, size: Offset) -> Result<ARef<File>> {
        let session = self.incoming.as_ref().ok_or(EIO)?;
        // A record without its file is no file that isn't there.
        let file = session
            .retrieve(token)
            .map_err(|e| if e == ENOENT { EIO } else { e })?;

        if file.i_size_read() != size {
            pr_err!("a file in data/ has another size than its record\n");
            return Err(EIO);
        }
        session.finish_file(token)?;
        self.unopened = self.unopened.saturating_sub(1);
        Ok(file)
    }
}

/// What the lock `table` guards: all that can be looked at.
struct Table {
    state: State,
    /// The states that a cancelled prepare and a failed reboot go back to.
    before_prepare: State,
    before_reboot: State,
    options: Options,
    preserved: RBTree<Name, Slot>,
    /// How many of `preserved` there are, with and without their files.
    slots: u32,
    pending: u32,
    /// Whether the domain is being prepared just now.
    preparing: bool,
    restorable: RBTree<Name, Arc<Entry>>,
    /// `data/` as it came, until the domain is mounted.
    tree: Option<Arc<Tree>>,
    failure: Option<Failure>,
    /// How the domain came, until it is finished.
    came: Option<Came>,
    /// How many bytes of records are written down for the next kernel.
    written: Option<usize>,
}

/// How a domain came that waits to be finished.
struct Came {
    since: Instant<Monotonic>,
    /// For how many seconds it has waited in earlier kernels.
    waited: u64,
    /// How many bytes of records came with it.
    bytes: usize,
}

impl Came {
    /// For how many seconds nobody has finished the domain.
    fn waiting(&self) -> u64 {
        let here = u64::try_from(self.since.elapsed().as_millis() / 1000).unwrap_or(0);

        self.waited.saturating_add(here)
    }
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
    /// `EBUSY` unless the domain is in the state `state`, and stays so: while it is being prepared
    /// nothing is added or removed.
    fn remains(&self, state: State) -> Result<(), Failure> {
        if self.state != state {
            Err(Failure::new(EBUSY, "the state forbids it"))
        } else if self.preparing {
            Err(Failure::new(EBUSY, "it is being prepared"))
        } else {
            Ok(())
        }
    }

    /// # Errors
    ///
    /// `ESTALE` if `entry` was released, `EBUSY` if the state forbids to touch it.
    fn touchable(&self, entry: &Entry) -> Result<(), Failure> {
        if entry.is_released() {
            return Err(Failure::new(ESTALE, "it was released"));
        }
        self.remains(State::Updated)
    }

    /// # Errors
    ///
    /// `EBUSY` if the domain is written down, or is just being so.
    fn changeable(&self) -> Result {
        match self.state {
            State::Normal | State::Updated if !self.preparing => Ok(()),
            _ => Err(EBUSY),
        }
    }
}

/// A preservation domain.
#[pin_data]
pub(crate) struct Domain {
    pub(crate) name: Name,
    session: Name,
    #[pin]
    pub(crate) op: Mutex<Op>,
    #[pin]
    table: Mutex<Table>,
    /// What changes names, attributes and sizes in `data/` is inside.
    #[pin]
    pub(crate) changes: Gate,
    #[pin]
    pub(crate) space: Space,
    /// Finds the extended attributes in `data/`.
    pub(crate) xattrs: Arc<SimpleXattrCache>,
    /// How often preparing began or was undone: see [`Content::plan`](crate::content::Content).
    pub(crate) prepares: Atomic<u32>,
    walks: Atomic<u32>,
    /// How many inodes of `data/` there are, with and without a name.
    pub(crate) inodes: Atomic<i32>,
    /// Keeps the superblock while the domain has to live on without a mount.
    #[pin]
    kept: Mutex<Option<ActiveSuper<KexecFs>>>,
    /// Notified when `pending` falls, or when the domain has been prepared.
    #[pin]
    settled: CondVar,
    changed: PollCondVarBox,
    /// For what its users make the log say.
    #[pin]
    pub(crate) messages: Ratelimit,
    /// Whether the session that was handed over is ours. Changed under `Registry::domains`.
    claimed: Atomic<bool>,
    /// Set for good once the domain is discarded.
    discarded: Atomic<bool>,
    /// How often `state` and `error` have changed.
    state_changes: Atomic<u32>,
    error_changes: Atomic<u32>,
}

impl Domain {
    /// An empty domain.
    pub(crate) fn new(name: Name) -> Result<Arc<Self>> {
        let session = name.session()?;
        let options = Options::new()?;

        Self::with(name, session, options, RBTree::new(), None, None)
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
        let waiting = counted(&restorable);
        let domain = Self::with(
            arrived.name,
            session,
            arrived.options,
            restorable,
            arrived.tree,
            Some(Came {
                since: Instant::now(),
                waited: arrived.waited,
                bytes: arrived.len,
            }),
        )?;

        domain.space.count_bytes(waiting);
        Ok(domain)
    }

    fn with(
        name: Name,
        session: Name,
        options: Options,
        restorable: RBTree<Name, Arc<Entry>>,
        tree: Option<Arc<Tree>>,
        came: Option<Came>,
    ) -> Result<Arc<Self>> {
        let state = match came {
            Some(_) => State::Updated,
            None => State::Normal,
        };
        let changed = PollCondVarBox::new(c"Domain::changed", kernel::static_lock_class!())?;

        Arc::pin_init(
            try_pin_init!(Self {
                name,
                session,
                op <- new_mutex!(
                    Op {
                        outgoing: None,
                        incoming: None,
                        records: None,
                        handed_on: KVVec::new(),
                        carried: KVVec::new(),
                        carried_tokens: KVVec::new(),
                        next_token: 0,
                        unopened: 0,
                        left_behind: false,
                    },
                    "Domain::op"
                ),
                table <- new_mutex!(
                    Table {
                        state,
                        before_prepare: state,
                        before_reboot: state,
                        options,
                        preserved: RBTree::new(),
                        slots: 0,
                        pending: 0,
                        preparing: false,
                        restorable,
                        tree,
                        failure: None,
                        came,
                        written: None,
                    },
                    "Domain::table"
                ),
                changes <- Gate::new(),
                space <- Space::new(&options),
                xattrs: SimpleXattrCache::new()?,
                prepares: Atomic::new(1),
                walks: Atomic::new(0),
                inodes: Atomic::new(0),
                kept <- new_mutex!(None, "Domain::kept"),
                settled <- new_condvar!("Domain::settled"),
                changed,
                messages <- Ratelimit::new(),
                claimed: Atomic::new(state != State::Updated),
                discarded: Atomic::new(false),
                state_changes: Atomic::new(0),
                error_changes: Atomic::new(0),
            }? Error),
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

    /// Whether no file is preserved, none waits to be restored, and `data/` is empty.
    pub(crate) fn is_empty(&self) -> bool {
        // One is `data/` itself.
        let data = self.space.usage().inodes() > 1;
        let table = self.table.lock();

        table.preserved.is_empty() && table.restorable.is_empty() && table.tree.is_none() && !data
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

    // What keeps it.

    /// Keeps the superblock alive without a mount, or no longer, as the state and the options say.
    ///
    /// May be the end of a superblock that isn't mounted: not under one of its locks, or inside a
    /// gate. A remount is no such end.
    pub(crate) fn keep(&self, sb: &SuperBlock<KexecFs>) {
        let mut kept = self.kept.lock();
        let stays = {
            let table = self.table.lock();

            table.state != State::Normal || table.options.persist
        };
        let ended = if !stays || self.is_discarded() {
            kept.take()
        } else {
            if kept.is_none() {
                *kept = sb.get_active();
            }
            None
        };

        drop(kept);
        drop(ended);
    }

    /// Whether the superblock is kept, and nobody else uses it.
    fn is_only_kept(&self) -> bool {
        self.kept
            .lock()
            .as_ref()
            .is_some_and(|sb| sb.s_active() == 1)
    }

    /// Whether the domain has been discarded.
    fn is_discarded(&self) -> bool {
        self.discarded.load(Relaxed)
    }

    /// # Errors
    ///
    /// `ESTALE` if the domain has been discarded.
    pub(crate) fn alive(&self) -> Result {
        if self.is_discarded() {
            return Err(ESTALE);
        }
        Ok(())
    }

    /// Enters the gate for changes of `data/`.
    ///
    /// # Errors
    ///
    /// `ESTALE`, `EBUSY` if the domain is prepared.
    pub(crate) fn change(&self) -> Result<srcu::Guard<'_>> {
        self.alive()?;
        self.changes.enter()
    }

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
        // Who prepares or preserves just now finds that under `op`, and undoes what it did.
        self.discarded.store(true, Relaxed);
        let undone = {
            let mut op = self.op.lock();

            self.take_back(&mut op)
        };

        self.forget_tree();
        let cleared = self.clear();

        if let Err(e) = &cleared {
            pr_err!("{}: its LUO session can't be finished: {e:?}\n", self.name);
        }
        self.set_state(State::Normal);
        self.error_changes.add(1, Relaxed);
        Ok(Discarded {
            unclaimed: cleared.is_err() || !self.claimed.load(Relaxed),
            _kept: self.kept.lock().take(),
            _undone: undone,
        })
    }

    /// `data/` as it came, if the domain has not been mounted since.
    pub(crate) fn tree(&self) -> Option<Arc<Tree>> {
        self.table.lock().tree.clone()
    }

    /// Forgets the tree, which is in the superblock now.
    pub(crate) fn forget_tree(&self) {
        let tree = self.table.lock().tree.take();

        drop(tree);
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
        self.space.set_limits(&options)?;
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

        self.alive()?;
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
        let restorable = core::mem::take(&mut table.restorable);
        let failure = table.failure.take();

        for entry in restorable.values() {
            entry.released.store(true, Relaxed);
        }
        // Who still waits for a file gives its slot back himself.
        table.slots = table.pending;
        table.options = options;
        table.came = None;
        drop(table);
        self.space
            .give_bytes(preserved.values().map(Slot::bytes).sum());
        self.space.give_bytes(counted(&restorable));
        // What else counts is given back as the inodes go, with the superblock.
        let _ = self.space.set_limits(&options);
        op.outgoing = None;
        op.next_token = 0;
        op.unopened = 0;
        let unopened = op.incoming.take().map(IncomingSession::finish);

        drop(op);
        restorable.values().for_each(|entry| entry.let_go());
        drop((preserved, restorable, failure));
        if let Some(Err((_, e))) = unopened {
            return Err(e);
        }
        Ok(())
    }

    // What comes from user space. The caller is inside the gate, but for `hold`.

    /// Reserves `name` for a file that is to be preserved.
    pub(crate) fn reserve(&self, name: &Name) -> Result<(), Failure> {
        let node = RBTreeNode::new(name.try_clone()?, Slot::Pending, GFP_KERNEL_ACCOUNT)?;
        let _op = self.op.lock();
        let mut table = self.table.lock();

        self.alive()?;
        table.remains(State::Normal)?;
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

    /// Makes room for a held file of which `counted` bytes count already.
    pub(crate) fn make_room(&self, file: &HeldFile, counted: u64) -> Result<Room<'_>, Failure> {
        self.space
            .take_room(bytes_of_held(file).saturating_sub(counted))
            .map_err(|e| Failure::new(e, "size= bytes are held"))
    }

    /// Makes room for what such a file has beyond its end as well, once its holes are filled.
    pub(crate) fn fit_room(
        &self,
        room: &mut Room<'_>,
        file: &HeldFile,
        counted: u64,
    ) -> Result<(), Failure> {
        room.extend_to(bytes_of_held(file).saturating_sub(counted))
            .map_err(|e| Failure::new(e, "size= bytes are held"))
    }

    /// Preserves a file under a name that is reserved for it.
    pub(crate) fn preserve(
        &self,
        name: &Name,
        file: HeldFile,
        room: Room<'_>,
    ) -> Result<(), Failure> {
        let size = size_of_held(&file);
        let mut op = self.op.lock();
        let token = op.next_token;
        let next_token = token.checked_add(1).ok_or(EOVERFLOW)?;
        let result = match self.make_session(&mut op) {
            Ok(session) => session.preserve(file, token),
            Err(failure) => {
                drop(op);
                // Without the lock: it may be the last reference to the file.
                drop(file);
                return Err(failure);
            }
        };
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
        let counted = room.fill();
        op.next_token = next_token;

        let mut table = self.table.lock();
        if let Some(slot) = table.preserved.get_mut(name) {
            *slot = Slot::Done(Preserved {
                token,
                size,
                counted,
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

            self.alive()?;
            table.remains(State::Normal)?;
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
        if let Some(node) = node {
            let (_, slot) = node.to_key_value();

            self.space.give_bytes(slot.bytes());
        }
        self.drop_empty_session(&mut op);
        Ok(())
    }

    /// Destroys a session that holds no file any more.
    pub(crate) fn drop_empty_session(&self, op: &mut Op) {
        let used = !op.handed_on.is_empty()
            || !op.carried.is_empty()
            || !op.carried_tokens.is_empty()
            || self
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

        self.alive()?;
        self.table.lock().touchable(entry)?;
        if let Some(file) = entry.kept() {
            return Ok(file);
        }
        let session = op.incoming.as_ref().ok_or(EIO)?;
        let file = session
            .retrieve(entry.token)
            .map_err(|e| Failure::new(e, "LUO could not retrieve it"))?;

        entry.restored.store(true, Relaxed);
        Ok(file)
    }

    /// Releases an entry for good.
    pub(crate) fn release_entry(&self, entry: &Entry) -> Result<(), Failure> {
        let op = self.op.lock();

        self.alive()?;
        self.table.lock().touchable(entry)?;
        if entry.kept().is_none() {
            let session = op.incoming.as_ref().ok_or(EIO)?;

            session.finish_file(entry.token).map_err(|e| {
                if e == EBUSY {
                    Failure::new(e, "a file that was preserved later may depend on it")
                } else {
                    Failure::new(e, "LUO could not release it")
                }
            })?;
        }
        entry.released.store(true, Relaxed);
        let node = self.table.lock().restorable.remove_node(&entry.name);
        self.space.give_bytes(entry.counted());
        drop(op);
        entry.let_go();
        drop(node);
        Ok(())
    }

    /// Finishes the domain: releases the files that were handed over and not restored.
    ///
    /// Returns them. Their names have to be removed outside the gate: who reads the directory keeps
    /// its lock as long as it likes.
    pub(crate) fn finish(&self) -> Result<Released, Failure> {
        let released = {
            let mut op = self.op.lock();
            let next = self.after(Event::Finish)?;

            self.finish_files(&mut op)?;
            let mut table = self.table.lock();
            let released = core::mem::take(&mut table.restorable);

            for entry in released.values() {
                entry.released.store(true, Relaxed);
            }
            table.state = next;
            table.came = None;
            drop(table);
            self.space.give_bytes(counted(&released));
            released
        };

        released.values().for_each(|entry| entry.let_go());
        self.state_has_changed();
        Ok(Released(released))
    }

    /// The state that `event` leads to, if nothing forbids it.
    pub(crate) fn after(&self, event: Event) -> Result<State, Failure> {
        let table = self.table.lock();

        self.alive()?;
        if table.preparing {
            return Err(Failure::new(EBUSY, "it is being prepared"));
        }
        let next = table
            .state
            .after(event)
            .map_err(|e| Failure::new(e, "the state forbids it"))?;

        Ok(match event {
            Event::Cancel => table.before_prepare,
            Event::Prepare | Event::Finish => next,
        })
    }

    /// Finishes the session, but for files of `data/` that nobody opened yet.
    fn finish_files(&self, op: &mut Op) -> Result<(), Failure> {
        let failure = |e| Failure::new(e, "LUO could not finish it");
        let Some(session) = op.incoming.take() else {
            return Ok(());
        };

        if op.unopened == 0 {
            return session.finish().map_err(|(session, e)| {
                op.incoming = Some(session);
                failure(e)
            });
        }
        let result = self.restorable().and_then(|entries| {
            let mut waiting = RBTree::new();

            for entry in entries {
                waiting.try_create_and_insert(entry.token, (), GFP_KERNEL)?;
            }
            session.finish_but(&|token| waiting.get(&token).is_none())
        });

        op.incoming = Some(session);
        result.map_err(failure)
    }

    /// Writes the records of the domain itself, of the files in `fd_preserve`, and of those in
    /// `fd_restore` that are `carried`.
    pub(crate) fn write_files(&self, carried: &[Carried], writer: &mut Writer<'_>) -> Result {
        let table = self.table.lock();
        let preserved = table
            .preserved
            .iter()
            .filter_map(|(name, slot)| match slot {
                Slot::Pending => None,
                Slot::Done(preserved) => Some((name, preserved.token, preserved.size)),
            });
        let carried = carried
            .iter()
            .map(|carried| (&carried.entry.name, carried.entry.token, carried.size));
        let files = Iterator::chain(preserved, carried);

        let waiting = table.came.as_ref().map(Came::waiting);

        writer.domain(
            &self.name,
            Some(&self.session),
            &table.options,
            waiting,
            files,
        )
    }

    // What preparing does, see `prepare.rs`.

    /// Reserves the domain for who prepares it.
    pub(crate) fn begin_preparing(&self) -> Result<(), Failure> {
        let _op = self.op.lock();

        self.after(Event::Prepare)?;
        let mut table = self.table.lock();

        if let Some(failure) = table.pending_failure() {
            return Err(failure);
        }
        table.preparing = true;
        table.before_prepare = table.state;
        Ok(())
    }

    /// Ends what [`Domain::begin_preparing`] began, in the state `next` if there is one.
    pub(crate) fn end_preparing(&self, next: Option<State>) {
        let mut table = self.table.lock();

        table.preparing = false;
        if let Some(next) = next {
            table.state = next;
        }
        drop(table);
        self.settled.notify_all();
        if next.is_some() {
            self.state_has_changed();
        }
    }

    /// Keeps how many bytes of records are written down, for the machine-wide view.
    pub(crate) fn set_written(&self, written: Option<usize>) {
        self.table.lock().written = written;
    }

    /// Sets the state.
    pub(crate) fn set_state(&self, next: State) {
        self.table.lock().state = next;
        self.state_has_changed();
    }

    /// Waits while the domain is being prepared.
    pub(crate) fn wait_until_prepared(&self) -> Result {
        let mut table = self.table.lock();

        while table.preparing {
            if self.settled.wait_interruptible(&mut table) {
                return Err(ERESTARTSYS);
            }
        }
        Ok(())
    }

    /// Which prepare the plans for files of `data/` are of.
    pub(crate) fn prepares(&self) -> u32 {
        self.prepares.load(Relaxed)
    }

    /// Another number for each walk through `data/`.
    pub(crate) fn next_walk(&self) -> u32 {
        self.walks.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Creates the outgoing session unless there is one.
    pub(crate) fn make_session<'a>(&self, op: &'a mut Op) -> Result<&'a OutgoingSession, Failure> {
        self.alive()?;
        if op.left_behind {
            return Err(Failure::new(EBUSY, "a reboot goes on without it"));
        }
        let session = match op.outgoing.take() {
            Some(session) => session,
            None => OutgoingSession::create(self.session.as_c_str())
                .map_err(|e| Failure::new(e, "no LUO session can be had"))?,
        };

        Ok(op.outgoing.insert(session))
    }

    /// Gives up a file of `data/` that nobody opened.
    ///
    /// A superblock that could not be filled gives nothing up: the next one gets it.
    pub(crate) fn give_up(&self, token: u64) {
        if self.tree().is_some() {
            return;
        }
        let mut op = self.op.lock();

        // If a reboot is under way it ends with this kernel, or at the latest with the domain; if
        // LUO lacks it, it was never counted.
        if let Some(session) = &op.incoming {
            if session.finish_file(token).is_ok() {
                op.unopened = op.unopened.saturating_sub(1);
            }
        }
    }

    // What a reboot does, behind the shut gate.

    /// Marks the domain, which is prepared, as frozen by a reboot.
    ///
    /// `before` is the state to which it goes back if the kexec fails.
    pub(crate) fn set_frozen(&self, before: State) {
        let mut table = self.table.lock();

        table.before_reboot = before;
        table.state = State::Frozen;
        drop(table);
        self.state_has_changed();
    }

    /// Goes back to what the domain was before [`Domain::set_frozen`], and returns that, if a
    /// reboot has frozen it.
    pub(crate) fn set_thawed(&self) -> Option<State> {
        let mut table = self.table.lock();

        if table.state != State::Frozen {
            return None;
        }
        table.state = table.before_reboot;
        Some(table.state)
    }

    /// Calls `f` with what is written down for the next kernel.
    pub(crate) fn with_records<T>(&self, f: impl FnOnce(&Records) -> Result<T>) -> Result<T> {
        f(self.op.lock().records.as_ref().ok_or(EINVAL)?)
    }

    /// Waits for the files that are being preserved, as long as `patience` lasts.
    pub(crate) fn settle(&self, patience: &mut Jiffies) -> Result<(), Failure> {
        let mut table = self.table.lock();

        while (table.pending != 0 || table.preparing) && *patience != 0 {
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
        if table.preparing {
            return Err(Failure::new(EBUSY, "it is still being prepared"));
        }
        table.pending_failure().map_or(Ok(()), Err)
    }

    /// Leaves the domain behind in a reboot that can't prepare it, if its mounter has allowed that.
    ///
    /// Returns whether it is left behind.
    pub(crate) fn leave_behind(&self) -> bool {
        if self.options().errors != Errors::Drop {
            return false;
        }
        let mut op = self.op.lock();

        op.left_behind = true;
        if let Some(session) = &op.outgoing {
            session.exclude(true);
        }
        true
    }

    /// What the next kernel is told of a domain that is left behind.
    pub(crate) fn left_behind_records(&self) -> Result<Records> {
        let options = self.options();

        Records::new(|writer| {
            writer.domain(
                &self.name,
                Some(&self.session),
                &options,
                None,
                core::iter::empty(),
            )?;
            writer.end()
        })
    }

    /// Undoes [`Domain::leave_behind`], and what LUO left behind.
    pub(crate) fn take_along(&self) {
        let mut op = self.op.lock();

        op.left_behind = false;
        if let Some(session) = &op.outgoing {
            session.exclude(false);
        }
    }

    /// Whether the LUO session `name` is that of the domain.
    pub(crate) fn has_session(&self, name: &CStr) -> bool {
        self.session.as_c_str() == name
    }

    /// What LUO could not freeze: the preserved file with the given token.
    pub(crate) fn freeze_failure(&self, token: u64, error: Error) -> Failure {
        let failure = Failure::new(error, "LUO could not freeze it");
        let table = self.table.lock();
        let name = table.preserved.iter().find_map(|(name, slot)| match slot {
            Slot::Done(preserved) if preserved.token == token => Some(name),
            _ => None,
        });

        match name {
            Some(name) => failure.of_file(name),
            None => failure,
        }
    }

    // What the machine-wide view shows.

    /// The line of the domain in `domains`. `mounted` says whether there is a superblock.
    pub(crate) fn describe(&self, mounted: bool) -> Line {
        let usage = self.space.usage();
        let mounted = mounted && !self.is_only_kept();
        let table = self.table.lock();
        let files = u64::from(table.slots) + table.restorable.values().count() as u64;
        let (mut inodes, mut bytes) = (usage.inodes(), usage.bytes);

        if let Some(tree) = &table.tree {
            inodes = tree.inodes() as u64;
            bytes = bytes.saturating_add(tree.bytes());
        }
        Line {
            state: table.state,
            mounted,
            files,
            inodes,
            bytes,
            handed_over: table
                .written
                .or(table.came.as_ref().map(|came| came.bytes))
                .unwrap_or(0),
            options: table.options,
            waiting: table.came.as_ref().map(Came::waiting),
        }
    }

    // What a load of LUO's sessions does.

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
        let session = match IncomingSession::claim(self.session.as_c_str()) {
            Ok(session) => session,
            Err(e) if e == ENOENT => {
                let lost = core::mem::take(&mut self.table.lock().restorable);

                self.space.give_bytes(counted(&lost));
                for name in lost.keys() {
                    pr_warn!("{}: {name}: LUO has no session with it\n", self.name);
                }
                self.check_contents(RBTree::new());
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let mut tokens = KVVec::new();

        session.for_each_file(&mut |token, _| Ok(tokens.push(token, GFP_KERNEL)?))?;
        let mut in_tree = RBTree::new();

        if let Some(tree) = self.tree() {
            for token in tree.tokens() {
                in_tree.try_create_and_insert(token, (), GFP_KERNEL)?;
            }
        }
        let mut files = KVVec::new();
        let mut unopened = 0;

        for &token in &tokens {
            if in_tree.remove(&token).is_some() {
                unopened += 1;
            } else {
                files.push(token, GFP_KERNEL)?;
            }
        }
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

        op.unopened = unopened;

        // A token means one file over many kexecs, also one whose contents are lost.
        let tree = self.tree();
        let recorded = tree.iter().flat_map(|tree| tree.tokens());

        op.next_token = Iterator::chain(recorded, tokens.iter().copied())
            .max()
            .and_then(|token| token.checked_add(1))
            .unwrap_or(0);
        op.incoming = Some(session);
        self.space.give_bytes(counted(&old));
        self.space.count_bytes(counted(&there));
        self.table.lock().restorable = there;
        Ok(())
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
    pub(crate) fn state_has_changed(&self) {
        self.state_changes.add(1, Relaxed);
        self.changed.notify_all();
    }
}

impl Entry {
    fn new(name: Name, token: u64, size: u64) -> Result<Arc<Self>> {
        let entry = pin_init!(Self {
            name,
            size,
            token,
            released: Atomic::new(false),
            restored: Atomic::new(false),
            kept <- new_spinlock!(None, "Entry::kept"),
        });

        Arc::pin_init(entry, GFP_KERNEL_ACCOUNT)
    }

    /// How many bytes it counts for the domain's limit while it waits.
    pub(crate) fn counted(&self) -> u64 {
        bytes_of(self.size, 0)
    }

    /// The file, if LUO is done with it and the domain keeps it.
    pub(crate) fn kept(&self) -> Option<ARef<File>> {
        self.kept.lock().clone()
    }

    /// Keeps the file, which LUO is done with.
    pub(crate) fn keep(&self, file: ARef<File>) {
        let old = self.kept.lock().replace(file);

        drop(old);
    }

    /// Ends [`Entry::keep`]. That may be the end of the file: not under a lock.
    fn let_go(&self) {
        let kept = self.kept.lock().take();

        drop(kept);
    }

    /// Whether the file was released, by `rm` or `finish`.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }
}

/// How many bytes files that wait to be restored count for the domain's limit.
fn counted(restorable: &RBTree<Name, Arc<Entry>>) -> u64 {
    restorable
        .values()
        .fold(0, |sum: u64, entry| sum.saturating_add(entry.counted()))
}

/// The size of a held file, which doesn't change any more.
pub(crate) fn size_of_held(file: &HeldFile) -> u64 {
    size_of(&Path::of_file(file.file()))
}

/// How many bytes a held file counts for a domain's limit.
fn bytes_of_held(file: &HeldFile) -> u64 {
    let inner = Path::of_file(file.file());

    bytes_of(size_of(&inner), inner.i_blocks())
}
