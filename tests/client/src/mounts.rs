// SPDX-License-Identifier: GPL-2.0-only

//! Mounting by mount(2) and by the newer calls, with the fs_context's log.

use crate::ops::Args;
use crate::{sys, usage, Failure, Outcome};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    self as m, FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use std::ffi::CString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// `mount NAME DIR [OPTIONS]`: mount(2) of type kexecfs.
pub fn mount(args: &Args<'_>) -> Outcome {
    let data = CString::new(args.text(2).unwrap_or("")).map_err(|_| Errno::INVAL)?;
    m::mount(
        args.text(0)?,
        args.text(1)?,
        "kexecfs",
        MountFlags::empty(),
        Some(&*data),
    )?;
    Ok(None)
}

/// `umount DIR [detach]`
pub fn umount(args: &Args<'_>) -> Outcome {
    let flags = match args.text(1) {
        Ok("detach") => UnmountFlags::DETACH,
        Ok(other) => return usage(format!("{other}: no such flag")),
        Err(_) => UnmountFlags::empty(),
    };
    m::unmount(args.text(0)?, flags)?;
    Ok(None)
}

/// `fsopen FD [TYPE]`
pub fn fsopen(args: &Args<'_>) -> Outcome {
    let owned = m::fsopen(
        args.text(1).unwrap_or("kexecfs"),
        FsOpenFlags::FSOPEN_CLOEXEC,
    )?;
    sys::place(owned, args.fd(0)?)?;
    Ok(None)
}

/// `fspick FD DIR`: the context that reconfigures what is mounted at DIR.
pub fn fspick(args: &Args<'_>) -> Outcome {
    let owned = m::fspick(CWD, args.text(1)?, FsPickFlags::FSPICK_CLOEXEC)?;
    sys::place(owned, args.fd(0)?)?;
    Ok(None)
}

/// `set FD KEY VALUE`
pub fn set(args: &Args<'_>) -> Outcome {
    m::fsconfig_set_string(sys::fd(args.fd(0)?), args.text(1)?, args.text(2)?)?;
    Ok(None)
}

/// `flag FD KEY`
pub fn flag(args: &Args<'_>) -> Outcome {
    m::fsconfig_set_flag(sys::fd(args.fd(0)?), args.text(1)?)?;
    Ok(None)
}

pub fn create(args: &Args<'_>) -> Outcome {
    m::fsconfig_create(sys::fd(args.fd(0)?))?;
    Ok(None)
}

pub fn create_exclusive(args: &Args<'_>) -> Outcome {
    m::fsconfig_create_exclusive(sys::fd(args.fd(0)?))?;
    Ok(None)
}

pub fn reconfigure(args: &Args<'_>) -> Outcome {
    m::fsconfig_reconfigure(sys::fd(args.fd(0)?))?;
    Ok(None)
}

/// `log FD [WORD]`: the messages of the context, one a line; with WORD, only whether one of them is
/// an error and holds WORD.
pub fn log(args: &Args<'_>) -> Outcome {
    let mut lines = Vec::new();
    let mut buf = [0u8; 1024];
    loop {
        match rustix::io::read(sys::fd(args.fd(0)?), &mut buf[..]) {
            Ok(n) => lines.push(String::from_utf8_lossy(&buf[..n]).trim_end().to_string()),
            Err(Errno::NODATA) => break,
            Err(e) => return Err(e.into()),
        }
    }
    let Ok(word) = args.text(1) else {
        return Ok(Some(if lines.is_empty() {
            "log: empty".into()
        } else {
            format!("log: {}", lines.join("; "))
        }));
    };
    if lines
        .iter()
        .any(|l| l.starts_with("e ") && l.contains(word))
    {
        return Ok(Some(format!("log: names {word}")));
    }
    Err(Failure::Wrong(format!("{word} is not named: {lines:?}")))
}

/// `fsmount FD MOUNT`
pub fn fsmount(args: &Args<'_>) -> Outcome {
    let owned = m::fsmount(
        sys::fd(args.fd(0)?),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    sys::place(owned, args.fd(1)?)?;
    Ok(None)
}

/// `open-tree MOUNT DIR`: a detached copy of the mount at DIR.
pub fn open_tree(args: &Args<'_>) -> Outcome {
    let owned = m::open_tree(
        CWD,
        args.text(1)?,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    sys::place(owned, args.fd(0)?)?;
    Ok(None)
}

/// `attach MOUNT DIR`
pub fn attach(args: &Args<'_>) -> Outcome {
    m::move_mount(
        sys::fd(args.fd(0)?),
        "",
        CWD,
        args.text(1)?,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(None)
}

/// `idmap MOUNT FROM TO`: owners FROM (user and group) of the detached MOUNT appear as TO.
pub fn idmap(args: &Args<'_>) -> Outcome {
    let map = format!("{} {} 1", args.number::<u32>(1)?, args.number::<u32>(2)?);
    // A user namespace lives as long as a process is in it or a descriptor refers to it: a child
    // makes one, this process writes its maps and takes a descriptor.
    let mut child = Command::new("/proc/self/exe")
        .arg("@userns-idle")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let proc = format!("/proc/{}", child.id());
    let userns: Result<OwnedFd, Failure> = (|| {
        std::fs::write(format!("{proc}/uid_map"), &map)?;
        std::fs::write(format!("{proc}/gid_map"), &map)?;
        Ok(std::fs::File::open(format!("{proc}/ns/user"))?.into())
    })();
    drop(child.stdin.take());
    child.wait()?;
    sys::idmap(sys::fd(args.fd(0)?), userns?.as_fd())?;
    Ok(None)
}

/// `userns-idle`: enters a new user namespace, says so, and stays until its input ends.
pub fn userns_idle() -> Outcome {
    sys::new_user_namespace()?;
    println!("ready");
    let mut rest = String::new();
    std::io::stdin().read_line(&mut rest)?;
    Ok(Some(String::new()))
}
