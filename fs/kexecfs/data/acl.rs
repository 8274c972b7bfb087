// SPDX-License-Identifier: GPL-2.0-only

//! POSIX ACLs of the inodes of `data/`.
//!
//! They lie in the inodes, as on tmpfs, and count as much of the inode space as they take.

use crate::{
    data::item::item,
    domain::Domain,
    types::KexecFs, //
};
use kernel::{
    fs::{
        acl::{
            Acl,
            AclType,
            SetAcl, //
        },
        Inode, //
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

/// How much memory the ACLs of an inode take, in bytes.
fn size_of_acls(inode: &Inode<KexecFs>) -> u64 {
    AclType::ALL
        .into_iter()
        .filter_map(|which| inode.cached_acl(which))
        .map(|acl| acl.size() as u64)
        .sum()
}

/// Counts the ACLs that a new inode has got from its directory.
///
/// # Errors
///
/// `ENOSPC` if the domain has no space for them.
pub(super) fn charge_acls(inode: &Inode<KexecFs>) -> Result {
    let item = item(inode)?;
    let size = size_of_acls(inode);

    inode.sb().info().space.charge_ispace(size)?;
    item.acl_space.store(size, Relaxed);
    Ok(())
}

/// Changes an ACL, whose inode is locked.
pub(super) fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
    let inode = change.inode();
    let domain: Arc<Domain> = inode.sb().info().into();
    let _inside = domain.enter_changes()?;
    let item = item(inode)?;
    let taken = change.size() as u64;

    domain.space.charge_ispace(taken)?;
    let result = change.simple_set_acl();
    let counted = item.acl_space.load(Relaxed) + taken;
    // One that says no more than the mode isn't kept.
    let size = size_of_acls(inode);

    item.acl_space.store(size, Relaxed);
    domain.space.uncharge_ispace(counted.saturating_sub(size));
    result
}

/// Gives an inode an ACL that the previous kernel handed over, whatever the limit is.
pub(super) fn add_acl(inode: &Inode<KexecFs>, which: AclType, value: &[u8]) -> Result {
    let item = item(inode)?;
    let acl = Acl::from_xattr(value)?.ok_or(EIO)?;
    let size = acl.size() as u64;

    inode.lock().set_cached_acl(which, &acl)?;
    inode.sb().info().space.charge_ispace_force(size);
    item.acl_space.add(size, Relaxed);
    Ok(())
}
