// SPDX-License-Identifier: GPL-2.0-only

//! Attributes of an inode of `data/` that lie beside those of the VFS, as in tmpfs: when it was
//! made, and the flags that `chattr` changes.

use crate::{
    data::{
        item,
        Kind, //
    },
    domain::Domain,
    tree,
    types::KexecFs, //
};
use kernel::{
    fs::{
        fileattr::{
            fl,
            FileKattr,
            InodeFlags, //
        },
        GetAttr,
        Inode,
        LockedInode,
        NewInode,
        Timespec, //
    },
    kho::abi::kexecfs as abi,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
};

/// The flags that a user changes: the ones that tmpfs has.
pub(crate) const FLAGS: u32 = fl::IMMUTABLE | fl::APPEND | fl::NODUMP | fl::NOATIME;

/// The flags that an inode has from its directory.
const INHERITED: u32 = fl::NODUMP | fl::NOATIME;

/// The attributes of an inode.
pub(crate) struct Attr {
    btime: SetOnce<Timespec>,
    /// Changed under the lock of the inode.
    flags: Atomic<u32>,
}

impl Attr {
    /// Those of an inode that is being made, for [`init`] or [`restore`] to set.
    pub(crate) fn new() -> Self {
        Self {
            btime: SetOnce::new(),
            flags: Atomic::new(0),
        }
    }

    fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// What is handed over of the inode, which has the number `number` there.
    pub(crate) fn to_record(&self, inode: &Inode<KexecFs>, number: u32) -> abi::AttrRecord {
        let btime = self.btime.copy().unwrap_or_default();

        abi::AttrRecord {
            ino: inode.ino(),
            btime_sec: btime.sec,
            btime_nsec: btime.nsec,
            inode: number,
            generation: inode.generation(),
            flags: self.flags(),
        }
    }
}

/// Gives a new inode its number, and the attributes that it has from the directory `dir`.
///
/// # Errors
///
/// `EOVERFLOW` if the domain has no number left.
pub(crate) fn init(new: &mut NewInode<'_, KexecFs>, dir: Option<&Inode<KexecFs>>) -> Result {
    let inherited = match dir {
        Some(dir) => item(dir)?.attr.flags() & INHERITED,
        None => 0,
    };
    let ino = new.sb().info().identity.new_ino()?;

    new.set_ino(ino);
    set(new, new.times().mtime, inherited)
}

/// Gives an inode that was handed over its number and its attributes.
///
/// If the previous kernel knew none, they are those of a new one.
pub(crate) fn restore(new: &mut NewInode<'_, KexecFs>, attr: Option<&tree::Attr>) -> Result {
    let Some(attr) = attr else {
        return init(new, None);
    };

    new.set_handle(attr.ino, attr.generation);
    set(new, attr.btime, attr.flags & FLAGS)
}

fn set(new: &mut NewInode<'_, KexecFs>, btime: Timespec, flags: u32) -> Result {
    let attr = &item(new)?.attr;

    attr.btime.populate(btime);
    attr.flags.store(flags, Relaxed);
    new.set_flags(InodeFlags::from_fl(flags));
    Ok(())
}

/// Tells the attributes for `statx()`.
pub(crate) fn fill(stat: &mut GetAttr<'_, KexecFs>) -> Result {
    let attr = &item(stat.inode())?.attr;

    if let Some(btime) = attr.btime.copy() {
        stat.set_btime(btime);
    }
    stat.set_attributes(attr.flags());
    Ok(())
}

/// Tells the flags.
pub(crate) fn get_flags(inode: &Inode<KexecFs>, fa: &mut FileKattr<'_>) -> Result {
    fa.fill_flags(item(inode)?.attr.flags());
    Ok(())
}

/// Changes the flags.
///
/// # Errors
///
/// `EOPNOTSUPP` for what tmpfs doesn't have either; `EBUSY` if the domain is prepared, `ESTALE`.
pub(crate) fn set_flags(inode: LockedInode<'_, KexecFs>, fa: &FileKattr<'_>) -> Result {
    if fa.has_fsx() || fa.flags() & !FLAGS != 0 {
        return Err(EOPNOTSUPP);
    }
    let domain: Arc<Domain> = inode.sb().info().into();
    let _inside = domain.change()?;
    let flags = InodeFlags::from_fl(fa.flags());

    item(&inode)?.attr.flags.store(fa.flags(), Relaxed);
    inode.set_flags(flags);
    // A mapping is one of the inner file, where MADV_REMOVE looks at its flags.
    if let Kind::File(content) = &item(&inode)?.kind {
        if let Some(inner) = content.inner_if_any() {
            inner.set_flags(flags);
        }
    }
    inode.set_ctime_current();
    Ok(())
}
