// SPDX-License-Identifier: GPL-2.0-only

//! The descriptors of a domain: `fd_preserve`, `fd_unpreserve` and `fd_restore`.

use super::{
    entry::Entry,
    op::{
        CarriedFile,
        Op, //
    },
    sessions::size_of_held,
    Domain, //
};
use crate::{
    handover::Writer,
    space::{
        bytes_of,
        Reservation, //
    },
    words::{
        failure::Failure,
        name::Name,
        state::{
            State,
            Step, //
        }, //
    }, //
};
use kernel::{
    fs::File,
    liveupdate::HeldFile,
    prelude::*,
    rbtree::{
        self,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        aref::ARef,
        Arc,
        MutexGuard, //
    },
    workqueue, //
};

/// How many entries are freed at once by the task that releases them.
const FEW: usize = 64;

/// The files that an event released.
pub(crate) struct Released {
    entries: RBTree<Name, Arc<Entry>>,
    nr: usize,
    /// How many of them were not restored.
    nr_freed: usize,
    /// How many bytes they counted for the domain's limit.
    pub(super) bytes: u64,
}

impl Released {
    /// Releases the files of `entries`, under `Domain::table`, where they are no longer.
    pub(super) fn new(entries: RBTree<Name, Arc<Entry>>) -> Self {
        let (mut nr, mut nr_freed, mut bytes) = (0, 0, 0u64);

        for entry in entries.values() {
            entry.set_released();
            nr += 1;
            nr_freed += usize::from(!entry.is_restored());
            bytes = bytes.saturating_add(entry.counted());
            // fput() leaves the end of a file to the way back to user space.
            entry.let_go();
        }
        Self {
            entries,
            nr,
            nr_freed,
            bytes,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nr == 0
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }
}

impl Drop for Released {
    /// Many are freed by a worker: a service waits for `finish` to end, or for umount(2), and
    /// nobody for this memory.
    fn drop(&mut self) {
        let entries = core::mem::take(&mut self.entries);

        if self.nr > FEW {
            // Without memory for that it is done here.
            let _ = workqueue::system_dfl_long().try_spawn(GFP_KERNEL, move || drop(entries));
        }
    }
}

impl Domain {
    /// Calls `each` for every file that is preserved, or was handed over, with its name, the name
    /// of LUO's handler and its size, in the order of the names.
    ///
    /// There are never both kinds: nothing is preserved before the others are released.
    pub(crate) fn for_each_file(
        &self,
        mut each: impl FnMut(&Name, &[u8], u64) -> Result,
    ) -> Result {
        let table = self.table.lock();

        for entry in Iterator::chain(table.preserved(), table.restorable.values()) {
            each(&entry.name, entry.compatible(), entry.size())?;
        }
        Ok(())
    }

    // What comes from user space. The caller is inside the gate, but for that of
    // `unreserve`, `make_room` and `fit_room`.

    /// Reserves `name` for a file that is to be preserved, and returns its entry.
    pub(crate) fn reserve(&self, name: &Name) -> Result<Arc<Entry>, Failure> {
        let node = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let key = name.try_clone()?;
        let entry = Entry::new(name.try_clone()?)?;
        let _op = self.op.lock_killable()?;
        let mut table = self.table.lock();
        let table = &mut *table;

        self.check_alive()?;
        table.check_state(State::Normal)?;
        let vacant = match table.preserved.entry(key) {
            rbtree::Entry::Vacant(vacant) => vacant,
            rbtree::Entry::Occupied(other) => {
                return Err(Failure::new(EEXIST, other.get().occupies()));
            }
        };
        if table.slots >= table.options.max_fds {
            return Err(Failure::new(EDQUOT, "max_fds= files are preserved"));
        }
        table.slots += 1;
        table.pending += 1;
        vacant.insert(entry.clone(), node);
        Ok(entry)
    }

    /// Undoes [`Domain::reserve`].
    pub(crate) fn unreserve(&self, entry: &Entry) {
        let mut table = self.table.lock();

        table.pending -= 1;
        table.slots -= 1;
        // It is gone if the domain has been discarded.
        let there = table.preserved.get(&entry.name);
        let node = if there.is_some_and(|there| core::ptr::eq(&**there, entry)) {
            table.preserved.remove_node(&entry.name)
        } else {
            None
        };
        drop(table);
        drop(node);
        self.notify_settled();
    }

    /// Makes room for a held file of which `counted` bytes count already.
    pub(crate) fn make_room(
        &self,
        file: &HeldFile,
        counted: u64,
    ) -> Result<Reservation<'_>, Failure> {
        self.space
            .reserve(bytes_of_held(file).saturating_sub(counted))
            .map_err(|e| Failure::new(e, "size= bytes are held"))
    }

    /// Makes room for what such a file has beyond its end as well, once its holes are filled.
    pub(crate) fn fit_room(
        &self,
        room: &mut Reservation<'_>,
        file: &HeldFile,
        counted: u64,
    ) -> Result<(), Failure> {
        room.extend_to(bytes_of_held(file).saturating_sub(counted))
            .map_err(|e| Failure::new(e, "size= bytes are held"))
    }

    /// Preserves a file under a name that is reserved for it.
    pub(crate) fn preserve(
        &self,
        entry: &Entry,
        file: HeldFile,
        room: Reservation<'_>,
    ) -> Result<(), Failure> {
        let mut op = self.op.lock_killable()?;
        let token = op.next_token;
        let next_token = token.checked_add(1).ok_or(EOVERFLOW)?;
        let size = size_of_held(&file);
        let result = match self.make_session(&mut op) {
            Ok(session) => {
                entry.keep(file.file().into());
                session.preserve(file, token)
            }
            Err(failure) => {
                drop(op);
                // Without the lock: it may be the last reference to the file.
                drop(file);
                return Err(failure);
            }
        };
        let compatible = match result {
            Ok(compatible) => compatible,
            Err((file, e)) => {
                self.drop_empty_session(&mut op);
                drop(op);
                // Without the lock: these may be the last references to the file.
                entry.let_go();
                drop(file);
                return Err(Failure::new(e, "LUO could not preserve it").or_no_memory());
            }
        };
        let counted = room.commit();
        op.next_token = next_token;

        let mut table = self.table.lock();

        entry.set_preserved((token, compatible), size, counted, table.dir_owner);
        table.pending -= 1;
        drop(table);
        self.notify_settled();
        Ok(())
    }

    /// Unpreserves a file, and returns its entry, of which the name has to be removed outside the
    /// gate: a task that reads the directory keeps its lock as long as it likes.
    pub(crate) fn unpreserve(&self, name: &Name) -> Result<Arc<Entry>, Failure> {
        let op = self.op.lock_killable()?;
        let entry = {
            let table = self.table.lock();

            self.check_alive()?;
            table.check_state(State::Normal)?;
            match table.preserved.get(name) {
                None => return Err(Failure::new(ENOENT, "there is no such file")),
                Some(entry) if !entry.is_held() => {
                    return Err(Failure::new(EBUSY, "it is still being preserved"));
                }
                Some(entry) => entry.clone(),
            }
        };

        self.unpreserve_entry(op, &entry)?;
        Ok(entry)
    }

    /// Unpreserves the file of an entry, which the state allows for.
    fn unpreserve_entry(&self, mut op: MutexGuard<'_, Op>, entry: &Entry) -> Result<(), Failure> {
        let session = op.outgoing.as_ref().ok_or(ENOENT)?;

        session.unpreserve(entry.token()).map_err(|e| {
            if e == EBUSY {
                Failure::new(e, "a file that was preserved later may depend on it")
            } else {
                Failure::new(e, "LUO could not unpreserve it")
            }
        })?;
        entry.set_released();
        let mut table = self.table.lock();
        table.slots -= 1;
        let node = table.preserved.remove_node(&entry.name);
        drop(table);
        self.space.uncharge_bytes(entry.counted());
        self.drop_empty_session(&mut op);
        drop(op);
        drop(node);
        // Without the lock: it may be the last reference to the file.
        entry.let_go();
        Ok(())
    }

    /// Returns the open file of an entry, which is restored if it was handed over and is not open
    /// in this kernel yet.
    ///
    /// Runs in the process that gets it, which is charged for its memory.
    pub(crate) fn retrieve(&self, entry: &Entry) -> Result<ARef<File>, Failure> {
        let op = self.op.lock_killable()?;

        self.check_alive()?;
        entry.check_unreleased()?;
        // Another descriptor of it changes nothing that is prepared.
        if let Some(file) = entry.file() {
            return Ok(file);
        }
        self.table.lock().check_state(State::Updated)?;
        let session = op.incoming.as_ref().ok_or(EIO)?;
        let file = self
            .retrieve_from(session, entry.token())
            .map_err(|e| Failure::new(e, "LUO could not retrieve it"))?;

        entry.set_restored(file.clone());
        Ok(file)
    }

    /// Releases an entry for good: a file that is preserved is unpreserved.
    ///
    /// Returns whether that has changed the state.
    pub(crate) fn release_entry(&self, entry: &Entry) -> Result<bool, Failure> {
        let op = self.op.lock_killable()?;

        self.check_alive()?;
        entry.check_unreleased()?;
        let handed_over = {
            let table = self.table.lock();
            let handed_over = table.restorable.get(&entry.name).is_some();

            table.check_state(if handed_over {
                State::Updated
            } else {
                State::Normal
            })?;
            handed_over
        };

        if !handed_over {
            return self.unpreserve_entry(op, entry).map(|()| false);
        }
        if entry.kept().is_none() {
            let session = op.incoming.as_ref().ok_or(EIO)?;

            session.finish_file(entry.token()).map_err(|e| {
                if e == EBUSY {
                    Failure::new(e, "a file that was preserved later may depend on it")
                } else {
                    Failure::new(e, "LUO could not release it")
                }
            })?;
        }
        entry.set_released();
        let mut table = self.table.lock();
        let node = table.restorable.remove_node(&entry.name);
        let was_last = table.restorable.is_empty();
        drop(table);
        self.space.uncharge_bytes(entry.counted());
        drop(op);
        entry.let_go();
        drop(node);
        if was_last {
            self.state_has_changed();
        }
        Ok(was_last)
    }

    /// Finishes the domain: releases the files that were handed over.
    ///
    /// Returns them. Their names have to be removed outside the gate, as by
    /// [`Domain::unpreserve`].
    pub(crate) fn finish(&self) -> Result<Released, Failure> {
        let released = {
            let mut op = self.op.lock_killable()?;

            self.check_step(Step::Finish)?;
            self.finish_files(&mut op)?;
            let mut table = self.table.lock();

            // Nothing has changed it since: that needs `op`.
            table.advance(Step::Finish)?;
            table.incoming = None;
            let released = Released::new(core::mem::take(&mut table.restorable));

            drop(table);
            self.space.uncharge_bytes(released.bytes);
            released
        };

        if released.nr_freed != 0 {
            pr_info!(
                "{}: finished, and with it {} files that were not restored\n",
                self.name,
                released.nr_freed
            );
        }
        // Without any the state was `normal` before.
        if !released.is_empty() {
            self.state_has_changed();
        }
        Ok(released)
    }

    /// Finishes the session, but for files of `data/` that were never opened.
    fn finish_files(&self, op: &mut Op) -> Result<(), Failure> {
        let failure = |e| Failure::new(e, "LUO could not finish it");
        let Some(session) = op.incoming.take() else {
            return Ok(());
        };

        if op.nr_unretrieved == 0 {
            return session.finish().map_err(|(session, e)| {
                op.incoming = Some(session);
                failure(e)
            });
        }
        let result = self.restorable().and_then(|entries| {
            let mut waiting = RBTree::new();

            for entry in entries {
                waiting.try_create_and_insert(entry.token(), (), GFP_KERNEL)?;
            }
            session.finish_but(&mut |token| waiting.get(&token).is_none())
        });

        op.incoming = Some(session);
        result.map_err(failure)
    }

    /// Writes the records of the domain itself, of the files in `fd_preserve`, and of those in
    /// `fd_restore` that are `carried`.
    pub(super) fn write_files(&self, carried: &[CarriedFile], writer: &mut Writer<'_>) -> Result {
        let table = self.table.lock();
        let preserved = table
            .preserved()
            .map(|entry| (&entry.name, entry.token(), entry.size()));
        let carried = carried
            .iter()
            .map(|carried| (&carried.entry.name, carried.entry.token(), carried.size));
        let files = Iterator::chain(preserved, carried);
        let waited = table.waiting().unwrap_or(0);

        writer.domain(
            &self.name,
            &self.session,
            &self.identity,
            &table.options,
            waited,
        )?;
        for (name, token, size) in files {
            writer.file(name, token, size)?;
        }
        Ok(())
    }
}

/// How many bytes a held file counts for a domain's limit.
fn bytes_of_held(file: &HeldFile) -> u64 {
    bytes_of(size_of_held(file), file.i_blocks())
}
