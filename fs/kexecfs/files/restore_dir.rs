// SPDX-License-Identifier: GPL-2.0-only

//! The directory `fd_restore`.
//!
//! Its entries are those of the files that the domain holds, whether they are preserved or were
//! handed over. An inode and a dentry are made when a name is looked up, and reclaimed as in any
//! file system: a mount and a preserve make none, and the end of all names is one number.

use crate::{
    data::item::Node,
    domain::{
        Attr,
        Domain,
        Entry,
        Owner,
        Released,
        MODE, //
    },
    files::{
        command::{
            report,
            succeeded, //
        },
        fd_restore::FdRestore, //
    },
    gate::inside,
    types::KexecFs,
    watch::{
        notify,
        notify_control,
        STATE, //
    },
    words::name::Name, //
};
use kernel::{
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        Dentry,
        DentryRef,
        DirContext,
        FileOperations,
        FileOps,
        Found,
        GetAttr,
        Inode,
        InodeOperations,
        InodeOps,
        Lookup,
        NewInode,
        SetAttr,
        SuperBlock,
        Timespec,
        Unlink, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Its name in the root of a domain.
pub(super) const FD_RESTORE: &CStr = c"fd_restore";

/// How many entries are looked at in one go.
const BATCH: usize = 16;

/// The position of the first entry. Those of `.` and `..` are 0 and 1.
pub(super) const FIRST: Offset = 2;

/// The directory `fd_restore`, once the domain is mounted.
pub(super) fn fd_restore(sb: &SuperBlock<KexecFs>) -> Result<DentryRef<'_, KexecFs>> {
    sb.root()
        .ok_or(ENOENT)?
        .lookup_noperm_positive_unlocked(FD_RESTORE)
}

/// The handle of the inode of an entry, which is the same whenever it is made: a watched one is
/// found by it.
fn handle(domain: &Domain, entry: &Entry) -> Result<(u64, u32)> {
    Ok((
        entry.ino(&domain.identity)?,
        domain.identity.local_generation(),
    ))
}

/// Makes the inode of an entry, with the attributes of the one that it had before.
fn new_entry<'a>(
    sb: &'a SuperBlock<KexecFs>,
    entry: &Arc<Entry>,
    owner: Owner,
    before: Option<Attr>,
) -> Result<NewInode<'a, KexecFs>> {
    let node = KBox::new(Node::Entry(entry.clone()), GFP_KERNEL_ACCOUNT)?;
    let (ino, generation) = handle(&sb.info(), entry)?;
    let (mut inode, (uid, gid)) = match before {
        Some(attr) => (
            NewInode::restore(sb, attr.mode, node, (ino, generation), attr.times)?,
            attr.owner,
        ),
        None => {
            let mut inode = NewInode::with_ino(sb, MODE, node, (ino, generation))?;

            inode.set_handle(ino, generation);
            entry.set_first(inode.times().ctime);
            (inode, owner)
        }
    };

    inode.set_owner(uid, gid);
    inode.set_inode_ops(InodeOps::file::<FdRestore>())?;
    inode.set_file_ops(FileOps::new::<FdRestore>())?;
    Ok(inode)
}

/// Changes the owner of the directory and of all its entries.
///
/// # Errors
///
/// `EBUSY` if one of them is locked.
pub(super) fn change_owner(fd_restore: &Dentry<KexecFs>, domain: &Domain, owner: Owner) -> Result {
    let (uid, gid) = owner;
    let set_owner = |inode: &Inode<KexecFs>| -> Result {
        let inode = inode.try_lock().ok_or(EBUSY)?;

        inode.set_owner(uid, gid);
        if let Node::Entry(entry) = inode.data() {
            entry.update_attr(Attr::of(&inode));
        }
        Ok(())
    };
    // An entry is looked up with this lock held: so it gets its next inode later, as the domain
    // says.
    let dir = fd_restore.inode().ok_or(ENOENT)?.try_lock().ok_or(EBUSY)?;

    // What is preserved after the first gets the owner from there. Inodes come last, so that what
    // is changed of one meanwhile is known to its entry as well.
    dir.set_owner(uid, gid);
    domain.set_owner(owner, dir.times().ctime);

    let mut prev = None;
    while let Some(name) = fd_restore.next_cached_child(prev.take())? {
        set_owner(name.inode().ok_or(ENOENT)?)?;
        prev = Some(name);
    }
    if !fd_restore.sb().fsnotify_sb_has_watchers() {
        return Ok(());
    }
    for_each_entry(domain, |entry| {
        if !entry.is_looked_up() {
            return Ok(());
        }
        // Of those that are watched some may have no dentry.
        let handle = handle(domain, entry)?;

        fd_restore
            .sb()
            .with_watched(handle, set_owner)
            .unwrap_or(Ok(()))
    })
}

/// Says that the file of an entry has been preserved: its name leads to it from now on.
///
/// Outside the gate: a reader of the directory keeps its lock as long as it likes.
pub(super) fn add_name(sb: &SuperBlock<KexecFs>, domain: &Domain, entry: &Entry) {
    let is_watched = sb.fsnotify_sb_has_watchers();

    domain.set_names_changed();
    if is_watched || domain.is_releasing() {
        // It is in the dcache: there is no error.
        if let Ok(fd_restore) = fd_restore(sb) {
            if domain.is_releasing() {
                remove_released(&fd_restore, &entry.name);
            }
            if is_watched {
                return announce(&fd_restore, entry);
            }
        }
    }
    entry.announce();
}

/// Notifies watchers that a name is there, unless that has been done: by the task that preserves,
/// or else by the one that removes it before.
fn announce(fd_restore: &Dentry<KexecFs>, entry: &Entry) {
    fd_restore.fsnotify_create(entry.name.as_c_str(), |inode| {
        matches!(inode.data(), Node::Entry(there) if core::ptr::eq(&**there, entry))
            && entry.announce()
    });
}

/// Removes the name of an entry that was released, if it has a dentry. Outside the gate, too.
pub(super) fn remove_name(fd_restore: &Dentry<KexecFs>, entry: &Entry) {
    if entry.is_looked_up() {
        remove_released(fd_restore, &entry.name);
    }
}

/// Removes the dentry of an entry that was released, but not that of a later one. Watchers
/// are notified that it was there first, unless they have been.
fn remove_released(fd_restore: &Dentry<KexecFs>, name: &Name) {
    fd_restore.remove_by_name(
        name.as_c_str(),
        |inode| matches!(inode.data(), Node::Entry(entry) if entry.is_released()),
        |inode| matches!(inode.data(), Node::Entry(entry) if entry.announce()),
    );
}

/// Looks a name up that is about to be removed, if anything is watched: the event is made of its
/// dentry, which the caller holds until then.
pub(super) fn look_up_watched<'a>(
    fd_restore: &'a Dentry<KexecFs>,
    name: &Name,
) -> Option<DentryRef<'a, KexecFs>> {
    if !fd_restore.sb().fsnotify_sb_has_watchers() {
        return None;
    }
    // Without memory for the look-up there is none for the watchers' events either.
    fd_restore
        .lookup_noperm_positive_unlocked(name.as_c_str())
        .ok()
}

/// Names that are about to be removed, with their dentries, in the order of the names.
pub(super) type Watched<'a> = KVVec<(Arc<Entry>, DentryRef<'a, KexecFs>)>;

/// Does the same with all names.
pub(super) fn look_up_all_watched<'a>(
    fd_restore: &'a Dentry<KexecFs>,
    domain: &Domain,
) -> Watched<'a> {
    let mut watched = KVVec::new();

    if fd_restore.sb().fsnotify_sb_has_watchers() {
        let _ = for_each_entry(domain, |entry| {
            if let Some(name) = look_up_watched(fd_restore, &entry.name) {
                watched.push((entry.clone(), name), GFP_KERNEL_ACCOUNT)?;
            }
            Ok(())
        });
    }
    watched
}

/// Makes the names of `released`, which are all that there were, lead nowhere. Outside the gate.
pub(super) fn remove_all(fd_restore: &Dentry<KexecFs>, released: &Released, watched: Watched<'_>) {
    // First, so that a name that comes anew is not made stale.
    if let Some(dir) = fd_restore.inode() {
        dir.invalidate_names();
    }
    if fd_restore.sb().fsnotify_sb_has_watchers() {
        let mut watched = watched.into_iter().peekable();

        for entry in released.entries() {
            remove_name(fd_restore, entry);
            // The end of its inode is the event that follows. Both are in the order of the names.
            while watched
                .next_if(|(held, _)| held.name <= entry.name)
                .is_some()
            {}
        }
    }
    fd_restore.sb().info().set_names_changed();
}

/// Calls `each` for what is in the directory, in the order of the names, until it fails.
fn for_each_entry(domain: &Domain, mut each: impl FnMut(&Arc<Entry>) -> Result) -> Result {
    let mut last: Option<Arc<Entry>> = None;

    loop {
        let mut batch = [const { None }; BATCH];

        domain.entries(last.as_deref().map(|entry| &entry.name), 0, &mut batch);
        if let [None, ..] = batch {
            return Ok(());
        }
        for entry in batch.into_iter().flatten() {
            each(&entry)?;
            last = Some(entry);
        }
    }
}

/// The directory `fd_restore`.
pub(super) struct RestoreDir;

#[vtable]
impl InodeOperations for RestoreDir {
    type FileSystem = KexecFs;

    fn lookup<'a>(lookup: Lookup<'a, KexecFs>) -> Result<Found<'a, KexecFs>> {
        let sb = lookup.dir().sb();
        let domain = sb.info();

        domain.check_alive()?;
        let name = match Name::of_file(lookup.name()) {
            Err(e) if e == EINVAL => return Ok(lookup.nothing()),
            name => name?,
        };

        match domain.look_up(&name) {
            Some((entry, owner, before)) => lookup.cache(new_entry(sb, &entry, owner, before)?),
            None => Ok(lookup.nothing()),
        }
    }

    fn unlink(unlink: Unlink<'_, KexecFs>) -> Result {
        let inode = unlink.dentry().inode().ok_or(ENOENT)?;
        let Node::Entry(entry) = inode.data() else {
            return Err(EPERM);
        };
        let sb = unlink.dir().sb();
        let domain = sb.info();
        let _releasing = domain.releasing();

        let is_change = inside(|| domain.release_entry(entry))
            .map_err(|failure| report(sb, failure.of_file(&entry.name)))?;

        succeeded(sb);
        if is_change {
            notify(sb, STATE);
        }
        notify_control();
        if entry.announce() {
            unlink.fsnotify_create();
        }
        unlink.simple_unlink()?;
        domain.set_names_changed();
        Ok(())
    }

    fn setattr(mut attr: SetAttr<'_, KexecFs>) -> Result {
        let inode = attr.inode();
        let domain = inode.sb().info();

        domain.check_alive()?;
        attr.ignore_size();
        let attr = attr.prepare()?.ready()?;
        let changed = domain.names_changed();

        // Unless it is set; that of the attributes follows.
        if let Some(changed) = changed.filter(|&changed| inode.times().ctime < changed) {
            attr.locked().set_mtime(changed);
        }
        attr.copy();
        domain.set_dir_owner((inode.uid(), inode.gid()));
        if let Some(changed) = changed {
            let now = Timespec::from_nanos(Timespec::now_as_nanos());

            attr.locked().set_ctime_deleg(now);
            domain.forget_names_changed(changed);
        }
        Ok(())
    }

    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        if let Some(changed) = attr.inode().sb().info().names_changed() {
            attr.set_later_cmtime(changed);
        }
        Ok(())
    }
}

/// An open `fd_restore`.
#[pin_data]
pub(super) struct OpenDir {
    domain: Arc<Domain>,
    /// The entry that was listed last, and the position after it.
    #[pin]
    last: Mutex<Option<(Arc<Entry>, Offset)>>,
}

#[vtable]
impl FileOperations for RestoreDir {
    type FileSystem = KexecFs;
    type Data = Pin<KBox<OpenDir>>;

    fn open(inode: &Inode<KexecFs>, _file: &LocalFile) -> Result<Self::Data> {
        KBox::pin_init(
            pin_init!(OpenDir {
                domain: inode.sb().info().into(),
                last <- new_mutex!(None, "OpenDir::last"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// A position is the number of an entry, as in directories that lie in the dcache
    /// (`dcache_readdir()`): a reader that goes on finds what comes after the last name, whatever
    /// has come and gone before it, and one that goes to another position begins to count.
    fn iterate_shared(open: Pin<&OpenDir>, ctx: &mut DirContext<'_>) -> Result {
        open.domain.check_alive()?;
        if !ctx.emit_dots() {
            return Ok(());
        }
        let mut last = open.last.lock();
        let (mut after, mut skip) = match last.take() {
            Some((entry, pos)) if pos == ctx.pos() => (Some(entry), 0),
            _ => (None, usize::try_from(ctx.pos() - FIRST)?),
        };

        loop {
            let mut batch = [const { None }; BATCH];

            let name = after.as_deref().map(|entry: &Entry| &entry.name);
            open.domain.entries(name, skip, &mut batch);
            if let [None, ..] = batch {
                break;
            }
            skip = 0;
            for entry in batch.into_iter().flatten() {
                let ino = entry.ino(&open.domain.identity)?;

                if !ctx.emit(entry.name.as_bytes(), ino, MODE) {
                    *last = after.map(|entry| (entry, ctx.pos()));
                    return Ok(());
                }
                after = Some(entry);
            }
        }
        *last = after.map(|entry| (entry, ctx.pos()));
        Ok(())
    }
}
