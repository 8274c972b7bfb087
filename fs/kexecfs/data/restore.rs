// SPDX-License-Identifier: GPL-2.0-only

//! `data/` in a superblock: empty from the beginning, or as the previous kernel handed it over,
//! once a task looks for it.
//!
//! That tree is built out of sight and appears whole, or not at all: so a mount takes no time for
//! it. Until then the domain keeps the records, which a reboot hands on as they came.

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
    gate,
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
    cred::with_kernel_creds,
    fs::{
        acl::AclType,
        Dentry,
        DentryRef,
        Detached,
        Found,
        Inode,
        Lookup,
        Mode,
        NewInode,
        SuperBlock,
        NAME_MAX, //
    },
    prelude::*,
    sync::Arc, //
};

/// Makes an empty `data/` in a new superblock.
pub(crate) fn make_empty(
    sb: &SuperBlock<KexecFs>,
    root: &Dentry<KexecFs>,
    options: &Options,
) -> Result {
    let domain = sb.info();
    let data = DataInode::node(domain, DataKind::directory()?)?;
    let mut inode = NewInode::new(sb, Mode::dir(options.mode), data)?;

    attr::init(&mut inode, None)?;
    inode.set_owner(options.uid, options.gid);
    set_directory(&mut inode)?;
    domain.set_data_ino(inode.ino());
    root.start_creating(DATA)?.instantiate(inode)
}

/// Looks `data` up, so that the tree that came in is restored if nobody has looked for it yet.
///
/// Waits for the lock of the root: not behind a gate.
///
/// # Errors
///
/// Those of [`look_up`].
pub(crate) fn restore(sb: &SuperBlock<KexecFs>) -> Result {
    let domain = sb.info();

    // What a discard interrupts is no tree to be found by a handle.
    if domain.tree().is_none() {
        return domain.check_alive();
    }
    sb.root()
        .ok_or(EIO)?
        .lookup_noperm_positive_unlocked(DATA)
        .map(drop)
}

/// The first look-up of `data`: restores the tree that came in.
///
/// # Errors
///
/// `ENOMEM`, `EBUSY` in a reboot, `EINTR` if the caller is killed, `ESTALE` if the domain was
/// discarded, `EIO`. Everything is as before then.
pub(crate) fn look_up<'a>(lookup: Lookup<'a, KexecFs>) -> Result<Found<'a, KexecFs>> {
    let sb = lookup.dir().sb();
    let domain = sb.info();

    domain.check_alive()?;
    if domain.tree().is_none() {
        return Ok(lookup.nothing());
    }
    let _inside = gate::enter()?;
    // A discard is inside, too, and may be over by now.
    let tree = domain.tree().ok_or(ESTALE)?;

    domain.begin_restoring();
    // Whoever looks first, the labels of security modules are those of the kernel's own files.
    let data = with_kernel_creds(|| restore_tree(sb, &tree))?;

    domain.publish_tree(|| lookup.d_splice_alias(data))
}

fn restore_tree<'a>(
    sb: &'a SuperBlock<KexecFs>,
    tree: &Arc<Tree>,
) -> Result<Detached<'a, KexecFs>> {
    let top = tree.inode(0).ok_or(EIO)?;
    let data = Detached::new(restore_inode(sb, tree, top)?)?;
    let mut dentries = Dentries::with_capacity(tree.inodes())?;

    dentries.set(0, sb.dget(&data)?)?;
    restore_names(sb, &mut dentries, tree)?;
    restore_xattrs(&dentries, tree)?;
    restore_times(&dentries, tree)?;
    Ok(data)
}

/// Whether to go on: a reboot waits, and hands the tree on as it came.
fn check() -> Result {
    if current!().fatal_signal_pending() {
        return Err(EINTR);
    }
    gate::check_open()
}

fn restore_names<'a>(
    sb: &'a SuperBlock<KexecFs>,
    dentries: &mut Dentries<'a>,
    tree: &Arc<Tree>,
) -> Result {
    let mut buf = [0; NAME_MAX + 1];

    for name in tree.names() {
        check()?;
        let dentry = {
            let parent = dentries.get(name.parent).ok_or(EIO)?;
            let entry = to_c_str(name.name, &mut buf)?;
            // Nothing is new to those that watch the superblock.
            let creating = parent.start_creating(entry)?.quietly();

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
    Ok(())
}

fn restore_xattrs(dentries: &Dentries<'_>, tree: &Tree) -> Result {
    for xattr in tree.xattrs() {
        check()?;
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
        check()?;
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
