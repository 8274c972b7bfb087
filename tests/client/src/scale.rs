// SPDX-License-Identifier: GPL-2.0-only

//! What operations on many files, domains and sessions take, in ticks of the processor's counter
//! (`scripts/bench`).
//!
//! Each prints `LABEL COUNT TICKS`. A `%` in a path stands for the number of the file: with it each has
//! a domain of its own. Files of a domain are opened by their names in a directory that is open: what
//! the path to the mount takes is not counted.

use crate::ops::{self, Args};
use crate::{luo, sys, usage, Failure, Outcome};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::mount::{mount, MountFlags};
use rustix::process::{setrlimit, Resource, Rlimit};
use std::sync::Mutex;

/// The files and the sessions of this process.
static FILES: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
static SESSIONS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|e| e.into_inner())
}

fn path(pattern: &str, n: usize) -> String {
    pattern.replace('%', &n.to_string())
}

fn took(label: &str, count: usize, ticks: u64) -> Outcome {
    Ok(Some(format!("{label} {count} {ticks}")))
}

/// The ticks that `each` takes for 0 to `count`, without what `before` does.
fn sum<T>(
    count: usize,
    mut before: impl FnMut(usize) -> Result<T, Failure>,
    mut each: impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut ticks = 0;
    for n in 0..count {
        let what = before(n)?;
        let begin = sys::ticks();
        each(n, what)?;
        ticks += sys::ticks() - begin;
    }
    Ok(ticks)
}

fn open(path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// A directory, to open what is in it.
pub fn open_dir(path: &str) -> rustix::io::Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY)
}

fn open_in(dir: &OwnedFd, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, Mode::empty())
}

/// The directories of so many domains, or the one of all.
fn dirs(pattern: &str, count: usize) -> rustix::io::Result<Vec<OwnedFd>> {
    let count = if pattern.contains('%') { count } else { 1 };
    (0..count).map(|n| open_dir(&path(pattern, n))).collect()
}

fn new_file(bytes: usize, chunk: &[u8]) -> Result<OwnedFd, Failure> {
    let memfd = rustix::fs::memfd_create("scale", MemfdFlags::CLOEXEC)?;
    let mut left = bytes;
    while left > 0 {
        left -= rustix::io::write(&memfd, &chunk[..left.min(chunk.len())])?;
    }
    Ok(memfd)
}

/// Lets this process open so many files, and what it has beside.
fn let_open(files: usize) -> Result<(), Failure> {
    let limit = Some(files as u64 + 64);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )?;
    Ok(())
}

/// `scale-files N BYTES [scattered]`: N memfds, which the operations that follow are about; `scattered`: two
/// more for each, which go away again, so that no pages of two are neighbours.
pub fn files(args: &Args<'_>) -> Outcome {
    let (count, bytes): (usize, usize) = (args.number(0)?, args.number(1)?);
    let scattered = args.text(2).is_ok();
    let all = if scattered { count * 3 } else { count };
    let_open(all * 2)?;
    let chunk = vec![b'x'; 1 << 20];
    let mut files = (0..all)
        .map(|_| new_file(bytes, &chunk))
        .collect::<Result<Vec<_>, _>>()?;
    if scattered {
        let mut n = 0;
        files.retain(|_| {
            n += 1;
            n % 3 == 0
        });
    }
    *locked(&FILES) = files;
    Ok(Some(String::new()))
}

/// `scale-preserve LABEL HOW TARGET`: preserves them: by an `ioctl` of the session that is the descriptor
/// TARGET, or of a session `each`; or in the domain TARGET, with its control file `kept` open or `opened`.
pub fn preserve(args: &Args<'_>) -> Outcome {
    let (label, how, target) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let files = locked(&FILES);
    let sessions = locked(&SESSIONS);
    let control = |dir: &OwnedFd| open_in(dir, "fd_preserve", OFlags::WRONLY);
    let line = |n: usize| Ok(format!("{} f{n}", files[n].as_raw_fd()));
    let ticks = match how {
        "ioctl" => {
            let session: RawFd = args.number(2)?;
            sum(
                files.len(),
                |_| Ok(()),
                |n, ()| {
                    Ok(luo::preserve(
                        sys::fd(session),
                        files[n].as_raw_fd(),
                        n as u64,
                    )?)
                },
            )?
        }
        "each" => sum(
            files.len(),
            |_| Ok(()),
            |n, ()| {
                Ok(luo::preserve(
                    sys::fd(sessions[n]),
                    files[n].as_raw_fd(),
                    0,
                )?)
            },
        )?,
        "kept" => {
            let control = control(&open_dir(target)?)?;
            sum(files.len(), line, |_, line| {
                rustix::io::write(&control, line.as_bytes())?;
                Ok(())
            })?
        }
        "opened" => {
            let_open(files.len() * 3)?;
            let dirs = dirs(target, files.len())?;
            sum(files.len(), line, |n, line| {
                rustix::io::write(&control(&dirs[n % dirs.len()])?, line.as_bytes())?;
                Ok(())
            })?
        }
        other => return usage(format!("{other}: no such way")),
    };
    took(label, files.len(), ticks)
}

/// `scale-unpreserve LABEL DIR`: unpreserves them in the domain, whose control file stays open.
pub fn unpreserve(args: &Args<'_>) -> Outcome {
    let count = locked(&FILES).len();
    let control = open(&format!("{}/fd_unpreserve", args.text(1)?), OFlags::WRONLY)?;
    let ticks = sum(
        count,
        |n| Ok(format!("f{n}")),
        |_, name| {
            rustix::io::write(&control, name.as_bytes())?;
            Ok(())
        },
    )?;
    took(args.text(0)?, count, ticks)
}

/// Takes the file out of the entry `name` of `fd_restore`.
pub fn take(fd_restore: &OwnedFd, name: &str) -> Result<RawFd, Failure> {
    let mut text = [0; 20];
    let entry = open_in(fd_restore, name, OFlags::RDONLY)?;
    let len = rustix::io::read(&entry, &mut text[..])?;
    std::str::from_utf8(&text[..len])
        .ok()
        .and_then(|text| text.trim_end().parse().ok())
        .ok_or_else(|| Failure::Wrong("no number".into()))
}

/// `scale-restore LABEL HOW TARGET N`: restores so many: by an `ioctl` of the session that is the descriptor
/// TARGET, or of a session `each`; or by open, read and close in the domain TARGET (`files`). They stay open.
pub fn restore(args: &Args<'_>) -> Outcome {
    let (how, target) = (args.text(1)?, args.text(2)?);
    let count: usize = args.number(3)?;
    let_open(count * 3)?;
    let sessions = locked(&SESSIONS);
    let fetch = |session: BorrowedFd<'_>, token| luo::fetch(session, token).map(|_| ());
    let ticks = match how {
        "ioctl" => {
            let session: RawFd = args.number(2)?;
            sum(
                count,
                |_| Ok(()),
                |n, ()| Ok(fetch(sys::fd(session), n as u64)?),
            )?
        }
        "each" => sum(
            count,
            |_| Ok(()),
            |n, ()| Ok(fetch(sys::fd(sessions[n]), 0)?),
        )?,
        "files" => {
            let dirs = dirs(&format!("{target}/fd_restore"), count)?;
            sum(
                count,
                |n| Ok(format!("f{n}")),
                |n, name| take(&dirs[n % dirs.len()], &name).map(|_| ()),
            )?
        }
        other => return usage(format!("{other}: no such way")),
    };
    took(args.text(0)?, count, ticks)
}

/// `scale-mount LABEL PATTERN N`: mounts so many domains, each on a folder of its own.
pub fn mount_many(args: &Args<'_>) -> Outcome {
    let (pattern, count) = (args.text(1)?, args.number(2)?);
    let ticks = sum(
        count,
        |n| {
            let dir = path(pattern, n);
            std::fs::create_dir_all(&dir)?;
            Ok((format!("scale{n}"), dir))
        },
        |_, (name, dir)| {
            let data = None::<&std::ffi::CStr>;
            Ok(mount(name, dir, "kexecfs", MountFlags::empty(), data)?)
        },
    )?;
    took(args.text(0)?, count, ticks)
}

/// `scale-command LABEL PATTERN N COMMAND`: gives it to so many domains, opening `state` for it.
pub fn command(args: &Args<'_>) -> Outcome {
    let (pattern, count, text) = (args.text(1)?, args.number(2)?, args.text(3)?);
    let ticks = sum(
        count,
        |n| Ok(format!("{}/state", path(pattern, n))),
        |_, path| {
            rustix::io::write(open(&path, OFlags::WRONLY)?, text.as_bytes())?;
            Ok(())
        },
    )?;
    took(args.text(0)?, count, ticks)
}

/// `scale-sessions LABEL DEV N create|retrieve|finish`: of so many sessions.
pub fn sessions(args: &Args<'_>) -> Outcome {
    let (dev, count) = (args.fd(1)?, args.number(2)?);
    let mut sessions = locked(&SESSIONS);
    let_open(count * 3)?;
    let call = match args.text(3)? {
        "create" => luo::create,
        "retrieve" => luo::retrieve,
        "finish" => {
            let ticks = sum(
                count,
                |_| Ok(()),
                |n, ()| Ok(luo::finish(sys::fd(sessions[n]))?),
            )?;
            return took(args.text(0)?, count, ticks);
        }
        other => return usage(format!("{other}: no such call")),
    };
    let ticks = sum(
        count,
        |n| Ok(format!("scale{n}")),
        |_, name| {
            sessions.push(call(sys::fd(dev), &name)?);
            Ok(())
        },
    )?;
    took(args.text(0)?, count, ticks)
}

/// `timed LABEL OP ARG...`: what another operation takes, whatever it prints.
pub fn timed(args: &Args<'_>) -> Outcome {
    let label = args.text(0)?;
    let name = args.text(1)?;
    let begin = sys::ticks();
    ops::run(name, args.0.get(2..).unwrap_or(&[]))?;
    took(label, 1, sys::ticks() - begin)
}

/// `scale-list LABEL DIR`: what `ls` does: reads all names of a directory.
pub fn list(args: &Args<'_>) -> Outcome {
    let begin = sys::ticks();
    let count = std::fs::read_dir(args.text(1)?)?.count();
    took(args.text(0)?, count, sys::ticks() - begin)
}

/// `scale-drain LABEL FILE COUNT`: reads a control file, which has as many lines.
pub fn drain(args: &Args<'_>) -> Outcome {
    let mut buf = vec![0; 1 << 20];
    let begin = sys::ticks();
    let file = open(args.text(1)?, OFlags::RDONLY)?;
    while rustix::io::read(&file, &mut buf[..])? > 0 {}
    took(args.text(0)?, args.number(2)?, sys::ticks() - begin)
}

/// `memory-free LABEL`: how many bytes of memory are free, those on the lists of the processors included.
pub fn memory_free(args: &Args<'_>) -> Outcome {
    std::fs::write("/proc/sys/vm/stat_refresh", "1")?;
    let number = |line: &str| -> u64 {
        line.split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or(0)
    };
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let free = meminfo.lines().find(|line| line.starts_with("MemFree:"));
    let zones = std::fs::read_to_string("/proc/zoneinfo")?;
    let lists: u64 = zones
        .lines()
        .filter(|line| line.trim_start().starts_with("count:"))
        .map(number)
        .sum();
    took(
        args.text(0)?,
        1,
        free.map_or(0, number) * 1024 + lists * 4096,
    )
}

/// `scale-console LEVEL`: only messages above that level go to the console, which takes longer to print
/// one than most of what is measured here.
pub fn console(args: &Args<'_>) -> Outcome {
    std::fs::write("/proc/sys/kernel/printk", args.text(0)?)?;
    Ok(None)
}

/// `scale-records`: how many bytes of records the domains have that are prepared, by the kernel's log.
pub fn records() -> Outcome {
    let log = open("/dev/kmsg", OFlags::RDONLY | OFlags::NONBLOCK)?;
    let mut buf = vec![0; 8192];
    let mut bytes = 0;
    loop {
        let len = match rustix::io::read(&log, &mut buf[..]) {
            Ok(len) => len,
            Err(rustix::io::Errno::AGAIN) => break,
            Err(e) => return Err(e.into()),
        };
        let line = String::from_utf8_lossy(&buf[..len]).into_owned();
        bytes += line
            .split_once(": prepared ")
            .filter(|(_, rest)| rest.contains(" bytes of records"))
            .and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0);
    }
    took("records", 1, bytes)
}

/// `scale-kexec`: reboot(LINUX_REBOOT_CMD_KEXEC), with a line `bench: reboot TICKS` in the kernel's log first.
pub fn kexec() -> Outcome {
    std::fs::write("/proc/sys/kernel/printk", "7")?;
    let log = open("/dev/kmsg", OFlags::WRONLY)?;
    rustix::io::write(&log, format!("bench: reboot {}\n", sys::ticks()).as_bytes())?;
    rustix::system::reboot(rustix::system::RebootCommand::Kexec)?;
    Ok(None)
}
