// SPDX-License-Identifier: GPL-2.0-only

//! The descriptors of a domain: what is preserved, and what waits to be restored.

use super::{
    Came,
    Domain,
    Op, //
};
use crate::{
    handover::Writer,
    space::{
        bytes_of,
        size_of,
        Room, //
    },
    words::{
        failure::Failure,
        name::Name,
        state::{
            Event,
            State, //
        }, //
    }, //
};
use kernel::{
    fs::{
        File,
        Path, //
    },
    liveupdate::{
        Compatible,
        HeldFile,
        OutgoingSession, //
    },
    new_spinlock,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    }, //
};

/// A file that is preserved.
pub(crate) struct Preserved {
    pub(super) token: u64,
    size: u64,
    /// How many bytes it counts for the domain's limit.
    counted: u64,
    compatible: Compatible,
}

/// A name in `fd_preserve`.
pub(super) enum Slot {
    /// Its file is waited for.
    Pending,
    Done(Preserved),
}

impl Slot {
    /// How many bytes it counts for the domain's limit.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Slot::Pending => 0,
            Slot::Done(preserved) => preserved.counted,
        }
    }
}

/// A file that was handed over: a name in `fd_restore`.
#[pin_data]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) size: u64,
    pub(crate) token: u64,
    /// Known once the session with the file is claimed, which is before any mount.
    compatible: Option<Compatible>,
    /// Set once the file is released, by `rm` or `finish`.
    pub(super) released: Atomic<bool>,
    /// Set once the file has been restored. Changed under `Domain::op`.
    pub(crate) restored: Atomic<bool>,
    /// The file, once it has been restored, until it is released.
    #[pin]
    file: SpinLock<Option<ARef<File>>>,
    /// Whether it is the domain alone that keeps it, since it was handed on after it had been
    /// restored: LUO is done with it then. Changed under `Domain::op`.
    kept: Atomic<bool>,
}

/// A file in `fd_restore` that is handed on.
pub(crate) struct Carried {
    pub(crate) entry: Arc<Entry>,
    /// Its size, and how many bytes more than before it counts for the limit, if it has been
    /// restored.
    pub(crate) size: u64,
    pub(crate) counted: u64,
}

/// The files that an event released.
pub(crate) struct Released(RBTree<Name, Arc<Entry>>);

impl Released {
    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

impl Domain {
    /// Calls `each` for every file that is preserved, or waits in `fd_restore`, with its name, the
    /// name of LUO's handler and its size, in the order of the names.
    ///
    /// There are never both kinds: nothing is preserved before `finish`.
    pub(crate) fn for_each_file(
        &self,
        mut each: impl FnMut(&Name, &[u8], u64) -> Result,
    ) -> Result {
        let table = self.table.lock();

        for (name, slot) in &table.preserved {
            if let Slot::Done(preserved) = slot {
                each(name, preserved.compatible.as_bytes(), preserved.size)?;
            }
        }
        for (name, entry) in &table.restorable {
            let compatible = entry
                .compatible
                .as_ref()
                .map_or(&b"-"[..], Compatible::as_bytes);

            each(name, compatible, entry.size)?;
        }
        Ok(())
    }

    /// The files that wait to be restored, in the order of their names.
    pub(crate) fn restorable(&self) -> Result<KVVec<Arc<Entry>>> {
        let mut entries = KVVec::new();

        for entry in self.table.lock().restorable.values() {
            entries.push(entry.clone(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(entries)
    }

    // What comes from user space. The caller is inside the gate, but for that of
    // `unreserve`, `make_room` and `fit_room`.

    /// Reserves `name` for a file that is to be preserved.
    pub(crate) fn reserve(&self, name: &Name) -> Result<(), Failure> {
        let node = RBTreeNode::new(name.try_clone()?, Slot::Pending, GFP_KERNEL_ACCOUNT)?;
        let _op = self.lock_op()?;
        let mut table = self.table.lock();

        self.alive()?;
        table.remains(State::Normal)?;
        if table.preserved.get(name).is_some() {
            return Err(Failure::new(EEXIST, "the name is taken"));
        }
        if table.slots >= table.options.max_fds {
            return Err(Failure::new(EDQUOT, "max_fds= files are preserved"));
        }
        table.slots += 1;
        table.pending += 1;
        table.preserved.insert(node);
        Ok(())
    }

    /// Gives back what [`Domain::reserve`] took.
    pub(crate) fn unreserve(&self, name: &Name) {
        let mut table = self.table.lock();

        table.pending -= 1;
        table.slots -= 1;
        let node = table.preserved.remove_node(name);
        drop(table);
        drop(node);
        self.settled.notify_all();
    }

    /// Makes room for a held file of which `counted` bytes count already.
    pub(crate) fn make_room(&self, file: &HeldFile, counted: u64) -> Result<Room<'_>, Failure> {
        self.space
            .take_room(bytes_of_held(file).saturating_sub(counted))
            .map_err(|e| Failure::new(e, "size= bytes are held"))
    }

    /// Makes room for what such a file has beyond its end as well, once its holes are filled.
    pub(crate) fn fit_room(
        &self,
        room: &mut Room<'_>,
        file: &HeldFile,
        counted: u64,
    ) -> Result<(), Failure> {
        room.extend_to(bytes_of_held(file).saturating_sub(counted))
            .map_err(|e| Failure::new(e, "size= bytes are held"))
    }

    /// Preserves a file under a name that is reserved for it.
    pub(crate) fn preserve(
        &self,
        name: &Name,
        file: HeldFile,
        room: Room<'_>,
    ) -> Result<(), Failure> {
        let size = size_of_held(&file);
        let mut op = self.lock_op()?;
        let token = op.next_token;
        let next_token = token.checked_add(1).ok_or(EOVERFLOW)?;
        let result = match self.make_session(&mut op) {
            Ok(session) => session.preserve(file, token),
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
                // Without the lock: it may be the last reference to the file.
                drop(file);
                return Err(Failure::new(e, "LUO could not preserve it").or_no_memory());
            }
        };
        let counted = room.fill();
        op.next_token = next_token;

        let mut table = self.table.lock();
        if let Some(slot) = table.preserved.get_mut(name) {
            *slot = Slot::Done(Preserved {
                token,
                size,
                counted,
                compatible,
            });
        }
        table.pending -= 1;
        drop(table);
        self.settled.notify_all();
        Ok(())
    }

    /// Takes a preserved file back.
    pub(crate) fn unpreserve(&self, name: &Name) -> Result<(), Failure> {
        let mut op = self.lock_op()?;
        let token = {
            let table = self.table.lock();

            self.alive()?;
            table.remains(State::Normal)?;
            match table.preserved.get(name) {
                None => return Err(Failure::new(ENOENT, "there is no such file")),
                Some(Slot::Pending) => {
                    return Err(Failure::new(EBUSY, "it is still being preserved"));
                }
                Some(Slot::Done(preserved)) => preserved.token,
            }
        };
        let session = op.outgoing.as_ref().ok_or(ENOENT)?;

        session.unpreserve(token).map_err(|e| {
            if e == EBUSY {
                Failure::new(e, "a file that was preserved later may depend on it")
            } else {
                Failure::new(e, "LUO could not take it back")
            }
        })?;
        let mut table = self.table.lock();
        table.slots -= 1;
        let node = table.preserved.remove_node(name);
        drop(table);
        if let Some(node) = node {
            let (_, slot) = node.to_key_value();

            self.space.give_bytes(slot.bytes());
        }
        self.drop_empty_session(&mut op);
        Ok(())
    }

    /// Creates the outgoing session unless there is one.
    pub(crate) fn make_session<'a>(&self, op: &'a mut Op) -> Result<&'a OutgoingSession, Failure> {
        self.alive()?;
        self.check_not_left_behind()
            .map_err(|e| Failure::new(e, "a reboot goes on without it"))?;
        let session = match op.outgoing.take() {
            Some(session) => session,
            None => OutgoingSession::create(self.session.as_c_str())
                .map_err(|e| Failure::new(e, "no LUO session can be had"))?,
        };

        Ok(op.outgoing.insert(session))
    }

    /// Destroys a session that holds no file any more.
    pub(crate) fn drop_empty_session(&self, op: &mut Op) {
        let used = !op.handed_on.is_empty()
            || !op.carried.is_empty()
            || !op.carried_tokens.is_empty()
            || self
                .table
                .lock()
                .preserved
                .values()
                .any(|slot| matches!(slot, Slot::Done(_)));

        if !used {
            op.outgoing = None;
        }
    }

    /// Hands out the open file of an entry.
    ///
    /// Runs in the process that gets it, which is charged for its memory.
    pub(crate) fn retrieve(&self, entry: &Entry) -> Result<ARef<File>, Failure> {
        let op = self.lock_op()?;

        self.alive()?;
        self.table.lock().touchable(entry)?;
        if let Some(file) = entry.kept() {
            return Ok(file);
        }
        let session = op.incoming.as_ref().ok_or(EIO)?;
        let file = self
            .retrieve_from(session, entry.token)
            .map_err(|e| Failure::new(e, "LUO could not retrieve it"))?;

        entry.set_restored(file.clone());
        Ok(file)
    }

    /// Releases an entry for good.
    pub(crate) fn release_entry(&self, entry: &Entry) -> Result<(), Failure> {
        let op = self.lock_op()?;

        self.alive()?;
        self.table.lock().touchable(entry)?;
        if entry.kept().is_none() {
            let session = op.incoming.as_ref().ok_or(EIO)?;

            session.finish_file(entry.token).map_err(|e| {
                if e == EBUSY {
                    Failure::new(e, "a file that was preserved later may depend on it")
                } else {
                    Failure::new(e, "LUO could not release it")
                }
            })?;
        }
        entry.released.store(true, Relaxed);
        let node = self.table.lock().restorable.remove_node(&entry.name);
        self.space.give_bytes(entry.counted());
        drop(op);
        entry.let_go();
        drop(node);
        Ok(())
    }

    /// Finishes the domain: releases the files that were handed over and not restored.
    ///
    /// Returns them. Their names have to be removed outside the gate: who reads the directory keeps
    /// its lock as long as it likes.
    pub(crate) fn finish(&self) -> Result<Released, Failure> {
        let released = {
            let mut op = self.lock_op()?;
            let next = self.after(Event::Finish)?;

            self.finish_files(&mut op)?;
            let mut table = self.table.lock();
            let released = core::mem::take(&mut table.restorable);

            for entry in released.values() {
                entry.released.store(true, Relaxed);
            }
            table.state = next;
            table.came = None;
            drop(table);
            self.space.give_bytes(counted(&released));
            released
        };

        released.values().for_each(|entry| entry.let_go());
        self.state_has_changed();
        Ok(Released(released))
    }

    /// Finishes the session, but for files of `data/` that nobody opened yet.
    fn finish_files(&self, op: &mut Op) -> Result<(), Failure> {
        let failure = |e| Failure::new(e, "LUO could not finish it");
        let Some(session) = op.incoming.take() else {
            return Ok(());
        };

        if op.unopened == 0 {
            return session.finish().map_err(|(session, e)| {
                op.incoming = Some(session);
                failure(e)
            });
        }
        let result = self.restorable().and_then(|entries| {
            let mut waiting = RBTree::new();

            for entry in entries {
                waiting.try_create_and_insert(entry.token, (), GFP_KERNEL)?;
            }
            session.finish_but(&mut |token| waiting.get(&token).is_none())
        });

        op.incoming = Some(session);
        result.map_err(failure)
    }

    /// Writes the records of the domain itself, of the files in `fd_preserve`, and of those in
    /// `fd_restore` that are `carried`.
    pub(crate) fn write_files(&self, carried: &[Carried], writer: &mut Writer<'_>) -> Result {
        let table = self.table.lock();
        let preserved = table
            .preserved
            .iter()
            .filter_map(|(name, slot)| match slot {
                Slot::Pending => None,
                Slot::Done(preserved) => Some((name, preserved.token, preserved.size)),
            });
        let carried = carried
            .iter()
            .map(|carried| (&carried.entry.name, carried.entry.token, carried.size));
        let files = Iterator::chain(preserved, carried);

        let waited = table.came.as_ref().map_or(0, Came::waiting);

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

impl Entry {
    pub(super) fn new(
        name: Name,
        token: u64,
        size: u64,
        compatible: Option<Compatible>,
    ) -> Result<Arc<Self>> {
        let entry = pin_init!(Self {
            name,
            size,
            token,
            compatible,
            released: Atomic::new(false),
            restored: Atomic::new(false),
            file <- new_spinlock!(None, "Entry::file"),
            kept: Atomic::new(false),
        });

        Arc::pin_init(entry, GFP_KERNEL_ACCOUNT)
    }

    /// How many bytes it counts for the domain's limit while it waits.
    pub(crate) fn counted(&self) -> u64 {
        bytes_of(self.size, 0)
    }

    /// How many bytes the file counts beyond that by now, if it has been restored.
    pub(super) fn grown_by(&self) -> u64 {
        let Some(file) = self.file() else {
            return 0;
        };
        let inner = Path::of_file(&file);

        bytes_of(size_of(&inner), inner.i_blocks()).saturating_sub(self.counted())
    }

    fn file(&self) -> Option<ARef<File>> {
        self.file.lock().clone()
    }

    /// The file, if LUO is done with it and the domain keeps it.
    pub(crate) fn kept(&self) -> Option<ARef<File>> {
        if !self.kept.load(Relaxed) {
            return None;
        }
        self.file()
    }

    /// Keeps the file, which LUO is done with.
    pub(crate) fn keep(&self, file: ARef<File>) {
        self.set_restored(file);
        self.kept.store(true, Relaxed);
    }

    /// Notes that the file has been restored.
    fn set_restored(&self, file: ARef<File>) {
        let old = self.file.lock().replace(file);

        self.restored.store(true, Relaxed);
        drop(old);
    }

    /// Lets go the file. That may be its end: not under a lock.
    pub(super) fn let_go(&self) {
        let file = self.file.lock().take();

        drop(file);
    }

    /// Whether the file was released, by `rm` or `finish`.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }
}

/// How many bytes files that wait to be restored count for the domain's limit.
pub(super) fn counted(restorable: &RBTree<Name, Arc<Entry>>) -> u64 {
    restorable
        .values()
        .fold(0, |sum: u64, entry| sum.saturating_add(entry.counted()))
}

/// The size of a held file, which doesn't change any more.
pub(crate) fn size_of_held(file: &HeldFile) -> u64 {
    size_of(&Path::of_file(file.file()))
}

/// How many bytes a held file counts for a domain's limit.
fn bytes_of_held(file: &HeldFile) -> u64 {
    let inner = Path::of_file(file.file());

    bytes_of(size_of(&inner), inner.i_blocks())
}
