// SPDX-License-Identifier: GPL-2.0-only

//! The charge of a directory to its limit, compared with the present and the filled size of its files.

use crate::many::Stream;
use crate::ops::Args;
use crate::{Failure, Outcome};
use rustix::fs::{fallocate, fstat, ftruncate, statvfs, FallocateFlags, OFlags};
use rustix::io::{pwrite, Errno};
use std::collections::BTreeSet;
use std::fs::{remove_file, write, File, OpenOptions};
use std::os::unix::fs::{symlink, OpenOptionsExt};
use std::path::PathBuf;

const PAGE: u64 = 4096;

/// A file and which of its pages have blocks.
struct Sparse {
    path: PathBuf,
    file: File,
    size: u64,
    pages: BTreeSet<u64>,
}

impl Sparse {
    fn whole_pages(&self) -> u64 {
        self.size.div_ceil(PAGE)
    }

    /// How many pages it has once all its holes are filled.
    fn filled(&self) -> u64 {
        self.whole_pages() + self.pages.range(self.whole_pages()..).count() as u64
    }

    /// A random change. One that fails for want of space has changed nothing.
    fn change(&mut self, random: &mut Stream, max: u64) -> Result<(), Errno> {
        let pos = random.next() % max;
        let len = 1 + random.next()
            % if random.next() & 3 == 0 {
                max
            } else {
                3 * PAGE
            };
        let end = pos + len;
        let touched = pos / PAGE..end.div_ceil(PAGE);
        match random.next() % 8 {
            0..=2 => {
                let done = pwrite(&self.file, &vec![1; len as usize], pos)? as u64;
                let end = pos + done;
                self.size = self.size.max(end);
                self.pages.extend(pos / PAGE..end.div_ceil(PAGE));
            }
            3 => {
                ftruncate(&self.file, pos)?;
                if pos <= self.size {
                    self.pages.split_off(&pos.div_ceil(PAGE));
                }
                self.size = pos;
            }
            4 => {
                fallocate(&self.file, FallocateFlags::empty(), pos, len)?;
                self.size = self.size.max(end);
                self.pages.extend(touched);
            }
            5 | 6 => {
                fallocate(&self.file, FallocateFlags::KEEP_SIZE, pos, len)?;
                self.pages.extend(touched);
            }
            _ => {
                let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(&self.file, punch, pos, len)?;
                let whole = pos.div_ceil(PAGE)..end / PAGE;
                self.pages.retain(|page| !whole.contains(page));
            }
        }
        Ok(())
    }
}

/// `space DOM SEED COUNT`: COUNT random changes of a few files and links in DOM/data. After each of
/// them what counts is within the limit, and no less than what all files would have if their holes
/// were filled; now and then they are, by a `prepare`. What fails takes nothing.
pub fn space(args: &Args<'_>) -> Outcome {
    let (dom, seed, count) = (
        PathBuf::from(args.text(0)?),
        args.number(1)?,
        args.number(2)?,
    );
    let data = dom.join("data");
    let used = || -> Result<(u64, u64), Failure> {
        let fs = statvfs(&data)?;
        Ok((
            (fs.f_blocks - fs.f_bfree) * fs.f_frsize / PAGE,
            fs.f_blocks * fs.f_frsize / PAGE,
        ))
    };
    let random = &mut Stream::new(seed);
    let (before, limit) = used()?;
    let mut files = Vec::new();
    for n in 0..5 {
        let path = data.join(format!("sparse{n}"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(OFlags::CLOEXEC.bits() as i32)
            .open(&path)?;
        files.push(Sparse {
            path,
            file,
            size: 0,
            pages: BTreeSet::new(),
        });
    }
    let (mut links, mut full, mut prepared) = (BTreeSet::new(), 0, 0);
    for step in 0..count {
        let held = used()?.0;
        let number = random.next() % 40;
        let result = match number {
            0 | 1 => {
                let path = data.join(format!("link{}", random.next() % 8));
                if links.remove(&path) {
                    Ok(remove_file(&path)?)
                } else {
                    symlink("x".repeat(200), &path)
                        .map(|()| {
                            links.insert(path);
                        })
                        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
                }
            }
            2 => {
                write(dom.join("state"), "prepare")?;
                prepared += 1;
                let blocks = blocks_of(&files)?;
                if blocks > held {
                    return wrong(step, format!("{blocks} pages are pinned, {held} count"));
                }
                write(dom.join("state"), "cancel")?;
                for file in &mut files {
                    file.pages.extend(0..file.size.div_ceil(PAGE));
                }
                Ok(())
            }
            _ => {
                let which = (random.next() % files.len() as u64) as usize;
                files[which].change(random, (limit + limit / 2) * PAGE)
            }
        };
        let now = used()?.0;
        match result {
            Ok(()) => {}
            Err(Errno::NOSPC) => {
                full += 1;
                if now != held {
                    return wrong(step, format!("a failure took {held} to {now} pages"));
                }
            }
            Err(e) => return Err(e.into()),
        }
        let blocks = blocks_of(&files)?;
        let known = files
            .iter()
            .map(|file| file.pages.len() as u64)
            .sum::<u64>();
        let filled = files.iter().map(Sparse::filled).sum::<u64>() + links.len() as u64;
        if blocks != known {
            return wrong(step, format!("{blocks} pages have blocks, {known} should"));
        }
        if now < before + filled || now > limit {
            return wrong(
                step,
                format!("{now} of {limit} pages count, {filled} may be filled"),
            );
        }
    }
    for path in files.iter().map(|file| &file.path).chain(&links) {
        remove_file(path)?;
    }
    drop(files);
    let after = used()?.0;
    if after != before {
        return wrong(
            count,
            format!("{after} pages count in the end, {before} did at first"),
        );
    }
    if full < count / 20 || prepared < count / 200 {
        return wrong(count, format!("only {full} failures, {prepared} prepares"));
    }
    Ok(None)
}

fn blocks_of(files: &[Sparse]) -> Result<u64, Failure> {
    let mut blocks = 0;
    for file in files {
        blocks += fstat(&file.file)?.st_blocks as u64 * 512 / PAGE;
    }
    Ok(blocks)
}

fn wrong(step: u64, why: String) -> Outcome {
    Err(Failure::Wrong(format!("step {step}: {why}")))
}
