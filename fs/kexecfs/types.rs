// SPDX-License-Identifier: GPL-2.0-only

//! The types of file system: only what they are called. `super.rs` and `control.rs` say what they
//! do.

use kernel::fs::FileSystemType;

/// kexecfs: each superblock is a domain.
pub(crate) struct KexecFs;

/// Its type of file system.
pub(crate) static KEXECFS: FileSystemType<KexecFs> = FileSystemType::new();

/// kexecfsctl: the machine-wide view.
pub(crate) struct KexecFsCtl;

/// Its type of file system.
pub(crate) static KEXECFSCTL: FileSystemType<KexecFsCtl> = FileSystemType::new();
