// SPDX-License-Identifier: GPL-2.0-only

//! Records to and from KHO memory, in the ABI of `include/linux/kho/abi/kexecfs.h`.
//!
//! What the previous kernel wrote is input like any other: every field is checked, and what can't
//! be read costs the domain that it belongs to, and no other.

use crate::{
    identity::Identity,
    test::knobs,
    tree::{
        Index,
        Tree, //
    },
    words::{
        name::Name,
        options::{
            Errors,
            Limit,
            Options, //
        }, //
    }, //
};
use core::mem::offset_of;
use kernel::{
    kho::{
        self,
        abi::kexecfs as abi,
        PreservedFolio,
        PreservedVmalloc,
        RestoredFolio,
        RestoredVmalloc,
        Subtree, //
    },
    page::{
        page_align,
        PAGE_SIZE, //
    },
    prelude::*,
    rbtree::RBTree,
    sync::Arc,
    task::{
        Kgid,
        Kuid, //
    },
};

/// Our subtree in what this kernel hands over.
pub(crate) struct Root {
    subtree: Subtree,
    /// The array that the subtree points at while it is sealed.
    index: Option<PreservedVmalloc>,
}

impl Root {
    /// Adds an empty subtree.
    pub(crate) fn add() -> Result<Self> {
        let mut root = Self {
            subtree: Subtree::add(abi::ENTRY_NAME, PreservedFolio::new(PAGE_SIZE)?)?,
            index: None,
        };

        root.write(0, None)?;
        Ok(root)
    }

    /// Points the subtree at what `domains` hand over, which has to stay until [`Root::unseal`].
    pub(crate) fn seal(&mut self, domains: &[abi::Domain]) -> Result {
        let mut index = page_buffer(core::mem::size_of_val(domains))?;

        for (slot, domain) in index
            .chunks_exact_mut(size_of::<abi::Domain>())
            .zip(domains)
        {
            slot.copy_from_slice(domain.as_bytes());
        }
        knobs::damage_index(&mut index);
        let index = PreservedVmalloc::new(index)?;

        self.write(domains.len(), Some(&index))?;
        self.index = Some(index);
        Ok(())
    }

    /// Marks a domain as left behind, after all.
    pub(crate) fn leave_behind(&mut self, number: usize) {
        let at = number * size_of::<abi::Domain>();
        let entry = self
            .index
            .as_mut()
            .and_then(|index| abi::Domain::mut_from_prefix(index.get_mut(at..)?).ok());

        if let Some((entry, _)) = entry {
            entry.len |= abi::DOMAIN_LEFT_BEHIND;
        }
    }

    /// Takes back what [`Root::seal`] did.
    pub(crate) fn unseal(&mut self) -> Result {
        self.write(0, None)?;
        self.index = None;
        Ok(())
    }

    fn write(&mut self, count: usize, index: Option<&PreservedVmalloc>) -> Result {
        let (major, minor) = knobs::version();
        let mut root = abi::Root {
            magic: abi::ROOT_MAGIC,
            major,
            minor,
            count: count.try_into()?,
            seal: index.map_or(0, |_| abi::SEAL_MAGIC),
            index: index.map(|index| index.descriptor()).unwrap_or_default(),
            ..Default::default()
        };

        knobs::damage_root(&mut root);
        root.write_to_prefix(&mut self.subtree).map_err(|_| EINVAL)
    }
}

/// A domain that lies in KHO memory, ready for the next kernel.
pub(crate) struct Records {
    stream: PreservedVmalloc,
    len: usize,
}

impl Records {
    /// Writes a domain down.
    ///
    /// `write` is called twice and has to do the same each time: first to count, then to write.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(write: impl FnMut(&mut Writer<'_>) -> Result) -> Result<Self> {
        let (mut buf, len) = stream(write)?;

        knobs::damage(buf.get_mut(..len).ok_or(ENOSPC)?);
        Ok(Self {
            stream: PreservedVmalloc::new(buf)?,
            len,
        })
    }

    /// Changes the record of an inode of `data/` that [`Writer::inode`] has written at `at`.
    pub(crate) fn change_inode(
        &mut self,
        at: usize,
        f: impl FnOnce(&mut abi::InodeRecord),
    ) -> Result {
        let (inode, _) = self
            .stream
            .get_mut(at..)
            .and_then(|rest| abi::InodeRecord::mut_from_prefix(rest).ok())
            .ok_or(EIO)?;

        f(inode);
        Ok(())
    }

    /// The entry for it in the index.
    pub(crate) fn entry(&self) -> Result<abi::Domain> {
        Ok(abi::Domain {
            len: self.len.try_into()?,
            stream: self.stream.descriptor(),
        })
    }

    /// What is handed over, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.len
    }

    /// The stream, for tests.
    #[cfg(CONFIG_KEXECFS_TEST)]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.stream.get(..self.len).unwrap_or_default()
    }
}

/// Writes a stream, and returns it with its length. See [`Records::new`].
pub(crate) fn stream(
    mut write: impl FnMut(&mut Writer<'_>) -> Result,
) -> Result<(VVec<u8>, usize)> {
    let mut count = Writer::counting();
    write(&mut count)?;

    let mut buf = page_buffer(count.len)?;
    let mut writer = Writer::writing(&mut buf);
    write(&mut writer)?;
    let len = writer.len;

    Ok((buf, len))
}

/// A zeroed buffer of whole pages, so that nothing stale is handed over.
fn page_buffer(len: usize) -> Result<VVec<u8>> {
    let len = page_align(len.max(1)).ok_or(EOVERFLOW)?;

    Ok(VVec::zeroed(len, GFP_KERNEL_ACCOUNT)?)
}

/// Writes records, or counts how many bytes they take.
pub(crate) struct Writer<'a> {
    buf: Option<&'a mut [u8]>,
    len: usize,
    records: u32,
}

impl<'a> Writer<'a> {
    fn counting() -> Self {
        Self {
            buf: None,
            len: 0,
            records: 0,
        }
    }

    /// How many bytes there are so far, if they are only counted.
    pub(crate) fn counted(&self) -> Option<usize> {
        match self.buf {
            None => Some(self.len),
            Some(_) => None,
        }
    }

    fn writing(buf: &'a mut [u8]) -> Self {
        Self {
            buf: Some(buf),
            len: 0,
            records: 0,
        }
    }

    /// Writes a domain with the given files: name, token, and size in bytes.
    ///
    /// `waiting` is for how many seconds nobody has finished it, if it was handed over.
    pub(crate) fn domain<'n>(
        &mut self,
        name: &Name,
        session: Option<&Name>,
        options: &Options,
        waiting: Option<u64>,
        files: impl Iterator<Item = (&'n Name, u64, u64)>,
    ) -> Result {
        let name = name.as_bytes();
        let session = session.map_or(&[][..], |session| session.as_bytes());
        let mut flags = 0;

        if options.errors == Errors::Drop {
            flags |= abi::DOMAIN_DROP;
        }
        if options.persist {
            flags |= abi::DOMAIN_PERSIST;
        }
        let domain = abi::DomainRecord {
            uid: options.uid.val(),
            gid: options.gid.val(),
            mode: options.mode.into(),
            max_fds: options.max_fds,
            name_len: name.len().try_into()?,
            session_len: session.len().try_into()?,
            flags,
        };

        self.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), name, session])?;
        for (name, token, size) in files {
            let name = name.as_bytes();
            let file = abi::FileRecord {
                token,
                size,
                name_len: name.len().try_into()?,
                ..Default::default()
            };

            self.record(abi::RECORD_FILE, &[file.as_bytes(), name])?;
        }
        if knobs::version().1 == 0 {
            return Ok(());
        }
        let limits = abi::LimitsRecord {
            size: options.size.to_record(),
            nr_inodes: options.nr_inodes.to_record(),
        };

        self.record(abi::RECORD_LIMITS, &[limits.as_bytes()])?;
        match waiting {
            Some(seconds) => self.record_with(
                abi::RECORD_WAITING,
                0,
                &[abi::WaitingRecord { seconds }.as_bytes()],
            ),
            None => Ok(()),
        }
    }

    /// Writes what the superblock is known by.
    pub(crate) fn super_block(&mut self, record: &abi::SuperRecord) -> Result {
        self.since_minor(4, abi::RECORD_SUPER, record.as_bytes())
    }

    /// Writes an inode of `data/` with what follows it, and returns where the record lies.
    pub(crate) fn inode(&mut self, inode: &abi::InodeRecord, rest: &[u8]) -> Result<usize> {
        let at = self.len + size_of::<abi::Record>();

        self.record(abi::RECORD_INODE, &[inode.as_bytes(), rest])?;
        Ok(at)
    }

    /// Writes a name in `data/`.
    pub(crate) fn name(&mut self, parent: u32, inode: u32, name: &[u8]) -> Result {
        let record = abi::NameRecord { parent, inode };

        self.record(abi::RECORD_NAME, &[record.as_bytes(), name])
    }

    /// Writes an extended attribute of an inode in `data/`.
    pub(crate) fn xattr(&mut self, inode: u32, name: &[u8], value: &[u8]) -> Result {
        let record = abi::XattrRecord {
            inode,
            name_len: name.len().try_into()?,
            ..Default::default()
        };

        self.record(abi::RECORD_XATTR, &[record.as_bytes(), name, value])
    }

    /// Writes further attributes of an inode in `data/`: an [`abi::AttrRecord`] and what a later
    /// version has added to it.
    pub(crate) fn attr(&mut self, record: &[u8]) -> Result {
        self.since_minor(4, abi::RECORD_ATTR, record)
    }

    /// Writes a record that a reader may skip, unless it is to be read by an older version.
    fn since_minor(&mut self, minor: u16, kind: u16, payload: &[u8]) -> Result {
        if knobs::version().1 < minor {
            return Ok(());
        }
        self.record_with(kind, 0, &[payload])
    }

    /// Writes the end.
    pub(crate) fn end(&mut self) -> Result {
        if let Some((kind, flags)) = knobs::unknown_record() {
            self.record_with(kind, flags, &[b"of another version"])?;
        }
        let end = abi::EndRecord {
            count: self.records,
            ..Default::default()
        };

        self.record(abi::RECORD_END, &[end.as_bytes()])
    }

    /// Writes a record that every reader has to understand.
    pub(crate) fn record(&mut self, kind: u16, parts: &[&[u8]]) -> Result {
        self.record_with(kind, abi::RECORD_MUST_UNDERSTAND, parts)
    }

    /// Writes a record.
    pub(crate) fn record_with(&mut self, kind: u16, flags: u16, parts: &[&[u8]]) -> Result {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let header = abi::Record {
            len: payload.try_into()?,
            kind,
            flags,
        };

        self.bytes(header.as_bytes())?;
        for part in parts {
            self.bytes(part)?;
        }
        self.len = self
            .len
            .checked_next_multiple_of(abi::RECORD_ALIGN)
            .ok_or(EOVERFLOW)?;
        self.records = self.records.checked_add(1).ok_or(EOVERFLOW)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result {
        let end = self.len.checked_add(bytes.len()).ok_or(EOVERFLOW)?;

        if let Some(buf) = &mut self.buf {
            buf.get_mut(self.len..end)
                .ok_or(ENOSPC)?
                .copy_from_slice(bytes);
        }
        self.len = end;
        Ok(())
    }
}

/// What the record of a file says, but for its name.
#[derive(Clone, Copy)]
pub(crate) struct File {
    pub(crate) token: u64,
    pub(crate) size: u64,
}

/// A domain as the previous kernel wrote it down.
pub(crate) struct Arrived {
    pub(crate) name: Name,
    /// The LUO session that holds its files; without one there are none.
    pub(crate) session: Option<Name>,
    pub(crate) options: Options,
    /// What its superblock was known by.
    pub(crate) identity: Option<Identity>,
    /// For how many seconds nobody finished it in earlier kernels.
    pub(crate) waited: u64,
    /// How long its stream is.
    pub(crate) len: usize,
    pub(crate) files: RBTree<Name, File>,
    pub(crate) tree: Option<Arc<Tree>>,
}

/// Why a domain can't be read.
pub(crate) struct Unreadable {
    /// The domain, if that much could be read.
    pub(crate) name: Option<Name>,
    pub(crate) why: &'static str,
    /// The offset in its stream.
    pub(crate) at: usize,
    pub(crate) error: Error,
}

/// What there is of a domain that the previous kernel knew.
pub(crate) enum Found {
    Domain(Arrived),
    /// The kexec has gone on without it: what is left is the LUO session of this name.
    LeftBehind(Name),
    Unreadable(Unreadable),
}

/// Reads what the previous kernel handed over, and calls `each` for every domain.
///
/// The memory of it is freed.
pub(crate) fn read(each: &mut dyn FnMut(Found) -> Result) -> Result {
    let folio = match kho::retrieve_subtree(abi::ENTRY_NAME) {
        Ok(folio) => folio,
        Err(e) if e == ENOENT => return Ok(()),
        Err(e) => {
            pr_err!("the root of what was handed over can't be had: {e:?}\n");
            return Err(e);
        }
    };
    let Ok((root, _)) = abi::Root::ref_from_prefix(&folio) else {
        pr_err!("the root of what was handed over is too short\n");
        return Err(EIO);
    };

    if root.magic != abi::ROOT_MAGIC {
        pr_err!(
            "the root of what was handed over has no magic: {:#x}\n",
            root.magic
        );
        return Err(EIO);
    }
    if root.major != abi::MAJOR {
        pr_err!(
            "what was handed over has version {}.{}, this kernel reads {}.x; \
             its files are plain LUO sessions\n",
            root.major,
            root.minor,
            abi::MAJOR
        );
        return Err(EIO);
    }
    match root.seal {
        abi::SEAL_MAGIC => read_index(&folio, root, each),
        0 => Ok(()),
        seal => {
            pr_err!("the root of what was handed over has no seal: {seal:#x}\n");
            Err(EIO)
        }
    }
}

/// Reads the index that `root`, which lies in `folio`, tells of.
fn read_index(
    folio: &RestoredFolio,
    root: &abi::Root,
    each: &mut dyn FnMut(Found) -> Result,
) -> Result {
    let index = RestoredVmalloc::new(folio, offset_of!(abi::Root, index)).inspect_err(|e| {
        pr_err!("the index of what was handed over can't be had: {e:?}\n");
    })?;
    let count = usize::try_from(root.count)?;

    if count > index.len() / size_of::<abi::Domain>() {
        pr_err!("the index of what was handed over is too short for {count} domains\n");
        return Err(EIO);
    }
    for (number, entry) in index
        .chunks_exact(size_of::<abi::Domain>())
        .take(count)
        .enumerate()
    {
        let at = number * size_of::<abi::Domain>();
        let Ok((entry, _)) = abi::Domain::ref_from_prefix(entry) else {
            return Err(EIO);
        };

        let is_left_behind = entry.len & abi::DOMAIN_LEFT_BEHIND != 0;

        each(match read_domain(&index, at, entry) {
            Ok(arrived) if is_left_behind => Found::LeftBehind(match arrived.session {
                Some(session) => session,
                None => arrived.name.session()?,
            }),
            Ok(arrived) => Found::Domain(arrived),
            Err(unreadable) => Found::Unreadable(unreadable),
        })?;
    }
    Ok(())
}

/// Reads the domain of `entry`, which lies `at` so many bytes in the index.
fn read_domain(
    index: &RestoredVmalloc,
    at: usize,
    entry: &abi::Domain,
) -> Result<Arrived, Unreadable> {
    let unreadable = |why, error| Unreadable {
        name: None,
        why,
        at: 0,
        error,
    };
    let area = RestoredVmalloc::new(index, at + offset_of!(abi::Domain, stream))
        .map_err(|e| unreadable("its memory can't be had", e))?;
    let stream = usize::try_from(entry.len & !abi::DOMAIN_LEFT_BEHIND)
        .ok()
        .filter(|len| len % abi::RECORD_ALIGN == 0 && page_align(*len) == Some(area.len()))
        .and_then(|len| area.get(..len))
        .ok_or_else(|| unreadable("its stream has another length than its memory", EIO))?;

    let len = stream.len();
    let (mut arrived, index) = Reader::new(stream).domain()?;

    arrived.len = len;
    if !index.is_empty() {
        let tree = Arc::new(Tree::new(area, len, index), GFP_KERNEL)
            .map_err(|e| unreadable("no memory", e.into()))?;

        arrived.tree = Some(tree);
    }
    Ok(arrived)
}

/// Reads the records of one domain.
struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
    records: u32,
}

impl<'a> Reader<'a> {
    fn new(stream: &'a [u8]) -> Self {
        Self {
            stream,
            at: 0,
            records: 0,
        }
    }

    fn domain(mut self) -> Result<(Arrived, Index), Unreadable> {
        let mut arrived = None;
        let mut index = Index::default();

        match self.records(&mut arrived, &mut index) {
            Ok(()) => arrived.map(|arrived| (arrived, index)).ok_or(Unreadable {
                name: None,
                why: "it has no record of the domain",
                at: 0,
                error: EIO,
            }),
            Err((why, error)) => Err(Unreadable {
                name: arrived.map(|arrived| arrived.name),
                why,
                at: self.at,
                error,
            }),
        }
    }

    /// Reads up to the end of the stream; what was read of the domain until then is in `arrived`.
    fn records(
        &mut self,
        arrived: &mut Option<Arrived>,
        index: &mut Index,
    ) -> Result<(), (&'static str, Error)> {
        // Every token has a file of its own.
        let mut tokens = RBTree::new();

        loop {
            let (header, rest) = self
                .stream
                .get(self.at..)
                .and_then(|rest| abi::Record::ref_from_prefix(rest).ok())
                .ok_or(("it ends without a record of the end", EIO))?;
            let padded = usize::try_from(header.len)
                .ok()
                .and_then(|len| len.checked_next_multiple_of(abi::RECORD_ALIGN))
                .and_then(|padded| rest.get(..padded))
                .ok_or(("a record is longer than the stream", EIO))?;
            let (payload, padding) = padded
                .split_at_checked(header.len as usize)
                .ok_or(("a record is longer than the stream", EIO))?;

            if padding.iter().any(|&byte| byte != 0) {
                return Err(("something follows a record", EIO));
            }
            match (header.kind, arrived.as_mut()) {
                (abi::RECORD_DOMAIN, None) => *arrived = Some(domain(payload)?),
                (abi::RECORD_DOMAIN, Some(_)) => {
                    return Err(("there are two records of the domain", EIO));
                }
                (_, None) => return Err(("its first record is not that of the domain", EIO)),
                (abi::RECORD_FILE, Some(arrived)) => file(payload, arrived, &mut tokens)?,
                (abi::RECORD_LIMITS, Some(arrived)) => limits(payload, arrived)?,
                (abi::RECORD_WAITING, Some(arrived)) => waiting(payload, arrived)?,
                (abi::RECORD_SUPER, Some(arrived)) => super_block(payload, arrived)?,
                (abi::RECORD_ATTR, Some(arrived)) => {
                    let next_ino = arrived.identity.as_ref().map(Identity::next_ino);

                    index.add_attr(payload, self.at + size_of::<abi::Record>(), next_ino)?;
                }
                (abi::RECORD_INODE, Some(_)) => {
                    let at = self.at + size_of::<abi::Record>();

                    if let Some(token) = index.add_inode(payload, at)? {
                        new_token(token, &mut tokens)?;
                    }
                }
                (abi::RECORD_NAME, Some(_)) => {
                    index.add_name(payload, self.at + size_of::<abi::Record>())?;
                }
                (abi::RECORD_XATTR, Some(_)) => {
                    index.add_xattr(payload, self.at + size_of::<abi::Record>())?;
                }
                (abi::RECORD_END, Some(_)) => {
                    self.end(payload, rest.len() - padded.len())?;
                    return index.check(self.stream);
                }
                _ if header.flags & abi::RECORD_MUST_UNDERSTAND != 0 => {
                    return Err(("a record has a type that this kernel doesn't know", EIO));
                }
                _ => {}
            }
            self.at += size_of::<abi::Record>() + padded.len();
            self.records += 1;
        }
    }

    fn end(&self, payload: &[u8], left: usize) -> Result<(), (&'static str, Error)> {
        let end = abi::EndRecord::ref_from_bytes(payload)
            .map_err(|_| ("the record of the end has another length", EIO))?;

        if end.count != self.records {
            return Err(("there are more or fewer records than its end says", EIO));
        }
        if left != 0 {
            return Err(("something follows its end", EIO));
        }
        Ok(())
    }
}

fn domain(payload: &[u8]) -> Result<Arrived, (&'static str, Error)> {
    let (record, names) = abi::DomainRecord::ref_from_prefix(payload)
        .map_err(|_| ("the record of the domain is too short", EIO))?;
    let (name, session) = names
        .split_at_checked(record.name_len.into())
        .filter(|(_, session)| session.len() == usize::from(record.session_len))
        .ok_or((
            "the names of the domain and its session have other lengths",
            EIO,
        ))?;
    let name = Name::of_domain(name).map_err(|e| ("the name of the domain is illegal", io(e)))?;
    let legal = session.is_empty()
        || session.len() <= abi::SESSION_NAME_MAX
            && session.starts_with(abi::SESSION_PREFIX.to_bytes())
            && session.iter().all(|c| c.is_ascii_graphic());

    if !legal {
        return Err(("the name of its session is illegal", EIO));
    }
    let session = match session {
        [] => None,
        session => Some(Name::of_session(session).map_err(|e| ("no memory", e))?),
    };
    let options = || {
        let mode = u16::try_from(record.mode).ok()?;

        (mode & !kernel::fs::Mode::ALL == 0).then_some(Options {
            uid: Kuid::from_val(record.uid)?,
            gid: Kgid::from_val(record.gid)?,
            mode,
            max_fds: record.max_fds,
            size: Limit::DEFAULT,
            nr_inodes: Limit::DEFAULT,
            errors: if record.flags & abi::DOMAIN_DROP == 0 {
                Errors::Refuse
            } else {
                Errors::Drop
            },
            persist: record.flags & abi::DOMAIN_PERSIST != 0,
        })
    };

    Ok(Arrived {
        name,
        session,
        options: options().ok_or(("the owner or mode of the domain is illegal", EIO))?,
        identity: None,
        waited: 0,
        len: 0,
        files: RBTree::new(),
        tree: None,
    })
}

fn file(
    payload: &[u8],
    arrived: &mut Arrived,
    tokens: &mut RBTree<u64, ()>,
) -> Result<(), (&'static str, Error)> {
    let (record, name) = abi::FileRecord::ref_from_prefix(payload)
        .map_err(|_| ("the record of a file is too short", EIO))?;

    if name.len() != usize::from(record.name_len) {
        return Err(("the name of a file has another length", EIO));
    }
    if record.size > i64::MAX as u64 {
        return Err(("the size of a file is too large", EIO));
    }
    let name = Name::of_file(name).map_err(|e| ("the name of a file is illegal", io(e)))?;
    let file = File {
        token: record.token,
        size: record.size,
    };

    if arrived.files.get(&name).is_some() {
        return Err(("two files have the same name", EIO));
    }
    new_token(record.token, tokens)?;
    arrived
        .files
        .try_create_and_insert(name, file, GFP_KERNEL)
        .map_err(|e| ("no memory", e))?;
    Ok(())
}

fn new_token(token: u64, tokens: &mut RBTree<u64, ()>) -> Result<(), (&'static str, Error)> {
    let twice = tokens
        .try_create_and_insert(token, (), GFP_KERNEL)
        .map_err(|e| ("no memory", e))?;

    match twice {
        Some(_) => Err(("two files have the same token", EIO)),
        None => Ok(()),
    }
}

fn limits(payload: &[u8], arrived: &mut Arrived) -> Result<(), (&'static str, Error)> {
    let record = abi::LimitsRecord::ref_from_bytes(payload)
        .map_err(|_| ("the record of the limits has another length", EIO))?;

    arrived.options.size = Limit::from_record(record.size);
    arrived.options.nr_inodes = Limit::from_record(record.nr_inodes);
    Ok(())
}

fn waiting(payload: &[u8], arrived: &mut Arrived) -> Result<(), (&'static str, Error)> {
    let record = abi::WaitingRecord::ref_from_bytes(payload)
        .map_err(|_| ("the record of its waiting has another length", EIO))?;

    arrived.waited = record.seconds;
    Ok(())
}

fn super_block(payload: &[u8], arrived: &mut Arrived) -> Result<(), (&'static str, Error)> {
    let (record, _) = abi::SuperRecord::ref_from_prefix(payload)
        .map_err(|_| ("the record of the superblock is too short", EIO))?;
    let identity = Identity::from_record(record)
        .ok_or(("the superblock has an illegal UUID or number", EIO))?;

    match arrived.identity.replace(identity) {
        Some(_) => Err(("there are two records of the superblock", EIO)),
        None => Ok(()),
    }
}

/// Whether a stream can be read, for [`crate::test::knobs`].
#[cfg(CONFIG_KEXECFS_TEST)]
pub(crate) fn is_readable(stream: &[u8]) -> bool {
    Reader::new(stream).domain().is_ok()
}

/// What is illegal in a name that was handed over is no invalid argument of anybody here.
fn io(e: Error) -> Error {
    if e == EINVAL {
        EIO
    } else {
        e
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_handover)]
mod tests {
    use super::*;

    const FLAGS_AT: usize = 6;

    /// A stream for the tests to damage, which is as long as it says.
    fn stream(write: impl FnMut(&mut Writer<'_>) -> Result) -> Result<VVec<u8>> {
        let (mut buf, len) = super::stream(write)?;

        buf.truncate(len);
        Ok(buf)
    }

    fn domain_record(name: &[u8], session: &[u8]) -> abi::DomainRecord {
        abi::DomainRecord {
            uid: 1000,
            gid: 1001,
            mode: 0o750,
            max_fds: 7,
            name_len: name.len() as u16,
            session_len: session.len() as u16,
            ..Default::default()
        }
    }

    fn file_record(token: u64, name: &[u8]) -> abi::FileRecord {
        abi::FileRecord {
            token,
            size: 4096,
            name_len: name.len() as u16,
            ..Default::default()
        }
    }

    /// A domain, files, whatever `more` writes, and the end.
    fn domain_with(
        files: &[(u64, &[u8])],
        mut more: impl FnMut(&mut Writer<'_>) -> Result,
    ) -> Result<VVec<u8>> {
        stream(|writer| {
            let domain = domain_record(b"vm1", b"kexecfs:vm1");

            writer.record(
                abi::RECORD_DOMAIN,
                &[domain.as_bytes(), b"vm1", b"kexecfs:vm1"],
            )?;
            for (token, name) in files {
                let file = file_record(*token, name);

                writer.record(abi::RECORD_FILE, &[file.as_bytes(), name])?;
            }
            more(writer)?;
            end(writer, writer.records)
        })
    }

    fn end(writer: &mut Writer<'_>, count: u32) -> Result {
        let end = abi::EndRecord {
            count,
            ..Default::default()
        };

        writer.record(abi::RECORD_END, &[end.as_bytes()])
    }

    fn why(stream: &[u8]) -> &'static str {
        Reader::new(stream).domain().err().map_or("", |e| e.why)
    }

    #[test]
    fn what_is_written_is_read() -> Result {
        let name = Name::of_domain(b"vm1")?;
        let session = name.session()?;
        let options = Options::new()?;
        let (ram, tail) = (Name::of_file(b"ram of vm")?, Name::of_file(b"\xc3\xa4")?);
        let files = [(&ram, 3, 4096), (&tail, u64::MAX, 0)];
        let stream = stream(|writer| {
            writer.domain(&name, Some(&session), &options, Some(7), files.into_iter())?;
            writer.end()
        })?;
        let Ok((arrived, _)) = Reader::new(&stream).domain() else {
            return Err(EIO);
        };

        assert!(arrived.name == name && arrived.session == Some(session));
        assert!(arrived.options == options && arrived.waited == 7);
        assert_eq!(arrived.files.iter().count(), 2);
        for (name, token, size) in files {
            let file = arrived.files.get(name).ok_or(ENOENT)?;

            assert!(file.token == token && file.size == size);
        }
        Ok(())
    }

    #[test]
    fn a_domain_without_files_has_no_session() -> Result {
        let name = Name::of_domain(b"vm1")?;
        let options = Options::new()?;
        let stream = stream(|writer| {
            writer.domain(&name, None, &options, None, core::iter::empty())?;
            writer.end()
        })?;
        let (arrived, _) = Reader::new(&stream).domain().map_err(|e| e.error)?;

        assert!(arrived.session.is_none() && arrived.files.is_empty());
        Ok(())
    }

    #[test]
    fn a_stream_that_is_cut_is_unreadable() -> Result {
        let whole = domain_with(&[(0, b"a"), (1, b"b")], |_| Ok(()))?;

        assert!(Reader::new(&whole).domain().is_ok());
        for len in 0..whole.len() {
            let cut = whole.get(..len).ok_or(EINVAL)?;

            assert!(Reader::new(cut).domain().is_err());
        }
        Ok(())
    }

    #[test]
    fn no_byte_can_be_changed_into_a_crash() -> Result {
        let mut damaged = domain_with(&[(0, b"a"), (1, b"b")], |writer| {
            let dir = abi::InodeRecord {
                mode: 0o040755,
                ..Default::default()
            };
            let file = abi::InodeRecord {
                mode: 0o100644,
                size: 8,
                ..Default::default()
            };

            writer.inode(&dir, b"")?;
            writer.inode(&file, b"contents")?;
            writer.name(0, 1, b"name")?;
            writer.xattr(1, b"user.a", b"value")
        })?;

        for at in 0..damaged.len() {
            for bit in 0..8 {
                let Some(byte) = damaged.get_mut(at) else {
                    return Err(EINVAL);
                };

                *byte ^= 1 << bit;
                let _ = Reader::new(&damaged).domain();
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
        }
        assert!(Reader::new(&damaged).domain().is_ok());
        Ok(())
    }

    #[test]
    fn an_unknown_record_is_skipped_unless_it_must_be_understood() -> Result {
        let mut at = 0;
        let mut stream = domain_with(&[], |writer| {
            at = writer.len;
            writer.record(4711, &[b"from another version"])
        })?;

        assert!(!why(&stream).is_empty());
        *stream.get_mut(at + FLAGS_AT).ok_or(EINVAL)? = 0;
        assert!(why(&stream).is_empty());
        Ok(())
    }

    #[test]
    fn names_and_tokens_are_unique() -> Result {
        let same_name = domain_with(&[(0, b"a"), (1, b"a")], |_| Ok(()))?;
        let same_token = domain_with(&[(0, b"a"), (0, b"b")], |_| Ok(()))?;

        assert_eq!(why(&same_name), "two files have the same name");
        assert_eq!(why(&same_token), "two files have the same token");
        Ok(())
    }

    #[test]
    fn illegal_names_are_unreadable() -> Result {
        for name in [&b""[..], b".", b"a/b", b"a\0", b"\n"] {
            assert!(!why(&domain_with(&[(0, name)], |_| Ok(()))?).is_empty());
        }
        for (name, session) in [
            (&b"none"[..], &b""[..]),
            (b"", b"kexecfs:"),
            (b"a b", b""),
            (b"vm1", b"other"),
            (b"vm1", b"kexecfs:a b"),
        ] {
            let stream = stream(|writer| {
                let domain = domain_record(name, session);

                writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), name, session])?;
                end(writer, writer.records)
            })?;

            assert!(!why(&stream).is_empty());
        }
        Ok(())
    }

    #[test]
    fn there_is_one_domain_first_and_one_end_last() -> Result {
        let second = domain_with(&[], |writer| {
            let domain = domain_record(b"vm2", b"");

            writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), b"vm2"])
        })?;
        let early = domain_with(&[], |writer| end(writer, writer.records))?;
        let miscounted = domain_with(&[], |writer| {
            writer.records += 1;
            Ok(())
        })?;
        let headless = stream(|writer| end(writer, 0))?;

        assert_eq!(why(&second), "there are two records of the domain");
        assert_eq!(why(&early), "something follows its end");
        assert!(!why(&miscounted).is_empty());
        assert_eq!(why(&headless), "its first record is not that of the domain");
        Ok(())
    }

    #[test]
    fn an_unreadable_domain_keeps_its_name() -> Result {
        let stream = domain_with(&[(0, b"a"), (0, b"b")], |_| Ok(()))?;
        let Err(unreadable) = Reader::new(&stream).domain() else {
            return Err(EINVAL);
        };

        assert!(unreadable.name == Some(Name::of_domain(b"vm1")?));
        assert!(unreadable.error == EIO && unreadable.at != 0);
        Ok(())
    }
}
