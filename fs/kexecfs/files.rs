// SPDX-License-Identifier: GPL-2.0-only

//! The tree of a domain but for `data/`: its control files.

pub(crate) mod attr;
pub(crate) mod command;
pub(crate) mod text;

mod fd_restore;
mod fds;
mod restore_dir;
mod state;

pub(crate) mod tree;
