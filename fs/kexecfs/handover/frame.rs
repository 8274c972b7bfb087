// SPDX-License-Identifier: GPL-2.0-only

//! A record as it lies in a stream, and parts of it.

use kernel::{
    alloc::AllocError,
    kho::abi::kexecfs as abi,
    prelude::*, //
};

/// A result whose error is a rule of the ABI that is broken, or a lack of memory.
pub(super) type Checked<T> = Result<T, (&'static str, Error)>;

/// The error for a reserved field or bit that is not zero.
pub(super) const RESERVED: (&str, Error) = ("a reserved field is not zero", EIO);

pub(super) fn no_memory(_: AllocError) -> (&'static str, Error) {
    ("no memory", ENOMEM)
}

/// A record of any type.
pub(super) struct Frame<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) payload: &'a [u8],
    /// Where the payload lies in the stream.
    pub(super) at: usize,
    /// Where the next record begins.
    pub(super) end: usize,
}

impl<'a> Frame<'a> {
    /// Reads the record that begins at `at`.
    pub(super) fn read(stream: &'a [u8], at: usize) -> Checked<Self> {
        let (header, rest) = stream
            .get(at..)
            .and_then(|rest| abi::Record::ref_from_prefix(rest).ok())
            .ok_or(("it ends without a record of the end", EIO))?;
        let too_long = ("a record is longer than the stream", EIO);
        let len = usize::try_from(header.len).map_err(|_| too_long)?;
        let (payload, padding) = len
            .checked_next_multiple_of(abi::RECORD_ALIGN)
            .and_then(|padded| rest.get(..padded)?.split_at_checked(len))
            .ok_or(too_long)?;
        let at = at + size_of::<abi::Record>();

        if padding.iter().any(|&byte| byte != 0) {
            return Err(("something follows a record", EIO));
        }
        if header.flags & !abi::RECORD_MUST_UNDERSTAND != 0 {
            return Err(RESERVED);
        }
        Ok(Self {
            kind: header.kind,
            flags: header.flags,
            payload,
            at,
            end: at + len + padding.len(),
        })
    }
}

/// Bytes of the stream.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(super) at: usize,
    pub(super) len: u32,
}

impl Span {
    pub(super) fn of<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        stream.get(self.at..)?.get(..self.len as usize)
    }
}
