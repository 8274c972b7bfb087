// SPDX-License-Identifier: GPL-2.0-only

//! The contents of a regular file in `data/`.
//!
//! They lie in an *inner* file, an unlinked one of shmem, which LUO's handler for memfds preserves
//! as it is. Of it the path is kept, not an open file. What came from the previous kernel gets its
//! inner file when it is first opened, by who opens it.
//!
//! Locking: the lock of the contents comes after that of the inode and after `Domain::op`.

use crate::{
    domain::Domain,
    gate::Inside,
    registry::registry,
    sb::KexecFs,
    space::bytes_of,
    tree::Tree, //
};
use kernel::{
    fs::{
        file::Offset,
        shmem_kernel_file_setup,
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
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// Where the bytes are.
enum Bytes {
    /// Nowhere yet: there are none.
    None,
    /// In the stream that the previous kernel handed over.
    Packed { tree: Arc<Tree>, inode: u32 },
    /// In the incoming session.
    HandedOver(Unopened),
    /// In the inner file.
    Inner(Path),
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

/// How many bytes count for the domain's limit. Changed under the lock of the inode.
struct Counted {
    domain: Arc<Domain>,
    bytes: Atomic<u64>,
}

impl Counted {
    /// Counts what is there already.
    fn new(domain: Arc<Domain>, bytes: u64) -> Self {
        domain.space.count_bytes(bytes);
        Self {
            domain,
            bytes: Atomic::new(bytes),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.domain.space.give_bytes(self.bytes.load(Relaxed));
    }
}

/// The contents of a regular file.
#[pin_data]
pub(crate) struct Content {
    domain: Arc<Domain>,
    #[pin]
    state: Mutex<State>,
    counted: Counted,
    /// The token of the inner file in the outgoing session, and where the record of the inode lies
    /// in the domain's stream. Changed under `Domain::op`.
    pub(crate) token: Atomic<u64>,
    pub(crate) record: Atomic<usize>,
}

impl Content {
    /// No contents.
    pub(crate) fn empty(domain: Arc<Domain>) -> Result<Arc<Self>> {
        Self::with(domain, Bytes::None, 0)
    }

    /// Contents that the previous kernel packed into the record of an inode.
    pub(crate) fn packed(
        domain: Arc<Domain>,
        tree: Arc<Tree>,
        inode: u32,
        size: u64,
    ) -> Result<Arc<Self>> {
        Self::with(domain, Bytes::Packed { tree, inode }, bytes_of(size, 0))
    }

    /// Contents that wait in the incoming session.
    pub(crate) fn handed_over(domain: Arc<Domain>, token: u64, size: u64) -> Result<Arc<Self>> {
        let unopened = Unopened {
            domain: domain.clone(),
            token: Some(token),
        };

        Self::with(domain, Bytes::HandedOver(unopened), bytes_of(size, 0))
    }

    fn with(domain: Arc<Domain>, bytes: Bytes, counted: u64) -> Result<Arc<Self>> {
        let state = State {
            bytes,
            way: Way::Open,
            prepare: 0,
        };
        let content = pin_init!(Self {
            counted: Counted::new(domain.clone(), counted),
            domain,
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
        // A reboot takes the lock as well.
        let nowait = NoWait::new();
        let mut state = self.state.lock();
        let path = match &state.bytes {
            Bytes::Inner(path) => return Ok(path.clone()),
            Bytes::None => Path::of_file(&*shmem_kernel_file_setup(c"kexecfs", 0)?),
            Bytes::Packed { tree, inode } => {
                let bytes = tree.contents(*inode).ok_or(EIO)?;
                let file = shmem_kernel_file_setup(c"kexecfs", 0)?;

                file.kernel_write(bytes, 0)?;
                Path::of_file(&file)
            }
            Bytes::HandedOver(_) => {
                drop(state);
                drop(nowait);
                let _inside = registry()?.enter_throttled()?;

                return self.take_over(inode);
            }
        };

        path.set_times(inode.times());
        state.bytes = Bytes::Inner(path.clone());
        Ok(path)
    }

    /// Retrieves the inner file. The caller is inside the gate.
    fn take_over(&self, inode: &Inode<KexecFs>) -> Result<Path> {
        let mut op = self.domain.op.lock();
        let mut state = self.state.lock();
        let fixed = self.way(&state) != Way::Open;
        let unopened = match &mut state.bytes {
            // Somebody else was faster.
            Bytes::Inner(path) => return Ok(path.clone()),
            // What is written down stays as it is.
            Bytes::HandedOver(_) if fixed => return Err(EBUSY),
            Bytes::HandedOver(unopened) => unopened,
            Bytes::None | Bytes::Packed { .. } => return Err(EIO),
        };
        let token = unopened.token.ok_or(EIO)?;
        let file = self.domain.take_over(&mut op, token, inode.size())?;

        unopened.token = None;
        let path = Path::of_file(&file);

        path.set_private();
        path.set_times(inode.times());
        state.bytes = Bytes::Inner(path.clone());
        Ok(path)
    }

    /// The inner file if there is one already.
    pub(crate) fn inner_if_any(&self) -> Option<Path> {
        match &self.state.lock().bytes {
            Bytes::Inner(path) => Some(path.clone()),
            _ => None,
        }
    }

    /// Calls `open` with the inner file for a file that is opened for writing.
    ///
    /// While the domain is prepared, a file that was written down with its contents is preserved
    /// first, for them to be those of its end.
    pub(crate) fn open_for_writing(
        self: &Arc<Self>,
        inode: &Inode<KexecFs>,
        open: impl Fn(&Path) -> Result<BackingFile>,
    ) -> Result<BackingFile> {
        let path = self.inner(inode)?;

        // Inside the gate: a prepare that follows sees that it is open for writing.
        match self.domain.change() {
            Ok(_inside) => return open(&path),
            Err(e) if e == ESTALE => return Err(e),
            Err(_) => {}
        }
        self.domain.wait_until_prepared()?;
        let _gate = registry()?.enter()?;
        let mut op = self.domain.op.lock();
        let mut state = self.state.lock();

        match self.way(&state) {
            // It has no name and is not handed over, or what was prepared has been cancelled. A
            // prepare that follows needs the lock for its plan, and sees that it is open.
            Way::Open | Way::Held => {}
            Way::Carried => return Err(EBUSY),
            Way::Packed if inode.size() == 0 => {}
            Way::Packed => {
                let held = HeldFile::try_hold(path.kernel_file_open()?)?;

                self.domain
                    .preserve_instead(&mut op, self.clone(), &path, held)?;
                state.way = Way::Held;
            }
        }
        open(&path)
    }

    // How much it counts. The lock of the inode is held.

    /// Makes room for the contents to grow to `size` bytes, or for as much of it as there is room
    /// for. Returns that size.
    pub(crate) fn grow_up_to(&self, size: u64) -> u64 {
        let (counted, wanted) = (self.counted.bytes.load(Relaxed), bytes_of(size, 0));

        if wanted <= counted {
            return size;
        }
        let counted = counted + self.domain.space.take_bytes_up_to(wanted - counted);

        self.counted.bytes.store(counted, Relaxed);
        size.min(counted)
    }

    /// Makes room for the contents to grow to `size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOSPC`.
    pub(crate) fn grow(&self, size: u64) -> Result {
        let (counted, wanted) = (self.counted.bytes.load(Relaxed), bytes_of(size, 0));

        if wanted > counted {
            self.domain.space.take_bytes(wanted - counted)?;
            self.counted.bytes.store(wanted, Relaxed);
        }
        Ok(())
    }

    /// Counts anew, after a change of the inner file.
    pub(crate) fn count(&self, inner: &Path) {
        let bytes = bytes_of(size_of(inner), inner.i_blocks());
        let counted = self.counted.bytes.load(Relaxed);

        self.counted.bytes.store(bytes, Relaxed);

        if bytes > counted {
            self.domain.space.count_bytes(bytes - counted);
        } else {
            self.domain.space.give_bytes(counted - bytes);
        }
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
            Bytes::None | Bytes::Packed { .. } => (Way::Packed, Plan::Pack),
            Bytes::HandedOver(unopened) => {
                (Way::Carried, unopened.token.map_or(Plan::Pack, Plan::Carry))
            }
            Bytes::Inner(path) => {
                if size_of(path) <= PAGE_SIZE as u64 && !path.inode_is_open_for_write() {
                    (Way::Packed, Plan::Pack)
                } else {
                    (Way::Held, Plan::Hold(path.clone()))
                }
            }
        };

        state.way = way;
        state.prepare = self.domain.prepares();
        plan
    }

    /// Whether the domain is prepared, or just being so: sizes, names and attributes don't change.
    pub(crate) fn is_fixed(&self) -> bool {
        self.domain.changes.is_shut()
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
            Bytes::None | Bytes::HandedOver(_) => f(&[]),
            Bytes::Packed { tree, inode } => f(tree.contents(*inode).ok_or(EIO)?),
            Bytes::Inner(path) => {
                let len = usize::try_from(size_of(path))?;
                let buf = buf.get_mut(..len).ok_or(EIO)?;

                if len != 0 && path.kernel_file_open()?.kernel_read(buf, 0)? != len {
                    return Err(EIO);
                }
                f(buf)
            }
        }
    }
}

/// The size of an inner file.
pub(crate) fn size_of(inner: &Path) -> u64 {
    let size: Offset = inner.i_size_read();

    // CAST: A size is never negative.
    size.max(0) as u64
}
