// SPDX-License-Identifier: GPL-2.0-only

//! For tests only.

pub(crate) mod knobs;
#[cfg(CONFIG_KEXECFS_TEST)]
pub(crate) mod liar;
