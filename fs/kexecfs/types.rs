// SPDX-License-Identifier: GPL-2.0-only

//! The types of file system: only their names. Their operations are in `super.rs` and
//! `control.rs`.

use kernel::fs::FileSystemType;

/// kexecfs: each superblock is a domain.
pub(crate) struct KexecFs;

/// Its type of file system.
pub(crate) static KEXECFS: FileSystemType<KexecFs> = FileSystemType::new();

/// kexecfsctl: the machine-wide view.
pub(crate) struct KexecFsCtl;

/// Its type of file system.
pub(crate) static KEXECFSCTL: FileSystemType<KexecFsCtl> = FileSystemType::new();
