// SPDX-License-Identifier: GPL-2.0-only

//! Types and access modes of files.
//!
//! C headers: [`include/linux/stat.h`](srctree/include/linux/stat.h)

use crate::bindings;

/// The type of a file and its access mode: a `umode_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mode(bindings::umode_t);

impl Mode {
    /// All that is not the type (`S_IALLUGO`).
    pub const ALL: u16 = 0o7777;

    /// A directory with the given access mode, of which bits above [`Mode::ALL`] are ignored.
    pub const fn dir(permissions: u16) -> Self {
        Self(bindings::S_IFDIR as u16 | (permissions & Self::ALL))
    }

    /// A regular file with the given access mode, of which bits above [`Mode::ALL`] are ignored.
    pub const fn reg(permissions: u16) -> Self {
        Self(bindings::S_IFREG as u16 | (permissions & Self::ALL))
    }

    /// The access mode without the type.
    pub const fn permissions(self) -> u16 {
        self.0 & Self::ALL
    }

    /// The same type with the access mode of `other`.
    pub const fn with_permissions(self, other: Self) -> Self {
        Self((self.0 & !Self::ALL) | other.permissions())
    }

    #[inline]
    pub(super) const fn from_raw(raw: bindings::umode_t) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) const fn into_raw(self) -> bindings::umode_t {
        self.0
    }
}
