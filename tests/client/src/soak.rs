// SPDX-License-Identifier: GPL-2.0-only

//! Random operations on many domains over many kexecs, and a model of their state.
//!
//! The model needs no memory from kernel to kernel: all of it follows from the seed, so it is made
//! anew for the kernels that were before, and the operations of this kernel are done for real.

use crate::many::{compare_stream, write_stream, Stream};
use crate::ops::Args;
use crate::{Failure, Outcome};
use rustix::fs::MemfdFlags;
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::fs::{create_dir_all, read_dir, read_to_string, remove_file, rename, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// The contents of a file: a stream of so many bytes.
#[derive(Clone, Copy)]
struct Contents {
    seed: u64,
    size: u64,
}

impl Contents {
    fn random(rng: &mut Stream, limit: u64) -> Self {
        Contents {
            seed: rng.next(),
            size: rng.next() % limit,
        }
    }

    /// The memory for it: its pages and LUO's description of them (some 13 KiB), or, for a
    /// small file of `data/`, a record.
    fn held(&self, in_data: bool) -> u64 {
        if in_data && self.size <= 4096 {
            self.size + 256
        } else {
            self.size.div_ceil(4096) * 4096 + 13_600
        }
    }
}

/// The expected contents of a domain.
#[derive(Default)]
struct Domain {
    updated: bool,
    prepared: bool,
    fds: BTreeMap<String, Contents>,
    data: BTreeMap<String, Contents>,
}

const DIRS: [&str; 3] = ["", "dir/", "dir/deep/"];

/// `soak DIR SEED DOMAINS KERNEL`: checks what must be there in the KERNELth kernel, and does what
/// is random in it. Says how many bytes the domains hold.
pub fn soak(args: &Args<'_>) -> Outcome {
    let dir = args.text(0)?;
    let (seed, count, last) = (
        args.number::<u64>(1)?,
        args.number::<usize>(2)?,
        args.number::<u64>(3)?,
    );
    let mut domains: Vec<Domain> = Vec::new();

    domains.resize_with(count, Domain::default);
    for kernel in 1..=last {
        for (n, domain) in domains.iter_mut().enumerate() {
            let at = format!("{dir}/{n}");
            let real = (kernel == last).then_some(at.as_str());
            let mut rng = Stream::new(seed ^ (kernel << 32) ^ n as u64);

            if let Some(at) = real {
                create_dir_all(at)?;
                mount(format!("soak{n}"), at, "kexecfs", MountFlags::empty(), None)?;
                domain
                    .check(at, kernel)
                    .map_err(|why| Failure::Wrong(format!("soak{n}: {}", why.text())))?;
            }
            domain
                .go_on(&mut rng, real)
                .map_err(|why| Failure::Wrong(format!("soak{n}: {}", why.text())))?;
        }
    }
    let held: u64 = domains
        .iter()
        .map(|domain| {
            let fds = domain.fds.values().map(|contents| contents.held(false));
            let data = domain.data.values().map(|contents| contents.held(true));

            fds.chain(data).sum::<u64>()
        })
        .sum();

    Ok(Some(held.to_string()))
}

impl Domain {
    /// All that must be there is, and nothing else.
    fn check(&self, at: &str, kernel: u64) -> Result<(), Failure> {
        let state = read_to_string(format!("{at}/state"))?;
        let expected = if kernel == 1 || self.fds.is_empty() {
            "normal\n"
        } else {
            "updated\n"
        };

        same("state", &state, expected)?;
        let names =
            |all: &BTreeMap<String, Contents>| all.keys().cloned().collect::<Vec<_>>().join(" ");

        same(
            "fd_restore",
            &list(&format!("{at}/fd_restore"))?,
            &names(&self.fds),
        )?;
        same("data", &list(&format!("{at}/data"))?, &names(&self.data))?;
        for (n, (name, contents)) in self.fds.iter().enumerate() {
            // The others are carried unchanged.
            if n & 1 == 0 {
                let fd = restore(&format!("{at}/fd_restore/{name}"))?;

                compare_stream(fd.as_fd(), contents.seed, contents.size)?;
            }
        }
        for (n, (name, contents)) in self.data.iter().enumerate() {
            let path = format!("{at}/data/{name}");

            same(
                name,
                &path_size(&path)?.to_string(),
                &contents.size.to_string(),
            )?;
            if n & 1 == 0 {
                compare_stream(File::open(path)?.as_fd(), contents.seed, contents.size)?;
            }
        }
        Ok(())
    }

    /// The operations in one kernel, up to its kexec; executed if there is a mount point.
    fn go_on(&mut self, rng: &mut Stream, real: Option<&str>) -> Result<(), Failure> {
        self.prepared = false;
        if self.updated && !one_in(4, rng.next()) {
            self.updated = false;
            self.fds.clear();
            event(real, "finish")?;
        }
        for _ in 0..rng.next() % 12 {
            self.change(rng, real)?;
        }
        if one_in(3, rng.next()) {
            event(real, "prepare")?;
            self.prepared = true;
            if one_in(2, rng.next()) {
                event(real, "cancel")?;
                self.prepared = false;
                self.change(rng, real)?;
            }
        }
        if let Some(at) = real {
            let names = self.fds.keys().cloned().collect::<Vec<_>>().join(" ");

            same("fd_restore", &list(&format!("{at}/fd_restore"))?, &names)?;
            // One that is not prepared would be dropped, or kept since it is not finished.
            if (self.prepared || self.updated) && one_in(2, rng.next()) {
                unmount(at, UnmountFlags::empty())?;
            }
        }
        self.updated = true;
        Ok(())
    }

    fn change(&mut self, rng: &mut Stream, real: Option<&str>) -> Result<(), Failure> {
        let what = rng.next() % 8;
        let pick = rng.next() as usize;

        match what {
            // Without a descriptor that waits it is not `updated`.
            0 | 1 if (!self.updated || self.fds.is_empty()) && self.fds.len() < 8 => {
                let name = format!("fd{}", rng.next() % 1000);
                let contents = Contents::random(rng, 60_000);

                if self.fds.contains_key(&name) {
                    return Ok(());
                }
                if let Some(at) = real {
                    let memfd = rustix::fs::memfd_create("soak", MemfdFlags::CLOEXEC)?;

                    write_stream(memfd.as_fd(), contents.seed, contents.size)?;
                    let command = format!("{} {name}", memfd.as_raw_fd());

                    put(&format!("{at}/fd_preserve"), &command)?;
                }
                self.fds.insert(name, contents);
            }
            2 => {
                let Some(name) = self.fds.keys().nth(pick % self.fds.len().max(1)).cloned() else {
                    return Ok(());
                };

                if let Some(at) = real {
                    if self.updated || one_in(2, pick as u64) {
                        remove_file(format!("{at}/fd_restore/{name}"))?;
                    } else {
                        put(&format!("{at}/fd_unpreserve"), &name)?;
                    }
                }
                self.fds.remove(&name);
            }
            3..=5 => {
                let name = format!("{}f{}", DIRS[pick % 3], rng.next() % 12);
                let limit = if one_in(2, pick as u64) { 4000 } else { 40_000 };
                let contents = Contents::random(rng, limit);

                if let Some(at) = real {
                    let path = format!("{at}/data/{name}");

                    create_dir_all(format!("{at}/data/dir/deep"))?;
                    let file = OpenOptions::new()
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .open(path)?;

                    write_stream(file.as_fd(), contents.seed, contents.size)?;
                }
                self.data.insert(name, contents);
            }
            6 => {
                let Some(name) = self.data.keys().nth(pick % self.data.len().max(1)).cloned()
                else {
                    return Ok(());
                };

                if let Some(at) = real {
                    remove_file(format!("{at}/data/{name}"))?;
                }
                self.data.remove(&name);
            }
            7 => {
                let Some(name) = self.data.keys().nth(pick % self.data.len().max(1)).cloned()
                else {
                    return Ok(());
                };
                let to = format!("r{}", rng.next() % 12);

                if let Some(at) = real {
                    rename(format!("{at}/data/{name}"), format!("{at}/data/{to}"))?;
                }
                if let Some(contents) = self.data.remove(&name) {
                    self.data.insert(to, contents);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a random number hits one case in `n`.
fn one_in(n: u64, random: u64) -> bool {
    random % n < 1
}

fn same(what: &str, there: &str, expected: &str) -> Result<(), Failure> {
    if there == expected {
        return Ok(());
    }
    Err(Failure::Wrong(format!(
        "{what}: there is {there:?}, not {expected:?}"
    )))
}

fn event(real: Option<&str>, word: &str) -> Result<(), Failure> {
    match real {
        Some(at) => put(&format!("{at}/state"), word),
        None => Ok(()),
    }
}

fn put(path: &str, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).open(path)?;

    file.write_all(text.as_bytes())
        .map_err(|e| Failure::Wrong(format!("{path} <- {text}: {e}")))
}

/// A descriptor that `fd_restore` gives.
fn restore(path: &str) -> Result<OwnedFd, Failure> {
    let mut text = String::new();

    File::open(path)?.read_to_string(&mut text)?;
    let fd = text
        .trim()
        .parse()
        .map_err(|_| Failure::Wrong(format!("{path}: {text:?} is no number")))?;

    // SAFETY: The kernel has just put it into the table, for the process that has read its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn path_size(path: &str) -> Result<u64, Failure> {
    Ok(std::fs::metadata(path)?.len())
}

/// The files below a folder, sorted.
fn list(dir: &str) -> Result<String, Failure> {
    let mut names = Vec::new();
    let mut dirs = vec![String::new()];

    while let Some(below) = dirs.pop() {
        for entry in read_dir(format!("{dir}/{below}"))? {
            let entry = entry?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());

            if entry.file_type()?.is_dir() {
                dirs.push(format!("{name}/"));
            } else {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names.join(" "))
}
