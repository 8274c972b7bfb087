// SPDX-License-Identifier: GPL-2.0-only

//! What a domain has to do with its mount: what keeps the superblock, and the options.

use super::Domain;
use crate::{
    types::KexecFs,
    words::options::Options, //
};
use kernel::{
    fs::{
        sb::FilledSuperBlock,
        ActiveSuper,
        SuperBlock, //
    },
    prelude::*,
    sync::atomic::Relaxed,
    task::{
        Kgid,
        Kuid, //
    }, //
};

impl Domain {
    /// Keeps the superblock alive without a mount, or no longer, as the state and the options say.
    ///
    /// May be the end of a superblock that isn't mounted: not under one of its locks, or inside a
    /// gate. A remount is no such end.
    pub(crate) fn keep(&self, sb: &SuperBlock<KexecFs>) {
        self.keep_by(|| sb.get_active());
    }

    /// Keeps a superblock that is kept, whatever the state and the options say, until the domain
    /// [is used](Self::used): the event `cancel` for all domains drops nothing.
    ///
    /// That it is mounted is no sign of use: a mount may fail after it got the superblock, or
    /// never be attached.
    pub(crate) fn keep_until_used(&self) {
        let kept = self.kept.lock();

        if kept.is_some() {
            self.until_used.store(true, Relaxed);
        }
    }

    /// To be called when a file is opened, and when an event has been written: a mount has the
    /// superblock then, and the task has a use for the domain.
    pub(crate) fn used(&self, sb: &SuperBlock<KexecFs>) {
        if !self.until_used.load(Relaxed) {
            return;
        }
        let kept = self.kept.lock();

        self.until_used.store(false, Relaxed);
        drop(kept);
        self.keep(sb);
    }

    /// The same for a superblock that is new.
    pub(crate) fn keep_filled(&self, sb: &FilledSuperBlock<'_, KexecFs>) {
        self.keep_by(|| Some(sb.get_active()));
    }

    fn keep_by(&self, get_active: impl FnOnce() -> Option<ActiveSuper<KexecFs>>) {
        let mut kept = self.kept.lock();
        let stays = {
            let table = self.table.lock();

            table.status().is_kept() || table.options.persist || self.until_used.load(Relaxed)
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
    pub(super) fn is_only_kept(&self) -> bool {
        self.kept
            .lock()
            .as_ref()
            .is_some_and(|sb| sb.s_active() == 1)
    }

    /// Notes for `/proc/mounts` that it was mounted by `domain=`, where the source may be any.
    pub(crate) fn set_named_by_option(&self) {
        self.named_by_option.store(true, Relaxed);
    }

    /// Whether `/proc/mounts` has to show `domain=`.
    pub(crate) fn is_named_by_option(&self) -> bool {
        self.named_by_option.load(Relaxed)
    }

    /// Sets the options.
    ///
    /// # Errors
    ///
    /// `EBUSY` if they are serialized already, `EINVAL` if more files are preserved than
    /// `options` allows.
    pub(crate) fn set_options(&self, options: Options) -> Result {
        let _op = self.op.lock_killable()?;
        let mut table = self.table.lock();

        if options == table.options {
            return Ok(());
        }
        table.check_mutable()?;
        if options.max_fds < table.options.max_fds && options.max_fds < table.slots {
            return Err(EINVAL);
        }
        let came = table.tree.as_ref().map(|tree| tree.held(options.huge));

        self.space.set_limits(&options, came)?;
        table.options = options;
        Ok(())
    }

    /// Lets `f` change the owner and mode of the root, which it returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` if they are serialized already.
    pub(crate) fn change_root(&self, f: impl FnOnce() -> Result<(Kuid, Kgid, u16)>) -> Result {
        let _op = self.op.lock_killable()?;

        self.check_alive()?;
        self.table.lock().check_mutable()?;
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
}
