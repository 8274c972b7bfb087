// SPDX-License-Identifier: GPL-2.0-only

//! Attributes of control files.

use kernel::{
    fs::{
        FileSystem,
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
