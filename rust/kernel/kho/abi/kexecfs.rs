// SPDX-License-Identifier: GPL-2.0-only

//! kexecfs: the layouts of its handover.
//!
//! The names are those of C without the prefix. What the fields mean, what is reserved and what a
//! reader must check is said in the C header, and only there.
//!
//! C header: [`include/linux/kho/abi/kexecfs.h`](srctree/include/linux/kho/abi/kexecfs.h)

use super::{
    assert_layout,
    Vmalloc, //
};
use crate::{
    bindings,
    prelude::*, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// Turns a bindgen constant, whose type follows from its value, into one of the field's type.
macro_rules! constant {
    ($(#[$attr:meta])* $name:ident: $ty:ty = $c:ident) => {
        $(#[$attr])*
        // CAST: The assertion shows that the value is the same in both types.
        pub const $name: $ty = bindings::$c as $ty;

        static_assert!($name as u64 == bindings::$c as u64);
    };
}

/// Turns a bindgen string into what it is in C. It is only used for constants: a string without a
/// terminating zero, or with another one, does not compile.
const fn c_str(bytes: &'static [u8]) -> &'static CStr {
    match CStr::from_bytes_with_nul(bytes) {
        Ok(c_str) => c_str,
        Err(_) => panic!("not a C string"),
    }
}

/// The name of the KHO subtree, `KEXECFS_KHO_ENTRY_NAME`.
pub const ENTRY_NAME: &CStr = c_str(bindings::KEXECFS_KHO_ENTRY_NAME);

/// The beginning of the names of all LUO sessions of kexecfs, `KEXECFS_SESSION_PREFIX`.
pub const SESSION_PREFIX: &CStr = c_str(bindings::KEXECFS_SESSION_PREFIX);

constant! {
    /// The major version, `KEXECFS_ABI_MAJOR`.
    MAJOR: u16 = KEXECFS_ABI_MAJOR
}
constant! {
    /// The minor version, `KEXECFS_ABI_MINOR`.
    MINOR: u16 = KEXECFS_ABI_MINOR
}
constant! {
    /// The features that have a meaning, `KEXECFS_FEATURES`.
    FEATURES: u64 = KEXECFS_FEATURES
}
constant! {
    /// The magic of [`Root`], `KEXECFS_ROOT_MAGIC`.
    ROOT_MAGIC: u64 = KEXECFS_ROOT_MAGIC
}
constant! {
    /// The seal of a [`Root`] that is valid, `KEXECFS_SEAL_MAGIC`.
    SEAL_MAGIC: u64 = KEXECFS_SEAL_MAGIC
}
constant! {
    /// The greatest length of a domain's or a file's name, `KEXECFS_NAME_MAX`.
    NAME_MAX: usize = KEXECFS_NAME_MAX
}
constant! {
    /// The greatest length of a session's name, `KEXECFS_SESSION_NAME_MAX`.
    SESSION_NAME_MAX: usize = KEXECFS_SESSION_NAME_MAX
}
constant! {
    /// The greatest length of the value of an attribute, `KEXECFS_XATTR_SIZE_MAX`.
    XATTR_SIZE_MAX: usize = KEXECFS_XATTR_SIZE_MAX
}
constant! {
    /// The smallest number of an inode, `KEXECFS_INO_MIN`.
    INO_MIN: u64 = KEXECFS_INO_MIN
}
constant! {
    /// What the number of an inode is below, `KEXECFS_INO_MAX`.
    INO_MAX: u64 = KEXECFS_INO_MAX
}
constant! {
    /// The flag of domains that the kexec has gone on without, `KEXECFS_ENTRY_EXCLUDED`.
    ENTRY_EXCLUDED: u32 = KEXECFS_ENTRY_EXCLUDED
}
constant! {
    /// What the length of a whole record is a multiple of, `KEXECFS_RECORD_ALIGN`.
    RECORD_ALIGN: usize = KEXECFS_RECORD_ALIGN
}
constant! {
    /// The type of a record that holds a [`DomainRecord`], `KEXECFS_RECORD_DOMAIN`.
    RECORD_DOMAIN: u16 = KEXECFS_RECORD_DOMAIN
}
constant! {
    /// The type of a record that holds a [`FileRecord`], `KEXECFS_RECORD_FILE`.
    RECORD_FILE: u16 = KEXECFS_RECORD_FILE
}
constant! {
    /// The type of a record that holds an [`EndRecord`], `KEXECFS_RECORD_END`.
    RECORD_END: u16 = KEXECFS_RECORD_END
}
constant! {
    /// The type of a record that holds an [`InodeRecord`], `KEXECFS_RECORD_INODE`.
    RECORD_INODE: u16 = KEXECFS_RECORD_INODE
}
constant! {
    /// The type of a record that holds a [`NameRecord`], `KEXECFS_RECORD_NAME`.
    RECORD_NAME: u16 = KEXECFS_RECORD_NAME
}
constant! {
    /// The type of a record that holds an [`XattrRecord`], `KEXECFS_RECORD_XATTR`.
    RECORD_XATTR: u16 = KEXECFS_RECORD_XATTR
}
constant! {
    /// The type of a record that holds a [`HugeRecord`], `KEXECFS_RECORD_HUGE`.
    RECORD_HUGE: u16 = KEXECFS_RECORD_HUGE
}
constant! {
    /// The flag of records that no reader may skip, `KEXECFS_RECORD_MUST_UNDERSTAND`.
    RECORD_MUST_UNDERSTAND: u16 = KEXECFS_RECORD_MUST_UNDERSTAND
}

constant! {
    /// The flag of domains that are dropped if they can't be prepared, `KEXECFS_DOMAIN_DROP`.
    DOMAIN_DROP: u32 = KEXECFS_DOMAIN_DROP
}
constant! {
    /// The flag of domains that stay when they are unmounted, `KEXECFS_DOMAIN_PERSIST`.
    DOMAIN_PERSIST: u32 = KEXECFS_DOMAIN_PERSIST
}
constant! {
    /// Huge pages never, `KEXECFS_HUGE_NEVER`.
    HUGE_NEVER: u32 = KEXECFS_HUGE_NEVER
}
constant! {
    /// Huge pages always, `KEXECFS_HUGE_ALWAYS`.
    HUGE_ALWAYS: u32 = KEXECFS_HUGE_ALWAYS
}
constant! {
    /// Huge pages within the size of a file, `KEXECFS_HUGE_WITHIN_SIZE`.
    HUGE_WITHIN_SIZE: u32 = KEXECFS_HUGE_WITHIN_SIZE
}
constant! {
    /// Huge pages on advice, `KEXECFS_HUGE_ADVISE`.
    HUGE_ADVISE: u32 = KEXECFS_HUGE_ADVISE
}
constant! {
    /// The flag of inodes whose contents are a file of LUO, `KEXECFS_INODE_TOKEN`.
    INODE_TOKEN: u32 = KEXECFS_INODE_TOKEN
}

// LUO's names have a terminating zero.
static_assert!(SESSION_NAME_MAX < bindings::LIVEUPDATE_SESSION_NAME_LENGTH as usize);

/// A mirror of `struct kexecfs_features`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct Features {
    pub supported: u64,
    pub required: u64,
    pub active: u64,
}

assert_layout!(Features, bindings::kexecfs_features, {
    supported: supported,
    required: required,
    active: active,
});

/// A mirror of `struct kexecfs_root`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct Root {
    pub magic: u64,
    pub major: u16,
    pub minor: u16,
    pub reserved: u32,
    pub features: Features,
    pub count: u64,
    pub seal: u64,
    pub index: Vmalloc,
}

assert_layout!(Root, bindings::kexecfs_root, {
    magic: magic,
    major: major,
    minor: minor,
    reserved: reserved,
    features: features,
    count: count,
    seal: seal,
    index: index,
});

/// A mirror of `struct kexecfs_index_entry`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct IndexEntry {
    pub len: u64,
    pub flags: u32,
    pub reserved: u32,
    pub stream: Vmalloc,
}

assert_layout!(IndexEntry, bindings::kexecfs_index_entry, {
    len: len,
    flags: flags,
    reserved: reserved,
    stream: stream,
});

/// A mirror of `struct kexecfs_record`. Its `type` is called `kind` here, as `type` is a keyword.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct Record {
    pub len: u32,
    pub kind: u16,
    pub flags: u16,
}

assert_layout!(Record, bindings::kexecfs_record, {
    len: len,
    kind: type_,
    flags: flags,
});

/// A mirror of `struct kexecfs_domain_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct DomainRecord {
    pub features: Features,
    pub uuid: [u8; 16],
    pub next_ino: u64,
    pub size: u64,
    pub nr_inodes: u64,
    pub waited: u64,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub max_fds: u32,
    pub name_len: u16,
    pub session_len: u16,
    pub flags: u32,
}

assert_layout!(DomainRecord, bindings::kexecfs_domain_record, {
    features: features,
    uuid: uuid,
    next_ino: next_ino,
    size: size,
    nr_inodes: nr_inodes,
    waited: waited,
    uid: uid,
    gid: gid,
    mode: mode,
    max_fds: max_fds,
    name_len: name_len,
    session_len: session_len,
    flags: flags,
});

/// A mirror of `struct kexecfs_huge_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct HugeRecord {
    pub huge: u32,
    pub reserved: u32,
}

assert_layout!(HugeRecord, bindings::kexecfs_huge_record, {
    huge: huge,
    reserved: reserved,
});

/// A mirror of `struct kexecfs_file_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct FileRecord {
    pub token: u64,
    pub size: u64,
    pub name_len: u16,
    pub reserved: [u16; 3],
}

assert_layout!(FileRecord, bindings::kexecfs_file_record, {
    token: token,
    size: size,
    name_len: name_len,
    reserved: reserved,
});

/// A mirror of `struct kexecfs_end_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct EndRecord {
    pub count: u32,
    pub reserved: u32,
}

assert_layout!(EndRecord, bindings::kexecfs_end_record, {
    count: count,
    reserved: reserved,
});

/// A mirror of `struct kexecfs_inode_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct InodeRecord {
    pub size: u64,
    pub token: u64,
    pub ino: u64,
    pub atime_sec: i64,
    pub mtime_sec: i64,
    pub ctime_sec: i64,
    pub btime_sec: i64,
    pub atime_nsec: u32,
    pub mtime_nsec: u32,
    pub ctime_nsec: u32,
    pub btime_nsec: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub rdev: u32,
    pub generation: u32,
    pub fa_flags: u32,
    pub flags: u32,
    pub reserved: u32,
}

assert_layout!(InodeRecord, bindings::kexecfs_inode_record, {
    size: size,
    token: token,
    ino: ino,
    atime_sec: atime_sec,
    mtime_sec: mtime_sec,
    ctime_sec: ctime_sec,
    btime_sec: btime_sec,
    atime_nsec: atime_nsec,
    mtime_nsec: mtime_nsec,
    ctime_nsec: ctime_nsec,
    btime_nsec: btime_nsec,
    uid: uid,
    gid: gid,
    mode: mode,
    rdev: rdev,
    generation: generation,
    fa_flags: fa_flags,
    flags: flags,
    reserved: reserved,
});

/// A mirror of `struct kexecfs_name_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct NameRecord {
    pub parent: u32,
    pub inode: u32,
}

assert_layout!(NameRecord, bindings::kexecfs_name_record, {
    parent: parent,
    inode: inode,
});

/// A mirror of `struct kexecfs_xattr_record`.
#[repr(C)]
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[expect(missing_docs, reason = "the fields are documented in the C header")]
pub struct XattrRecord {
    pub inode: u32,
    pub name_len: u16,
    pub reserved: u16,
}

assert_layout!(XattrRecord, bindings::kexecfs_xattr_record, {
    inode: inode,
    name_len: name_len,
    reserved: reserved,
});
