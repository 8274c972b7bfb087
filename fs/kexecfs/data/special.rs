// SPDX-License-Identifier: GPL-2.0-only

//! Inodes of `data/` without contents: symbolic links, pipes, sockets and device nodes.

use crate::{
    data::{
        acl::set_acl,
        attr, //
    },
    space::bytes_of_link,
    types::KexecFs, //
};
use kernel::{
    fs::{
        acl::SetAcl,
        DevT,
        GetAttr,
        InodeOperations,
        InodeOps,
        NewInode,
        SetAttr, //
    },
    prelude::*,
};

/// Makes a new inode a symbolic link to `target`.
pub(super) fn set_symlink(inode: &mut NewInode<'_, KexecFs>, target: &CStr) -> Result {
    inode.set_bytes(bytes_of_link(target.to_bytes()).try_into()?);
    inode.set_symlink::<Special>(target)
}

/// Makes a new inode a pipe, a socket or a device node, by its mode.
pub(super) fn set_special(inode: &mut NewInode<'_, KexecFs>, rdev: DevT) -> Result {
    inode.set_inode_ops(InodeOps::file::<Special>())?;
    inode.init_special(rdev)
}

/// A symbolic link, a pipe, a socket or a device node.
struct Special;

#[vtable]
impl InodeOperations for Special {
    type FileSystem = KexecFs;

    fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
        set_acl(change)
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        attr::set_attributes(attr)
    }

    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        attr::fill(&mut attr)
    }
}
