// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of what of KHO can be tested without a kexec.

#[macros::kunit_tests(rust_kernel_kho)]
mod kho {
    use crate::kho::*;

    #[test]
    fn order_is_that_of_the_smallest_folio() {
        assert_eq!(order_of(0), None);
        assert_eq!(order_of(1), Some(0));
        assert_eq!(order_of(PAGE_SIZE), Some(0));
        assert_eq!(order_of(PAGE_SIZE + 1), Some(1));
        assert_eq!(order_of(3 * PAGE_SIZE), Some(2));
        assert_eq!(order_of(FOLIO_SIZE_MAX), Some(bindings::MAX_PAGE_ORDER));
        assert_eq!(order_of(FOLIO_SIZE_MAX + 1), None);
        assert_eq!(order_of(usize::MAX), None);
    }

    #[test]
    fn folio_that_nobody_handed_over_is_eio() {
        // Unaligned, not RAM, beyond all RAM, and nothing of a size that folios have.
        for phys in [0, 1, 0xb8000, 1 << 45, u64::MAX, u64::MAX << 12] {
            assert_eq!(RestoredFolio::from_phys(phys, PAGE_SIZE).err(), Some(EIO));
            assert_eq!(RestoredFolio::from_phys(phys, 0).err(), Some(EIO));
            assert_eq!(RestoredFolio::from_phys(phys, usize::MAX).err(), Some(EIO));
        }
    }

    #[test]
    fn memory_of_this_kernel_is_not_restored() -> Result {
        if !is_enabled() {
            return Ok(());
        }

        let folio = PreservedFolio::new(PAGE_SIZE)?;
        assert_eq!(
            RestoredFolio::from_phys(folio.phys(), PAGE_SIZE).err(),
            Some(EIO)
        );

        let area = PreservedVmalloc::new(VVec::zeroed(2 * PAGE_SIZE, GFP_KERNEL)?)?;
        assert_eq!(
            RestoredVmalloc::restore(&area.descriptor()).err(),
            Some(EIO)
        );
        Ok(())
    }

    #[test]
    fn area_that_nobody_handed_over_is_eio() {
        for first in [0, 1, 0xb8000, 1 << 45, u64::MAX] {
            for (total_pages, order, flags) in [(0, 0, 0), (1, 0, 1), (u32::MAX, u16::MAX, 1)] {
                let descriptor = abi::Vmalloc {
                    first,
                    total_pages,
                    flags,
                    order,
                };
                assert_eq!(RestoredVmalloc::restore(&descriptor).err(), Some(EIO));
            }
        }
    }

    #[test]
    fn folio_is_zero_and_of_its_size() -> Result {
        if !is_enabled() {
            assert_eq!(PreservedFolio::new(1).err(), Some(EOPNOTSUPP));
            return Ok(());
        }

        let mut folio = PreservedFolio::new(PAGE_SIZE + 1)?;
        assert_eq!(folio.len(), PAGE_SIZE + 1);
        assert!(folio.iter().all(|byte| *byte == 0));
        assert_eq!(folio.phys() % (2 * PAGE_SIZE as u64), 0);
        folio.fill(0xa5);

        assert_eq!(PreservedFolio::new(0).err(), Some(EINVAL));
        assert_eq!(PreservedFolio::new(FOLIO_SIZE_MAX + 1).err(), Some(E2BIG));
        Ok(())
    }

    #[test]
    fn only_whole_pages_are_preserved() -> Result {
        if !is_enabled() {
            return Ok(());
        }

        let area = PreservedVmalloc::new(VVec::zeroed(3 * PAGE_SIZE, GFP_KERNEL)?)?;
        assert_eq!(area.len(), 3 * PAGE_SIZE);
        assert_eq!(area.descriptor().total_pages, 3);
        assert_eq!(area.descriptor().order, 0);

        assert_eq!(PreservedVmalloc::new(VVec::new()).err(), Some(EINVAL));

        let part = VVec::zeroed(PAGE_SIZE - 1, GFP_KERNEL)?;
        assert_eq!(PreservedVmalloc::new(part).err(), Some(EINVAL));

        // There is room for another page, of which nobody knows what is in it.
        let mut room = VVec::with_capacity(2 * PAGE_SIZE, GFP_KERNEL)?;
        room.extend_with(PAGE_SIZE, 0, GFP_KERNEL)?;
        assert_eq!(PreservedVmalloc::new(room).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn subtree_name_is_taken_until_it_is_dropped() -> Result {
        const NAME: &CStr = c"rust-kunit";

        if !is_enabled() {
            return Ok(());
        }

        let subtree = Subtree::add(NAME, PreservedFolio::new(8)?)?;
        assert_eq!(subtree.len(), 8);
        assert_eq!(
            Subtree::add(NAME, PreservedFolio::new(8)?).err(),
            Some(EEXIST)
        );
        drop(subtree);
        Subtree::add(NAME, PreservedFolio::new(8)?)?;

        // What this kernel adds is for the next one.
        assert_eq!(retrieve_subtree(NAME).err(), Some(ENOENT));
        Ok(())
    }
}
