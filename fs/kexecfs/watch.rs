// SPDX-License-Identifier: GPL-2.0-only

//! Notifications that control files have changed: inotify, and poll() of the machine-wide ones.

use crate::types::{
    KEXECFS,
    KEXECFSCTL, //
};
use kernel::{
    fs::{
        FileSystem,
        SuperBlock, //
    },
    memcontrol::NoWait,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVarBox,
        SetOnce, //
    },
};

/// The file `state`, of a domain and of the machine.
pub(crate) const STATE: &CStr = c"state";
/// The file `error` of a domain.
pub(crate) const ERROR: &CStr = c"error";
/// The file `domains` of the machine.
pub(crate) const DOMAINS: &CStr = c"domains";

static MACHINE: SetOnce<Changes> = SetOnce::new();

/// How often the texts of `kexecfsctl` have changed, and the tasks that wait for that.
pub(crate) struct Changes {
    count: Atomic<u32>,
    changed: PollCondVarBox,
}

/// Begins to count.
pub(crate) fn start() -> Result {
    MACHINE.populate(Changes {
        count: Atomic::new(0),
        changed: PollCondVarBox::new(c"watch::MACHINE", static_lock_class!())?,
    });
    Ok(())
}

/// The changes of the texts of `kexecfsctl`.
///
/// # Errors
///
/// `ENODEV` if the machine hands nothing over.
pub(crate) fn machine() -> Result<&'static Changes> {
    MACHINE.as_ref().ok_or(ENODEV)
}

impl Changes {
    /// How many there were so far.
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// A task that polls waits for this.
    pub(crate) fn changed(&self) -> &PollCondVarBox {
        &self.changed
    }
}

/// Notifies the watchers of the file `name` in the root that it has changed.
pub(crate) fn notify<T: FileSystem>(sb: &SuperBlock<T>, name: &CStr) {
    // Without memory for the look-up there is none for the watchers' events either.
    if let Some(Ok(file)) = sb
        .root()
        .map(|root| root.lookup_noperm_positive_unlocked(name))
    {
        file.fsnotify_modify();
    }
}

/// Notifies the watchers of all domains of a change by a reboot.
pub(crate) fn notify_watchers() {
    // Events are charged to the cgroups of the watchers.
    let _nowait = NoWait::new();

    KEXECFS.iterate_supers_type(&mut |sb| {
        notify(sb, STATE);
        notify(sb, ERROR);
    });
    notify_control();
}

/// Notifies the watchers of the machine-wide view that it has changed.
///
/// Takes the `s_umount` of its superblock: not inside a gate, or under a lock of a domain.
pub(crate) fn notify_control() {
    if let Ok(machine) = machine() {
        machine.count.add(1, Relaxed);
        if machine.changed.has_waiters() {
            machine.changed.notify_all();
        }
    }
    KEXECFSCTL.iterate_supers_type(&mut |sb| {
        notify(sb, STATE);
        notify(sb, DOMAINS);
    });
}
