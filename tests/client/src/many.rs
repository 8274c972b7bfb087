// SPDX-License-Identifier: GPL-2.0-only

//! Contents that can be made again from a seed, and many files of them.

use crate::ops::Args;
use crate::{sys, Failure, Outcome};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::MemfdFlags;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read, Write};

/// SplitMix64: good enough to make every byte of every file differ from its neighbours.
pub struct Stream(u64);

impl Stream {
    pub fn new(seed: u64) -> Self {
        Stream(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The stream's next bytes.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

const CHUNK: u64 = 1 << 16;

fn chunks(size: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..size.div_ceil(CHUNK)).map(move |n| {
        let at = n * CHUNK;
        (at, CHUNK.min(size - at) as usize)
    })
}

pub fn write_stream(to: BorrowedFd<'_>, seed: u64, size: u64) -> Result<(), Failure> {
    let mut stream = Stream::new(seed);
    for (at, len) in chunks(size) {
        let data = stream.bytes(len);
        let mut done = 0;
        while done < len {
            done += rustix::io::pwrite(to, &data[done..], at + done as u64)?;
        }
    }
    Ok(())
}

pub fn compare_stream(with: BorrowedFd<'_>, seed: u64, size: u64) -> Result<(), Failure> {
    let stat = rustix::fs::fstat(with)?;
    if stat.st_size as u64 != size {
        return Err(Failure::Wrong(format!(
            "{} bytes instead of {size}",
            stat.st_size
        )));
    }
    let mut stream = Stream::new(seed);
    for (at, len) in chunks(size) {
        let want = stream.bytes(len);
        let mut have = vec![0u8; len];
        let mut done = 0;
        while done < len {
            let n = rustix::io::pread(with, &mut have[done..], at + done as u64)?;
            if n == 0 {
                return Err(Failure::Wrong(format!("ends at {}", at + done as u64)));
            }
            done += n;
        }
        if let Some(n) = (0..len).find(|&n| have[n] != want[n]) {
            return Err(Failure::Wrong(format!("byte {} differs", at + n as u64)));
        }
    }
    Ok(())
}

/// `eat FD MIB`: writes to the file until no more than so much memory is free.
pub fn eat(args: &Args<'_>) -> Outcome {
    let (to, leave) = (sys::fd(args.fd(0)?), args.number::<u64>(1)? << 10);
    let chunk = vec![1u8; 1 << 20];
    loop {
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let free = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemFree:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        match free {
            None => return Err(Failure::Wrong("no MemFree".into())),
            Some(free) if free <= leave => return Ok(None),
            Some(_) => rustix::io::write(to, &chunk)?,
        };
    }
}

/// `fill FD SEED SIZE`: SIZE bytes made from SEED, from the file's beginning; the position stays.
pub fn fill(args: &Args<'_>) -> Outcome {
    write_stream(sys::fd(args.fd(0)?), args.number(1)?, args.number(2)?)?;
    Ok(None)
}

/// `check FD SEED SIZE`: the file has the contents that fill wrote.
pub fn check(args: &Args<'_>) -> Outcome {
    compare_stream(sys::fd(args.fd(0)?), args.number(1)?, args.number(2)?)?;
    Ok(None)
}

/// The size and the position of file `n` of `domain`: mostly small, some empty, some of megabytes.
fn shape(seed: u64, domain: u32, n: u32) -> (u64, u64, u64) {
    let mut stream = Stream::new(seed ^ ((u64::from(domain) << 32) | u64::from(n)));
    let size = match n {
        0 => 0,
        1 => 4096,
        2 => (2 << 20) + stream.next() % 4096,
        _ => stream.next() % (96 << 10) + 1,
    };
    (stream.next(), size, stream.next() % (size + 1))
}

/// `preserve-many PREFIX DOMAINS FILES SEED`: in each domain that is mounted at PREFIX0 and on, FILES
/// memfds of random contents and position, named `f0` and on, whose descriptors are closed at once.
pub fn preserve_many(args: &Args<'_>) -> Outcome {
    let (domains, files, seed) = (args.number(1)?, args.number(2)?, args.number(3)?);
    for domain in 0..domains {
        let mut control = OpenOptions::new()
            .write(true)
            .open(format!("{}{domain}/fd_preserve", args.text(0)?))?;
        for n in 0..files {
            use rustix::fd::AsRawFd;
            let (contents, size, pos) = shape(seed, domain, n);
            let memfd = rustix::fs::memfd_create("many", MemfdFlags::CLOEXEC)?;
            write_stream(memfd.as_fd(), contents, size)?;
            rustix::fs::seek(&memfd, rustix::fs::SeekFrom::Start(pos))?;
            let mut line = String::new();
            let _ = writeln!(line, "{} f{n}", memfd.as_raw_fd());
            control.write_all(line.as_bytes())?;
        }
    }
    Ok(None)
}

/// `verify-many PREFIX DOMAINS FILES SEED`: restores what preserve-many preserved and compares sizes,
/// positions and every byte.
pub fn verify_many(args: &Args<'_>) -> Outcome {
    let (domains, files, seed): (u32, u32, u64) =
        (args.number(1)?, args.number(2)?, args.number(3)?);
    let mut wrong = Vec::new();
    let mut bytes = 0;
    for domain in 0..domains {
        for n in 0..files {
            let (contents, size, pos) = shape(seed, domain, n);
            let path = format!("{}{domain}/fd_restore/f{n}", args.text(0)?);
            match verify_one(&path, contents, size, pos) {
                Ok(()) => bytes += size,
                Err(failure) => wrong.push(format!("{path}: {}", failure.text())),
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Wrong(wrong.join("\n")));
    }
    if bytes == 0 {
        return Err(Failure::Wrong("not one byte compared".into()));
    }
    Ok(None)
}

fn verify_one(path: &str, contents: u64, size: u64, pos: u64) -> Result<(), Failure> {
    let mut text = String::new();
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    let number = text
        .strip_suffix('\n')
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| Failure::Wrong(format!("read {text:?}")))?;
    let at = rustix::fs::tell(sys::fd(number))?;
    if at != pos {
        return Err(Failure::Wrong(format!("position {at} instead of {pos}")));
    }
    compare_stream(sys::fd(number), contents, size)?;
    sys::close(number)?;
    Ok(())
}
