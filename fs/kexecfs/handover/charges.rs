// SPDX-License-Identifier: GPL-2.0-only

//! What the inodes of an incoming `data/` will be charged, as soon as they are there.

use super::frame::Checked;
use crate::space::{
    bytes_of,
    bytes_of_link,
    page_size,
    Held,
    INODE_SPACE, //
};
use kernel::{
    fs::{
        path::Huge,
        xattr::simple_xattr_space, //
    },
    kho::abi::kexecfs as abi,
    page::PAGE_SIZE,
    prelude::*,
};

/// The sum of the charges of all records so far.
#[derive(Default)]
pub(super) struct Charges {
    /// But for the files that LUO has.
    held: Held,
    /// How many bytes these have, in pages.
    luo_bytes: u64,
    /// The same in huge pages.
    luo_huge_bytes: u64,
}

impl Charges {
    /// In all, if huge pages are given out by `huge`.
    pub(super) fn held(&self, huge: Option<Huge>) -> Held {
        let luo_bytes = if page_size(huge) == PAGE_SIZE as u64 {
            self.luo_bytes
        } else {
            self.luo_huge_bytes
        };

        Held {
            bytes: self.held.bytes.saturating_add(luo_bytes),
            ..self.held
        }
    }

    /// Adds a name: the first of an inode comes with it.
    pub(super) fn add_name(&mut self) {
        self.add_space(INODE_SPACE);
    }

    /// Adds so many bytes of inode space.
    pub(super) fn add_space(&mut self, bytes: u64) {
        self.held.ispace = self.held.ispace.saturating_add(bytes);
    }

    /// Adds the contents of a file of `size` bytes that were packed into its record.
    pub(super) fn add_packed(&mut self, size: u64) {
        self.add_bytes(bytes_of(size, 0));
    }

    /// Adds the target of a symbolic link, which is the end of its record.
    pub(super) fn add_link(&mut self, payload: &[u8]) {
        let target = payload.get(size_of::<abi::InodeRecord>()..);

        self.add_bytes(bytes_of_link(target.unwrap_or_default()));
    }

    fn add_bytes(&mut self, bytes: u64) {
        self.held.bytes = self.held.bytes.saturating_add(bytes);
    }

    /// Adds a file of `size` bytes that LUO has.
    pub(super) fn add_luo_file(&mut self, size: u64) {
        let huge = size
            .checked_next_multiple_of(page_size(Some(Huge::Always)))
            .unwrap_or(u64::MAX);

        self.luo_bytes = self.luo_bytes.saturating_add(bytes_of(size, 0));
        self.luo_huge_bytes = self.luo_huge_bytes.saturating_add(huge);
    }

    /// Adds an extended attribute, of a name that is none of an ACL.
    pub(super) fn add_xattr(&mut self, name: &[u8], value: &[u8]) -> Checked<()> {
        let mut buf = [0; abi::NAME_MAX + 1];
        let too_long = ("the name of an xattr is illegal", EIO);

        buf.get_mut(..name.len())
            .ok_or(too_long)?
            .copy_from_slice(name);
        let name = CStr::from_bytes_until_nul(&buf).map_err(|_| too_long)?;

        self.add_space(simple_xattr_space(name, value.len()) as u64);
        Ok(())
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_charges)]
mod tests {
    use super::*;

    #[test]
    fn files_of_luo_are_charged_by_their_pages() {
        const PAGE: u64 = PAGE_SIZE as u64;
        let mut charges = Charges::default();
        let huge_page = page_size(Some(Huge::Always));

        charges.add_packed(1);
        charges.add_packed(0);
        charges.add_luo_file(PAGE + 1);
        charges.add_luo_file(0);
        assert_eq!(charges.held(None).bytes, 3 * PAGE);
        assert_eq!(
            charges.held(Some(Huge::Always)).bytes,
            PAGE + huge_page.max(2 * PAGE)
        );
        charges.add_luo_file(u64::MAX);
        assert_eq!(charges.held(None).bytes, u64::MAX);
    }

    #[test]
    fn names_and_xattrs_take_inode_space() -> Result {
        let mut charges = Charges::default();

        charges.add_name();
        charges.add_space(40);
        assert_eq!(charges.held(None).ispace, INODE_SPACE + 40);
        charges.add_xattr(b"user.a", b"value").map_err(|(_, e)| e)?;
        assert_eq!(
            charges.held(None).ispace,
            INODE_SPACE + 40 + simple_xattr_space(c"user.a", 5) as u64
        );
        assert!(charges.add_xattr(&[b'x'; abi::NAME_MAX + 2], b"").is_err());
        Ok(())
    }
}
