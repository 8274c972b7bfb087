// SPDX-License-Identifier: GPL-2.0-only

//! `data/` in a new superblock: empty, or as the previous kernel handed it over.

use crate::{
    data::{
        acl::add_acl,
        attr,
        content::Content,
        counted::Counted,
        dir::Directory,
        item::{
            item,
            Item,
            Kind,
            DATA, //
        },
        regular::set_regular,
        special::{
            set_special,
            set_symlink, //
        }, //
    },
    domain::Domain,
    handover::{
        IncomingInode,
        IncomingKind,
        Tree, //
    },
    space::{
        bytes_of,
        bytes_of_link, //
    },
    types::KexecFs,
    words::options::Options, //
};
use kernel::{
    fs::{
        acl::AclType,
        Dentry,
        DentryRef,
        Mode,
        NewInode,
        SuperBlock,
        NAME_MAX, //
    },
    prelude::*,
    sync::Arc, //
};

/// Makes `data/` in a new superblock, with what the previous kernel handed over.
pub(crate) fn make_data(
    sb: &SuperBlock<KexecFs>,
    root: &Dentry<KexecFs>,
    options: &Options,
    tree: Option<&Arc<Tree>>,
) -> Result {
    let domain: Arc<Domain> = sb.info().into();
    let Some(tree) = tree else {
        let mut inode = NewInode::new(
            sb,
            Mode::dir(options.mode),
            Item::node(domain, Kind::Directory)?,
        )?;

        attr::init(&mut inode, None)?;
        inode.set_owner(options.uid, options.gid);
        inode.set_offset_dir::<Directory>()?;
        root.start_creating(DATA)?.make_persistent(inode)?;
        return Ok(());
    };
    let mut dentries = KVVec::with_capacity(tree.inodes(), GFP_KERNEL_ACCOUNT)?;
    let data = root
        .start_creating(DATA)?
        .make_persistent(handed_over(sb, tree, 0)?)?;

    dentries.push(Some(sb.dget(&data)?), GFP_KERNEL_ACCOUNT)?;
    for _ in 1..tree.inodes() {
        dentries.push(None, GFP_KERNEL_ACCOUNT)?;
    }
    let mut buf = [0; NAME_MAX + 1];

    for name in tree.names() {
        let dentry = {
            let parent: &DentryRef<'_, KexecFs> = dentries
                .get(name.parent as usize)
                .and_then(Option::as_ref)
                .ok_or(EIO)?;
            let entry = to_c_str(name.name, &mut buf)?;
            let creating = parent.start_creating(entry).inspect_err(|&e| {
                if e == EEXIST {
                    pr_err!("{}: data/: two are named {entry}\n", domain.name);
                }
            })?;

            if let Some(first) = dentries.get(name.inode as usize).ok_or(EIO)? {
                creating.link(first)?;
                item(first.inode().ok_or(EIO)?)?.count_link();
                continue;
            }
            let dentry = creating.make_persistent(handed_over(sb, tree, name.inode)?)?;

            sb.dget(&dentry)?
        };

        *dentries.get_mut(name.inode as usize).ok_or(EIO)? = Some(dentry);
    }
    for xattr in tree.xattrs() {
        let inode = dentries
            .get(xattr.inode as usize)
            .and_then(Option::as_ref)
            .and_then(|dentry| dentry.inode())
            .ok_or(EIO)?;

        match AclType::from_name(xattr.name) {
            Some(which) => add_acl(inode, which, xattr.value)?,
            None => item(inode)?.add_xattr(xattr.name, xattr.value)?,
        }
    }
    // Last, as each name changes the times of its directory, and each further one of an inode those
    // of the inode.
    for (number, dentry) in dentries.iter().enumerate() {
        let incoming = tree.inode(number.try_into()?).ok_or(EIO)?;

        if !incoming.mode.is_dir() && incoming.links < 2 {
            continue;
        }
        dentry
            .as_ref()
            .and_then(|dentry| dentry.inode())
            .ok_or(EIO)?
            .lock()
            .set_times(incoming.times);
    }
    Ok(())
}

/// Copies a name to `buf`, which has room for it and its end.
fn to_c_str<'a>(name: &[u8], buf: &'a mut [u8; NAME_MAX + 1]) -> Result<&'a CStr> {
    let buf = buf.get_mut(..name.len() + 1).ok_or(EIO)?;
    let (end, room) = buf.split_last_mut().ok_or(EIO)?;

    room.copy_from_slice(name);
    *end = 0;
    CStr::from_bytes_with_nul(buf).map_err(|_| EIO)
}

/// Makes an inode that was handed over.
fn handed_over<'a>(
    sb: &'a SuperBlock<KexecFs>,
    tree: &Arc<Tree>,
    number: u32,
) -> Result<NewInode<'a, KexecFs>> {
    let domain: Arc<Domain> = sb.info().into();
    let recorded: &IncomingInode = tree.inode(number).ok_or(EIO)?;
    let kind = match recorded.kind {
        IncomingKind::Directory => Kind::Directory,
        IncomingKind::Packed(contents) => {
            Kind::File(Content::packed(domain.clone(), tree.contents(contents)?)?)
        }
        IncomingKind::Token(token) => {
            Kind::File(Content::handed_over(domain.clone(), token, recorded.size)?)
        }
        IncomingKind::Link(target) => Kind::Link {
            _counted: Counted::new(domain.clone(), bytes_of_link(tree.contents(target)?)),
        },
        IncomingKind::Special => Kind::Other,
    };
    let mut inode = NewInode::new(sb, recorded.mode, Item::handed_over(domain, kind)?)?;

    attr::restore(&mut inode, recorded)?;
    inode.set_owner(recorded.uid, recorded.gid);
    inode.set_times(recorded.times);
    match recorded.kind {
        IncomingKind::Directory => inode.set_offset_dir::<Directory>()?,
        IncomingKind::Packed(_) | IncomingKind::Token(_) => {
            inode.set_size(recorded.size.try_into()?);
            inode.set_bytes(bytes_of(recorded.size, 0).try_into()?);
            set_regular(&mut inode)?;
        }
        IncomingKind::Link(target) => {
            let mut buf = KVVec::new();

            buf.extend_from_slice(tree.contents(target)?, GFP_KERNEL_ACCOUNT)?;
            buf.push(0, GFP_KERNEL_ACCOUNT)?;
            set_symlink(
                &mut inode,
                CStr::from_bytes_with_nul(&buf).map_err(|_| EIO)?,
            )?;
        }
        IncomingKind::Special => set_special(&mut inode, recorded.rdev)?,
    }
    Ok(inode)
}
