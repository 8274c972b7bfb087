// SPDX-License-Identifier: GPL-2.0-only

//! The LUO sessions of a domain and its records, under `Domain::op`.
//!
//! A prepare and the files of `data/` get at them by an [`OpGuard`].

use super::{
    entry::Entry,
    op::{
        CarriedFile,
        DataFile,
        HeldData,
        HeldEntry,
        Op, //
    },
    timeout::Timeout,
    Domain, //
};
use crate::{
    handover::{
        Records,
        Writer, //
    },
    words::{
        failure::Failure,
        name::Name, //
    }, //
};
use kernel::{
    fs::{
        file::Offset,
        File,
        Path, //
    },
    kho::abi::kexecfs as abi,
    liveupdate::{
        HeldFile,
        OutgoingSession, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc,
        MutexGuard, //
    }, //
};

/// `Domain::op`, held.
pub(crate) struct OpGuard<'a> {
    domain: &'a Domain,
    op: MutexGuard<'a, Op>,
}

impl Domain {
    /// Locks `op`.
    pub(crate) fn lock_op(&self) -> OpGuard<'_> {
        OpGuard {
            domain: self,
            op: self.op.lock(),
        }
    }

    /// Locks `op` for a system call, unless the caller is killed while it waits: a retrieve is as
    /// long as its file.
    ///
    /// # Errors
    ///
    /// `EINTR`.
    pub(crate) fn lock_op_killable(&self) -> Result<OpGuard<'_>> {
        Ok(OpGuard {
            domain: self,
            op: self.op.lock_killable()?,
        })
    }

    /// Calls `f` with what is serialized for the next kernel.
    ///
    /// # Errors
    ///
    /// `EINVAL` if nothing is, and those of `f`.
    pub(crate) fn with_records<T>(&self, f: impl FnOnce(&Records) -> Result<T>) -> Result<T> {
        f(self.op.lock().records.as_ref().ok_or(EINVAL)?)
    }

    /// Serializes anew when files of `data/` were modified, which goes on while they are prepared.
    pub(crate) fn write_times(&self, timeout: &Timeout<'_>) -> Result<(), Failure> {
        let mut op = self.op.lock();
        let op = &mut *op;
        let records = op.records.as_mut().ok_or(EIO)?;

        for file in &op.data_files {
            timeout.check(self)?;
            let times = file.inner.times();

            // Nothing else changes while the domain is prepared.
            records.change_inode(file.at.ok_or(EIO)?, |record| {
                (record.mtime_sec, record.mtime_nsec) = (times.mtime.sec, times.mtime.nsec);
                (record.ctime_sec, record.ctime_nsec) =
                    (record.ctime_sec, record.ctime_nsec).max((times.ctime.sec, times.ctime.nsec));
            })?;
        }
        Ok(())
    }

    /// Creates the outgoing session unless there is one.
    pub(super) fn make_session<'a>(&self, op: &'a mut Op) -> Result<&'a OutgoingSession, Failure> {
        self.check_alive()?;
        self.check_included()
            .map_err(|e| Failure::new(e, "a reboot goes on without it"))?;
        let session = match op.outgoing.take() {
            Some(session) => session,
            None => OutgoingSession::create(self.session.as_c_str())
                .map_err(|e| Failure::new(e, "no LUO session can be had"))?,
        };

        Ok(op.outgoing.insert(session))
    }

    /// Destroys a session that holds no file any more.
    pub(super) fn drop_empty_session(&self, op: &mut Op) {
        let used = !op.prepared.is_empty() || self.table.lock().preserved().next().is_some();

        if !used {
            op.outgoing = None;
        }
    }

    /// Undoes what a prepare has done, with the files that were opened for writing since, and makes
    /// the plans for the files of `data/` void: no open preserves any by them afterwards.
    ///
    /// The caller drops what is returned after it released `op`: that may be the end of files.
    pub(super) fn unpreserve_all(&self, op: &mut Op) -> KVVec<DataFile> {
        self.space
            .uncharge_bytes(op.carried.iter().map(|file| file.counted).sum());
        self.space
            .uncharge_bytes(op.data_files.iter().map(|file| file.excess).sum());
        if let Some(session) = &op.outgoing {
            for token in op.prepared.iter().rev() {
                if let Err(e) = session.unpreserve(*token) {
                    pr_err!("a file that was prepared could not be unpreserved: {e:?}\n");
                }
            }
        }
        op.prepared.clear();
        op.carried.clear();
        let data_files = core::mem::take(&mut op.data_files);

        self.prepares.add(1, Relaxed);
        op.records = None;
        self.table.lock().serialized = None;
        self.drop_empty_session(op);
        data_files
    }
}

impl OpGuard<'_> {
    /// Creates the outgoing session unless there is one.
    pub(crate) fn make_session(&mut self) -> Result<(), Failure> {
        self.domain.make_session(&mut self.op).map(|_| ())
    }

    /// Destroys the outgoing session if it holds no file.
    pub(crate) fn drop_empty_session(&mut self) {
        self.domain.drop_empty_session(&mut self.op);
    }

    /// See [`Domain::unpreserve_all`].
    pub(crate) fn unpreserve_all(&mut self) -> KVVec<DataFile> {
        self.domain.unpreserve_all(&mut self.op)
    }

    /// Leaves what has been done of a prepare that failed, and the files that it holds, to
    /// [`Domain::include`]: a reboot that goes on without the domain does not wait for that.
    pub(crate) fn leave_unfinished(&mut self, held: KVVec<HeldData>) {
        self.domain.set_excluded();
        self.op.unfinished = Some(held);
    }

    /// Has LUO freeze what is preserved, as a reboot does, and unfreeze it.
    pub(crate) fn rehearse_freeze(&self) -> Result<(), Failure> {
        let Some(session) = &self.op.outgoing else {
            return Ok(());
        };

        session.rehearse().map_err(|(token, e)| match token {
            Some(token) => self.domain.freeze_failure(token, e),
            None => Failure::new(e, "a reboot is under way"),
        })
    }

    // Files of `data/`.

    /// Retrieves an incoming file of `data/` for good.
    ///
    /// # Errors
    ///
    /// `EIO` if there is no such file, or it has another size, `EBUSY` in a reboot, `ESTALE`,
    /// `ENOMEM`.
    pub(crate) fn retrieve_data(&mut self, token: u64, size: Offset) -> Result<ARef<File>> {
        self.domain.retrieve_data(&mut self.op, token, size)
    }

    /// Preserves a file whose contents are in its record, or would be, for a task that is about to
    /// open it for writing. Returns its token.
    ///
    /// `at` is where the record of its inode lies, if that is written already.
    pub(crate) fn preserve_instead(
        &mut self,
        at: usize,
        inner: &Path,
        held: HeldFile,
    ) -> Result<u64> {
        let op = &mut *self.op;
        let token = op.next_token;
        let next_token = token.checked_add(1).ok_or(EOVERFLOW)?;

        op.prepared.reserve(1, GFP_KERNEL_ACCOUNT)?;
        op.data_files.reserve(1, GFP_KERNEL_ACCOUNT)?;
        // Perhaps this is the first file of the domain.
        let preserved = self
            .domain
            .make_session(op)
            .map_err(|failure| failure.error)?
            .preserve(held, token);

        if let Err((_, e)) = preserved {
            self.domain.drop_empty_session(op);
            return Err(e);
        }
        op.next_token = next_token;
        op.push_data_file(DataFile {
            token,
            at: op.records.is_some().then_some(at),
            inner: inner.clone(),
            excess: 0,
        })?;
        // If there are none the prepare that is under way has not written them yet.
        if let Some(records) = &mut op.records {
            records.change_inode(at, |record| {
                record.token = token;
                record.flags |= abi::INODE_TOKEN;
            })?;
        }
        Ok(token)
    }

    /// Preserves a file that is held, which has a session, and returns its token. After an error it
    /// is still held.
    pub(crate) fn preserve_data(
        &mut self,
        file: &mut HeldData,
        timeout: &Timeout<'_>,
    ) -> Result<u64, Failure> {
        timeout.check(self.domain)?;
        let op = &mut *self.op;
        let token = op.next_token;

        op.prepared.reserve(1, GFP_KERNEL_ACCOUNT)?;
        op.data_files.reserve(1, GFP_KERNEL_ACCOUNT)?;
        op.next_token = token.checked_add(1).ok_or(EOVERFLOW)?;
        let held = file.held.take().ok_or(EIO)?;
        let session = op.outgoing.as_ref().ok_or(EIO)?;

        if let Err((held, e)) = session.preserve(held, token) {
            file.held = Some(held);
            return Err(file.failure(timeout.error(e)));
        }
        op.push_data_file(DataFile {
            token,
            at: None,
            inner: file.inner.clone(),
            excess: 0,
        })?;
        Ok(token)
    }

    /// Charges `bytes` that the file which was preserved last has beyond what it counts.
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub(crate) fn charge_excess(&mut self, bytes: u64) -> Result<(), Failure> {
        let file = self.op.data_files.last_mut().ok_or(EIO)?;

        self.domain
            .space
            .charge_bytes(bytes)
            .map_err(|e| Failure::new(e, "size= leaves no room for large pages of a file"))?;
        file.excess = bytes;
        Ok(())
    }

    // Files that the previous kernel handed over.

    /// Whether there are any.
    pub(crate) fn has_incoming(&self) -> bool {
        self.op.incoming.is_some()
    }

    /// Takes the files in `fd_restore` that have been restored out of the incoming session, for
    /// them to be preserved anew.
    ///
    /// From then on the domain keeps them, also if it isn't prepared after all.
    pub(crate) fn detach_restored<'r>(&mut self) -> Result<KVVec<HeldEntry<'r>>, Failure> {
        let mut all = KVVec::new();
        let result = self.domain.restorable()?.into_iter().try_for_each(|entry| {
            let file = match entry.kept() {
                Some(file) => file,
                None if entry.is_restored() => self
                    .detach_entry(&entry)
                    .map_err(|e| cannot_carry(e).of_file(&entry.name))?,
                None => return Ok(()),
            };
            let restored = HeldEntry {
                entry,
                file,
                held: None,
            };

            Ok(all.push(restored, GFP_KERNEL_ACCOUNT)?)
        });

        // It was only made to ask the handlers.
        self.drop_empty_session();
        result.map(|()| all)
    }

    fn detach_entry(&mut self, entry: &Entry) -> Result<ARef<File>> {
        self.make_session().map_err(|failure| failure.error)?;
        let (Some(incoming), Some(session)) = (&self.op.incoming, &self.op.outgoing) else {
            return Err(EIO);
        };

        // Asks the handler: what has been restored is busy if it can be carried at all.
        match incoming.carry(entry.token(), session) {
            Err(e) if e == EBUSY => {}
            Err(e) => return Err(e),
            Ok(()) => {
                session.unpreserve(entry.token())?;
                return Err(EIO);
            }
        }
        let file = self.domain.retrieve_from(incoming, entry.token())?;

        incoming.finish_file(entry.token())?;
        entry.keep(file.clone());
        Ok(file)
    }

    /// Preserves a file in `fd_restore` that has been restored and is held. After an error it is
    /// still held.
    pub(crate) fn preserve_restored(
        &mut self,
        restored: &mut HeldEntry<'_>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        timeout.check(self.domain)?;
        let op = &mut *self.op;

        op.prepared.reserve(1, GFP_KERNEL_ACCOUNT)?;
        op.carried.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let session = op.outgoing.as_ref().ok_or(EIO)?;
        let (held, room) = restored.held.take().ok_or(EIO)?;
        let size = size_of_held(&held);

        if let Err((held, e)) = session.preserve(held, restored.entry.token()) {
            // Dropped by the caller, without the lock: it may wait.
            restored.held = Some((held, room));
            return Err(restored.failure(timeout.error(e)));
        }
        op.push_carried(CarriedFile {
            entry: restored.entry.clone(),
            size,
            counted: room.commit(),
        })
    }

    /// Carries a file in `fd_restore` that has not been restored.
    pub(crate) fn carry_entry(
        &mut self,
        entry: Arc<Entry>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        timeout.check(self.domain)?;
        let op = &mut *self.op;

        op.prepared.reserve(1, GFP_KERNEL_ACCOUNT)?;
        op.carried.reserve(1, GFP_KERNEL_ACCOUNT)?;
        op.carry(entry.token())
            .map_err(|e| cannot_carry(timeout.error(e)).of_file(&entry.name))?;
        op.push_carried(CarriedFile {
            size: entry.size(),
            counted: 0,
            entry,
        })
    }

    /// Carries a file of `data/` that was never opened. `name` is for the error.
    ///
    /// Contents that LUO lacks stay so: that has been said when they came in.
    pub(crate) fn carry_data(
        &mut self,
        token: u64,
        name: Option<&Name>,
        timeout: &Timeout<'_>,
    ) -> Result<(), Failure> {
        timeout.check(self.domain)?;
        let op = &mut *self.op;

        op.prepared.reserve(1, GFP_KERNEL_ACCOUNT)?;
        match op.carry(token) {
            Ok(()) => Ok(op.prepared.push(token, GFP_KERNEL_ACCOUNT)?),
            Err(e) if e == ENOENT => Ok(()),
            Err(e) => {
                let failure =
                    Failure::new(timeout.error(e), "a file in data/ could not be carried");

                Err(match name {
                    Some(name) => failure.of_file(name),
                    None => failure,
                })
            }
        }
    }

    // Records.

    /// Writes the records of the domain itself and of its descriptors.
    pub(crate) fn write_files(&self, writer: &mut Writer<'_>) -> Result {
        self.domain.write_files(&self.op.carried, writer)?;
        writer.huge(&self.domain.options())
    }

    /// The record of the file of `data/` that is handed over under `token` lies at `at`.
    ///
    /// One that is carried does not change any more: nothing looks for its record.
    pub(crate) fn set_record(&mut self, token: u64, at: usize) {
        let files = &mut self.op.data_files;
        let number = files.binary_search_by_key(&token, |file| file.token);

        if let Some(file) = number.ok().and_then(|number| files.get_mut(number)) {
            file.at = Some(at);
        }
    }

    /// Keeps the records until [`Domain::unpreserve_all`]: the domain is serialized.
    pub(crate) fn set_records(&mut self, records: Records) {
        self.domain.table.lock().serialized = Some(records.bytes());
        self.op.records = Some(records);
    }
}

impl Op {
    /// Carries an incoming file. There is an outgoing session.
    fn carry(&self, token: u64) -> Result {
        match (&self.incoming, &self.outgoing) {
            (Some(incoming), Some(outgoing)) => incoming.carry(token, outgoing),
            _ => Err(EIO),
        }
    }

    /// Adds a file that the outgoing session has got. There is room for it.
    fn push_data_file(&mut self, file: DataFile) -> Result {
        self.prepared.push(file.token, GFP_KERNEL_ACCOUNT)?;
        Ok(self.data_files.push(file, GFP_KERNEL_ACCOUNT)?)
    }

    /// Adds a file that the outgoing session has got. There is room for it.
    fn push_carried(&mut self, file: CarriedFile) -> Result<(), Failure> {
        self.prepared.push(file.entry.token(), GFP_KERNEL_ACCOUNT)?;
        Ok(self.carried.push(file, GFP_KERNEL_ACCOUNT)?)
    }
}

/// Why a file that nobody has finished can't be carried.
fn cannot_carry(e: Error) -> Failure {
    if e == EOPNOTSUPP {
        Failure::new(
            EBUSY,
            "this kind of file can't be carried: finish or discard the domain",
        )
    } else {
        Failure::new(e, "LUO could not carry it")
    }
}

/// The size of a held file, which doesn't change any more.
pub(super) fn size_of_held(file: &HeldFile) -> u64 {
    // CAST: A size is never negative.
    file.file().i_size_read().max(0) as u64
}
