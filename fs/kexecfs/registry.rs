// SPDX-License-Identifier: GPL-2.0-only

//! All domains: their names, mounts and ends, and the load of what was handed over.
//!
//! See "Locking" in `architecture.rst` for the order of all locks. What takes time with the bytes
//! of a domain, as to drop it, is done outside `Registry::domains`.

use crate::{
    domain::{
        Domain,
        DomainInfo, //
    },
    gate::{
        self,
        Gate, //
    },
    handover::{
        self,
        Found, //
    },
    words::{
        name::Name,
        state::State, //
    }, //
};
use kernel::{
    liveupdate::{
        self,
        IncomingSession, //
    },
    memcontrol::NoWait,
    new_condvar, new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        CondVar,
        Mutex,
        SetOnce, //
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

/// A name, and what the registry knows of its domain.
struct DomainSlot {
    /// None if the previous kernel handed over a domain that can't be read.
    domain: Option<Arc<Domain>>,
    /// The superblock, and the tasks that are about to mount.
    users: u32,
    /// Whether there is a superblock.
    mounted: bool,
    /// How many there are of that domain, those included that are being killed.
    supers: u32,
    /// Whether a task makes the first: another one that wants to mount the domain waits for that.
    filling: bool,
    /// Whether the domain is being emptied: a task that wants to mount it waits for that.
    dropping: bool,
}

/// All domains.
#[pin_data]
pub(crate) struct Registry {
    /// Held by a task that reads `check`, or writes to `state` of `kexecfsctl`: what is for all
    /// domains is done by one at a time.
    #[pin]
    pub(crate) commands: Mutex<()>,
    /// Held while a reboot is rehearsed. A reboot that has shut the gate takes it, so none begins,
    /// fails and opens the gate again while it is held.
    #[pin]
    pub(crate) rehearsal: Mutex<()>,
    #[pin]
    domains: Mutex<RBTree<Name, DomainSlot>>,
    /// Notified when a domain has been dropped, and when its first superblock has been made.
    #[pin]
    settled: CondVar,
    /// The LUO sessions of domains that were discarded though nobody can claim them.
    #[pin]
    given_up: Mutex<KVVec<Name>>,
    /// The LUO sessions of domains that the previous kernel excluded, to be finished.
    #[pin]
    excluded: Mutex<KVVec<Name>>,
}

impl Registry {
    /// Reads what the previous kernel handed over, and gets ready to hand over.
    ///
    /// Sessions can't be created or claimed yet: LUO comes up later.
    pub(crate) fn start() -> Result {
        let registry = Arc::pin_init(
            try_pin_init!(Self {
                commands <- new_mutex!((), "Registry::commands"),
                rehearsal <- new_mutex!((), "Registry::rehearsal"),
                domains <- new_mutex!(RBTree::new(), "Registry::domains"),
                settled <- new_condvar!("Registry::settled"),
                given_up <- new_mutex!(KVVec::new(), "Registry::given_up"),
                excluded <- new_mutex!(KVVec::new(), "Registry::excluded"),
            }? Error),
            GFP_KERNEL,
        )?;

        registry.read()?;
        REGISTRY.populate(registry);
        Ok(())
    }

    /// Takes in the domains that were handed over.
    fn read(&self) -> Result {
        match handover::read(&mut |found| self.add(found)) {
            Err(e) if e == ENOMEM => Err(e),
            // What is wrong with the root has been said, and doesn't keep anybody from new domains.
            _ => Ok(()),
        }
    }

    /// Takes in one.
    fn add(&self, found: Found) -> Result {
        let (name, domain) = match found {
            Found::Domain(domain) => {
                let name = domain.name.try_clone()?;

                (name, Some(Domain::updated(domain)?))
            }
            Found::Excluded(session) => {
                pr_notice!("{session}: excluded by the previous kernel (errors=drop)\n");
                self.excluded.lock().push(session, GFP_KERNEL)?;
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
        let node = RBTreeNode::new(name, DomainSlot::new(domain), GFP_KERNEL)?;
        let twice = self.domains.lock().insert(node);

        if let Some(twice) = twice {
            let (name, _) = twice.to_key_value();

            pr_err!("{name}: can't be read: it was handed over twice\n");
            if let Some(slot) = self.domains.lock().get_mut(&name) {
                slot.domain = None;
            }
        }
        Ok(())
    }

    // Mounts.

    /// Finds or makes the domain with the given name, for a mount.
    ///
    /// # Errors
    ///
    /// `EBUSY` in a reboot, `EIO` if it was handed over and can't be read, `EOPNOTSUPP` if LUO has
    /// no handler for one of its files, `ENODEV` if LUO is off, `ENOMEM`.
    pub(crate) fn find(&'static self, name: &Name) -> Result<Mounting> {
        // Before all locks: it has its own.
        let loaded = liveupdate::load();

        loaded.map_err(|e| if e == EOPNOTSUPP { ENODEV } else { e })?;
        if let Some(mounting) = self.take(name, None)? {
            return Ok(mounting);
        }
        if self.is_left_over(&name.session()?)? {
            pr_err!("{name}: LUO has a session for it without its records\n");
            return Err(EIO);
        }
        let slot = DomainSlot::new(Some(Domain::new(name.try_clone()?)?));
        let new = RBTreeNode::new(name.try_clone()?, slot, GFP_KERNEL_ACCOUNT)?;

        self.take(name, Some(new))?.ok_or(EIO)
    }

    /// Takes a use of the domain with the given name, which is that of `new` if there is none yet.
    ///
    /// Returns `None` if there is neither.
    fn take(
        &'static self,
        name: &Name,
        mut new: Option<RBTreeNode<Name, DomainSlot>>,
    ) -> Result<Option<Mounting>> {
        let mut domains = self.domains.lock();

        while domains.get(name).is_some_and(DomainSlot::is_busy) {
            if self.settled.wait_interruptible(&mut domains) {
                return Err(EINTR);
            }
        }
        let _inside = gate::enter()?;

        if domains.get(name).is_none() {
            // If it isn't needed it is dropped last, without the lock.
            match new.take() {
                Some(new) => drop(domains.insert(new)),
                None => return Ok(None),
            }
        }
        let slot = domains.get_mut(name).ok_or(EIO)?;
        let domain = slot.domain.clone().ok_or(EIO)?;

        // Anew, if a handler was missing.
        domain.claim()?;
        // Others that are about to mount it look for a superblock, each before it makes one.
        slot.filling = slot.supers == 0 && slot.users == 0;
        slot.users += 1;
        Ok(Some(Mounting {
            registry: self,
            domain,
            is_first: slot.filling,
        }))
    }

    /// Whether the previous kernel handed over a session of this name, with files and without
    /// records that can be read.
    fn is_left_over(&self, session: &Name) -> Result<bool> {
        let mut found = false;

        liveupdate::for_each_incoming(&mut |name, claimed| {
            found |= !claimed && name == session.as_c_str();
            Ok(())
        })?;
        Ok(found && !self.given_up.lock().iter().any(|name| name == session))
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

    /// Finishes the sessions of the domains that were excluded: nobody else knows of them.
    fn finish_excluded(&self) {
        let names = core::mem::take(&mut *self.excluded.lock());

        for name in &names {
            let finished = match IncomingSession::claim(name.as_c_str()) {
                Ok(session) => session.finish().map_err(|(_, e)| e),
                // It held no file.
                Err(e) if e == ENOENT => Ok(()),
                Err(e) => Err(e),
            };

            if let Err(e) = finished {
                pr_err!("the LUO session {name} of an excluded domain can't be finished: {e:?}\n");
            }
        }
    }

    /// Counts a new superblock of a domain.
    pub(crate) fn mounted(&self, domain: &Domain) {
        if let Some(slot) = self.domains.lock().get_mut(&domain.name) {
            if slot.is_of(domain) {
                slot.users += 1;
                slot.supers += 1;
                slot.mounted = true;
            }
        }
    }

    /// Counts the end of a superblock, and drops the domain unless it is kept.
    pub(crate) fn unmounted(&self, domain: &Domain) {
        self.put(domain, |slot| slot.mounted = false);
    }

    /// Counts the end of a superblock once it is dead.
    pub(crate) fn killed(&self, domain: &Domain) {
        if let Some(slot) = self.domains.lock().get_mut(&domain.name) {
            if slot.is_of(domain) {
                slot.supers -= 1;
            }
        }
    }

    /// Gives up a use of a domain.
    fn put(&self, domain: &Domain, f: impl FnOnce(&mut DomainSlot)) {
        if let Some(slot) = self.domains.lock().get_mut(&domain.name) {
            // The name may be another domain's by now, after a `discard`.
            if slot.is_of(domain) {
                slot.users -= 1;
                f(slot);
            }
        }
        self.drop_unused(Some(&domain.name));
    }

    /// Drops the given domain, or all, if unmounted and not kept.
    pub(crate) fn drop_unused(&self, name: Option<&Name>) {
        loop {
            let mut domains = self.domains.lock();
            // In a reboot nothing is dropped: if it fails, `Reboot::thaw` comes back to it. That
            // opens the gate before it takes this lock, and a reboot takes it after it shut the
            // gate.
            let Ok(_inside) = gate::enter() else {
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
            self.log_dropped(&domain);
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
            self.settled.notify_all();
            // One that others are about to mount stays, empty.
            if name.is_some() {
                return;
            }
        }
    }

    /// Says in the log that a domain goes with its last mount, if it holds something: as often as
    /// that happens, since each time root has mounted it.
    fn log_dropped(&self, domain: &Domain) {
        let holdings = domain.holdings();

        if !holdings.is_empty() {
            pr_notice!(
                "{}: dropped, as it is normal and no longer mounted ({holdings}): to keep it, \
                 prepare it or mount it with persist\n",
                domain.name
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
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(&Name, Option<DomainInfo>) -> Result,
    ) -> Result {
        // Others wait for the lock: mounts, unmounts and reboots.
        let _nowait = NoWait::new();

        for (name, slot) in self.domains.lock().iter() {
            let info = slot.domain.as_ref().map(|domain| domain.info(slot.mounted));

            each(name, info)?;
        }
        Ok(())
    }

    /// The state of the machine: `frozen` in a reboot, `updated` while any domain is.
    pub(crate) fn state(&self) -> State {
        if gate::machine().is_ok_and(Gate::is_shut) {
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
        let inside = gate::enter()?;
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
        // As it is before.
        let holdings = domain.as_ref().map(|domain| domain.holdings());
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
        self.settled.notify_all();
        drop(node);
        let unclaimed = discarded.map(|discarded| discarded.is_none_or(|d| d.unclaimed))?;

        // One that can't be read has a session at most.
        if unclaimed {
            match self.discard_session(name) {
                Err(e) if e != ENOENT => return Err(e),
                _ => {}
            }
        }
        match holdings {
            Some(holdings) if !holdings.is_empty() => {
                pr_notice!("{name}: discarded ({holdings})\n");
            }
            _ => pr_notice!("{name}: discarded\n"),
        }
        Ok(())
    }

    // Reboots: see `reboot.rs`.

    /// Claims the session of a domain, unless that has been done.
    pub(crate) fn claim_domain(&self, domain: &Domain) -> Result {
        // A mount may do the same, but in a reboot.
        let _domains = self.domains.lock();

        domain.claim()
    }

    /// Calls `each` for all domains that can be read, which needs no memory.
    pub(crate) fn for_each_domain(&self, mut each: impl FnMut(&Arc<Domain>)) {
        for slot in self.domains.lock().values() {
            if let Some(domain) = &slot.domain {
                each(domain);
            }
        }
    }

    /// Claims the sessions of the domains that were handed over, before any agent can.
    pub(crate) fn claim(&self) {
        // No domain is mounted before this has been done.
        for (name, slot) in self.domains.lock().iter_mut() {
            let claimed = match &slot.domain {
                Some(domain) if domain.is_kept() => domain.claim(),
                _ => continue,
            };

            match claimed {
                Ok(()) => {}
                Err(e) if e == EOPNOTSUPP => {
                    pr_warn!("{name}: LUO has no handler for one of its files\n");
                }
                // A mount tries again.
                Err(e) if e == ENOMEM => {}
                Err(e) => {
                    pr_err!("{name}: its LUO session can't be had: {e:?}\n");
                    slot.domain = None;
                }
            }
        }
        self.finish_excluded();
    }
}

impl DomainSlot {
    fn new(domain: Option<Arc<Domain>>) -> Self {
        Self {
            domain,
            users: 0,
            mounted: false,
            supers: 0,
            filling: false,
            dropping: false,
        }
    }

    /// Whether a task that wants to mount the domain has to wait.
    fn is_busy(&self) -> bool {
        self.dropping || self.filling
    }

    /// Whether it is that of `domain`, and not of another one with the same name.
    fn is_of(&self, domain: &Domain) -> bool {
        self.domain
            .as_ref()
            .is_some_and(|own| core::ptr::eq(&**own, domain))
    }

    /// The domain, if it is unmounted and not kept, and there is something to drop.
    fn can_drop(&self) -> Option<Arc<Domain>> {
        let domain = self.domain.as_ref()?;
        let unused = !self.mounted && !self.dropping && !domain.is_kept();

        (unused && (self.users == 0 || !domain.is_new())).then(|| domain.clone())
    }
}

/// A domain that a task is about to mount.
pub(crate) struct Mounting {
    registry: &'static Registry,
    pub(crate) domain: Arc<Domain>,
    /// Whether it has no superblock, and gets none by another task meanwhile.
    pub(crate) is_first: bool,
}

impl Drop for Mounting {
    fn drop(&mut self) {
        self.registry
            .put(&self.domain, |slot| slot.filling &= !self.is_first);
        if self.is_first {
            self.registry.settled.notify_all();
        }
    }
}
