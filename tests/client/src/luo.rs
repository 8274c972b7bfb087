// SPDX-License-Identifier: GPL-2.0-only

//! The other face: the ioctls of /dev/liveupdate and of its sessions (uapi/linux/liveupdate.h).

use crate::sys;
use rustix::fd::{BorrowedFd, RawFd};
use rustix::io::{Errno, Result};
use rustix::ioctl::Opcode;

const fn op(nr: Opcode) -> Opcode {
    0xba00 | nr
}

const CREATE_SESSION: Opcode = op(0x00);
const RETRIEVE_SESSION: Opcode = op(0x01);
const PRESERVE_FD: Opcode = op(0x40);
const RETRIEVE_FD: Opcode = op(0x41);
const FINISH: Opcode = op(0x42);
const GET_NAME: Opcode = op(0x43);

#[repr(C)]
struct Session {
    size: u32,
    fd: i32,
    name: [u8; 64],
}

#[repr(C)]
struct File {
    size: u32,
    fd: i32,
    token: u64,
}

fn session(name: &str) -> Result<Session> {
    let mut arg = Session {
        size: core::mem::size_of::<Session>() as u32,
        fd: -1,
        name: [0; 64],
    };
    if name.len() >= arg.name.len() {
        return Err(Errno::NAMETOOLONG);
    }
    arg.name[..name.len()].copy_from_slice(name.as_bytes());
    Ok(arg)
}

/// A new session; returns its descriptor's number.
pub fn create(dev: BorrowedFd<'_>, name: &str) -> Result<RawFd> {
    let mut arg = session(name)?;
    sys::update::<CREATE_SESSION, _>(dev, &mut arg)?;
    Ok(arg.fd)
}

/// A session that the previous kernel handed over; returns its descriptor's number.
pub fn retrieve(dev: BorrowedFd<'_>, name: &str) -> Result<RawFd> {
    let mut arg = session(name)?;
    sys::update::<RETRIEVE_SESSION, _>(dev, &mut arg)?;
    Ok(arg.fd)
}

/// Preserves the descriptor `fd` under `token`.
pub fn preserve(session: BorrowedFd<'_>, fd: RawFd, token: u64) -> Result<()> {
    let mut arg = File {
        size: core::mem::size_of::<File>() as u32,
        fd,
        token,
    };
    sys::update::<PRESERVE_FD, _>(session, &mut arg)
}

/// Fetches the file of `token`; returns its descriptor's number.
pub fn fetch(session: BorrowedFd<'_>, token: u64) -> Result<RawFd> {
    let mut arg = File {
        size: core::mem::size_of::<File>() as u32,
        fd: -1,
        token,
    };
    sys::update::<RETRIEVE_FD, _>(session, &mut arg)?;
    Ok(arg.fd)
}

/// Says that the session's files have been taken.
pub fn finish(session: BorrowedFd<'_>) -> Result<()> {
    let mut arg = [8u32, 0];
    sys::update::<FINISH, _>(session, &mut arg)
}

/// The session's name.
pub fn name(at: BorrowedFd<'_>) -> Result<String> {
    let mut arg = session("")?;
    arg.fd = 0;
    sys::update::<GET_NAME, _>(at, &mut arg)?;
    let end = arg.name.iter().position(|&b| b == 0).unwrap_or(64);
    Ok(String::from_utf8_lossy(&arg.name[..end]).into_owned())
}
