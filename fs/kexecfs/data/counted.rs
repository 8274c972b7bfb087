// SPDX-License-Identifier: GPL-2.0-only

//! How much a file or a symbolic link of `data/` is charged for `size=`.
//!
//! A file is charged for its pages up to its end, or up to the end of the blocks that were
//! preallocated beyond that, be they there or not: a prepare fills the holes. So all blocks that it
//! has, and all that it will have once it is prepared, are among those that count, and they are
//! taken from the domain before anything is allocated. With `huge=always` that is in whole huge
//! pages. What an inner file has in large pages beyond that is [`Counted::excess`].

use crate::{
    domain::Domain,
    space::bytes_of, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// How many bytes count for the domain's limit, as long as this lives.
///
/// Changed under the lock of the inode.
pub(crate) struct Counted {
    domain: Arc<Domain>,
    bytes: Atomic<u64>,
    /// Up to where blocks may have been preallocated, in whole pages.
    preallocated: Atomic<u64>,
    /// The size of the pages that a file is charged for.
    page_size: Atomic<u64>,
}

impl Counted {
    /// Takes `bytes` of the domain.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn charge(domain: Arc<Domain>, bytes: u64) -> Result<Self> {
        domain.space.charge_data(bytes)?;
        Ok(Self::with(domain, bytes))
    }

    /// Charges for bytes that are there already, whether or not the limit allows for them.
    pub(crate) fn charge_force(domain: Arc<Domain>, bytes: u64) -> Self {
        domain.space.charge_data_force(bytes);
        Self::with(domain, bytes)
    }

    /// The same for a file of `size` bytes, in pages of `page_size` bytes.
    pub(crate) fn charge_pages_force(domain: Arc<Domain>, size: u64, page_size: u64) -> Self {
        let counted = Self::with(domain, 0);
        let bytes = size.checked_next_multiple_of(page_size).unwrap_or(u64::MAX);

        counted.charge_up_to_force(bytes);
        counted.page_size.store(page_size, Relaxed);
        counted
    }

    fn with(domain: Arc<Domain>, bytes: u64) -> Self {
        Self {
            domain,
            bytes: Atomic::new(bytes),
            preallocated: Atomic::new(0),
            page_size: Atomic::new(PAGE_SIZE as u64),
        }
    }

    /// Charges for whole pages of `page_size` bytes from now on, for those of a file of `size`
    /// bytes at once.
    ///
    /// # Errors
    ///
    /// `ENOSPC`. It is as before then.
    pub(crate) fn set_page_size(&self, page_size: u64, size: u64) -> Result {
        let before = self.page_size.load(Relaxed);

        self.page_size.store(page_size, Relaxed);
        self.grow(size.max(self.preallocated()))
            .inspect_err(|_| self.page_size.store(before, Relaxed))
    }

    /// Charges for blocks that are there already, whether or not the limit allows for them.
    pub(crate) fn charge_blocks_force(&self, blocks: u64) {
        self.charge_up_to_force(bytes_of(0, blocks));
    }

    fn charge_up_to_force(&self, bytes: u64) {
        let counted = self.bytes.load(Relaxed);

        if bytes > counted {
            self.domain.space.charge_data_force(bytes - counted);
            self.bytes.store(bytes, Relaxed);
        }
    }

    /// The bytes of so many pages that `size` bytes need.
    fn pages(&self, size: u64) -> u64 {
        size.checked_next_multiple_of(self.page_size.load(Relaxed))
            .unwrap_or(u64::MAX)
    }

    /// Makes room for a file to grow to `size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub(crate) fn grow(&self, size: u64) -> Result {
        let (counted, wanted) = (self.bytes.load(Relaxed), self.pages(size));

        if wanted > counted {
            self.domain.space.charge_data(wanted - counted)?;
            self.bytes.store(wanted, Relaxed);
        }
        Ok(())
    }

    /// Makes room for a write from `pos` to `end`, or for as much of it as there is room for.
    /// Returns where it has to end.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is none. Nothing is taken then.
    pub(crate) fn grow_for_write(&self, pos: u64, end: u64) -> Result<u64> {
        let (counted, wanted) = (self.bytes.load(Relaxed), self.pages(end));

        if wanted <= counted {
            return Ok(end);
        }
        let page_size = self.page_size.load(Relaxed);
        let taken = self
            .domain
            .space
            .charge_pages_up_to(wanted - counted, page_size);
        let end = end.min(counted + taken);

        if end <= pos {
            self.domain.space.uncharge_data(taken);
            return Err(ENOSPC);
        }
        self.bytes.store(counted + taken, Relaxed);
        Ok(end)
    }

    /// Up to where blocks may have been preallocated.
    pub(crate) fn preallocated(&self) -> u64 {
        self.preallocated.load(Relaxed)
    }

    /// Undoes [`Counted::preallocate`], before which it was `before`.
    pub(crate) fn set_preallocated(&self, before: u64) {
        self.preallocated.store(before, Relaxed);
    }

    /// Notes that blocks are allocated up to `end`, for which there is room.
    pub(crate) fn preallocate(&self, end: u64) {
        let before = self.preallocated.load(Relaxed);

        self.preallocated
            .store(before.max(bytes_of(end, 0)), Relaxed);
    }

    /// Notes that whole pages between `start` and `end` have no blocks any more.
    pub(crate) fn deallocate(&self, start: u64, end: u64) {
        let before = self.preallocated.load(Relaxed);

        if before <= end {
            self.preallocated
                .store(before.min(bytes_of(start, 0)), Relaxed);
        }
    }

    /// Uncharges the bytes that a file of `size` bytes with `blocks` doesn't need.
    pub(crate) fn fit(&self, size: u64, blocks: u64) {
        let counted = self.bytes.load(Relaxed);
        let needed = self.needed(size).max(bytes_of(0, blocks)).min(counted);

        self.bytes.store(needed, Relaxed);
        self.domain.space.uncharge_data(counted - needed);
    }

    /// Uncharges what a file of `size` bytes that has no blocks needs for huge pages.
    pub(crate) fn fit_small(&self, size: u64) {
        self.page_size.store(PAGE_SIZE as u64, Relaxed);
        self.fit(size, 0);
    }

    /// How many bytes a file with `blocks` has that are not charged: a large page can lie across
    /// its end.
    pub(crate) fn excess(&self, blocks: u64) -> u64 {
        bytes_of(0, blocks).saturating_sub(self.bytes.load(Relaxed))
    }

    fn needed(&self, size: u64) -> u64 {
        self.pages(size.max(self.preallocated.load(Relaxed)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.domain.space.uncharge_data(self.bytes.load(Relaxed));
    }
}
