// SPDX-License-Identifier: GPL-2.0-only

//! Code for tests only: no other code uses it, and a kernel without `CONFIG_KEXECFS_TEST` has none
//! of it.

mod mutator;

mod knobs;

mod liar;

use kernel::prelude::*;

/// Makes the knobs and the file systems that the tests need. A failure is for them to notice.
pub(crate) fn start() {
    for (what, started) in [("knobs", knobs::start()), ("liar", liar::start())] {
        if let Err(e) = started {
            pr_err!("no {what} for tests: {e:?}\n");
        }
    }
}
