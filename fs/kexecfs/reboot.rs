// SPDX-License-Identifier: GPL-2.0-only

//! reboot(KEXEC): all domains are frozen and handed over, or none is.

use crate::{
    domain::{
        Domain,
        Limit,
        Timeout, //
    },
    gate::{
        self,
        Gate, //
    },
    handover::{
        OutgoingRoot,
        Records, //
    },
    registry::{
        registry,
        Registry, //
    },
    types::{
        KexecFs,
        KEXECFS, //
    },
    watch::notify_watchers,
    words::{
        failure::Failure,
        options::Errors,
        state::State, //
    }, //
};
use kernel::{
    fs::{
        ActiveSuper,
        SuperBlock, //
    },
    kho::abi::kexecfs as abi,
    liveupdate::{
        self,
        RebootNotifier,
        SessionOwner, //
    },
    memalloc::MayFail,
    memcontrol::charge_root,
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Monotonic, //
    },
};

static REBOOT: SetOnce<Arc<Reboot>> = SetOnce::new();

/// How long a reboot waits for other users of files: in all domains that may refuse it.
pub(crate) const TIMEOUT_MSECS: u32 = 2000;

/// What all domains with `errors=drop` take at most, whatever they hold: an equal share each, and
/// what those before it have left.
const DROP_TIMEOUT: Delta = Delta::from_millis(2000);

/// The least share.
const LEAST_SHARE: Delta = Delta::from_millis(50);

/// What is handed over by the reboot that is under way.
#[pin_data]
pub(crate) struct Reboot {
    #[pin]
    root: Mutex<OutgoingRoot>,
    /// In the order of the index.
    #[pin]
    domains: Mutex<KVVec<Rebooting>>,
}

/// A domain of the reboot that is under way.
struct Rebooting {
    domain: Arc<Domain>,
    /// If it is excluded: what the next kernel is told of it.
    _excluded: Option<Records>,
}

/// What a reboot has made of a domain.
enum Outcome {
    /// It is frozen and serialized.
    Frozen,
    /// The reboot goes on without it, and tells the next kernel so by these records.
    Excluded(Records),
    /// It refuses the kexec.
    Refused(Failure),
}

/// Gets ready to hand over.
///
/// Sessions can't be created or claimed yet: LUO comes up later.
pub(crate) fn start() -> Result {
    let reboot = Arc::pin_init(
        try_pin_init!(Reboot {
            root <- new_mutex!(OutgoingRoot::add()?, "Reboot::root"),
            domains <- new_mutex!(KVVec::new(), "Reboot::domains"),
        }? Error),
        GFP_KERNEL,
    )?;

    REBOOT.populate(reboot);
    liveupdate::register_session_owner::<Reboot>()?;
    liveupdate::register_reboot_notifier::<Reboot>()
}

impl RebootNotifier for Reboot {
    fn prepare(handover: bool) -> Result {
        let (registry, reboot) = (registry()?, REBOOT.as_ref().ok_or(ENODEV)?);
        let gate = gate::machine()?;
        let _mayfail = MayFail::new();

        gate.shut();
        // It ends soon, and has all domains until then: no time of theirs is spent on that.
        drop(registry.rehearsal.lock());
        // All domains are the business of the machine, not of the cgroup of the task that reboots.
        charge_root(|| {
            // After the gate was shut: see `Registry::drop_unused`.
            let domains = registry.domains()?;

            if handover {
                reboot.freeze(&domains)
            } else {
                check_nothing_is_lost(&domains)
            }
        })
        .inspect(|()| notify_watchers())
        .inspect_err(|_| reboot.thaw(registry, gate))
    }

    fn abort() {
        if let (Ok(registry), Ok(gate), Some(reboot)) =
            (registry(), gate::machine(), REBOOT.as_ref())
        {
            reboot.thaw(registry, gate);
        }
    }

    fn plain_image_loaded() {
        // Without memory for the list the reboot says so.
        for domain in registry()
            .and_then(|registry| registry.domains())
            .iter()
            .flatten()
        {
            let Some(Failure { error, reason, .. }) = loss(domain) else {
                continue;
            };
            let errno = error.name().unwrap_or(c"?");
            let what = if may_exclude(domain) {
                "a kexec will drop it (errors=drop)"
            } else {
                "a kexec will be refused"
            };

            pr_warn!("{}: {reason}: {what}: {errno}\n", domain.name);
        }
    }
}

impl Reboot {
    /// Freezes all domains and hands them over; after an error the caller has to undo it.
    fn freeze(&self, domains: &[Arc<Domain>]) -> Result {
        let mut freezer = Freezer::new(domains)?;
        let (refusing, excludable) = partition(domains)?;
        let mut left = msecs_to_jiffies(TIMEOUT_MSECS);

        freezer.freeze_ahead(&refusing);
        // Those that may be excluded come last: no other one lacks what they take.
        for domain in refusing {
            let outcome = freezer.freeze_or_refuse(domain, &mut left);

            freezer.add(domain, outcome)?;
        }
        let mut shares = Shares::new(excludable.len());

        for (domain, records) in excludable {
            let outcome = freezer.freeze_or_exclude(domain, records, shares.next());

            freezer.add(domain, outcome)?;
        }
        self.root.lock().seal(&freezer.index)?;
        *self.domains.lock() = freezer.domains;
        Ok(())
    }

    /// Undoes everything, and opens the gate.
    fn thaw(&self, registry: &Registry, gate: &Gate) {
        if self.root.lock().unseal().is_err() {
            pr_err!("the records could not be unpreserved\n");
        }
        let domains = core::mem::take(&mut *self.domains.lock());

        drop(domains);
        registry.for_each_domain(|domain| {
            domain.include();
            domain.thaw();
            domain.retry_given_up();
        });
        // Operations begin as soon as the gate is open.
        liveupdate::reboot_failed();
        gate.open();
        registry.drop_unused(None);
        notify_watchers();
    }
}

/// The domains that refuse the kexec if they can't be frozen, and those that are excluded then,
/// with what the next kernel is told of them in that case.
type Partition<'a> = (
    KVVec<&'a Arc<Domain>>,
    KVVec<(&'a Arc<Domain>, Option<Records>)>,
);

/// Divides the domains by what becomes of them if they can't be frozen.
fn partition(domains: &[Arc<Domain>]) -> Result<Partition<'_>> {
    let (mut refusing, mut excludable) = (KVVec::new(), KVVec::new());

    for domain in domains {
        if !may_exclude(domain) {
            refusing.push(domain, GFP_KERNEL)?;
            continue;
        }
        // Now, before any domain takes what memory there is. One that is prepared has all it needs.
        let records = match domain.state() {
            State::Prepared => None,
            _ => Some(
                domain
                    .excluded_records()
                    .map_err(|e| refuse(domain, e.into()))?,
            ),
        };

        excludable.push((domain, records), GFP_KERNEL)?;
    }
    Ok((refusing, excludable))
}

/// Whether a reboot goes on without the domain if that can't be frozen.
pub(crate) fn may_exclude(domain: &Domain) -> bool {
    domain.options().errors == Errors::Drop
}

/// How a reboot, and its rehearsal, get at the domains.
pub(crate) struct Access {
    /// Whether LUO's sessions could be read.
    loaded: Result,
    /// The superblocks, each by the address of its domain, which it keeps there.
    supers: RBTree<usize, ActiveSuper<KexecFs>>,
}

impl Access {
    pub(crate) fn new(domains: &[Arc<Domain>]) -> Result<Self> {
        // Perhaps nobody has mounted anything in this kernel.
        let loaded = if domains.is_empty() {
            Ok(())
        } else {
            liveupdate::load()
        };
        let mut supers = RBTree::new();

        for sb in active_supers()? {
            let key = address(&sb.info());

            supers.try_create_and_insert(key, sb, GFP_KERNEL)?;
        }
        Ok(Self { loaded, supers })
    }

    /// Claims the session of a domain, unless that has been done, and returns its superblock, if it
    /// has one.
    pub(crate) fn claim(&self, domain: &Domain) -> Result<Option<&SuperBlock<KexecFs>>, Failure> {
        self.loaded
            .and_then(|()| registry()?.claim_domain(domain))
            .map_err(|e| {
                let e = if e == EOPNOTSUPP { EBUSY } else { e };

                Failure::new(e, "its LUO session can't be had: discard the domain")
            })?;
        Ok(self.supers.get(&address(domain)).map(|sb| &**sb))
    }
}

fn address(domain: &Domain) -> usize {
    core::ptr::from_ref(domain).addr()
}

/// Freezes domains, and notes them in the order of the index.
struct Freezer {
    access: Access,
    index: VVec<abi::IndexEntry>,
    /// Those that are in the index.
    domains: KVVec<Rebooting>,
}

impl Freezer {
    fn new(domains: &[Arc<Domain>]) -> Result<Self> {
        Ok(Self {
            access: Access::new(domains)?,
            index: VVec::with_capacity(domains.len(), GFP_KERNEL)?,
            domains: KVVec::with_capacity(domains.len(), GFP_KERNEL)?,
        })
    }

    /// Lets all CPUs prepare and freeze the domains for which that takes no wait for others. One
    /// that fails is as before, and has its turn: then it is waited for, and says why it fails.
    ///
    /// Where memory may be short they are left to that: the handler of memfds looks for enough of
    /// it before it moves anything, for one file.
    fn freeze_ahead(&self, domains: &[&Arc<Domain>]) {
        let is_left = |domain: &&&Arc<Domain>| domain.state() != State::Prepared;
        let (mut left, mut bytes) = (0, 0u64);

        for domain in domains.iter().filter(is_left) {
            left += 1;
            bytes = bytes.saturating_add(domain.space.usage().bytes_here());
        }
        // At worst all of it is moved out of the scratch areas, and its arrays come on top.
        if bytes.saturating_add(bytes / 64) > liveupdate::available_memory() {
            return;
        }
        let next = Atomic::new(0);

        liveupdate::reboot_parallel(left, || {
            let _mayfail = MayFail::new();

            charge_root(|| {
                while let Some(domain) = domains.get(next.fetch_add(1usize, Relaxed)) {
                    if is_left(&domain) {
                        let _ = self.freeze(domain, Limit::ForUsers(&mut 0));
                    }
                }
            });
        });
    }

    /// Freezes a domain, or refuses the kexec after others have been waited for.
    fn freeze_or_refuse(&self, domain: &Domain, left: &mut Jiffies) -> Outcome {
        match self.freeze(domain, Limit::ForUsers(left)) {
            Ok(()) => Outcome::Frozen,
            Err(failure) => Outcome::Refused(failure),
        }
    }

    /// Freezes a domain until `end`, or excludes it.
    fn freeze_or_exclude(
        &self,
        domain: &Domain,
        records: Option<Records>,
        end: Instant<Monotonic>,
    ) -> Outcome {
        let frozen = liveupdate::with_reboot_deadline(end, || self.freeze(domain, Limit::At(end)));
        let Err(failure) = frozen else {
            return Outcome::Frozen;
        };

        // Not for a signal to the task that reboots.
        if failure.error == EINTR || !may_exclude(domain) {
            return Outcome::Refused(failure);
        }
        domain.exclude();
        report_excluded(domain, failure);
        match records.map_or_else(|| domain.excluded_records(), Ok) {
            Ok(records) => Outcome::Excluded(records),
            Err(e) => Outcome::Refused(e.into()),
        }
    }

    /// Freezes a domain, unless [`Freezer::freeze_ahead`] has.
    fn freeze(&self, domain: &Domain, limit: Limit<'_>) -> Result<(), Failure> {
        if domain.state() == State::Frozen {
            return Ok(());
        }
        domain.freeze(self.access.claim(domain)?, Timeout::reboot(limit))
    }

    /// Adds a domain to the index, or says why it refuses the kexec.
    fn add(&mut self, domain: &Arc<Domain>, outcome: Outcome) -> Result {
        let (entry, excluded) = match outcome {
            Outcome::Frozen => (domain.with_records(Records::entry)?, None),
            Outcome::Excluded(records) => {
                let mut entry = records.entry()?;

                entry.flags |= abi::ENTRY_EXCLUDED;
                (entry, Some(records))
            }
            Outcome::Refused(failure) => return Err(refuse(domain, failure)),
        };
        let rebooting = Rebooting {
            domain: domain.clone(),
            _excluded: excluded,
        };

        self.index.push(entry, GFP_KERNEL)?;
        Ok(self.domains.push(rebooting, GFP_KERNEL)?)
    }
}

/// The time for the domains that may be excluded. The owner of one can't use up that of others.
pub(crate) struct Shares {
    left: Delta,
    begin: Instant<Monotonic>,
    domains: usize,
}

impl Shares {
    pub(crate) fn new(domains: usize) -> Self {
        Self {
            left: DROP_TIMEOUT,
            begin: Instant::now(),
            domains,
        }
    }

    /// Until when the next of them may take.
    pub(crate) fn next(&mut self) -> Instant<Monotonic> {
        // The one before has taken until now.
        let now = Instant::now();

        self.left -= now - self.begin;
        self.begin = now;
        let share = Delta::from_nanos(self.left.as_nanos() / self.domains.max(1) as i64);

        self.domains = self.domains.saturating_sub(1);
        now + share.max(LEAST_SHARE)
    }
}

/// What becomes of a domain by an image that was loaded by kexec_load(), which hands nothing over:
/// none if it holds nothing.
pub(crate) fn loss(domain: &Domain) -> Option<Failure> {
    let reason = "the image that is loaded carries nothing over: load it with kexec -s";

    (!domain.is_empty()).then(|| Failure::new(EINVAL, reason))
}

/// Refuses a kexec that hands nothing over.
fn check_nothing_is_lost(domains: &[Arc<Domain>]) -> Result {
    let lost = |drops| {
        domains
            .iter()
            .filter(move |domain| may_exclude(domain) == drops)
            .filter_map(|domain| Some((domain, loss(domain)?)))
    };

    let mut result = Ok(());

    // Each of them is told.
    for (domain, failure) in lost(false) {
        result = Err(refuse(domain, failure));
    }
    result?;
    lost(true).for_each(|(domain, failure)| report_excluded(domain, failure));
    Ok(())
}

/// The superblocks of all domains, so that they live on meanwhile.
///
/// A superblock is filled inside the gate, so that none is missing once that is shut.
pub(crate) fn active_supers() -> Result<KVVec<ActiveSuper<KexecFs>>> {
    let mut supers = KVVec::new();
    let mut result = Ok(());

    KEXECFS.iterate_supers_type(&mut |sb| {
        if sb.info().check_alive().is_err() || result.is_err() {
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

/// The superblock of a domain, if it has one.
pub(crate) fn active_super(domain: &Domain) -> Option<ActiveSuper<KexecFs>> {
    let mut found = None;

    KEXECFS.iterate_supers_type(&mut |sb| {
        if found.is_none() && core::ptr::eq(&*sb.info(), domain) {
            found = sb.get_active();
        }
    });
    found
}

/// Says why a kexec is refused, in the log and in the domain.
fn refuse(domain: &Domain, failure: Failure) -> Error {
    report_failure(domain, failure, "kexec refused")
}

/// What becomes of a domain that is excluded.
const DROPPED: &str = "dropped by this kexec (errors=drop)";

/// Says why a domain is excluded, in the same way, and what goes with it.
fn report_excluded(domain: &Domain, failure: Failure) {
    let holdings = domain.holdings();

    report_failure(domain, failure, DROPPED);
    if !holdings.is_empty() {
        pr_err!("{}: what this kexec drops: {holdings}\n", domain.name);
    }
}

fn report_failure(domain: &Domain, failure: Failure, what: &str) -> Error {
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
    domain.set_error(Some(failure));
    error
}

impl SessionOwner for Reboot {
    const PREFIX: &'static CStr = abi::SESSION_PREFIX;

    /// A session could not be frozen. Only leaves are locked here: LUO's locks are held.
    fn freeze_failed(session: &CStr, token: u64, error: Error) -> bool {
        let Some(reboot) = REBOOT.as_ref() else {
            return false;
        };
        let domains = reboot.domains.lock();
        let Some((number, Rebooting { domain, .. })) = domains
            .iter()
            .enumerate()
            .find(|(_, rebooting)| rebooting.domain.has_session(session))
        else {
            return false;
        };
        let failure = domain.freeze_failure(token, error);

        if may_exclude(domain) {
            reboot.root.lock().exclude(number);
            domain.set_excluded();
            report_excluded(domain, failure);
            return true;
        }
        refuse(domain, failure);
        false
    }

    fn incoming() {
        if let Ok(registry) = registry() {
            registry.claim();
        }
    }
}
