// SPDX-License-Identifier: GPL-2.0-only

//! Mounts: the superblock of a domain.

use crate::{
    data::{
        attr::set_xattr,
        item::{
            item,
            DataInode,
            Node, //
        },
        restore::restore, //
    },
    domain::Domain,
    files::tree::{
        change_owner,
        make_tree,
        new_root, //
    },
    gate,
    registry::{
        registry,
        Mounting, //
    },
    types::KexecFs,
    watch::notify_control,
    words::{
        name::{
            IllegalDomain,
            Name,
            OptionValue, //
        },
        options::{
            Given,
            DOMAIN,
            PARAMETERS, //
        }, //
    }, //
};
use kernel::{
    errorfc,
    fs::{
        param,
        registration::flags,
        sb::{
            iflags,
            FilledSuperBlock, //
        },
        xattr::{
            SetXattr,
            SimpleXattrs, //
        },
        FileSystem,
        FsContext,
        Inode,
        KStatFs,
        KillSuper,
        NewSuperBlock,
        NewTree,
        SuperBlock, //
    },
    kho::abi::kexecfs as abi,
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
};

/// "kxfs" in ASCII.
const MAGIC: u32 = 0x6b78_6673;

/// The state of a mount that is being made.
#[derive(Default)]
pub(crate) struct Context {
    given: Given,
    /// What `domain=` names.
    name: Option<Name>,
    /// Keeps the domain until the superblock does.
    mounting: Option<Mounting>,
}

#[vtable]
impl FileSystem for KexecFs {
    type Context = Context;
    type Info = Arc<Domain>;
    type InodeData = KBox<Node>;

    const NAME: &'static CStr = c"kexecfs";
    // A rename has happened when it leaves the gate `Domain::changes`.
    const FLAGS: i32 = flags::ALLOW_IDMAP | flags::MGTIME | flags::RENAME_DOES_D_MOVE;
    const PARAMETERS: param::Parameters = PARAMETERS.parameters();

    fn init_fs_context(_fc: &FsContext<'_, Self>) -> Result<KBox<Context>> {
        Ok(KBox::new(Context::default(), GFP_KERNEL_ACCOUNT)?)
    }

    fn parse_param(fc: &mut FsContext<'_, Self>, opt: u8, value: param::Value<'_>) -> Result {
        if let (DOMAIN, param::Value::String(name)) = (opt, &value) {
            let name = domain_name(fc, "domain", name)?;

            match &mut fc.context()?.name {
                Some(before) if *before != name => {
                    errorfc!(fc, "domain= names two domains");
                    return Err(EINVAL);
                }
                given => *given = Some(name),
            }
            return Ok(());
        }
        fc.context()?.given.set(opt, value).map_err(|why| {
            errorfc!(fc, "{why}");
            EINVAL
        })
    }

    fn get_tree(fc: &mut NewTree<'_, Self>) -> Result {
        let by_option = fc.context()?.name.take();
        let named = by_option.is_some();
        let name = by_option.map_or_else(|| name_of_source(fc), Ok)?;
        let mounting = registry()
            .and_then(|registry| registry.find(&name))
            .inspect_err(|&e| {
                let why = if e == EIO {
                    "what was handed over can't be read"
                } else if e == ENODEV {
                    "live update is off"
                } else if e == EOPNOTSUPP {
                    "LUO has no handler for one of its files"
                } else if e == EBUSY {
                    "a reboot is under way"
                } else {
                    "the domain can't be had"
                };

                errorfc!(fc, "'{name}': {why}");
            })?;
        let domain = mounting.domain.clone();
        // All superblocks need not be searched for one that isn't there.
        let is_first = mounting.is_first;

        fc.context()?.mounting = Some(mounting);
        let new = if is_first {
            fc.get_tree_nodev(domain.clone()).map(|()| true)
        } else {
            fc.get_tree_keyed(domain.clone())
        };

        fc.context()?.mounting = None;
        if new? {
            if named {
                domain.set_named_by_option();
            }
            return Ok(());
        }
        let live = domain.options();
        let rdonly = fc.sb().is_some_and(|sb| sb.is_rdonly());

        if fc.context()?.given.over(live) != live || fc.is_rdonly() != rdonly {
            errorfc!(
                fc,
                "'{}' is mounted with other options: mount it without, or remount",
                domain.name
            );
            return Err(EBUSY);
        }
        if named {
            domain.set_named_by_option();
        }
        notify_control();
        Ok(())
    }

    fn fill_super(sb: &NewSuperBlock<'_, Self>, fc: &mut FsContext<'_, Self>) -> Result {
        let domain = sb.info();

        // First of all: `kill_sb` follows in any case.
        registry()?.mounted(&domain);
        // A reboot that follows waits for the end, and finds the superblock then.
        let inside = gate::enter()?;

        domain.check_alive()?;
        let options = fc.context()?.given.over(domain.options());

        sb.set_magic(MAGIC);
        // EVM would renew its HMAC after each change, when a prepare may forbid that.
        sb.set_iflags(iflags::NOEXEC | iflags::NODEV | iflags::EVM_HMAC_UNSUPPORTED);
        sb.set_nosec();
        sb.set_posixacl();
        // Its files lie above those of the kernel's own mount of shmem.
        sb.set_stack_depth(1)?;
        sb.set_simple_export_ops();
        sb.set_uuid(domain.identity.uuid());
        make_tree(sb, sb.make_root(new_root(sb, &options)?)?, &options)?;
        // Last: a mount that fails changes nothing.
        set_options(fc, &domain, || domain.set_options(options))?;
        drop(inside);
        Ok(())
    }

    fn filled(sb: &FilledSuperBlock<'_, Self>) {
        sb.info().keep_filled(sb);
        notify_control();
    }

    fn reconfigure(sb: &SuperBlock<Self>, fc: &mut FsContext<'_, Self>) -> Result {
        let domain = sb.info();

        domain.check_alive()?;
        // A program that remounts gives all options that it has found.
        let name = fc.context()?.name.take();

        if name.is_some_and(|name| name != domain.name) {
            errorfc!(fc, "'{}' is mounted here: domain= is another", domain.name);
            return Err(EINVAL);
        }
        let before = domain.options();
        let options = fc.context()?.given.over(before);
        let root = sb.root().ok_or(EINVAL)?;

        if options == before {
            return Ok(());
        }
        set_options(fc, &domain, || {
            let _inside = gate::enter()?;

            domain.set_options(options)
        })?;
        domain.keep(sb);
        notify_control();
        // Outside the gate: a reader of a directory keeps its lock as long as it likes.
        change_owner(root, &domain, &before, &options).inspect_err(|_| {
            // So that the same remount starts over. If a reboot has begun it can't, nor be undone.
            let _ = domain.set_options(before);
            domain.keep(sb);
            errorfc!(fc, "a file of '{}' is busy, try again", domain.name);
        })
    }

    fn show_options(sb: &SuperBlock<Self>, m: &SeqFile) -> Result {
        let domain = sb.info();

        if domain.is_named_by_option() {
            seq_print!(m, ",domain={}", OptionValue(&domain.name));
        }
        seq_print!(m, "{}", domain.options());
        Ok(())
    }

    fn xattrs(inode: &Inode<Self>) -> Option<&SimpleXattrs> {
        item(inode).ok().map(DataInode::xattrs)
    }

    fn set_xattr(change: SetXattr<'_, Self>) -> Result {
        set_xattr(change)
    }

    fn statfs(sb: &SuperBlock<Self>, buf: &mut KStatFs<'_>) -> Result {
        let domain = sb.info();
        let usage = domain.space.usage();
        let page = PAGE_SIZE as u64;

        // Without a limit nothing is told of it, as tmpfs does.
        if usage.max_bytes != u64::MAX {
            buf.set_blocks(usage.max_bytes / page, usage.left() / page);
        }
        if usage.max_inodes != u64::MAX {
            let free = usage.max_inodes.saturating_sub(usage.inodes());

            buf.set_files(usage.max_inodes, free);
        }
        buf.set_fsid(domain.identity.uuid());
        Ok(())
    }

    /// The tree that came in has handles of the previous kernel.
    fn before_fh_to_dentry(sb: &SuperBlock<Self>, ino: u64) -> Result {
        if ino < abi::INO_MIN {
            return Ok(());
        }
        restore(sb)
    }

    fn kill_sb(sb: KillSuper<'_, Self>) {
        // Before the superblock is dead: from then on the same domain can be mounted anew.
        if let Ok(registry) = registry() {
            registry.unmounted(&sb.info());
        }
        let domain = sb.kill_anon_super();

        if let Ok(registry) = registry() {
            registry.killed(&domain);
        }
        drop(domain);
        notify_control();
    }
}

/// The name of a domain in `word`, which the mounter gave as `as_what`.
fn domain_name(fc: &FsContext<'_, KexecFs>, as_what: &'static str, word: &CStr) -> Result<Name> {
    let word = word.to_bytes();

    Name::of_domain(word).inspect_err(|&e| {
        if e == EINVAL {
            errorfc!(fc, "{}", IllegalDomain { as_what, word });
        }
    })
}

/// The name of a domain in the source of the mount.
fn name_of_source(fc: &FsContext<'_, KexecFs>) -> Result<Name> {
    let Some(source) = fc.source() else {
        errorfc!(
            fc,
            "no source and no domain=: either is the name of the domain"
        );
        return Err(EINVAL);
    };

    domain_name(fc, "source", source).inspect_err(|&e| {
        // It may be none of the mounter's: the log of the context is not shown by all programs.
        if e == EINVAL && fc.has_log() {
            pr_err!(
                "{}\n",
                IllegalDomain {
                    as_what: "source",
                    word: source.to_bytes(),
                }
            );
        }
    })
}

/// Calls `set`, and tells the mounter why it failed.
fn set_options(
    fc: &FsContext<'_, KexecFs>,
    domain: &Domain,
    set: impl FnOnce() -> Result,
) -> Result {
    set().inspect_err(|&e| {
        if e == EBUSY {
            errorfc!(
                fc,
                "'{}' is prepared or a reboot is under way: its options are fixed",
                domain.name
            );
        } else if e == EINVAL {
            errorfc!(
                fc,
                "max_fds=, size= or nr_inodes= is below what '{}' holds",
                domain.name
            );
        }
    })
}
