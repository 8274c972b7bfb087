// SPDX-License-Identifier: GPL-2.0-only

//! UUIDs.
//!
//! C headers: [`include/linux/uuid.h`](srctree/include/linux/uuid.h)

use crate::bindings;

/// A `uuid_t`.
///
/// # Examples
///
/// ```
/// use kernel::uuid::Uuid;
///
/// let uuid = Uuid::generate();
///
/// assert!(!uuid.is_null());
/// assert_ne!(uuid, Uuid::generate());
/// assert!(Uuid::from_bytes([0; 16]).is_null());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// A random one, of version 4 (`uuid_gen()`).
    pub fn generate() -> Self {
        let mut uuid = bindings::uuid_t { b: [0; 16] };

        // SAFETY: The function writes a `uuid_t`.
        unsafe { bindings::uuid_gen(&raw mut uuid) };
        Self(uuid.b)
    }

    /// The one with the given bytes, in the order of `uuid_t`.
    #[inline]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, in the order of `uuid_t`.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether all bytes are zero (`uuid_is_null()`), as in no UUID that was
    /// [generated](Self::generate).
    #[inline]
    pub fn is_null(&self) -> bool {
        self.0 == [0; 16]
    }
}
