// SPDX-License-Identifier: GPL-2.0-only

//! `data/` as the previous kernel wrote it down.

use crate::name::Name;
use kernel::{
    alloc::AllocError,
    fs::{
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
    task::{
        Kgid,
        Kuid, //
    },
};

/// The greatest length of what a symbolic link points at (`PATH_MAX` without the zero).
const LINK_MAX: usize = 4095;

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
    inodes: KVVec<Entry>,
    names: KVVec<Span>,
    xattrs: KVVec<Span>,
}

struct Entry {
    span: Span,
    is_dir: bool,
    /// How many names it has.
    links: u32,
}

type Checked<T> = Result<T, (&'static str, Error)>;

fn no_memory(_: AllocError) -> (&'static str, Error) {
    ("no memory", ENOMEM)
}

impl Index {
    /// Whether there is no tree.
    pub(crate) fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    /// Checks the record of an inode, and returns its token if it has one.
    pub(crate) fn add_inode(&mut self, payload: &[u8], at: usize) -> Checked<Option<u64>> {
        let inode = Inode::read(payload)?;
        let entry = Entry {
            span: Span {
                at,
                len: payload.len(),
            },
            is_dir: matches!(inode.kind, Kind::Directory),
            links: 0,
        };

        if self.is_empty() && !entry.is_dir {
            return Err(("data/ is no directory", EIO));
        }
        u32::try_from(self.inodes.len()).map_err(|_| ("there are too many inodes", EIO))?;
        self.inodes.push(entry, GFP_KERNEL).map_err(no_memory)?;
        Ok(match inode.kind {
            Kind::Token(token) => Some(token),
            _ => None,
        })
    }

    /// Checks the record of a name.
    pub(crate) fn add_name(&mut self, payload: &[u8], at: usize) -> Checked<()> {
        let name = Link::read(payload).ok_or(("the record of a name is too short", EIO))?;
        let (parent, number) = (name.parent as usize, name.inode as usize);

        Name::of_entry(name.name).map_err(|e| {
            if e == EINVAL {
                ("a name in data/ is illegal", EIO)
            } else {
                ("no memory", e)
            }
        })?;
        match self.inodes.get(parent) {
            Some(dir) if dir.is_dir && (parent == 0 || dir.links != 0) => {}
            _ => return Err(("a name in data/ is in no directory", EIO)),
        }
        let inode = match self.inodes.get_mut(number) {
            Some(inode) if number != 0 => inode,
            _ => return Err(("a name in data/ names no inode", EIO)),
        };
        if inode.is_dir && (inode.links != 0 || parent >= number) {
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
        let xattr = Xattr::read(payload).ok_or(("the record of an xattr is too short", EIO))?;
        let is_legal = XATTR_PREFIXES.iter().any(|prefix| {
            xattr
                .name
                .strip_prefix(*prefix)
                .is_some_and(|rest| !rest.is_empty() && !rest.contains(&0))
        });

        if !is_legal || xattr.name.len() > abi::NAME_MAX {
            return Err(("the name of an xattr is illegal", EIO));
        }
        if xattr.value.len() > abi::XATTR_SIZE_MAX {
            return Err(("an xattr is too large", EIO));
        }
        if xattr.inode as usize >= self.inodes.len() {
            return Err(("an xattr is of no inode", EIO));
        }
        let span = Span {
            at,
            len: payload.len(),
        };

        self.xattrs.push(span, GFP_KERNEL).map_err(no_memory)
    }

    /// Checks what can only be checked at the end of `stream`.
    pub(crate) fn check(&self, stream: &[u8]) -> Checked<()> {
        if self.inodes.iter().skip(1).any(|inode| inode.links == 0) {
            return Err(("an inode has no name", EIO));
        }
        if has_twins(&self.names, |span| {
            Link::read(span.of(stream)?).map(|link| (link.parent, link.name))
        })? {
            return Err(("two in a directory have the same name", EIO));
        }
        if has_twins(&self.xattrs, |span| {
            Xattr::read(span.of(stream)?).map(|xattr| (xattr.inode, xattr.name))
        })? {
            return Err(("an inode has two xattrs of the same name", EIO));
        }
        Ok(())
    }
}

/// Whether two of `spans` have the same key.
fn has_twins<'a>(spans: &[Span], key: impl Fn(&Span) -> Option<(u32, &'a [u8])>) -> Checked<bool> {
    let mut keys = KVVec::with_capacity(spans.len(), GFP_KERNEL).map_err(no_memory)?;

    for key in spans.iter().filter_map(key) {
        keys.push(key, GFP_KERNEL).map_err(no_memory)?;
    }
    keys.sort_unstable();
    Ok(keys.windows(2).any(|pair| pair.first() == pair.last()))
}

/// What an inode is.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
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
pub(crate) struct Inode<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) mode: Mode,
    pub(crate) uid: Kuid,
    pub(crate) gid: Kgid,
    pub(crate) size: u64,
    pub(crate) rdev: DevT,
    pub(crate) times: Times,
}

impl<'a> Inode<'a> {
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
                Kind::Token(record.token)
            }
            Some(FileType::Reg) if Some(rest.len()) == size => Kind::Packed(rest),
            Some(FileType::Lnk) if record.size == 0 => {
                if rest.is_empty() || rest.len() > LINK_MAX || rest.contains(&0) {
                    return Err(("a symbolic link in data/ is illegal", EIO));
                }
                Kind::Link(rest)
            }
            Some(FileType::Dir) if rest.is_empty() && record.size == 0 => Kind::Directory,
            Some(FileType::Reg | FileType::Lnk | FileType::Dir) | None => return Err(wrong),
            Some(_) if rest.is_empty() && record.size == 0 => Kind::Special,
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
pub(crate) struct Link<'a> {
    pub(crate) parent: u32,
    pub(crate) inode: u32,
    pub(crate) name: &'a [u8],
}

impl<'a> Link<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let (record, name) = abi::NameRecord::ref_from_prefix(payload).ok()?;

        Some(Self {
            parent: record.parent,
            inode: record.inode,
            name,
        })
    }
}

/// The beginnings of the names of extended attributes that are handed over.
const XATTR_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// An extended attribute of an inode.
pub(crate) struct Xattr<'a> {
    pub(crate) inode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> Xattr<'a> {
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

    /// How many inodes there are, from 0 on.
    pub(crate) fn inodes(&self) -> usize {
        self.index.inodes.len()
    }

    /// The inode with the given number.
    pub(crate) fn inode(&self, number: u32) -> Option<Inode<'_>> {
        let entry = self.index.inodes.get(number as usize)?;

        Inode::read(self.payload(&entry.span)?).ok()
    }

    /// The contents of a regular file that lie in the record of its inode.
    pub(crate) fn contents(&self, number: u32) -> Option<&[u8]> {
        match self.inode(number)?.kind {
            Kind::Packed(contents) => Some(contents),
            _ => None,
        }
    }

    /// The names, each after that of the directory that it is in.
    pub(crate) fn names(&self) -> impl Iterator<Item = Link<'_>> {
        let payloads = self.index.names.iter().map(|span| self.payload(span));

        payloads.flatten().filter_map(Link::read)
    }

    /// The extended attributes.
    pub(crate) fn xattrs(&self) -> impl Iterator<Item = Xattr<'_>> {
        let payloads = self.index.xattrs.iter().map(|span| self.payload(span));

        payloads.flatten().filter_map(Xattr::read)
    }

    /// The tokens of the files that LUO has.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        (0..)
            .map_while(|number| self.inode(number))
            .filter_map(|inode| match inode.kind {
                Kind::Token(token) => Some(token),
                _ => None,
            })
    }
}
