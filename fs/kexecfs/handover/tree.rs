// SPDX-License-Identifier: GPL-2.0-only

//! `data/`, from the previous kernel.
//!
//! Each record is checked once: where it lies is kept in the [`Index`] until the tree is looked up,
//! with the fields by which others are checked, [`INODE_SIZE`] bytes for an inode and 24 for a name
//! or an extended attribute. All else stays where it came.

use super::{
    charges::Charges,
    frame::{
        no_memory,
        Checked,
        Frame,
        Span,
        RESERVED, //
    },
    twins::has_twins,
    writer::{
        record_len,
        Writer, //
    }, //
};
use crate::{
    space::Held,
    words::name::Name, //
};
use kernel::{
    fs::{
        acl::{Acl, AclType},
        fileattr::fl,
        path::Huge,
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

/// How many bytes the index keeps of an inode. Its record has 112 at least.
const INODE_SIZE: usize = 56;

static_assert!(size_of::<InodeEntry>() <= INODE_SIZE);
static_assert!(size_of::<NameEntry>() <= 24 && size_of::<XattrEntry>() <= 24);

/// The greatest length of the target of a symbolic link (`PATH_MAX` without the zero).
const LINK_MAX: usize = 4095;

/// The flags of `FS_IOC_GETFLAGS` that are handed over.
pub(crate) const FA_FLAGS: u32 = fl::IMMUTABLE | fl::APPEND | fl::NODUMP | fl::NOATIME;

/// The beginnings of the names of extended attributes that are handed over, but for ACLs.
const XATTR_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// The kind of an inode.
#[derive(Clone, Copy)]
pub(crate) enum IncomingKind {
    Directory,
    /// A regular file with these contents.
    Packed(Span),
    /// A regular file whose contents LUO has under this token.
    Token(u64),
    /// A symbolic link to this.
    Link(Span),
    /// A pipe, a socket or a device node.
    Special,
}

impl IncomingKind {
    /// Checks that `rest`, which lies at `at`, may follow such a record.
    fn of(record: &abi::InodeRecord, mode: Mode, rest: &[u8], at: usize) -> Checked<IncomingKind> {
        let wrong = ("an inode has another size than its contents", EIO);
        let span = Span {
            at,
            // A payload has no greater length.
            len: u32::try_from(rest.len()).map_err(|_| wrong)?,
        };
        let fits = usize::try_from(record.size).ok() == Some(rest.len());
        let has_token = record.flags & abi::INODE_TOKEN != 0;
        let file_type = mode.file_type();

        if !has_token && record.token != 0 {
            return Err(("an inode has a token and no file of it", EIO));
        }
        if !matches!(file_type, Some(FileType::Chr | FileType::Blk)) && record.rdev != 0 {
            return Err(("an inode has a device and is none", EIO));
        }
        match file_type {
            Some(FileType::Reg) if has_token => {
                if !rest.is_empty() && !fits || record.size > i64::MAX as u64 {
                    return Err(wrong);
                }
                Ok(IncomingKind::Token(record.token))
            }
            _ if has_token => Err(("an inode has a token and is no file", EIO)),
            Some(FileType::Reg) if fits => Ok(IncomingKind::Packed(span)),
            Some(FileType::Lnk) if record.size == 0 => {
                if rest.is_empty() || rest.len() > LINK_MAX || rest.contains(&0) {
                    return Err(("a symbolic link in data/ is illegal", EIO));
                }
                Ok(IncomingKind::Link(span))
            }
            Some(FileType::Reg | FileType::Lnk) | None => Err(wrong),
            Some(_) if !rest.is_empty() || record.size != 0 => Err(wrong),
            Some(FileType::Dir) => Ok(IncomingKind::Directory),
            Some(_) => Ok(IncomingKind::Special),
        }
    }
}

/// An inode, by its record, which has been checked.
#[derive(Clone, Copy)]
pub(crate) struct IncomingInode<'a> {
    entry: &'a InodeEntry,
    record: &'a abi::InodeRecord,
}

impl IncomingInode<'_> {
    pub(crate) fn kind(&self) -> IncomingKind {
        self.entry.kind
    }

    pub(crate) fn mode(&self) -> Mode {
        self.entry.mode
    }

    pub(crate) fn owner(&self) -> Option<(Kuid, Kgid)> {
        Some((
            Kuid::from_val(self.record.uid)?,
            Kgid::from_val(self.record.gid)?,
        ))
    }

    /// In bytes, of a regular file.
    pub(crate) fn size(&self) -> u64 {
        self.record.size
    }

    pub(crate) fn rdev(&self) -> DevT {
        DevT::decode(self.record.rdev)
    }

    pub(crate) fn times(&self) -> Times {
        let (record, time) = (self.record, |sec, nsec| Timespec { sec, nsec });

        Times {
            atime: time(record.atime_sec, record.atime_nsec),
            mtime: time(record.mtime_sec, record.mtime_nsec),
            ctime: time(record.ctime_sec, record.ctime_nsec),
        }
    }

    pub(crate) fn btime(&self) -> Timespec {
        Timespec {
            sec: self.record.btime_sec,
            nsec: self.record.btime_nsec,
        }
    }

    /// Number and generation.
    pub(crate) fn handle(&self) -> (u64, u32) {
        (self.record.ino, self.record.generation)
    }

    /// Those of `FS_IOC_GETFLAGS`, of which there are [`FA_FLAGS`].
    pub(crate) fn fa_flags(&self) -> u32 {
        self.record.fa_flags
    }

    /// Whether there are further names, names in it, or xattrs.
    pub(crate) fn has_more_records(&self) -> bool {
        self.entry.mode.is_dir() || self.entry.links > 1 || self.entry.has_xattrs
    }
}

/// The record of an inode: where it lies, and the fields that the checks of other records need.
struct InodeEntry {
    at: usize,
    size: u64,
    ino: u64,
    kind: IncomingKind,
    mode: Mode,
    has_xattrs: bool,
    /// How many names it has.
    links: u32,
}

impl InodeEntry {
    /// Checks a record that lies at `at`. All numbers of inodes are below `next_ino`.
    fn read(payload: &[u8], at: usize, next_ino: u64) -> Checked<Self> {
        let (record, rest) = abi::InodeRecord::ref_from_prefix(payload)
            .map_err(|_| ("the record of an inode is too short", EIO))?;
        let mode = u16::try_from(record.mode)
            .ok()
            .and_then(Mode::decode)
            .ok_or(("an inode has no known type", EIO))?;
        let nsecs = [
            record.atime_nsec,
            record.mtime_nsec,
            record.ctime_nsec,
            record.btime_nsec,
        ];

        if !(abi::INO_MIN..next_ino).contains(&record.ino) {
            return Err(("an inode has an illegal number", EIO));
        }
        if record.flags & !abi::INODE_TOKEN != 0
            || record.fa_flags & !FA_FLAGS != 0
            || record.reserved != 0
        {
            return Err(RESERVED);
        }
        let kind = IncomingKind::of(record, mode, rest, at + size_of::<abi::InodeRecord>())?;

        Kuid::from_val(record.uid).ok_or(("an inode has an illegal owner", EIO))?;
        Kgid::from_val(record.gid).ok_or(("an inode has an illegal group", EIO))?;
        if nsecs.iter().any(|&nsec| nsec >= 1_000_000_000) {
            return Err(("an inode has an illegal time", EIO));
        }
        Ok(Self {
            at,
            size: record.size,
            ino: record.ino,
            kind,
            mode,
            has_xattrs: false,
            links: 0,
        })
    }
}

/// A name of an inode.
struct NameEntry {
    /// Where it lies.
    at: usize,
    parent: u32,
    inode: u32,
    len: u16,
}

impl NameEntry {
    fn name<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        stream.get(self.at..)?.get(..self.len.into())
    }
}

/// An extended attribute of an inode.
struct XattrEntry {
    /// Where its name lies, which the value follows.
    at: usize,
    inode: u32,
    value_len: u32,
    name_len: u16,
}

impl XattrEntry {
    fn name<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        stream.get(self.at..)?.get(..self.name_len.into())
    }

    fn value<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        stream
            .get(self.at..)?
            .get(self.name_len.into()..)?
            .get(..self.value_len as usize)
    }
}

/// Where the records of a tree lie in the stream, and those fields that check each other.
#[derive(Default)]
pub(crate) struct Index {
    inodes: KVVec<InodeEntry>,
    names: KVVec<NameEntry>,
    xattrs: KVVec<XattrEntry>,
    /// What the inodes will be charged.
    charges: Charges,
    /// How many bytes the records take.
    records_len: usize,
}

impl Index {
    /// Makes room for a tree of which there are about so many records.
    pub(super) fn reserve(&mut self, records: usize) -> Checked<()> {
        // Mostly a file has a record and a name.
        let half = records / 2 + 1;

        self.inodes.reserve(half, GFP_KERNEL).map_err(no_memory)?;
        self.names.reserve(half, GFP_KERNEL).map_err(no_memory)
    }

    /// Whether there is no tree.
    pub(crate) fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    /// Counts a record of the tree.
    fn count(&mut self, payload: &[u8]) -> Checked<()> {
        let len = record_len(payload.len()).map_err(|e| ("it is too long", e))?;

        self.records_len = self.records_len.saturating_add(len);
        Ok(())
    }

    /// Checks the record of an inode, and returns its token if it has one.
    pub(crate) fn add_inode(
        &mut self,
        payload: &[u8],
        at: usize,
        next_ino: u64,
    ) -> Checked<Option<u64>> {
        let inode = InodeEntry::read(payload, at, next_ino)?;
        let mut token = None;

        match inode.kind {
            IncomingKind::Link(_) => self.charges.add_link(payload),
            IncomingKind::Token(of_file) => {
                token = Some(of_file);
                self.charges.add_luo_file(inode.size);
            }
            _ => self.charges.add_packed(inode.size),
        }
        if self.is_empty() && !inode.mode.is_dir() {
            return Err(("data/ is no directory", EIO));
        }
        u32::try_from(self.inodes.len()).map_err(|_| ("there are too many inodes", EIO))?;
        self.charges.add_name();
        self.inodes.push(inode, GFP_KERNEL).map_err(no_memory)?;
        self.count(payload)?;
        Ok(token)
    }

    /// Checks the record of a name.
    pub(crate) fn add_name(&mut self, payload: &[u8], at: usize) -> Checked<()> {
        let (record, name) = abi::NameRecord::ref_from_prefix(payload)
            .map_err(|_| ("the record of a name is too short", EIO))?;
        let (parent, number) = (record.parent as usize, record.inode as usize);

        if !Name::is_entry(name) {
            return Err(("a name in data/ is illegal", EIO));
        }
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
        let is_link = inode.links > 1;
        let entry = NameEntry {
            at: at + size_of_val(record),
            parent: record.parent,
            inode: record.inode,
            // CAST: It is a legal name.
            len: name.len() as u16,
        };

        self.names.push(entry, GFP_KERNEL).map_err(no_memory)?;
        if is_link {
            self.charges.add_name();
        }
        self.count(payload)
    }

    /// Checks the record of an extended attribute.
    pub(crate) fn add_xattr(&mut self, payload: &[u8], at: usize) -> Checked<()> {
        let too_short = ("the record of an xattr is too short", EIO);
        let (record, rest) = abi::XattrRecord::ref_from_prefix(payload).map_err(|_| too_short)?;
        let (name, value) = rest
            .split_at_checked(record.name_len.into())
            .ok_or(too_short)?;
        let is_legal = XATTR_PREFIXES.iter().any(|prefix| {
            name.strip_prefix(*prefix)
                .is_some_and(|rest| !rest.is_empty() && !rest.contains(&0))
        });
        let acl = AclType::from_name(name);

        if record.reserved != 0 {
            return Err(RESERVED);
        }
        if !is_legal && acl.is_none() || name.len() > abi::NAME_MAX {
            return Err(("the name of an xattr is illegal", EIO));
        }
        if value.len() > abi::XATTR_SIZE_MAX {
            return Err(("an xattr is too large", EIO));
        }
        let inode = self
            .inodes
            .get_mut(record.inode as usize)
            .ok_or(("an xattr is of no inode", EIO))?;

        inode.has_xattrs = true;

        match acl {
            Some(which) => self.charges.add_space(check_acl(inode.mode, which, value)?),
            None => self.charges.add_xattr(name, value)?,
        }
        let entry = XattrEntry {
            at: at + size_of_val(record),
            inode: record.inode,
            // CAST: It is at most `XATTR_SIZE_MAX`.
            value_len: value.len() as u32,
            name_len: record.name_len,
        };

        self.xattrs.push(entry, GFP_KERNEL).map_err(no_memory)?;
        self.count(payload)
    }

    /// Checks the rules that concern all records, at the end of `stream`.
    pub(crate) fn check(&self, stream: &[u8]) -> Checked<()> {
        if self.inodes.iter().skip(1).any(|inode| inode.links == 0) {
            return Err(("an inode has no name", EIO));
        }
        let (names, xattrs, inodes) = (&self.names, &self.xattrs, &self.inodes);
        let name_of = |number: usize| {
            names
                .get(number)
                .map(|name| (name.parent, name.name(stream)))
        };
        let xattr_of = |number: usize| {
            xattrs
                .get(number)
                .map(|xattr| (xattr.inode, xattr.name(stream)))
        };
        let ino_of = |number: usize| inodes.get(number).map(|inode| inode.ino);

        if has_twins(names.len(), name_of).map_err(no_memory)? {
            return Err(("two in a directory have the same name", EIO));
        }
        if has_twins(xattrs.len(), xattr_of).map_err(no_memory)? {
            return Err(("an inode has two xattrs of the same name", EIO));
        }
        if has_twins(inodes.len(), ino_of).map_err(no_memory)? {
            return Err(("two inodes have the same number", EIO));
        }
        Ok(())
    }
}

/// Checks an ACL that the previous kernel handed over for an inode of this mode, and returns how
/// much inode space it takes.
fn check_acl(mode: Mode, which: AclType, value: &[u8]) -> Checked<u64> {
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
    Ok(acl.size() as u64)
}

/// A name of an inode.
pub(crate) struct IncomingName<'a> {
    pub(crate) parent: u32,
    pub(crate) inode: u32,
    pub(crate) name: &'a [u8],
}

/// An extended attribute of an inode.
pub(crate) struct IncomingXattr<'a> {
    pub(crate) inode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
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

    fn stream(&self) -> &[u8] {
        self.area.get(..self.len).unwrap_or_default()
    }

    /// What its inodes will be charged if huge pages are given out by `huge`.
    pub(crate) fn held(&self, huge: Option<Huge>) -> Held {
        self.index.charges.held(huge)
    }

    /// Writes the tree as it came, for the next kernel.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result {
        if writer.measure(self.index.records_len)? {
            return Ok(());
        }
        let mut at = 0;

        while at < self.len {
            let frame = Frame::read(self.stream(), at).map_err(|(_, e)| e)?;

            if let abi::RECORD_INODE | abi::RECORD_NAME | abi::RECORD_XATTR = frame.kind {
                writer.record(frame.kind, &[frame.payload])?;
            }
            at = frame.end;
        }
        Ok(())
    }

    /// How many inodes there are, from 0 on.
    pub(crate) fn inodes(&self) -> usize {
        self.index.inodes.len()
    }

    /// The inode with the given number.
    pub(crate) fn inode(&self, number: u32) -> Option<IncomingInode<'_>> {
        self.incoming(self.index.inodes.get(number as usize)?)
    }

    fn incoming<'a>(&'a self, entry: &'a InodeEntry) -> Option<IncomingInode<'a>> {
        let rest = self.stream().get(entry.at..)?;
        let (record, _) = abi::InodeRecord::ref_from_prefix(rest).ok()?;

        Some(IncomingInode { entry, record })
    }

    /// The inodes whose times change with their names, and their numbers: directories, and those
    /// that have several.
    pub(crate) fn changed_by_names(&self) -> impl Iterator<Item = (u32, IncomingInode<'_>)> {
        (0..)
            .zip(&self.index.inodes)
            .filter(|(_, entry)| entry.mode.is_dir() || entry.links > 1)
            .filter_map(|(number, entry)| Some((number, self.incoming(entry)?)))
    }

    /// Contents, or the target of a symbolic link.
    pub(crate) fn contents(&self, span: Span) -> Result<&[u8]> {
        span.of(self.stream()).ok_or(EIO)
    }

    /// The names, each after that of the directory that it is in.
    pub(crate) fn names(&self) -> impl Iterator<Item = IncomingName<'_>> {
        self.index.names.iter().filter_map(|entry| {
            Some(IncomingName {
                parent: entry.parent,
                inode: entry.inode,
                name: entry.name(self.stream())?,
            })
        })
    }

    /// The extended attributes.
    pub(crate) fn xattrs(&self) -> impl Iterator<Item = IncomingXattr<'_>> {
        self.index.xattrs.iter().filter_map(|entry| {
            Some(IncomingXattr {
                inode: entry.inode,
                name: entry.name(self.stream())?,
                value: entry.value(self.stream())?,
            })
        })
    }

    /// The tokens of the files that LUO has.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.index
            .inodes
            .iter()
            .filter_map(|inode| match inode.kind {
                IncomingKind::Token(token) => Some(token),
                _ => None,
            })
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[path = "tree_tests.rs"]
mod tests;
