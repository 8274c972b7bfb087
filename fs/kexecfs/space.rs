// SPDX-License-Identifier: GPL-2.0-only

//! How much a domain holds and may hold.

use crate::words::options::Options;
use kernel::{
    fs::{
        file::Offset,
        path::{
            hpage_pmd_size,
            Huge, //
        },
        Path, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::Mutex, //
};

/// How much of the inode space an entry of `data/` is charged, as on tmpfs.
pub(crate) const INODE_SPACE: u64 = 1024;

/// Up to which length, the terminating zero included, the target of a symbolic link counts as part
/// of its entry, as much as on tmpfs (`SHORT_SYMLINK_LEN`).
const SHORT_SYMLINK_LEN: usize = 128;

/// What `data/` holds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Held {
    /// The bytes of files and symbolic links.
    pub(crate) bytes: u64,
    /// The entries and their extended attributes and ACLs, in bytes of inode space.
    pub(crate) ispace: u64,
}

/// How much there is and may be.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// The bytes of files that are preserved, or wait to be restored.
    fds: u64,
    /// What the inodes of `data/` are charged.
    data: Held,
    /// What they will be charged that came and aren't all there yet: it counts as long as it is
    /// more, so that what is restored is charged once.
    came: Held,
    pub(crate) max_bytes: u64,
    pub(crate) max_inodes: u64,
}

impl Usage {
    /// How many bytes count.
    pub(crate) fn bytes(&self) -> u64 {
        self.fds
            .saturating_add(self.data.bytes.max(self.came.bytes))
    }

    /// But for a tree that nobody has looked at, which is handed on as it came.
    pub(crate) fn bytes_here(&self) -> u64 {
        self.fds.saturating_add(self.data.bytes)
    }

    fn ispace(&self) -> u64 {
        self.data.ispace.max(self.came.ispace)
    }

    /// How many entries there are, including all else that is charged to the inode space.
    pub(crate) fn inodes(&self) -> u64 {
        self.ispace().div_ceil(INODE_SPACE)
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> u64 {
        self.max_bytes.saturating_sub(self.bytes())
    }

    /// Whether it is within the limits, or no more than `before`.
    fn fits(&self, before: &Usage) -> bool {
        let max_ispace = Self::max_ispace(self.max_inodes);

        (self.bytes() <= self.max_bytes || self.bytes() <= before.bytes())
            && (self.ispace() <= max_ispace || self.ispace() <= before.ispace())
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
            fds: 0,
            data: Held::default(),
            came: Held::default(),
            max_bytes: options.max_bytes(),
            max_inodes: options.max_inodes(),
        };

        pin_init!(Self {
            usage <- new_mutex!(usage, "Space::usage"),
        })
    }

    pub(crate) fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    /// Sets the limits, and what the tree holds that came and isn't there yet, under these options.
    ///
    /// # Errors
    ///
    /// `EINVAL` if a limit is lowered below the present charge.
    pub(crate) fn set_limits(&self, options: &Options, came: Option<Held>) -> Result {
        let (max_bytes, max_inodes) = (options.max_bytes(), options.max_inodes());
        let mut usage = self.usage.lock();
        let mut new = *usage;

        new.came = came.unwrap_or_default();
        if (max_bytes < usage.max_bytes && max_bytes < new.bytes())
            || (max_inodes < usage.max_inodes && Usage::max_ispace(max_inodes) < new.ispace())
        {
            return Err(EINVAL);
        }
        new.max_bytes = max_bytes;
        new.max_inodes = max_inodes;
        *usage = new;
        Ok(())
    }

    /// Sets the limits, whatever there still is.
    pub(crate) fn reset_limits(&self, options: &Options) {
        let mut usage = self.usage.lock();

        usage.max_bytes = options.max_bytes();
        usage.max_inodes = options.max_inodes();
    }

    /// Sets what the tree holds that came and isn't there yet: nothing once it is, or is dropped.
    pub(crate) fn set_came(&self, came: Held) {
        self.usage.lock().came = came;
    }

    /// Changes what is charged, unless that leads beyond a limit.
    fn try_charge(&self, charge: impl FnOnce(&mut Usage)) -> Result {
        let mut usage = self.usage.lock();
        let mut new = *usage;

        charge(&mut new);
        if !new.fits(&usage) {
            return Err(ENOSPC);
        }
        *usage = new;
        Ok(())
    }

    // Files that are preserved, or wait to be restored.

    /// Reserves `bytes` for memory that isn't there yet.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation<'_>> {
        self.charge_bytes(bytes)?;
        Ok(Reservation { space: self, bytes })
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn charge_bytes(&self, bytes: u64) -> Result {
        self.try_charge(|usage| usage.fds = usage.fds.saturating_add(bytes))
    }

    /// Charges `bytes` that are there already, whether or not the limit allows for them.
    pub(crate) fn charge_bytes_force(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.fds = usage.fds.saturating_add(bytes);
    }

    pub(crate) fn uncharge_bytes(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.fds = usage.fds.saturating_sub(bytes);
    }

    // Files of `data/`.

    /// Charges `bytes` for a file that needs them up to the end of its last page, of `page_size`
    /// bytes. If there are fewer left, as many of its pages as fit. Returns how many bytes.
    pub(crate) fn charge_pages_up_to(&self, bytes: u64, page_size: u64) -> u64 {
        let mut usage = self.usage.lock();
        let missing = bytes
            .saturating_sub(usage.left())
            .checked_next_multiple_of(page_size)
            .unwrap_or(u64::MAX);
        let taken = bytes.saturating_sub(missing);

        usage.data.bytes += taken;
        taken
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are fewer left.
    pub(crate) fn charge_data(&self, bytes: u64) -> Result {
        self.try_charge(|usage| usage.data.bytes = usage.data.bytes.saturating_add(bytes))
    }

    /// Charges `bytes` that are there already, whether or not the limit allows for them.
    pub(crate) fn charge_data_force(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.data.bytes = usage.data.bytes.saturating_add(bytes);
    }

    pub(crate) fn uncharge_data(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.data.bytes = usage.data.bytes.saturating_sub(bytes);
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
        self.try_charge(|usage| usage.data.ispace = usage.data.ispace.saturating_add(bytes))
    }

    pub(crate) fn charge_ispace_force(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.data.ispace = usage.data.ispace.saturating_add(bytes);
    }

    pub(crate) fn uncharge_ispace(&self, bytes: u64) {
        let mut usage = self.usage.lock();

        usage.data.ispace = usage.data.ispace.saturating_sub(bytes);
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

/// The size of the pages that a file is charged for which is not just copied.
pub(crate) fn page_size(huge: Option<Huge>) -> u64 {
    let size = hpage_pmd_size().filter(|_| huge == Some(Huge::Always));

    size.unwrap_or(PAGE_SIZE) as u64
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

        space.charge_data_force(u64::MAX);
        assert!(space.set_limits(&small, None).is_err());
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
    fn what_came_counts_once() -> Result {
        const PAGE: u64 = PAGE_SIZE as u64;
        let options = Options {
            size: Limit::from_record(4 * PAGE),
            nr_inodes: Limit::from_record(4),
            ..Options::new()?
        };
        let space = KBox::pin_init(Space::new(&options), GFP_KERNEL)?;
        let bytes_and_inodes = || (space.usage().bytes(), space.usage().inodes());

        space.set_came(Held {
            bytes: 3 * PAGE,
            ispace: 3 * INODE_SPACE,
        });
        assert_eq!(bytes_and_inodes(), (3 * PAGE, 3));
        assert_eq!(space.charge_bytes(2 * PAGE), Err(ENOSPC));
        space.charge_bytes(PAGE)?;
        // It is restored, half of it at first, and that fails.
        space.charge_data_force(2 * PAGE);
        space.charge_ispace_force(2 * INODE_SPACE);
        assert_eq!(bytes_and_inodes(), (4 * PAGE, 3));
        assert_eq!(space.charge_bytes(1), Err(ENOSPC));
        space.uncharge_data(2 * PAGE);
        space.uncharge_ispace(2 * INODE_SPACE);
        assert_eq!(bytes_and_inodes(), (4 * PAGE, 3));
        // Then all of it.
        space.charge_data_force(3 * PAGE);
        space.charge_ispace_force(3 * INODE_SPACE);
        assert_eq!(bytes_and_inodes(), (4 * PAGE, 3));
        space.set_came(Held::default());
        assert_eq!(bytes_and_inodes(), (4 * PAGE, 3));
        assert_eq!(space.charge_data(1), Err(ENOSPC));
        space.charge_inode()?;
        assert_eq!(space.charge_ispace(1), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn a_link_counts_a_page_unless_it_is_short() {
        assert_eq!(bytes_of_link(&[b'x'; 127]), 0);
        assert_eq!(bytes_of_link(&[b'x'; 128]), PAGE_SIZE as u64);
    }
}
