// SPDX-License-Identifier: GPL-2.0-only

//! The events `prepare` and `cancel` for all domains at once.

use crate::{
    files::command::{
        report_for_all,
        succeeded, //
    },
    gate::{
        self,
        inside, //
    },
    reboot::active_supers,
    registry::Registry,
    types::KexecFs,
    watch::{
        notify,
        notify_control,
        STATE, //
    },
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
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Completion, //
    },
    workqueue, //
};

/// A `prepare` for all domains.
#[pin_data]
struct Batch {
    /// Set once the writer has been killed.
    cancelled: Atomic<bool>,
    /// Whether a domain that refuses a kexec could not be prepared.
    refused: Atomic<bool>,
    /// Completed when all workers have ended.
    #[pin]
    done: Completion,
}

/// What the workers of a batch share: the last one completes it.
struct Workers {
    batch: Arc<Batch>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.batch.done.complete_all();
    }
}

/// Prepares every domain in the state `normal` that is mounted or kept, each in a worker of its
/// own: one whose files are in use keeps no other one waiting.
///
/// Those that can't be prepared say why, in the log and in `error`; the others stay prepared.
///
/// # Errors
///
/// `EBUSY` in a reboot, or if one with `errors=refuse` could not be prepared, `EINTR` if the writer
/// was killed, which ends the wait for other users of the files, `ENOMEM`.
pub(crate) fn prepare(registry: &Registry) -> Result {
    let _commands = registry.commands.lock_killable()?;
    let batch = Arc::pin_init(
        pin_init!(Batch {
            cancelled: Atomic::new(false),
            refused: Atomic::new(false),
            done <- Completion::new(),
        }),
        GFP_KERNEL,
    )?;
    let workers = Arc::new(
        Workers {
            batch: batch.clone(),
        },
        GFP_KERNEL,
    )?;

    gate::check_open()?;
    for sb in active_supers()? {
        if sb.info().state() == State::Normal {
            begin(&workers, &sb);
        }
    }
    drop(workers);
    let waited = batch.done.wait_for_completion_killable();

    if waited.is_err() {
        batch.cancelled.store(true, Relaxed);
        // Each of them looks at that.
        batch.done.wait_for_completion();
    }
    notify_control();
    waited?;
    if batch.refused.load(Relaxed) {
        return Err(EBUSY);
    }
    // What a reboot that is under way has frozen was not prepared.
    gate::check_open()
}

/// Lets a worker prepare a domain.
fn begin(workers: &Arc<Workers>, sb: &ActiveSuper<KexecFs>) {
    let Some(own) = sb.get_active() else {
        return;
    };
    let theirs = workers.clone();
    let begun = workqueue::system_dfl_long().try_spawn(GFP_KERNEL, move || {
        let result = own.info().prepare_for_all(&own, &theirs.batch.cancelled);

        theirs.batch.tell(&own, result);
        // The writer goes on when all superblocks have been let go.
        drop(own);
        drop(theirs);
    });

    if let Err(e) = begun {
        workers.batch.tell(sb, Err(e.into()));
    }
}

impl Batch {
    /// Says what has come of the event for a domain.
    fn tell(&self, sb: &SuperBlock<KexecFs>, result: Result<bool, Failure>) {
        match result {
            Ok(true) => {
                succeeded(sb);
                notify(sb, STATE);
            }
            // Its owner was faster, and has been told.
            Ok(false) => {}
            Err(_) if sb.info().is_discarded() => {}
            Err(failure) => {
                report_for_all(sb, failure);
                if sb.info().options().errors == Errors::Refuse {
                    self.refused.store(true, Relaxed);
                }
            }
        }
    }
}

/// Cancels every domain that is prepared. None is dropped by that, see
/// [`Domain::keep_until_used`](crate::domain::Domain::keep_until_used).
///
/// # Errors
///
/// `EINTR` if the writer was killed; the error of the last domain that could not be cancelled:
/// `EBUSY` in a reboot.
pub(crate) fn cancel(registry: &Registry) -> Result {
    let _commands = registry.commands.lock_killable()?;
    let mut result = Ok(());

    gate::check_open()?;
    for sb in active_supers()? {
        let domain = sb.info();

        if domain.state() != State::Prepared {
            continue;
        }
        let cancelled = inside(|| {
            domain.cancel()?;
            domain.keep_until_used();
            Ok(())
        });

        match cancelled {
            Ok(()) => {
                succeeded(&sb);
                notify(&sb, STATE);
            }
            // Its owner was faster, or it was discarded.
            Err(_) if domain.is_discarded() || domain.is_open() => {}
            Err(failure) => result = Err(report_for_all(&sb, failure)),
        }
        if result == Err(EINTR) {
            break;
        }
    }
    notify_control();
    result
}
