// SPDX-License-Identifier: GPL-2.0-only

//! Types and access modes of files.
//!
//! C headers: [`include/linux/stat.h`](srctree/include/linux/stat.h)

use crate::bindings;

/// The type of a file.
///
/// # Examples
///
/// ```
/// use kernel::fs::{FileType, Mode};
///
/// assert_eq!(Mode::lnk().file_type(), Some(FileType::Lnk));
/// assert_eq!(Mode::decode(0o060600).and_then(Mode::file_type), Some(FileType::Blk));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file (`S_IFREG`).
    Reg,
    /// A directory (`S_IFDIR`).
    Dir,
    /// A symbolic link (`S_IFLNK`).
    Lnk,
    /// A character device (`S_IFCHR`).
    Chr,
    /// A block device (`S_IFBLK`).
    Blk,
    /// A named pipe (`S_IFIFO`).
    Fifo,
    /// A socket (`S_IFSOCK`).
    Sock,
}

/// The type of a file and its access mode: a `umode_t`.
///
/// # Examples
///
/// ```
/// use kernel::fs::Mode;
///
/// let mode = Mode::dir(0o755).with_permissions(Mode::reg(0o700));
///
/// assert!(mode.is_dir());
/// assert_eq!(mode.permissions(), 0o700);
/// ```
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

    /// A symbolic link, whose access mode says nothing.
    pub const fn lnk() -> Self {
        Self(bindings::S_IFLNK as u16 | 0o777)
    }

    /// The mode that a number stands for which [`Mode::encode`] has returned, on any kernel.
    ///
    /// None if it isn't of a known type.
    pub const fn decode(encoded: u16) -> Option<Self> {
        let mode = Self(encoded);

        match mode.file_type() {
            Some(_) => Some(mode),
            None => None,
        }
    }

    /// Type and access mode as user space and other kernels know them (`st_mode`).
    pub const fn encode(self) -> u16 {
        self.0
    }

    /// The type, none if it isn't set or not one of those.
    pub const fn file_type(self) -> Option<FileType> {
        Some(match self.0 as u32 & bindings::S_IFMT {
            bindings::S_IFREG => FileType::Reg,
            bindings::S_IFDIR => FileType::Dir,
            bindings::S_IFLNK => FileType::Lnk,
            bindings::S_IFCHR => FileType::Chr,
            bindings::S_IFBLK => FileType::Blk,
            bindings::S_IFIFO => FileType::Fifo,
            bindings::S_IFSOCK => FileType::Sock,
            _ => return None,
        })
    }

    /// Whether it is of a regular file (`S_ISREG()`).
    pub const fn is_reg(self) -> bool {
        matches!(self.file_type(), Some(FileType::Reg))
    }

    /// Whether it is of a directory (`S_ISDIR()`).
    pub const fn is_dir(self) -> bool {
        matches!(self.file_type(), Some(FileType::Dir))
    }

    /// Whether it is of a symbolic link (`S_ISLNK()`).
    pub const fn is_lnk(self) -> bool {
        matches!(self.file_type(), Some(FileType::Lnk))
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
