// SPDX-License-Identifier: GPL-2.0-only

//! The physical pages of a file, and the folios that they belong to.

use crate::ops::Args;
use crate::{sys, usage, Failure, Outcome};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;

/// The flags of /proc/kpageflags, see Documentation/admin-guide/mm/pagemap.rst.
const COMPOUND_HEAD: u64 = 1 << 15;
const COMPOUND_TAIL: u64 = 1 << 16;
const THP: u64 = 1 << 22;

/// The numbers of the physical pages of the first `length` bytes of a file.
fn frames(fd: RawFd, length: usize) -> Result<Vec<u64>, Failure> {
    let number = 7;
    sys::map(sys::fd(fd), length, true, false, number)?;
    let Some(all) = sys::mapping(number) else {
        return usage("no mapping");
    };
    let pagemap = File::open("/proc/self/pagemap")?;
    let mut frames = Vec::new();
    let mut sum = 0u64;
    for page in all.chunks(PAGE) {
        sum += u64::from(page[0]);
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, (page.as_ptr() as usize / PAGE * 8) as u64)?;
        let entry = u64::from_le_bytes(entry);
        let frame = entry & ((1 << 55) - 1);
        if entry >> 63 == 0 || frame == 0 {
            return Err(Failure::Wrong("a page is not there".into()));
        }
        frames.push(frame);
    }
    std::hint::black_box(sum);
    sys::unmap(number)?;
    Ok(frames)
}

/// `pfns FD LENGTH FILE`: the numbers of the physical pages of the file, one a line, into FILE.
pub fn pfns(args: &Args<'_>) -> Outcome {
    let mut out = String::new();
    for frame in frames(args.fd(0)?, args.number(1)?)? {
        let _ = writeln!(out, "{frame:x}");
    }
    fs::write(args.text(2)?, out)?;
    Ok(None)
}

/// The flags of a physical page.
fn flags(kpageflags: &File, frame: u64) -> Result<u64, Failure> {
    let mut flags = [0; 8];
    kpageflags.read_exact_at(&mut flags, frame * 8)?;
    Ok(u64::from_le_bytes(flags))
}

/// `folios FD LENGTH`: the folios of the first LENGTH bytes of the file, in their order, as
/// /proc/kpageflags shows them: how many there are of a size, one after the other.
pub fn folios(args: &Args<'_>) -> Outcome {
    let kpageflags = File::open("/proc/kpageflags")?;
    let mut runs: Vec<(String, usize)> = Vec::new();
    let mut folio = 0..0;
    for frame in frames(args.fd(0)?, args.number(1)?)? {
        if folio.contains(&frame) {
            continue;
        }
        let mut head = frame;
        while flags(&kpageflags, head)? & COMPOUND_TAIL != 0 {
            head -= 1;
        }
        let first = flags(&kpageflags, head)?;
        let mut pages = 1;
        while first & COMPOUND_HEAD != 0 && flags(&kpageflags, head + pages)? & COMPOUND_TAIL != 0 {
            pages += 1;
        }
        folio = head..head + pages;
        let kind = if first & THP != 0 { " huge" } else { "" };
        let size = format!("{} KiB{kind}", pages * PAGE as u64 / 1024);
        match runs.last_mut() {
            Some((same, count)) if *same == size => *count += 1,
            _ => runs.push((size, 1)),
        }
    }
    let runs: Vec<_> = runs
        .iter()
        .map(|(size, count)| format!("{count} of {size}"))
        .collect();
    Ok(Some(format!(
        "folios {}: {}",
        args.text(0)?,
        runs.join(", ")
    )))
}

/// `collapse SLOT FILE`: madvise(MADV_COLLAPSE) of the mapping, which makes huge pages of small ones,
/// again and again until FILE is there. Prints whether it has ever succeeded.
pub fn collapse(args: &Args<'_>) -> Outcome {
    let slot = args.number(0)?;
    let mut collapsed = false;
    while fs::metadata(args.text(1)?).is_err() {
        // It fails while the pages are pinned.
        collapsed |= sys::collapse(slot).is_ok();
    }
    Ok(Some(format!(
        "collapsed: {}",
        if collapsed { "yes" } else { "no" }
    )))
}
