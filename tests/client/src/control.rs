// SPDX-License-Identifier: GPL-2.0-only

//! The ways in which programs read and write small files of the kernel.

use crate::ops::Args;
use crate::{quote, sys, unescape, Failure, Outcome};
use std::io::{IoSlice, IoSliceMut};

/// `fsync FD`
pub fn fsync(args: &Args<'_>) -> Outcome {
    rustix::fs::fsync(sys::fd(args.fd(0)?))?;
    Ok(None)
}

/// `readv FD A B`: one readv(2) into buffers of A and B bytes.
pub fn readv(args: &Args<'_>) -> Outcome {
    let (mut a, mut b) = (vec![0; args.number(1)?], vec![0; args.number(2)?]);
    let len = a.len();
    let n = rustix::io::readv(
        sys::fd(args.fd(0)?),
        &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)],
    )?;
    a.truncate(n);
    b.truncate(n.saturating_sub(len));
    Ok(Some(format!("readv: {} {}", quote(&a), quote(&b))))
}

/// `writev FD A B`: one writev(2) of both texts.
pub fn writev(args: &Args<'_>) -> Outcome {
    let (a, b) = (unescape(args.text(1)?), unescape(args.text(2)?));
    let n = rustix::io::writev(sys::fd(args.fd(0)?), &[IoSlice::new(&a), IoSlice::new(&b)])?;
    if n != a.len() + b.len() {
        return Err(Failure::Wrong(format!("only {n} bytes")));
    }
    Ok(None)
}

/// `whole PATH`: the text of a file, as Rust programs read it.
pub fn whole(args: &Args<'_>) -> Outcome {
    let text = std::fs::read_to_string(args.text(0)?)?;
    Ok(Some(format!("whole: {}", quote(text.as_bytes()))))
}

/// `write-whole PATH TEXT`: as Rust programs write one.
pub fn write_whole(args: &Args<'_>) -> Outcome {
    std::fs::write(args.text(0)?, unescape(args.text(1)?))?;
    Ok(None)
}
