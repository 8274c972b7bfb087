// SPDX-License-Identifier: GPL-2.0-only

//! The same system calls in two directories, and the differences of their results.
//!
//! Each case is a function that makes calls in the current directory, which is empty at first. It
//! runs in a child process of its own, once in each of the two: one call may kill it. What a call
//! answered is a line; what varies by itself (addresses, inode numbers, times) is no part of it.

mod attr;
mod lines;
mod memory;
mod names;
mod notify;
mod open;
mod transfer;
mod uring;

use crate::{ops::Args, Failure, Outcome};
use lines::Lines;
use std::io::{Read, Write};

type Case = (&'static str, fn(&mut Lines));

const CASES: &[&[Case]] = &[
    open::CASES,
    transfer::CASES,
    names::CASES,
    attr::CASES,
    memory::CASES,
    notify::CASES,
    uring::CASES,
];

/// `differ A B`: prints each answer that differs between the directories A and B, and how many
/// answers there were.
pub fn differ(args: &Args<'_>) -> Outcome {
    let (one, other) = (args.text(0)?, args.text(1)?);
    let (mut answers, mut differ) = (0, 0);

    for (name, case) in CASES.iter().copied().flatten() {
        let (a, b) = (run(name, *case, one)?, run(name, *case, other)?);

        answers += a.len().max(b.len());
        for n in 0..a.len().max(b.len()) {
            let line = |lines: &[String]| lines.get(n).cloned().unwrap_or("nothing".into());
            let (a, b) = (line(&a), line(&b));

            if a != b {
                differ += 1;
                let (what, got) = a.split_once(": ").unwrap_or(("", &a));
                match b.strip_prefix(what).and_then(|b| b.strip_prefix(": ")) {
                    Some(other) => println!("{name}: {what}: {got} | {other}"),
                    None => println!("{name}: {a} | {b}"),
                }
            }
        }
    }
    Ok(Some(format!("{answers} answers, {differ} differ")))
}

/// Runs a case in a new directory below `top`, and returns its lines.
fn run(name: &str, case: fn(&mut Lines), top: &str) -> Result<Vec<String>, Failure> {
    let dir = format!("{top}/{}", name.replace(' ', "-"));
    let (mut from, mut to) = std::io::pipe()?;

    std::fs::create_dir(&dir)?;
    // SAFETY: this program has one thread.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    if child == 0 {
        drop(from);
        std::env::set_current_dir(&dir).expect("the directory is there");
        let mut lines = Lines::new(&mut to);
        case(&mut lines);
        // SAFETY: ends the child without what the parent has set up for its own end.
        unsafe { libc::_exit(0) };
    }
    drop(to);
    let mut text = String::new();
    from.read_to_string(&mut text)?;
    let mut status = 0;
    // SAFETY: `status` is an int that waitpid() writes to.
    unsafe { libc::waitpid(child, &mut status, 0) };
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        if signal == libc::SIGABRT {
            return Err(Failure::Wrong(format!("{name} failed in {dir}")));
        }
        lines.push(format!("killed: signal {signal}"));
    }
    if lines.is_empty() {
        return Err(Failure::Wrong(format!("{name} made no call in {dir}")));
    }
    std::io::stdout().flush()?;
    Ok(lines)
}
