// SPDX-License-Identifier: GPL-2.0-only

//! Attributes of files beside those of `stat`: a time of birth, flags, handles; and what their
//! file system is known by.

use crate::ops::Args;
use crate::{quote, sys, usage, Failure, Outcome};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, IFlags, Mode, OFlags, StatxAttributes, StatxFlags, CWD};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FLAGS: [(char, u32); 5] = [
    ('i', 0x10),
    ('a', 0x20),
    ('d', 0x40),
    ('A', 0x80),
    ('S', 0x08),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn open(path: &str) -> Result<rustix::fd::OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn letters(flags: u32) -> String {
    let set = FLAGS.iter().filter(|(_, flag)| flags & flag != 0);
    let text: String = set.map(|(letter, _)| letter).collect();
    if text.is_empty() {
        "-".into()
    } else {
        text
    }
}

/// `lsattr PATH`: its flags, as `lsattr` has them.
pub fn lsattr(args: &Args<'_>) -> Outcome {
    let flags = rustix::fs::ioctl_getflags(open(args.text(0)?)?)?;
    Ok(Some(format!("flags: {}", letters(flags.bits()))))
}

/// `chattr PATH +LETTERS|-LETTERS|=LETTERS`, of `iadAS`.
pub fn chattr(args: &Args<'_>) -> Outcome {
    let word = args.text(1)?;
    let mut wanted = 0;
    for c in word.chars().skip(1) {
        match FLAGS.iter().find(|(letter, _)| *letter == c) {
            Some((_, flag)) => wanted |= flag,
            None => return usage(format!("{c}: no such flag")),
        }
    }
    let fd = open(args.text(0)?)?;
    let before = rustix::fs::ioctl_getflags(&fd)?.bits();
    let flags = match word.chars().next() {
        Some('+') => before | wanted,
        Some('-') => before & !wanted,
        _ => wanted,
    };
    rustix::fs::ioctl_setflags(&fd, IFlags::from_bits_retain(flags))?;
    Ok(None)
}

const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;
const FS_IOC_GETFSUUID: u32 = 0x8011_1500;

/// `fsxattr PATH [FIELD VALUE]`: the words of its struct fsxattr (xflags, extsize, nextents, projid,
/// cowextsize), after FIELD was set to VALUE.
pub fn fsxattr(args: &Args<'_>) -> Outcome {
    let fd = open(args.text(0)?)?;
    let mut words = [0u32; 7];
    sys::update::<FS_IOC_FSGETXATTR, _>(fd.as_fd(), &mut words)?;
    if args.0.len() > 1 {
        match words.get_mut(args.number::<usize>(1)?) {
            Some(word) => *word = args.number(2)?,
            None => return usage("no such field"),
        }
        sys::update::<FS_IOC_FSSETXATTR, _>(fd.as_fd(), &mut words)?;
        sys::update::<FS_IOC_FSGETXATTR, _>(fd.as_fd(), &mut words)?;
    }
    Ok(Some(format!("fsxattr: {:x?}", &words[..5])))
}

fn uuid(path: &str) -> Result<String, Failure> {
    let mut uuid = [0u8; 17];
    sys::update::<FS_IOC_GETFSUUID, _>(open(path)?.as_fd(), &mut uuid)?;
    Ok(format!("{} {}", uuid[0], hex(&uuid[1..])))
}

/// `statx PATH`: its time of birth and its flags, by statx().
pub fn statx(args: &Args<'_>) -> Outcome {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let st = rustix::fs::statx(CWD, args.text(0)?, AtFlags::SYMLINK_NOFOLLOW, mask)?;
    let all = StatxAttributes::APPEND | StatxAttributes::IMMUTABLE | StatxAttributes::NODUMP;
    let time = |t: rustix::fs::StatxTimestamp| (t.tv_sec, t.tv_nsec);
    let (btime, mtime) = (time(st.stx_btime), time(st.stx_mtime));
    let born = match btime.cmp(&mtime) {
        _ if st.stx_mask & StatxFlags::BTIME.bits() == 0 => "untold",
        _ if btime.0 == 0 => "zero",
        core::cmp::Ordering::Less | core::cmp::Ordering::Equal => "by mtime",
        core::cmp::Ordering::Greater => "after mtime",
    };
    Ok(Some(format!(
        "statx: born {born}, attributes {:x} of {:x}",
        (st.stx_attributes & all).bits(),
        (st.stx_attributes_mask & all).bits(),
    )))
}

fn describe(top: &Path, path: &Path, out: &mut String) -> Result<(), Failure> {
    let text = path.to_string_lossy();
    let st = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME)?;
    let is_dir = fs::symlink_metadata(path)?.is_dir();
    let name = path.strip_prefix(top).unwrap_or(path);
    let flags = match open(&text).and_then(|fd| Ok(rustix::fs::ioctl_getflags(fd)?)) {
        Ok(flags) => letters(flags.bits()),
        Err(e) => e.text(),
    };
    let _ = writeln!(
        out,
        "{} ino={} born={}.{:09} flags={flags} handle={}",
        quote(name.as_os_str().as_bytes()),
        st.stx_ino,
        st.stx_btime.tv_sec,
        st.stx_btime.tv_nsec,
        hex(&sys::name_to_handle(&text)?),
    );
    if is_dir {
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            // A listing and a stat give the same.
            use std::os::unix::fs::{DirEntryExt, MetadataExt};
            if entry.ino() != fs::symlink_metadata(entry.path())?.ino() {
                return Err(Failure::Wrong(format!("{:?}: d_ino differs", entry.path())));
            }
            describe(top, &entry.path(), out)?;
        }
    }
    Ok(())
}

/// `identity DIR [FILE]`: the UUID and the ID of the file system, and for all that is in DIR, DIR
/// included, its number, birth, flags and handle; into FILE, else printed.
pub fn identity(args: &Args<'_>) -> Outcome {
    let top = args.text(0)?;
    let fs = rustix::fs::statfs(top)?;
    let mut out = format!("uuid={} fsid={:?}\n", uuid(top)?, fs.f_fsid);
    describe(Path::new(top), Path::new(top), &mut out)?;
    match args.text(1) {
        Ok(path) => {
            fs::write(path, &out)?;
            Ok(Some(String::new()))
        }
        Err(_) => Ok(Some(out.trim_end().to_string())),
    }
}

/// `handle PATH FILE`: writes the handle of PATH into FILE.
pub fn handle(args: &Args<'_>) -> Outcome {
    fs::write(args.text(1)?, hex(&sys::name_to_handle(args.text(0)?)?))?;
    Ok(None)
}

/// `open-handle FD MOUNT FILE [w]`: opens the file whose handle is in FILE, by a file of its mount;
/// prints its path.
pub fn open_handle(args: &Args<'_>) -> Outcome {
    let text = fs::read_to_string(args.text(2)?)?;
    let Some(handle) = unhex(text.trim()) else {
        return usage("no handle");
    };
    let flags = match args.text(3) {
        Ok("w") => OFlags::WRONLY,
        Ok("path") => OFlags::PATH,
        _ => OFlags::RDONLY,
    };
    let owned = sys::open_by_handle(open(args.text(1)?)?.as_fd(), &handle, flags.bits())?;
    sys::place(owned, args.fd(0)?)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", args.fd(0)?))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(Some(format!("open-handle: {}", quote(name.as_bytes()))))
}

const FAN_REPORT_FID: u32 = 0x200;
const FAN_NONBLOCK: u32 = 2;
const EVENTS: [(u64, &str); 6] = [
    (0x2, "modify"),
    (0x4, "attrib"),
    (0x100, "create"),
    (0x200, "delete"),
    (0x40, "moved-from"),
    (0x80, "moved-to"),
];
const FAN_ONDIR: u64 = 0x4000_0000;

/// `fanotify FD PATH`: a group in FD that watches the file system of PATH, by handles.
pub fn fanotify(args: &Args<'_>) -> Outcome {
    let mask = EVENTS.iter().fold(FAN_ONDIR, |mask, (bit, _)| mask | bit);
    let group = sys::fanotify(FAN_REPORT_FID | FAN_NONBLOCK, mask, args.text(1)?)?;
    sys::place(group, args.fd(0)?)?;
    Ok(None)
}

/// `fanotify-read FD PATH`: the events that wait in FD, and the files of their handles.
pub fn fanotify_read(args: &Args<'_>) -> Outcome {
    let mut buf = vec![0u8; 1 << 16];
    let n = rustix::io::read(sys::fd(args.fd(0)?), &mut buf[..])?;
    let mount = open(args.text(1)?)?;
    let mut rest = &buf[..n];
    let mut out = Vec::new();
    let word = |bytes: &[u8], at: usize| -> usize {
        bytes[at..at + 4].try_into().map_or(0, u32::from_ne_bytes) as usize
    };
    // struct fanotify_event_metadata (24 bytes), a header (4) and an ID (8) of the information, and
    // a struct file_handle.
    while rest.len() >= 24 {
        let (event, next) = rest.split_at(word(rest, 0));
        let mask = event[8..16].try_into().map_or(0, u64::from_ne_bytes);
        let names: Vec<_> = EVENTS
            .iter()
            .filter(|(bit, _)| mask & bit != 0)
            .map(|(_, name)| *name)
            .collect();
        let handle = &event[36..36 + 8 + word(event, 36)];
        let place = match sys::open_by_handle(mount.as_fd(), handle, OFlags::PATH.bits()) {
            Ok(fd) => {
                use std::os::fd::AsRawFd;
                let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
                quote(path.file_name().unwrap_or(path.as_os_str()).as_bytes())
            }
            Err(e) => Failure::from(e).text(),
        };
        out.push(format!("{} in {place}", names.join(",")));
        rest = next;
    }
    Ok(Some(format!("fanotify: {}", out.join("; "))))
}
