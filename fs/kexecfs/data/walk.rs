// SPDX-License-Identifier: GPL-2.0-only

//! The names of `data/` at one moment.
//!
//! A prepare walks through the tree once, behind the shut gate `Domain::changes`. All that it does
//! and records afterwards is about the names and inodes that the walk has found.

use crate::{
    data::item::{
        item,
        DATA, //
    },
    types::KexecFs, //
};
use kernel::{
    fs::{
        DentryRef,
        Inode,
        SuperBlock,
        NAME_MAX, //
    },
    prelude::*,
    sync::atomic::Relaxed,
};

/// A name: its bytes are the next `len` of [`Snapshot::bytes`].
struct SnapshotName {
    /// The numbers of the directory that it is in, and of its inode.
    parent: u32,
    inode: u32,
    len: usize,
}

/// The inodes of `data/` and their names.
pub(crate) struct Snapshot<'a> {
    /// By number: each with the first of its names.
    inodes: KVVec<DentryRef<'a, KexecFs>>,
    names: KVVec<SnapshotName>,
    bytes: KVVec<u8>,
}

/// A name in a [`Snapshot`].
pub(crate) struct Visit<'a> {
    pub(crate) inode: &'a Inode<KexecFs>,
    /// Empty for `data/` itself.
    pub(crate) name: &'a [u8],
    /// The number of the directory that it is in.
    pub(crate) parent: u32,
    /// The number of its inode.
    pub(crate) number: u32,
    /// Whether this is the first name of its inode.
    pub(crate) first: bool,
}

impl<'a> Snapshot<'a> {
    /// Walks through `data/` of a superblock, whose gate is shut: no name comes, goes or moves.
    ///
    /// `walk` is another number for each walk of the domain. `check` is called for each name, and
    /// may end it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EOVERFLOW` if there are too many inodes, `ESTALE` if the domain was discarded
    /// before `data/` has been restored, and those of `check`.
    pub(crate) fn take(
        sb: &'a SuperBlock<KexecFs>,
        walk: u32,
        check: impl Fn() -> Result,
    ) -> Result<Self> {
        let mut all = Self {
            inodes: KVVec::new(),
            names: KVVec::new(),
            bytes: KVVec::new(),
        };
        // A reader of the root keeps its lock as long as it likes.
        let data = sb
            .root()
            .ok_or(EIO)?
            .try_lookup_noperm(DATA)?
            .ok_or(ESTALE)?;

        all.add(data, 0, &[], walk)?;
        // Each directory adds its children. No recursion: users nest as deep as they like.
        let mut number = 0;

        while let Some(dentry) = all.inodes.get(number as usize) {
            let dir = sb.dget(dentry)?;

            if dir.inode().ok_or(EIO)?.mode().is_dir() {
                let mut prev = None;

                while let Some(child) = dir.next_child(prev.take())? {
                    check()?;
                    all.add(
                        sb.dget(&child)?,
                        number,
                        child.name(&mut [0; NAME_MAX]),
                        walk,
                    )?;
                    prev = Some(child);
                }
            }
            number = number.checked_add(1).ok_or(EOVERFLOW)?;
        }
        Ok(all)
    }

    /// Adds a name, and its inode if this is the first.
    fn add(
        &mut self,
        dentry: DentryRef<'a, KexecFs>,
        parent: u32,
        name: &[u8],
        walk: u32,
    ) -> Result {
        let item = item(dentry.inode().ok_or(EIO)?)?;
        let first = item.walk.load(Relaxed) != walk;

        if first {
            item.number.store(self.inodes.len().try_into()?, Relaxed);
            item.walk.store(walk, Relaxed);
        }
        let name_of = SnapshotName {
            parent,
            inode: item.number.load(Relaxed),
            len: name.len(),
        };

        self.names.push(name_of, GFP_KERNEL_ACCOUNT)?;
        self.bytes.extend_from_slice(name, GFP_KERNEL_ACCOUNT)?;
        if first {
            self.inodes.push(dentry, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// How many inodes there are.
    pub(crate) fn inodes(&self) -> usize {
        self.inodes.len()
    }

    /// Calls `each` for `data/` and then for every name, that of a directory before those in it.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Visit<'_>) -> Result) -> Result {
        let mut rest = &self.bytes[..];
        let mut seen = 0;

        for name in &self.names {
            let (bytes, behind) = rest.split_at_checked(name.len).ok_or(EIO)?;
            let dentry = self.inodes.get(name.inode as usize).ok_or(EIO)?;
            let first = name.inode == seen;

            rest = behind;
            seen += u32::from(first);
            each(Visit {
                inode: dentry.inode().ok_or(EIO)?,
                name: bytes,
                parent: name.parent,
                number: name.inode,
                first,
            })?;
        }
        Ok(())
    }
}
