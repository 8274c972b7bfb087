// SPDX-License-Identifier: GPL-2.0-only

//! A writer that stalls, many threads at once, and allocations that fail.

use crate::many::Stream;
use crate::ops::{self, wait_for, Args};
use crate::{errno_name, sys, usage, Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// `stall FD READY GO`: a thread writes to FD from memory that is missing, so the kernel stalls with
/// the file's inode lock held; then READY is created. When GO exists the memory is supplied and the
/// write ends.
pub fn stall(args: &Args<'_>) -> Outcome {
    let n = stall_in(args, |page, fd| page.write_from(sys::fd(fd)))?;
    Ok(Some(format!("stall: wrote {n} bytes")))
}

/// `stall-list FD READY GO`: the same for listing the directory FD.
pub fn stall_list(args: &Args<'_>) -> Outcome {
    stall_in(args, |page, fd| page.list_into(sys::fd(fd)))?;
    Ok(Some("stall-list: listed".into()))
}

fn stall_in(
    args: &Args<'_>,
    call: fn(&sys::MissingPage, i32) -> rustix::io::Result<usize>,
) -> Result<usize, Failure> {
    let page = sys::MissingPage::new()?;
    let (fd, ready, go) = (args.fd(0)?, args.text(1)?, args.text(2)?);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| call(&page, fd));
        let mut set = [PollFd::new(&page.uffd, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut set, Some(&limit))?;
        if set[0].revents() != PollFlags::IN {
            return Err(Failure::Wrong(format!("no stall: {:?}", worker.join())));
        }
        std::fs::write(ready, "")?;
        let waited = wait_for(go, Duration::from_secs(600));
        page.supply()?;
        waited?;
        match worker.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(Failure::Wrong("the thread panicked".into())),
        }
    })
}

/// `ask-tmpfile DIR READY GO`: a thread opens a file without a name (O_TMPFILE) in DIR, whose mount a
/// listener of fanotify watches: when that is asked whether to allow it, READY is created, and when GO
/// exists it does.
pub fn ask_tmpfile(args: &Args<'_>) -> Outcome {
    let (dir, ready, go) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let listener = sys::OpenListener::new(Path::new(dir))?;
    std::thread::scope(|scope| {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let opener = scope.spawn(move || rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR));
        let file = listener.asked()?;
        std::fs::write(ready, "")?;
        let waited = wait_for(go, Duration::from_secs(600));
        listener.allow(&file)?;
        waited?;
        match opener.join() {
            Ok(result) => Ok(result.map(|_| Some("ask-tmpfile: opened".into()))?),
            Err(_) => Err(Failure::Wrong("the thread panicked".into())),
        }
    })
}

/// Errors that are expected while all operations run at once.
const EXPECTED: [Errno; 8] = [
    Errno::BUSY,   // the state forbids it
    Errno::EXIST,  // another thread took the name
    Errno::NOENT,  // another thread took the file back
    Errno::STALE,  // released while open
    Errno::DQUOT,  // max_fds
    Errno::INVAL,  // umount of a domain that is not mounted any more
    Errno::NOTDIR, // the other domain is being mounted
    Errno::PERM,
];

struct Hammer<'a> {
    dir: &'a str,
    other: &'a str,
    stop: &'a AtomicBool,
    done: &'a AtomicU64,
    wrong: &'a Mutex<BTreeMap<String, u64>>,
}

impl Hammer<'_> {
    fn turn(&self, me: u64, random: &mut Stream) -> (&'static str, Result<(), Failure>) {
        let dir = if random.next() & 3 == 0 {
            self.other
        } else {
            self.dir
        };
        let name = format!("t{}", random.next() % 12);
        match random.next() % 16 {
            0..=4 => (
                "preserve",
                self.preserve(dir, &name, random.next() % 40_000),
            ),
            5 | 6 => ("unpreserve", control(dir, "fd_unpreserve", &name)),
            7 => (
                "remove",
                std::fs::remove_file(format!("{dir}/fd_restore/{name}")).map_err(Failure::from),
            ),
            8 => ("prepare", control(dir, "state", "prepare")),
            9 | 10 => ("cancel", control(dir, "state", "cancel")),
            11 => ("list", list(dir)),
            12 => ("mount", self.mount(me)),
            13 => (
                "umount",
                Ok(()).and_then(|()| Ok(unmount(self.other, UnmountFlags::DETACH)?)),
            ),
            14 => ("restore", restore(dir, &name)),
            _ => ("read", read(dir, "state").and_then(|()| read(dir, "error"))),
        }
    }

    fn preserve(&self, dir: &str, name: &str, size: u64) -> Result<(), Failure> {
        use rustix::fd::AsRawFd;
        let memfd = rustix::fs::memfd_create("hammer", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&memfd, size)?;
        control(dir, "fd_preserve", &format!("{} {name}", memfd.as_raw_fd()))
    }

    fn mount(&self, me: u64) -> Result<(), Failure> {
        mount(
            format!("hammer-{}", me % 2),
            self.other,
            "kexecfs",
            MountFlags::empty(),
            None,
        )?;
        Ok(())
    }

    fn work(&self, me: u64) {
        let mut random = Stream::new(me);
        while !self.stop.load(Ordering::Relaxed) {
            let (what, result) = self.turn(me, &mut random);
            self.done.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(()) => {}
                Err(Failure::Errno(e)) if EXPECTED.contains(&e) => {}
                Err(failure) => {
                    let what = format!("{what}: {}", failure.text());
                    if let Ok(mut wrong) = self.wrong.lock() {
                        *wrong.entry(what).or_default() += 1;
                    }
                }
            }
        }
    }
}

fn control(dir: &str, file: &str, text: &str) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .open(format!("{dir}/{file}"))?
        .write_all(text.as_bytes())?;
    Ok(())
}

fn read(dir: &str, file: &str) -> Result<(), Failure> {
    let mut text = String::new();
    File::open(format!("{dir}/{file}"))?.read_to_string(&mut text)?;
    Ok(())
}

/// Takes a descriptor of a file, which has to be open, and closes it.
fn restore(dir: &str, name: &str) -> Result<(), Failure> {
    use rustix::fd::{FromRawFd, OwnedFd};
    // One read only: the next may fail, and the descriptor would stay.
    let mut buf = [0; 16];
    let n = File::open(format!("{dir}/fd_restore/{name}"))?.read(&mut buf)?;
    let text = String::from_utf8_lossy(&buf[..n]);
    let fd = text
        .trim()
        .parse()
        .map_err(|_| Failure::Wrong(format!("{text:?} is no number")))?;
    // SAFETY: The kernel has just put it into the table, for the process that has read its number.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::fs::fstat(&fd)?;
    Ok(())
}

fn list(dir: &str) -> Result<(), Failure> {
    read(dir, "fd_preserve")?;
    for entry in read_dir(format!("{dir}/fd_restore"))? {
        let _ = entry?.metadata();
    }
    Ok(())
}

/// `hammer DIR OTHER THREADS MS|FILE`: THREADS threads preserve, unpreserve, restore, prepare, cancel,
/// list and read in the domain at DIR, and mount, use and unmount two more at OTHER, for MS milliseconds or
/// until FILE exists.
pub fn hammer(args: &Args<'_>) -> Outcome {
    let (stop, done, wrong) = (
        AtomicBool::new(false),
        AtomicU64::new(0),
        Mutex::new(BTreeMap::new()),
    );
    let hammer = Hammer {
        dir: args.text(0)?,
        other: args.text(1)?,
        stop: &stop,
        done: &done,
        wrong: &wrong,
    };
    let threads: u64 = args.number(2)?;
    let until = args.text(3)?;
    std::thread::scope(|scope| {
        for me in 0..threads {
            let hammer = &hammer;
            scope.spawn(move || hammer.work(me));
        }
        let begin = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let enough = match until.parse() {
                Ok(ms) => begin.elapsed() > Duration::from_millis(ms),
                Err(_) => Path::new(until).exists(),
            };
            if enough {
                stop.store(true, Ordering::Relaxed);
                break;
            }
        }
    });
    let list: Vec<String> = match wrong.lock() {
        Ok(wrong) => wrong
            .iter()
            .map(|(what, n)| format!("{what} ({n} times)"))
            .collect(),
        Err(_) => vec!["a thread panicked".into()],
    };
    if !list.is_empty() {
        return Err(Failure::Wrong(list.join(", ")));
    }
    let done = done.load(Ordering::Relaxed);
    if done < 100 {
        return Err(Failure::Wrong(format!("only {done} operations")));
    }
    Ok(Some("hammer: ok".into()))
}

/// `seek-race PATH STATE MS`: for so long, prepares the domain and opens the small file PATH for writing,
/// while a thread seeks in it; prints how the opens failed.
pub fn seek_race(args: &Args<'_>) -> Outcome {
    let (path, state, ms) = (args.text(0)?, args.text(1)?, args.number(2)?);
    let (stop, reader) = (AtomicBool::new(false), File::open(path)?);
    let end = Instant::now() + Duration::from_millis(ms);
    let (mut failures, mut all) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| -> Result<(), Failure> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::seek(&reader, rustix::fs::SeekFrom::Hole(0));
            }
        });
        let mut result = Ok(());
        while result.is_ok() && Instant::now() < end {
            all += 1;
            result = std::fs::write(state, "prepare");
            if let Err(e) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
                failures.insert(errno_name(e));
            }
            result = result.and_then(|()| std::fs::write(state, "cancel"));
        }
        stop.store(true, Ordering::Relaxed);
        Ok(result?)
    })?;
    Ok(Some(format!(
        "@full seek-race: {all} times\nseek-race: {failures:?} of the opens"
    )))
}

/// The file stays open, and is used by system calls that allocate nothing themselves.
fn open_fail_nth() -> Result<File, Failure> {
    Ok(OpenOptions::new()
        .read(true)
        .write(true)
        .open("/proc/thread-self/fail-nth")?)
}

/// Runs an operation with its `nth` allocation failing; also says whether there was one.
fn run_failing(
    nth_file: &File,
    nth: u32,
    op: &str,
    words: &[String],
) -> Result<(Outcome, bool), Failure> {
    let begin = format!("{nth}\n");
    let mut left = [0u8; 16];
    rustix::io::pwrite(nth_file, begin.as_bytes(), 0)?;
    let outcome = ops::run(op, words);
    let len = rustix::io::pread(nth_file, &mut left[..], 0)?;
    rustix::io::pwrite(nth_file, b"0\n", 0)?;
    Ok((outcome, left[..len].trim_ascii() == b"0"))
}

/// `fail-nth N OP ARG...`: runs OP once with its allocation N failing. Says whether that was
/// ENOMEM, or ok since OP could do without it or needs fewer.
pub fn fail_nth(args: &Args<'_>) -> Outcome {
    let Some((op, words)) = args.0.get(1..).and_then(<[String]>::split_first) else {
        return usage("fail-nth N OP ARG...");
    };
    let (outcome, reached) = run_failing(&open_fail_nth()?, args.number(0)?, op, words)?;
    match outcome {
        Ok(_) if reached => Ok(Some("fail-nth: ok without".into())),
        Ok(_) => Ok(Some("fail-nth: ok".into())),
        Err(Failure::Errno(Errno::NOMEM)) => Ok(Some("fail-nth: ENOMEM".into())),
        Err(other) => Err(other),
    }
}

/// `failsweep [until=ERRNO] OP ARG... [/ UNDO ARG...]`: runs OP with its first, second, ...
/// allocation failing (/proc/self/fail-nth) until it succeeds, or fails with ERRNO, without reaching
/// one; only ENOMEM is right, or ERRNO if it could do without what it did not get. An OP that
/// succeeded all the same is undone by UNDO, as is the last.
pub fn failsweep(args: &Args<'_>) -> Outcome {
    let (until, words) = match args.0.split_first() {
        Some((word, rest)) if word.starts_with("until=") => (word.strip_prefix("until="), rest),
        _ => (None, args.0),
    };
    let mut parts = words.split(|word| word == "/");
    let Some((op, words)) = parts.next().and_then(<[String]>::split_first) else {
        return usage("failsweep [until=ERRNO] OP ARG...");
    };
    let undo = parts.next().and_then(<[String]>::split_first);
    let nth_file = open_fail_nth()?;
    let mut failed = 0;
    for nth in 1..5000 {
        let (outcome, reached) = run_failing(&nth_file, nth, op, words)?;
        match outcome {
            Ok(_) if until.is_some() => {
                return Err(Failure::Wrong(format!("no error at allocation {nth}")));
            }
            Ok(_) => {
                if let Some((undo, words)) = undo {
                    ops::run(undo, words)?;
                }
            }
            Err(Failure::Errno(Errno::NOMEM)) => failed += 1,
            Err(Failure::Errno(e)) if until == Some(&errno_name(e)) => {}
            Err(Failure::Errno(e)) => {
                return Err(Failure::Wrong(format!(
                    "{} at allocation {nth}",
                    errno_name(e)
                )));
            }
            Err(other) => return Err(other),
        }
        if !reached {
            return match (failed, until) {
                (0, _) => Err(Failure::Wrong("no allocation was made to fail".into())),
                (_, None) => Ok(Some(format!("failsweep {op}: only ENOMEM, then ok"))),
                (_, Some(e)) => Ok(Some(format!("failsweep {op}: only ENOMEM, then {e}"))),
            };
        }
    }
    Err(Failure::Wrong("never got through".into()))
}

/// `exhaust KIND DIR`: makes ever more of KIND in DIR until that fails.
pub fn exhaust(args: &Args<'_>) -> Outcome {
    use rustix::fs::{self, AtFlags, FallocateFlags, FileType, Mode, OFlags, XattrFlags, CWD};
    let (kind, dir) = (args.text(0)?, args.text(1)?);
    let mode = Mode::from_raw_mode(0o600);
    let open = |name: &str, flags| fs::open(name, flags | OFlags::CLOEXEC, mode);
    let create = OFlags::RDWR | OFlags::CREATE;
    let file = open(&format!("{dir}/file"), create)?;
    let long = "x".repeat(3000);
    let mut kept = Vec::new();

    for n in 0u64..20000 {
        let name = format!("{dir}/{kind}{n}");
        let result = match kind {
            "create" => open(&name, create).map(drop),
            "open" => open(&format!("{dir}/file"), OFlags::RDWR).map(|file| kept.push(file)),
            "tmpfile" => open(dir, OFlags::RDWR | OFlags::TMPFILE).map(|file| kept.push(file)),
            "mkdir" => fs::mkdir(&name, mode),
            "mknod" => fs::mknodat(CWD, &name, FileType::Fifo, mode, 0),
            "symlink" => fs::symlink(&long, &name),
            "link" => fs::linkat(CWD, format!("{dir}/file"), CWD, &name, AtFlags::empty()),
            "xattr" => fs::fsetxattr(
                &file,
                format!("user.{n}"),
                long.as_bytes(),
                XattrFlags::empty(),
            ),
            "write" => rustix::io::pwrite(&file, &[1; 4096], n * 4096).map(drop),
            "fallocate" => fs::fallocate(&file, FallocateFlags::empty(), n * 65536, 65536),
            _ => return usage(format!("{kind}: no such kind")),
        };
        match result {
            Ok(()) => {}
            Err(e) => return Ok(Some(errno_name(e))),
        }
    }
    Ok(Some("no end".into()))
}
