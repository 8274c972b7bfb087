// SPDX-License-Identifier: GPL-2.0-only

//! All domains, and what happens to all of them at once: the load of what was handed over, and
//! reboot(KEXEC).
//!
//! # Locking
//!
//! ```text
//! i_rwsem (VFS) -> gate -> Domain::op -> LUO
//! s_umount (VFS) -> gate -> Registry::domains -> Domain::op -> LUO -> KHO
//! LUO's load of its sessions -> Registry::domains
//! reboot: gate shut, then Registry::domains; Domain::op of one domain after the other -> KHO;
//!         Registry::root -> KHO
//! ```
//!
//! `Domain::entries` comes after the gate and is held over the notification of watchers, and by
//! `kill_sb` before it kills the dentries: a reboot may notify while a domain is unmounted.
//!
//! `Domain::table` is a leaf: it comes after all of these and is never held over a call into LUO,
//! KHO or the VFS. The gate is an SRCU read section behind a flag, so that nobody waits for a reboot:
//! who finds it shut gets `EBUSY`. It is never held over an access to user memory or a wait for the
//! lock of an inode that is preserved, since the reboot waits for all who are inside.

use crate::{
    domain::{
        Domain,
        Failure, //
    },
    handover::{
        self,
        Root, //
    },
    name::Name,
    state::State, //
};
use kernel::{
    kho::abi::kexecfs as abi,
    liveupdate::{
        self,
        RebootNotifier,
        SessionOwner, //
    },
    new_mutex, new_srcu,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        srcu,
        Arc,
        Mutex,
        SetOnce,
        Srcu, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

static REGISTRY: SetOnce<Arc<Registry>> = SetOnce::new();

/// The registry.
///
/// # Errors
///
/// `ENODEV` if the machine hands nothing over, see [`Registry::start`].
pub(crate) fn registry() -> Result<&'static Registry> {
    REGISTRY.as_ref().map(|registry| &**registry).ok_or(ENODEV)
}

/// What the registry knows of a domain.
struct Slot {
    /// None if the previous kernel handed over a domain that can't be read.
    domain: Option<Arc<Domain>>,
    /// The superblock, and those who are about to mount.
    users: u32,
    /// Whether there is a superblock.
    mounted: bool,
}

/// All domains.
#[pin_data]
pub(crate) struct Registry {
    /// Set while a reboot is under way.
    shut: Atomic<bool>,
    #[pin]
    inside: Srcu,
    #[pin]
    domains: Mutex<RBTree<Name, Slot>>,
    #[pin]
    root: Mutex<Root>,
}

impl Registry {
    /// Reads what the previous kernel handed over, and gets ready to hand over.
    ///
    /// Sessions can't be created or claimed yet: LUO comes up later.
    pub(crate) fn start() -> Result {
        let registry = Arc::pin_init(
            try_pin_init!(Self {
                shut: Atomic::new(false),
                inside <- new_srcu!("Registry::inside"),
                domains <- new_mutex!(RBTree::new(), "Registry::domains"),
                root <- new_mutex!(Root::add()?, "Registry::root"),
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
                Ok(arrived) => {
                    let name = arrived.name.try_clone()?;

                    (name, Some(Domain::updated(arrived)?))
                }
                Err(unreadable) => {
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

                pr_err!("{name}: was handed over twice; the last is taken\n");
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
    pub(crate) fn enter(&self) -> Result<srcu::Guard<'_>> {
        let guard = self.inside.read_lock();

        if self.shut.load(Relaxed) {
            return Err(EBUSY);
        }
        Ok(guard)
    }

    fn shut_gate(&self) {
        self.shut.xchg(true, Full);
        self.inside.synchronize();
    }

    fn open_gate(&self) {
        self.shut.xchg(false, Full);
    }

    // Mounts.

    /// Finds or makes the domain with the given name, for a mount.
    ///
    /// # Errors
    ///
    /// `EBUSY` in a reboot, `EIO` if it was handed over and can't be read, `ENODEV` if LUO is off,
    /// `ENOMEM`.
    pub(crate) fn find(&'static self, name: Name) -> Result<Mounting> {
        // Before all locks: it has its own.
        let loaded = liveupdate::load();

        match loaded {
            Err(e) if e == EOPNOTSUPP => return Err(ENODEV),
            Err(e) if e == EBUSY || e == EINTR => return Err(e),
            _ => {}
        }
        let _inside = self.enter()?;
        let fresh = Domain::new(name.try_clone()?)?;
        let node = RBTreeNode::new(name.try_clone()?, Slot::new(None), GFP_KERNEL_ACCOUNT)?;
        let mut domains = self.domains.lock();
        let slot = match domains.get_mut(&name) {
            Some(slot) => slot,
            None => {
                domains.insert(node);
                let slot = domains.get_mut(&name).ok_or(ENOMEM)?;

                slot.domain = Some(fresh);
                slot
            }
        };
        let domain = slot.domain.clone().ok_or(EIO)?;

        if let (Err(e), State::Updated) = (loaded, domain.state()) {
            pr_err!("{}: LUO can't read its sessions: {e:?}\n", domain.name);
            return Err(EIO);
        }
        slot.users += 1;
        Ok(Mounting {
            registry: self,
            domain,
        })
    }

    /// Counts a new superblock of a domain.
    pub(crate) fn mounted(&self, domain: &Domain) {
        if let Some(slot) = self.domains.lock().get_mut(&domain.name) {
            slot.users += 1;
            slot.mounted = true;
        }
    }

    /// Counts the end of a superblock.
    pub(crate) fn unmounted(&self, domain: &Domain) {
        self.put(domain, |slot| slot.mounted = false);
    }

    /// Gives up a use of a domain, and drops the domain if that was the last.
    fn put(&self, domain: &Domain, f: impl FnOnce(&mut Slot)) {
        // In a reboot nothing is dropped: if it fails, `abort` comes back to it.
        let inside = self.enter();
        let mut domains = self.domains.lock();
        let Some(slot) = domains.get_mut(&domain.name) else {
            return;
        };

        slot.users -= 1;
        f(slot);
        if inside.is_err() || !slot.clear() {
            return;
        }
        let node = domains.remove_node(&domain.name);
        drop(domains);
        drop(node);
    }

    /// Drops the domains that lost their last user in a reboot.
    fn reap(&self) {
        let mut dropped = RBTree::new();
        let mut domains = self.domains.lock();
        let mut cursor = domains.cursor_front_mut();

        while let Some(mut at) = cursor {
            let (_, slot) = at.current_mut();

            cursor = if slot.clear() {
                let (next, node) = at.remove_current();

                dropped.insert(node);
                next
            } else {
                at.move_next()
            };
        }
        drop(domains);
        drop(dropped);
    }

    /// All domains that can be read.
    fn domains(&self) -> Result<KVVec<Arc<Domain>>> {
        let mut all = KVVec::new();

        for slot in self.domains.lock().values() {
            if let Some(domain) = &slot.domain {
                all.push(domain.clone(), GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    // Reboots.

    /// Freezes all domains and hands them over; after an error the caller has to undo it.
    fn freeze(&self, handover: bool) -> Result {
        let domains = self.domains()?;

        if !handover {
            return self.check_nothing_is_lost(&domains);
        }
        let mut index = VVec::new();

        for domain in &domains {
            let start = Instant::<Monotonic>::now();
            let prepared = domain.freeze().map_err(|failure| refuse(domain, failure))?;

            domain.state_has_changed();
            domain.with_records(|records| {
                if prepared {
                    pr_info!(
                        "{}: prepared {} bytes of records in {} us\n",
                        domain.name,
                        records.bytes(),
                        start.elapsed().as_micros_ceil()
                    );
                }
                Ok(index.push(records.entry()?, GFP_KERNEL)?)
            })?;
        }
        self.root.lock().seal(&index)
    }

    /// An image that was loaded by kexec_load() hands nothing over.
    fn check_nothing_is_lost(&self, domains: &[Arc<Domain>]) -> Result {
        let Some(domain) = domains.iter().find(|domain| !domain.is_empty()) else {
            return Ok(());
        };
        let reason = "the image that is loaded carries nothing over: load it with kexec -s";

        Err(refuse(domain, Failure::new(EINVAL, reason)))
    }

    fn thaw(&self) {
        if self.root.lock().unseal().is_err() {
            pr_err!("the records could not be taken back\n");
        }
        // Without a list of them: no memory is needed to go back.
        for slot in self.domains.lock().values() {
            if let Some(domain) = &slot.domain {
                domain.thaw();
            }
        }
        self.reap();
        self.open_gate();
    }
}

impl Slot {
    fn new(domain: Option<Arc<Domain>>) -> Self {
        Self {
            domain,
            users: 0,
            mounted: false,
        }
    }

    /// Empties a domain that was unmounted in the state `normal`; returns whether it can go.
    fn clear(&mut self) -> bool {
        let Some(domain) = &self.domain else {
            return false;
        };

        if self.mounted || domain.state() != State::Normal {
            return false;
        }
        if let Err(e) = domain.clear() {
            pr_err!("{}: could not be cleared: {e:?}\n", domain.name);
        }
        self.users == 0
    }
}

/// Says why a kexec is refused, in the log and in the domain.
fn refuse(domain: &Domain, failure: Failure) -> Error {
    let error = failure.error;
    let errno = error.name().unwrap_or(c"?");

    match &failure.file {
        Some(file) => pr_err!(
            "{}: {file}: {}: kexec refused: {errno}\n",
            domain.name,
            failure.reason
        ),
        None => pr_err!(
            "{}: {}: kexec refused: {errno}\n",
            domain.name,
            failure.reason
        ),
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

    /// Claims the sessions of the domains that were handed over, before any agent can.
    fn incoming() {
        let Ok(registry) = registry() else {
            return;
        };
        let Ok(domains) = registry.domains() else {
            pr_err!("no memory to claim the sessions of the domains\n");
            return;
        };

        for domain in &domains {
            if domain.state() != State::Updated {
                continue;
            }
            if let Err(e) = domain.claim() {
                pr_err!("{}: its LUO session can't be had: {e:?}\n", domain.name);
                if let Some(slot) = registry.domains.lock().get_mut(&domain.name) {
                    slot.domain = None;
                }
            }
        }
    }
}

impl RebootNotifier for Registry {
    fn prepare(handover: bool) -> Result {
        let registry = registry()?;

        registry.shut_gate();
        registry.freeze(handover).inspect_err(|_| registry.thaw())
    }

    fn abort() {
        if let Ok(registry) = registry() {
            registry.thaw();
        }
    }
}
