// SPDX-License-Identifier: GPL-2.0-only

//! The files of a domain that have a name: in `fd_preserve` and in `fd_restore`.

use crate::{
    identity::Identity,
    space::{
        bytes_of,
        size_of, //
    },
    types::KexecFs,
    words::{
        failure::Failure,
        name::Name, //
    }, //
};
use kernel::{
    fs::{
        File,
        Inode,
        Mode,
        Path,
        Times,
        Timespec, //
    },
    liveupdate::Compatible,
    new_spinlock,
    prelude::*,
    rbtree::RBTree,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce,
        SpinLock, //
    },
    task::{
        Kgid,
        Kuid, //
    }, //
};

/// The owner of a name in `fd_restore` and its group.
pub(crate) type Owner = (Kuid, Kgid);

/// The mode of a name in `fd_restore`, at first.
pub(crate) const MODE: Mode = Mode::reg(0o400);

/// The attributes of the inode of a name in `fd_restore`.
#[derive(Clone, Copy)]
pub(crate) struct Attr {
    pub(crate) owner: Owner,
    pub(crate) mode: Mode,
    pub(crate) times: Times,
}

impl Attr {
    /// Those that an inode has, which the caller has locked.
    pub(crate) fn of(inode: &Inode<KexecFs>) -> Self {
        Self {
            owner: (inode.uid(), inode.gid()),
            mode: inode.mode(),
            times: inode.times(),
        }
    }
}

/// What an entry knows of the attributes of its inode, which may be reclaimed and made anew.
struct EntryAttr {
    /// The owner that it has, or gets, unless that was changed for it alone. None is that of all
    /// that were handed over.
    owner: Option<Owner>,
    known: Known,
}

impl EntryAttr {
    fn new() -> Self {
        Self {
            owner: None,
            known: Known::New,
        }
    }
}

enum Known {
    /// It has had none yet.
    New,
    /// They are as at first, that is, at this time.
    AsAt(Timespec),
    /// They were changed for it alone.
    Changed(KBox<Attr>),
}

/// A name of an incoming file, or of one that is preserved or about to be.
#[pin_data]
pub(crate) struct Entry {
    pub(crate) name: Name,
    /// Whether LUO has the file: if not, it is just being held, or waits to be preserved. Changed
    /// under `Domain::table`, as the four that follow.
    held: Atomic<bool>,
    size: Atomic<u64>,
    token: Atomic<u64>,
    /// How many bytes it counts for the domain's limit: those of a preserved file.
    counted: Atomic<u64>,
    /// The name of LUO's handler: that of an incoming file is known once the session with it is
    /// claimed, which is before any mount.
    compatible: SetOnce<Compatible>,
    /// Set once the file is released, by `rm`, `fd_unpreserve` or `finish`.
    released: Atomic<bool>,
    /// The number of its inode, 0 before the first look at it.
    ino: Atomic<u64>,
    /// Whether its name has been looked up, and so perhaps has a dentry. Changed under
    /// `Domain::table`.
    looked_up: Atomic<bool>,
    /// The attributes of its inode, whether or not it has one at present.
    #[pin]
    attr: SpinLock<EntryAttr>,
    /// Whether watchers have been notified that its name is there, as far as there are any.
    announced: Atomic<bool>,
    /// Set once the file has been restored. Changed under `Domain::op`.
    restored: Atomic<bool>,
    /// The file, if it is preserved, or once it has been restored, until it is released.
    #[pin]
    file: SpinLock<Option<ARef<File>>>,
    /// Whether the incoming session does not have it: it is preserved, or was prepared after it had
    /// been restored, so that it is the domain alone that keeps it. Changed under `Domain::op`.
    kept: Atomic<bool>,
}

impl Entry {
    /// That of an incoming file.
    pub(super) fn incoming(
        name: Name,
        token: u64,
        size: u64,
        compatible: Option<Compatible>,
    ) -> Result<Arc<Self>> {
        let entry = Self::new(name)?;

        if let Some(compatible) = compatible {
            entry.compatible.populate(compatible);
        }
        entry.announced.store(true, Relaxed);
        entry.set_held(token, size, bytes_of(size, 0));
        Ok(entry)
    }

    /// That of a file of this kernel which is to be preserved.
    pub(super) fn new(name: Name) -> Result<Arc<Self>> {
        let entry = pin_init!(Self {
            name,
            held: Atomic::new(false),
            size: Atomic::new(0),
            token: Atomic::new(0),
            counted: Atomic::new(0),
            compatible: SetOnce::new(),
            released: Atomic::new(false),
            ino: Atomic::new(0),
            looked_up: Atomic::new(false),
            attr <- new_spinlock!(EntryAttr::new(), "Entry::attr"),
            announced: Atomic::new(false),
            restored: Atomic::new(false),
            file <- new_spinlock!(None, "Entry::file"),
            kept: Atomic::new(false),
        });

        Arc::pin_init(entry, GFP_KERNEL_ACCOUNT)
    }

    fn set_held(&self, token: u64, size: u64, counted: u64) {
        self.token.store(token, Relaxed);
        self.size.store(size, Relaxed);
        self.counted.store(counted, Relaxed);
        self.held.store(true, Relaxed);
    }

    /// LUO has the file by now. `owner` is that which its inode gets.
    pub(super) fn set_preserved(
        &self,
        (token, compatible): (u64, Compatible),
        size: u64,
        counted: u64,
        owner: Owner,
    ) {
        self.compatible.populate(compatible);
        self.attr.lock().owner = Some(owner);
        self.set_held(token, size, counted);
    }

    /// Whether LUO has the file.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Relaxed)
    }

    /// Why no other file can have the name.
    pub(super) fn occupies(&self) -> &'static str {
        if self.is_held() {
            "the name is taken: its file is in fd_restore, and fd_unpreserve releases it"
        } else {
            "the name is taken: its file is still being preserved"
        }
    }

    /// The number of the file in its session.
    pub(super) fn token(&self) -> u64 {
        self.token.load(Relaxed)
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    /// The name of LUO's handler, as far as it is known.
    pub(super) fn compatible(&self) -> &[u8] {
        self.compatible
            .as_ref()
            .map_or(&b"-"[..], Compatible::as_bytes)
    }

    /// How many bytes it counts for the domain's limit, while it waits if it is incoming.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Relaxed)
    }

    /// How many bytes the file counts beyond that by now, if it has been restored.
    pub(super) fn grown_by(&self) -> u64 {
        let Some(file) = self.file() else {
            return 0;
        };
        let inner = Path::of_file(&file);

        bytes_of(size_of(&inner), inner.i_blocks()).saturating_sub(self.counted())
    }

    /// The file, if it is open in this kernel.
    pub(super) fn file(&self) -> Option<ARef<File>> {
        self.file.lock().clone()
    }

    /// The file, if the incoming session does not have it.
    pub(super) fn kept(&self) -> Option<ARef<File>> {
        if !self.kept.load(Relaxed) {
            return None;
        }
        self.file()
    }

    /// Keeps the file, which the incoming session does not have.
    pub(super) fn keep(&self, file: ARef<File>) {
        self.set_restored(file);
        self.kept.store(true, Relaxed);
    }

    /// Whether the file has been restored.
    pub(super) fn is_restored(&self) -> bool {
        self.restored.load(Relaxed)
    }

    /// The file has been restored.
    pub(super) fn set_restored(&self, file: ARef<File>) {
        let old = self.file.lock().replace(file);

        self.restored.store(true, Relaxed);
        drop(old);
    }

    /// Lets go the file. That may be its end, which fput() leaves to the way back to user space.
    pub(super) fn let_go(&self) {
        let file = self.file.lock().take();

        drop(file);
    }

    /// Releases the entry: a task that has it open gets `ESTALE`.
    pub(super) fn set_released(&self) {
        self.released.store(true, Relaxed);
    }

    /// The number of its inode, which is one of the domain's.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` if there is none left.
    pub(crate) fn ino(&self, identity: &Identity) -> Result<u64> {
        let ino = self.ino.load(Relaxed);

        if ino != 0 {
            return Ok(ino);
        }
        let new = identity.new_ino()?;

        Ok(match self.ino.cmpxchg(0, new, Relaxed) {
            Ok(_) => new,
            // Another task was faster.
            Err(ino) => ino,
        })
    }

    /// Whether its name may have a dentry. That of an entry which was released gets none any more.
    pub(crate) fn is_looked_up(&self) -> bool {
        self.looked_up.load(Relaxed)
    }

    /// Whether watchers have still to be notified that its name is there: of all that ask, one has
    /// to do that.
    pub(crate) fn announce(&self) -> bool {
        !self.announced.xchg(true, Relaxed)
    }

    /// The owner of a new inode, and the attributes of the one that it had before, if any. All got
    /// the owner `all_owner` at the time `owned`.
    pub(super) fn attr(&self, all_owner: Owner, owned: Timespec) -> (Owner, Option<Attr>) {
        let attr = self.attr.lock();
        let owner = attr.owner.unwrap_or(all_owner);
        let first = match &attr.known {
            Known::New => return (owner, None),
            Known::AsAt(first) => *first,
            Known::Changed(attr) => return (owner, Some(**attr)),
        };
        let attr = Attr {
            owner,
            mode: MODE,
            times: Times {
                atime: first,
                mtime: first,
                ctime: owned.max(first),
            },
        };

        (owner, Some(attr))
    }

    /// It has got its first inode, at the time `now`.
    pub(crate) fn set_first(&self, now: Timespec) {
        let mut attr = self.attr.lock();

        if let Known::New = attr.known {
            attr.known = Known::AsAt(now);
        }
    }

    /// The attributes of its inode have been changed.
    pub(crate) fn set_attr(&self, attr: KBox<Attr>) {
        let old = core::mem::replace(&mut self.attr.lock().known, Known::Changed(attr));

        drop(old);
    }

    /// The owner of its inode has been changed, as that of all.
    pub(crate) fn update_attr(&self, attr: Attr) {
        if let Known::Changed(known) = &mut self.attr.lock().known {
            **known = attr;
        }
    }

    /// All names get another owner: so does its inode, which it may not have at present.
    pub(super) fn set_owner(&self, owner: Owner, now: Timespec) {
        let mut attr = self.attr.lock();

        attr.owner = attr.owner.map(|_| owner);
        if let Known::Changed(attr) = &mut attr.known {
            attr.owner = owner;
            attr.times.ctime = now;
        }
    }

    /// Its name is being looked up.
    pub(super) fn set_looked_up(&self) {
        self.looked_up.store(true, Relaxed);
    }

    /// # Errors
    ///
    /// `ESTALE` if the file was released.
    pub(super) fn check_unreleased(&self) -> Result<(), Failure> {
        if self.is_released() {
            return Err(Failure::new(ESTALE, "it was released"));
        }
        Ok(())
    }

    /// Whether the file was released.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Relaxed)
    }
}

/// How many bytes the files in `fd_restore` count for the domain's limit.
pub(super) fn counted(restorable: &RBTree<Name, Arc<Entry>>) -> u64 {
    restorable
        .values()
        .fold(0, |sum: u64, entry| sum.saturating_add(entry.counted()))
}
