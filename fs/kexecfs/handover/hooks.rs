// SPDX-License-Identifier: GPL-2.0-only

//! Hooks by which tests change the handover.
//!
//! Without `CONFIG_KEXECFS_TEST` they are constants that do nothing, and compile to nothing.

use kernel::kho::abi::kexecfs as abi;
#[cfg(CONFIG_KEXECFS_TEST)]
use kernel::sync::SetOnce;

/// Functions that are called before a structure is handed over.
///
/// They may run in a reboot, under the locks that it needs.
pub(crate) struct Hooks {
    /// Changes the root.
    pub(crate) root: fn(&mut abi::Root),
    /// Changes the record of a domain.
    pub(crate) domain: fn(&mut abi::DomainRecord),
    /// Changes the index, an array of [`abi::IndexEntry`].
    pub(crate) index: fn(&mut [u8]),
    /// Changes the stream of a domain.
    pub(crate) stream: fn(&mut [u8]),
    /// The type and the flags of a further record for each domain.
    pub(crate) unknown_record: fn() -> Option<(u16, u16)>,
}

const NONE: Hooks = Hooks {
    root: |_| {},
    domain: |_| {},
    index: |_| {},
    stream: |_| {},
    unknown_record: || None,
};

#[cfg(CONFIG_KEXECFS_TEST)]
static HOOKS: SetOnce<Hooks> = SetOnce::new();

#[cfg(CONFIG_KEXECFS_TEST)]
impl Hooks {
    /// Puts the hooks in place, for good.
    pub(crate) fn set(self) {
        HOOKS.populate(self);
    }
}

/// The hooks that are in place.
#[cfg(CONFIG_KEXECFS_TEST)]
pub(super) fn hooks() -> &'static Hooks {
    HOOKS.as_ref().unwrap_or(&NONE)
}

/// The hooks that are in place: none.
#[cfg(not(CONFIG_KEXECFS_TEST))]
#[inline(always)]
pub(super) fn hooks() -> &'static Hooks {
    &NONE
}
