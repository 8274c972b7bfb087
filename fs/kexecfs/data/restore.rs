// SPDX-License-Identifier: GPL-2.0-only

//! `data/` in a new superblock: empty, or as the previous kernel handed it over.

use crate::{
    data::{
        acl::add_acl,
        attr,
        content::Content,
        counted::Counted,
        dir::set_directory,
        item::{
            item,
            DataInode,
            DataKind,
            DATA, //
        },
        regular::set_regular,
        special::{
            set_special,
            set_symlink, //
        }, //
    },
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
        Inode,
        Mode,
        NewInode,
        SuperBlock,
        NAME_MAX, //
    },
    prelude::*,
    sync::Arc, //
};

/// Makes `data/` in a new superblock, with the incoming tree if there is one.
pub(crate) fn make_data(
    sb: &SuperBlock<KexecFs>,
    root: &Dentry<KexecFs>,
    options: &Options,
    tree: Option<&Arc<Tree>>,
) -> Result {
    match tree {
        Some(tree) => restore_tree(sb, root, tree),
        None => make_empty(sb, root, options),
    }
}

fn make_empty(sb: &SuperBlock<KexecFs>, root: &Dentry<KexecFs>, options: &Options) -> Result {
    let data = DataInode::node(sb.info(), DataKind::directory()?)?;
    let mut inode = NewInode::new(sb, Mode::dir(options.mode), data)?;

    attr::init(&mut inode, None)?;
    inode.set_owner(options.uid, options.gid);
    set_directory(&mut inode)?;
    root.start_creating(DATA)?.make_persistent(inode)?;
    Ok(())
}

fn restore_tree(sb: &SuperBlock<KexecFs>, root: &Dentry<KexecFs>, tree: &Arc<Tree>) -> Result {
    let top = tree.inode(0).ok_or(EIO)?;
    let data = root
        .start_creating(DATA)?
        .make_persistent(restore_inode(sb, tree, top)?)?;
    let mut dentries = Dentries::with_capacity(tree.inodes())?;

    dentries.set(0, sb.dget(&data)?)?;
    let mut buf = [0; NAME_MAX + 1];

    for name in tree.names() {
        let dentry = {
            let parent = dentries.get(name.parent).ok_or(EIO)?;
            let entry = to_c_str(name.name, &mut buf)?;
            let creating = parent.start_creating(entry).inspect_err(|&e| {
                if e == EEXIST {
                    pr_err!("{}: data/: two are named {entry}\n", sb.info().name);
                }
            })?;

            if let Some(first) = dentries.get(name.inode) {
                creating.link(first)?;
                item(first.inode().ok_or(EIO)?)?.charge_link_force();
                continue;
            }
            let incoming = tree.inode(name.inode).ok_or(EIO)?;
            let inode = restore_inode(sb, tree, incoming)?;

            if !incoming.has_more_records() {
                creating.instantiate(inode)?;
                continue;
            }
            let dentry = creating.make_persistent(inode)?;

            sb.dget(&dentry)?
        };

        dentries.set(name.inode, dentry)?;
    }
    restore_xattrs(&dentries, tree)?;
    restore_times(&dentries, tree)
}

fn restore_xattrs(dentries: &Dentries<'_>, tree: &Tree) -> Result {
    for xattr in tree.xattrs() {
        let inode = dentries.inode(xattr.inode)?;

        match AclType::from_name(xattr.name) {
            Some(which) => add_acl(inode, which, xattr.value)?,
            None => item(inode)?.add_xattr(xattr.name, xattr.value)?,
        }
    }
    Ok(())
}

/// Comes last, as each name changes the times of its directory, and each further one of an inode
/// those of the inode.
fn restore_times(dentries: &Dentries<'_>, tree: &Tree) -> Result {
    for (number, incoming) in tree.changed_by_names() {
        dentries.inode(number)?.lock().set_times(incoming.times());
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

/// The first dentry of each inode that has more records, by its number in them.
struct Dentries<'a>(KVVec<Option<DentryRef<'a, KexecFs>>>);

impl<'a> Dentries<'a> {
    fn with_capacity(inodes: usize) -> Result<Self> {
        let mut dentries = KVVec::with_capacity(inodes, GFP_KERNEL_ACCOUNT)?;

        for _ in 0..inodes {
            dentries.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self(dentries))
    }

    fn get(&self, number: u32) -> Option<&DentryRef<'a, KexecFs>> {
        self.0.get(number as usize)?.as_ref()
    }

    fn inode(&self, number: u32) -> Result<&Inode<KexecFs>> {
        self.get(number)
            .and_then(|dentry| dentry.inode())
            .ok_or(EIO)
    }

    fn set(&mut self, number: u32, dentry: DentryRef<'a, KexecFs>) -> Result {
        *self.0.get_mut(number as usize).ok_or(EIO)? = Some(dentry);
        Ok(())
    }
}

/// Makes an incoming inode.
fn restore_inode<'a>(
    sb: &'a SuperBlock<KexecFs>,
    tree: &Arc<Tree>,
    incoming: IncomingInode<'_>,
) -> Result<NewInode<'a, KexecFs>> {
    let domain = sb.info();
    let kind = match incoming.kind() {
        IncomingKind::Directory => DataKind::directory()?,
        IncomingKind::Packed(contents) => {
            DataKind::File(Content::packed(domain, tree.contents(contents)?)?)
        }
        IncomingKind::Token(token) => {
            DataKind::File(Content::incoming(domain, token, incoming.size())?)
        }
        IncomingKind::Link(target) => DataKind::Link {
            _counted: Counted::charge_force(domain.into(), bytes_of_link(tree.contents(target)?)),
        },
        IncomingKind::Special => DataKind::Other,
    };
    let mut inode = NewInode::restore(
        sb,
        incoming.mode(),
        DataInode::incoming(domain, kind)?,
        incoming.handle(),
        incoming.times(),
    )?;

    let (uid, gid) = incoming.owner().ok_or(EIO)?;

    attr::restore(&mut inode, incoming)?;
    inode.set_owner(uid, gid);
    match incoming.kind() {
        IncomingKind::Directory => set_directory(&mut inode)?,
        IncomingKind::Packed(_) | IncomingKind::Token(_) => {
            inode.set_size(incoming.size().try_into()?);
            inode.set_bytes(bytes_of(incoming.size(), 0).try_into()?);
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
        IncomingKind::Special => set_special(&mut inode, incoming.rdev())?,
    }
    Ok(inode)
}
