// SPDX-License-Identifier: GPL-2.0-only

//! Trees of files: the contents of a directory, to the last byte, and the calls that change it.

use crate::many::{write_stream, Stream};
use crate::ops::Args;
use crate::{quote, sys, unescape, usage, Failure, Outcome};
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, CWD,
};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

fn digest(path: &Path) -> Result<String, Failure> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut buf = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buf)?;
        if n == 0 {
            return Ok(format!("{:x}", sum.finalize()));
        }
        sum.update(&buf[..n]);
    }
}

/// The names of the extended attributes of `path` itself, sorted.
pub fn xattr_names(path: &Path) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buf = vec![0u8; 1 << 16];
    let n = match rustix::fs::llistxattr(path, &mut buf[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut names: Vec<Vec<u8>> = buf[..n]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    names.sort();
    Ok(names)
}

pub fn xattr_value(path: &Path, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
    let mut buf = vec![0u8; 1 << 16];
    let n = rustix::fs::lgetxattr(path, name, &mut buf[..])?;
    buf.truncate(n);
    Ok(buf)
}

fn describe(top: &Path, path: &Path, contents: bool, out: &mut String) -> Result<(), Failure> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () => '-',
    };
    let name = path
        .strip_prefix(top)
        .unwrap_or(path)
        .as_os_str()
        .as_bytes();
    let _ = write!(
        out,
        "{} {letter} {:04o} {}:{} {}.{:09} size={} links={} rdev={}",
        quote(if name.is_empty() { b"." } else { name }),
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        // The size of a directory counts its names, as on tmpfs.
        meta.len(),
        meta.nlink(),
        meta.rdev(),
    );
    if kind.is_file() && contents {
        let _ = write!(out, " {}", digest(path)?);
    }
    if kind.is_symlink() {
        let _ = write!(
            out,
            " -> {}",
            quote(fs::read_link(path)?.as_os_str().as_bytes())
        );
    }
    for name in xattr_names(path)? {
        let value = xattr_value(path, &name)?;
        let _ = write!(out, " {}={}", String::from_utf8_lossy(&name), quote(&value));
    }
    out.push('\n');
    if kind.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            describe(top, &entry.path(), contents, out)?;
        }
    }
    Ok(())
}

/// `manifest DIR [FILE|-]`: a line for all that is in DIR, DIR included: name, type, mode, owner,
/// mtime to the nanosecond, size, links, device, SHA-256 or target, extended attributes; into FILE, else
/// printed. `attributes DIR [FILE]`: the same without opening any file.
pub fn manifest(args: &Args<'_>, contents: bool) -> Outcome {
    let top = Path::new(args.text(0)?);
    let mut out = String::new();
    describe(top, top, contents, &mut out)?;
    match args.text(1) {
        Ok(path) if path != "-" => {
            fs::write(path, &out)?;
            Ok(Some(String::new()))
        }
        _ => Ok(Some(out.trim_end().to_string())),
    }
}

/// `make-tree DIR DIRS FILES SEED`: DIRS directories, nested, with FILES files in all: of 0 to 9000
/// bytes, with modes, owners, times to the nanosecond, attributes, symlinks and hard links.
pub fn make_tree(args: &Args<'_>) -> Outcome {
    let top = Path::new(args.text(0)?);
    let (dirs, files, seed): (u64, u64, u64) = (args.number(1)?, args.number(2)?, args.number(3)?);
    let mut stream = Stream::new(seed);
    let mut folders = vec![top.to_path_buf()];
    for n in 1..dirs {
        let parent = &folders[(stream.next() % folders.len() as u64) as usize];
        let path = parent.join(format!("dir {n}"));
        fs::create_dir(&path)?;
        folders.push(path);
    }
    for n in 0..files {
        let path = folders[(n % folders.len() as u64) as usize].join(format!("f{n}"));
        let size = match n % 10 {
            0 => 0,
            1..=6 => stream.next() % 300,
            7 | 8 => stream.next() % 4097,
            _ => stream.next() % 9000,
        };
        let file = File::create(&path)?;
        write_stream(file.as_fd(), stream.next(), size)?;
        let id = (stream.next() % 3 * 1000) as u32;
        if id != 0 {
            std::os::unix::fs::chown(&path, Some(id), Some(id + 1))?;
        }
        let modes = [0o644, 0o600, 0o4755, 0o2711, 0o1666, 0o000];
        fs::set_permissions(&path, fs::Permissions::from_mode(modes[(n % 6) as usize]))?;
        if n % 7 == 0 {
            let value = format!("value {n}");
            rustix::fs::lsetxattr(&path, "user.test", value.as_bytes(), XattrFlags::empty())?;
        }
        set_times(
            &path,
            1_000_000_000 + n as i64 * 977,
            (stream.next() % 1_000_000_000) as i64,
        )?;
        if n % 50 == 3 {
            let link = folders[(n * 7 % folders.len() as u64) as usize].join(format!("link{n}"));
            fs::hard_link(&path, link)?;
        }
        if n % 50 == 4 {
            let link = path.with_file_name(format!("symlink{n}"));
            std::os::unix::fs::symlink(format!("../f{n}"), link)?;
        }
    }
    for (n, path) in folders.iter().enumerate().rev() {
        let modes = [0o755, 0o700, 0o2775, 0o1777];
        fs::set_permissions(path, fs::Permissions::from_mode(modes[n % 4]))?;
        set_times(path, 900_000_000 + n as i64, n as i64 * 1001)?;
    }
    Ok(None)
}

fn set_times(path: &Path, sec: i64, nsec: i64) -> rustix::io::Result<()> {
    let time = Timespec {
        tv_sec: sec,
        tv_nsec: nsec,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// `utime PATH SEC NSEC`
pub fn utime(args: &Args<'_>) -> Outcome {
    set_times(Path::new(args.text(0)?), args.number(1)?, args.number(2)?)?;
    Ok(None)
}

/// `setxattr PATH NAME VALUE [create|replace]`
pub fn setxattr(args: &Args<'_>) -> Outcome {
    let flags = match args.text(3) {
        Ok("create") => XattrFlags::CREATE,
        Ok("replace") => XattrFlags::REPLACE,
        Ok(other) => return usage(format!("{other}: no such flag")),
        Err(_) => XattrFlags::empty(),
    };
    rustix::fs::lsetxattr(
        args.text(0)?,
        args.text(1)?,
        &unescape(args.text(2)?),
        flags,
    )?;
    Ok(None)
}

/// `many-xattrs PATH N SIZE`: N attributes of SIZE bytes, user.0 and on.
pub fn many_xattrs(args: &Args<'_>) -> Outcome {
    let count: u64 = args.number(1)?;
    let value = vec![b'x'; args.number(2)?];

    for n in 0..count {
        let name = format!("user.{n}");
        rustix::fs::lsetxattr(args.text(0)?, name, &value, XattrFlags::empty())?;
    }
    Ok(None)
}

/// `getxattr PATH NAME`
pub fn getxattr(args: &Args<'_>) -> Outcome {
    let name = args.text(1)?;
    let value = xattr_value(Path::new(args.text(0)?), name.as_bytes())?;
    Ok(Some(format!("{name}: {}", quote(&value))))
}

/// `listxattr PATH`
pub fn listxattr(args: &Args<'_>) -> Outcome {
    let names = xattr_names(Path::new(args.text(0)?))?;
    let names: Vec<_> = names
        .iter()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    Ok(Some(format!("xattrs: {}", names.join(" "))))
}

/// `removexattr PATH NAME`
pub fn removexattr(args: &Args<'_>) -> Outcome {
    Ok(rustix::fs::lremovexattr(args.text(0)?, args.text(1)?).map(|()| None)?)
}

/// `rename OLD NEW [noreplace|exchange|whiteout]`
pub fn rename(args: &Args<'_>) -> Outcome {
    let flags = match args.text(2) {
        Ok("noreplace") => RenameFlags::NOREPLACE,
        Ok("exchange") => RenameFlags::EXCHANGE,
        Ok("whiteout") => RenameFlags::WHITEOUT,
        Ok(other) => return usage(format!("{other}: no such flag")),
        Err(_) => RenameFlags::empty(),
    };
    Ok(rustix::fs::renameat_with(CWD, args.text(0)?, CWD, args.text(1)?, flags).map(|()| None)?)
}

/// `link-fd FD PATH`: gives the open file FD, perhaps of O_TMPFILE, a name.
pub fn link_fd(args: &Args<'_>) -> Outcome {
    let from = format!("/proc/self/fd/{}", args.fd(0)?);
    rustix::fs::linkat(CWD, from, CWD, args.text(1)?, AtFlags::SYMLINK_FOLLOW)?;
    Ok(None)
}

/// `bind PATH`: a socket's name.
pub fn bind(args: &Args<'_>) -> Outcome {
    std::os::unix::net::UnixListener::bind(args.text(0)?)?;
    Ok(None)
}

/// `fallocate FD alloc|keep|punch|zero|collapse|insert OFFSET LENGTH`
pub fn fallocate(args: &Args<'_>) -> Outcome {
    let mode = match args.text(1)? {
        "alloc" => FallocateFlags::empty(),
        "keep" => FallocateFlags::KEEP_SIZE,
        "punch" => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        "zero" => FallocateFlags::ZERO_RANGE,
        "collapse" => FallocateFlags::COLLAPSE_RANGE,
        "insert" => FallocateFlags::INSERT_RANGE,
        other => return usage(format!("{other}: no such mode")),
    };
    rustix::fs::fallocate(sys::fd(args.fd(0)?), mode, args.number(2)?, args.number(3)?)?;
    Ok(None)
}

/// `pwrite FD OFFSET TEXT`
pub fn pwrite(args: &Args<'_>) -> Outcome {
    let text = unescape(args.text(2)?);
    let n = rustix::io::pwrite(sys::fd(args.fd(0)?), &text, args.number(1)?)?;
    if n == text.len() {
        Ok(None)
    } else {
        Ok(Some(format!("pwrite: {n} bytes of {}", text.len())))
    }
}

/// `pread FD OFFSET LENGTH`
pub fn pread(args: &Args<'_>) -> Outcome {
    let mut buf = vec![0; args.number(2)?];
    let n = rustix::io::pread(sys::fd(args.fd(0)?), &mut buf[..], args.number(1)?)?;
    Ok(Some(format!(
        "pread {}: {}",
        args.text(1)?,
        quote(&buf[..n])
    )))
}

/// `extents FD`: where it has data, as `FROM-TO`.
pub fn extents(args: &Args<'_>) -> Outcome {
    use rustix::fs::SeekFrom;
    let fd = sys::fd(args.fd(0)?);
    let mut out = String::from("extents:");
    let mut at = 0;
    while let Ok(from) = rustix::fs::seek(fd, SeekFrom::Data(at)) {
        at = rustix::fs::seek(fd, SeekFrom::Hole(from))?;
        let _ = write!(out, " {from}-{at}");
    }
    Ok(Some(out))
}

/// `map FD LENGTH shared|private|read NUMBER`: maps the file; `poke NUMBER OFFSET TEXT` and
/// `peek NUMBER OFFSET LENGTH` use the mapping.
pub fn map(args: &Args<'_>) -> Outcome {
    let (shared, write) = match args.text(2)? {
        "shared" => (true, true),
        "private" => (false, true),
        "read" => (true, false),
        other => return usage(format!("{other}: no such kind")),
    };
    sys::map(
        sys::fd(args.fd(0)?),
        args.number(1)?,
        shared,
        write,
        args.number(3)?,
    )?;
    Ok(None)
}

pub fn poke(args: &Args<'_>) -> Outcome {
    let text = unescape(args.text(2)?);
    let at: usize = args.number(1)?;
    match sys::mapping(args.number(0)?).and_then(|all| all.get_mut(at..at + text.len())) {
        Some(part) => {
            part.copy_from_slice(&text);
            Ok(None)
        }
        None => usage("outside of the mapping"),
    }
}

pub fn peek(args: &Args<'_>) -> Outcome {
    let at: usize = args.number(1)?;
    let length: usize = args.number(2)?;
    match sys::mapping(args.number(0)?).and_then(|all| all.get_mut(at..at + length)) {
        Some(part) => Ok(Some(format!("peek {at}: {}", quote(part)))),
        None => usage("outside of the mapping"),
    }
}

/// `aligned SLOT N`: whether the mapping begins at a multiple of N.
pub fn aligned(args: &Args<'_>) -> Outcome {
    let n: usize = args.number(1)?;
    match sys::mapping(args.number(0)?) {
        Some(all) if (all.as_ptr() as usize).checked_rem(n) == Some(0) => Ok(None),
        Some(_) => Err(Failure::Wrong("not aligned".into())),
        None => usage("no mapping"),
    }
}

/// `remove-range SLOT AT LENGTH`: madvise(MADV_REMOVE) of a part of the mapping.
pub fn remove_range(args: &Args<'_>) -> Outcome {
    sys::remove_range(args.number(0)?, args.number(1)?, args.number(2)?)?;
    Ok(None)
}

/// `advise-huge SLOT`: madvise(MADV_HUGEPAGE) of the mapping.
pub fn advise_huge(args: &Args<'_>) -> Outcome {
    sys::advise_huge(args.number(0)?)?;
    Ok(None)
}

/// `list-changing DIR N`: makes N files, lists them a few at a time, and meanwhile removes every third
/// that was listed already and makes as many others: each that stays is listed exactly once.
pub fn list_changing(args: &Args<'_>) -> Outcome {
    let dir = Path::new(args.text(0)?);
    let count: usize = args.number(1)?;
    for n in 0..count {
        File::create(dir.join(format!("stays{n}")))?;
        File::create(dir.join(format!("goes{n}")))?;
    }
    let fd = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut buf = [std::mem::MaybeUninit::uninit(); 512];
    let mut entries = rustix::fs::RawDir::new(fd, &mut buf);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    let mut turn = 0;
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("goes") {
            match fs::remove_file(dir.join(&name)) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
            if turn < count {
                File::create(dir.join(format!("new{turn}")))?;
                turn += 1;
            }
        }
        *seen.entry(name).or_default() += 1;
    }
    let missing = (0..count)
        .filter(|n| seen.get(&format!("stays{n}")) != Some(&1))
        .count();
    if missing > 0 {
        return Err(Failure::Wrong(format!("{missing} files not listed once")));
    }
    Ok(None)
}

/// `list-preserved MOUNT N`: preserves 2 N memfds in the domain there, lists `fd_restore` a few at a time,
/// and meanwhile unpreserves each second one that was listed and preserves it by another name: each that
/// stays is listed exactly once, and none twice.
pub fn list_preserved(args: &Args<'_>) -> Outcome {
    let domain = Path::new(args.text(0)?);
    let count: usize = args.number(1)?;
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let files = (0..2 * count)
        .map(|_| rustix::fs::memfd_create("listed", flags))
        .collect::<Result<Vec<_>, _>>()?;
    let preserve = |n: usize, name: &str| {
        let command = format!("{} {name}", files[n].as_fd().as_raw_fd());
        fs::write(domain.join("fd_preserve"), command)
    };
    for n in 0..count {
        preserve(n, &format!("stays{n}"))?;
        preserve(count + n, &format!("goes{n}"))?;
    }
    let dir = domain.join("fd_restore");
    let dir = rustix::fs::open(&dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut buf = [std::mem::MaybeUninit::uninit(); 512];
    let mut entries = rustix::fs::RawDir::new(dir, &mut buf);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(Ok(n)) = name.strip_prefix("goes").map(str::parse::<usize>) {
            fs::write(domain.join("fd_unpreserve"), &name)?;
            preserve(count + n, &format!("new{n}"))?;
        }
        *seen.entry(name).or_default() += 1;
    }
    let wrong = (0..count)
        .filter(|n| seen.get(&format!("stays{n}")) != Some(&1))
        .chain((0..count).filter(|n| seen.get(&format!("goes{n}")) != Some(&1)))
        .count();
    if wrong > 0 || seen.values().any(|&times| times != 1) {
        return Err(Failure::Wrong(format!("{wrong} names not listed once")));
    }
    Ok(None)
}

/// `list-from DIR NAME`: opens DIR, goes to the position that was after NAME in an earlier listing, as
/// a server of NFS does, and says what is listed there.
pub fn list_from(args: &Args<'_>) -> Outcome {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(args.text(0)?, flags, Mode::empty()).map_err(Failure::from)
    };
    let mut buf = [std::mem::MaybeUninit::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(open()?, &mut buf);
    let after = loop {
        match entries.next() {
            None => return Err(Failure::Wrong("the name is not listed".into())),
            Some(entry) => {
                let entry = entry?;
                if entry.file_name().to_bytes() == args.text(1)?.as_bytes() {
                    break entry.next_entry_cookie();
                }
            }
        }
    };
    let dir = open()?;
    rustix::fs::seek(&dir, rustix::fs::SeekFrom::Start(after))?;
    let mut buf = [std::mem::MaybeUninit::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(dir, &mut buf);
    let mut all = String::from("list-from:");
    while let Some(entry) = entries.next() {
        let _ = write!(all, " {}", entry?.file_name().to_string_lossy());
    }
    Ok(Some(all))
}

/// `statfs DIR`: blocks of 4096 bytes and inodes, in all and free.
pub fn statfs(args: &Args<'_>) -> Outcome {
    let s = rustix::fs::statfs(args.text(0)?)?;
    Ok(Some(format!(
        "statfs: blocks {} free {} inodes {} free {}",
        s.f_blocks, s.f_bfree, s.f_files, s.f_ffree
    )))
}

/// `small-files DIR N SIZE`: N files of SIZE bytes in DIR.
pub fn small_files(args: &Args<'_>) -> Outcome {
    let (count, size): (u64, u64) = (args.number(1)?, args.number(2)?);
    for n in 0..count {
        let file = File::create(Path::new(args.text(0)?).join(format!("small{n}")))?;
        write_stream(file.as_fd(), n, size)?;
    }
    Ok(None)
}
