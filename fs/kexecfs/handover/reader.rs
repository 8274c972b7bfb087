// SPDX-License-Identifier: GPL-2.0-only

//! The records of a domain, from the previous kernel.

use super::{
    frame::{
        no_memory,
        Checked,
        Frame,
        RESERVED, //
    },
    tree::{
        Index,
        Tree, //
    },
    twins::has_twins, //
};
use crate::{
    identity::Identity,
    words::{
        name::Name,
        options::{
            huge_from_record,
            Errors,
            Limit,
            Options, //
        }, //
    }, //
};
use kernel::{
    kho::abi::kexecfs as abi,
    prelude::*,
    rbtree::RBTree,
    sync::Arc,
    task::{
        Kgid,
        Kuid, //
    }, //
};

/// A preserved file: its record, but for its name.
#[derive(Clone, Copy)]
pub(crate) struct IncomingFile {
    pub(crate) token: u64,
    /// In bytes.
    pub(crate) size: u64,
}

/// A domain that the previous kernel handed over.
pub(crate) struct IncomingDomain {
    pub(crate) name: Name,
    /// The LUO session that holds its files; without one there are none.
    pub(crate) session: Option<Name>,
    pub(crate) options: Options,
    /// The identity of its superblock.
    pub(crate) identity: Identity,
    /// For how many seconds it waited to be finished in earlier kernels.
    pub(crate) waited: u64,
    /// The length of its stream, in bytes.
    pub(crate) len: usize,
    pub(crate) files: RBTree<Name, IncomingFile>,
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

/// Reads the records of one domain.
pub(crate) struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
    records: u32,
    /// The name of a domain whose first record can't be read for another reason.
    name: Option<Name>,
    /// The domain as far as it has been read, from the first record on.
    domain: Option<IncomingDomain>,
    index: Index,
    tokens: KVVec<u64>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(stream: &'a [u8]) -> Self {
        Self {
            stream,
            at: 0,
            records: 0,
            name: None,
            domain: None,
            index: Index::default(),
            tokens: KVVec::new(),
        }
    }

    /// Reads the whole stream.
    ///
    /// # Errors
    ///
    /// `EIO` if it breaks a rule of the ABI, `ENOMEM`.
    pub(crate) fn domain(mut self) -> Result<(IncomingDomain, Index), Unreadable> {
        let result = self.all_records();
        let (why, error) = match (result, self.domain) {
            (Ok(()), Some(domain)) => return Ok((domain, self.index)),
            (Ok(()), None) => ("it has no record of the domain", EIO),
            (Err(why), domain) => {
                self.name = self.name.or(domain.map(|domain| domain.name));
                why
            }
        };

        Err(Unreadable {
            name: self.name,
            why,
            at: self.at,
            error,
        })
    }

    /// Reads up to the end of the stream.
    fn all_records(&mut self) -> Checked<()> {
        self.index.reserve(self.expected())?;
        loop {
            let frame = Frame::read(self.stream, self.at)?;

            if frame.kind == abi::RECORD_END && self.domain.is_some() {
                self.end(&frame)?;
                self.check_tokens()?;
                return self.index.check(self.stream);
            }
            self.record(&frame)?;
            self.at = frame.end;
            self.records += 1;
        }
    }

    /// How many records the end says that there are, if the stream has room for them.
    fn expected(&self) -> usize {
        let end = size_of::<abi::EndRecord>();
        let count = self
            .stream
            .len()
            .checked_sub(end)
            .and_then(|at| abi::EndRecord::ref_from_bytes(self.stream.get(at..)?).ok())
            .map_or(0, |end| end.count as usize);

        count.min(self.stream.len() / size_of::<abi::InodeRecord>())
    }

    /// Reads a record that isn't the last one.
    fn record(&mut self, frame: &Frame<'_>) -> Checked<()> {
        check_flags(frame)?;
        let (payload, at) = (frame.payload, frame.at);
        let domain = match (frame.kind, self.domain.as_mut()) {
            (abi::RECORD_DOMAIN, None) => return self.first(payload),
            (abi::RECORD_DOMAIN, Some(_)) => {
                return Err(("there are two records of the domain", EIO));
            }
            (_, None) => return Err(("its first record is not that of the domain", EIO)),
            (_, Some(domain)) => domain,
        };

        match frame.kind {
            abi::RECORD_FILE => {
                let token = file(payload, domain)?;

                self.tokens.push(token, GFP_KERNEL).map_err(no_memory)
            }
            abi::RECORD_INODE => {
                let next_ino = domain.identity.next_ino();

                match self.index.add_inode(payload, at, next_ino)? {
                    Some(token) => self.tokens.push(token, GFP_KERNEL).map_err(no_memory),
                    None => Ok(()),
                }
            }
            abi::RECORD_NAME => self.index.add_name(payload, at),
            abi::RECORD_XATTR => self.index.add_xattr(payload, at),
            abi::RECORD_HUGE => huge(payload, &mut domain.options),
            _ if frame.flags & abi::RECORD_MUST_UNDERSTAND != 0 => {
                Err(("a record has a type that this kernel doesn't know", EIO))
            }
            _ => Ok(()),
        }
    }

    /// Reads the record of the domain.
    fn first(&mut self, payload: &[u8]) -> Checked<()> {
        let (record, names) = abi::DomainRecord::ref_from_prefix(payload)
            .map_err(|_| ("the record of the domain is too short", EIO))?;
        let (name, session) = split_names(record, names)?;

        match options_and_identity(record) {
            Ok((options, identity)) => {
                self.domain = Some(IncomingDomain {
                    name,
                    session,
                    options,
                    identity,
                    waited: record.waited,
                    len: 0,
                    files: RBTree::new(),
                    tree: None,
                });
                Ok(())
            }
            Err(why) => {
                self.name = Some(name);
                Err(why)
            }
        }
    }

    /// Checks that every token has a file of its own.
    fn check_tokens(&self) -> Checked<()> {
        let token = |number: usize| self.tokens.get(number);

        match has_twins(self.tokens.len(), token).map_err(no_memory)? {
            true => Err(("two files have the same token", EIO)),
            false => Ok(()),
        }
    }

    fn end(&self, frame: &Frame<'_>) -> Checked<()> {
        check_flags(frame)?;
        let end = abi::EndRecord::ref_from_bytes(frame.payload)
            .map_err(|_| ("the record of the end has another length", EIO))?;

        if end.count != self.records {
            return Err(("there are more or fewer records than its end says", EIO));
        }
        if end.reserved != 0 {
            return Err(RESERVED);
        }
        if frame.end != self.stream.len() {
            return Err(("something follows its end", EIO));
        }
        Ok(())
    }
}

/// Checks that a record of a type that has to be understood says so.
fn check_flags(frame: &Frame<'_>) -> Checked<()> {
    let known = matches!(
        frame.kind,
        abi::RECORD_DOMAIN
            | abi::RECORD_FILE
            | abi::RECORD_INODE
            | abi::RECORD_NAME
            | abi::RECORD_XATTR
            | abi::RECORD_END
    );

    if known && frame.flags & abi::RECORD_MUST_UNDERSTAND == 0 {
        return Err(("a record of a known type says that it may be skipped", EIO));
    }
    Ok(())
}

/// Checks features of a root or a domain.
pub(super) fn check_features(features: &abi::Features) -> Checked<()> {
    if features.required & !features.active != 0 || features.active & !features.supported != 0 {
        return Err(("its features contradict each other", EIO));
    }
    if features.required & !abi::FEATURES != 0 {
        return Err(("it requires features that this kernel doesn't have", EIO));
    }
    Ok(())
}

/// Returns the name of a domain and that of its session, which are all of `names`.
fn split_names(record: &abi::DomainRecord, names: &[u8]) -> Checked<(Name, Option<Name>)> {
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

    Ok((name, session))
}

/// Checks all of the record of a domain but its names.
fn options_and_identity(record: &abi::DomainRecord) -> Checked<(Options, Identity)> {
    check_features(&record.features)?;
    if record.flags & !(abi::DOMAIN_DROP | abi::DOMAIN_PERSIST) != 0 {
        return Err(RESERVED);
    }
    let options = || {
        let mode = u16::try_from(record.mode).ok()?;

        (mode & !kernel::fs::Mode::ALL == 0).then_some(Options {
            uid: Kuid::from_val(record.uid)?,
            gid: Kgid::from_val(record.gid)?,
            mode,
            max_fds: record.max_fds,
            size: Limit::from_record(record.size),
            nr_inodes: Limit::from_record(record.nr_inodes),
            errors: if record.flags & abi::DOMAIN_DROP == 0 {
                Errors::Refuse
            } else {
                Errors::Drop
            },
            persist: record.flags & abi::DOMAIN_PERSIST != 0,
            huge: None,
        })
    };
    let options = options().ok_or(("the owner or mode of the domain is illegal", EIO))?;
    let identity = Identity::restore(record.uuid, record.next_ino)
        .ok_or(("the superblock has an illegal UUID or number", EIO))?;

    Ok((options, identity))
}

/// Adds to the options when `data/` gets huge pages. That there are none in this kernel, or on this
/// machine, is no error.
fn huge(payload: &[u8], options: &mut Options) -> Checked<()> {
    let record = abi::HugeRecord::ref_from_bytes(payload)
        .map_err(|_| ("the record of huge pages has another length", EIO))?;

    if record.reserved != 0 {
        return Err(RESERVED);
    }
    let huge = huge_from_record(record.huge).ok_or(("huge= has no such value", EIO))?;

    if options.huge.replace(huge).is_some() {
        return Err(("there are two records of huge pages", EIO));
    }
    Ok(())
}

/// Adds a preserved file to a domain, and returns its token.
fn file(payload: &[u8], domain: &mut IncomingDomain) -> Checked<u64> {
    let (record, name) = abi::FileRecord::ref_from_prefix(payload)
        .map_err(|_| ("the record of a file is too short", EIO))?;

    if name.len() != usize::from(record.name_len) {
        return Err(("the name of a file has another length", EIO));
    }
    if record.size > i64::MAX as u64 {
        return Err(("the size of a file is too large", EIO));
    }
    if record.reserved != [0; 3] {
        return Err(RESERVED);
    }
    let name = Name::of_file(name).map_err(|e| ("the name of a file is illegal", io(e)))?;
    let file = IncomingFile {
        token: record.token,
        size: record.size,
    };

    if domain.files.get(&name).is_some() {
        return Err(("two files have the same name", EIO));
    }
    domain
        .files
        .try_create_and_insert(name, file, GFP_KERNEL)
        .map_err(|e| ("no memory", e))?;
    Ok(record.token)
}

/// Makes an illegal name in a record an I/O error: no caller here has passed it.
fn io(e: Error) -> Error {
    if e == EINVAL {
        EIO
    } else {
        e
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[path = "reader_tests.rs"]
mod tests;
