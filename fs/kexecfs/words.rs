// SPDX-License-Identifier: GPL-2.0-only

//! The words that a user writes and reads.

pub(crate) mod name;
pub(crate) mod options;
pub(crate) mod state;

pub(crate) mod failure;
