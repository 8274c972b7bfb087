// SPDX-License-Identifier: GPL-2.0-only

//! Attributes of control files.

use crate::types::KexecFs;
use kernel::{
    fs::{
        FileSystem,
        InodeOperations,
        SetAttr, //
    },
    prelude::*,
};

/// Changes attributes but for the size, which says nothing: `echo > FILE` truncates first.
pub(crate) fn set_attributes<T: FileSystem>(mut attr: SetAttr<'_, T>) -> Result {
    attr.ignore_size();
    attr.prepare()?.ready()?.copy();
    Ok(())
}

/// A control file. Its owner and mode can be changed, and hold until the domain is unmounted.
pub(super) struct ControlFile;

#[vtable]
impl InodeOperations for ControlFile {
    type FileSystem = KexecFs;

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        attr.inode().sb().info().check_alive()?;
        set_attributes(attr)
    }
}
