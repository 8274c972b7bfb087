// SPDX-License-Identifier: GPL-2.0-only

//! A file system that does what a file system must not, for tests.
//!
//! It says that it failed when it did something, and that it did what it didn't, forgets the
//! superblock that it is to tear down, and asks for what can't be. All of that is safe code: it
//! must harm nobody but itself.
//!
//! A file that is called "queued" says of each read that it isn't over yet, that it is mapped, and
//! that a byte was spliced. One that is called "first" is, for all that open it meanwhile, the file
//! that its first reader has opened; it splices more than it was asked for, and says so.
//!
//! In the directory "found" each name leads to a new inode, with the handle of all the others, and
//! is stale when it has been looked up.

use kernel::{
    fs::{
        file::{
            fmode,
            LocalFile,
            Offset, //
        },
        param,
        sb::FilledSuperBlock,
        BackingFile,
        Dentry,
        DevT,
        FileOperations,
        FileOps,
        FileSystem,
        FileSystemType,
        Found,
        FreeArea,
        FsContext,
        Inode,
        InodeOperations,
        InodeOps,
        KillSuper,
        Kiocb,
        Link,
        Lookup,
        Mode,
        NewEntry,
        NewInode,
        NewMapping,
        NewSuperBlock,
        NewTree,
        OffsetCtx,
        Path,
        Registration,
        Rename,
        Seek,
        SpliceRead,
        SuperBlock,
        Unlink, //
        UnmappedArea,
    },
    iov::IovIterDest,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

/// The type of file system.
static LIAR: FileSystemType<Liar> = FileSystemType::new();

static REGISTRATION: SetOnce<Registration<Liar>> = SetOnce::new();

/// Makes the type known, for good.
pub(super) fn start() -> Result {
    REGISTRATION.populate(LIAR.register()?);
    Ok(())
}

static PARAMETERS: param::Table<0> = param::Table::new([]);

/// The file system.
struct Liar;

#[vtable]
impl FileSystem for Liar {
    type Context = ();
    type Info = KBox<u64>;
    type InodeData = KBox<Shared>;

    const NAME: &'static CStr = c"kexecfs_liar";
    const FLAGS: i32 = 0;
    const PARAMETERS: param::Parameters = PARAMETERS.parameters();

    fn init_fs_context(_fc: &FsContext<'_, Self>) -> Result<KBox<()>> {
        Ok(KBox::new((), GFP_KERNEL_ACCOUNT)?)
    }

    fn parse_param(_fc: &mut FsContext<'_, Self>, _opt: u8, _value: param::Value<'_>) -> Result {
        Err(EINVAL)
    }

    fn get_tree(fc: &mut NewTree<'_, Self>) -> Result {
        fc.get_tree_keyed(KBox::new(0, GFP_KERNEL_ACCOUNT)?)?;
        Ok(())
    }

    fn fill_super(sb: &NewSuperBlock<'_, Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        refused(sb.make_root(new(sb, Mode::reg(0o644))?), ENOTDIR)?;
        refused(sb.set_stack_depth(u32::MAX), EINVAL)?;
        // That of "first" is of shmem.
        sb.set_stack_depth(1)?;
        refused(sb.get_active().ok_or(ENOENT), ENOENT)?;
        // An open file of it would be the device, for C.
        let mut disk = new(sb, Mode::decode(0o060600).ok_or(EINVAL)?)?;

        disk.init_special(DevT::decode(0x700))?;
        refused(disk.set_file_ops(FileOps::new::<Queued>()), EINVAL)?;
        drop(disk);

        let mut root = new(sb, Mode::dir(0o755))?;

        refused(root.set_symlink::<Dir>(c"no link"), EINVAL)?;
        refused(root.set_file_ops(FileOps::simple_offset_dir()), EINVAL)?;
        Dir::set(&mut root)?;
        refused(root.set_inode_ops(InodeOps::file::<Dir>()), EEXIST)?;
        refused(root.set_inode_ops(InodeOps::dir::<Dir>()), EEXIST)?;

        // One inode's map can't be that of another, nor of the next one that lies where it was.
        let slot = FirstSlot::new()?;

        for mode in [Mode::reg(0o644), Mode::lnk()] {
            let mut file = NewInode::new(sb, mode, Shared::new(slot.clone())?)?;

            refused(file.set_inode_ops(InodeOps::dir::<Dir>()), ENOTDIR)?;
        }
        let dir = || NewInode::new(sb, Mode::dir(0o755), Shared::new(slot.clone())?);

        Dir::set(&mut dir()?)?;
        for _ in 0..2 {
            let mut dir = dir()?;

            refused(dir.set_inode_ops(InodeOps::dir::<Dir>()), EBUSY)?;
            refused(dir.set_file_ops(FileOps::simple_offset_dir()), EINVAL)?;
        }

        let root: &Dentry<Self> = sb.make_root(root)?;

        refused(sb.set_stack_depth(1), EBUSY)?;
        refused(root.start_creating(c"link")?.link(root), EPERM)?;

        let mut found = new(sb, Mode::dir(0o755))?;

        found.set_nlink(2);
        found.set_inode_ops(InodeOps::dir::<Finder>())?;
        found.set_file_ops(FileOps::simple_dir())?;
        root.start_creating(c"found")?.instantiate(found)?;

        let gone = root
            .start_creating(c"gone")?
            .make_persistent(new(sb, Mode::reg(0o644))?)?;

        // Has to leave the offset map, too: else a reader of the directory follows it.
        root.remove_by_name(c"gone", |_inode| true, |_inode| true);
        refused(root.start_creating(c"link")?.link(&gone), ENOENT)
    }

    fn filled(sb: &FilledSuperBlock<'_, Self>) {
        drop(sb.get_active());
    }

    fn reconfigure(_sb: &SuperBlock<Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        Ok(())
    }

    fn kill_sb(sb: KillSuper<'_, Self>) {
        core::mem::forget(sb);
    }
}

fn new(sb: &SuperBlock<Liar>, mode: Mode) -> Result<NewInode<'_, Liar>> {
    NewInode::new(sb, mode, Shared::new(FirstSlot::new()?)?)
}

/// # Errors
///
/// `EUCLEAN` if `result` isn't the error that it should be.
fn refused<T>(result: Result<T>, error: Error) -> Result {
    match result {
        Err(e) if e == error => Ok(()),
        _ => Err(EUCLEAN),
    }
}

/// A directory. In it, nothing happens to a name that begins with "not".
struct Dir;

impl Dir {
    fn set(inode: &mut NewInode<'_, Liar>) -> Result {
        inode.set_nlink(2);
        inode.set_inode_ops(InodeOps::dir::<Self>())?;
        inode.set_file_ops(FileOps::simple_offset_dir())
    }

    fn make(entry: NewEntry<'_, Liar>) -> Result {
        if entry.name().starts_with(b"not") {
            return Ok(());
        }
        let mut inode = entry.new_inode(Shared::new(FirstSlot::new()?)?)?;

        if inode.mode().is_dir() {
            Self::set(&mut inode)?;
        } else {
            refused(inode.set_file_ops(FileOps::simple_dir()), ENOTDIR)?;
            inode.set_file_ops(match entry.name() {
                b"first" => FileOps::new::<First>(),
                _ => FileOps::new::<Queued>(),
            })?;
        }
        entry.make_persistent(inode)?;
        Err(EPERM)
    }

    fn is_spared(dentry: &Dentry<Liar>) -> bool {
        dentry
            .name(&mut [0; kernel::fs::NAME_MAX])
            .starts_with(b"not")
    }
}

#[vtable]
impl InodeOperations for Dir {
    type FileSystem = Liar;

    fn get_offset_ctx(dir: &Inode<Liar>) -> Result<&OffsetCtx> {
        Ok(&dir.data().0.offsets)
    }

    fn mknod(entry: NewEntry<'_, Liar>, _rdev: DevT) -> Result {
        // Also where a whiteout is wanted.
        Self::make(entry)
    }

    fn create(entry: NewEntry<'_, Liar>) -> Result {
        Self::make(entry)
    }

    fn mkdir(entry: NewEntry<'_, Liar>) -> Result {
        Self::make(entry)
    }

    fn link(link: Link<'_, Liar>) -> Result {
        if link.name().starts_with(b"not") {
            return Ok(());
        }
        link.simple_link()?;
        Err(EPERM)
    }

    fn unlink(unlink: Unlink<'_, Liar>) -> Result {
        if Self::is_spared(unlink.dentry()) {
            return Ok(());
        }
        unlink.simple_unlink()?;
        Err(EPERM)
    }

    fn rmdir(rmdir: Unlink<'_, Liar>) -> Result {
        if Self::is_spared(rmdir.dentry()) {
            return Ok(());
        }
        rmdir.simple_rmdir()?;
        Err(EPERM)
    }

    fn rename(rename: Rename<'_, Liar>) -> Result {
        let inode: &Inode<Liar> = rename.inode();

        // A directory stays where it is.
        if inode.mode().is_dir() {
            return Ok(());
        }
        rename.simple_offset_rename2()?;
        Err(EPERM)
    }
}

/// A directory in which all that is found has one handle.
struct Finder;

#[vtable]
impl InodeOperations for Finder {
    type FileSystem = Liar;

    fn lookup<'a>(lookup: Lookup<'a, Liar>) -> Result<Found<'a, Liar>> {
        let dir = lookup.dir();
        let sb: &SuperBlock<Liar> = dir.sb();
        let mut inode = new(
            sb,
            match lookup.name() {
                b"nothing" => return Ok(lookup.nothing()),
                b"dir" => Mode::dir(0o755),
                _ => Mode::reg(0o644),
            },
        )?;

        for _ in 0..2 {
            inode.set_handle(7, 7);
        }
        dir.invalidate_names();
        sb.with_watched((7, 7), |inode| inode.invalidate_names());
        lookup.cache(inode)
    }

    fn unlink(unlink: Unlink<'_, Liar>) -> Result {
        if Dir::is_spared(unlink.dentry()) {
            return Ok(());
        }
        unlink.simple_unlink()?;
        Err(EPERM)
    }
}

/// A file that is never done.
struct Queued;

#[vtable]
impl FileOperations for Queued {
    type FileSystem = Liar;
    type Data = KBox<()>;

    fn open(_inode: &Inode<Liar>, _file: &LocalFile) -> Result<KBox<()>> {
        Ok(KBox::new((), GFP_KERNEL_ACCOUNT)?)
    }

    fn splice_read(_data: &(), _splice: &mut SpliceRead<'_, Liar>) -> Result<usize> {
        Ok(1)
    }

    fn mmap(_data: &(), _mapping: NewMapping<'_, Liar>) -> Result {
        Ok(())
    }

    fn read_iter(
        _inode: &Inode<Liar>,
        _kiocb: &mut Kiocb<'_, KBox<()>>,
        _to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        Err(EIOCBQUEUED)
    }
}

/// What belongs to an inode, and perhaps to another.
struct Shared(Arc<FirstSlot>);

impl Shared {
    fn new(slot: Arc<FirstSlot>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self(slot), GFP_KERNEL_ACCOUNT)?)
    }
}

/// What belongs to one or more inodes: the file that the first reader of "first" has opened, and
/// the map of a directory.
#[pin_data]
struct FirstSlot {
    #[pin]
    first: Mutex<Option<Arc<BackingFile>>>,
    #[pin]
    offsets: OffsetCtx,
}

impl FirstSlot {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                first <- new_mutex!(None, "liar::first"),
                offsets <- OffsetCtx::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }
}

/// An open "first". A backing file holds the mount: the slot is emptied by the task that closes it.
struct OpenFirst {
    slot: Arc<FirstSlot>,
    backing: Arc<BackingFile>,
}

impl Drop for OpenFirst {
    fn drop(&mut self) {
        let first = self.slot.first.lock().take();

        drop(first);
    }
}

/// A file with one backing file for all.
struct First;

#[vtable]
impl FileOperations for First {
    type FileSystem = Liar;
    type Data = KBox<OpenFirst>;

    fn open(inode: &Inode<Liar>, file: &LocalFile) -> Result<Self::Data> {
        let slot = inode.data().0.clone();
        let mut first = slot.first.lock();
        let backing = match first.as_ref() {
            Some(first) => first.clone(),
            None => {
                let path = Path::shmem_kernel_file(c"liar", None, b"of shmem\n")?;

                Arc::new(BackingFile::open(file, &path)?, GFP_KERNEL_ACCOUNT)?
            }
        };

        if first.is_none() && file.f_mode() & fmode::WRITE == 0 {
            *first = Some(backing.clone());
        }
        drop(first);
        Ok(KBox::new(OpenFirst { slot, backing }, GFP_KERNEL_ACCOUNT)?)
    }

    fn can_odirect(_open: &OpenFirst) -> bool {
        true
    }

    fn llseek(open: &OpenFirst, seek: Seek<'_, Liar>) -> Result<Offset> {
        open.backing.llseek(seek)
    }

    fn splice_read(open: &OpenFirst, splice: &mut SpliceRead<'_, Liar>) -> Result<usize> {
        let _ = open.backing.splice_read(splice);
        let _ = open.backing.splice_read(splice);

        Ok(usize::MAX)
    }

    fn mmap(open: &OpenFirst, mapping: NewMapping<'_, Liar>) -> Result {
        open.backing.mmap(mapping)?;
        Err(EPERM)
    }

    fn get_unmapped_area<'a>(
        open: &OpenFirst,
        area: UnmappedArea<'a, Liar>,
    ) -> Result<FreeArea<'a>> {
        open.backing.get_unmapped_area(area)
    }

    fn read_iter(
        _inode: &Inode<Liar>,
        kiocb: &mut Kiocb<'_, Self::Data>,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        kiocb.file().backing.read_iter(to, kiocb)
    }
}
