// SPDX-License-Identifier: GPL-2.0-only

//! Cryptographic functions of the library.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

/// The SHA-256 digest of `data` (`sha256()` in `lib/crypto/sha256.c`).
///
/// Can be called from any context.
///
/// # Examples
///
/// ```
/// use kernel::crypto::sha256;
///
/// assert_eq!(sha256(b"")[..4], [0xe3, 0xb0, 0xc4, 0x42]);
/// ```
#[cfg(CONFIG_CRYPTO_LIB_SHA256)]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut digest = [0; crate::bindings::SHA256_DIGEST_SIZE as usize];

    // SAFETY: `data` is valid for reads of its length, `digest` for writes of the size of a digest.
    unsafe { crate::bindings::sha256(data.as_ptr(), data.len(), digest.as_mut_ptr()) };
    digest
}
