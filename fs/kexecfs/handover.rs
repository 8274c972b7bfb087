// SPDX-License-Identifier: GPL-2.0-only

//! Records to and from KHO memory, in the ABI of `include/linux/kho/abi/kexecfs.h`.
//!
//! The records of the previous kernel are input like any other: every field is checked, and an
//! illegal one costs the domain that it belongs to, and no other.
//!
//! Each of the files below imports only those before it.

mod hooks;

mod writer;

mod frame;

mod twins;

mod charges;

mod tree;

mod reader;

mod root;

pub(crate) use self::{
    reader::IncomingDomain,
    root::{
        read,
        Found,
        OutgoingRoot, //
    },
    tree::{
        IncomingInode,
        IncomingKind,
        Tree,
        FA_FLAGS, //
    },
    writer::{
        domain_len,
        Records,
        Writer,
        END_LEN, //
    },
};

#[cfg(CONFIG_KEXECFS_TEST)]
pub(crate) use self::{
    hooks::Hooks,
    reader::Reader,
    writer::stream, //
};
