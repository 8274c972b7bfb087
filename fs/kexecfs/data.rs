// SPDX-License-Identifier: GPL-2.0-only

//! `data/`: an ordinary directory tree.
//!
//! It lies in the dcache, as that of a tmpfs does, and changes inside the gate `Domain::changes`,
//! which is shut while the domain is prepared. What an operation does to the names, attributes and
//! extended attributes has been done when it leaves the gate: see "What a prepare records" in
//! `architecture.rst`. The contents of its files are in `content.rs`, how they are read and written
//! in `regular.rs`.

use crate::{
    acl::{
        add_acl,
        set_acl,
        take_acls, //
    },
    attr::{
        self,
        Attr, //
    },
    content::{
        size_of,
        Content, //
    },
    counted::Counted,
    domain::Domain,
    inode::Node,
    name::Name,
    options::Options,
    regular::{
        update,
        RegularFile, //
    },
    space::{
        bytes_of,
        bytes_of_link, //
    },
    tree::{
        Inode as Recorded,
        Kind as RecordedKind,
        Tree, //
    },
    types::KexecFs, //
};
use kernel::{
    fs::{
        acl::{
            AclType,
            SetAcl, //
        },
        fileattr::FileKattr,
        xattr::{
            simple_xattr_space,
            SetXattr,
            SimpleXattrs, //
        },
        Dentry,
        DentryRef,
        DevT,
        FileOps,
        GetAttr,
        Inode,
        InodeOperations,
        InodeOps,
        Link,
        LockedInode,
        Mode,
        NewEntry,
        NewInode,
        Rename,
        SetAttr,
        SuperBlock,
        Times,
        TmpFile,
        Unlink, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        barrier::smp_mb,
        Arc, //
    },
};

/// The name of the tree in the root of a domain.
pub(crate) const DATA: &CStr = c"data";

/// What an inode of `data/` is.
pub(crate) enum Kind {
    Directory,
    File(Arc<Content>),
    Link {
        _counted: Counted,
    },
    /// A pipe, a socket or a device node.
    Other,
}

/// An inode of `data/`, which counts for the domain's limit as long as it lives.
pub(crate) struct Item {
    domain: Arc<Domain>,
    pub(crate) kind: Kind,
    pub(crate) attr: Attr,
    xattrs: Pin<KBox<SimpleXattrs>>,
    /// What they count for the domain's limit. Changed under the lock of the inode.
    xattr_space: Atomic<u64>,
    /// What its ACLs count for that limit. Changed under the lock of the inode.
    pub(crate) acl_space: Atomic<u64>,
    /// How many names beyond the first count for that limit, too.
    links: Atomic<i64>,
    /// The last walk that came by, and the number that it gave the inode.
    pub(crate) walk: Atomic<u32>,
    pub(crate) number: Atomic<u32>,
}

impl Item {
    /// # Errors
    ///
    /// `ENOSPC` if the domain has as many as it may have, `ENOMEM`.
    fn node(domain: Arc<Domain>, kind: Kind) -> Result<KBox<Node>> {
        domain.space.take_inode()?;
        Self::counted(domain.clone(), kind).inspect_err(|_| domain.space.give_inode())
    }

    /// One that the previous kernel handed over, whatever the limit is.
    fn handed_over(domain: Arc<Domain>, kind: Kind) -> Result<KBox<Node>> {
        domain.space.count_inode();
        Self::counted(domain.clone(), kind).inspect_err(|_| domain.space.give_inode())
    }

    fn counted(domain: Arc<Domain>, kind: Kind) -> Result<KBox<Node>> {
        let xattrs = SimpleXattrs::new(domain.xattrs.clone());
        let node = KBox::<Node>::new_uninit(GFP_KERNEL_ACCOUNT)?;
        let item = Self {
            xattrs: KBox::pin_init(xattrs, GFP_KERNEL_ACCOUNT)?,
            xattr_space: Atomic::new(0),
            acl_space: Atomic::new(0),
            links: Atomic::new(0),
            domain,
            kind,
            attr: Attr::new(),
            walk: Atomic::new(0),
            number: Atomic::new(0),
        };

        item.domain.inodes.add(1, Relaxed);
        Ok(KBox::write(node, Node::Data(item)))
    }

    /// Counts a further name.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the domain has as many entries as it may have.
    fn take_link(&self) -> Result {
        self.domain.space.take_inode()?;
        self.links.add(1, Relaxed);
        Ok(())
    }

    /// Counts a further name that the previous kernel handed over, whatever the limit is.
    fn count_link(&self) {
        self.domain.space.count_inode();
        self.links.add(1, Relaxed);
    }

    /// Gives a further name up.
    fn give_link(&self) {
        self.links.add(-1, Relaxed);
        self.domain.space.give_inode();
    }

    pub(crate) fn xattrs(&self) -> &SimpleXattrs {
        &self.xattrs
    }

    /// Adds an extended attribute that the previous kernel handed over.
    fn add_xattr(&self, name: &[u8], value: &[u8]) -> Result {
        let mut buf = KVVec::with_capacity(name.len() + 1, GFP_KERNEL)?;

        buf.extend_from_slice(name, GFP_KERNEL)?;
        buf.push(0, GFP_KERNEL)?;
        let name = CStr::from_bytes_with_nul(&buf).map_err(|_| EIO)?;
        let space = simple_xattr_space(name, value.len()) as u64;

        self.xattrs.add(name, value)?;
        self.domain.space.count_ispace(space);
        self.xattr_space.add(space, Relaxed);
        Ok(())
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.domain.inodes.add(-1, Relaxed);
        self.domain
            .space
            .give_ispace(self.xattr_space.load(Relaxed) + self.acl_space.load(Relaxed));
        // With names that are left if the superblock ends.
        for _ in 0..=self.links.load(Relaxed) {
            self.domain.space.give_inode();
        }
    }
}

/// The item of an inode of `data/`.
///
/// # Errors
///
/// `EIO` for any other inode, which has other operations than those of this file.
pub(crate) fn item(inode: &Inode<KexecFs>) -> Result<&Item> {
    match inode.data() {
        Node::Data(item) => Ok(item),
        _ => Err(EIO),
    }
}

/// The contents of a regular file of `data/`.
pub(crate) fn content(inode: &Inode<KexecFs>) -> Result<&Arc<Content>> {
    match &item(inode)?.kind {
        Kind::File(content) => Ok(content),
        _ => Err(EIO),
    }
}

// Making the tree at mount.

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
    for name in tree.names() {
        let dentry = {
            let parent: &DentryRef<'_, KexecFs> = dentries
                .get(name.parent as usize)
                .and_then(Option::as_ref)
                .ok_or(EIO)?;
            let entry = Name::of_entry(name.name)?;
            let creating = parent.start_creating(entry.as_c_str()).inspect_err(|&e| {
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
    // Last, as each name changes the times of its directory.
    for (number, dentry) in dentries.iter().enumerate() {
        let inode = dentry
            .as_ref()
            .and_then(|dentry| dentry.inode())
            .ok_or(EIO)?;
        let times = tree.inode(number.try_into()?).ok_or(EIO)?.times;

        inode.lock().set_times(times);
    }
    Ok(())
}

/// Makes an inode that was handed over.
fn handed_over<'a>(
    sb: &'a SuperBlock<KexecFs>,
    tree: &Arc<Tree>,
    number: u32,
) -> Result<NewInode<'a, KexecFs>> {
    let domain: Arc<Domain> = sb.info().into();
    let recorded: Recorded<'_> = tree.inode(number).ok_or(EIO)?;
    let kind = match recorded.kind {
        RecordedKind::Directory => Kind::Directory,
        RecordedKind::Packed(contents) => Kind::File(Content::packed(domain.clone(), contents)?),
        RecordedKind::Token(token) => {
            Kind::File(Content::handed_over(domain.clone(), token, recorded.size)?)
        }
        RecordedKind::Link(target) => Kind::Link {
            _counted: Counted::new(domain.clone(), bytes_of_link(target)),
        },
        RecordedKind::Special => Kind::Other,
    };
    let mut inode = NewInode::new(sb, recorded.mode, Item::handed_over(domain, kind)?)?;

    attr::restore(&mut inode, tree.attr(number).as_ref())?;
    inode.set_owner(recorded.uid, recorded.gid);
    match recorded.kind {
        RecordedKind::Directory => inode.set_offset_dir::<Directory>()?,
        RecordedKind::Packed(_) | RecordedKind::Token(_) => {
            inode.set_size(recorded.size.try_into()?);
            inode.set_bytes(bytes_of(recorded.size, 0).try_into()?);
            set_regular(&mut inode)?;
        }
        RecordedKind::Link(target) => {
            let mut buf = KVVec::new();

            buf.extend_from_slice(target, GFP_KERNEL_ACCOUNT)?;
            buf.push(0, GFP_KERNEL_ACCOUNT)?;
            set_symlink(
                &mut inode,
                CStr::from_bytes_with_nul(&buf).map_err(|_| EIO)?,
            )?;
        }
        RecordedKind::Special => set_special(&mut inode, recorded.rdev)?,
    }
    Ok(inode)
}

fn set_regular(inode: &mut NewInode<'_, KexecFs>) -> Result {
    inode.set_inode_ops(InodeOps::file::<Regular>());
    inode.set_file_ops(FileOps::new::<RegularFile>())
}

fn set_symlink(inode: &mut NewInode<'_, KexecFs>, target: &CStr) -> Result {
    inode.set_bytes(bytes_of_link(target.to_bytes()).try_into()?);
    inode.set_symlink::<Other>(target)
}

fn set_special(inode: &mut NewInode<'_, KexecFs>, rdev: DevT) -> Result {
    inode.set_inode_ops(InodeOps::file::<Other>());
    inode.init_special(rdev)
}

// What is done with it.

/// A directory.
struct Directory;

#[vtable]
impl InodeOperations for Directory {
    type FileSystem = KexecFs;

    fn create(entry: NewEntry<'_, KexecFs>) -> Result {
        let domain = entry.dir().sb().info();
        let _inside = domain.change()?;
        let kind = Kind::File(Content::empty(domain.into())?);
        let mut inode = entry.new_inode(Item::node(domain.into(), kind)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        take_acls(&inode)?;
        set_regular(&mut inode)?;
        entry.make_persistent(inode)
    }

    fn mkdir(entry: NewEntry<'_, KexecFs>) -> Result {
        let domain = entry.dir().sb().info();
        let _inside = domain.change()?;
        let mut inode = entry.new_inode(Item::node(domain.into(), Kind::Directory)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        take_acls(&inode)?;
        inode.set_offset_dir::<Directory>()?;
        entry.make_persistent(inode)
    }

    fn mknod(entry: NewEntry<'_, KexecFs>, rdev: DevT) -> Result {
        if entry.mode().is_reg() {
            return Self::create(entry);
        }
        let domain = entry.dir().sb().info();
        let _inside = domain.change()?;
        let mut inode = entry.new_inode(Item::node(domain.into(), Kind::Other)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        take_acls(&inode)?;
        set_special(&mut inode, rdev)?;
        entry.make_persistent(inode)
    }

    fn symlink(entry: NewEntry<'_, KexecFs>, target: &CStr) -> Result {
        let domain = entry.dir().sb().info();
        let _inside = domain.change()?;
        let kind = Kind::Link {
            _counted: Counted::take(domain.into(), bytes_of_link(target.to_bytes()))?,
        };
        let mut inode = entry.new_inode(Item::node(domain.into(), kind)?)?;

        attr::init(&mut inode, Some(entry.dir()))?;
        set_symlink(&mut inode, target)?;
        entry.make_persistent(inode)
    }

    fn link(link: Link<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = link.dir().sb().info().into();
        let _inside = domain.change()?;
        // Control files stay where they are.
        let item = item(link.old()).map_err(|_| EPERM)?;

        // The first name of a file that was made without one is counted already.
        if link.old().nlink() == 0 {
            return link.simple_link();
        }
        item.take_link()?;
        link.simple_link().inspect_err(|_| item.give_link())
    }

    fn unlink(unlink: Unlink<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = unlink.dir().sb().info().into();
        let _inside = domain.change()?;
        let inode = unlink.dentry().inode().ok_or(ENOENT)?;

        // What follows doesn't fail.
        if inode.nlink() > 1 {
            item(inode)?.give_link();
        }
        unlink.simple_unlink()
    }

    fn rmdir(rmdir: Unlink<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = rmdir.dir().sb().info().into();
        let _inside = domain.change()?;

        rmdir.simple_rmdir()
    }

    fn rename(rename: Rename<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = rename.old_dir().sb().info().into();
        let _inside = domain.change()?;
        let target = match rename.target() {
            Some(inode) if !rename.exchange() && !inode.mode().is_dir() && inode.nlink() > 1 => {
                Some(item(inode)?)
            }
            _ => None,
        };
        let whiteout = if rename.whiteout() {
            let data = Item::node(domain.clone(), Kind::Other)?;
            let mut whiteout = rename.new_whiteout(data)?;

            attr::init(&mut whiteout, Some(rename.old_dir()))?;
            take_acls(&whiteout)?;
            whiteout.set_inode_ops(InodeOps::file::<Other>());
            Some(whiteout)
        } else {
            None
        };

        rename.simple_offset_rename(whiteout)?;
        if let Some(target) = target {
            target.give_link();
        }
        Ok(())
    }

    fn tmpfile(tmpfile: TmpFile<'_, KexecFs>) -> Result {
        let domain = tmpfile.dir().sb().info();
        let inside = domain.change()?;
        let kind = Kind::File(Content::empty(domain.into())?);
        let mut inode = tmpfile.new_inode(Item::node(domain.into(), kind)?)?;

        attr::init(&mut inode, Some(tmpfile.dir()))?;
        take_acls(&inode)?;
        set_regular(&mut inode)?;
        // It has no name, and opening it may take as long as a listener of fanotify likes.
        drop(inside);
        tmpfile.finish(inode)
    }

    fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
        set_acl(change)
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        set_attributes(attr)
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

/// A symbolic link, a pipe, a socket or a device node.
struct Other;

#[vtable]
impl InodeOperations for Other {
    type FileSystem = KexecFs;

    fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
        set_acl(change)
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        set_attributes(attr)
    }

    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        attr::fill(&mut attr)
    }
}

fn set_attributes(attr: SetAttr<'_, KexecFs>) -> Result {
    let domain: Arc<Domain> = attr.inode().sb().info().into();
    let _inside = domain.change()?;

    attr.prepare()?.ready()?.copy();
    Ok(())
}

/// A regular file.
struct Regular;

#[vtable]
impl InodeOperations for Regular {
    type FileSystem = KexecFs;

    fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
        set_acl(change)
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = attr.inode().sb().info().into();

        // Outside the gate: a retrieve may take as long as the caller's cgroup likes.
        if attr.size().is_some() {
            content(attr.inode())?.inner(attr.inode())?;
        }
        let _inside = domain.change()?;

        // What can fail comes before the size changes.
        let attr = attr.prepare()?.ready()?;

        if let Some(size) = attr.size() {
            let inode = attr.inode();
            let content = content(inode)?;
            let inner = content.inner(inode)?;

            let (before, after) = (size_of(&inner), size.try_into()?);

            content.counted.grow(after)?;
            let result = inner.do_truncate(size);

            if result.is_ok() && after <= before {
                content.counted.deallocate(after, u64::MAX);
            }
            content.counted.fit(size_of(&inner));
            update(&attr.locked(), &inner);
            result?;
        }
        attr.copy();
        // Only of that the inner file tells: a write through a mapping has set it there alone.
        if attr.mtime_set() {
            // With that of `Content::set_inner()`.
            smp_mb(Full);
            if let Some(inner) = content(attr.inode())?.inner_if_any() {
                inner.set_times(attr.inode().times());
            }
        }
        Ok(())
    }

    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        let inode = attr.inode();

        if let Some(inner) = content(inode)?.inner_if_any() {
            attr.set_size(inner.i_size_read());
            attr.set_blocks(inner.i_blocks());
            attr.fill_mg_cmtime(&inner);
        } else {
            let size = inode.size().try_into()?;

            attr.set_blocks(bytes_of(size, 0) / 512);
        }
        attr::fill(&mut attr)
    }

    fn fileattr_get(inode: &Inode<KexecFs>, fa: &mut FileKattr<'_>) -> Result {
        attr::get_flags(inode, fa)
    }

    fn fileattr_set(inode: LockedInode<'_, KexecFs>, fa: &FileKattr<'_>) -> Result {
        attr::set_flags(inode, fa)
    }
}

/// Changes an extended attribute, whose inode is locked.
pub(crate) fn set_xattr(change: SetXattr<'_, KexecFs>) -> Result {
    let domain: Arc<Domain> = change.inode().sb().info().into();
    let _inside = domain.change()?;
    let item = item(change.inode())?;
    let taken = change.space() as u64;

    domain.space.take_ispace(taken)?;
    let freed = change
        .simple_xattr_set()
        .inspect_err(|_| domain.space.give_ispace(taken))?;
    let counted = item.xattr_space.load(Relaxed) + taken;
    // The label that a security module gave to a new inode was not counted.
    let freed = counted.min(freed as u64);

    item.xattr_space.store(counted - freed, Relaxed);
    domain.space.give_ispace(freed);
    Ok(())
}

/// The times of a file whose inner file has the times `inner`: its contents change there.
pub(crate) fn times_of(inode: &Inode<KexecFs>, inner: &Times) -> Times {
    let outer = inode.times();
    let newer = (inner.ctime.sec, inner.ctime.nsec) > (outer.ctime.sec, outer.ctime.nsec);

    Times {
        atime: outer.atime,
        mtime: inner.mtime,
        ctime: if newer { inner.ctime } else { outer.ctime },
    }
}
