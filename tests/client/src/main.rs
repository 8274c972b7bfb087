// SPDX-License-Identifier: GPL-2.0-only

//! kxclient: operations that a kexecfs test needs and a shell cannot do.
//!
//!     kxclient OP ARG... [+ OP ARG...]...
//!
//! runs its operations in order, in one process. Descriptors are numbers that the caller chooses, so
//! `kxclient memfd 5 4096 + open 6 /kx/fd_preserve w + write 6 "5 ram"` is a whole test. Each
//! operation prints one line, `OP ARG...: ok` or the errno's name; a failure does not stop the rest:
//! the golden output has the right results. An operation that begins with `@` prints nothing,
//! and its failure ends the program. `exec` and `run` take all words up to the next `+`,
//! and hand a `++` on as `+`.

mod attr;
mod bench;
mod broker;
mod control;
mod differ;
mod folios;
mod luo;
mod many;
mod model;
mod mounts;
mod names;
mod ops;
mod records;
mod scale;
mod soak;
mod space;
mod stress;
mod sys;
mod times;
mod tree;
mod watch;

use rustix::io::Errno;
use std::fmt::Display;
use std::process::exit;

/// Why an operation did not succeed.
pub enum Failure {
    /// A system call failed.
    Errno(Errno),
    /// It ran, and its result is wrong.
    Wrong(String),
    /// The test is written wrongly.
    Usage(String),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Failure::Errno(e)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Failure::Errno(Errno::from_io_error(&e).unwrap_or(Errno::IO))
    }
}

impl Failure {
    pub fn text(&self) -> String {
        match self {
            Failure::Errno(e) => errno_name(*e),
            Failure::Wrong(why) | Failure::Usage(why) => why.clone(),
        }
    }
}

pub fn usage<T>(why: impl Display) -> Result<T, Failure> {
    Err(Failure::Usage(format!("usage: {why}")))
}

/// The output of an operation after its own name: nothing for "ok".
pub type Outcome = Result<Option<String>, Failure>;

pub fn errno_name(e: Errno) -> String {
    let name = match e {
        Errno::ACCESS => "EACCES",
        Errno::AGAIN => "EAGAIN",
        Errno::BADF => "EBADF",
        Errno::BUSY => "EBUSY",
        Errno::DQUOT => "EDQUOT",
        Errno::EXIST => "EEXIST",
        Errno::FAULT => "EFAULT",
        Errno::FBIG => "EFBIG",
        Errno::INTR => "EINTR",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::ISDIR => "EISDIR",
        Errno::MFILE => "EMFILE",
        Errno::NAMETOOLONG => "ENAMETOOLONG",
        Errno::NODATA => "ENODATA",
        Errno::NODEV => "ENODEV",
        Errno::NOENT => "ENOENT",
        Errno::NOMEM => "ENOMEM",
        Errno::NOSPC => "ENOSPC",
        Errno::NOSYS => "ENOSYS",
        Errno::NOTDIR => "ENOTDIR",
        Errno::NOTTY => "ENOTTY",
        Errno::NXIO => "ENXIO",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::PERM => "EPERM",
        Errno::PIPE => "EPIPE",
        Errno::ROFS => "EROFS",
        Errno::SPIPE => "ESPIPE",
        Errno::NOTEMPTY => "ENOTEMPTY",
        Errno::MLINK => "EMLINK",
        Errno::LOOP => "ELOOP",
        Errno::RANGE => "ERANGE",
        Errno::TOOBIG => "E2BIG",
        Errno::STALE => "ESTALE",
        Errno::TXTBSY => "ETXTBSY",
        Errno::XDEV => "EXDEV",
        other => return format!("errno {}", other.raw_os_error()),
    };
    name.into()
}

/// Makes `\n`, `\t`, `\\` and `\xHH` in a test's words into the bytes that they stand for.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'x') => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            Some(other) => out.push(other),
            None => out.push(b'\\'),
        }
    }
    out
}

/// The opposite of unescape(), in quotes.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &b in bytes {
        match b {
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(b));
            }
            0x20..=0x7e => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() {
        eprintln!("usage: kxclient OP ARG... [+ OP ARG...]...");
        exit(2);
    }
    let mut wrong = false;
    for op in words.split(|word| word == "+") {
        let Some((name, args)) = op.split_first() else {
            continue;
        };
        let (name, quiet) = match name.strip_prefix('@') {
            Some(rest) => (rest, true),
            None => (name.as_str(), false),
        };
        let outcome = ops::run(name, args);
        let label = std::iter::once(name)
            .chain(args.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" ");
        match outcome {
            Ok(_) if quiet => {}
            Ok(None) => println!("{label}: ok"),
            Ok(Some(text)) if text.is_empty() => {}
            Ok(Some(text)) => println!("{text}"),
            Err(failure) => {
                println!("{label}: {}", failure.text());
                if quiet {
                    exit(1);
                }
                match failure {
                    Failure::Usage(_) => exit(2),
                    Failure::Wrong(_) => wrong = true,
                    Failure::Errno(_) => {}
                }
            }
        }
    }
    exit(i32::from(wrong));
}
