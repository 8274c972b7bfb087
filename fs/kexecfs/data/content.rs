// SPDX-License-Identifier: GPL-2.0-only

//! The contents of a regular file in `data/`.
//!
//! They lie in an *inner* file, an unlinked one of shmem, which LUO's handler for memfds preserves
//! as it is. Of it the path is kept, not an open file. What came from the previous kernel gets its
//! inner file when it is first opened, by who opens it.
//!
//! Locking: the lock of the contents comes after that of the inode and after `Domain::op`.

use crate::{
    data::counted::Counted,
    domain::Domain,
    gate::{
        self,
        Inside, //
    },
    space::{
        bytes_of,
        size_of, //
    },
    types::KexecFs, //
};
use kernel::{
    fs::{
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
        Mutex,
        SetOnce, //
    }, //
};

/// Where the bytes are.
enum Bytes {
    /// Here: they were handed over in the record of the inode. None in a new file.
    Packed(KVVec<u8>),
    /// In the incoming session.
    HandedOver(Unopened),
    /// In the inner file.
    Inner,
}

/// How the bytes are handed over by a domain that is prepared, or is just being so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Not yet.
    Open,
    /// Within the record of the inode.
    Packed,
    /// As the pages of the inner file, which doesn't change its size meanwhile.
    Held,
    /// As they came.
    Carried,
}

/// What has to be done to hand the contents over.
pub(crate) enum Plan {
    /// To write them into the record.
    Pack,
    /// To preserve the inner file.
    Hold(Path),
    /// To hand on what came under this token.
    Carry(u64),
}

struct State {
    bytes: Bytes,
    /// The last plan, and which prepare made it.
    way: Way,
    prepare: u32,
}

/// A file in the incoming session that nobody opened yet. It is given up when this is dropped.
struct Unopened {
    domain: Arc<Domain>,
    /// None once it has been retrieved.
    token: Option<u64>,
}

impl Drop for Unopened {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.domain.give_up(token);
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
    state: Mutex<State>,
    pub(crate) counted: Counted,
    /// The token of the inner file in the outgoing session, and where the record of the inode lies
    /// in the domain's stream. Changed under `Domain::op`.
    pub(crate) token: Atomic<u64>,
    pub(crate) record: Atomic<usize>,
}

impl Content {
    /// No contents.
    pub(crate) fn empty(domain: Arc<Domain>) -> Result<Arc<Self>> {
        Self::with(domain, Bytes::Packed(KVVec::new()), 0)
    }

    /// Contents that the previous kernel packed into the record of an inode.
    ///
    /// They are copied, so that the stream of all records need not be kept for one of them.
    pub(crate) fn packed(domain: Arc<Domain>, contents: &[u8]) -> Result<Arc<Self>> {
        let mut bytes = KVVec::with_capacity(contents.len(), GFP_KERNEL_ACCOUNT)?;

        bytes.extend_from_slice(contents, GFP_KERNEL_ACCOUNT)?;
        Self::with(domain, Bytes::Packed(bytes), contents.len() as u64)
    }

    /// Contents that wait in the incoming session.
    pub(crate) fn handed_over(domain: Arc<Domain>, token: u64, size: u64) -> Result<Arc<Self>> {
        domain.expect_unopened()?;
        let unopened = Unopened {
            domain: domain.clone(),
            token: Some(token),
        };

        Self::with(domain, Bytes::HandedOver(unopened), size)
    }

    fn with(domain: Arc<Domain>, bytes: Bytes, size: u64) -> Result<Arc<Self>> {
        let state = State {
            bytes,
            way: Way::Open,
            prepare: 0,
        };
        let content = pin_init!(Self {
            counted: Counted::new(domain.clone(), bytes_of(size, 0)),
            domain,
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
        self.domain.alive()?;
        if let Some(path) = self.inner_if_any() {
            return Ok(path);
        }
        // A reboot takes the lock as well.
        let nowait = NoWait::new();
        let mut state = self.state.lock();
        let path = match &state.bytes {
            // Somebody else was faster.
            Bytes::Inner => return self.inner_if_any().ok_or(EIO),
            Bytes::Packed(bytes) => Path::shmem_kernel_file(c"kexecfs", bytes)?,
            Bytes::HandedOver(_) => {
                drop(state);
                drop(nowait);
                let _inside = gate::enter()?;

                return self.take_over(inode);
            }
        };

        self.set_inner(&mut state, &path, inode);
        Ok(path)
    }

    fn set_inner(&self, state: &mut State, path: &Path, inode: &Inode<KexecFs>) {
        let times = inode.times();

        path.set_times(times);
        self.inner.populate(path.clone());
        state.bytes = Bytes::Inner;
        // Whoever changes the times or the flags meanwhile changes those of the inode first, and
        // then looks for the inner file.
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
        let mut op = self.domain.lock_op()?;
        let mut state = self.state.lock();
        let unopened = match &mut state.bytes {
            // Somebody else was faster.
            Bytes::Inner => return self.inner_if_any().ok_or(EIO),
            // What is written down stays as it is, and who prepares waits for no retrieve that
            // began after it shut the gate.
            Bytes::HandedOver(_) if self.is_fixed() => return Err(EBUSY),
            Bytes::HandedOver(unopened) => unopened,
            Bytes::Packed(_) => return Err(EIO),
        };
        let token = unopened.token.ok_or(EIO)?;
        let file = self.domain.take_over(&mut op, token, inode.size())?;

        unopened.token = None;
        let path = Path::of_file(&file);

        path.set_private();
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
        self: &Arc<Self>,
        inode: &Inode<KexecFs>,
        open: impl Fn(&Path) -> Result<BackingFile>,
    ) -> Result<BackingFile> {
        let path = self.inner(inode)?;

        if let Some(opened) = self.open_unpacked(&path, &open) {
            return opened;
        }
        let _gate = gate::enter()?;
        let mut op = self.domain.lock_op()?;
        let mut state = self.state.lock();

        // Whoever discards it takes back what is in `op`, and no more.
        self.domain.alive()?;
        match self.way(&state) {
            // What was prepared has been cancelled, or somebody else was faster.
            Way::Open | Way::Held => {}
            Way::Carried => return Err(EBUSY),
            // It stays empty for as long.
            Way::Packed if inode.size() == 0 => {}
            Way::Packed => {
                // Nobody writes to it: who has its lock only seeks in it, or sets its times.
                let held = HeldFile::hold(path.kernel_file_open()?)?;

                self.domain
                    .preserve_instead(&mut op, self.clone(), &path, held)?;
                state.way = Way::Held;
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

        matches!(self.way(&state), Way::Open | Way::Held).then(|| open(path))
    }

    // What a prepare does. Nobody opens it for writing meanwhile, or makes it anything but `Inner`.

    fn way(&self, state: &State) -> Way {
        if state.prepare == self.domain.prepares() {
            state.way
        } else {
            Way::Open
        }
    }

    /// Decides how the contents are handed over, until [`Domain::prepares`] counts on.
    pub(crate) fn plan(&self) -> Plan {
        let mut state = self.state.lock();
        let (way, plan) = match &state.bytes {
            Bytes::Packed(_) => (Way::Packed, Plan::Pack),
            Bytes::HandedOver(unopened) => {
                (Way::Carried, unopened.token.map_or(Plan::Pack, Plan::Carry))
            }
            Bytes::Inner => match self.inner_if_any() {
                Some(path)
                    if size_of(&path) > PAGE_SIZE as u64 || path.inode_is_open_for_write() =>
                {
                    (Way::Held, Plan::Hold(path))
                }
                _ => (Way::Packed, Plan::Pack),
            },
        };

        state.way = way;
        state.prepare = self.domain.prepares();
        plan
    }

    /// Whether the domain is prepared, or just being so: sizes, names and attributes don't change.
    pub(crate) fn is_fixed(&self) -> bool {
        self.domain.changes.is_shut()
    }

    /// Which prepare the plans are of: it is another one once what a prepare held is let go.
    pub(crate) fn prepares(&self) -> u32 {
        self.domain.prepares()
    }

    /// Whether the domain is prepared, or has been since `prepares` was what
    /// [`Content::prepares`] returned: what the inner file has refused may be for that.
    pub(crate) fn was_fixed_since(&self, prepares: u32) -> bool {
        // In this order: who prepares counts before it opens the gate.
        self.is_fixed() || self.prepares() != prepares
    }

    /// Enters the gate for changes, see [`Domain::change`].
    pub(crate) fn change(&self) -> Result<Inside<'_>> {
        self.domain.change()
    }

    /// # Errors
    ///
    /// `ESTALE` if the domain has been discarded.
    pub(crate) fn alive(&self) -> Result {
        self.domain.alive()
    }

    /// The token under which the contents are handed over, unless they lie within the record.
    pub(crate) fn token(&self) -> Option<u64> {
        let state = self.state.lock();

        match (&state.bytes, self.way(&state)) {
            (_, Way::Held) => Some(self.token.load(Relaxed)),
            (Bytes::HandedOver(unopened), _) => unopened.token,
            _ => None,
        }
    }

    /// Calls `f` with contents that are handed over within the record.
    pub(crate) fn with_packed<R>(
        &self,
        buf: &mut [u8],
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        match &self.state.lock().bytes {
            Bytes::HandedOver(_) => f(&[]),
            Bytes::Packed(bytes) => f(bytes),
            Bytes::Inner => {
                let path = self.inner_if_any().ok_or(EIO)?;
                let len = usize::try_from(size_of(&path))?;
                let buf = buf.get_mut(..len).ok_or(EIO)?;

                if len != 0 && path.kernel_file_open()?.kernel_read(buf, 0)? != len {
                    return Err(EIO);
                }
                f(buf)
            }
        }
    }
}
