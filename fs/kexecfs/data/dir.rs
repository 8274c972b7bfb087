// SPDX-License-Identifier: GPL-2.0-only

//! Directories of `data/`.
//!
//! The tree lies in the dcache, as that of a tmpfs does, and changes inside the gate
//! `Domain::changes`, which is shut while the domain is prepared. All changes of names,
//! attributes and extended attributes by an operation are done before it leaves the gate: see "What
//! a prepare records" in `architecture.rst`.

use crate::{
    data::{
        acl::{
            charge_acls,
            set_acl, //
        },
        attr,
        content::Content,
        counted::Counted,
        item::{
            item,
            offset_ctx,
            DataInode,
            DataKind, //
        },
        regular::set_regular,
        special::{
            set_special,
            set_symlink, //
        }, //
    },
    domain::Domain,
    space::bytes_of_link,
    types::KexecFs, //
};
use kernel::{
    fs::{
        acl::SetAcl,
        fileattr::FileKattr,
        DevT,
        FileOps,
        GetAttr,
        Inode,
        InodeOperations,
        InodeOps,
        Link,
        LockedInode,
        NewEntry,
        NewInode,
        OffsetCtx,
        Rename,
        SetAttr,
        TmpFile,
        Unlink, //
    },
    prelude::*,
    sync::Arc, //
};

/// Makes a new inode an empty directory.
pub(super) fn set_directory(inode: &mut NewInode<'_, KexecFs>) -> Result {
    inode.set_nlink(2);
    inode.set_size(2 * OffsetCtx::BOGO_DIRENT_SIZE);
    inode.set_inode_ops(InodeOps::dir::<Directory>())?;
    inode.set_file_ops(FileOps::simple_offset_dir())
}

/// A directory.
struct Directory;

#[vtable]
impl InodeOperations for Directory {
    type FileSystem = KexecFs;

    fn get_offset_ctx(dir: &Inode<KexecFs>) -> Result<&OffsetCtx> {
        offset_ctx(dir)
    }

    fn create(entry: NewEntry<'_, KexecFs>) -> Result {
        let domain = entry.dir().sb().info();
        let _inside = domain.enter_changes()?;
        let kind = DataKind::File(Content::empty(domain)?);
        let mut inode = entry.new_inode(DataInode::node(domain, kind)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        charge_acls(&inode)?;
        set_regular(&mut inode)?;
        entry.make_persistent(inode)
    }

    fn mkdir(entry: NewEntry<'_, KexecFs>) -> Result {
        let domain = entry.dir().sb().info();
        let _inside = domain.enter_changes()?;
        let mut inode = entry.new_inode(DataInode::node(domain, DataKind::directory()?)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        charge_acls(&inode)?;
        set_directory(&mut inode)?;
        entry.make_persistent(inode)
    }

    fn mknod(entry: NewEntry<'_, KexecFs>, rdev: DevT) -> Result {
        if entry.mode().is_reg() {
            return Self::create(entry);
        }
        let domain = entry.dir().sb().info();
        let _inside = domain.enter_changes()?;
        let mut inode = entry.new_inode(DataInode::node(domain, DataKind::Other)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        charge_acls(&inode)?;
        set_special(&mut inode, rdev)?;
        entry.make_persistent(inode)
    }

    fn symlink(entry: NewEntry<'_, KexecFs>, target: &CStr) -> Result {
        let domain = entry.dir().sb().info();
        let _inside = domain.enter_changes()?;
        let kind = DataKind::Link {
            _counted: Counted::charge(domain.into(), bytes_of_link(target.to_bytes()))?,
        };
        let mut inode = entry.new_inode(DataInode::node(domain, kind)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        set_symlink(&mut inode, target)?;
        entry.make_persistent(inode)
    }

    fn link(link: Link<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = link.dir().sb().info().into();
        let _inside = domain.enter_changes()?;
        // Control files stay where they are.
        let item = item(link.old()).map_err(|_| EPERM)?;

        // The first name of a file that was made without one is counted already.
        if link.old().nlink() == 0 {
            return link.simple_link();
        }
        item.charge_link()?;
        link.simple_link().inspect_err(|_| item.uncharge_link())
    }

    fn unlink(unlink: Unlink<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = unlink.dir().sb().info().into();
        let _inside = domain.enter_changes()?;
        let inode = unlink.dentry().inode().ok_or(ENOENT)?;

        // The rest doesn't fail.
        if inode.nlink() > 1 {
            item(inode)?.uncharge_link();
        }
        unlink.simple_unlink()
    }

    fn rmdir(rmdir: Unlink<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = rmdir.dir().sb().info().into();
        let _inside = domain.enter_changes()?;

        rmdir.simple_rmdir()
    }

    fn rename(rename: Rename<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = rename.old_dir().sb().info().into();
        let _inside = domain.enter_changes()?;
        let target = match rename.target() {
            Some(inode) if !rename.exchange() && !inode.mode().is_dir() && inode.nlink() > 1 => {
                Some(item(inode)?)
            }
            _ => None,
        };

        // A whiteout is made by `mknod`, which enters the gate once more: if that has been shut
        // meanwhile, nothing has changed.
        rename.simple_offset_rename2()?;
        if let Some(target) = target {
            target.uncharge_link();
        }
        Ok(())
    }

    fn tmpfile(tmpfile: TmpFile<'_, KexecFs>) -> Result {
        let domain = tmpfile.dir().sb().info();
        let inside = domain.enter_changes()?;
        let kind = DataKind::File(Content::empty(domain)?);
        let mut inode = tmpfile.new_inode(DataInode::node(domain, kind)?)?;

        attr::init(&mut inode, Some(tmpfile.dir()))?;
        charge_acls(&inode)?;
        set_regular(&mut inode)?;
        // It has no name, and opening it may take as long as a listener of fanotify likes.
        drop(inside);
        tmpfile.finish(inode)
    }

    fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
        set_acl(change)
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        attr::set_attributes(attr)
    }

    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        attr::fill(&mut attr)
    }

    fn fileattr_get(inode: &Inode<KexecFs>, fa: &mut FileKattr<'_>) -> Result {
        attr::get_flags(inode, fa)
    }

    fn fileattr_set(inode: LockedInode<'_, KexecFs>, fa: &FileKattr<'_>) -> Result {
        attr::set_flags(inode, fa)
    }
}
