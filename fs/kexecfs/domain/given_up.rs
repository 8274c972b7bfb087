// SPDX-License-Identifier: GPL-2.0-only

//! Incoming files of `data/` whose inodes have gone, until LUO has released them.

use kernel::prelude::*;

/// Incoming files of `data/` that were never opened and can't be any more.
#[derive(Default)]
pub(super) struct GivenUp {
    /// Their tokens. There is room for those that may still come.
    pub(super) tokens: KVVec<u64>,
    /// How many may still come.
    nr_expected: usize,
}

impl GivenUp {
    /// Adds a file, unless only an attempt to restore the tree ends (`goes_on`): the next one gets
    /// the file then. Returns whether it was added.
    pub(super) fn add(&mut self, token: u64, goes_on: bool) -> bool {
        self.expect_fewer();
        !goes_on && self.tokens.push_within_capacity(token).is_ok()
    }

    /// Makes room for one file more that may come.
    pub(super) fn expect_another(&mut self) -> Result {
        let nr_expected = self.nr_expected + 1;

        self.tokens.reserve(nr_expected, GFP_KERNEL_ACCOUNT)?;
        self.nr_expected = nr_expected;
        Ok(())
    }

    /// One file less may still come.
    pub(super) fn expect_fewer(&mut self) {
        self.nr_expected = self.nr_expected.saturating_sub(1);
    }

    /// The last one, and where it is.
    pub(super) fn last(&self) -> Option<(usize, u64)> {
        let token = self.tokens.last()?;

        Some((self.tokens.len() - 1, *token))
    }
}
