// SPDX-License-Identifier: GPL-2.0-only

//! A file system that does what a file system must not, for tests.
//!
//! It says that it failed when it did something, and that it did what it didn't, forgets the
//! superblock that it is to tear down, and asks for what can't be. All of that is safe code: it
//! must harm nobody but itself.

use kernel::{
    fs::{
        param,
        Dentry,
        FileOps,
        FileSystem,
        FileSystemType,
        FsContext,
        Inode,
        InodeOperations,
        InodeOps,
        KillSuper,
        Link,
        Mode,
        NewEntry,
        NewInode,
        NewSuperBlock,
        NewTree,
        Rename,
        SuperBlock,
        Unlink, //
    },
    prelude::*, //
};

/// The type of file system.
pub(crate) static LIAR: FileSystemType<Liar> = FileSystemType::new();

static PARAMETERS: param::Table<0> = param::Table::new([]);

/// The file system.
pub(crate) struct Liar;

#[vtable]
impl FileSystem for Liar {
    type Context = ();
    type Info = KBox<u64>;
    type InodeData = KBox<u64>;

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

        let mut root = new(sb, Mode::dir(0o755))?;

        refused(root.set_symlink::<Dir>(c"no link"), EINVAL)?;
        root.set_offset_dir::<Dir>()?;
        root.set_inode_ops(InodeOps::file::<Dir>());

        let root: &Dentry<Self> = sb.make_root(root)?;

        refused(sb.set_stack_depth(1), EBUSY)?;
        refused(root.start_creating(c"link")?.link(root), EPERM)?;

        let gone = root
            .start_creating(c"gone")?
            .make_persistent(new(sb, Mode::reg(0o644))?)?;

        // Has to leave the offset map, too: else who reads the directory follows it.
        root.remove_by_name(c"gone");
        refused(root.start_creating(c"link")?.link(&gone), ENOENT)
    }

    fn reconfigure(_sb: &SuperBlock<Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        Ok(())
    }

    fn kill_sb(sb: KillSuper<'_, Self>) {
        core::mem::forget(sb);
    }
}

fn new(sb: &SuperBlock<Liar>, mode: Mode) -> Result<NewInode<'_, Liar>> {
    NewInode::new(sb, mode, KBox::new(0, GFP_KERNEL_ACCOUNT)?)
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
    fn make(entry: NewEntry<'_, Liar>) -> Result {
        if entry.name().starts_with(b"not") {
            return Ok(());
        }
        let mut inode = entry.new_inode(KBox::new(0, GFP_KERNEL_ACCOUNT)?)?;

        if inode.mode().is_dir() {
            inode.set_offset_dir::<Dir>()?;
        } else {
            inode.set_file_ops(FileOps::simple_dir())?;
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
        rename.simple_offset_rename(None)?;
        Err(EPERM)
    }
}
