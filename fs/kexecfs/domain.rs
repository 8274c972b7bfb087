// SPDX-License-Identifier: GPL-2.0-only

//! One preservation domain: its state, its files, its limits.
//!
//! `op` is held over each operation, calls into LUO included; `table` is held for a look at what it
//! guards, and never over a call into LUO. See "Locking" in `architecture.rst` for the order
//! of all locks.

// What a domain is made of, which knows of none.
mod entry;
mod given_up;
mod op;
mod table;

// What a domain does.
mod timeout;

mod sessions;

mod arrival;
mod fds;
mod names;
mod states;

mod end;
mod info;
mod mount;

pub(crate) use entry::{
    Attr,
    Entry,
    Owner,
    MODE, //
};
pub(crate) use fds::Released;
pub(crate) use info::DomainInfo;
pub(crate) use op::{
    HeldData,
    HeldEntry, //
};
pub(crate) use sessions::OpGuard;
pub(crate) use timeout::{
    Limit,
    Timeout,
    RETRY_MSECS, //
};

use crate::{
    gate::{
        Gate,
        Inside, //
    },
    handover::{
        IncomingDomain,
        Tree, //
    },
    identity::Identity,
    space::{
        Held,
        Space, //
    },
    types::KexecFs,
    words::{
        failure::Failure,
        name::Name,
        options::Options,
        state::State, //
    }, //
};
use entry::counted;
use given_up::GivenUp;
use kernel::{
    fs::{
        xattr::SimpleXattrCache,
        ActiveSuper, //
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
        Mutex, //
    },
    time::Instant,
    workqueue::{
        impl_has_work,
        new_work,
        Work, //
    }, //
};
use op::Op;
use table::{
    Incoming,
    Table, //
};

impl_has_work! {
    impl HasWork<Self> for Domain { self.give_up_work }
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
    /// Operations that change names, attributes and sizes in `data/` are inside.
    #[pin]
    pub(crate) changes: Gate,
    /// Held by a task that prepares, for lockdep: a wait for the end of that is one for all that
    /// the task waits for.
    #[pin]
    pub(crate) preparing: LockdepMap,
    #[pin]
    pub(crate) space: Space,
    pub(crate) identity: Identity,
    /// Finds the extended attributes in `data/`.
    pub(crate) xattrs: Arc<SimpleXattrCache>,
    /// How often a prepare was undone, by which plans for files of `data/` are void.
    prepares: Atomic<u32>,
    walks: Atomic<u32>,
    /// How many tasks release entries of `fd_restore` and have names to remove.
    releasing: Atomic<u32>,
    /// When a name last came to `fd_restore` or left it, in nanoseconds since 1970, as far as the
    /// inode doesn't say so.
    names_changed: Atomic<i64>,
    /// How many inodes of `data/` there are, with and without a name.
    pub(crate) inodes: Atomic<i32>,
    /// The number of that of `data/` itself, once there is one.
    data_ino: Atomic<u64>,
    /// How often it was tried to restore the tree, and which attempt was published: inodes of
    /// others give up nothing.
    attempt: Atomic<u32>,
    published: Atomic<u32>,
    /// Keeps the superblock while the domain has to live on without a mount.
    #[pin]
    kept: Mutex<Option<ActiveSuper<KexecFs>>>,
    /// Whether it is kept until the domain is used, whatever its state. Changed under `kept`.
    until_used: Atomic<bool>,
    /// Notified when `pending` falls, or when the domain has been prepared.
    #[pin]
    settled: CondVar,
    changed: PollCondVarBox,
    /// Whether `domain=` named it to one of its mounts, whose sources may be any word then.
    named_by_option: Atomic<bool>,
    /// For what its users make the log say.
    #[pin]
    pub(crate) messages: Ratelimit,
    /// Whether the session that was handed over is ours. Changed under `Registry::domains`.
    claimed: Atomic<bool>,
    /// What has to be released in the incoming session, and the work that does it.
    #[pin]
    given_up: Mutex<GivenUp>,
    #[pin]
    give_up_work: Work<Domain>,
    /// Set for good once the domain is discarded.
    discarded: Atomic<bool>,
    /// Whether a reboot goes on without the domain: what the status says, for a prepare, which
    /// looks often. Changed under `table`.
    excluded: Atomic<bool>,
    /// How often `state` and `error` have changed.
    state_changes: Atomic<u32>,
    error_changes: Atomic<u32>,
}

impl Domain {
    /// An empty domain.
    pub(crate) fn new(name: Name) -> Result<Arc<Self>> {
        let session = name.session()?;
        let table = Table::new(Options::new()?, RBTree::new(), None, None);

        Self::with(name, session, Identity::new(), table)
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
            let entry = Entry::incoming(name.try_clone()?, file.token, file.size, None)?;

            restorable.try_create_and_insert(name.try_clone()?, entry, GFP_KERNEL_ACCOUNT)?;
        }
        let (waiting, options) = (counted(&restorable), incoming.options);
        let held = incoming.tree.as_ref().map(|tree| tree.held(options.huge));
        let came = Incoming {
            since: Instant::now(),
            waited: incoming.waited,
            bytes: incoming.len,
        };
        let table = Table::new(options, restorable, incoming.tree, Some(came));
        let domain = Self::with(incoming.name, session, incoming.identity, table)?;

        domain.space.charge_bytes_force(waiting);
        domain.space.set_came(held.unwrap_or_default());
        Ok(domain)
    }

    fn with(name: Name, session: Name, identity: Identity, table: Table) -> Result<Arc<Self>> {
        let space = table.options;
        // That of a new domain is made by it.
        let claimed = table.incoming.is_none();
        let data = table.tree.as_ref().and_then(|tree| tree.inode(0));
        let data_ino = data.map_or(0, |data| data.handle().0);
        let changed = PollCondVarBox::new(c"Domain::changed", kernel::static_lock_class!())?;

        Arc::pin_init(
            try_pin_init!(Self {
                name,
                session,
                op <- new_mutex!(Op::default(), "Domain::op"),
                table <- new_mutex!(table, "Domain::table"),
                changes <- Gate::new(c"Domain::changes", kernel::static_lock_class!()),
                preparing <- LockdepMap::new(
                    c"Domain::preparing",
                    kernel::static_lock_class!()
                ),
                space <- Space::new(&space),
                identity,
                xattrs: SimpleXattrCache::new()?,
                prepares: Atomic::new(1),
                walks: Atomic::new(0),
                releasing: Atomic::new(0),
                names_changed: Atomic::new(names::NEVER),
                inodes: Atomic::new(0),
                data_ino: Atomic::new(data_ino),
                attempt: Atomic::new(0),
                published: Atomic::new(0),
                kept <- new_mutex!(None, "Domain::kept"),
                until_used: Atomic::new(false),
                settled <- new_condvar!("Domain::settled"),
                changed,
                named_by_option: Atomic::new(false),
                messages <- Ratelimit::new(),
                claimed: Atomic::new(claimed),
                given_up <- new_mutex!(GivenUp::default(), "Domain::given_up"),
                give_up_work <- new_work!("Domain::give_up_work"),
                discarded: Atomic::new(false),
                excluded: Atomic::new(false),
                state_changes: Atomic::new(0),
                error_changes: Atomic::new(0),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    // What can be looked at.

    pub(crate) fn state(&self) -> State {
        self.table.lock().state()
    }

    pub(crate) fn options(&self) -> Options {
        self.table.lock().options
    }

    /// Whether the domain stays when it is not mounted, whatever its options say.
    pub(crate) fn is_kept(&self) -> bool {
        self.table.lock().status().is_kept()
    }

    /// How often `state` has changed so far.
    pub(crate) fn state_changes(&self) -> u32 {
        self.state_changes.load(Relaxed)
    }

    /// How often `error` has changed so far.
    pub(crate) fn error_changes(&self) -> u32 {
        self.error_changes.load(Relaxed)
    }

    /// Tasks that poll `state` or `error` wait for this.
    pub(crate) fn changed(&self) -> &PollCondVarBox {
        &self.changed
    }

    /// Whether no file is preserved, none waits to be restored, and `data/` is empty.
    pub(crate) fn is_empty(&self) -> bool {
        // One is `data/` itself.
        let data = self.space.usage().inodes() > 1;
        let table = self.table.lock();

        table.preserved.is_empty() && table.restorable.is_empty() && !data
    }

    /// Whether the domain is as a new one.
    pub(crate) fn is_new(&self) -> bool {
        let table = self.table.lock();

        table.preserved.is_empty()
            && table.tree.is_none()
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

    // What ends it.

    /// Whether the domain has been discarded.
    pub(crate) fn is_discarded(&self) -> bool {
        self.discarded.load(Relaxed)
    }

    /// # Errors
    ///
    /// `ESTALE` if the domain has been discarded.
    pub(crate) fn check_alive(&self) -> Result {
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
    pub(crate) fn enter_changes(&self) -> Result<Inside<'_>> {
        self.check_alive()?;
        self.changes.enter()
    }

    // What came in.

    /// `data/` as it came in, if nobody has looked for it since.
    pub(crate) fn tree(&self) -> Option<Arc<Tree>> {
        self.table.lock().tree.clone()
    }

    /// Forgets the tree, which is in the superblock now, or is dropped.
    pub(crate) fn forget_tree(&self) {
        let tree = {
            let mut table = self.table.lock();

            self.space.set_came(Held::default());
            table.tree.take()
        };

        drop(tree);
    }

    /// Begins another attempt to restore the tree.
    pub(crate) fn begin_restoring(&self) {
        self.attempt.fetch_add(1, Relaxed);
    }

    /// The attempt to restore the tree that is under way.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Relaxed)
    }

    /// Publishes what has been restored of the tree, by `publish`, and forgets it.
    ///
    /// That is inside the gate for changes, also if that is shut: a prepare that has shut it finds
    /// the tree in the superblock, with all that was changed, or the records, and then nothing has
    /// been changed. After an error the domain still has them.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the domain was discarded, and those of `publish`, which a tree of the superblock
    /// doesn't have.
    pub(crate) fn publish_tree<T>(&self, publish: impl FnOnce() -> Result<T>) -> Result<T> {
        let _inside = self.changes.enter_anyway();

        self.check_alive()?;
        // First: a file can be removed as soon as it is there, and is given up then.
        self.published.store(self.attempt(), Relaxed);
        let published = publish()?;

        self.forget_tree();
        Ok(published)
    }

    /// The number of the inode of `data/`.
    pub(crate) fn data_ino(&self) -> u64 {
        self.data_ino.load(Relaxed)
    }

    /// Notes it.
    pub(crate) fn set_data_ino(&self, ino: u64) {
        self.data_ino.store(ino, Relaxed);
    }

    // What preparing does, see `prepare.rs`.

    /// Which prepare the plans for files of `data/` are of.
    pub(crate) fn prepares(&self) -> u32 {
        self.prepares.load(Relaxed)
    }

    /// Another number for each walk through `data/`.
    pub(crate) fn next_walk(&self) -> u32 {
        self.walks.fetch_add(1, Relaxed).wrapping_add(1)
    }

    // What others are told.

    /// Keeps why something failed, or that it succeeded, for `error`, and wakes the tasks that
    /// poll.
    ///
    /// Returns whether that is a change.
    pub(crate) fn set_error(&self, failure: Option<Failure>) -> bool {
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
}
