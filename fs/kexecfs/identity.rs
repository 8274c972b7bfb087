// SPDX-License-Identifier: GPL-2.0-only

//! The identity of the superblock of a domain and of its inodes, the same in each kernel: a UUID,
//! and numbers that are used only once.
//!
//! Handles of files are made of them.

use kernel::{
    kho::abi::kexecfs as abi,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    uuid::Uuid, //
};

/// The numbers of inodes that each domain has. They are below [`abi::INO_MIN`].
pub(crate) mod ino {
    pub(crate) const ROOT: u64 = 1;
    pub(crate) const STATE: u64 = 2;
    pub(crate) const ERROR: u64 = 3;
    pub(crate) const FD_PRESERVE: u64 = 4;
    pub(crate) const FD_UNPRESERVE: u64 = 5;
    pub(crate) const FD_RESTORE: u64 = 6;
}

/// The UUID of a superblock, and which numbers its inodes had.
pub(crate) struct Identity {
    uuid: Uuid,
    next_ino: Atomic<u64>,
    local_generation: u32,
}

impl Identity {
    /// That of a new superblock.
    pub(crate) fn new() -> Self {
        Self {
            uuid: Uuid::generate(),
            next_ino: Atomic::new(abi::INO_MIN),
            local_generation: generation_of(&Uuid::generate()),
        }
    }

    /// One that the previous kernel handed over, unless it is illegal.
    pub(crate) fn restore(uuid: [u8; 16], next_ino: u64) -> Option<Self> {
        let uuid = Uuid::from_bytes(uuid);
        let legal = !uuid.is_null() && (abi::INO_MIN..=abi::INO_MAX).contains(&next_ino);

        legal.then(|| Self {
            uuid,
            next_ino: Atomic::new(next_ino),
            local_generation: generation_of(&Uuid::generate()),
        })
    }

    pub(crate) fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    /// The generation of the inodes whose numbers are in [`ino`]: that of the superblock.
    pub(crate) fn generation(&self) -> u32 {
        generation_of(&self.uuid)
    }

    /// The generation of inodes of which the handles end with this kernel. A number that one of
    /// them takes once the domain is prepared is taken again by the next kernel.
    pub(crate) fn local_generation(&self) -> u32 {
        self.local_generation
    }

    /// Which numbers are used: those from [`abi::INO_MIN`] on that are below this.
    pub(crate) fn next_ino(&self) -> u64 {
        self.next_ino.load(Relaxed).min(abi::INO_MAX)
    }

    /// A number for an inode that no other one of the domain has or had.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` if there is none left.
    pub(crate) fn new_ino(&self) -> Result<u64> {
        loop {
            let ino = self.next_ino.fetch_add(1, Relaxed);

            if ino >= abi::INO_MAX {
                return Err(EOVERFLOW);
            }
            // A program with numbers of 32 bits takes it for none, see `is_zero_ino()`.
            if ino & u64::from(u32::MAX) != 0 {
                return Ok(ino);
            }
        }
    }
}

fn generation_of(uuid: &Uuid) -> u32 {
    let [a, b, c, d, ..] = *uuid.as_bytes();

    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_identity)]
mod tests {
    use super::*;

    fn with(next_ino: u64) -> Option<Identity> {
        Identity::restore([7; 16], next_ino)
    }

    #[test]
    fn numbers_are_used_once() -> Result {
        let identity = Identity::new();

        assert_eq!(identity.new_ino()?, abi::INO_MIN);
        assert_eq!(identity.new_ino()?, abi::INO_MIN + 1);
        let next = Identity::restore(*identity.uuid().as_bytes(), identity.next_ino());
        let next = next.ok_or(EINVAL)?;

        assert_eq!(next.uuid(), identity.uuid());
        assert_eq!(next.generation(), identity.generation());
        assert_eq!(next.new_ino()?, abi::INO_MIN + 2);
        Ok(())
    }

    #[test]
    fn numbers_are_not_zero_in_32_bits() -> Result {
        let identity = with(0xffff_ffff).ok_or(EINVAL)?;

        assert_eq!(identity.new_ino()?, 0xffff_ffff);
        assert_eq!(identity.new_ino()?, 0x1_0000_0001);
        Ok(())
    }

    #[test]
    fn numbers_end() -> Result {
        let identity = with(abi::INO_MAX - 1).ok_or(EINVAL)?;

        assert_eq!(identity.new_ino()?, abi::INO_MAX - 1);
        assert_eq!(identity.new_ino(), Err(EOVERFLOW));
        assert_eq!(identity.new_ino(), Err(EOVERFLOW));
        assert_eq!(identity.next_ino(), abi::INO_MAX);
        Ok(())
    }

    #[test]
    fn records_are_legal() {
        assert!(with(abi::INO_MIN).is_some());
        assert!(with(abi::INO_MIN - 1).is_none());
        assert!(with(abi::INO_MAX).is_some());
        assert!(with(abi::INO_MAX + 1).is_none());
        assert!(Identity::restore([0; 16], abi::INO_MIN).is_none());
    }
}
