// SPDX-License-Identifier: GPL-2.0-only

//! The calls of one thread, each of which the model knows the end of.

use super::{inside, Inode, Kind, Model, Run, NAMES, SHARED};
use crate::many::Stream;
use crate::{errno_name, sys};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, XattrFlags, CWD};
use rustix::io::Errno;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::MutexGuard;

/// How many names there are before a thread takes care to have less.
const ENOUGH: usize = 12;

/// One thread's calls.
pub(super) struct Worker<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) me: usize,
    pub(super) random: Stream,
    pub(super) model: MutexGuard<'a, Model>,
}

type Call = rustix::io::Result<()>;

impl Worker<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next() % limit
    }

    fn full(&self, path: &str) -> PathBuf {
        self.run.data.join(path)
    }

    /// A path that is the thread's own: in a shared directory, or in one that it has made.
    fn path(&mut self) -> String {
        let dirs: Vec<&String> = self
            .model
            .names
            .iter()
            .filter(|(name, id)| {
                name.matches('/').count() < 4 && self.model.inodes[*id].kind == Kind::Dir
            })
            .map(|(name, _)| name)
            .collect();
        let pick = self.random.next() % (SHARED + dirs.len() as u64);
        let dir = match dirs.get(pick.wrapping_sub(SHARED) as usize) {
            Some(dir) if pick >= SHARED => (*dir).clone(),
            _ => format!("s{}", pick % SHARED),
        };
        format!("{dir}/t{}.{}", self.me, self.random.next() % NAMES)
    }

    /// One that is there, mostly.
    fn old(&mut self) -> String {
        let count = self.model.names.len() as u64;
        if count == 0 || self.below(16) == 0 {
            return self.path();
        }
        let n = self.below(count) as usize;
        self.model.names.keys().nth(n).cloned().unwrap_or_default()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(16) {
            0 if self.below(4) == 0 => self.below(9000),
            1..=3 => 0,
            _ => self.below(200),
        };
        let byte = self.below(256) as u8;
        (0..len).map(|n| byte.wrapping_add(n as u8)).collect()
    }

    /// Counts a call that the model wants to end as `expected`, and returns whether it succeeded. While
    /// the domain is prepared any may be EBUSY.
    fn check(&self, what: &str, expected: Result<(), Errno>, got: Call) -> bool {
        self.run.done.fetch_add(1, Ordering::Relaxed);
        if got == Err(Errno::BUSY) {
            self.run.refused.fetch_add(1, Ordering::Relaxed);
        } else if got != expected {
            let name = |r: Call| r.map_or_else(errno_name, |()| "ok".into());
            self.run
                .wrong(format!("{what}: {}, not {}", name(got), name(expected)));
        }
        got.is_ok()
    }

    pub(super) fn turn(&mut self) {
        if self.model.names.len() > ENOUGH && self.below(2) == 0 {
            let path = self.old();
            return match self.model.get(&path).is_some_and(Inode::is_dir) {
                true => self.rmdir(&path),
                false => self.unlink(&path),
            };
        }
        match self.below(24) {
            0..=2 => self.create(),
            3..=6 => self.write(),
            7 => self.truncate(),
            8 | 9 => self.tmpfile(),
            10 | 11 => self.mkdir(),
            12 => self.special(),
            13 => self.link(),
            14 => {
                let path = self.old();
                self.unlink(&path);
            }
            15 => {
                let path = self.old();
                self.rmdir(&path);
            }
            16..=18 => self.rename(RenameFlags::empty()),
            19 => self.rename(RenameFlags::EXCHANGE),
            20 => self.rename(if self.me & 1 == 0 {
                RenameFlags::NOREPLACE
            } else {
                RenameFlags::WHITEOUT
            }),
            21 => self.chmod(),
            22 => self.setxattr(),
            _ => self.removexattr(),
        }
    }

    /// The expected result of a call that makes `path`.
    fn free(&self, path: &str) -> Result<(), Errno> {
        match self.model.get(path) {
            Some(_) => Err(Errno::EXIST),
            None => Ok(()),
        }
    }

    fn create(&mut self) {
        let path = self.path();
        let mode = 0o600 + self.below(64) as u32;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let got = rustix::fs::open(self.full(&path), flags, Mode::from_raw_mode(mode));
        let (fd, got) = match got {
            Ok(fd) => (Some(fd), Ok(())),
            Err(e) => (None, Err(e)),
        };
        if self.check(&format!("create {path}"), self.free(&path), got) {
            self.model
                .add(&path, Inode::new(Kind::File(Vec::new()), mode));
        }
        if let Some(fd) = fd {
            let bytes = self.bytes();
            let written = self.pwrite(&path, fd, 0, &bytes);
            self.written(&path, 0, &bytes[..written]);
        }
    }

    /// How much of it was written.
    fn pwrite(&self, path: &str, fd: rustix::fd::OwnedFd, at: usize, bytes: &[u8]) -> usize {
        let got = rustix::io::pwrite(fd, bytes, at as u64);
        let what = format!("write {path}");
        if self.check(&what, Ok(()), got.map(|_| ())) {
            got.unwrap_or(0)
        } else {
            0
        }
    }

    fn written(&mut self, path: &str, at: usize, bytes: &[u8]) {
        if let Some(Kind::File(contents)) = self.model.get_mut(path).map(|inode| &mut inode.kind) {
            if !bytes.is_empty() {
                let len = contents.len().max(at + bytes.len());
                contents.resize(len, 0);
                contents[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    fn write(&mut self) {
        let path = self.old();
        let Some(Kind::File(contents)) = self.model.get(&path).map(|inode| &inode.kind) else {
            return;
        };
        let len = contents.len() as u64;
        let at = if self.below(2) == 0 {
            0
        } else {
            self.below(len + 1) as usize
        };
        let bytes = self.bytes();
        match rustix::fs::open(
            self.full(&path),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) => {
                let written = self.pwrite(&path, fd, at, &bytes);
                self.written(&path, at, &bytes[..written]);
            }
            // Not even while it is prepared.
            Err(e) => self
                .run
                .wrong(format!("open {path} for writing: {}", errno_name(e))),
        }
    }

    fn truncate(&mut self) {
        let path = self.old();
        let size = self.bytes().len();
        let Some(Kind::File(_)) = self.model.get(&path).map(|inode| &inode.kind) else {
            return;
        };
        let got = sys::truncate(&self.full(&path), size as u64);
        if self.check(&format!("truncate {path}"), Ok(()), got) {
            if let Some(Kind::File(contents)) =
                self.model.get_mut(&path).map(|inode| &mut inode.kind)
            {
                contents.resize(size, 0);
            }
        }
    }

    /// O_TMPFILE, a write, and a name.
    fn tmpfile(&mut self) {
        let path = self.path();
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir).to_string();
        let mode = 0o600 + self.below(64) as u32;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let got = rustix::fs::open(self.full(&dir), flags, Mode::from_raw_mode(mode));
        let fd = match got {
            Ok(fd) => fd,
            Err(e) => {
                self.check(&format!("tmpfile {dir}"), Ok(()), Err(e));
                return;
            }
        };
        self.check(&format!("tmpfile {dir}"), Ok(()), Ok(()));
        let bytes = self.bytes();
        let got = rustix::io::pwrite(&fd, &bytes, 0);
        let what = format!("write to a tmpfile for {path}");
        self.check(&what, Ok(()), got.map(|_| ()));
        let written = got.unwrap_or(0);
        let from = sys::link_of(&fd);
        let got = rustix::fs::linkat(CWD, from, CWD, self.full(&path), AtFlags::SYMLINK_FOLLOW);
        if self.check(&format!("link tmpfile {path}"), self.free(&path), got) {
            let kind = Kind::File(bytes[..written].to_vec());
            self.model.add(&path, Inode::new(kind, mode));
        }
    }

    fn mkdir(&mut self) {
        let path = self.path();
        let got = rustix::fs::mkdir(self.full(&path), Mode::from_raw_mode(0o755));
        if self.check(&format!("mkdir {path}"), self.free(&path), got) {
            self.model.add(&path, Inode::new(Kind::Dir, 0o755));
        }
    }

    fn special(&mut self) {
        let path = self.path();
        let (inode, got) = if self.below(2) == 0 {
            let target = format!("../{path}");
            let got = rustix::fs::symlink(&target, self.full(&path));
            (Inode::new(Kind::Link(target.into_bytes()), 0o777), got)
        } else {
            let mode = Mode::from_raw_mode(0o640);
            let got = rustix::fs::mknodat(CWD, self.full(&path), FileType::Fifo, mode, 0);
            (Inode::new(Kind::Fifo, 0o640), got)
        };
        if self.check(&format!("make {path}"), self.free(&path), got) {
            self.model.add(&path, inode);
        }
    }

    fn link(&mut self) {
        let (old, new) = (self.old(), self.path());
        let expected = match self.model.get(&old) {
            None => Err(Errno::NOENT),
            Some(inode) if self.model.get(&new).is_none() && inode.is_dir() => Err(Errno::PERM),
            Some(_) => self.free(&new),
        };
        let got = rustix::fs::link(self.full(&old), self.full(&new));
        if self.check(&format!("link {old} {new}"), expected, got) {
            if let Some(id) = self.model.names.get(&old).copied() {
                self.model.names.insert(new, id);
            }
        }
    }

    fn unlink(&mut self, path: &str) {
        let expected = match self.model.get(path) {
            None => Err(Errno::NOENT),
            Some(inode) if inode.is_dir() => Err(Errno::ISDIR),
            Some(_) => Ok(()),
        };
        let got = rustix::fs::unlink(self.full(path));
        if self.check(&format!("unlink {path}"), expected, got) {
            self.model.remove(path);
        }
    }

    fn rmdir(&mut self, path: &str) {
        let expected = match self.model.get(path) {
            None => Err(Errno::NOENT),
            Some(inode) if !inode.is_dir() => Err(Errno::NOTDIR),
            Some(_) if self.model.has_entries(path) => Err(Errno::NOTEMPTY),
            Some(_) => Ok(()),
        };
        let got = rustix::fs::rmdir(self.full(path));
        if self.check(&format!("rmdir {path}"), expected, got) {
            self.model.remove(path);
        }
    }

    fn rename(&mut self, flags: RenameFlags) {
        let old = self.old();
        let new = if flags == RenameFlags::EXCHANGE {
            self.old()
        } else {
            self.path()
        };
        if inside(&old, &new) || inside(&new, &old) {
            return;
        }
        let expected = self.can_rename(&old, &new, flags);
        let got = rustix::fs::renameat_with(CWD, self.full(&old), CWD, self.full(&new), flags);
        let what = format!("rename {old} {new} {flags:?}");
        if !self.check(&what, expected, got)
            || self.model.names.get(&old) == self.model.names.get(&new)
        {
            return;
        }
        let moved = self.model.cut(&old);
        if flags == RenameFlags::EXCHANGE {
            let other = self.model.cut(&new);
            self.model.paste(&old, other);
        } else {
            self.model.remove(&new);
        }
        self.model.paste(&new, moved);
        if flags == RenameFlags::WHITEOUT {
            self.model.add(&old, Inode::new(Kind::Whiteout, 0));
        }
    }

    fn can_rename(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        let source = self.model.get(old).ok_or(Errno::NOENT)?;
        let Some(target) = self.model.get(new) else {
            return if flags == RenameFlags::EXCHANGE {
                Err(Errno::NOENT)
            } else {
                Ok(())
            };
        };
        if flags == RenameFlags::NOREPLACE {
            Err(Errno::EXIST)
        } else if flags == RenameFlags::EXCHANGE
            || self.model.names.get(old) == self.model.names.get(new)
        {
            Ok(())
        } else if source.is_dir() && !target.is_dir() {
            Err(Errno::NOTDIR)
        } else if !source.is_dir() && target.is_dir() {
            Err(Errno::ISDIR)
        } else if self.model.has_entries(new) {
            Err(Errno::NOTEMPTY)
        } else {
            Ok(())
        }
    }

    fn chmod(&mut self) {
        let path = self.old();
        let mode = 0o600 + self.below(64) as u32;
        match self.model.get(&path).map(|inode| &inode.kind) {
            None | Some(Kind::Link(_)) => return,
            _ => {}
        }
        let got = rustix::fs::chmod(self.full(&path), Mode::from_raw_mode(mode));
        if self.check(&format!("chmod {path}"), Ok(()), got) {
            if let Some(inode) = self.model.get_mut(&path) {
                inode.mode = mode;
            }
        }
    }

    /// One of the attributes of a file or a directory.
    fn attribute(&mut self) -> Option<(String, Vec<u8>)> {
        let path = self.old();
        let name = format!("user.{}", self.below(3)).into_bytes();
        match self.model.get(&path)?.kind {
            Kind::Dir | Kind::File(_) => Some((path, name)),
            _ => None,
        }
    }

    fn setxattr(&mut self) {
        let Some((path, name)) = self.attribute() else {
            return;
        };
        let value = self.bytes();
        let got = rustix::fs::lsetxattr(self.full(&path), &name[..], &value, XattrFlags::empty());
        if self.check(&format!("setxattr {path}"), Ok(()), got) {
            if let Some(inode) = self.model.get_mut(&path) {
                inode.xattrs.insert(name, value);
            }
        }
    }

    fn removexattr(&mut self) {
        let Some((path, name)) = self.attribute() else {
            return;
        };
        let expected = match self.model.get(&path) {
            Some(inode) if inode.xattrs.contains_key(&name) => Ok(()),
            _ => Err(Errno::NODATA),
        };
        let got = rustix::fs::lremovexattr(self.full(&path), &name[..]);
        if self.check(&format!("removexattr {path}"), expected, got) {
            if let Some(inode) = self.model.get_mut(&path) {
                inode.xattrs.remove(&name);
            }
        }
    }
}
