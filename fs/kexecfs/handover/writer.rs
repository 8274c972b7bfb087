// SPDX-License-Identifier: GPL-2.0-only

//! The records of a domain, for the next kernel.

use super::hooks::hooks;
use crate::{
    identity::Identity,
    words::{
        name::Name,
        options::{
            huge_to_record,
            Errors,
            Options, //
        }, //
    }, //
};
use kernel::{
    kho::{
        abi::kexecfs as abi,
        PreservedVmalloc, //
    },
    page::page_align,
    prelude::*,
};

/// The features of the records of this kernel: it uses all that it knows, and requires those that a
/// reader can't pass over. There are none of either yet.
pub(super) const FEATURES: abi::Features = abi::Features {
    supported: abi::FEATURES,
    required: 0,
    active: abi::FEATURES,
};

/// How many bytes a record with a payload of `payload` bytes takes, its header and padding
/// included.
///
/// # Errors
///
/// `EOVERFLOW`.
pub(crate) fn record_len(payload: usize) -> Result<usize> {
    payload
        .checked_next_multiple_of(abi::RECORD_ALIGN)
        .and_then(|padded| padded.checked_add(size_of::<abi::Record>()))
        .ok_or(EOVERFLOW)
}

/// How many bytes [`Writer::domain`] writes.
pub(crate) fn domain_len(name: &Name, session: &Name) -> Result<usize> {
    record_len(size_of::<abi::DomainRecord>() + name.as_bytes().len() + session.as_bytes().len())
}

/// How many bytes [`Writer::end`] writes.
pub(crate) const END_LEN: usize = size_of::<abi::Record>() + size_of::<abi::EndRecord>();

/// A serialized domain, in memory that KHO preserves.
pub(crate) struct Records {
    stream: PreservedVmalloc,
    len: usize,
}

impl Records {
    /// Serializes a domain whose records take at most `len` bytes, as the caller has planned.
    ///
    /// `write` writes all of them, [`Writer::end`] included.
    ///
    /// # Errors
    ///
    /// `EIO` if `write` writes more than `len` bytes; `ENOMEM`; `EOVERFLOW`.
    pub(crate) fn new(len: usize, write: impl FnOnce(&mut Writer<'_>) -> Result) -> Result<Self> {
        let planned = len.checked_add(unknown_len()?).ok_or(EOVERFLOW)?;
        let (mut buf, len) = fill(planned, write)?;

        // A file that was opened for writing meanwhile took its contents out.
        if page_align(len) != Some(buf.len()) {
            let mut exact = page_buffer(len)?;
            let stream = buf.get(..len).ok_or(EIO)?;

            exact.get_mut(..len).ok_or(EIO)?.copy_from_slice(stream);
            buf = exact;
        }
        (hooks().stream)(buf.get_mut(..len).ok_or(EIO)?);
        Ok(Self {
            stream: PreservedVmalloc::new(buf)?,
            len,
        })
    }

    /// Changes the record of an inode of `data/` that [`Writer::inode`] has written at `at`.
    ///
    /// # Errors
    ///
    /// `EIO` if there is none.
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
    pub(crate) fn entry(&self) -> Result<abi::IndexEntry> {
        Ok(abi::IndexEntry {
            len: self.len.try_into()?,
            stream: self.stream.descriptor(),
            ..Default::default()
        })
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.len
    }

    /// The stream, for tests.
    #[cfg(CONFIG_KEXECFS_TEST)]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.stream.get(..self.len).unwrap_or_default()
    }
}

/// Writes a stream, and returns it with its length. `write` is called twice and has to do the same
/// each time: first to measure, then to write.
pub(crate) fn stream(
    mut write: impl FnMut(&mut Writer<'_>) -> Result,
) -> Result<(VVec<u8>, usize)> {
    let mut writer = Writer::measuring();

    write(&mut writer)?;
    fill(writer.len, write)
}

/// Returns a buffer of whole pages that begins with what `write` writes, at most `planned` bytes,
/// and how many they are.
pub(super) fn fill(
    planned: usize,
    write: impl FnOnce(&mut Writer<'_>) -> Result,
) -> Result<(VVec<u8>, usize)> {
    let mut buf = page_buffer(planned)?;
    let mut writer = Writer::writing(buf.get_mut(..planned).ok_or(EIO)?);

    write(&mut writer)?;
    let len = writer.len;

    Ok((buf, len))
}

/// A zeroed buffer of whole pages, so that nothing stale is handed over.
pub(super) fn page_buffer(len: usize) -> Result<VVec<u8>> {
    let len = page_align(len.max(1)).ok_or(EOVERFLOW)?;

    Ok(VVec::zeroed(len, GFP_KERNEL_ACCOUNT)?)
}

/// The payload of a record of a type that no version has.
const UNKNOWN: &[u8] = b"of another version";

/// How many bytes [`Writer::end`] writes for tests, which no plan knows of.
fn unknown_len() -> Result<usize> {
    match (hooks().unknown_record)() {
        Some(_) => record_len(UNKNOWN.len()),
        None => Ok(0),
    }
}

/// Writes records, or measures how many bytes they take.
#[derive(Default)]
pub(crate) struct Writer<'a> {
    /// None if it only measures.
    buf: Option<&'a mut [u8]>,
    pub(super) len: usize,
    pub(super) records: u32,
}

impl<'a> Writer<'a> {
    /// A writer that only measures.
    pub(crate) fn measuring() -> Self {
        Self::default()
    }

    fn writing(buf: &'a mut [u8]) -> Self {
        Self {
            buf: Some(buf),
            len: 0,
            records: 0,
        }
    }

    /// How many bytes there are so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Counts records of `len` bytes, if this only measures. Returns whether it does.
    pub(super) fn measure(&mut self, len: usize) -> Result<bool> {
        if self.buf.is_some() {
            return Ok(false);
        }
        self.len = self.len.checked_add(len).ok_or(EOVERFLOW)?;
        Ok(true)
    }

    /// Writes the first record, that of the domain.
    ///
    /// `waited` is for how many seconds it has waited to be finished, 0 if it does not.
    pub(crate) fn domain(
        &mut self,
        name: &Name,
        session: &Name,
        identity: &Identity,
        options: &Options,
        waited: u64,
    ) -> Result {
        let name = name.as_bytes();
        let session = session.as_bytes();
        let mut flags = 0;

        if options.errors == Errors::Drop {
            flags |= abi::DOMAIN_DROP;
        }
        if options.persist {
            flags |= abi::DOMAIN_PERSIST;
        }
        let mut domain = abi::DomainRecord {
            features: FEATURES,
            uuid: *identity.uuid().as_bytes(),
            next_ino: identity.next_ino(),
            size: options.size.to_record(),
            nr_inodes: options.nr_inodes.to_record(),
            waited,
            uid: options.uid.val(),
            gid: options.gid.val(),
            mode: options.mode.into(),
            max_fds: options.max_fds,
            name_len: name.len().try_into()?,
            session_len: session.len().try_into()?,
            flags,
        };

        (hooks().domain)(&mut domain);
        self.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), name, session])
    }

    /// Writes when `data/` gets huge pages, if a mount has said so. A reader may pass over it.
    pub(crate) fn huge(&mut self, options: &Options) -> Result {
        let Some(huge) = options.huge else {
            return Ok(());
        };
        let record = abi::HugeRecord {
            huge: huge_to_record(huge),
            ..Default::default()
        };

        self.record_with(abi::RECORD_HUGE, 0, &[record.as_bytes()])
    }

    /// Writes a preserved file of `size` bytes, which LUO has under `token`.
    pub(crate) fn file(&mut self, name: &Name, token: u64, size: u64) -> Result {
        let name = name.as_bytes();
        let file = abi::FileRecord {
            token,
            size,
            name_len: name.len().try_into()?,
            ..Default::default()
        };

        self.record(abi::RECORD_FILE, &[file.as_bytes(), name])
    }

    /// Writes an inode of `data/`, which `rest` follows, and returns where the record lies.
    pub(crate) fn inode(&mut self, inode: &abi::InodeRecord, rest: &[u8]) -> Result<usize> {
        self.inode_with(inode, rest.len(), |buf| {
            buf.copy_from_slice(rest);
            Ok(())
        })
    }

    /// Writes an inode of `data/`, lets `fill` write the `len` bytes that follow it, which are zero
    /// until then, and returns where the record lies.
    ///
    /// `fill` isn't called if the record is only measured.
    pub(crate) fn inode_with(
        &mut self,
        inode: &abi::InodeRecord,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result,
    ) -> Result<usize> {
        let payload = size_of_val(inode).checked_add(len).ok_or(EOVERFLOW)?;

        self.header(abi::RECORD_INODE, abi::RECORD_MUST_UNDERSTAND, payload)?;
        let at = self.len;

        self.bytes(inode.as_bytes())?;
        if let Some(buf) = self.take(len)? {
            fill(buf)?;
        }
        self.finish()?;
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

    /// Writes the end.
    pub(crate) fn end(&mut self) -> Result {
        if let Some((kind, flags)) = (hooks().unknown_record)() {
            self.record_with(kind, flags, &[UNKNOWN])?;
        }
        let end = abi::EndRecord {
            count: self.records,
            ..Default::default()
        };

        self.record(abi::RECORD_END, &[end.as_bytes()])
    }

    /// Writes a record that every reader has to understand.
    pub(super) fn record(&mut self, kind: u16, parts: &[&[u8]]) -> Result {
        self.record_with(kind, abi::RECORD_MUST_UNDERSTAND, parts)
    }

    /// Writes a record.
    fn record_with(&mut self, kind: u16, flags: u16, parts: &[&[u8]]) -> Result {
        self.header(kind, flags, parts.iter().map(|part| part.len()).sum())?;
        for part in parts {
            self.bytes(part)?;
        }
        self.finish()
    }

    /// Begins a record with a payload of `len` bytes.
    fn header(&mut self, kind: u16, flags: u16, len: usize) -> Result {
        let header = abi::Record {
            len: len.try_into()?,
            kind,
            flags,
        };

        self.bytes(header.as_bytes())
    }

    /// Ends a record. The padding is zero already.
    fn finish(&mut self) -> Result {
        self.len = self
            .len
            .checked_next_multiple_of(abi::RECORD_ALIGN)
            .ok_or(EOVERFLOW)?;
        self.records = self.records.checked_add(1).ok_or(EOVERFLOW)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result {
        if let Some(buf) = self.take(bytes.len())? {
            buf.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// The next `len` bytes of the buffer, if there is one.
    ///
    /// # Errors
    ///
    /// `EIO` if they are more than was planned.
    fn take(&mut self, len: usize) -> Result<Option<&mut [u8]>> {
        let start = self.len;
        let end = start.checked_add(len).ok_or(EOVERFLOW)?;

        self.len = end;
        match &mut self.buf {
            Some(buf) => buf.get_mut(start..end).ok_or(EIO).map(Some),
            None => Ok(None),
        }
    }
}
