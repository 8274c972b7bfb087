// SPDX-License-Identifier: GPL-2.0-only

//! The records of a domain that is prepared, those of
//! include/linux/kho/abi/kexecfs.h, as debugfs shows them on a kernel for tests.

use crate::Failure;
use std::collections::BTreeMap;

const RECORDS: &str = "/sys/kernel/debug/kexecfs_test/records";

const RECORD_INODE: u16 = 4;
const RECORD_NAME: u16 = 5;
const RECORD_XATTR: u16 = 6;
const INODE_TOKEN: u32 = 1;
const INODE_LEN: usize = 104;

/// A record of an inode, with the bytes after it.
#[derive(Debug, Default)]
pub struct RecordedInode {
    pub mode: u32,
    pub size: u64,
    /// Whether its contents are a file of LUO's.
    pub token: bool,
    pub rest: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The records of data/.
#[derive(Default)]
pub struct Recorded {
    pub inodes: Vec<RecordedInode>,
    /// The number of the inode, by path.
    pub names: BTreeMap<String, u32>,
}

fn wrong<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::Wrong(format!("the records: {why}")))
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Result<[u8; N], Failure> {
    match from.get(at..at + N).and_then(|part| part.try_into().ok()) {
        Some(part) => Ok(part),
        None => wrong("one is too short"),
    }
}

fn number16(from: &[u8], at: usize) -> Result<u16, Failure> {
    Ok(u16::from_ne_bytes(bytes(from, at)?))
}

fn number32(from: &[u8], at: usize) -> Result<u32, Failure> {
    Ok(u32::from_ne_bytes(bytes(from, at)?))
}

impl Recorded {
    /// The records of the domain that is prepared.
    pub fn read() -> Result<Self, Failure> {
        let stream = read_at_once(RECORDS)?;
        let mut all = Recorded::default();
        let mut paths: BTreeMap<u32, String> = BTreeMap::from([(0, String::new())]);
        let mut at = 0;
        while at < stream.len() {
            let len = number32(&stream, at)? as usize;
            let kind = number16(&stream, at + 4)?;
            let Some(payload) = stream.get(at + 8..at + 8 + len) else {
                return wrong("one is too long");
            };
            match kind {
                RECORD_INODE => all.add_inode(payload)?,
                RECORD_NAME => all.add_name(payload, &mut paths)?,
                RECORD_XATTR => all.add_xattr(payload)?,
                _ => {}
            }
            at += 8 + len.next_multiple_of(8);
        }
        Ok(all)
    }

    fn add_inode(&mut self, payload: &[u8]) -> Result<(), Failure> {
        self.inodes.push(RecordedInode {
            size: u64::from_ne_bytes(bytes(payload, 0)?),
            mode: number32(payload, 80)?,
            token: number32(payload, 96)? & INODE_TOKEN != 0,
            rest: payload.get(INODE_LEN..).unwrap_or_default().to_vec(),
            ..RecordedInode::default()
        });
        Ok(())
    }

    fn add_name(
        &mut self,
        payload: &[u8],
        paths: &mut BTreeMap<u32, String>,
    ) -> Result<(), Failure> {
        let (parent, inode) = (number32(payload, 0)?, number32(payload, 4)?);
        let name = String::from_utf8_lossy(&payload[8..]);
        let Some(above) = paths.get(&parent) else {
            return wrong("a name comes before that of its directory");
        };
        let path = if above.is_empty() {
            name.into_owned()
        } else {
            format!("{above}/{name}")
        };
        if inode as usize >= self.inodes.len() {
            return wrong("a name comes before its inode");
        }
        paths.insert(inode, path.clone());
        if self.names.insert(path, inode).is_some() {
            return wrong("a name is there twice");
        }
        Ok(())
    }

    fn add_xattr(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let inode = number32(payload, 0)? as usize;
        let name_len = usize::from(number16(payload, 4)?);
        let Some((name, value)) = payload[8..].split_at_checked(name_len) else {
            return wrong("an attribute is too short");
        };
        // Attributes of security modules are not in the model.
        if !name.starts_with(b"user.") {
            return Ok(());
        }
        match self.inodes.get_mut(inode) {
            Some(inode) => {
                inode.xattrs.insert(name.to_vec(), value.to_vec());
                Ok(())
            }
            None => wrong("an attribute comes before its inode"),
        }
    }
}

/// The whole file by one read(2): each makes it anew.
fn read_at_once(path: &str) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut buf = vec![0; 1 << 20];
    let n = std::fs::File::open(path)?.read(&mut buf)?;
    if n == buf.len() {
        return wrong("they are too long");
    }
    buf.truncate(n);
    Ok(buf)
}
