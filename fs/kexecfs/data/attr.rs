// SPDX-License-Identifier: GPL-2.0-only

//! Attributes of an inode of `data/` that lie beside those of the VFS, as in tmpfs: when it was
//! made, and the flags that `chattr` changes.

use crate::{
    data::item::{
        item,
        DataKind, //
    },
    domain::Domain,
    handover::{
        IncomingInode,
        FA_FLAGS, //
    },
    types::KexecFs, //
};
use kernel::{
    fs::{
        fileattr::{
            fl,
            FileKattr,
            InodeFlags, //
        },
        xattr::SetXattr,
        GetAttr,
        Inode,
        LockedInode,
        NewInode,
        SetAttr,
        Timespec, //
    },
    kho::abi::kexecfs as abi,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

/// The flags that a user changes: the ones that tmpfs has.
const FLAGS: u32 = FA_FLAGS;

/// The flags that an inode has from its directory.
const INHERITED: u32 = fl::NODUMP | fl::NOATIME;

/// Gives a new inode its number, and the attributes that it has from the directory `dir`.
///
/// # Errors
///
/// `EOVERFLOW` if the domain has no number left.
pub(super) fn init(new: &mut NewInode<'_, KexecFs>, dir: Option<&Inode<KexecFs>>) -> Result {
    let inherited = match dir {
        Some(dir) => item(dir)?.attr.flags() & INHERITED,
        None => 0,
    };
    let ino = new.sb().info().identity.new_ino()?;

    new.set_ino(ino);
    set(new, new.times().mtime, inherited)
}

/// Gives an inode that was handed over its attributes.
pub(super) fn restore(new: &mut NewInode<'_, KexecFs>, incoming: IncomingInode<'_>) -> Result {
    set(new, incoming.btime(), incoming.fa_flags())
}

fn set(new: &mut NewInode<'_, KexecFs>, btime: Timespec, flags: u32) -> Result {
    let attr = &item(new)?.attr;

    attr.btime.populate(btime);
    attr.flags.store(flags, Relaxed);
    new.set_flags(InodeFlags::from_fl(flags));
    Ok(())
}

/// Fills in the number and the attributes of an inode.
pub(crate) fn to_record(inode: &Inode<KexecFs>, record: &mut abi::InodeRecord) -> Result {
    let attr = &item(inode)?.attr;
    let btime = attr.btime.copy().unwrap_or_default();

    record.ino = inode.ino();
    record.generation = inode.generation();
    (record.btime_sec, record.btime_nsec) = (btime.sec, btime.nsec);
    record.fa_flags = attr.flags();
    Ok(())
}

/// Tells the attributes for `statx()`.
pub(super) fn fill(stat: &mut GetAttr<'_, KexecFs>) -> Result {
    let attr = &item(stat.inode())?.attr;

    if let Some(btime) = attr.btime.copy() {
        stat.set_btime(btime);
    }
    stat.set_attributes(attr.flags());
    Ok(())
}

/// Tells the flags.
pub(super) fn get_flags(inode: &Inode<KexecFs>, fa: &mut FileKattr<'_>) -> Result {
    fa.fill_flags(item(inode)?.attr.flags());
    Ok(())
}

/// Changes the flags.
///
/// # Errors
///
/// `EOPNOTSUPP` for flags that tmpfs doesn't have either; `EBUSY` if the domain is prepared,
/// `ESTALE`.
pub(super) fn set_flags(inode: LockedInode<'_, KexecFs>, fa: &FileKattr<'_>) -> Result {
    if fa.has_fsx() || fa.flags() & !FLAGS != 0 {
        return Err(EOPNOTSUPP);
    }
    let domain: Arc<Domain> = inode.sb().info().into();
    let _inside = domain.enter_changes()?;
    let flags = InodeFlags::from_fl(fa.flags());

    item(&inode)?.attr.flags.store(fa.flags(), Relaxed);
    inode.set_flags(flags);
    // A mapping is one of the inner file, where MADV_REMOVE looks at its flags.
    if let DataKind::File(content) = &item(&inode)?.kind {
        if let Some(inner) = content.inner_if_any() {
            inner.set_flags(flags);
        }
    }
    inode.set_ctime_current();
    Ok(())
}

/// Changes attributes of an inode that has no contents.
pub(super) fn set_attributes(attr: SetAttr<'_, KexecFs>) -> Result {
    let domain: Arc<Domain> = attr.inode().sb().info().into();
    let _inside = domain.enter_changes()?;

    attr.prepare()?.ready()?.copy();
    Ok(())
}

/// Changes an extended attribute, whose inode is locked.
pub(crate) fn set_xattr(change: SetXattr<'_, KexecFs>) -> Result {
    let domain: Arc<Domain> = change.inode().sb().info().into();
    let _inside = domain.enter_changes()?;
    let item = item(change.inode())?;
    let taken = change.space() as u64;

    domain.space.charge_ispace(taken)?;
    let freed = change
        .simple_xattr_set()
        .inspect_err(|_| domain.space.uncharge_ispace(taken))?;
    let counted = item.xattr_space.load(Relaxed) + taken;
    // The label that a security module gave to a new inode was not counted.
    let freed = counted.min(freed as u64);

    item.xattr_space.store(counted - freed, Relaxed);
    domain.space.uncharge_ispace(freed);
    Ok(())
}
