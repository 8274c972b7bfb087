// SPDX-License-Identifier: GPL-2.0-only

//! What the next kernel finds by a name.
//!
//! C headers: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use super::{
    PreservedFolio,
    RestoredFolio, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};
use core::ops::{
    Deref,
    DerefMut, //
};

/// A [`PreservedFolio`] that the next kernel finds by a name.
///
/// What it holds can be changed until the very kexec, also after the image was loaded. When it is
/// dropped the name is gone, and so is the memory.
///
/// # Examples
///
/// ```
/// use kernel::kho::{self, PreservedFolio, Subtree};
///
/// if kho::is_enabled() {
///     let subtree = Subtree::add(c"rust-example", PreservedFolio::new(8)?)?;
///
///     // The next kernel would find it by its name, were it not dropped.
///     drop(subtree);
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `kho_add_subtree()` succeeded for the memory of `folio`.
pub struct Subtree {
    // Drop order: the memory is freed after `drop()` has removed its name.
    folio: PreservedFolio,
}

impl Subtree {
    /// Makes `folio` known under `name`. May sleep.
    ///
    /// # Errors
    ///
    /// - [`EEXIST`] if there is such a name.
    /// - [`ENOMEM`] if there is no room for another name.
    pub fn add(name: &'static CStr, mut folio: PreservedFolio) -> Result<Self> {
        // SAFETY: KHO is in use, or there would be no `PreservedFolio`. The name is copied; that it
        // is static is for C's debugfs entries. The memory is valid for its length, until `drop()`
        // takes it back.
        to_result(unsafe {
            bindings::kho_add_subtree(
                name.as_char_ptr(),
                folio.as_mut_ptr().cast(),
                folio.len(), //
            )
        })?;

        // INVARIANT: The call succeeded.
        Ok(Self { folio })
    }
}

impl Deref for Subtree {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.folio
    }
}

impl DerefMut for Subtree {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.folio
    }
}

impl Drop for Subtree {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is memory that was added.
        unsafe { bindings::kho_remove_subtree(self.folio.as_mut_ptr().cast()) };
    }
}

/// Takes over what the previous kernel made known under `name`, see [`Subtree`].
///
/// This can be done once: then the memory has an owner, and another call gives [`EIO`]. debugfs
/// shows it no longer (`kho_forget_subtree()`).
///
/// May sleep.
///
/// # Errors
///
/// - [`ENOENT`] if there is no such name, or no kernel that handed anything over.
/// - [`EINVAL`] if KHO's own entry for the name is broken.
/// - [`EIO`] if there is no preserved folio where the entry points, or not one of that size.
/// - [`ENOMEM`] if there is not enough memory.
pub fn retrieve_subtree(name: &CStr) -> Result<RestoredFolio> {
    let mut phys = 0;
    let mut size = 0;

    // SAFETY: The name is valid during the call, and the other two can be written to.
    to_result(unsafe {
        bindings::kho_retrieve_subtree(name.as_char_ptr(), &raw mut phys, &raw mut size)
    })?;

    let folio = RestoredFolio::from_phys(phys, size)?;

    // SAFETY: The function accepts all numbers; this one is the address that it is shown under.
    unsafe { bindings::kho_forget_subtree(phys) };
    Ok(folio)
}
