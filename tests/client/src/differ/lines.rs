// SPDX-License-Identifier: GPL-2.0-only

//! System calls by number, each with a line of its result.

use crate::errno_name;
use rustix::io::Errno;
use std::ffi::CStr;
use std::fmt::{Debug, Display};
use std::io::Write;

/// The numbers of system calls, with those that libc lacks.
#[allow(non_upper_case_globals)]
pub mod nr {
    pub use libc::*;

    pub const SYS_cachestat: c_long = 451;
    pub const SYS_file_getattr: c_long = 468;
    pub const SYS_file_setattr: c_long = 469;
}

/// An argument of a system call.
pub trait Word {
    fn word(&self) -> usize;
}

macro_rules! numbers {
    ($($type:ty)*) => { $(impl Word for $type {
        fn word(&self) -> usize {
            *self as usize
        }
    })* };
}

numbers!(i8 u8 u16 i32 u32 i64 u64 isize usize);

impl Word for &CStr {
    fn word(&self) -> usize {
        self.as_ptr() as usize
    }
}

impl<T> Word for *const T {
    fn word(&self) -> usize {
        *self as usize
    }
}

impl<T> Word for *mut T {
    fn word(&self) -> usize {
        *self as usize
    }
}

/// Where a case's lines go, one by one: a call may be its last.
pub struct Lines<'a> {
    to: &'a mut dyn Write,
}

impl<'a> Lines<'a> {
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self { to }
    }

    /// Something that was found.
    pub fn note(&mut self, what: impl Display, got: impl Debug) {
        let _ = writeln!(self.to, "{what}: {got:?}");
    }

    fn answer(&mut self, what: &str, result: Result<String, Errno>) {
        let text = result.unwrap_or_else(errno_name);
        let _ = writeln!(self.to, "{what}: {text}");
    }

    /// A call of which only success or the errno is printed. Returns -1 for an error.
    pub fn call(&mut self, what: &str, nr: libc::c_long, args: &[usize]) -> i64 {
        let result = syscall(nr, args);
        self.answer(what, result.map(|_| "ok".into()));
        result.unwrap_or(-1)
    }

    /// A call whose value is printed as well.
    pub fn value(&mut self, what: &str, nr: libc::c_long, args: &[usize]) -> i64 {
        let result = syscall(nr, args);
        self.answer(what, result.map(|value| value.to_string()));
        result.unwrap_or(-1)
    }
}

/// A system call of which no line tells.
pub fn syscall(nr: libc::c_long, args: &[usize]) -> Result<i64, Errno> {
    let arg = |n: usize| args.get(n).copied().unwrap_or(0);
    // SAFETY: what a case passes is a number, or the address of something of its own that is as
    // large as the call needs and lives until the call returns; a wrong address is an EFAULT.
    let rc = unsafe { libc::syscall(nr, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if rc < 0 {
        let e = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&e).unwrap_or(Errno::IO));
    }
    Ok(rc)
}

/// `sys!(lines, "what", SYS_name, args...)`: a call, and a line "what: ok" or the errno.
macro_rules! sys {
    ($lines:expr, $what:expr, $nr:ident $(, $arg:expr)*) => {
        $lines.call(AsRef::<str>::as_ref(&$what), $crate::differ::lines::nr::$nr, &[$($crate::differ::lines::Word::word(&$arg)),*])
    };
}

/// The same with the value that was returned.
macro_rules! val {
    ($lines:expr, $what:expr, $nr:ident $(, $arg:expr)*) => {
        $lines.value(AsRef::<str>::as_ref(&$what), $crate::differ::lines::nr::$nr, &[$($crate::differ::lines::Word::word(&$arg)),*])
    };
}

/// A call that prepares a case and has to succeed.
macro_rules! must {
    ($nr:ident $(, $arg:expr)*) => {
        match $crate::differ::lines::syscall($crate::differ::lines::nr::$nr, &[$($crate::differ::lines::Word::word(&$arg)),*]) {
            Ok(value) => value,
            Err(e) => panic!("{}: {e}", stringify!($nr)),
        }
    };
}

/// A call whose result is not printed.
macro_rules! quiet {
    ($nr:ident $(, $arg:expr)*) => {
        $crate::differ::lines::syscall($crate::differ::lines::nr::$nr, &[$($crate::differ::lines::Word::word(&$arg)),*]).unwrap_or(-1)
    };
}

pub(super) use {must, quiet, sys, val};

/// A new file of these bytes, opened by `flags`.
pub fn file(path: &CStr, bytes: &[u8], flags: i32) -> i64 {
    let fd = must!(
        SYS_openat,
        libc::AT_FDCWD,
        path,
        libc::O_CREAT | libc::O_RDWR,
        0o644
    );
    must!(SYS_write, fd, bytes.as_ptr(), bytes.len());
    must!(SYS_close, fd);
    must!(SYS_openat, libc::AT_FDCWD, path, flags, 0)
}

/// The result of stat(2) for a descriptor, or for a path with AT_FDCWD.
pub fn stat(fd: i64, path: &CStr) -> Option<libc::stat> {
    // SAFETY: plain numbers, for which zeroes are valid.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    syscall(
        libc::SYS_newfstatat,
        &[
            fd as usize,
            path.word(),
            (&raw mut stat).word(),
            flags as usize,
        ],
    )
    .ok()?;
    Some(stat)
}

/// Mode, links, size and blocks, which a call may have changed.
pub fn shape(fd: i64, path: &CStr) -> String {
    match stat(fd, path) {
        Some(s) => format!(
            "mode {:o} links {} owner {}:{} size {} blocks {}",
            s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blocks
        ),
        None => "none".into(),
    }
}
