// SPDX-License-Identifier: GPL-2.0-only

//! For tests only: nothing else knows of what is here, and a kernel without `CONFIG_KEXECFS_TEST`
//! has none of it.

mod mutator;

mod knobs;

mod liar;

use kernel::prelude::*;

/// Makes what the tests need. What fails is missing for them, and does no harm to anybody else.
pub(crate) fn start() {
    for (what, started) in [("knobs", knobs::start()), ("liar", liar::start())] {
        if let Err(e) = started {
            pr_err!("no {what} for tests: {e:?}\n");
        }
    }
}
