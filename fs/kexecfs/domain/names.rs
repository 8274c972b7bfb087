// SPDX-License-Identifier: GPL-2.0-only

//! The names of a domain in `fd_restore`: what they lead to, and for whom.
//!
//! Its inode and its dentry are made when it is looked up, and reclaimed as in any file system:
//! what has to outlive them is here.

use super::{
    entry::{
        Attr,
        Entry,
        Owner, //
    },
    Domain, //
};
use crate::words::name::Name;
use kernel::{
    fs::Timespec,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Acquire,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// The time of no change.
pub(super) const NEVER: i64 = i64::MIN;

/// A task that releases entries and then removes their names.
pub(crate) struct Releasing<'a>(&'a Domain);

impl Drop for Releasing<'_> {
    fn drop(&mut self) {
        self.0.releasing.fetch_sub(1, Full);
    }
}

impl Domain {
    /// Fills `batch` with what is in `fd_restore`, in the order of the names: from the name behind
    /// `after` on, or else from the one that has `skip` before it.
    pub(crate) fn entries(
        &self,
        after: Option<&Name>,
        skip: usize,
        batch: &mut [Option<Arc<Entry>>],
    ) {
        let mut table = self.table.lock();
        let mut places = batch.iter_mut();
        let mut skip = skip;
        let mut add = |entry: &Arc<Entry>| {
            if skip != 0 {
                skip -= 1;
                return true;
            }
            places
                .next()
                .map(|place| *place = Some(entry.clone()))
                .is_some()
        };

        // There are never both kinds.
        walk_after(&mut table.restorable, after, &mut add);
        walk_after(&mut table.preserved, after, |entry| {
            !entry.is_held() || add(entry)
        });
    }

    /// Looks `name` up in `fd_restore`: what it is the name of, the owner of a new inode, and the
    /// attributes of one that it had before.
    ///
    /// The caller makes a dentry of it, and has locked the directory for that.
    pub(crate) fn look_up(&self, name: &Name) -> Option<(Arc<Entry>, Owner, Option<Attr>)> {
        let table = self.table.lock();
        let entry = match table.preserved.get(name) {
            Some(entry) if entry.is_held() => entry,
            _ => table.restorable.get(name)?,
        };
        let (owner, attr) = entry.attr(table.restorable_owner, table.owned);

        entry.set_looked_up();
        Some((entry.clone(), owner, attr))
    }

    /// Sets the owner of all names in `fd_restore`, which is made at the time `now`.
    pub(crate) fn init_owner(&self, owner: Owner, now: Timespec) {
        self.table.lock().set_owner(owner, now);
    }

    /// Changes the owner of all names in `fd_restore`, at the time `now`, but not that of the
    /// inodes that they have at present.
    pub(crate) fn set_owner(&self, owner: Owner, now: Timespec) {
        let mut table = self.table.lock();

        table.set_owner(owner, now);
        for entry in Iterator::chain(table.preserved.values(), table.restorable.values()) {
            entry.set_owner(owner, now);
        }
    }

    /// The owner of what is preserved from now on, which is that of `fd_restore`, whose inode is
    /// locked.
    pub(crate) fn set_dir_owner(&self, owner: Owner) {
        self.table.lock().dir_owner = owner;
    }

    /// A name has come or gone.
    pub(crate) fn set_names_changed(&self) {
        let now = Timespec::now_as_nanos();
        let mut before = self.names_changed.load(Relaxed);

        // Another task may have been later, and faster.
        while before < now {
            match self.names_changed.cmpxchg(before, now, Relaxed) {
                Ok(_) => return,
                Err(other) => before = other,
            }
        }
    }

    /// When a name last came or went, unless the inode of `fd_restore` says so.
    pub(crate) fn names_changed(&self) -> Option<Timespec> {
        let nanos = self.names_changed.load(Relaxed);

        (nanos != NEVER).then(|| Timespec::from_nanos(nanos))
    }

    /// The inode of `fd_restore` says that names changed at this time, or later.
    pub(crate) fn forget_names_changed(&self, changed: Timespec) {
        // If another has come or gone since, that is told.
        let _ = self
            .names_changed
            .cmpxchg(changed.into_nanos(), NEVER, Relaxed);
    }

    /// The files that were handed over, in the order of their names.
    pub(crate) fn restorable(&self) -> Result<KVVec<Arc<Entry>>> {
        let mut entries = KVVec::new();

        loop {
            let table = self.table.lock();
            let nr = table.restorable.values().count();

            if nr <= entries.capacity() {
                for entry in table.restorable.values() {
                    entries.push_within_capacity(entry.clone())?;
                }
                return Ok(entries);
            }
            // Without the lock: it may wait for the cgroup.
            drop(table);
            entries.reserve(nr, GFP_KERNEL_ACCOUNT)?;
        }
    }

    /// Begins to release entries and to remove their names, until what this returns is dropped.
    pub(crate) fn releasing(&self) -> Releasing<'_> {
        self.releasing.fetch_add(1, Full);
        Releasing(self)
    }

    /// Whether a name that has been preserved anew may lead to an entry that was released before.
    pub(crate) fn is_releasing(&self) -> bool {
        // If not, all that was removed is seen to be so. A task that has released the entry whose
        // name is preserved by now had begun before: it needs `table`, as does who preserves.
        self.releasing.load(Acquire) != 0
    }
}

/// Calls `each` for the values in `tree` behind the key `after`, or for all, until it is false.
fn walk_after<V>(
    tree: &mut RBTree<Name, V>,
    after: Option<&Name>,
    mut each: impl FnMut(&V) -> bool,
) {
    let mut cursor = match after {
        Some(name) => tree.cursor_lower_bound_mut(name),
        None => tree.cursor_front_mut(),
    };

    while let Some(at) = cursor {
        let (name, value) = at.current();

        if after != Some(name) && !each(value) {
            return;
        }
        cursor = at.move_next();
    }
}
