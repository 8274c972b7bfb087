// SPDX-License-Identifier: GPL-2.0-only

//! Very many names in one directory, in orders that are hard to sort.

use crate::many::Stream;
use crate::ops::Args;
use crate::{usage, Failure, Outcome};
use rustix::fs::{FileType, Mode};
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

/// `many-names DIR N natural|reversed|random|adversarial`: N empty files in DIR, in that order. A walk
/// comes by the newest first.
pub fn many_names(args: &Args<'_>) -> Outcome {
    let (dir, count) = (Path::new(args.text(0)?), args.number(1)?);
    let dir = fs::File::open(dir)?;
    for n in order(args.text(2)?, count)? {
        rustix::fs::mknodat(
            &dir,
            format!("f{n:07}"),
            FileType::RegularFile,
            Mode::from_raw_mode(0o644),
            0,
        )?;
    }
    Ok(None)
}

/// `check-names DIR N`: the N names are there, and no other.
pub fn check_names(args: &Args<'_>) -> Outcome {
    let mut missing = vec![true; args.number(1)?];
    for entry in fs::read_dir(args.text(0)?)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix('f'))
            .and_then(|digits| digits.parse::<usize>().ok());
        match number.and_then(|n| missing.get_mut(n)) {
            Some(missing) if *missing => *missing = false,
            _ => return Err(Failure::Wrong(format!("{name:?} should not be there"))),
        }
    }
    match missing.iter().filter(|missing| **missing).count() {
        0 => Ok(None),
        n => Err(Failure::Wrong(format!("{n} names are missing"))),
    }
}

fn order(kind: &str, count: usize) -> Result<Vec<usize>, Failure> {
    let mut numbers: Vec<usize> = (0..count).collect();
    match kind {
        "natural" => {}
        "reversed" => numbers.reverse(),
        "random" => {
            let mut stream = Stream::new(1);
            for n in (1..count).rev() {
                numbers.swap(n, (stream.next() % (n as u64 + 1)) as usize);
            }
        }
        "adversarial" => {
            numbers = adversarial(count);
            // The newest comes first.
            numbers.reverse();
        }
        other => return usage(format!("{other}: no such order")),
    }
    Ok(numbers)
}

/// An order for which the quicksort of `core`, of the compiler that also builds the kernel, goes as deep
/// as it may: McIlroy's "A Killer Adversary for Quicksort", turned round, so that the long part of each
/// partition is the left one, for which it recurses.
///
/// What has not been compared yet is less than all that has been: when two of these are compared, one
/// gets the next value below all others.
fn adversarial(count: usize) -> Vec<usize> {
    const OPEN: usize = 0;
    let values = RefCell::new(vec![OPEN; count]);
    let least = Cell::new(count + 1);
    let pivot = Cell::new(0);
    let settle = |values: &mut [usize], n: usize| {
        least.set(least.get() - 1);
        values[n] = least.get();
    };
    // The beginning is neither ascending nor descending, which would be no case for quicksort.
    for n in [2, 0, 1] {
        if n < count {
            settle(&mut values.borrow_mut(), n);
        }
    }
    // As large as the keys of a name in the kernel: the algorithm depends on that.
    let mut items: Vec<(u32, &[u8])> = (0..count as u32).map(|n| (n, &[][..])).collect();
    items.sort_unstable_by(|a, b| {
        let values = &mut values.borrow_mut();
        let (a, b) = (a.0 as usize, b.0 as usize);
        if values[a] == OPEN && values[b] == OPEN {
            settle(values, if a == pivot.get() { a } else { b });
        }
        if values[a] == OPEN {
            pivot.set(a);
        } else if values[b] == OPEN {
            pivot.set(b);
        }
        values[a].cmp(&values[b])
    });
    let mut values = values.into_inner();
    for n in 0..count {
        if values[n] == OPEN {
            settle(&mut values, n);
        }
    }
    values.iter().map(|value| value - 1).collect()
}
