// SPDX-License-Identifier: GPL-2.0-only

//! One preservation domain: its state, its files, its limits.
//!
//! `op` is held over each operation, calls into LUO included; `table` is a leaf, held for a look
//! at what it guards and never over a call out. See `registry.rs` for the order of all locks.

mod arrival;
mod files;
mod states;

pub(crate) use files::{
    size_of_held,
    Carried,
    Entry, //
};

use crate::{
    gate::{
        Gate,
        Inside, //
    },
    handover::{
        IncomingDomain,
        Records,
        Tree, //
    },
    identity::Identity,
    prepare::{
        HandedOn,
        Large, //
    },
    space::Space,
    types::KexecFs,
    words::{
        failure::Failure,
        name::Name,
        options::Options,
        state::State, //
    }, //
};
use arrival::GivenUp;
use files::{
    counted,
    Slot, //
};
use kernel::{
    fs::{
        sb::FilledSuperBlock,
        xattr::SimpleXattrCache,
        ActiveSuper,
        SuperBlock, //
    },
    liveupdate::{
        IncomingSession,
        OutgoingSession, //
    },
    memcontrol::NoWait,
    new_condvar,
    new_mutex,
    prelude::*,
    ratelimit::Ratelimit,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVarBox,
        Arc,
        CondVar,
        LockdepMap,
        Mutex,
        MutexGuard, //
    },
    task::{
        Kgid,
        Kuid, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work, //
    }, //
};

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
    /// What a prepare held that failed, if what it did was not taken back: a reboot goes on without
    /// the domain.
    unfinished: Option<KVVec<Large>>,
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

impl_has_work! {
    impl HasWork<Self> for Domain { self.give_up_work }
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
    /// Held by whoever prepares, for lockdep: a wait for the end of that is one for all that it
    /// waits for.
    #[pin]
    pub(crate) preparing: LockdepMap,
    #[pin]
    pub(crate) space: Space,
    pub(crate) identity: Identity,
    /// Finds the extended attributes in `data/`.
    pub(crate) xattrs: Arc<SimpleXattrCache>,
    /// How often preparing began or was undone: see [`Content::plan`](crate::data::content::Content).
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
    /// What has to be released in the incoming session, and who does it.
    #[pin]
    given_up: Mutex<GivenUp>,
    #[pin]
    give_up_work: Work<Domain>,
    /// Set for good once the domain is discarded.
    discarded: Atomic<bool>,
    /// Whether a reboot goes on without the domain. Cleared under `op`.
    left_behind: Atomic<bool>,
    /// How often `state` and `error` have changed.
    state_changes: Atomic<u32>,
    error_changes: Atomic<u32>,
}

impl Domain {
    /// An empty domain.
    pub(crate) fn new(name: Name) -> Result<Arc<Self>> {
        let session = name.session()?;
        let options = Options::new()?;

        Self::with(
            name,
            session,
            options,
            Identity::new(),
            RBTree::new(),
            None,
            None,
        )
    }

    /// A domain that the previous kernel handed over.
    ///
    /// Its session has to be [claimed](Self::claim).
    pub(crate) fn updated(incoming: IncomingDomain) -> Result<Arc<Self>> {
        let session = match incoming.session {
            Some(session) => session,
            None => incoming.name.session()?,
        };
        let mut restorable = RBTree::new();

        for (name, file) in &incoming.files {
            let entry = Entry::new(name.try_clone()?, file.token, file.size, None)?;

            restorable.try_create_and_insert(name.try_clone()?, entry, GFP_KERNEL_ACCOUNT)?;
        }
        let waiting = counted(&restorable);
        let domain = Self::with(
            incoming.name,
            session,
            incoming.options,
            incoming.identity,
            restorable,
            incoming.tree,
            Some(Came {
                since: Instant::now(),
                waited: incoming.waited,
                bytes: incoming.len,
            }),
        )?;

        domain.space.count_bytes(waiting);
        Ok(domain)
    }

    fn with(
        name: Name,
        session: Name,
        options: Options,
        identity: Identity,
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
                        unfinished: None,
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
                changes <- Gate::new(c"Domain::changes", kernel::static_lock_class!()),
                preparing <- LockdepMap::new(
                    c"Domain::preparing",
                    kernel::static_lock_class!()
                ),
                space <- Space::new(&options),
                identity,
                xattrs: SimpleXattrCache::new()?,
                prepares: Atomic::new(1),
                walks: Atomic::new(0),
                inodes: Atomic::new(0),
                kept <- new_mutex!(None, "Domain::kept"),
                settled <- new_condvar!("Domain::settled"),
                changed,
                messages <- Ratelimit::new(),
                claimed: Atomic::new(state != State::Updated),
                given_up <- new_mutex!(GivenUp::default(), "Domain::given_up"),
                give_up_work <- new_work!("Domain::give_up_work"),
                discarded: Atomic::new(false),
                left_behind: Atomic::new(false),
                state_changes: Atomic::new(0),
                error_changes: Atomic::new(0),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Locks `op` for a system call, unless the caller is killed while it waits: a retrieve is as
    /// long as its file.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub(crate) fn lock_op(&self) -> Result<MutexGuard<'_, Op>> {
        self.op.lock_killable()
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

    /// Whether the LUO session `name` is that of the domain.
    pub(crate) fn has_session(&self, name: &CStr) -> bool {
        self.session.as_c_str() == name
    }

    /// The line that `error` shows.
    pub(crate) fn error_line(&self, line: &mut KVVec<u8>) -> Result {
        // A reboot waits for the lock.
        let _nowait = NoWait::new();

        match &self.table.lock().failure {
            Some(failure) => failure.line(line),
            None => Ok(()),
        }
    }

    // What keeps it.

    /// Keeps the superblock alive without a mount, or no longer, as the state and the options say.
    ///
    /// May be the end of a superblock that isn't mounted: not under one of its locks, or inside a
    /// gate. A remount is no such end.
    pub(crate) fn keep(&self, sb: &SuperBlock<KexecFs>) {
        self.keep_by(|| sb.get_active());
    }

    /// The same for a superblock that is new.
    pub(crate) fn keep_filled(&self, sb: &FilledSuperBlock<'_, KexecFs>) {
        self.keep_by(|| Some(sb.get_active()));
    }

    fn keep_by(&self, get_active: impl FnOnce() -> Option<ActiveSuper<KexecFs>>) {
        let mut kept = self.kept.lock();
        let stays = {
            let table = self.table.lock();

            table.state != State::Normal || table.options.persist
        };
        let ended = if !stays || self.is_discarded() {
            kept.take()
        } else {
            if kept.is_none() {
                *kept = get_active();
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
    pub(crate) fn change(&self) -> Result<Inside<'_>> {
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
        let _op = self.lock_op()?;
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
        let _op = self.lock_op()?;

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
        self.space.reset_limits(&options);
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

    // What preparing does, see `prepare.rs`.

    /// Keeps how many bytes of records are written down, for the machine-wide view.
    pub(crate) fn set_written(&self, written: Option<usize>) {
        self.table.lock().written = written;
    }

    /// Which prepare the plans for files of `data/` are of.
    pub(crate) fn prepares(&self) -> u32 {
        self.prepares.load(Relaxed)
    }

    /// Another number for each walk through `data/`.
    pub(crate) fn next_walk(&self) -> u32 {
        self.walks.fetch_add(1, Relaxed).wrapping_add(1)
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
        // Once it is prepared that counts for the limit.
        if table.written.is_none() {
            bytes = table
                .restorable
                .values()
                .fold(bytes, |sum, entry| sum.saturating_add(entry.grown_by()));
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
