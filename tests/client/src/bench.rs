// SPDX-License-Identifier: GPL-2.0-only

//! The cost of file operations, in ticks of the processor's counter: instructions, if QEMU runs the guest
//! with -icount shift=0.

use crate::ops::Args;
use crate::{luo, sys, usage, Failure, Outcome};
use rustix::fd::AsRawFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, CWD};
use std::path::Path;

const ROUNDS: usize = 5;

fn open(path: &Path, flags: OFlags) -> rustix::io::Result<rustix::fd::OwnedFd> {
    rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o644))
}

/// One round of `what` in `dir`: how many operations, and how many ticks.
fn round(what: &str, dir: &Path) -> Result<(u64, u64), Failure> {
    use rustix::io::{pread, pwrite};
    let path = dir.join("bench");
    let (count, size): (u64, usize) = match what {
        "read-128k" | "write-128k" => (32, 128 << 10),
        "read-4k" | "write-4k" => (1024, 4096),
        "fault" => (1024, 4096),
        "create" => (256, 100),
        other => return usage(format!("{other}: no such measurement")),
    };
    let mut buf = vec![b'x'; size];
    if what == "create" {
        let begin = sys::ticks();
        for n in 0..count {
            let fd = open(
                &dir.join(format!("c{n}")),
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY,
            )?;
            rustix::io::write(&fd, &buf)?;
        }
        let ticks = sys::ticks() - begin;
        for n in 0..count {
            std::fs::remove_file(dir.join(format!("c{n}")))?;
        }
        return Ok((count, ticks));
    }
    let fd = open(&path, OFlags::CREATE | OFlags::RDWR)?;
    for n in 0..count {
        pwrite(&fd, &buf, n * size as u64)?;
    }
    let begin;
    let end;
    match what {
        "read-128k" | "read-4k" => {
            begin = sys::ticks();
            for n in 0..count {
                pread(&fd, &mut buf[..], n * size as u64)?;
            }
            end = sys::ticks();
        }
        "write-128k" | "write-4k" => {
            begin = sys::ticks();
            for n in 0..count {
                pwrite(&fd, &buf, n * size as u64)?;
            }
            end = sys::ticks();
        }
        _ => {
            sys::map(
                rustix::fd::AsFd::as_fd(&fd),
                count as usize * size,
                true,
                true,
                6,
            )?;
            let Some(all) = sys::mapping(6) else {
                return usage("no mapping");
            };
            begin = sys::ticks();
            for page in all.chunks_mut(size) {
                page[0] = 1;
                std::hint::black_box(page);
            }
            end = sys::ticks();
            sys::unmap(6)?;
        }
    }
    drop(fd);
    std::fs::remove_file(&path)?;
    Ok((count, end - begin))
}

/// `bench WHAT DIR OTHER`: WHAT in DIR and in OTHER, by turns: the median ticks of an operation in each,
/// and their ratio in hundredths, as `WHAT TICKS OTHER-TICKS RATIO`.
pub fn bench(args: &Args<'_>) -> Outcome {
    let what = args.text(0)?;
    let dirs = [Path::new(args.text(1)?), Path::new(args.text(2)?)];
    let mut ticks = [Vec::new(), Vec::new()];
    for n in 0..=ROUNDS {
        for (dir, ticks) in dirs.iter().zip(&mut ticks) {
            let (count, total) = round(what, dir)?;
            // The first round warms up.
            if n > 0 {
                ticks.push(total / count);
            }
        }
    }
    let [a, b] = ticks.map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2]
    });
    Ok(Some(format!("{what} {a} {b} {}", a * 100 / b.max(1))))
}

/// `luo-preserve-many SESSION COUNT`: preserves COUNT memfds of a page each, under the tokens 0 and on: how
/// many ticks that took without the making of them, as `preserve COUNT TICKS`.
pub fn luo_preserve_many(args: &Args<'_>) -> Outcome {
    let (session, count) = (args.fd(0)?, args.number(1)?);
    let mut ticks = 0;
    for token in 0..count {
        let memfd = rustix::fs::memfd_create("bench", MemfdFlags::CLOEXEC)?;
        rustix::io::write(&memfd, b"x")?;
        let begin = sys::ticks();
        luo::preserve(sys::fd(session), memfd.as_raw_fd(), token)?;
        ticks += sys::ticks() - begin;
    }
    Ok(Some(format!("preserve {count} {ticks}")))
}
