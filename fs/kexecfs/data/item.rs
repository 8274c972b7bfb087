// SPDX-License-Identifier: GPL-2.0-only

//! The inodes of a domain, and the part of those in `data/` that the VFS knows nothing of.

use crate::{
    data::{
        content::Content,
        counted::Counted, //
    },
    domain::{
        Domain,
        Entry, //
    },
    types::KexecFs, //
};
use kernel::{
    fs::{
        xattr::{
            simple_xattr_space,
            SimpleXattrs, //
        },
        Inode,
        OffsetCtx,
        Times,
        Timespec, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        SetOnce, //
    },
};

/// The kinds of inodes.
pub(crate) enum Node {
    /// The root: its owner and mode are those of the domain.
    Root,
    /// A control file, or the directory `fd_restore`.
    Control,
    /// `fd_restore/NAME`.
    Entry(Arc<Entry>),
    /// `data/` or an inode in it.
    Data(DataInode),
}

/// The name of the tree in the root of a domain.
pub(crate) const DATA: &CStr = c"data";

/// The kinds of inodes in `data/`.
pub(crate) enum DataKind {
    /// A directory, with the positions of its entries.
    Directory(Pin<KBox<OffsetCtx>>),
    File(Arc<Content>),
    Link {
        _counted: Counted,
    },
    /// A pipe, a socket or a device node.
    Other,
}

impl DataKind {
    /// An empty directory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn directory() -> Result<Self> {
        let offsets = KBox::pin_init(OffsetCtx::new(), GFP_KERNEL_ACCOUNT)?;

        Ok(Self::Directory(offsets))
    }
}

/// The attributes of an inode.
pub(crate) struct DataAttr {
    pub(super) btime: SetOnce<Timespec>,
    /// Changed under the lock of the inode.
    pub(super) flags: Atomic<u32>,
}

impl DataAttr {
    /// Those of an inode that is being made, for `attr.rs` to set.
    fn new() -> Self {
        Self {
            btime: SetOnce::new(),
            flags: Atomic::new(0),
        }
    }

    pub(super) fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }
}

/// An inode of `data/`, which counts for the domain's limit as long as it lives.
pub(crate) struct DataInode {
    domain: Arc<Domain>,
    pub(crate) kind: DataKind,
    pub(super) attr: DataAttr,
    xattrs: SimpleXattrs,
    /// How much they are charged, in bytes of inode space. Changed under the lock of the inode.
    pub(super) xattr_space: Atomic<u64>,
    /// Likewise for its ACLs.
    pub(super) acl_space: Atomic<u64>,
    /// How many names beyond the first count for that limit, too.
    links: Atomic<i64>,
    /// The last walk that came by, and the number that it gave the inode.
    pub(crate) walk: Atomic<u32>,
    pub(crate) number: Atomic<u32>,
}

impl DataInode {
    /// # Errors
    ///
    /// `ENOSPC` if the domain has as many as it may have, `ENOMEM`.
    pub(super) fn node(domain: ArcBorrow<'_, Domain>, kind: DataKind) -> Result<KBox<Node>> {
        domain.space.charge_inode()?;
        Self::counted(domain, kind).inspect_err(|_| domain.space.uncharge_inode())
    }

    /// One that the previous kernel handed over, whatever the limit is.
    pub(super) fn incoming(domain: ArcBorrow<'_, Domain>, kind: DataKind) -> Result<KBox<Node>> {
        domain.space.charge_inode_force();
        Self::counted(domain, kind).inspect_err(|_| domain.space.uncharge_inode())
    }

    fn counted(domain: ArcBorrow<'_, Domain>, kind: DataKind) -> Result<KBox<Node>> {
        let node = KBox::<Node>::new_uninit(GFP_KERNEL_ACCOUNT)?;
        let item = Self {
            xattrs: SimpleXattrs::new(domain.xattrs.clone()),
            xattr_space: Atomic::new(0),
            acl_space: Atomic::new(0),
            links: Atomic::new(0),
            domain: domain.into(),
            kind,
            attr: DataAttr::new(),
            walk: Atomic::new(0),
            number: Atomic::new(0),
        };

        domain.inodes.add(1, Relaxed);
        Ok(KBox::write(node, Node::Data(item)))
    }

    /// Counts a further name.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the domain has as many entries as it may have.
    pub(super) fn charge_link(&self) -> Result {
        self.domain.space.charge_inode()?;
        self.links.add(1, Relaxed);
        Ok(())
    }

    /// Counts a further name that the previous kernel handed over, whatever the limit is.
    pub(super) fn charge_link_force(&self) {
        self.domain.space.charge_inode_force();
        self.links.add(1, Relaxed);
    }

    /// Gives a further name up.
    pub(super) fn uncharge_link(&self) {
        self.links.add(-1, Relaxed);
        self.domain.space.uncharge_inode();
    }

    pub(crate) fn xattrs(&self) -> &SimpleXattrs {
        &self.xattrs
    }

    /// Adds an extended attribute that the previous kernel handed over.
    pub(super) fn add_xattr(&self, name: &[u8], value: &[u8]) -> Result {
        let mut buf = KVVec::with_capacity(name.len() + 1, GFP_KERNEL)?;

        buf.extend_from_slice(name, GFP_KERNEL)?;
        buf.push(0, GFP_KERNEL)?;
        let name = CStr::from_bytes_with_nul(&buf).map_err(|_| EIO)?;
        let space = simple_xattr_space(name, value.len()) as u64;

        self.xattrs.add(name, value)?;
        self.domain.space.charge_ispace_force(space);
        self.xattr_space.add(space, Relaxed);
        Ok(())
    }
}

impl Drop for DataInode {
    fn drop(&mut self) {
        self.domain.inodes.add(-1, Relaxed);
        self.domain
            .space
            .uncharge_ispace(self.xattr_space.load(Relaxed) + self.acl_space.load(Relaxed));
        // With names that are left if the superblock ends.
        for _ in 0..=self.links.load(Relaxed) {
            self.domain.space.uncharge_inode();
        }
    }
}

/// The item of an inode of `data/`.
///
/// # Errors
///
/// `EIO` for any other inode, which has other operations than those of this file.
pub(crate) fn item(inode: &Inode<KexecFs>) -> Result<&DataInode> {
    match inode.data() {
        Node::Data(item) => Ok(item),
        _ => Err(EIO),
    }
}

/// The positions of the entries of a directory of `data/`.
pub(super) fn offset_ctx(inode: &Inode<KexecFs>) -> Result<&OffsetCtx> {
    match &item(inode)?.kind {
        DataKind::Directory(offsets) => Ok(offsets),
        _ => Err(EIO),
    }
}

/// The contents of a regular file of `data/`.
pub(crate) fn content(inode: &Inode<KexecFs>) -> Result<&Arc<Content>> {
    match &item(inode)?.kind {
        DataKind::File(content) => Ok(content),
        _ => Err(EIO),
    }
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
