// SPDX-License-Identifier: GPL-2.0-only

//! `check`: what would become of each domain if reboot(KEXEC) came now.
//!
//! All domains are prepared by what a reboot prepares them by, in the same order and for as long,
//! and all at once, for the memory that they need together. LUO freezes and unfreezes their
//! sessions. Then all of it is undone. A reboot that comes ends it.

use crate::{
    domain::{
        Domain,
        Limit,
        Timeout, //
    },
    files::text::append,
    gate,
    prepare::Rehearsed,
    reboot::{
        active_super,
        loss,
        may_exclude,
        Access,
        Shares,
        TIMEOUT_MSECS, //
    },
    registry::Registry,
    words::{
        failure::Failure,
        name::Name,
        options::Errors, //
    }, //
};
use kernel::{
    liveupdate::{
        self,
        KexecImage, //
    },
    memalloc::MayFail,
    memcontrol::charge_root,
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies, //
};

/// A domain that takes part in a rehearsal.
struct Part<'a> {
    domain: &'a Domain,
    /// Whether a reboot would go on without it.
    drops: bool,
    /// What has come of it so far. One that has no superblock and is not kept holds nothing.
    result: Result<Option<Rehearsed<'a>>, Failure>,
}

/// Writes a line for the image and one for each domain.
///
/// # Errors
///
/// `EBUSY` if a reboot is under way, `EINTR` if the reader gets a signal, `ENOMEM`.
pub(crate) fn check(registry: &Registry, text: &mut KVVec<u8>) -> Result {
    let _commands = registry.commands.lock_killable()?;
    let domains = registry.domains()?;
    // As in a reboot: what grows with all domains is no matter of the reader's cgroup.
    let (image, failures) = charge_root(|| look(registry, &domains))?;

    show_image(image, text)?;
    for (domain, failure) in domains.iter().zip(&failures) {
        show_domain(domain, failure.as_ref(), text)?;
    }
    registry.for_each(|name, info| match info {
        Some(_) => Ok(()),
        None => show_unreadable(name, text),
    })
}

/// What image is loaded, and why each of the domains fails.
fn look(
    registry: &Registry,
    domains: &[Arc<Domain>],
) -> Result<(Result<KexecImage>, KVVec<Option<Failure>>)> {
    let _mayfail = MayFail::new();
    let _rehearsal = registry.rehearsal.lock_killable()?;

    gate::check_open()?;
    let image = liveupdate::kexec_image();
    let failures = match image {
        Ok(KexecImage::Plain) => lost(domains)?,
        Ok(KexecImage::Returns) => none(domains)?,
        // Without an image it is the next one that matters.
        _ => rehearse(domains)?,
    };

    // If a reboot has come it waits for the lock: no failure above is its doing, if it is open now.
    gate::check_open()?;
    Ok((image, failures))
}

/// What becomes of domains by an image that hands nothing over.
fn lost(domains: &[Arc<Domain>]) -> Result<KVVec<Option<Failure>>> {
    let mut failures = KVVec::with_capacity(domains.len(), GFP_KERNEL)?;

    for domain in domains {
        failures.push(loss(domain), GFP_KERNEL)?;
    }
    Ok(failures)
}

/// Nothing becomes of domains by an image that returns.
fn none(domains: &[Arc<Domain>]) -> Result<KVVec<Option<Failure>>> {
    let mut failures = KVVec::with_capacity(domains.len(), GFP_KERNEL)?;

    for _ in domains {
        failures.push(None, GFP_KERNEL)?;
    }
    Ok(failures)
}

/// Does what a reboot would do with the domains, and undoes it. Returns why each fails.
fn rehearse(domains: &[Arc<Domain>]) -> Result<KVVec<Option<Failure>>> {
    let access = Access::new(domains)?;
    let mut parts = KVVec::with_capacity(domains.len(), GFP_KERNEL)?;
    let mut left = msecs_to_jiffies(TIMEOUT_MSECS);

    for domain in domains {
        let part = Part {
            domain,
            drops: may_exclude(domain),
            result: Ok(None),
        };

        parts.push(part, GFP_KERNEL)?;
    }
    for part in parts.iter_mut().filter(|part| !part.drops) {
        part.prepare(&access, Limit::ForUsers(&mut left))?;
    }
    let mut shares = Shares::new(parts.iter().filter(|part| part.drops).count());

    for part in parts.iter_mut().filter(|part| part.drops) {
        let end = shares.next();

        liveupdate::with_reboot_deadline(end, || part.prepare(&access, Limit::At(end)))?;
    }
    // LUO begins when all are serialized.
    for part in &mut parts {
        gate::check_open()?;
        part.freeze();
    }
    let mut failures = KVVec::with_capacity(domains.len(), GFP_KERNEL)?;

    for part in parts {
        failures.push(part.result.err(), GFP_KERNEL)?;
    }
    Ok(failures)
}

impl Part<'_> {
    /// Prepares the domain, or finds out why it can't be.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a reboot has come, `EINTR` if a signal has.
    fn prepare(&mut self, access: &Access, limit: Limit<'_>) -> Result {
        let domain = self.domain;

        self.result = access.claim(domain).and_then(|sb| match sb {
            Some(sb) => domain
                .rehearse(Some(sb), Timeout::rehearsal(limit))
                .map(Some),
            // It is just being mounted or dropped.
            None if !domain.is_kept() => Ok(None),
            None => {
                // It may have been mounted meanwhile.
                let sb = active_super(domain);

                domain
                    .rehearse(sb.as_deref(), Timeout::rehearsal(limit))
                    .map(Some)
            }
        });
        gate::check_open()?;
        match &self.result {
            Err(failure) if failure.error == EINTR => Err(EINTR),
            _ => Ok(()),
        }
    }

    /// Has LUO freeze what the domain preserves.
    fn freeze(&mut self) {
        let frozen = match &self.result {
            Ok(Some(rehearsed)) => rehearsed.freeze(),
            _ => Ok(()),
        };

        if let Err(failure) = frozen {
            self.result = Err(failure);
        }
    }
}

/// The line of the image: that of no domain.
fn show_image(image: Result<KexecImage>, text: &mut KVVec<u8>) -> Result {
    let refused = |error, reason| Err(Failure::new(error, reason));
    let shown = match image {
        Ok(KexecImage::None) => refused(EINVAL, "no image is loaded"),
        Ok(KexecImage::Plain) => Ok("it was loaded by kexec_load() and carries nothing over"),
        Ok(KexecImage::Handover) => Ok("it carries over what is preserved"),
        Ok(KexecImage::Returns) => Ok("it returns to this kernel"),
        Err(e) => refused(e, "an image is being loaded, or a kexec is under way"),
    };

    append(text, fmt!("-\t"))?;
    match shown {
        Ok(what) => append(text, fmt!("ok\t-\t{what}\n")),
        Err(failure) => {
            failure.fields(text)?;
            append(text, fmt!("\t{}\n", Errors::Refuse.as_str()))
        }
    }
}

/// The line of a domain. One that has been discarded meanwhile has none.
fn show_domain(domain: &Domain, failure: Option<&Failure>, text: &mut KVVec<u8>) -> Result {
    match failure {
        None => append(text, fmt!("{}\tok\n", domain.name)),
        Some(_) if domain.is_discarded() => Ok(()),
        Some(failure) => {
            append(text, fmt!("{}\t", domain.name))?;
            failure.fields(text)?;
            append(text, fmt!("\t{}\n", domain.options().errors.as_str()))
        }
    }
}

/// The line of a domain that the previous kernel handed over, and that can't be read: no reboot
/// hands it over, nor is refused for it.
fn show_unreadable(name: &Name, text: &mut KVVec<u8>) -> Result {
    append(text, fmt!("{name}\t"))?;
    Failure::new(EIO, "what was handed over can't be read").fields(text)?;
    append(text, fmt!("\t{}\n", Errors::Drop.as_str()))
}
