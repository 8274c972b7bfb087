// SPDX-License-Identifier: GPL-2.0-only

//! What is handed over by KHO: the layouts that two kernels agree on.
//!
//! The types here mirror C structs bit by bit, which is checked when the kernel is compiled. Since
//! they can be made from any bytes and turned into bytes by [`FromBytes`] and [`IntoBytes`], their
//! users need no unsafe code to read and write what is handed over. Each of their values is
//! possible, and none of them has been checked in any way.
//!
//! C headers: [`include/linux/kho/abi/`](srctree/include/linux/kho/abi/)

use crate::{
    bindings,
    prelude::*, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

pub mod kexecfs;

/// Asserts that a type has the layout of a C struct: its size, its alignment, and the offset of
/// each of its fields, which are listed by pairs of the Rust name and the C name.
macro_rules! assert_layout {
    ($rust:ty, $c:ty, { $($field:ident: $c_field:ident),* $(,)? }) => {
        static_assert!(::core::mem::size_of::<$rust>() == ::core::mem::size_of::<$c>());
        static_assert!(::core::mem::align_of::<$rust>() == ::core::mem::align_of::<$c>());
        $(static_assert!(
            ::core::mem::offset_of!($rust, $field) == ::core::mem::offset_of!($c, $c_field)
        );)*
    };
}
use assert_layout;

/// A mirror of `struct kho_vmalloc`: the descriptor of a preserved vmalloc area.
///
/// C header:
/// [`include/linux/kho/abi/kexec_handover.h`](srctree/include/linux/kho/abi/kexec_handover.h)
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Vmalloc {
    /// The physical address of the first chunk of page addresses.
    pub first: u64,
    /// The number of pages of the area.
    pub total_pages: u32,
    /// KHO's own flags of the area.
    pub flags: u16,
    /// The order of the blocks of pages of which the area consists.
    pub order: u16,
}

assert_layout!(Vmalloc, bindings::kho_vmalloc, {
    first: first,
    total_pages: total_pages,
    flags: flags,
    order: order,
});
