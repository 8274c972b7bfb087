// SPDX-License-Identifier: GPL-2.0-only

//! `kexecfsctl`, the machine-wide view: which domains there are, and a way to discard one.
//!
//! There is one superblock. Root mounts it on `/sys/fs/kexecfs`.

use crate::{
    inode::{
        check_subject,
        read_command,
        tell, //
    },
    name::{
        Name,
        COMMAND_MAX, //
    },
    registry::{
        registry,
        Registry, //
    },
    text::{
        OpenText,
        Text, //
    }, //
};
use kernel::{
    errorfc,
    fmt::Write as _,
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        param,
        Dentry,
        File,
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
        SetAttr,
        SuperBlock, //
    },
    liveupdate,
    prelude::*,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    }, //
};

/// The type of file system.
pub(crate) static KEXECFSCTL: FileSystemType<KexecFsCtl> = FileSystemType::new();

/// "kxct" in ASCII.
const MAGIC: u32 = 0x6b78_6374;

const STATE: &CStr = c"state";
const GENERATION: &CStr = c"generation";
const DOMAINS: &CStr = c"domains";
const DISCARD: &CStr = c"discard";

static PARAMETERS: param::Table<0> = param::Table::new([]);

/// Tells who watches the machine-wide view that it has changed.
///
/// Takes the `s_umount` of its superblock: not inside a gate, or under a lock of a domain.
pub(crate) fn tell_control() {
    if let Ok(registry) = registry() {
        registry.has_changed();
    }
    KEXECFSCTL.iterate_supers_type(&mut |sb| {
        tell(sb, STATE);
        tell(sb, DOMAINS);
    });
}

/// kexecfsctl.
pub(crate) struct KexecFsCtl;

#[vtable]
impl FileSystem for KexecFsCtl {
    type Context = ();
    type Info = Arc<Registry>;
    type InodeData = Arc<Registry>;

    const NAME: &'static CStr = c"kexecfsctl";
    const FLAGS: i32 = 0;
    const PARAMETERS: param::Parameters = PARAMETERS.parameters();

    fn init_fs_context(_fc: &FsContext<'_, Self>) -> Result<KBox<()>> {
        Ok(KBox::new((), GFP_KERNEL_ACCOUNT)?)
    }

    fn parse_param(_fc: &mut FsContext<'_, Self>, _opt: u8, _value: param::Value<'_>) -> Result {
        Err(EINVAL)
    }

    fn get_tree(fc: &mut NewTree<'_, Self>) -> Result {
        let registry = registry().inspect_err(|_| errorfc!(fc, "live update is off"))?;

        fc.get_tree_keyed(registry.clone())?;
        Ok(())
    }

    fn fill_super(sb: &NewSuperBlock<'_, Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        sb.set_magic(MAGIC);

        let mut root = NewInode::new(sb, Mode::dir(0o700), sb.info().into())?;

        root.set_nlink(2);
        root.set_inode_ops(InodeOps::dir::<Fixed>());
        root.set_file_ops(FileOps::simple_dir());
        let root = sb.make_root(root)?;

        make_file(sb, root, STATE, 0o400, FileOps::new::<StateFile>())?;
        make_file(sb, root, GENERATION, 0o400, FileOps::new::<Generation>())?;
        make_file(sb, root, DOMAINS, 0o400, FileOps::new::<Domains>())?;
        make_file(sb, root, DISCARD, 0o200, FileOps::new::<Discard>())
    }

    fn reconfigure(_sb: &SuperBlock<Self>, _fc: &mut FsContext<'_, Self>) -> Result {
        Ok(())
    }
}

fn make_file(
    sb: &SuperBlock<KexecFsCtl>,
    root: &Dentry<KexecFsCtl>,
    name: &CStr,
    permissions: u16,
    ops: FileOps<KexecFsCtl>,
) -> Result {
    let mut inode = NewInode::new(sb, Mode::reg(permissions), sb.info().into())?;

    inode.set_inode_ops(InodeOps::file::<Fixed>());
    inode.set_file_ops(ops);
    root.start_creating(name)?.make_persistent(inode)?;
    Ok(())
}

/// The root directory and what is in it. Owners and modes can be changed.
struct Fixed;

#[vtable]
impl InodeOperations for Fixed {
    type FileSystem = KexecFsCtl;

    fn setattr(mut attr: SetAttr<'_, KexecFsCtl>) -> Result {
        attr.ignore_size();
        attr.prepare()?;
        attr.copy();
        Ok(())
    }
}

type OpenView = OpenText<Arc<Registry>>;

fn open_view(inode: &Inode<KexecFsCtl>) -> Result<Pin<KBox<OpenView>>> {
    OpenText::new(inode.data().into(), |registry: &Arc<Registry>| {
        registry.changes()
    })
}

fn poll_view(open: Pin<&OpenView>, file: &File, table: PollTable<'_>) -> u32 {
    table.register_wait(file, open.source.changed());
    open.poll(open.source.changes())
}

/// `state`: that of the whole machine.
struct StateFile;

#[vtable]
impl FileOperations for StateFile {
    type FileSystem = KexecFsCtl;
    type Data = Pin<KBox<OpenView>>;

    fn open(inode: &Inode<KexecFsCtl>, _file: &LocalFile) -> Result<Self::Data> {
        open_view(inode)
    }

    fn read(
        open: Pin<&OpenView>,
        file: &OpenFile<'_, KexecFsCtl>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            open.see(open.source.changes());
            Ok(writeln!(Text(text), "{}", open.source.state().as_str())?)
        })
    }

    fn poll(open: Pin<&OpenView>, file: &File, table: PollTable<'_>) -> u32 {
        poll_view(open, file, table)
    }
}

/// `generation`: the number of live updates so far.
struct Generation;

#[vtable]
impl FileOperations for Generation {
    type FileSystem = KexecFsCtl;
    type Data = Pin<KBox<OpenView>>;

    fn open(inode: &Inode<KexecFsCtl>, _file: &LocalFile) -> Result<Self::Data> {
        open_view(inode)
    }

    fn read(
        open: Pin<&OpenView>,
        file: &OpenFile<'_, KexecFsCtl>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            Ok(writeln!(Text(text), "{}", liveupdate::generation())?)
        })
    }
}

/// `domains`: a line for each domain.
struct Domains;

#[vtable]
impl FileOperations for Domains {
    type FileSystem = KexecFsCtl;
    type Data = Pin<KBox<OpenView>>;

    fn open(inode: &Inode<KexecFsCtl>, _file: &LocalFile) -> Result<Self::Data> {
        open_view(inode)
    }

    fn read(
        open: Pin<&OpenView>,
        file: &OpenFile<'_, KexecFsCtl>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            open.see(open.source.changes());
            write_domains(&open.source, &mut Text(text))
        })
    }

    fn poll(open: Pin<&OpenView>, file: &File, table: PollTable<'_>) -> u32 {
        poll_view(open, file, table)
    }
}

fn write_domains(registry: &Registry, text: &mut Text<'_>) -> Result {
    text.write_str(
        "NAME STATE MOUNTED FILES BYTES INODES HANDED_OVER UID GID MODE MAX_FDS SIZE NR_INODES \
         ERRORS PERSIST WAITING\n",
    )?;
    registry.for_each(|name, line| {
        text.write_fmt(fmt!("{name}"))?;
        let Some(line) = line else {
            text.write_str(" unreadable no - - - - - - - - - - - - -\n")?;
            return Ok(());
        };
        let options = &line.options;

        write!(
            text,
            " {} {} {} {} {} {} {} {} {:04o} {} {} {} {} {} ",
            line.state.as_str(),
            yes_or_no(line.mounted),
            line.files,
            line.bytes,
            line.inodes,
            line.handed_over,
            options.uid.val(),
            options.gid.val(),
            options.mode,
            options.max_fds,
            limit(options.max_bytes()),
            limit(options.max_inodes()),
            options.errors.as_str(),
            yes_or_no(options.persist),
        )?;
        match line.waiting {
            Some(seconds) => writeln!(text, "{seconds}")?,
            None => writeln!(text, "-")?,
        }
        Ok(())
    })
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes {
        "yes"
    } else {
        "no"
    }
}

/// A limit as it is shown: 0 if there is none, as in the mount options.
fn limit(limit: u64) -> u64 {
    if limit == u64::MAX {
        0
    } else {
        limit
    }
}

/// `discard`: drops a domain.
struct Discard;

#[vtable]
impl FileOperations for Discard {
    type FileSystem = KexecFsCtl;
    type Data = Arc<Registry>;

    fn open(inode: &Inode<KexecFsCtl>, _file: &LocalFile) -> Result<Self::Data> {
        Ok(inode.data().into())
    }

    fn write(
        registry: ArcBorrow<'_, Registry>,
        file: &OpenFile<'_, KexecFsCtl>,
        from: &mut UserSliceReader,
    ) -> Result<usize> {
        check_subject(file)?;
        let len = from.len();
        let mut buf = [0; COMMAND_MAX];
        let command = read_command(from, &mut buf)?;
        let (name, force) = match command.strip_prefix(b"force ") {
            Some(name) => (name, true),
            None => (command, false),
        };
        let name = Name::of_domain(name)?;

        registry.discard(&name, force).inspect_err(|&e| {
            let errno = e.name().unwrap_or(c"?");

            pr_info!("{name}: can't be discarded: {errno}\n");
        })?;
        tell_control();
        Ok(len)
    }
}
