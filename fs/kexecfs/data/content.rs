// SPDX-License-Identifier: GPL-2.0-only

//! The contents of a regular file in `data/`.
//!
//! They lie in an *inner* file, an unlinked one of shmem, which LUO's handler for memfds preserves
//! as it is. Of it the path is kept, not an open file. Incoming contents get their inner file at
//! the first open, in the task that opens the file.
//!
//! See "Locking" in `architecture.rst` for where `Content::state` comes.

use crate::{
    data::counted::Counted,
    domain::Domain,
    gate::{
        self,
        Inside, //
    },
    space::{
        page_size,
        size_of, //
    },
    types::KexecFs,
    words::options::huge_to_record, //
};
use kernel::{
    fs::{
        path::Huge,
        BackingFile,
        Inode,
        Path, //
    },
    liveupdate::HeldFile,
    memcontrol::NoWait,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        barrier::smp_mb,
        Arc,
        ArcBorrow,
        Mutex,
        SetOnce, //
    }, //
};

/// Where the bytes are.
enum Bytes {
    /// Here: they were handed over in the record of the inode. None in a new file.
    Packed(KVVec<u8>),
    /// In the incoming session.
    Incoming(Unretrieved),
    /// In the inner file.
    Inner,
}

/// How the bytes are handed over by a domain that is prepared, or is just being so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    /// Not yet.
    Open,
    /// Within the record of the inode.
    Packed,
    /// As the pages of the inner file, which doesn't change its size meanwhile.
    Held,
    /// As they came.
    Carried,
}

/// How a prepare hands the contents over.
pub(crate) enum Plan {
    /// By copying them into the record.
    Pack,
    /// By preserving the inner file.
    Hold(Path),
    /// By carrying the incoming file with this token.
    Carry(u64),
}

struct ContentState {
    bytes: Bytes,
    /// The last plan, and which prepare made it.
    packing: Packing,
    prepare: u32,
}

/// A file in the incoming session that nobody opened yet. It is given up when this is dropped.
struct Unretrieved {
    domain: Arc<Domain>,
    /// None once it has been retrieved.
    token: Option<u64>,
    /// The attempt to restore the tree that made it.
    attempt: u32,
}

impl Drop for Unretrieved {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.domain.give_up(token, self.attempt);
        }
    }
}

/// The contents of a regular file.
#[pin_data]
pub(crate) struct Content {
    domain: Arc<Domain>,
    /// The inner file, from its first use on. Set under the lock of the state, looked at without
    /// it: to retrieve a large one takes long.
    inner: SetOnce<Path>,
    #[pin]
    state: Mutex<ContentState>,
    pub(crate) counted: Counted,
    /// What `huge=` was when the inner file was told of it, as a record has it; 0 for the default.
    huge: Atomic<u32>,
    /// The token of the inner file in the outgoing session, and where the record of the inode lies
    /// in the domain's stream. Changed under `Domain::op`.
    pub(crate) token: Atomic<u64>,
    pub(crate) record: Atomic<usize>,
}

impl Content {
    /// No contents.
    pub(crate) fn empty(domain: ArcBorrow<'_, Domain>) -> Result<Arc<Self>> {
        Self::with(domain, Bytes::Packed(KVVec::new()), 0, PAGE_SIZE as u64)
    }

    /// Contents that the previous kernel packed into the record of an inode.
    ///
    /// They are copied, so that the stream of all records need not be kept for one of them.
    pub(crate) fn packed(domain: ArcBorrow<'_, Domain>, contents: &[u8]) -> Result<Arc<Self>> {
        let mut bytes = KVVec::with_capacity(contents.len(), GFP_KERNEL_ACCOUNT)?;

        bytes.extend_from_slice(contents, GFP_KERNEL_ACCOUNT)?;
        let size = contents.len() as u64;

        Self::with(domain, Bytes::Packed(bytes), size, PAGE_SIZE as u64)
    }

    /// Contents that wait in the incoming session.
    pub(crate) fn incoming(
        domain: ArcBorrow<'_, Domain>,
        token: u64,
        size: u64,
    ) -> Result<Arc<Self>> {
        domain.reserve_give_up()?;
        let unretrieved = Unretrieved {
            domain: domain.into(),
            token: Some(token),
            attempt: domain.attempt(),
        };

        // It has the pages that it was charged for in the previous kernel.
        let page_size = page_size(domain.options().huge);

        Self::with(domain, Bytes::Incoming(unretrieved), size, page_size)
    }

    fn with(
        domain: ArcBorrow<'_, Domain>,
        bytes: Bytes,
        size: u64,
        page_size: u64,
    ) -> Result<Arc<Self>> {
        let state = ContentState {
            bytes,
            packing: Packing::Open,
            prepare: 0,
        };
        let content = pin_init!(Self {
            counted: Counted::charge_pages_force(domain.into(), size, page_size),
            domain: domain.into(),
            huge: Atomic::new(0),
            inner: SetOnce::new(),
            state <- new_mutex!(state, "Content::state"),
            token: Atomic::new(0),
            record: Atomic::new(0),
        });

        Arc::pin_init(content, GFP_KERNEL_ACCOUNT)
    }

    // The inner file.

    /// The inner file, which is made or retrieved if this is the first use of the contents.
    ///
    /// Its memory is charged to the caller. After an error everything is as before.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the domain is prepared and it was never opened, or in a reboot; `ESTALE` if the
    /// domain was discarded; `EIO`; `ENOMEM`.
    pub(crate) fn inner(&self, inode: &Inode<KexecFs>) -> Result<Path> {
        self.domain.check_alive()?;
        if let Some(path) = self.inner_if_any() {
            return Ok(path);
        }
        // A reboot takes the lock as well.
        let nowait = NoWait::new();
        let mut state = self.state.lock();
        let path = match &state.bytes {
            // Another task was faster.
            Bytes::Inner => return self.inner_if_any().ok_or(EIO),
            Bytes::Packed(bytes) => {
                let huge = self.first_huge(bytes.len() as u64);

                Path::shmem_kernel_file(c"kexecfs", huge, bytes)
                    .inspect_err(|_| self.counted.fit_small(bytes.len() as u64))?
            }
            Bytes::Incoming(_) => {
                drop(state);
                drop(nowait);
                let _inside = gate::enter()?;

                return self.take_over(inode);
            }
        };

        self.set_inner(&mut state, &path, inode);
        Ok(path)
    }

    /// When an inner file of `size` bytes, which is just being made, gets huge pages. Always takes
    /// room for whole ones; if there is none, not even for the first, it gets small ones.
    ///
    /// The lock of the state is held: no task changes the charge of a file without an inner one.
    fn first_huge(&self, size: u64) -> Option<Huge> {
        let huge = self.domain.options().huge;
        let (page_size, left) = (page_size(huge), self.domain.space.usage().left());

        self.huge.store(huge.map_or(0, huge_to_record), Relaxed);
        if page_size > PAGE_SIZE as u64 && size == 0 && left < page_size
            || self.counted.set_page_size(page_size, size).is_err()
        {
            self.counted.fit_small(size);
            return Some(Huge::Never);
        }
        huge
    }

    /// Follows a remount: an inner file gets huge pages as the mount says it now, once there is
    /// room for them, and no other task has the inode locked.
    pub(crate) fn follow_huge(&self, inode: &Inode<KexecFs>, path: &Path) {
        let new = || {
            let huge = self.domain.options().huge;

            huge.filter(|huge| self.huge.load(Relaxed) != huge_to_record(*huge))
        };

        if new().is_none() {
            return;
        }
        // A writer may keep the lock as long as it likes.
        let Some(_locked) = inode.try_lock() else {
            return;
        };
        let _nowait = NoWait::new();
        let _state = self.state.lock();
        let Some(huge) = new() else {
            return;
        };

        // Before there are any: a fault asks for no room.
        if self
            .counted
            .set_page_size(page_size(Some(huge)), size_of(path))
            .is_ok()
        {
            path.shmem_set_huge(huge);
            self.huge.store(huge_to_record(huge), Relaxed);
        }
    }

    fn set_inner(&self, state: &mut ContentState, path: &Path, inode: &Inode<KexecFs>) {
        let times = inode.times();

        path.set_times(times);
        self.inner.populate(path.clone());
        state.bytes = Bytes::Inner;
        // A task that changes the times or the flags meanwhile changes those of the inode first,
        // and then looks for the inner file.
        smp_mb(Full);
        let now = inode.times();

        // A write may have come in between.
        if now.mtime != times.mtime && path.times().mtime == times.mtime {
            path.set_times(now);
        }
        loop {
            let flags = inode.flags();

            path.set_flags(flags);
            if inode.flags() == flags {
                break;
            }
        }
    }

    /// Retrieves the inner file. The caller is inside the gate.
    fn take_over(&self, inode: &Inode<KexecFs>) -> Result<Path> {
        let mut op = self.domain.lock_op_killable()?;
        let mut state = self.state.lock();
        let unretrieved = match &mut state.bytes {
            // Another task was faster.
            Bytes::Inner => return self.inner_if_any().ok_or(EIO),
            // A record stays as it is, and a prepare waits for no retrieve that began after it shut
            // the gate.
            Bytes::Incoming(_) if self.is_fixed() => return Err(EBUSY),
            Bytes::Incoming(unretrieved) => unretrieved,
            Bytes::Packed(_) => return Err(EIO),
        };
        let token = unretrieved.token.ok_or(EIO)?;
        let file = op.retrieve_data(token, inode.size())?;

        unretrieved.token = None;
        let path = Path::of_file(&file);

        path.set_private();
        if let Some(huge) = self.first_huge(size_of(&path)) {
            path.shmem_set_huge(huge);
        }
        // The pages that it came with, if the options have changed since.
        self.counted.charge_blocks_force(path.i_blocks());
        self.set_inner(&mut state, &path, inode);
        Ok(path)
    }

    /// The inner file if there is one already. Takes no lock.
    pub(crate) fn inner_if_any(&self) -> Option<Path> {
        self.inner.as_ref().cloned()
    }

    /// Calls `open` with the inner file for a file that is opened for writing.
    ///
    /// Waits for no prepare. If one has decided, or has already, to write the contents into the
    /// record, the inner file is preserved first, for them to be those of its end.
    pub(crate) fn open_for_writing(
        &self,
        inode: &Inode<KexecFs>,
        open: impl Fn(&Path) -> Result<BackingFile>,
    ) -> Result<BackingFile> {
        let path = self.inner(inode)?;

        if let Some(opened) = self.open_unpacked(&path, &open) {
            return opened;
        }
        let _gate = gate::enter()?;
        let mut op = self.domain.lock_op_killable()?;
        let mut state = self.state.lock();

        // A discard unpreserves what is in `op`, and no more.
        self.domain.check_alive()?;
        match self.packing(&state) {
            // The prepare has been cancelled, or another task was faster.
            Packing::Open | Packing::Held => {}
            Packing::Carried => return Err(EBUSY),
            // It stays empty for as long.
            Packing::Packed if inode.size() == 0 => {}
            Packing::Packed => {
                // No task writes to it: one that has its lock seeks in it, or sets its times.
                let held = HeldFile::hold(path.kernel_file_open()?)?;

                let token = op.preserve_instead(self.record.load(Relaxed), &path, held)?;

                self.token.store(token, Relaxed);
                state.packing = Packing::Held;
                op.charge_excess(self.counted.excess(path.i_blocks()))
                    .map_err(|failure| failure.error)?;
            }
        }
        open(&path)
    }

    /// Calls `open` if the contents are not written into the record by a prepare. One that follows
    /// waits for the lock, and finds that the file is open.
    fn open_unpacked(
        &self,
        path: &Path,
        open: impl Fn(&Path) -> Result<BackingFile>,
    ) -> Option<Result<BackingFile>> {
        let _nowait = NoWait::new();
        let state = self.state.lock();

        matches!(self.packing(&state), Packing::Open | Packing::Held).then(|| open(path))
    }

    // For a prepare, during which no task opens it for writing, or makes it anything but `Inner`.

    fn packing(&self, state: &ContentState) -> Packing {
        if state.prepare == self.domain.prepares() {
            state.packing
        } else {
            Packing::Open
        }
    }

    /// Decides how the contents are handed over, until [`Domain::prepares`] counts on.
    pub(crate) fn plan(&self) -> Plan {
        let mut state = self.state.lock();
        let (packing, plan) = match &state.bytes {
            Bytes::Packed(_) => (Packing::Packed, Plan::Pack),
            Bytes::Incoming(unretrieved) => (
                Packing::Carried,
                unretrieved.token.map_or(Plan::Pack, Plan::Carry),
            ),
            Bytes::Inner => match self.inner_if_any() {
                Some(path)
                    if size_of(&path) > PAGE_SIZE as u64 || path.inode_is_open_for_write() =>
                {
                    (Packing::Held, Plan::Hold(path))
                }
                _ => (Packing::Packed, Plan::Pack),
            },
        };

        state.packing = packing;
        state.prepare = self.domain.prepares();
        plan
    }

    /// Whether the domain is prepared, or just being so: sizes, names and attributes don't change.
    pub(crate) fn is_fixed(&self) -> bool {
        self.domain.changes.is_shut()
    }

    /// The number of the prepare that made the plans. It changes once a prepare releases its files.
    pub(crate) fn prepares(&self) -> u32 {
        self.domain.prepares()
    }

    /// Whether the domain is prepared, or has been since `prepares` was what
    /// [`Content::prepares`] returned: that may be why the inner file has refused something.
    pub(crate) fn was_fixed_since(&self, prepares: u32) -> bool {
        // In this order: a prepare is counted before its end opens the gate.
        self.is_fixed() || self.prepares() != prepares
    }

    /// Enters the gate for changes, see [`Domain::enter_changes`].
    pub(crate) fn change(&self) -> Result<Inside<'_>> {
        self.domain.enter_changes()
    }

    /// # Errors
    ///
    /// `ESTALE` if the domain has been discarded.
    pub(crate) fn alive(&self) -> Result {
        self.domain.check_alive()
    }

    /// The token under which the contents are handed over, unless they lie within the record.
    pub(crate) fn token(&self) -> Option<u64> {
        let state = self.state.lock();

        match (&state.bytes, self.packing(&state)) {
            (_, Packing::Held) => Some(self.token.load(Relaxed)),
            (Bytes::Incoming(unretrieved), _) => unretrieved.token,
            _ => None,
        }
    }

    /// How many bytes of contents are handed over within the record.
    pub(crate) fn packed_len(&self) -> Result<usize> {
        match &self.state.lock().bytes {
            Bytes::Incoming(_) => Ok(0),
            Bytes::Packed(bytes) => Ok(bytes.len()),
            Bytes::Inner => Ok(size_of(self.inner.as_ref().ok_or(EIO)?).try_into()?),
        }
    }

    /// Copies contents that are handed over within the record, all [`Content::packed_len`] of them.
    pub(crate) fn read_packed(&self, buf: &mut [u8]) -> Result {
        match &self.state.lock().bytes {
            Bytes::Packed(bytes) if bytes.len() == buf.len() => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            Bytes::Inner => self.inner.as_ref().ok_or(EIO)?.shmem_read(buf),
            Bytes::Incoming(_) if buf.is_empty() => Ok(()),
            _ => Err(EIO),
        }
    }
}
