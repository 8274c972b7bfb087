// SPDX-License-Identifier: GPL-2.0-only

//! Rust file system sample: a directory with a file that can be read.
//!
//! ```sh
//! mount -t rust_minifs none /mnt
//! cat /mnt/dir/hello
//! ```

use kernel::{
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        param,
        FileOperations,
        FileOps,
        FileSystem,
        FileSystemType,
        FsContext,
        Inode,
        InodeOperations,
        InodeOps,
        Mode,
        NewInode,
        NewSuperBlock,
        NewTree,
        OpenFile,
        Registration,
        SuperBlock, //
    },
    prelude::*,
    uaccess::UserSliceWriter, //
};

module! {
    type: MinifsModule,
    name: "rust_minifs",
    authors: ["The kexecfs authors"],
    description: "Rust file system sample",
    license: "GPL",
}

/// The file system. Neither its superblocks nor their inodes have any data, so all mounts show the
/// same superblock.
struct Minifs;

static MINIFS: FileSystemType<Minifs> = FileSystemType::new();
static PARAMETERS: param::Table<0> = param::Table::new([]);

#[vtable]
impl FileSystem for Minifs {
    type Context = ();
    type Info = ();
    type InodeData = ();

    const NAME: &'static CStr = c"rust_minifs";
    const FLAGS: i32 = 0;
    const PARAMETERS: param::Parameters = PARAMETERS.parameters();

    fn init_fs_context(_fc: &FsContext<'_, Self>) -> Result<KBox<()>> {
        Ok(KBox::new((), GFP_KERNEL)?)
    }

    fn get_tree(fc: &mut NewTree<'_, Self>) -> Result {
        fc.get_tree_keyed(()).map(|_is_new| ())
    }

    fn fill_super(sb: &NewSuperBlock<'_, Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        let root = sb.make_root(new_dir(sb, 3)?)?;
        let dir = root
            .start_creating(c"dir")?
            .make_persistent(new_dir(sb, 2)?)?;
        let mut file = NewInode::new(sb, Mode::reg(0o444), ())?;

        file.set_size(Hello::TEXT.len().try_into()?);
        file.set_file_ops(FileOps::new::<Hello>())?;
        dir.start_creating(c"hello")?.make_persistent(file)?;
        Ok(())
    }
}

fn new_dir(sb: &SuperBlock<Minifs>, nlink: u32) -> Result<NewInode<'_, Minifs>> {
    let mut dir = NewInode::new(sb, Mode::dir(0o555), ())?;

    dir.set_nlink(nlink);
    dir.set_inode_ops(InodeOps::dir::<Dir>())?;
    dir.set_file_ops(FileOps::simple_dir())?;
    Ok(dir)
}

/// A directory, in which nothing changes.
struct Dir;

#[vtable]
impl InodeOperations for Dir {
    type FileSystem = Minifs;
}

/// The file.
struct Hello;

impl Hello {
    const TEXT: &'static [u8] = b"Hello from a file system in Rust\n";
}

#[vtable]
impl FileOperations for Hello {
    type FileSystem = Minifs;
    type Data = ();

    fn open(_inode: &Inode<Minifs>, _file: &LocalFile) -> Result {
        Ok(())
    }

    fn read(
        _data: (),
        _file: &OpenFile<'_, Minifs>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        to.write_slice_file(Self::TEXT, pos)
    }
}

struct MinifsModule {
    _registration: Registration<Minifs>,
}

impl kernel::Module for MinifsModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: MINIFS.register()?,
        })
    }
}
