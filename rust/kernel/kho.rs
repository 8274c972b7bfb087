// SPDX-License-Identifier: GPL-2.0-only

//! Kexec Handover (KHO).
//!
//! KHO lets memory live on in the next kernel when a kexec starts it. In the kernel that hands
//! over, [`PreservedFolio`] and [`PreservedVmalloc`] are memory that will be kept, and a
//! [`Subtree`] is what the next kernel finds by a name. In the next kernel, [`retrieve_subtree`]
//! finds it again, and [`RestoredFolio`] and [`RestoredVmalloc`] are what the addresses in it stand
//! for.
//!
//! Everything here is available from `device_initcall` (level 6) on, which is when the modules that
//! are built in are initialized: KHO itself is set up by then, and all of the memory map is.
//!
//! Not supported: handing on the folios of others (`kho_preserve_folio()`), contiguous pages that
//! are no folio (`kho_preserve_pages()`), and KHO serialization blocks.
//!
//! C headers: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h),
//! [`include/linux/kho/abi/kexec_handover.h`](srctree/include/linux/kho/abi/kexec_handover.h)

use crate::{
    alloc::VVec,
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Mutex,
        SetOnce, //
    },
};
use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
};

pub mod abi;

mod subtree;
pub use self::subtree::{
    retrieve_subtree,
    Subtree, //
};

#[cfg(CONFIG_RUST_KHO_KUNIT_TEST)]
mod tests;

/// The greatest size of a folio.
const FOLIO_SIZE_MAX: usize = PAGE_SIZE << bindings::MAX_PAGE_ORDER;

/// Returns whether KHO is in use, as it was set up on the kernel's command line.
#[inline]
pub fn is_enabled() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::kho_is_enabled() }
}

/// Returns the order of the smallest folio of at least `size` bytes, if there can be one.
///
/// This is `get_order()` with the limits of folios.
const fn order_of(size: usize) -> Option<u32> {
    if size == 0 || size > FOLIO_SIZE_MAX {
        return None;
    }
    Some(
        size.div_ceil(PAGE_SIZE)
            .next_power_of_two()
            .trailing_zeros(),
    )
}

/// Returns the lock under which what was handed over is checked and then taken.
///
/// KHO has no lock of its own: that a page waits to be restored is a mark on the page, which is
/// looked at first and taken away later, by one of the callers. The others get a warning in the
/// log, which this lock spares two threads that follow the same address; it says nothing about C.
///
/// The lock is made when it is first needed, as a static [`Mutex`] cannot be initialized without
/// its users' help.
fn restore_lock() -> Result<&'static Mutex<()>> {
    static LOCK: SetOnce<Pin<KBox<Mutex<()>>>> = SetOnce::new();

    loop {
        if let Some(lock) = LOCK.as_ref() {
            return Ok(lock);
        }

        // This fails if another thread is just doing the same; then theirs is there in a moment.
        LOCK.populate(KBox::pin_init(
            new_mutex!((), "kho::restore_lock"),
            GFP_KERNEL,
        )?);
    }
}

/// Memory of this kernel that is preserved for the next one: a folio, found by its physical
/// address.
///
/// When it is dropped the memory is neither preserved any more nor allocated.
///
/// # Examples
///
/// ```
/// use kernel::kho::{self, PreservedFolio};
///
/// if kho::is_enabled() {
///     let mut folio = PreservedFolio::new(8)?;
///
///     folio.copy_from_slice(b"for next");
///     assert_ne!(folio.phys(), 0);
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `data` is memory that `kho_alloc_preserve()` returned, which this object owns.
pub struct PreservedFolio {
    data: NonNull<[u8]>,
}

// SAFETY: The memory belongs to no thread, and `kho_unpreserve_free()` can be called by any.
unsafe impl Send for PreservedFolio {}

// SAFETY: Through a shared reference the memory can only be read.
unsafe impl Sync for PreservedFolio {}

impl PreservedFolio {
    /// Allocates and preserves `size` bytes, which are all zero.
    ///
    /// They are preserved at once, and so are the zeroes that follow them up to the end of the
    /// folio, whose order is the smallest that suffices. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if KHO is not in use.
    /// - [`EINVAL`] if `size` is zero, [`E2BIG`] if no folio is that large.
    /// - [`ENOMEM`] if there is not enough memory.
    pub fn new(size: usize) -> Result<Self> {
        if !is_enabled() {
            return Err(EOPNOTSUPP);
        }

        // SAFETY: KHO is in use, so that its tables exist; the function accepts every size.
        let ptr = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size) })?;
        let ptr = NonNull::new(ptr.cast::<u8>()).ok_or(ENOMEM)?;

        // INVARIANT: We just got it, and it has at least `size` bytes, which are initialized.
        Ok(Self {
            data: NonNull::slice_from_raw_parts(ptr, size),
        })
    }

    /// Returns the physical address, by which the next kernel can find the memory.
    #[inline]
    pub fn phys(&self) -> u64 {
        // SAFETY: By the type invariants this is an address of the direct map.
        unsafe { bindings::virt_to_phys(self.data.as_ptr().cast()) }
    }
}

impl Deref for PreservedFolio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants the memory is ours, and it has been initialized.
        unsafe { self.data.as_ref() }
    }
}

impl DerefMut for PreservedFolio {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the type invariants the memory is ours, and it has been initialized.
        unsafe { self.data.as_mut() }
    }
}

impl Drop for PreservedFolio {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is what `kho_alloc_preserve()` returned, and nobody
        // uses it any more.
        unsafe { bindings::kho_unpreserve_free(self.data.as_ptr().cast()) };
    }
}

/// Memory of this kernel that is preserved for the next one: a vmalloc area, found by a descriptor.
///
/// When it is dropped the memory is neither preserved any more nor allocated.
///
/// # Examples
///
/// ```
/// use kernel::{
///     alloc::VVec,
///     kho::{self, PreservedVmalloc},
///     page::PAGE_SIZE,
/// };
///
/// if kho::is_enabled() {
///     let area = PreservedVmalloc::new(VVec::zeroed(2 * PAGE_SIZE, GFP_KERNEL)?)?;
///
///     assert_eq!(area.descriptor().total_pages, 2);
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `descriptor` was filled in by a successful `kho_preserve_vmalloc()` for the area of `buf`, and
/// `buf` is initialized in the whole length of that area.
pub struct PreservedVmalloc {
    descriptor: abi::Vmalloc,
    // Drop order: the area is freed after `drop()` has unpreserved it.
    buf: VVec<u8>,
}

impl PreservedVmalloc {
    /// Preserves the memory of `buf`.
    ///
    /// Only whole pages can be preserved, so `buf` has to consist of them: its length must be a
    /// multiple of the page size, and there must be no room behind it. A `VVec::zeroed()` of such a
    /// length is like that. Stale bytes behind it, of the last owner of the page, would be handed
    /// over too.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if KHO is not in use.
    /// - [`EINVAL`] if `buf` is empty or does not consist of whole pages.
    /// - [`ENOMEM`] if there is not enough memory.
    pub fn new(mut buf: VVec<u8>) -> Result<Self> {
        if !is_enabled() {
            return Err(EOPNOTSUPP);
        }
        if buf.is_empty() || buf.len() % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }

        // All zero: where it fails half way, `kho_preserve_vmalloc()` reads the order before it has
        // written it. Zero is the order of what `Vmalloc` allocates.
        let mut descriptor = abi::Vmalloc::default();

        // SAFETY: KHO is in use, so that its tables exist.
        // - `buf` is not empty, so its pointer is that of a vmalloc area, and the area stays as it
        //   is as long as it is preserved, since we own it.
        // - `abi::Vmalloc` has the layout of `struct kho_vmalloc`.
        to_result(unsafe {
            bindings::kho_preserve_vmalloc(
                buf.as_mut_ptr().cast(),
                (&raw mut descriptor).cast(), //
            )
        })?;

        // INVARIANT: The call succeeded. The rest of the invariant is checked before anyone else
        // sees the object; what only `drop()` needs holds already.
        let this = Self { descriptor, buf };

        // CAST: `usize` has 64 bits where there is KHO.
        if this.descriptor.total_pages as usize != this.buf.len() / PAGE_SIZE {
            return Err(EINVAL);
        }
        Ok(this)
    }

    /// Returns the descriptor, by which the next kernel can find the memory.
    #[inline]
    pub fn descriptor(&self) -> abi::Vmalloc {
        self.descriptor
    }
}

impl Deref for PreservedVmalloc {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buf
    }
}

impl DerefMut for PreservedVmalloc {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }
}

impl Drop for PreservedVmalloc {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is the descriptor of a preserved area, and
        // `abi::Vmalloc` has the layout of `struct kho_vmalloc`. Nobody uses it any more.
        unsafe { bindings::kho_unpreserve_vmalloc((&raw mut self.descriptor).cast()) };
    }
}

/// A folio that the previous kernel preserved with `kho_alloc_preserve()`; here,
/// [`PreservedFolio`].
///
/// It is this kernel's own as soon as this object exists. When it is dropped the memory is freed.
///
/// # Examples
///
/// ```
/// use kernel::kho::{self, RestoredFolio};
///
/// /// The first byte that the previous kernel made known under a name.
/// fn first_byte(name: &CStr) -> Result<u8> {
///     let folio: RestoredFolio = kho::retrieve_subtree(name)?;
///
///     folio.first().copied().ok_or(EIO)
/// }
/// ```
///
/// # Invariants
///
/// This object owns a reference of `folio`, the only one, and `data` lies in it.
pub struct RestoredFolio {
    folio: NonNull<bindings::folio>,
    data: NonNull<[u8]>,
}

// SAFETY: The memory belongs to no thread, and `folio_put()` can be called by any.
unsafe impl Send for RestoredFolio {}

// SAFETY: Through a shared reference the memory can only be read.
unsafe impl Sync for RestoredFolio {}

impl RestoredFolio {
    /// Takes over the `size` bytes that the previous kernel preserved at `phys`.
    ///
    /// Both numbers may come from that kernel and be wrong: only the beginning of what was
    /// preserved with just the order that `size` has, and was not restored yet, is taken. What C
    /// uses where it lies doesn't count as preserved any more (`kho_use_in_place()`).
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if there is no such folio.
    /// - [`ENOMEM`] if there is not enough memory (for a lock; only the first time).
    fn from_phys(phys: u64, size: usize) -> Result<Self> {
        let order = order_of(size).ok_or(EIO)?;
        let folio = {
            let _guard = restore_lock()?.lock();

            // SAFETY: The function accepts all numbers.
            if !unsafe { bindings::kho_is_restorable(phys, order) } {
                return Err(EIO);
            }

            // SAFETY: The function accepts all numbers. It takes the mark of a folio away in one
            // step, and fails if C has done so since the check: there is one owner.
            unsafe { bindings::kho_restore_folio(phys) }
        };
        let folio = NonNull::new(folio).ok_or(EIO)?;

        // SAFETY: The folio is valid. It is not in high memory, as there is none where there is
        // KHO.
        let ptr = unsafe { bindings::folio_address(folio.as_ptr()) };
        let ptr = NonNull::new(ptr.cast::<u8>()).ok_or(EIO)?;

        // INVARIANT: A restored folio has one reference, which is ours. Its order is that of
        // `size`.
        Ok(Self {
            folio,
            data: NonNull::slice_from_raw_parts(ptr, size),
        })
    }
}

impl Deref for RestoredFolio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants the memory is ours. All of it counts as initialized, as
        // whatever is in it was written before this kernel began.
        unsafe { self.data.as_ref() }
    }
}

impl Drop for RestoredFolio {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own this reference.
        unsafe { bindings::folio_put(self.folio.as_ptr()) };
    }
}

/// Memory that came from the previous kernel and is this one's own: [`RestoredFolio`] and
/// [`RestoredVmalloc`].
///
/// Nobody can change what is in it.
///
/// # Examples
///
/// ```
/// use kernel::kho::Restored;
///
/// fn is_empty(memory: &impl Restored) -> bool {
///     memory.iter().all(|byte| *byte == 0)
/// }
/// ```
pub trait Restored: Deref<Target = [u8]> + private::Sealed {}

impl Restored for RestoredFolio {}
impl Restored for RestoredVmalloc {}

mod private {
    pub trait Sealed {}

    impl Sealed for super::RestoredFolio {}
    impl Sealed for super::RestoredVmalloc {}
}

/// A vmalloc area that the previous kernel preserved with `kho_preserve_vmalloc()`; here,
/// [`PreservedVmalloc`].
///
/// It is mapped again, at another address. When it is dropped the memory is freed.
///
/// # Examples
///
/// ```
/// use kernel::kho::{Restored, RestoredVmalloc};
///
/// /// The area whose descriptor is at the beginning of `memory`.
/// fn area(memory: &impl Restored) -> Result<RestoredVmalloc> {
///     RestoredVmalloc::new(memory, 0)
/// }
/// ```
///
/// # Invariants
///
/// `data` is a whole vmalloc area that `kho_restore_vmalloc()` returned, which this object owns.
pub struct RestoredVmalloc {
    data: NonNull<[u8]>,
}

// SAFETY: The memory belongs to no thread, and `vfree()` can be called by any.
unsafe impl Send for RestoredVmalloc {}

// SAFETY: Through a shared reference the memory can only be read.
unsafe impl Sync for RestoredVmalloc {}

impl RestoredVmalloc {
    /// Takes over the area whose descriptor the previous kernel has written to `offset` in `memory`
    /// (an [`abi::Vmalloc`]), in the whole length that it had.
    ///
    /// The descriptor may be wrong: all that it leads to is checked first, and claimed before it is
    /// mapped.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - [`EIO`] if there is no descriptor at `offset`, or not that of a preserved area none of
    ///   which was restored yet.
    /// - [`ENOMEM`] if there is not enough memory.
    pub fn new(memory: &impl Restored, offset: usize) -> Result<Self> {
        let bytes = memory.get(offset..).ok_or(EIO)?;
        let (descriptor, _) = abi::Vmalloc::read_from_prefix(bytes).map_err(|_| EIO)?;

        Self::restore(&descriptor)
    }

    /// Takes over the area of a descriptor, see [`RestoredVmalloc::new`].
    fn restore(descriptor: &abi::Vmalloc) -> Result<Self> {
        let raw = core::ptr::from_ref(descriptor).cast::<bindings::kho_vmalloc>();
        let ptr = {
            let _guard = restore_lock()?.lock();

            // SAFETY: `abi::Vmalloc` has the layout of `struct kho_vmalloc`. The function accepts
            // all values in it.
            if !unsafe { bindings::kho_vmalloc_is_restorable(raw) } {
                return Err(EIO);
            }

            // SAFETY: `abi::Vmalloc` has the layout of `struct kho_vmalloc`. The function claims
            // each page before it maps any, and fails if one is claimed already: there is one
            // owner.
            unsafe { bindings::kho_restore_vmalloc(raw) }
        };
        let ptr = NonNull::new(ptr.cast::<u8>()).ok_or(ENOMEM)?;

        // INVARIANT: We just got it, and it has this length.
        // CAST: `usize` has 64 bits where there is KHO.
        // OVERFLOW: An area of that many pages exists.
        let len = descriptor.total_pages as usize * PAGE_SIZE;
        Ok(Self {
            data: NonNull::slice_from_raw_parts(ptr, len),
        })
    }
}

impl Deref for RestoredVmalloc {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariants the memory is ours. All of it counts as initialized, as
        // whatever is in it was written before this kernel began.
        unsafe { self.data.as_ref() }
    }
}

impl Drop for RestoredVmalloc {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is a vmalloc area, and nobody uses it any more.
        unsafe { bindings::vfree(self.data.as_ptr().cast()) };
    }
}
