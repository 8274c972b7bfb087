// SPDX-License-Identifier: GPL-2.0-only

//! The records that a prepare leaves to the next kernel.
//!
//! Everything is written twice by the same functions: to a [`Writer`] that counts, which reads no
//! contents, and to the buffer. Between the two a record only gets shorter, when a file that is
//! opened for writing takes its contents out of it.

use super::Files;
use crate::{
    data::{
        attr::to_record,
        item::{
            item,
            times_of,
            DataKind, //
        },
        walk::Visit, //
    },
    domain::{
        Domain,
        OpGuard,
        Timeout, //
    },
    handover::{
        Records,
        Writer, //
    },
    space::size_of,
    types::KexecFs,
    words::failure::Failure, //
};
use kernel::{
    fs::{
        acl::AclType,
        Inode,
        Times, //
    },
    kho::abi::kexecfs as abi,
    prelude::*,
    sync::atomic::Relaxed, //
};

impl Domain {
    /// Writes the records of the domain, of its files and of `data/`.
    // What it needs of the stack is not needed before and after.
    #[inline(never)]
    pub(super) fn serialize(
        &self,
        op: &mut OpGuard<'_>,
        files: &mut Files<'_>,
        timeout: &Timeout<'_>,
    ) -> Result<Records, Failure> {
        let failure = |e| Failure::new(e, "it could not be serialized");
        let check = || timeout.check(self);
        let tree = &files.tree;
        let plan = &mut files.plan;

        check()
            .and_then(|()| op.write_files(plan))
            .and_then(|()| tree.as_ref().map_or(Ok(()), |tree| tree.write(plan)))
            .and_then(|()| plan.end())
            .and_then(|()| timeout.check_for(plan.len()))
            .map_err(failure)?;
        Records::new(plan.len(), |writer| {
            op.write_files(writer)?;
            if let Some(tree) = tree {
                tree.write(writer)?;
            } else if let Some(snapshot) = &files.snapshot {
                snapshot.for_each(|visit| {
                    check()?;
                    write_name(writer, Some(op), &visit, &check)
                })?;
            }
            writer.end()
        })
        .map_err(failure)
    }
}

/// Writes a name in `data/`, and its inode if this is the first.
///
/// Calls `check` for each extended attribute: `nr_inodes=` allows for many of one inode. `op`
/// learns where the records lie, unless they are only measured.
pub(super) fn write_name(
    writer: &mut Writer<'_>,
    op: Option<&mut OpGuard<'_>>,
    visit: &Visit<'_>,
    check: &impl Fn() -> Result,
) -> Result {
    if visit.first {
        write_inode(writer, op, visit.inode)?;
        item(visit.inode)?.xattrs().for_each(|name, value| {
            check()?;
            writer.xattr(visit.number, name.to_bytes(), value)
        })?;
        for which in AclType::ALL {
            if let Some(acl) = visit.inode.cached_acl(which) {
                writer.xattr(visit.number, which.name().to_bytes(), &acl.to_xattr()?)?;
            }
        }
    }
    if visit.number != 0 {
        writer.name(visit.parent, visit.number, visit.name)?;
    }
    Ok(())
}

fn write_inode(
    writer: &mut Writer<'_>,
    op: Option<&mut OpGuard<'_>>,
    inode: &Inode<KexecFs>,
) -> Result {
    let times = inode.times();
    let mut record = abi::InodeRecord {
        uid: inode.uid().val(),
        gid: inode.gid().val(),
        mode: inode.mode().encode().into(),
        rdev: inode.rdev().encode(),
        ..Default::default()
    };

    set_times(&mut record, &times);
    to_record(inode, &mut record)?;
    let content = match &item(inode)?.kind {
        DataKind::File(content) => content,
        _ => {
            let link = inode.link().map_or(&[][..], |link| link.to_bytes());

            writer.inode(&record, link)?;
            return Ok(());
        }
    };

    record.size = inode.size().try_into()?;
    if let Some(inner) = content.inner_if_any() {
        // A write that is still under way may have told only the inner file of its size.
        record.size = size_of(&inner);
        set_times(&mut record, &times_of(inode, &inner.times()));
    }
    let at = match content.token() {
        Some(token) => {
            record.token = token;
            record.flags = abi::INODE_TOKEN;
            let at = writer.inode(&record, &[])?;

            if let Some(op) = op {
                op.set_record(token, at);
            }
            at
        }
        None => writer.inode_with(&record, content.packed_len()?, |buf| {
            content.read_packed(buf)
        })?,
    };

    content.record.store(at, Relaxed);
    Ok(())
}

fn set_times(record: &mut abi::InodeRecord, times: &Times) {
    (record.atime_sec, record.atime_nsec) = (times.atime.sec, times.atime.nsec);
    (record.mtime_sec, record.mtime_nsec) = (times.mtime.sec, times.mtime.nsec);
    (record.ctime_sec, record.ctime_nsec) = (times.ctime.sec, times.ctime.nsec);
}
