// SPDX-License-Identifier: GPL-2.0-only

//! io_uring.

use super::lines::{file, must, shape, Lines};
use super::Case;
use crate::errno_name;
use io_uring::{opcode, squeue::Entry, types, IoUring};
use libc::*;
use rustix::io::Errno;

pub const CASES: &[Case] = &[("io_uring", uring)];

fn uring(lines: &mut Lines) {
    let mut ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(e) => return lines.note("setup", e.kind()),
    };
    lines.note("setup", "ok");
    let fd = file(c"file", &[b'x'; 10_000], O_RDWR) as i32;
    let (to, cwd) = (types::Fd(fd), types::Fd(AT_FDCWD));
    let mut buf = [b'y'; 4096];
    let at = must!(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) as *mut c_void;
    let mut stat = [0u64; 32];
    let mut pipe = [0i32; 2];
    must!(SYS_pipe2, pipe.as_mut_ptr(), 0);
    let [out, into] = pipe.map(types::Fd);
    let name = c"user.u".as_ptr();

    let entries: Vec<(&str, Entry)> = vec![
        ("NOP", opcode::Nop::new().build()),
        (
            "READ",
            opcode::Read::new(to, buf.as_mut_ptr(), 4096).build(),
        ),
        (
            "READ beyond",
            opcode::Read::new(to, buf.as_mut_ptr(), 4096)
                .offset(100_000)
                .build(),
        ),
        (
            "WRITE",
            opcode::Write::new(to, buf.as_ptr(), 4096)
                .offset(9000)
                .build(),
        ),
        (
            "WRITE NOWAIT",
            opcode::Write::new(to, buf.as_ptr(), 100)
                .offset(20_000)
                .rw_flags(RWF_NOWAIT)
                .build(),
        ),
        (
            "WRITE APPEND",
            opcode::Write::new(to, buf.as_ptr(), 100)
                .rw_flags(RWF_APPEND)
                .build(),
        ),
        ("FSYNC", opcode::Fsync::new(to).build()),
        (
            "SYNC_FILE_RANGE",
            opcode::SyncFileRange::new(to, 4096).build(),
        ),
        ("FALLOCATE", opcode::Fallocate::new(to, 50_000).build()),
        ("FTRUNCATE", opcode::Ftruncate::new(to, 30_000).build()),
        (
            "FADVISE",
            opcode::Fadvise::new(to, 0, POSIX_FADV_WILLNEED).build(),
        ),
        ("MADVISE", opcode::Madvise::new(at, 4096, MADV_COLD).build()),
        (
            "MADVISE REMOVE",
            opcode::Madvise::new(at, 4096, MADV_REMOVE).build(),
        ),
        (
            "OPENAT",
            opcode::OpenAt::new(cwd, c"file".as_ptr())
                .flags(O_RDWR)
                .build(),
        ),
        (
            "OPENAT create",
            opcode::OpenAt::new(cwd, c"made".as_ptr())
                .flags(O_CREAT | O_RDWR)
                .mode(0o644)
                .build(),
        ),
        (
            "OPENAT missing",
            opcode::OpenAt::new(cwd, c"missing".as_ptr()).build(),
        ),
        (
            "STATX",
            opcode::Statx::new(cwd, c"file".as_ptr(), stat.as_mut_ptr().cast())
                .mask(0x7ff)
                .build(),
        ),
        (
            "MKDIRAT",
            opcode::MkDirAt::new(cwd, c"dir".as_ptr())
                .mode(0o755)
                .build(),
        ),
        (
            "SYMLINKAT",
            opcode::SymlinkAt::new(cwd, c"file".as_ptr(), c"link".as_ptr()).build(),
        ),
        (
            "LINKAT",
            opcode::LinkAt::new(cwd, c"file".as_ptr(), cwd, c"hard".as_ptr()).build(),
        ),
        (
            "RENAMEAT",
            opcode::RenameAt::new(cwd, c"hard".as_ptr(), cwd, c"renamed".as_ptr()).build(),
        ),
        (
            "UNLINKAT",
            opcode::UnlinkAt::new(cwd, c"renamed".as_ptr()).build(),
        ),
        (
            "SETXATTR",
            opcode::SetXattr::new(name, buf.as_ptr().cast(), c"file".as_ptr(), 10).build(),
        ),
        (
            "GETXATTR",
            opcode::GetXattr::new(name, buf.as_mut_ptr().cast(), c"file".as_ptr(), 100).build(),
        ),
        (
            "FSETXATTR",
            opcode::FSetXattr::new(to, name, buf.as_ptr().cast(), 5).build(),
        ),
        (
            "FGETXATTR",
            opcode::FGetXattr::new(to, name, buf.as_mut_ptr().cast(), 100).build(),
        ),
        (
            "SPLICE in",
            opcode::Splice::new(to, 0, into, -1, 1000).build(),
        ),
        (
            "SPLICE out",
            opcode::Splice::new(out, -1, to, 40_000, 1000).build(),
        ),
        ("POLL", opcode::PollAdd::new(to, POLLIN as u32).build()),
        ("CLOSE", opcode::Close::new(to).build()),
        (
            "READ of what is closed",
            opcode::Read::new(to, buf.as_mut_ptr(), 10).build(),
        ),
    ];
    for (what, entry) in entries {
        // SAFETY: what an entry points to lives to the end of this function, and each is waited for.
        let pushed = unsafe { ring.submission().push(&entry) };
        let done = pushed.is_ok() && ring.submit_and_wait(1).is_ok();
        let result = ring.completion().next().map(|event| event.result());
        match result {
            _ if !done => lines.note(what, "not submitted"),
            Some(value) if value < 0 => {
                lines.note(what, errno_name(Errno::from_raw_os_error(-value)))
            }
            // A descriptor's number is not compared.
            Some(value) if what.starts_with("OPENAT") => lines.note(what, value >= 0),
            result => lines.note(what, result),
        }
    }
    lines.note("is", shape(i64::from(AT_FDCWD), c"file").as_str());
}
