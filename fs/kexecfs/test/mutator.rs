// SPDX-License-Identifier: GPL-2.0-only

//! Changes streams of records by chance, and always in the same way for the same seed.

use kernel::{
    kho::abi::kexecfs as abi,
    prelude::*, //
};

/// Reproducible random numbers (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        // CAST: It is below `limit`.
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A length to cut a stream of `len` bytes to, which is mostly none.
    pub(super) fn cut(&mut self, len: usize) -> usize {
        if self.below(16) == 0 {
            self.below(len)
        } else {
            len
        }
    }

    /// One to four changes: of a bit, a byte, a word, a whole record, or in a payload.
    pub(super) fn change(&mut self, stream: &mut [u8]) {
        for _ in 0..=self.below(4) {
            match self.below(8) {
                0 => self.change_record(stream),
                1 => self.change_bytes(stream, 1, |byte, random| byte ^ (1 << random.below(8))),
                2 => self.change_bytes(stream, 8, |_, _| 0),
                3 => self.change_bytes(stream, 8, |_, _| 0xff),
                _ => self.change_payload(stream),
            }
        }
    }

    fn change_bytes(
        &mut self,
        stream: &mut [u8],
        len: usize,
        change: impl Fn(u8, &mut Self) -> u8,
    ) {
        let at = self.below(stream.len()) / len * len;

        for byte in stream.iter_mut().skip(at).take(len) {
            *byte = change(*byte, self);
        }
    }

    /// Changes bytes of a payload, so that the framing stays right.
    fn change_payload(&mut self, stream: &mut [u8]) {
        let Some((at, len)) = self.record(stream) else {
            return;
        };
        let small = self.next();
        let from = at + size_of::<abi::Record>() + self.below(len);

        // A small number is more often near to what is legal.
        for (i, byte) in stream
            .iter_mut()
            .skip(from)
            .take(1 + self.below(4))
            .enumerate()
        {
            *byte = match small % 3 {
                0 => byte.wrapping_add(1),
                1 if i == 0 => (small >> 8) as u8 % 16,
                1 => 0,
                _ => self.next() as u8,
            };
        }
    }

    /// Puts a copy of a record over another one of the same length.
    fn change_record(&mut self, stream: &mut [u8]) {
        if let (Some((from, len)), Some((to, other))) = (self.record(stream), self.record(stream)) {
            let whole = size_of::<abi::Record>() + len;

            if len == other && from + whole <= stream.len() {
                stream.copy_within(from..from + whole, to);
            }
        }
    }

    /// Where a record lies, and how long its payload is.
    fn record(&mut self, stream: &[u8]) -> Option<(usize, usize)> {
        let mut at = 0;
        let mut left = self.below(24);

        loop {
            let (header, _) = abi::Record::ref_from_prefix(stream.get(at..)?).ok()?;
            let len = usize::try_from(header.len).ok()?;
            let next = len
                .checked_next_multiple_of(abi::RECORD_ALIGN)?
                .checked_add(at + size_of::<abi::Record>())?;

            if next > stream.len() {
                return None;
            }
            if left == 0 || next == stream.len() {
                return Some((at, len));
            }
            left -= 1;
            at = next;
        }
    }
}
