// SPDX-License-Identifier: GPL-2.0-only

//! Numbers of devices.
//!
//! C headers: [`include/linux/kdev_t.h`](srctree/include/linux/kdev_t.h)

use crate::bindings;

/// The number of a device: a `dev_t`.
///
/// # Examples
///
/// ```
/// use kernel::fs::DevT;
///
/// // A disk: major number 8, minor number 1.
/// let disk = DevT::decode(0x801);
///
/// assert_eq!(disk.encode(), 0x801);
/// assert_ne!(disk, DevT::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevT(bindings::dev_t);

impl DevT {
    /// The device that a number stands for which [`DevT::encode`] has returned, on any kernel
    /// (`new_decode_dev()`).
    #[inline]
    pub fn decode(encoded: u32) -> Self {
        // SAFETY: The function is a calculation with its argument alone.
        Self(unsafe { bindings::new_decode_dev(encoded) })
    }

    /// The number as user space and other kernels know it (`new_encode_dev()`).
    #[inline]
    pub fn encode(self) -> u32 {
        // SAFETY: The function is a calculation with its argument alone.
        unsafe { bindings::new_encode_dev(self.0) }
    }

    #[inline]
    pub(super) const fn from_raw(raw: bindings::dev_t) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) const fn into_raw(self) -> bindings::dev_t {
        self.0
    }
}
