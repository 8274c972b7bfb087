// SPDX-License-Identifier: GPL-2.0-only

//! All domains, and what happens to all of them at once: the load of what was handed over, and
//! reboot(KEXEC).
//!
//! # Locking
//!
//! ```text
//! i_rwsem (VFS) -> gate -> Domain::op -> LUO -> KHO
//! s_umount (VFS) -> Registry::domains -> gate
//! LUO's load of its sessions -> Registry::domains -> Domain::op -> LUO
//! LUO's freeze of its sessions -> Registry::rebooting -> Registry::root
//! reboot: gate shut, then Registry::domains -> Domain::op -> KHO; Registry::root -> KHO;
//!         and at last, with none of these, s_umount
//! ```
//!
//! What takes time with the bytes of a domain, as to drop it, is done outside `Registry::domains`.
//! In `data/`, `Domain::changes` (a gate like this one) is shut before `Domain::op` is taken, and
//! `Content::state` comes after both. `Space::usage` is a leaf.
//! `Domain::table` is a leaf: it comes after all of these and is never held over a call into LUO,
//! KHO or the VFS. The gate is an SRCU read section behind a flag, so that nobody waits for a
//! reboot: who finds it shut gets `EBUSY`. It is never held over an access to user memory or a
//! wait for the lock of an inode that is preserved, since the reboot waits for all who are inside.

use crate::{
    domain::{
        Domain,
        Line, //
    },
    failure::Failure,
    gate::{
        Gate,
        Inside, //
    },
    handover::{
        self,
        Found,
        Records,
        Root, //
    },
    inode::tell_watchers,
    name::Name,
    options::Errors,
    sb::{
        KexecFs,
        KEXECFS, //
    },
    state::State,
    timeout::Timeout, //
};
use kernel::{
    fs::ActiveSuper,
    kho::abi::kexecfs as abi,
    liveupdate::{
        self,
        IncomingSession,
        RebootNotifier,
        SessionOwner, //
    },
    memalloc::MayFail,
    memcontrol::{
        charge_root,
        NoWait, //
    },
    new_condvar, new_mutex,
    prelude::*,
    ratelimit::Ratelimit,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVarBox,
        srcu,
        Arc,
        CondVar,
        Mutex,
        SetOnce, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant, //
    },
};

static REGISTRY: SetOnce<Arc<Registry>> = SetOnce::new();

/// The registry.
///
/// # Errors
///
/// `ENODEV` if the machine hands nothing over, see [`Registry::start`].
pub(crate) fn registry() -> Result<&'static Arc<Registry>> {
    REGISTRY.as_ref().ok_or(ENODEV)
}

/// How long a reboot waits for other users of files: in all domains that may refuse it.
const TIMEOUT_MSECS: u32 = 2000;

/// How long it takes at most for all domains with `errors=drop`, whatever they hold.
const DROP_TIMEOUT: Delta = Delta::from_millis(2000);

/// What is left of that at least for each of them, since another may have used it up.
const LEAST_DROP_TIMEOUT: Delta = Delta::from_millis(50);

/// What the registry knows of a domain.
struct Slot {
    /// None if the previous kernel handed over a domain that can't be read.
    domain: Option<Arc<Domain>>,
    /// The superblock, and those who are about to mount.
    users: u32,
    /// Whether there is a superblock.
    mounted: bool,
    /// Whether the domain is being emptied, which who wants to mount it waits for.
    dropping: bool,
}

/// A domain of the reboot that is under way.
struct Rebooting {
    domain: Arc<Domain>,
    /// If it is left behind: what the next kernel is told of it.
    _left_behind: Option<Records>,
}

/// All domains.
#[pin_data]
pub(crate) struct Registry {
    /// Shut while a reboot is under way.
    #[pin]
    gate: Gate,
    #[pin]
    domains: Mutex<RBTree<Name, Slot>>,
    /// Notified when a domain has been dropped.
    #[pin]
    dropped: CondVar,
    #[pin]
    root: Mutex<Root>,
    /// The LUO sessions of domains that were discarded though nobody can claim them.
    #[pin]
    given_up: Mutex<KVVec<Name>>,
    /// The LUO sessions of domains that were left behind by the previous kernel, to be finished.
    #[pin]
    left_behind: Mutex<KVVec<Name>>,
    /// The domains of the reboot that is under way, in the order of the index.
    #[pin]
    rebooting: Mutex<KVVec<Rebooting>>,
    /// For messages on domains that are dropped.
    #[pin]
    drops: Ratelimit,
    /// How often what `kexecfsctl` shows has changed, and who waits for that.
    changes: Atomic<u32>,
    changed: PollCondVarBox,
}

impl Registry {
    /// Reads what the previous kernel handed over, and gets ready to hand over.
    ///
    /// Sessions can't be created or claimed yet: LUO comes up later.
    pub(crate) fn start() -> Result {
        let registry = Arc::pin_init(
            try_pin_init!(Self {
                gate <- Gate::new(c"Registry::gate", static_lock_class!()),
                domains <- new_mutex!(RBTree::new(), "Registry::domains"),
                dropped <- new_condvar!("Registry::dropped"),
                root <- new_mutex!(Root::add()?, "Registry::root"),
                given_up <- new_mutex!(KVVec::new(), "Registry::given_up"),
                left_behind <- new_mutex!(KVVec::new(), "Registry::left_behind"),
                rebooting <- new_mutex!(KVVec::new(), "Registry::rebooting"),
                drops <- Ratelimit::new(),
                changes: Atomic::new(0),
                changed: PollCondVarBox::new(c"Registry::changed", static_lock_class!())?,
            }? Error),
            GFP_KERNEL,
        )?;

        registry.read()?;
        REGISTRY.populate(registry);
        liveupdate::register_session_owner::<Self>()?;
        liveupdate::register_reboot_notifier::<Self>()
    }

    /// Takes in the domains that were handed over.
    fn read(&self) -> Result {
        let read = handover::read(&mut |read| {
            let (name, domain) = match read {
                Found::Domain(arrived) => {
                    let name = arrived.name.try_clone()?;

                    (name, Some(Domain::updated(arrived)?))
                }
                Found::LeftBehind(session) => {
                    self.left_behind.lock().push(session, GFP_KERNEL)?;
                    return Ok(());
                }
                Found::Unreadable(unreadable) => {
                    let (why, at, e) = (unreadable.why, unreadable.at, unreadable.error);

                    match unreadable.name {
                        Some(name) => {
                            pr_err!("{name}: can't be read: {why}, at byte {at}: {e:?}\n");
                            (name, None)
                        }
                        None => {
                            pr_err!("a domain can't be read: {why}, at byte {at}: {e:?}\n");
                            return Ok(());
                        }
                    }
                }
            };
            let node = RBTreeNode::new(name, Slot::new(domain), GFP_KERNEL)?;
            let twice = self.domains.lock().insert(node);

            if let Some(twice) = twice {
                let (name, _) = twice.to_key_value();

                pr_err!("{name}: can't be read: it was handed over twice\n");
                if let Some(slot) = self.domains.lock().get_mut(&name) {
                    slot.domain = None;
                }
            }
            Ok(())
        });

        match read {
            Err(e) if e == ENOMEM => Err(e),
            // What is wrong with the root has been said, and doesn't keep anybody from new domains.
            _ => Ok(()),
        }
    }

    // The gate.

    /// Enters the gate, which keeps a reboot waiting.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a reboot is under way.
    pub(crate) fn enter(&self) -> Result<Inside<'_>> {
        self.gate.enter()
    }

    /// Enters it for a retrieve, which may take long: LUO ends it when a reboot waits.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a reboot is under way.
    pub(crate) fn enter_throttled(&self) -> Result<srcu::Guard<'_>> {
        self.gate.enter_throttled()
    }

    // Mounts.

    /// Finds or makes the domain with the given name, for a mount.
    ///
    /// # Errors
    ///
    /// `EBUSY` in a reboot, `EIO` if it was handed over and can't be read, `EOPNOTSUPP` if LUO has
    /// no handler for one of its files, `ENODEV` if LUO is off, `ENOMEM`.
    pub(crate) fn find(&'static self, name: Name) -> Result<Mounting> {
        // Before all locks: it has its own.
        let loaded = liveupdate::load();

        loaded.map_err(|e| if e == EOPNOTSUPP { ENODEV } else { e })?;
        let fresh = Domain::new(name.try_clone()?)?;
        let is_left_over = self.is_left_over(&fresh)?;
        let node = RBTreeNode::new(name.try_clone()?, Slot::new(None), GFP_KERNEL_ACCOUNT)?;
        let mut domains = self.domains.lock();

        while domains.get(&name).is_some_and(|slot| slot.dropping) {
            if self.dropped.wait_interruptible(&mut domains) {
                return Err(EINTR);
            }
        }
        let _inside = self.enter()?;
        let slot = match domains.get_mut(&name) {
            Some(slot) => slot,
            None if is_left_over => {
                pr_err!("{name}: LUO has a session for it without its records\n");
                return Err(EIO);
            }
            None => {
                domains.insert(node);
                let slot = domains.get_mut(&name).ok_or(ENOMEM)?;

                slot.domain = Some(fresh);
                slot
            }
        };
        let domain = slot.domain.clone().ok_or(EIO)?;

        // Anew, if a handler was missing.
        domain.claim()?;
        slot.users += 1;
        Ok(Mounting {
            registry: self,
            domain,
        })
    }

    /// Whether the previous kernel handed over a session of a new domain's name, with files and
    /// without records that can be read.
    fn is_left_over(&self, domain: &Domain) -> Result<bool> {
        let mut found = false;

        liveupdate::for_each_incoming(&mut |session, claimed| {
            found |= !claimed && domain.has_session(session);
            Ok(())
        })?;
        Ok(found
            && !self
                .given_up
                .lock()
                .iter()
                .any(|name| domain.has_session(name.as_c_str())))
    }

    /// Discards the session of a domain whose records can't be read.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none.
    fn discard_session(&self, name: &Name) -> Result {
        let session = name.session()?;

        let finished = match IncomingSession::claim(session.as_c_str()) {
            Ok(session) => session.finish().map_err(|(_, e)| e),
            Err(e) if e == ENOENT || e == EBUSY => return Err(e),
            Err(e) => Err(e),
        };

        // Its memory comes back with the next kexec.
        if finished.is_err() {
            self.given_up.lock().push(session, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Finishes the sessions of the domains that were left behind: nobody else knows of them.
    fn finish_left_behind(&self) {
        let names = core::mem::take(&mut *self.left_behind.lock());

        for name in &names {
            let finished = match IncomingSession::claim(name.as_c_str()) {
                Ok(session) => session.finish().map_err(|(_, e)| e),
                // It held no file.
                Err(e) if e == ENOENT => Ok(()),
                Err(e) => Err(e),
            };

            if let Err(e) = finished {
                pr_err!("the LUO session {name}, left behind, can't be finished: {e:?}\n");
            }
        }
    }

    /// Counts a new superblock of a domain.
    pub(crate) fn mounted(&self, domain: &Domain) {
        if let Some(slot) = self.domains.lock().get_mut(&domain.name) {
            if slot.is_of(domain) {
                slot.users += 1;
                slot.mounted = true;
            }
        }
    }

    /// Counts the end of a superblock, and drops the domain in the state `normal`.
    pub(crate) fn unmounted(&self, domain: &Domain) {
        self.put(domain, |slot| slot.mounted = false);
    }

    /// Gives up a use of a domain.
    fn put(&self, domain: &Domain, f: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.domains.lock().get_mut(&domain.name) {
            // The name may be another domain's by now, after a `discard`.
            if slot.is_of(domain) {
                slot.users -= 1;
                f(slot);
            }
        }
        self.drop_unused(Some(&domain.name));
    }

    /// Drops the given domain, or all, if unmounted in the state `normal`.
    fn drop_unused(&self, name: Option<&Name>) {
        loop {
            let mut domains = self.domains.lock();
            // In a reboot nothing is dropped: if it fails, `thaw` comes back to it. That opens the
            // gate before it takes this lock, and a reboot takes it after it shut the gate.
            let Ok(_inside) = self.enter() else {
                return;
            };
            let slot = match name {
                Some(name) => domains.get_mut(name),
                None => domains.values_mut().find(|slot| slot.can_drop().is_some()),
            };
            let Some((slot, domain)) = slot.and_then(|slot| slot.can_drop().map(|d| (slot, d)))
            else {
                return;
            };

            slot.dropping = true;
            drop(domains);
            self.tell_dropped(&domain);
            if let Err(e) = domain.clear() {
                pr_err!("{}: could not be dropped: {e:?}\n", domain.name);
            }
            let mut domains = self.domains.lock();
            let unused = domains.get_mut(&domain.name).is_some_and(|slot| {
                slot.dropping = false;
                slot.users == 0 && slot.is_of(&domain)
            });
            let node = unused.then(|| domains.remove_node(&domain.name));

            drop(domains);
            drop(node);
            self.dropped.notify_all();
            // One that others are about to mount stays, empty.
            if name.is_some() {
                return;
            }
        }
    }

    /// Says in the log that a domain goes with its last mount, if it holds something.
    fn tell_dropped(&self, domain: &Domain) {
        let held = domain.describe(false);
        // One is `data/` itself.
        let entries = held.inodes.saturating_sub(1);

        if (held.files != 0 || entries != 0) && self.drops.ratelimit(c"kexecfs") {
            pr_notice!(
                "{}: dropped, as it is normal and no longer mounted (preserved files: {}, entries \
                 of data/: {entries}, bytes: {}): to keep it, prepare it or mount it with \
                 persist\n",
                domain.name,
                held.files,
                held.bytes
            );
        }
    }

    /// All domains that can be read.
    pub(crate) fn domains(&self) -> Result<KVVec<Arc<Domain>>> {
        let mut all = KVVec::new();

        for slot in self.domains.lock().values() {
            if let Some(domain) = &slot.domain {
                all.push(domain.clone(), GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    // The machine-wide view.

    /// Calls `each` for every domain that there is: with its name and what there is to know of it,
    /// or None if it can't be read.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Name, Option<Line>) -> Result) -> Result {
        // Others wait for the lock: mounts, unmounts and reboots.
        let _nowait = NoWait::new();

        for (name, slot) in self.domains.lock().iter() {
            let line = slot
                .domain
                .as_ref()
                .map(|domain| domain.describe(slot.mounted));

            each(name, line)?;
        }
        Ok(())
    }

    /// The state of the machine: `frozen` in a reboot, `updated` while any domain is.
    pub(crate) fn state(&self) -> State {
        if self.gate.is_shut() {
            return State::Frozen;
        }
        let waits = self.domains.lock().values().any(|slot| {
            slot.domain
                .as_ref()
                .is_some_and(|domain| domain.state() == State::Updated)
        });

        if waits {
            State::Updated
        } else {
            State::Normal
        }
    }

    /// Drops a domain whatever it holds, for good. Its name is free afterwards.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none of that name, `EBUSY` in a reboot, or if it is mounted and `force`
    /// isn't given.
    pub(crate) fn discard(&self, name: &Name, force: bool) -> Result {
        liveupdate::load()?;
        let inside = self.enter()?;
        let (domain, mounted) = {
            let mut domains = self.domains.lock();
            let Some(slot) = domains.get_mut(name) else {
                drop(domains);
                self.discard_session(name)?;
                pr_notice!("{name}: discarded\n");
                return Ok(());
            };

            if slot.dropping || (slot.users > u32::from(slot.mounted) && !force) {
                return Err(EBUSY);
            }
            slot.dropping = true;
            (slot.domain.clone(), slot.mounted)
        };
        let discarded = domain
            .as_ref()
            .map_or(Ok(None), |domain| domain.discard(mounted, force).map(Some));
        let mut domains = self.domains.lock();

        if let Some(slot) = domains.get_mut(name) {
            slot.dropping = false;
        }
        let node = match discarded {
            Ok(_) => domains.remove_node(name),
            Err(_) => None,
        };

        drop(domains);
        drop(inside);
        self.dropped.notify_all();
        drop(node);
        let unclaimed = discarded.map(|discarded| discarded.is_none_or(|d| d.unclaimed))?;

        // One that can't be read has a session at most.
        if unclaimed {
            match self.discard_session(name) {
                Err(e) if e != ENOENT => return Err(e),
                _ => {}
            }
        }
        pr_notice!("{name}: discarded\n");
        Ok(())
    }

    /// How often what there is to see has changed so far.
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Relaxed)
    }

    /// Wakes who polls.
    pub(crate) fn has_changed(&self) {
        self.changes.add(1, Relaxed);
        self.changed.notify_all();
    }

    /// Who polls waits for this.
    pub(crate) fn changed(&self) -> &PollCondVarBox {
        &self.changed
    }

    // Reboots.

    /// Freezes all domains and hands them over; after an error the caller has to undo it.
    ///
    /// The list of domains is taken after the gate was shut: see `drop_unused`.
    fn freeze(&self, handover: bool) -> Result {
        let domains = self.domains()?;
        let supers = active_supers()?;
        // The owner of a domain that may be dropped can't use up the time of others.
        let mut left = msecs_to_jiffies(TIMEOUT_MSECS);
        let mut left_for_drop = DROP_TIMEOUT;

        if !handover {
            return self.check_nothing_is_lost(&domains);
        }
        // Perhaps nobody has mounted anything in this kernel.
        let loaded = if domains.is_empty() {
            Ok(())
        } else {
            liveupdate::load()
        };
        let mut index = VVec::new();
        let mut rebooting = KVVec::with_capacity(domains.len(), GFP_KERNEL)?;

        for domain in &domains {
            let sb = supers
                .iter()
                .find(|sb| core::ptr::eq(&*sb.info(), &**domain));

            let result = loaded
                .and_then(|()| domain.claim())
                .map_err(|e| {
                    let e = if e == EOPNOTSUPP { EBUSY } else { e };

                    Failure::new(e, "its LUO session can't be had: discard the domain")
                })
                .and_then(|()| {
                    let sb = sb.map(|sb| &**sb);

                    if domain.options().errors == Errors::Refuse {
                        return domain.freeze(sb, Timeout::ForUsers(&mut left));
                    }
                    let end = Instant::now() + left_for_drop.max(LEAST_DROP_TIMEOUT);
                    let result = liveupdate::with_reboot_deadline(end, || {
                        domain.freeze(sb, Timeout::At(end))
                    });

                    left_for_drop = end - Instant::now();
                    result
                });

            match result {
                Ok(()) => {
                    domain.with_records(|records| Ok(index.push(records.entry()?, GFP_KERNEL)?))?;
                    rebooting.push(
                        Rebooting {
                            domain: domain.clone(),
                            _left_behind: None,
                        },
                        GFP_KERNEL,
                    )?;
                }
                // Not for a signal to who wants to reboot.
                Err(failure) if failure.error != EINTR && domain.leave_behind() => {
                    leave_behind(domain, failure);
                    let records = domain
                        .left_behind_records()
                        .map_err(|e| refuse(domain, e.into()))?;
                    let mut entry = records.entry()?;

                    entry.len |= abi::DOMAIN_LEFT_BEHIND;
                    index.push(entry, GFP_KERNEL)?;
                    rebooting.push(
                        Rebooting {
                            domain: domain.clone(),
                            _left_behind: Some(records),
                        },
                        GFP_KERNEL,
                    )?;
                }
                Err(failure) => return Err(refuse(domain, failure)),
            }
        }
        self.root.lock().seal(&index)?;
        *self.rebooting.lock() = rebooting;
        Ok(())
    }

    /// An image that was loaded by kexec_load() hands nothing over.
    fn check_nothing_is_lost(&self, domains: &[Arc<Domain>]) -> Result {
        let reason = "the image that is loaded carries nothing over: load it with kexec -s";
        let lost = |errors| {
            domains
                .iter()
                .filter(move |domain| !domain.is_empty() && domain.options().errors == errors)
        };

        if let Some(domain) = lost(Errors::Refuse).next() {
            return Err(refuse(domain, Failure::new(EINVAL, reason)));
        }
        lost(Errors::Drop).for_each(|domain| leave_behind(domain, Failure::new(EINVAL, reason)));
        Ok(())
    }

    fn thaw(&self) {
        if self.root.lock().unseal().is_err() {
            pr_err!("the records could not be taken back\n");
        }
        let rebooting = core::mem::take(&mut *self.rebooting.lock());

        drop(rebooting);
        // Without a list of them: no memory is needed to go back.
        for slot in self.domains.lock().values() {
            if let Some(domain) = &slot.domain {
                domain.include();
                domain.thaw();
            }
        }
        self.gate.open();
        self.drop_unused(None);
        tell_watchers();
    }
}

impl Slot {
    fn new(domain: Option<Arc<Domain>>) -> Self {
        Self {
            domain,
            users: 0,
            mounted: false,
            dropping: false,
        }
    }

    /// Whether it is that of `domain`, and not of another one with the same name.
    fn is_of(&self, domain: &Domain) -> bool {
        self.domain
            .as_ref()
            .is_some_and(|own| core::ptr::eq(&**own, domain))
    }

    /// The domain, if it is unmounted in the state `normal` and there is something to drop.
    fn can_drop(&self) -> Option<Arc<Domain>> {
        let domain = self.domain.as_ref()?;
        let unused = !self.mounted && !self.dropping && domain.state() == State::Normal;

        (unused && (self.users == 0 || !domain.is_new())).then(|| domain.clone())
    }
}

/// The superblocks of all domains, so that they live on meanwhile.
///
/// Who mounts fills his superblock inside the gate, so that none is missing once that is shut.
fn active_supers() -> Result<KVVec<ActiveSuper<KexecFs>>> {
    let mut supers = KVVec::new();
    let mut result = Ok(());

    KEXECFS.iterate_supers_type(&mut |sb| {
        if sb.info().alive().is_err() || result.is_err() {
            return;
        }
        // First, since a reference can't be given up again under the lock of the superblock.
        result = supers.reserve(1, GFP_KERNEL);
        if result.is_ok() {
            if let Some(sb) = sb.get_active() {
                result = supers.push(sb, GFP_KERNEL);
            }
        }
    });
    result?;
    Ok(supers)
}

/// Says why a kexec is refused, in the log and in the domain.
fn refuse(domain: &Domain, failure: Failure) -> Error {
    tell_failure(domain, failure, "kexec refused")
}

/// Says why a domain is not handed over.
fn leave_behind(domain: &Domain, failure: Failure) {
    tell_failure(domain, failure, "dropped by this kexec (errors=drop)");
}

fn tell_failure(domain: &Domain, failure: Failure, what: &str) -> Error {
    let error = failure.error;
    let errno = error.name().unwrap_or(c"?");

    match &failure.file {
        Some(file) => pr_err!(
            "{}: {file}: {}: {what}: {errno}\n",
            domain.name,
            failure.reason
        ),
        None => pr_err!("{}: {}: {what}: {errno}\n", domain.name, failure.reason),
    }
    domain.note(Some(failure));
    error
}

/// A domain that somebody is about to mount.
pub(crate) struct Mounting {
    registry: &'static Registry,
    pub(crate) domain: Arc<Domain>,
}

impl Drop for Mounting {
    fn drop(&mut self) {
        self.registry.put(&self.domain, |_| ());
    }
}

impl SessionOwner for Registry {
    const PREFIX: &'static CStr = abi::SESSION_PREFIX;

    /// A session could not be frozen. Only leaves are locked here: LUO's locks are held.
    fn freeze_failed(session: &CStr, token: u64, error: Error) -> bool {
        let Ok(registry) = registry() else {
            return false;
        };
        let rebooting = registry.rebooting.lock();
        let Some((number, Rebooting { domain, .. })) = rebooting
            .iter()
            .enumerate()
            .find(|(_, rebooting)| rebooting.domain.has_session(session))
        else {
            return false;
        };
        let failure = domain.freeze_failure(token, error);

        if domain.options().errors == Errors::Drop {
            registry.root.lock().leave_behind(number);
            domain.was_excluded();
            leave_behind(domain, failure);
            return true;
        }
        refuse(domain, failure);
        false
    }

    /// Claims the sessions of the domains that were handed over, before any agent can.
    fn incoming() {
        let Ok(registry) = registry() else {
            return;
        };

        // No domain is mounted before this has been done.
        for (name, slot) in registry.domains.lock().iter_mut() {
            let claimed = match &slot.domain {
                Some(domain) if domain.state() == State::Updated => domain.claim(),
                _ => continue,
            };

            match claimed {
                Ok(()) => {}
                Err(e) if e == EOPNOTSUPP => {
                    pr_warn!("{name}: LUO has no handler for one of its files\n");
                }
                // Who mounts it tries again.
                Err(e) if e == ENOMEM => {}
                Err(e) => {
                    pr_err!("{name}: its LUO session can't be had: {e:?}\n");
                    slot.domain = None;
                }
            }
        }
        registry.finish_left_behind();
    }
}

impl RebootNotifier for Registry {
    fn prepare(handover: bool) -> Result {
        let registry = registry()?;
        let _mayfail = MayFail::new();

        registry.gate.shut();
        // All domains are the business of the machine, not of the cgroup of who reboots it.
        charge_root(|| registry.freeze(handover))
            .inspect(|()| tell_watchers())
            .inspect_err(|_| registry.thaw())
    }

    fn abort() {
        if let Ok(registry) = registry() {
            registry.thaw();
        }
    }
}
