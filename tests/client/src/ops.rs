// SPDX-License-Identifier: GPL-2.0-only

//! The operations, by name.

use crate::{
    attr, bench, broker, control, differ, folios, luo, many, model, mounts, names, quote, scale,
    soak, space, stress, sys, times, tree, unescape, usage, watch, Failure, Outcome,
};
use rustix::fd::RawFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, SeekFrom};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The words of one operation.
pub struct Args<'a>(pub &'a [String]);

impl Args<'_> {
    pub fn text(&self, n: usize) -> Result<&str, Failure> {
        match self.0.get(n) {
            Some(word) => Ok(word),
            None => usage(format!("word {} is missing", n + 1)),
        }
    }

    pub fn number<T: std::str::FromStr>(&self, n: usize) -> Result<T, Failure> {
        let word = self.text(n)?;
        word.parse()
            .or_else(|_| usage(format!("{word}: not a number")))
    }

    pub fn fd(&self, n: usize) -> Result<RawFd, Failure> {
        self.number(n)
    }
}

/// Runs the operation `name`.
pub fn run(name: &str, words: &[String]) -> Outcome {
    let args = Args(words);
    match name {
        "differ" => differ::differ(&args),
        // Files
        "memfd" => memfd(&args),
        "open" => open(&args),
        "close" => Ok(sys::close(args.fd(0)?).map(|()| None)?),
        "dup" => dup(&args),
        "write" => write(&args),
        "bytes" => bytes(&args),
        "read" => read(&args),
        "seek" => seek(&args),
        "pos" => pos(&args),
        "truncate" => {
            Ok(rustix::fs::ftruncate(sys::fd(args.fd(0)?), args.number(1)?).map(|()| None)?)
        }
        "seal" => seal(&args),
        "seals" => seals(&args),
        "cloexec" => cloexec(&args),
        "setfl" => setfl(&args),
        "getfl" => getfl(&args),
        "pipe" => pipe(&args),
        "eventfd" => eventfd(&args),
        "socket" => socket(&args),
        "sendfile" => sendfile(&args),
        "splice" => splice(&args),
        "fsync" => control::fsync(&args),
        "readv" => control::readv(&args),
        "writev" => control::writev(&args),
        "whole" => control::whole(&args),
        "write-whole" => control::write_whole(&args),
        "copy-range" => copy_range(&args),
        "fioqsize" => Ok(Some(format!(
            "fioqsize: {}",
            sys::fioqsize(sys::fd(args.fd(0)?))?
        ))),
        "fill" => many::fill(&args),
        "check" => many::check(&args),
        "eat" => many::eat(&args),
        "preserve-many" => many::preserve_many(&args),
        "verify-many" => many::verify_many(&args),
        // Trees
        "manifest" => tree::manifest(&args, true),
        "attributes" => tree::manifest(&args, false),
        "make-tree" => tree::make_tree(&args),
        "small-files" => tree::small_files(&args),
        "many-names" => names::many_names(&args),
        "check-names" => names::check_names(&args),
        "utime" => tree::utime(&args),
        "setxattr" => tree::setxattr(&args),
        "many-xattrs" => tree::many_xattrs(&args),
        "getxattr" => tree::getxattr(&args),
        "listxattr" => tree::listxattr(&args),
        "removexattr" => tree::removexattr(&args),
        "rename" => tree::rename(&args),
        "link-fd" => tree::link_fd(&args),
        "bind" => tree::bind(&args),
        "fallocate" => tree::fallocate(&args),
        "pwrite" => tree::pwrite(&args),
        "pread" => tree::pread(&args),
        "extents" => tree::extents(&args),
        "map" => tree::map(&args),
        "poke" => tree::poke(&args),
        "peek" => tree::peek(&args),
        "aligned" => tree::aligned(&args),
        "remove-range" => tree::remove_range(&args),
        "advise-huge" => tree::advise_huge(&args),
        "pfns" => folios::pfns(&args),
        "folios" => folios::folios(&args),
        "collapse" => folios::collapse(&args),
        "list-changing" => tree::list_changing(&args),
        "list-preserved" => tree::list_preserved(&args),
        "list-from" => tree::list_from(&args),
        "statfs" => tree::statfs(&args),
        "space" => space::space(&args),
        "changes" => times::changes(&args),
        "access-time" => times::access_time(&args),
        "first-open-race" => times::first_open_race(&args),
        "lsattr" => attr::lsattr(&args),
        "chattr" => attr::chattr(&args),
        "fsxattr" => attr::fsxattr(&args),
        "statx" => attr::statx(&args),
        "identity" => attr::identity(&args),
        "handle" => attr::handle(&args),
        "open-handle" => attr::open_handle(&args),
        "fanotify" => attr::fanotify(&args),
        "fanotify-read" => attr::fanotify_read(&args),
        "bench" => bench::bench(&args),
        "timed" => scale::timed(&args),
        "scale-files" => scale::files(&args),
        "scale-preserve" => scale::preserve(&args),
        "scale-unpreserve" => scale::unpreserve(&args),
        "scale-restore" => scale::restore(&args),
        "scale-mount" => scale::mount_many(&args),
        "scale-command" => scale::command(&args),
        "scale-sessions" => scale::sessions(&args),
        "scale-list" => scale::list(&args),
        "scale-drain" => scale::drain(&args),
        "scale-services" => broker::services(&args),
        "broker" => broker::broker(&args),
        "service" => broker::service(&args),
        "sched-fifo" => Ok(sys::sched_fifo().map(|()| None)?),
        "scale-console" => scale::console(&args),
        "scale-records" => scale::records(),
        "scale-kexec" => scale::kexec(),
        "memory-free" => scale::memory_free(&args),
        // The process
        "as" => become_user(&args),
        "nocaps" => no_capabilities(),
        "userns" => own_user_namespace(),
        "nofile" => nofile(&args),
        "sleep" => sleep(&args),
        "wait" => wait(&args),
        "touch" => touch(&args),
        "run" => run_command(&args),
        "exec" => Err(command(&args)?.exec().into()),
        "kexec" => kexec(),
        // Events
        "poll" => watch::poll(&args),
        "inotify" => watch::inotify(&args),
        "inotify-names" => watch::inotify_names(&args),
        "inotify-file" => watch::inotify_file(&args),
        // Mounts
        "mount" => mounts::mount(&args),
        "umount" => mounts::umount(&args),
        "fsopen" => mounts::fsopen(&args),
        "fspick" => mounts::fspick(&args),
        "set" => mounts::set(&args),
        "flag" => mounts::flag(&args),
        "create" => mounts::create(&args),
        "create-excl" => mounts::create_exclusive(&args),
        "reconfigure" => mounts::reconfigure(&args),
        "log" => mounts::log(&args),
        "fsmount" => mounts::fsmount(&args),
        "open-tree" => mounts::open_tree(&args),
        "idmap" => mounts::idmap(&args),
        "attach" => mounts::attach(&args),
        "userns-idle" => mounts::userns_idle(),
        // The other face
        "luo-create" => luo_session(&args, luo::create),
        "luo-retrieve" => luo_session(&args, luo::retrieve),
        "luo-create-many" => luo_create_many(&args),
        "luo-preserve" => {
            Ok(luo::preserve(sys::fd(args.fd(0)?), args.fd(1)?, args.number(2)?).map(|()| None)?)
        }
        "luo-fetch" => luo_fetch(&args),
        "luo-preserve-many" => bench::luo_preserve_many(&args),
        "luo-finish" => Ok(luo::finish(sys::fd(args.fd(0)?)).map(|()| None)?),
        "luo-name" => Ok(Some(format!(
            "luo-name: {}",
            luo::name(sys::fd(args.fd(0)?))?
        ))),
        "ticks" => Ok(Some(format!("ticks {}", sys::ticks()))),
        // Under stress
        "stall" => stress::stall(&args),
        "stall-list" => stress::stall_list(&args),
        "ask-tmpfile" => stress::ask_tmpfile(&args),
        "model" => model::model(&args),
        "model-check" => model::model_check(&args),
        "hammer" => stress::hammer(&args),
        "seek-race" => stress::seek_race(&args),
        "failsweep" => stress::failsweep(&args),
        "fail-nth" => stress::fail_nth(&args),
        "exhaust" => stress::exhaust(&args),
        "soak" => soak::soak(&args),
        other => usage(format!("{other}: no such operation")),
    }
}

/// `memfd FD [SIZE [NAME [FLAG,...]]]`: an empty file, SIZE bytes long (a hole). It may be sealed,
/// unless FLAGs are given: sealing, noexec, exec, none.
fn memfd(args: &Args<'_>) -> Outcome {
    let name = args.text(2).unwrap_or("kxclient");
    let mut flags = MemfdFlags::CLOEXEC;
    for word in args.text(3).unwrap_or("sealing").split(',') {
        flags |= match word {
            "sealing" => MemfdFlags::ALLOW_SEALING,
            "noexec" => MemfdFlags::NOEXEC_SEAL,
            "exec" => MemfdFlags::EXEC,
            "none" => MemfdFlags::empty(),
            _ => return usage(format!("{word}: no such flag")),
        };
    }
    let owned = rustix::fs::memfd_create(name, flags)?;
    if args.0.len() > 1 {
        rustix::fs::ftruncate(&owned, args.number(1)?)?;
    }
    sys::place(owned, args.fd(0)?)?;
    Ok(None)
}

/// `open FD PATH r|w|rw|path[,cloexec|,creat|,trunc|,append|,nonblock]...`
fn open(args: &Args<'_>) -> Outcome {
    let mut flags = OFlags::CLOEXEC;
    let mut cloexec = false;
    for word in args.text(2)?.split(',') {
        flags |= match word {
            "r" => OFlags::RDONLY,
            "w" => OFlags::WRONLY,
            "rw" => OFlags::RDWR,
            "path" => OFlags::PATH,
            "creat" => OFlags::CREATE,
            "trunc" => OFlags::TRUNC,
            "append" => OFlags::APPEND,
            "nonblock" => OFlags::NONBLOCK,
            "excl" => OFlags::EXCL,
            "tmpfile" => OFlags::TMPFILE,
            "cloexec" => {
                cloexec = true;
                OFlags::CLOEXEC
            }
            _ => return usage(format!("{word}: no such flag")),
        };
    }
    if !cloexec {
        flags &= !OFlags::CLOEXEC;
    }
    let owned = rustix::fs::open(args.text(1)?, flags, Mode::from_raw_mode(0o666))?;
    let n = args.fd(0)?;
    sys::place(owned, n)?;
    Ok(None)
}

fn dup(args: &Args<'_>) -> Outcome {
    let owned = rustix::io::dup(sys::fd(args.fd(0)?))?;
    sys::place(owned, args.fd(1)?)?;
    Ok(None)
}

/// `write FD TEXT`: one write(2) of TEXT, in which `\n` and the like are escapes.
fn write(args: &Args<'_>) -> Outcome {
    let text = unescape(args.text(1)?);
    let n = rustix::io::write(sys::fd(args.fd(0)?), &text)?;
    if n != text.len() {
        return Err(Failure::Wrong(format!("only {n} bytes")));
    }
    Ok(None)
}

/// `bytes FD N [BYTE]`: one write(2) of N times BYTE.
fn bytes(args: &Args<'_>) -> Outcome {
    let byte = args.text(2).map_or(b'x', |b| unescape(b)[0]);
    let text = vec![byte; args.number(1)?];
    let n = rustix::io::write(sys::fd(args.fd(0)?), &text)?;
    if n != text.len() {
        return Err(Failure::Wrong(format!("only {n} bytes")));
    }
    Ok(None)
}

/// `read FD [MAX]`: one read(2); prints the data.
fn read(args: &Args<'_>) -> Outcome {
    let max = if args.0.len() > 1 {
        args.number(1)?
    } else {
        4096
    };
    let mut buf = vec![0u8; max];
    let n = rustix::io::read(sys::fd(args.fd(0)?), &mut buf[..])?;
    Ok(Some(format!(
        "read {}: {}",
        args.text(0)?,
        quote(&buf[..n])
    )))
}

fn seek(args: &Args<'_>) -> Outcome {
    rustix::fs::seek(sys::fd(args.fd(0)?), SeekFrom::Start(args.number(1)?))?;
    Ok(None)
}

fn pos(args: &Args<'_>) -> Outcome {
    let at = rustix::fs::tell(sys::fd(args.fd(0)?))?;
    Ok(Some(format!("pos {}: {at}", args.text(0)?)))
}

const SEALS: [(&str, SealFlags); 6] = [
    ("seal", SealFlags::SEAL),
    ("shrink", SealFlags::SHRINK),
    ("grow", SealFlags::GROW),
    ("write", SealFlags::WRITE),
    ("future-write", SealFlags::FUTURE_WRITE),
    ("exec", SealFlags::EXEC),
];

/// `seal FD shrink,grow,...`
fn seal(args: &Args<'_>) -> Outcome {
    let mut set = SealFlags::empty();
    for word in args.text(1)?.split(',') {
        match SEALS.iter().find(|(name, _)| *name == word) {
            Some((_, flag)) => set |= *flag,
            None => return usage(format!("{word}: no such seal")),
        }
    }
    rustix::fs::fcntl_add_seals(sys::fd(args.fd(0)?), set)?;
    Ok(None)
}

fn seals(args: &Args<'_>) -> Outcome {
    let set = rustix::fs::fcntl_get_seals(sys::fd(args.fd(0)?))?;
    let names: Vec<&str> = SEALS
        .iter()
        .filter(|(_, flag)| set.contains(*flag))
        .map(|(name, _)| *name)
        .collect();
    Ok(Some(format!(
        "seals {}: {}",
        args.text(0)?,
        names.join(",")
    )))
}

fn cloexec(args: &Args<'_>) -> Outcome {
    let flags = rustix::io::fcntl_getfd(sys::fd(args.fd(0)?))?;
    let set = flags.contains(rustix::io::FdFlags::CLOEXEC);
    Ok(Some(format!("cloexec: {}", if set { "yes" } else { "no" })))
}

const STATUS_FLAGS: [(&str, OFlags); 3] = [
    ("append", OFlags::APPEND),
    ("nonblock", OFlags::NONBLOCK),
    ("noatime", OFlags::NOATIME),
];

/// `setfl FD append,nonblock,...`: by F_SETFL.
fn setfl(args: &Args<'_>) -> Outcome {
    let mut set = OFlags::empty();
    for word in args.text(1)?.split(',') {
        match STATUS_FLAGS.iter().find(|(name, _)| *name == word) {
            Some((_, flag)) => set |= *flag,
            None => return usage(format!("{word}: no such flag")),
        }
    }
    rustix::fs::fcntl_setfl(sys::fd(args.fd(0)?), set)?;
    Ok(None)
}

/// `getfl FD`: those of the flags that are set.
fn getfl(args: &Args<'_>) -> Outcome {
    let set = rustix::fs::fcntl_getfl(sys::fd(args.fd(0)?))?;
    let names: Vec<&str> = STATUS_FLAGS
        .iter()
        .filter(|(_, flag)| set.contains(*flag))
        .map(|(name, _)| *name)
        .collect();
    Ok(Some(format!("getfl: {}", names.join(","))))
}

/// `pipe READ WRITE`
fn pipe(args: &Args<'_>) -> Outcome {
    let (r, w) = rustix::pipe::pipe()?;
    sys::place(r, args.fd(0)?)?;
    sys::place(w, args.fd(1)?)?;
    Ok(None)
}

fn eventfd(args: &Args<'_>) -> Outcome {
    let owned = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
    sys::place(owned, args.fd(0)?)?;
    Ok(None)
}

/// `socket FD OTHER`: a pair of connected sockets.
fn socket(args: &Args<'_>) -> Outcome {
    let (a, b) = std::os::unix::net::UnixStream::pair()?;
    sys::place(a.into(), args.fd(0)?)?;
    sys::place(b.into(), args.fd(1)?)?;
    Ok(None)
}

/// `sendfile OUT IN N`
fn sendfile(args: &Args<'_>) -> Outcome {
    let n = rustix::fs::sendfile(
        sys::fd(args.fd(0)?),
        sys::fd(args.fd(1)?),
        None,
        args.number(2)?,
    )?;
    Ok(Some(format!("sendfile: {n} bytes")))
}

/// `copy-range IN OUT N`: copy_file_range() at the positions of both.
fn copy_range(args: &Args<'_>) -> Outcome {
    let n = rustix::fs::copy_file_range(
        sys::fd(args.fd(0)?),
        None,
        sys::fd(args.fd(1)?),
        None,
        args.number(2)?,
    )?;
    Ok(Some(format!("copy-range: {n} bytes")))
}

/// `splice IN OUT N [nonblock]`
fn splice(args: &Args<'_>) -> Outcome {
    let flags = match args.text(3) {
        Ok("nonblock") => rustix::pipe::SpliceFlags::NONBLOCK,
        Ok(other) => return usage(format!("{other}: no such flag")),
        Err(_) => rustix::pipe::SpliceFlags::empty(),
    };
    let n = rustix::pipe::splice(
        sys::fd(args.fd(0)?),
        None,
        sys::fd(args.fd(1)?),
        None,
        args.number(2)?,
        flags,
    )?;
    Ok(Some(format!("splice: {n} bytes")))
}

/// `as UID GID`: the user UID, with no further groups and, unless UID is 0, no capabilities.
fn become_user(args: &Args<'_>) -> Outcome {
    let uid = rustix::process::Uid::from_raw(args.number(0)?);
    let gid = rustix::process::Gid::from_raw(args.number(1)?);
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // Without this /proc/self belongs to root, and `userns` could not write its maps.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    Ok(None)
}

fn no_capabilities() -> Outcome {
    use rustix::thread::{set_capabilities, CapabilitySet, CapabilitySets};
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(None)
}

/// `userns`: a user namespace of its own, in which the present user is root.
fn own_user_namespace() -> Outcome {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    sys::new_user_namespace()?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(None)
}

/// `nofile N`: the soft limit of descriptors; `full`: so low that no more can be had; `max`: the hard
/// limit.
fn nofile(args: &Args<'_>) -> Outcome {
    let hard = getrlimit(Resource::Nofile).maximum;
    let soft = match args.text(0)? {
        "max" => hard,
        "full" => {
            let probe = rustix::io::dup(sys::fd(0))?;
            use rustix::fd::AsRawFd;
            Some(probe.as_raw_fd() as u64)
        }
        _ => Some(args.number(0)?),
    };
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: soft,
            maximum: hard,
        },
    )?;
    Ok(None)
}

fn sleep(args: &Args<'_>) -> Outcome {
    std::thread::sleep(Duration::from_millis(args.number(0)?));
    Ok(None)
}

/// Waits for PATH to exist.
pub fn wait_for(path: &str, limit: Duration) -> Result<(), Failure> {
    let end = Instant::now() + limit;
    while !Path::new(path).exists() {
        if Instant::now() > end {
            return Err(Failure::Wrong(format!("{path} did not appear")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `wait PATH [MS]`: until PATH exists.
fn wait(args: &Args<'_>) -> Outcome {
    let ms = if args.0.len() > 1 {
        args.number(1)?
    } else {
        60_000
    };
    wait_for(args.text(0)?, Duration::from_millis(ms))?;
    Ok(None)
}

fn touch(args: &Args<'_>) -> Outcome {
    std::fs::write(args.text(0)?, "")?;
    Ok(None)
}

pub fn command(args: &Args<'_>) -> Result<Command, Failure> {
    let mut command = Command::new(args.text(0)?);
    command.args(
        args.0[1..]
            .iter()
            .map(|word| if word == "++" { "+" } else { word }),
    );
    Ok(command)
}

fn run_command(args: &Args<'_>) -> Outcome {
    let status = command(args)?.status()?;
    if !status.success() {
        return Err(Failure::Wrong(format!("{status}")));
    }
    Ok(Some(String::new()))
}

/// `kexec`: reboot(LINUX_REBOOT_CMD_KEXEC), now. It prints only if it is refused.
fn kexec() -> Outcome {
    rustix::system::reboot(rustix::system::RebootCommand::Kexec)?;
    Ok(None)
}

/// `luo-create DEV NAME FD`, `luo-retrieve DEV NAME FD`
fn luo_session(
    args: &Args<'_>,
    call: fn(rustix::fd::BorrowedFd<'_>, &str) -> rustix::io::Result<RawFd>,
) -> Outcome {
    let got = call(sys::fd(args.fd(0)?), args.text(1)?)?;
    if args.0.len() > 2 {
        let to = args.fd(2)?;
        dup_and_close(got, to)?;
    }
    Ok(None)
}

fn dup_and_close(got: RawFd, to: RawFd) -> Result<(), Failure> {
    if got != to {
        let owned = rustix::io::dup(sys::fd(got))?;
        sys::close(got)?;
        sys::place(owned, to)?;
    }
    Ok(())
}

/// `luo-create-many DEV PREFIX N`: sessions PREFIX0 and on, left open at whatever numbers.
fn luo_create_many(args: &Args<'_>) -> Outcome {
    for n in 0..args.number::<u32>(2)? {
        luo::create(sys::fd(args.fd(0)?), &format!("{}{n}", args.text(1)?))?;
    }
    Ok(None)
}

/// `luo-fetch SESSION TOKEN FD`
fn luo_fetch(args: &Args<'_>) -> Outcome {
    let got = luo::fetch(sys::fd(args.fd(0)?), args.number(1)?)?;
    dup_and_close(got, args.fd(2)?)?;
    Ok(None)
}
