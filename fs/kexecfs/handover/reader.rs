// SPDX-License-Identifier: GPL-2.0-only

//! The records of a domain, from the previous kernel.

use super::tree::{
    Checked,
    Frame,
    Index,
    Tree, //
};
use crate::{
    identity::Identity,
    words::{
        name::Name,
        options::{
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
    pub(crate) identity: Option<Identity>,
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
    /// What has been read so far, from the first record on.
    domain: Option<IncomingDomain>,
    index: Index,
    /// Every token has a file of its own.
    tokens: RBTree<u64, ()>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(stream: &'a [u8]) -> Self {
        Self {
            stream,
            at: 0,
            records: 0,
            domain: None,
            index: Index::default(),
            tokens: RBTree::new(),
        }
    }

    /// Reads the whole stream.
    ///
    /// # Errors
    ///
    /// `EIO` if it breaks a rule of the ABI, `ENOMEM`.
    pub(crate) fn domain(mut self) -> Result<(IncomingDomain, Index), Unreadable> {
        let unreadable = |name, (why, error), at| Unreadable {
            name,
            why,
            at,
            error,
        };

        match (self.all_records(), self.domain) {
            (Ok(()), Some(domain)) => Ok((domain, self.index)),
            (Ok(()), None) => Err(unreadable(
                None,
                ("it has no record of the domain", EIO),
                self.at,
            )),
            (Err(why), domain) => Err(unreadable(domain.map(|domain| domain.name), why, self.at)),
        }
    }

    /// Reads up to the end of the stream.
    fn all_records(&mut self) -> Checked<()> {
        loop {
            let frame = Frame::read(self.stream, self.at)?;

            if frame.kind == abi::RECORD_END && self.domain.is_some() {
                self.end(&frame)?;
                return self.index.check(self.stream);
            }
            self.record(&frame)?;
            self.at = frame.end;
            self.records += 1;
        }
    }

    /// Reads a record that isn't the last one.
    fn record(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let (payload, at) = (frame.payload, frame.at);
        let domain = match (frame.kind, self.domain.as_mut()) {
            (abi::RECORD_DOMAIN, None) => {
                self.domain = Some(domain_record(payload)?);
                return Ok(());
            }
            (abi::RECORD_DOMAIN, Some(_)) => {
                return Err(("there are two records of the domain", EIO));
            }
            (_, None) => return Err(("its first record is not that of the domain", EIO)),
            (_, Some(domain)) => domain,
        };

        match frame.kind {
            abi::RECORD_FILE => file(payload, domain, &mut self.tokens),
            abi::RECORD_LIMITS => limits(payload, domain),
            abi::RECORD_WAITING => waiting(payload, domain),
            abi::RECORD_SUPER => super_block(payload, domain),
            abi::RECORD_INODE => match self.index.add_inode(payload, at)? {
                Some(token) => new_token(token, &mut self.tokens),
                None => Ok(()),
            },
            abi::RECORD_ATTR => {
                let next_ino = domain.identity.as_ref().map(Identity::next_ino);

                self.index.add_attr(payload, at, next_ino)
            }
            abi::RECORD_NAME => self.index.add_name(payload, at),
            abi::RECORD_XATTR => self.index.add_xattr(payload, at),
            _ if frame.flags & abi::RECORD_MUST_UNDERSTAND != 0 => {
                Err(("a record has a type that this kernel doesn't know", EIO))
            }
            _ => Ok(()),
        }
    }

    fn end(&self, frame: &Frame<'_>) -> Checked<()> {
        let end = abi::EndRecord::ref_from_bytes(frame.payload)
            .map_err(|_| ("the record of the end has another length", EIO))?;

        if end.count != self.records {
            return Err(("there are more or fewer records than its end says", EIO));
        }
        if frame.end != self.stream.len() {
            return Err(("something follows its end", EIO));
        }
        Ok(())
    }
}

fn domain_record(payload: &[u8]) -> Checked<IncomingDomain> {
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

    Ok(IncomingDomain {
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

fn file(payload: &[u8], domain: &mut IncomingDomain, tokens: &mut RBTree<u64, ()>) -> Checked<()> {
    let (record, name) = abi::FileRecord::ref_from_prefix(payload)
        .map_err(|_| ("the record of a file is too short", EIO))?;

    if name.len() != usize::from(record.name_len) {
        return Err(("the name of a file has another length", EIO));
    }
    if record.size > i64::MAX as u64 {
        return Err(("the size of a file is too large", EIO));
    }
    let name = Name::of_file(name).map_err(|e| ("the name of a file is illegal", io(e)))?;
    let file = IncomingFile {
        token: record.token,
        size: record.size,
    };

    if domain.files.get(&name).is_some() {
        return Err(("two files have the same name", EIO));
    }
    new_token(record.token, tokens)?;
    domain
        .files
        .try_create_and_insert(name, file, GFP_KERNEL)
        .map_err(|e| ("no memory", e))?;
    Ok(())
}

fn new_token(token: u64, tokens: &mut RBTree<u64, ()>) -> Checked<()> {
    let twice = tokens
        .try_create_and_insert(token, (), GFP_KERNEL)
        .map_err(|e| ("no memory", e))?;

    match twice {
        Some(_) => Err(("two files have the same token", EIO)),
        None => Ok(()),
    }
}

fn limits(payload: &[u8], domain: &mut IncomingDomain) -> Checked<()> {
    let record = abi::LimitsRecord::ref_from_bytes(payload)
        .map_err(|_| ("the record of the limits has another length", EIO))?;

    domain.options.size = Limit::from_record(record.size);
    domain.options.nr_inodes = Limit::from_record(record.nr_inodes);
    Ok(())
}

fn waiting(payload: &[u8], domain: &mut IncomingDomain) -> Checked<()> {
    let record = abi::WaitingRecord::ref_from_bytes(payload)
        .map_err(|_| ("the record of its waiting has another length", EIO))?;

    domain.waited = record.seconds;
    Ok(())
}

fn super_block(payload: &[u8], domain: &mut IncomingDomain) -> Checked<()> {
    let (record, _) = abi::SuperRecord::ref_from_prefix(payload)
        .map_err(|_| ("the record of the superblock is too short", EIO))?;
    let identity = Identity::from_record(record)
        .ok_or(("the superblock has an illegal UUID or number", EIO))?;

    match domain.identity.replace(identity) {
        Some(_) => Err(("there are two records of the superblock", EIO)),
        None => Ok(()),
    }
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
#[path = "reader_tests.rs"]
mod tests;
