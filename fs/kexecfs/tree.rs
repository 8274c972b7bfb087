// SPDX-License-Identifier: GPL-2.0-only

//! `data/` as the previous kernel wrote it down.

use crate::{
    handover::Writer,
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
    /// How many bytes the files count.
    bytes: u64,
}

struct Entry {
    span: Span,
    mode: Mode,
    /// How many names it has.
    links: u32,
    /// Where its further attributes lie.
    attr: Option<Span>,
}

pub(crate) type Checked<T> = Result<T, (&'static str, Error)>;

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
            mode: inode.mode,
            links: 0,
            attr: None,
        };

        if self.is_empty() && !entry.mode.is_dir() {
            return Err(("data/ is no directory", EIO));
        }
        u32::try_from(self.inodes.len()).map_err(|_| ("there are too many inodes", EIO))?;
        self.bytes = self.bytes.saturating_add(match inode.kind {
            Kind::Link(target) => bytes_of_link(target),
            _ => bytes_of(inode.size, 0),
        });
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
        let xattr = Xattr::read(payload).ok_or(("the record of an xattr is too short", EIO))?;
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
            Link::read(span.of(stream)?).map(|link| (link.parent, link.name))
        })? {
            return Err(("two in a directory have the same name", EIO));
        }
        if has_twins(&self.xattrs, |span| {
            Xattr::read(span.of(stream)?).map(|xattr| (xattr.inode, xattr.name))
        })? {
            return Err(("an inode has two xattrs of the same name", EIO));
        }
        self.check_inos(stream)
    }

    /// Checks that no two inodes have the same number.
    fn check_inos(&self, stream: &[u8]) -> Checked<()> {
        let mut inos = RBTree::new();
        let spans = self.inodes.iter().filter_map(|inode| inode.attr);

        for attr in spans.filter_map(|span| Attr::read(span.of(stream)?)) {
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

/// The beginnings of the names of extended attributes that are handed over, but for ACLs.
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

/// Further attributes of an inode.
pub(crate) struct Attr {
    pub(crate) ino: u64,
    pub(crate) generation: u32,
    pub(crate) btime: Timespec,
    /// Those of `FS_IOC_GETFLAGS`, also such as this kernel doesn't know.
    pub(crate) flags: u32,
}

impl Attr {
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
    pub(crate) fn inode(&self, number: u32) -> Option<Inode<'_>> {
        let entry = self.index.inodes.get(number as usize)?;

        Inode::read(self.payload(&entry.span)?).ok()
    }

    /// The further attributes of the inode with the given number, if the previous kernel knew them.
    pub(crate) fn attr(&self, number: u32) -> Option<Attr> {
        let span = self.index.inodes.get(number as usize)?.attr.as_ref()?;

        Attr::read(self.payload(span)?)
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
#[kunit_tests(kexecfs_tree)]
mod tests {
    use super::*;

    const DIR: u32 = 0o040755;
    const REG: u32 = 0o100644;
    const LNK: u32 = 0o120777;
    const FIFO: u32 = 0o010600;

    /// The payloads of records, one after the other, and what was found out about them.
    #[derive(Default)]
    struct Sample {
        stream: KVVec<u8>,
        index: Index,
    }

    impl Sample {
        /// An inode of this mode.
        fn record(mode: u32) -> abi::InodeRecord {
            abi::InodeRecord {
                mode,
                ..Default::default()
            }
        }

        /// Just `data/`.
        fn new() -> Result<Self> {
            let mut sample = Self::default();

            assert_eq!(sample.inode(Self::record(DIR), b"")?, "");
            Ok(sample)
        }

        /// Adds a record by `add`, and returns what is wrong with it.
        fn add<T>(
            &mut self,
            parts: &[&[u8]],
            add: impl FnOnce(&mut Index, &[u8], usize) -> Checked<T>,
        ) -> Result<&'static str> {
            let at = self.stream.len();

            // Where records begin, as in the real stream.
            self.stream.resize(at.next_multiple_of(8), 0, GFP_KERNEL)?;
            let at = self.stream.len();

            for part in parts {
                self.stream.extend_from_slice(part, GFP_KERNEL)?;
            }
            let payload = self.stream.get(at..).ok_or(EINVAL)?;

            Ok(add(&mut self.index, payload, at)
                .err()
                .map_or("", |(why, _)| why))
        }

        fn inode(&mut self, record: abi::InodeRecord, rest: &[u8]) -> Result<&'static str> {
            self.add(&[record.as_bytes(), rest], Index::add_inode)
        }

        fn name(&mut self, parent: u32, inode: u32, name: &[u8]) -> Result<&'static str> {
            let record = abi::NameRecord { parent, inode };

            self.add(&[record.as_bytes(), name], Index::add_name)
        }

        fn attr(&mut self, record: abi::AttrRecord, next: Option<u64>) -> Result<&'static str> {
            self.add(&[record.as_bytes()], |index, payload, at| {
                index.add_attr(payload, at, next)
            })
        }

        fn xattr(&mut self, inode: u32, name: &[u8], value: &[u8]) -> Result<&'static str> {
            let record = abi::XattrRecord {
                inode,
                name_len: name.len() as u16,
                ..Default::default()
            };

            self.add(&[record.as_bytes(), name, value], Index::add_xattr)
        }

        fn check(&self) -> &'static str {
            self.index
                .check(&self.stream)
                .err()
                .map_or("", |(why, _)| why)
        }
    }

    #[test]
    fn a_tree_is_read() -> Result {
        let mut sample = Sample::new()?;

        assert_eq!(sample.inode(Sample::record(DIR), b"")?, "");
        assert_eq!(sample.name(0, 1, b"dir")?, "");
        let packed = abi::InodeRecord {
            size: 3,
            mtime_sec: -1,
            mtime_nsec: 999_999_999,
            ..Sample::record(REG)
        };

        assert_eq!(sample.inode(packed, b"abc")?, "");
        assert_eq!(sample.name(1, 2, b"file")?, "");
        assert_eq!(sample.name(0, 2, b"same")?, "");
        assert_eq!(sample.xattr(2, b"user.a", b"value")?, "");
        assert_eq!(sample.xattr(2, b"user.b", b"")?, "");
        assert_eq!(sample.inode(Sample::record(LNK), b"dir/file")?, "");
        assert_eq!(sample.name(0, 3, b"link")?, "");
        assert_eq!(sample.inode(Sample::record(FIFO), b"")?, "");
        assert_eq!(sample.name(1, 4, b"pipe")?, "");
        let large = abi::InodeRecord {
            size: 1 << 40,
            token: 7,
            flags: abi::INODE_TOKEN,
            ..Sample::record(REG)
        };

        assert_eq!(sample.inode(large, b"")?, "");
        assert_eq!(sample.name(1, 5, b"large")?, "");
        assert_eq!(sample.check(), "");
        Ok(())
    }

    #[test]
    fn an_inode_is_what_its_record_says() -> Result {
        let wrong = "an inode has another size than its contents";
        let sized = |mode, size| abi::InodeRecord {
            size,
            ..Sample::record(mode)
        };
        let mut sample = Sample::new()?;

        assert_eq!(sample.inode(sized(REG, 2), b"abc")?, wrong);
        assert_eq!(sample.inode(sized(REG, 4), b"abc")?, wrong);
        assert_eq!(sample.inode(sized(REG, u64::MAX), b"abc")?, wrong);
        assert_eq!(sample.inode(sized(DIR, 1), b"")?, wrong);
        assert_eq!(sample.inode(sized(FIFO, 0), b"x")?, wrong);
        for target in [&b""[..], b"a\0b", &[b'a'; LINK_MAX + 1]] {
            let why = sample.inode(Sample::record(LNK), target)?;

            assert_eq!(why, "a symbolic link in data/ is illegal");
        }
        for mode in [0, 0o170644, 1 << 16 | REG] {
            let why = sample.inode(Sample::record(mode), b"")?;

            assert_eq!(why, "an inode has no known type");
        }
        let late = abi::InodeRecord {
            atime_nsec: 1_000_000_000,
            ..Sample::record(FIFO)
        };
        let nobody = abi::InodeRecord {
            uid: u32::MAX,
            ..Sample::record(FIFO)
        };

        assert_eq!(sample.inode(late, b"")?, "an inode has an illegal time");
        assert_eq!(sample.inode(nobody, b"")?, "an inode has an illegal owner");
        assert_eq!(
            sample.add(&[b"short"], Index::add_inode)?,
            "the record of an inode is too short"
        );
        let why = Sample::default().inode(Sample::record(REG), b"")?;

        assert_eq!(why, "data/ is no directory");
        Ok(())
    }

    #[test]
    fn every_name_is_in_a_directory_before_it() -> Result {
        let mut sample = Sample::new()?;

        for mode in [DIR, DIR, FIFO] {
            assert_eq!(sample.inode(Sample::record(mode), b"")?, "");
        }
        let nowhere = "a name in data/ is in no directory";

        // A directory without a name, one of a greater number, itself; no directory; nothing.
        for parent in [1, 2, 3, 4, u32::MAX] {
            assert_eq!(sample.name(parent, 1, b"a")?, nowhere);
        }
        assert_eq!(sample.name(0, 0, b"a")?, "a name in data/ names no inode");
        assert_eq!(sample.name(0, 4, b"a")?, "a name in data/ names no inode");
        assert_eq!(sample.name(0, 2, b"a")?, "");
        let twice = "a directory has two names, or is within itself";

        assert_eq!(sample.name(0, 2, b"b")?, twice);
        assert_eq!(sample.name(2, 1, b"b")?, twice);
        assert_eq!(sample.check(), "an inode has no name");
        Ok(())
    }

    #[test]
    fn names_are_legal_and_unique() -> Result {
        let mut sample = Sample::new()?;

        assert_eq!(sample.inode(Sample::record(FIFO), b"")?, "");
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'a'; 256]] {
            assert_eq!(sample.name(0, 1, name)?, "a name in data/ is illegal");
        }
        assert_eq!(sample.name(0, 1, b"\xff\n")?, "");
        assert_eq!(sample.name(0, 1, b"a")?, "");
        assert_eq!(sample.check(), "");
        assert_eq!(sample.name(0, 1, b"\xff\n")?, "");
        assert_eq!(sample.check(), "two in a directory have the same name");
        Ok(())
    }

    #[test]
    fn xattrs_are_legal_and_unique() -> Result {
        let mut sample = Sample::new()?;
        let names = [
            &b""[..],
            b"user.",
            b"user",
            b"system.a",
            b"user.a\0",
            &[b'a'; 256],
        ];

        for name in names {
            assert_eq!(
                sample.xattr(0, name, b"")?,
                "the name of an xattr is illegal"
            );
        }
        assert_eq!(sample.xattr(1, b"user.a", b"")?, "an xattr is of no inode");
        let large = VVec::zeroed(abi::XATTR_SIZE_MAX + 1, GFP_KERNEL)?;

        assert_eq!(sample.xattr(0, b"user.a", &large)?, "an xattr is too large");
        assert_eq!(sample.xattr(0, b"user.a", b"1")?, "");
        assert_eq!(sample.xattr(0, b"user.b", b"1")?, "");
        assert_eq!(sample.check(), "");
        assert_eq!(sample.xattr(0, b"user.a", b"2")?, "");
        assert_eq!(sample.check(), "an inode has two xattrs of the same name");
        Ok(())
    }

    #[test]
    fn attrs_are_legal_and_unique() -> Result {
        let mut sample = Sample::new()?;
        let legal = abi::AttrRecord {
            ino: abi::INO_MIN,
            btime_nsec: 999_999_999,
            ..Default::default()
        };
        let next = Some(abi::INO_MIN + 2);

        assert_eq!(sample.inode(Sample::record(FIFO), b"")?, "");
        assert_eq!(sample.name(0, 1, b"pipe")?, "");
        assert_eq!(
            sample.attr(legal, None)?,
            "there is no record of the superblock"
        );
        for ino in [0, 1, abi::INO_MIN - 1, abi::INO_MIN + 2, u64::MAX] {
            let record = abi::AttrRecord { ino, ..legal };

            assert_eq!(sample.attr(record, next)?, "an inode has an illegal number");
        }
        let record = abi::AttrRecord {
            btime_nsec: 1_000_000_000,
            ..legal
        };
        assert_eq!(sample.attr(record, next)?, "an inode has an illegal time");
        let record = abi::AttrRecord { inode: 2, ..legal };
        assert_eq!(sample.attr(record, next)?, "attributes are of no inode");
        assert_eq!(sample.attr(legal, next)?, "");
        assert_eq!(
            sample.attr(legal, next)?,
            "an inode has two records of attributes"
        );
        assert_eq!(sample.check(), "");
        let record = abi::AttrRecord { inode: 1, ..legal };
        assert_eq!(sample.attr(record, next)?, "");
        assert_eq!(sample.check(), "two inodes have the same number");
        Ok(())
    }

    #[test]
    fn attrs_may_be_longer() -> Result {
        let mut sample = Sample::new()?;
        let record = abi::AttrRecord {
            ino: abi::INO_MIN,
            ..Default::default()
        };
        let mut add = |parts: &[&[u8]]| {
            sample.add(parts, |index, payload, at| {
                index.add_attr(payload, at, Some(abi::INO_MAX))
            })
        };
        let bytes = record.as_bytes();

        assert_eq!(
            add(&[bytes.get(..31).ok_or(EINVAL)?])?,
            "the record of attributes is too short"
        );
        assert_eq!(add(&[bytes, b"of a later version"])?, "");
        Ok(())
    }

    /// An access ACL for user 1, with the mode 0640, as extended attributes have it.
    const ACL: &[u8] = b"\x02\0\0\0\
        \x01\0\x06\0\xff\xff\xff\xff\
        \x02\0\x04\0\x01\0\0\0\
        \x04\0\x04\0\xff\xff\xff\xff\
        \x10\0\x04\0\xff\xff\xff\xff\
        \x20\0\0\0\xff\xff\xff\xff";

    #[test]
    fn acls_are_legal_and_of_their_inodes() -> Result {
        let mut sample = Sample::new()?;
        let (access, default) = (b"system.posix_acl_access", b"system.posix_acl_default");

        assert_eq!(sample.inode(Sample::record(0o100640), b"")?, "");
        assert_eq!(sample.inode(Sample::record(0o100644), b"")?, "");
        assert_eq!(sample.inode(Sample::record(LNK), b"a")?, "");
        assert_eq!(sample.xattr(4, access, ACL)?, "an xattr is of no inode");
        for illegal in [
            &b""[..],
            b"\x02\0\0\0",
            &[0; 44],
            ACL.get(..36).ok_or(EINVAL)?,
        ] {
            assert_eq!(sample.xattr(1, access, illegal)?, "an ACL is illegal");
        }
        assert_eq!(
            sample.xattr(2, access, ACL)?,
            "an inode has another mode than its ACL"
        );
        for inode in [1, 3] {
            let why = "an inode has an ACL that its type hasn't";

            assert_eq!(sample.xattr(inode, default, ACL)?, why);
        }
        assert_eq!(
            sample.xattr(3, access, ACL)?,
            "an inode has an ACL that its type hasn't"
        );
        assert_eq!(sample.xattr(0, default, ACL)?, "");
        assert_eq!(sample.xattr(1, access, ACL)?, "");
        Ok(())
    }
}
