// SPDX-License-Identifier: GPL-2.0-only

//! `data/`, from the previous kernel.

use super::writer::Writer;
use crate::{
    space::{
        bytes_of,
        bytes_of_link, //
    },
    words::name::Name, //
};
use kernel::{
    alloc::AllocError,
    fs::{
        acl::{Acl, AclType},
        DevT,
        FileType,
        Mode,
        Times,
        Timespec, //
    },
    kho::{
        abi::kexecfs as abi,
        RestoredVmalloc, //
    },
    prelude::*,
    rbtree::RBTree,
    task::{
        Kgid,
        Kuid, //
    },
};

/// The greatest length of what a symbolic link points at (`PATH_MAX` without the zero).
const LINK_MAX: usize = 4095;

pub(super) type Checked<T> = Result<T, (&'static str, Error)>;

fn no_memory(_: AllocError) -> (&'static str, Error) {
    ("no memory", ENOMEM)
}

/// A record of any type.
pub(super) struct Frame<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) payload: &'a [u8],
    /// Where the payload lies in the stream.
    pub(super) at: usize,
    /// Where the next record begins.
    pub(super) end: usize,
}

impl<'a> Frame<'a> {
    /// Reads the record that begins at `at`.
    pub(super) fn read(stream: &'a [u8], at: usize) -> Checked<Self> {
        let (header, rest) = stream
            .get(at..)
            .and_then(|rest| abi::Record::ref_from_prefix(rest).ok())
            .ok_or(("it ends without a record of the end", EIO))?;
        let too_long = ("a record is longer than the stream", EIO);
        let len = usize::try_from(header.len).map_err(|_| too_long)?;
        let (payload, padding) = len
            .checked_next_multiple_of(abi::RECORD_ALIGN)
            .and_then(|padded| rest.get(..padded)?.split_at_checked(len))
            .ok_or(too_long)?;
        let at = at + size_of::<abi::Record>();

        if padding.iter().any(|&byte| byte != 0) {
            return Err(("something follows a record", EIO));
        }
        Ok(Self {
            kind: header.kind,
            flags: header.flags,
            payload,
            at,
            end: at + len + padding.len(),
        })
    }
}

/// Where a payload lies in the stream.
#[derive(Clone, Copy)]
struct Span {
    at: usize,
    len: usize,
}

impl Span {
    fn of<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        stream.get(self.at..)?.get(..self.len)
    }
}

/// Where all the records of a tree lie.
#[derive(Default)]
pub(crate) struct Index {
    inodes: KVVec<InodeEntry>,
    names: KVVec<Span>,
    xattrs: KVVec<Span>,
    /// How many bytes the files count.
    bytes: u64,
}

struct InodeEntry {
    span: Span,
    mode: Mode,
    /// How many names it has.
    links: u32,
    /// Where its further attributes lie.
    attr: Option<Span>,
}

impl Index {
    /// Whether there is no tree.
    pub(crate) fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    /// Checks the record of an inode, and returns its token if it has one.
    pub(crate) fn add_inode(&mut self, payload: &[u8], at: usize) -> Checked<Option<u64>> {
        let inode = IncomingInode::read(payload)?;
        let entry = InodeEntry {
            span: Span {
                at,
                len: payload.len(),
            },
            mode: inode.mode,
            links: 0,
            attr: None,
        };

        if self.is_empty() && !entry.mode.is_dir() {
            return Err(("data/ is no directory", EIO));
        }
        u32::try_from(self.inodes.len()).map_err(|_| ("there are too many inodes", EIO))?;
        self.bytes = self.bytes.saturating_add(match inode.kind {
            IncomingKind::Link(target) => bytes_of_link(target),
            _ => bytes_of(inode.size, 0),
        });
        self.inodes.push(entry, GFP_KERNEL).map_err(no_memory)?;
        Ok(match inode.kind {
            IncomingKind::Token(token) => Some(token),
            _ => None,
        })
    }

    /// Checks the record of a name.
    pub(crate) fn add_name(&mut self, payload: &[u8], at: usize) -> Checked<()> {
        let name = IncomingName::read(payload).ok_or(("the record of a name is too short", EIO))?;
        let (parent, number) = (name.parent as usize, name.inode as usize);

        Name::of_entry(name.name).map_err(|e| {
            if e == EINVAL {
                ("a name in data/ is illegal", EIO)
            } else {
                ("no memory", e)
            }
        })?;
        match self.inodes.get(parent) {
            Some(dir) if dir.mode.is_dir() && (parent == 0 || dir.links != 0) => {}
            _ => return Err(("a name in data/ is in no directory", EIO)),
        }
        let inode = match self.inodes.get_mut(number) {
            Some(inode) if number != 0 => inode,
            _ => return Err(("a name in data/ names no inode", EIO)),
        };
        if inode.mode.is_dir() && (inode.links != 0 || parent >= number) {
            return Err(("a directory has two names, or is within itself", EIO));
        }
        inode.links = inode
            .links
            .checked_add(1)
            .ok_or(("an inode has too many names", EIO))?;
        let span = Span {
            at,
            len: payload.len(),
        };
        self.names.push(span, GFP_KERNEL).map_err(no_memory)
    }

    /// Checks the record of an extended attribute.
    pub(crate) fn add_xattr(&mut self, payload: &[u8], at: usize) -> Checked<()> {
        let xattr =
            IncomingXattr::read(payload).ok_or(("the record of an xattr is too short", EIO))?;
        let is_legal = XATTR_PREFIXES.iter().any(|prefix| {
            xattr
                .name
                .strip_prefix(*prefix)
                .is_some_and(|rest| !rest.is_empty() && !rest.contains(&0))
        });

        let acl = AclType::from_name(xattr.name);

        if !is_legal && acl.is_none() || xattr.name.len() > abi::NAME_MAX {
            return Err(("the name of an xattr is illegal", EIO));
        }
        if xattr.value.len() > abi::XATTR_SIZE_MAX {
            return Err(("an xattr is too large", EIO));
        }
        let inode = self
            .inodes
            .get(xattr.inode as usize)
            .ok_or(("an xattr is of no inode", EIO))?;

        if let Some(which) = acl {
            check_acl(inode.mode, which, xattr.value)?;
        }
        let span = Span {
            at,
            len: payload.len(),
        };

        self.xattrs.push(span, GFP_KERNEL).map_err(no_memory)
    }

    /// Checks the record of further attributes of an inode, whose number is below `next_ino`.
    pub(crate) fn add_attr(
        &mut self,
        payload: &[u8],
        at: usize,
        next_ino: Option<u64>,
    ) -> Checked<()> {
        let (record, _) = abi::AttrRecord::ref_from_prefix(payload)
            .map_err(|_| ("the record of attributes is too short", EIO))?;
        let inode = self
            .inodes
            .get_mut(record.inode as usize)
            .ok_or(("attributes are of no inode", EIO))?;
        let next_ino = next_ino.ok_or(("there is no record of the superblock", EIO))?;

        if record.btime_nsec >= 1_000_000_000 {
            return Err(("an inode has an illegal time", EIO));
        }
        if !(abi::INO_MIN..next_ino).contains(&record.ino) {
            return Err(("an inode has an illegal number", EIO));
        }
        let span = Span {
            at,
            len: payload.len(),
        };

        match inode.attr.replace(span) {
            Some(_) => Err(("an inode has two records of attributes", EIO)),
            None => Ok(()),
        }
    }

    /// Checks what can only be checked at the end of `stream`.
    pub(crate) fn check(&self, stream: &[u8]) -> Checked<()> {
        if self.inodes.iter().skip(1).any(|inode| inode.links == 0) {
            return Err(("an inode has no name", EIO));
        }
        if has_twins(&self.names, |span| {
            IncomingName::read(span.of(stream)?).map(|link| (link.parent, link.name))
        })? {
            return Err(("two in a directory have the same name", EIO));
        }
        if has_twins(&self.xattrs, |span| {
            IncomingXattr::read(span.of(stream)?).map(|xattr| (xattr.inode, xattr.name))
        })? {
            return Err(("an inode has two xattrs of the same name", EIO));
        }
        self.check_inos(stream)
    }

    /// Checks that no two inodes have the same number.
    fn check_inos(&self, stream: &[u8]) -> Checked<()> {
        let mut inos = RBTree::new();
        let spans = self.inodes.iter().filter_map(|inode| inode.attr);

        for attr in spans.filter_map(|span| IncomingAttr::read(span.of(stream)?)) {
            let twin = inos
                .try_create_and_insert(attr.ino, (), GFP_KERNEL)
                .map_err(|e| ("no memory", e))?;

            if twin.is_some() {
                return Err(("two inodes have the same number", EIO));
            }
        }
        Ok(())
    }
}

/// Whether two of `spans` have the same key.
fn has_twins<'a>(spans: &[Span], key: impl Fn(&Span) -> Option<(u32, &'a [u8])>) -> Checked<bool> {
    // Not by a sort of `core`: that recurses, as deep as the order of the keys makes it.
    let mut keys = RBTree::new();

    for key in spans.iter().filter_map(key) {
        let twin = keys
            .try_create_and_insert(key, (), GFP_KERNEL)
            .map_err(|e| ("no memory", e))?;

        if twin.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an inode is.
#[derive(Clone, Copy)]
pub(crate) enum IncomingKind<'a> {
    Directory,
    /// A regular file with these contents.
    Packed(&'a [u8]),
    /// A regular file whose contents LUO has under this token.
    Token(u64),
    /// A symbolic link to this.
    Link(&'a [u8]),
    /// A pipe, a socket or a device node.
    Special,
}

/// An inode.
pub(crate) struct IncomingInode<'a> {
    pub(crate) kind: IncomingKind<'a>,
    pub(crate) mode: Mode,
    pub(crate) uid: Kuid,
    pub(crate) gid: Kgid,
    pub(crate) size: u64,
    pub(crate) rdev: DevT,
    pub(crate) times: Times,
}

impl<'a> IncomingInode<'a> {
    fn read(payload: &'a [u8]) -> Checked<Self> {
        let (record, rest) = abi::InodeRecord::ref_from_prefix(payload)
            .map_err(|_| ("the record of an inode is too short", EIO))?;
        let mode = u16::try_from(record.mode)
            .ok()
            .and_then(Mode::decode)
            .ok_or(("an inode has no known type", EIO))?;
        let size = usize::try_from(record.size).ok();
        let token = record.flags & abi::INODE_TOKEN != 0;
        let wrong = ("an inode has another size than its contents", EIO);
        let kind = match mode.file_type() {
            Some(FileType::Reg) if token => {
                if !rest.is_empty() && Some(rest.len()) != size || record.size > i64::MAX as u64 {
                    return Err(wrong);
                }
                IncomingKind::Token(record.token)
            }
            Some(FileType::Reg) if Some(rest.len()) == size => IncomingKind::Packed(rest),
            Some(FileType::Lnk) if record.size == 0 => {
                if rest.is_empty() || rest.len() > LINK_MAX || rest.contains(&0) {
                    return Err(("a symbolic link in data/ is illegal", EIO));
                }
                IncomingKind::Link(rest)
            }
            Some(FileType::Dir) if rest.is_empty() && record.size == 0 => IncomingKind::Directory,
            Some(FileType::Reg | FileType::Lnk | FileType::Dir) | None => return Err(wrong),
            Some(_) if rest.is_empty() && record.size == 0 => IncomingKind::Special,
            Some(_) => return Err(wrong),
        };
        let time = |sec, nsec| {
            (nsec < 1_000_000_000)
                .then_some(Timespec { sec, nsec })
                .ok_or(("an inode has an illegal time", EIO))
        };

        Ok(Self {
            kind,
            mode,
            uid: Kuid::from_val(record.uid).ok_or(("an inode has an illegal owner", EIO))?,
            gid: Kgid::from_val(record.gid).ok_or(("an inode has an illegal group", EIO))?,
            size: record.size,
            rdev: DevT::decode(record.rdev),
            times: Times {
                atime: time(record.atime_sec, record.atime_nsec)?,
                mtime: time(record.mtime_sec, record.mtime_nsec)?,
                ctime: time(record.ctime_sec, record.ctime_nsec)?,
            },
        })
    }
}

/// A name of an inode.
pub(crate) struct IncomingName<'a> {
    pub(crate) parent: u32,
    pub(crate) inode: u32,
    pub(crate) name: &'a [u8],
}

impl<'a> IncomingName<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let (record, name) = abi::NameRecord::ref_from_prefix(payload).ok()?;

        Some(Self {
            parent: record.parent,
            inode: record.inode,
            name,
        })
    }
}

/// The beginnings of the names of extended attributes that are handed over, but for ACLs.
const XATTR_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// An extended attribute of an inode.
pub(crate) struct IncomingXattr<'a> {
    pub(crate) inode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> IncomingXattr<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let (record, rest) = abi::XattrRecord::ref_from_prefix(payload).ok()?;
        let (name, value) = rest.split_at_checked(record.name_len.into())?;

        Some(Self {
            inode: record.inode,
            name,
            value,
        })
    }
}

/// Further attributes of an inode.
pub(crate) struct IncomingAttr {
    pub(crate) ino: u64,
    pub(crate) generation: u32,
    pub(crate) btime: Timespec,
    /// Those of `FS_IOC_GETFLAGS`, also such as this kernel doesn't know.
    pub(crate) flags: u32,
}

impl IncomingAttr {
    fn read(payload: &[u8]) -> Option<Self> {
        let (record, _) = abi::AttrRecord::ref_from_prefix(payload).ok()?;

        Some(Self {
            ino: record.ino,
            generation: record.generation,
            btime: Timespec {
                sec: record.btime_sec,
                nsec: record.btime_nsec,
            },
            flags: record.flags,
        })
    }
}

/// A tree that was handed over, in the memory that it came in.
pub(crate) struct Tree {
    area: RestoredVmalloc,
    len: usize,
    index: Index,
}

impl Tree {
    /// A tree that has been checked: `index` tells of the first `len` bytes of `area`.
    pub(crate) fn new(area: RestoredVmalloc, len: usize, index: Index) -> Self {
        Self { area, len, index }
    }

    fn payload(&self, span: &Span) -> Option<&[u8]> {
        span.of(self.area.get(..self.len)?)
    }

    /// How many bytes its files count.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.bytes
    }

    /// Writes the tree as it came, for the next kernel.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result {
        for entry in &self.index.inodes {
            writer.record(abi::RECORD_INODE, &[self.payload(&entry.span).ok_or(EIO)?])?;
        }
        for span in self.index.inodes.iter().filter_map(|inode| inode.attr) {
            writer.attr(self.payload(&span).ok_or(EIO)?)?;
        }
        for span in &self.index.names {
            writer.record(abi::RECORD_NAME, &[self.payload(span).ok_or(EIO)?])?;
        }
        for span in &self.index.xattrs {
            writer.record(abi::RECORD_XATTR, &[self.payload(span).ok_or(EIO)?])?;
        }
        Ok(())
    }

    /// How many inodes there are, from 0 on.
    pub(crate) fn inodes(&self) -> usize {
        self.index.inodes.len()
    }

    /// The inode with the given number.
    pub(crate) fn inode(&self, number: u32) -> Option<IncomingInode<'_>> {
        let entry = self.index.inodes.get(number as usize)?;

        IncomingInode::read(self.payload(&entry.span)?).ok()
    }

    /// The further attributes of the inode with the given number, if the previous kernel knew them.
    pub(crate) fn attr(&self, number: u32) -> Option<IncomingAttr> {
        let span = self.index.inodes.get(number as usize)?.attr.as_ref()?;

        IncomingAttr::read(self.payload(span)?)
    }

    /// The names, each after that of the directory that it is in.
    pub(crate) fn names(&self) -> impl Iterator<Item = IncomingName<'_>> {
        let payloads = self.index.names.iter().map(|span| self.payload(span));

        payloads.flatten().filter_map(IncomingName::read)
    }

    /// The extended attributes.
    pub(crate) fn xattrs(&self) -> impl Iterator<Item = IncomingXattr<'_>> {
        let payloads = self.index.xattrs.iter().map(|span| self.payload(span));

        payloads.flatten().filter_map(IncomingXattr::read)
    }

    /// The tokens of the files that LUO has.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        (0..)
            .map_while(|number| self.inode(number))
            .filter_map(|inode| match inode.kind {
                IncomingKind::Token(token) => Some(token),
                _ => None,
            })
    }
}

/// Checks an ACL that the previous kernel handed over for an inode of this mode.
fn check_acl(mode: Mode, which: AclType, value: &[u8]) -> Checked<()> {
    if mode.is_lnk() || which == AclType::Default && !mode.is_dir() {
        return Err(("an inode has an ACL that its type hasn't", EIO));
    }
    let acl = match Acl::from_xattr(value) {
        Ok(Some(acl)) => acl,
        Err(e) if e == ENOMEM => return Err(("no memory", ENOMEM)),
        Ok(None) | Err(_) => return Err(("an ACL is illegal", EIO)),
    };

    if which == AclType::Access && !acl.extends(mode) {
        return Err(("an inode has another mode than its ACL", EIO));
    }
    Ok(())
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[path = "tree_tests.rs"]
mod tests;
