// SPDX-License-Identifier: GPL-2.0-only

//! `data/`: an ordinary directory tree.
//!
//! The contents of its files are in `content.rs`, what an inode has in `item.rs`; `dir.rs`,
//! `regular.rs` and `special.rs` are what is done with the three sorts of inodes. `restore.rs`
//! makes the tree when it is first looked up, and `walk.rs` finds what there is in it.

pub(crate) mod content;
mod counted;

pub(crate) mod item;
pub(crate) mod walk;

mod acl;
pub(crate) mod attr;

mod regular;
mod special;

mod dir;

pub(crate) mod restore;
