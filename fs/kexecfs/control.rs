// SPDX-License-Identifier: GPL-2.0-only

//! `kexecfsctl`, the machine-wide view: which domains there are, what a kexec would make of them,
//! events for all of them, and a way to discard one.
//!
//! There is one superblock. Root mounts it on `/sys/fs/kexecfs`.

use crate::{
    check::check,
    domain::DomainInfo,
    files::{
        attr::set_attributes,
        command::{
            check_subject,
            read_command, //
        },
        text::{
            append,
            OpenText, //
        }, //
    },
    machine,
    registry::{
        registry,
        Registry, //
    },
    types::KexecFsCtl,
    watch::{
        self,
        notify_control,
        Changes,
        DOMAINS,
        STATE, //
    },
    words::{
        name::{
            Name,
            COMMAND_MAX, //
        },
        state::Event, //
    }, //
};
use core::marker::PhantomData;
use kernel::{
    errorfc,
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        file_ops::poll,
        param,
        Dentry,
        File,
        FileOperations,
        FileOps,
        FileSystem,
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

/// "kxct" in ASCII.
const MAGIC: u32 = 0x6b78_6374;

const GENERATION: &CStr = c"generation";
const CHECK: &CStr = c"check";
const DISCARD: &CStr = c"discard";

static PARAMETERS: param::Table<0> = param::Table::new([]);

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
        root.set_inode_ops(InodeOps::dir::<Fixed>())?;
        root.set_file_ops(FileOps::simple_dir())?;
        let root = sb.make_root(root)?;

        make_file(sb, root, STATE, 0o600, FileOps::new::<StateFile>())?;
        make_file(
            sb,
            root,
            GENERATION,
            0o400,
            FileOps::new::<ViewFile<GenerationView>>(),
        )?;
        make_file(
            sb,
            root,
            DOMAINS,
            0o400,
            FileOps::new::<ViewFile<DomainsView>>(),
        )?;
        make_file(
            sb,
            root,
            CHECK,
            0o400,
            FileOps::new::<ViewFile<CheckView>>(),
        )?;
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

    inode.set_inode_ops(InodeOps::file::<Fixed>())?;
    inode.set_file_ops(ops)?;
    root.start_creating(name)?.make_persistent(inode)?;
    Ok(())
}

/// The root directory and the files in it. Owners and modes can be changed.
struct Fixed;

#[vtable]
impl InodeOperations for Fixed {
    type FileSystem = KexecFsCtl;

    fn setattr(attr: SetAttr<'_, KexecFsCtl>) -> Result {
        set_attributes(attr)
    }
}

type OpenView = OpenText<Source>;

/// The text of a file, and how often that has changed.
struct Source {
    registry: Arc<Registry>,
    changes: &'static Changes,
}

/// The text of a file of the machine-wide view.
trait View: 'static {
    fn show(registry: &Registry, text: &mut KVVec<u8>) -> Result;
}

/// A file that is read.
struct ViewFile<V: View>(PhantomData<V>);

#[vtable]
impl<V: View> FileOperations for ViewFile<V> {
    type FileSystem = KexecFsCtl;
    type Data = Pin<KBox<OpenView>>;

    fn open(inode: &Inode<KexecFsCtl>, _file: &LocalFile) -> Result<Self::Data> {
        let registry = inode.data();

        let source = Source {
            registry: registry.into(),
            changes: watch::machine()?,
        };
        let count = source.changes.count();

        OpenText::new(source, count)
    }

    fn read(
        open: Pin<&OpenView>,
        file: &OpenFile<'_, KexecFsCtl>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        open.read(file, to, pos, |text| {
            open.mark_seen(open.source.changes.count());
            V::show(&open.source.registry, text)
        })
    }

    fn poll(open: Pin<&OpenView>, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, open.source.changes.changed());
        open.poll(open.source.changes.count())
    }
}

/// `state`: that of the whole machine.
struct StateView;

impl View for StateView {
    fn show(registry: &Registry, text: &mut KVVec<u8>) -> Result {
        append(text, fmt!("{}\n", registry.state().as_str()))
    }
}

/// The file `state`, which takes events for all domains.
struct StateFile;

#[vtable]
impl FileOperations for StateFile {
    type FileSystem = KexecFsCtl;
    type Data = Pin<KBox<OpenView>>;

    fn open(inode: &Inode<KexecFsCtl>, file: &LocalFile) -> Result<Self::Data> {
        ViewFile::<StateView>::open(inode, file)
    }

    fn read(
        open: Pin<&OpenView>,
        file: &OpenFile<'_, KexecFsCtl>,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
    ) -> Result<usize> {
        ViewFile::<StateView>::read(open, file, to, pos)
    }

    fn write(
        open: Pin<&OpenView>,
        file: &OpenFile<'_, KexecFsCtl>,
        from: &mut UserSliceReader,
    ) -> Result<usize> {
        check_subject(file)?;
        let len = from.len();
        let mut buf = [0; COMMAND_MAX];

        match read_command(from, &mut buf, Event::from_bytes)? {
            None => {}
            Some(Event::Prepare) => machine::prepare(&open.source.registry)?,
            Some(Event::Cancel) => machine::cancel(&open.source.registry)?,
            // What waits is for its service to restore.
            Some(Event::Finish) => return Err(EINVAL),
        }
        Ok(len)
    }

    fn poll(open: Pin<&OpenView>, file: &File, table: PollTable<'_>) -> u32 {
        ViewFile::<StateView>::poll(open, file, table) | poll::OUT
    }
}

/// `check`: what would become of each domain by a kexec.
struct CheckView;

impl View for CheckView {
    fn show(registry: &Registry, text: &mut KVVec<u8>) -> Result {
        check(registry, text)
    }
}

/// `generation`: the number of live updates so far.
struct GenerationView;

impl View for GenerationView {
    fn show(_registry: &Registry, text: &mut KVVec<u8>) -> Result {
        append(text, fmt!("{}\n", liveupdate::generation()))
    }
}

/// `domains`: a line for each domain.
struct DomainsView;

impl View for DomainsView {
    fn show(registry: &Registry, text: &mut KVVec<u8>) -> Result {
        append(
            text,
            fmt!(
                "NAME STATE MOUNTED FILES BYTES HANDED_OVER OWNER MODE MAX_FDS SIZE NR_INODES \
                 INODES ERRORS PERSIST WAITING\n"
            ),
        )?;
        registry.for_each(|name, line| match line {
            Some(line) => show_line(name, &line, text),
            None => append(text, fmt!("{name} unreadable no - - - - - - - - - - - -\n")),
        })
    }
}

fn show_line(name: &Name, line: &DomainInfo, text: &mut KVVec<u8>) -> Result {
    let options = &line.options;

    append(
        text,
        fmt!(
            "{} {} {} {} {} {} {}:{} {:04o} {} {} {} {} {} {} ",
            name,
            line.state.as_str(),
            yes_or_no(line.mounted),
            line.files,
            line.bytes,
            line.handed_over,
            options.uid.val(),
            options.gid.val(),
            options.mode,
            options.max_fds,
            limit(options.max_bytes()),
            limit(options.max_inodes()),
            line.inodes,
            options.errors.as_str(),
            yes_or_no(options.persist)
        ),
    )?;
    match line.waiting {
        Some(seconds) => append(text, fmt!("{seconds}\n")),
        None => append(text, fmt!("-\n")),
    }
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
        let command = read_command(from, &mut buf, |command| {
            match command.strip_prefix(b"force ") {
                Some(name) => Ok((Name::of_domain(name)?, true)),
                None => Ok((Name::of_domain(command)?, false)),
            }
        })?;
        let Some((name, force)) = command else {
            return Ok(len);
        };

        registry.discard(&name, force).inspect_err(|&e| {
            let errno = e.name().unwrap_or(c"?");

            pr_info!("{name}: can't be discarded: {errno}\n");
        })?;
        notify_control();
        Ok(len)
    }
}
