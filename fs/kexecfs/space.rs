// SPDX-License-Identifier: GPL-2.0-only

//! How much a domain holds and may hold.

use crate::words::options::Options;
use kernel::{
    fs::{file::Offset, Path},
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::Mutex, //
};

/// How much of the inode space an entry of `data/` is charged, as on tmpfs.
const INODE_SPACE: u64 = 1024;

/// Up to which length, the terminating zero included, the target of a symbolic link counts as part
/// of its entry, as much as on tmpfs (`SHORT_SYMLINK_LEN`).
const SHORT_SYMLINK_LEN: usize = 128;

/// How much there is and may be.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    /// The entries of `data/` and their extended attributes, in bytes.
    ispace: u64,
    pub(crate) max_inodes: u64,
}

impl Usage {
    /// How many entries there are, including all else that is charged to the inode space.
    pub(crate) fn inodes(&self) -> u64 {
        self.ispace.div_ceil(INODE_SPACE)
    }

    fn max_ispace(max_inodes: u64) -> u64 {
        max_inodes.saturating_mul(INODE_SPACE)
    }
}

/// The space of a domain: `data/` and the pages that preserved files pin, in bytes, and the entries
/// of `data/`.
///
/// Its lock is a leaf.
#[pin_data]
pub(crate) struct Space {
    #[pin]
    usage: Mutex<Usage>,
}

impl Space {
    pub(crate) fn new(options: &Options) -> impl PinInit<Self> {
        let usage = Usage {
            bytes: 0,
            max_bytes: options.max_bytes(),
            ispace: 0,
            max_inodes: options.max_inodes(),
        };

        pin_init!(Self {
            usage <- new_mutex!(usage, "Space::usage"),
        })
    }

    pub(crate) fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    /// Sets the limits.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a limit is lowered below the present charge.
    pub(crate) fn set_limits(&self, options: &Options) -> Result {
        let (max_bytes, max_inodes) = (options.max_bytes(), options.max_inodes());
        let mut usage = self.usage.lock();

        if (max_bytes < usage.max_bytes && max_bytes < usage.bytes)
            || (max_inodes < usage.max_inodes && Usage::max_ispace(max_inodes) < usage.ispace)
        {
            return Err(EINVAL);
        }
        usage.max_bytes = max_bytes;
        usage.max_inodes = max_inodes;
        Ok(())
    }

    /// Sets the limits, whatever there still is.
    pub(crate) fn reset_limits(&self, options: &Options) {
        let mut usage = self.usage.lock();

        usage.max_bytes = options.max_bytes();
        usage.max_inodes = options.max_inodes();
    }

    /// Reserves `bytes` for memory that isn't there yet.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation<'_>> {
        self.charge_bytes(bytes)?;
        Ok(Reservation { space: self, bytes })
    }

    /// Charges `bytes` for a file that needs them up to the end of its last page, of `page_size`
    /// bytes. If there are fewer left, as many of its pages as fit. Returns how many bytes.
    pub(crate) fn charge_pages_up_to(&self, bytes: u64, page_size: u64) -> u64 {
        let mut usage = self.usage.lock();
        let left = usage.max_bytes.saturating_sub(usage.bytes);
        let missing = bytes
            .saturating_sub(left)
            .checked_next_multiple_of(page_size)
            .unwrap_or(u64::MAX);
        let taken = bytes.saturating_sub(missing);

        usage.bytes += taken;
        taken
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn charge_bytes(&self, bytes: u64) -> Result {
        let mut usage = self.usage.lock();

        if bytes > usage.max_bytes.saturating_sub(usage.bytes) {
            return Err(ENOSPC);
        }
        usage.bytes += bytes;
        Ok(())
    }

    /// Charges `bytes` that are there already, whether or not the limit allows for them.
    pub(crate) fn charge_bytes_force(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.bytes = usage.bytes.saturating_add(bytes);
    }

    pub(crate) fn uncharge_bytes(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.bytes = usage.bytes.saturating_sub(bytes);
    }

    /// Charges for an entry.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there is none left.
    pub(crate) fn charge_inode(&self) -> Result {
        self.charge_ispace(INODE_SPACE)
    }

    /// Charges for an entry that is there already, whether or not the limit allows for it.
    pub(crate) fn charge_inode_force(&self) {
        self.charge_ispace_force(INODE_SPACE);
    }

    pub(crate) fn uncharge_inode(&self) {
        self.uncharge_ispace(INODE_SPACE);
    }

    /// Charges `bytes` of the inode space.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn charge_ispace(&self, bytes: u64) -> Result {
        let mut usage = self.usage.lock();

        if bytes > Usage::max_ispace(usage.max_inodes).saturating_sub(usage.ispace) {
            return Err(ENOSPC);
        }
        usage.ispace = usage.ispace.saturating_add(bytes);
        Ok(())
    }

    pub(crate) fn charge_ispace_force(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.ispace = usage.ispace.saturating_add(bytes);
    }

    pub(crate) fn uncharge_ispace(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.ispace = usage.ispace.saturating_sub(bytes);
    }
}

/// Bytes of a [`Space`] that are charged for memory that isn't there yet.
///
/// They are uncharged when it is dropped.
pub(crate) struct Reservation<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Reservation<'_> {
    /// Reserves more, up to `bytes` in all.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn extend_to(&mut self, bytes: u64) -> Result {
        let more = bytes.saturating_sub(self.bytes);

        self.space.charge_bytes(more)?;
        self.bytes += more;
        Ok(())
    }

    /// Leaves the charge to the memory that is there now, and returns how many bytes it is.
    pub(crate) fn commit(mut self) -> u64 {
        core::mem::take(&mut self.bytes)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.space.uncharge_bytes(self.bytes);
    }
}

/// The size of an inner file.
pub(crate) fn size_of(inner: &Path) -> u64 {
    let size: Offset = inner.i_size_read();

    // CAST: A size is never negative.
    size.max(0) as u64
}

/// How many bytes a file of `size` bytes that has `blocks` of 512 bytes is charged.
pub(crate) fn bytes_of(size: u64, blocks: u64) -> u64 {
    let pages = size
        .checked_next_multiple_of(PAGE_SIZE as u64)
        .unwrap_or(u64::MAX);

    pages.max(blocks.saturating_mul(512))
}

/// How many bytes a symbolic link to `target` is charged: as on tmpfs, a page unless it is short.
pub(crate) fn bytes_of_link(target: &[u8]) -> u64 {
    if target.len() < SHORT_SYMLINK_LEN {
        0
    } else {
        PAGE_SIZE as u64
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_space)]
mod tests {
    use super::*;
    use crate::words::options::Limit;

    #[test]
    fn a_file_counts_the_greater_of_its_pages_and_blocks() {
        assert_eq!(bytes_of(0, 0), 0);
        assert_eq!(bytes_of(1, 0), PAGE_SIZE as u64);
        assert_eq!(bytes_of(1, 16), 8192);
        assert_eq!(bytes_of(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn limits_are_reset_whatever_there_is() -> Result {
        let small = Options {
            size: Limit::from_record(1),
            nr_inodes: Limit::from_record(1),
            ..Options::new()?
        };
        let space = KBox::pin_init(Space::new(&Options::new()?), GFP_KERNEL)?;

        space.charge_bytes_force(u64::MAX);
        assert!(space.set_limits(&small).is_err());
        space.reset_limits(&small);
        assert!(space.usage().max_bytes == 1 && space.usage().max_inodes == 1);
        Ok(())
    }

    #[test]
    fn whole_pages_are_charged() -> Result {
        const HUGE: u64 = 2 << 20;
        let options = Options {
            size: Limit::from_record(3 * HUGE - 1),
            ..Options::new()?
        };
        let space = KBox::pin_init(Space::new(&options), GFP_KERNEL)?;

        assert_eq!(space.charge_pages_up_to(4096, 4096), 4096);
        // A file that had a page, and is to have three huge ones: the last one is missing.
        assert_eq!(
            space.charge_pages_up_to(3 * HUGE - 4096, HUGE),
            2 * HUGE - 4096
        );
        assert_eq!(space.charge_pages_up_to(HUGE, HUGE), 0);
        assert_eq!(space.charge_pages_up_to(HUGE, 4096), HUGE - 4096);
        assert_eq!(space.charge_pages_up_to(HUGE, 4096), 0);
        Ok(())
    }

    #[test]
    fn a_link_counts_a_page_unless_it_is_short() {
        assert_eq!(bytes_of_link(&[b'x'; 127]), 0);
        assert_eq!(bytes_of_link(&[b'x'; 128]), PAGE_SIZE as u64);
    }
}
