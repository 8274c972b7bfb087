// SPDX-License-Identifier: GPL-2.0-only

//! Mappings, advice, and their state when a file shrinks.

use super::lines::{file, must, quiet, shape, sys, val, Lines};
use super::Case;
use libc::*;

pub const CASES: &[Case] = &[
    ("mmap", map),
    ("madvise", advise),
    ("beyond the end", beyond),
    ("after a truncate", shrunk),
    ("after a punch", punched),
    ("private", private),
    ("mremap", remap),
    ("lock", locked),
];

fn map(lines: &mut Lines) {
    must!(SYS_close, file(c"file", &[b'x'; 8192], O_RDWR));
    for (access, flags) in [
        ("RDONLY", O_RDONLY),
        ("WRONLY", O_WRONLY),
        ("RDWR", O_RDWR),
        ("PATH", O_PATH),
    ] {
        let fd = must!(SYS_openat, AT_FDCWD, c"file", flags);
        for (kind, share) in [
            ("SHARED", MAP_SHARED),
            ("PRIVATE", MAP_PRIVATE),
            ("VALIDATE", MAP_SHARED_VALIDATE),
            ("SYNC", MAP_SHARED_VALIDATE | MAP_SYNC),
            ("POPULATE", MAP_SHARED | MAP_POPULATE),
            ("LOCKED", MAP_SHARED | MAP_LOCKED),
            ("HUGETLB", MAP_SHARED | MAP_HUGETLB),
        ] {
            for (what, prot) in [
                ("R", PROT_READ),
                ("W", PROT_WRITE),
                ("RW", PROT_READ | PROT_WRITE),
                ("RX", PROT_READ | PROT_EXEC),
                ("NONE", PROT_NONE),
            ] {
                let at = sys!(
                    lines,
                    format!("{access} {kind} {what}"),
                    SYS_mmap,
                    0,
                    8192,
                    prot,
                    share,
                    fd,
                    0
                );
                if at > 0 {
                    sys!(
                        lines,
                        format!("{access} {kind} {what} mprotect W"),
                        SYS_mprotect,
                        at,
                        4096,
                        PROT_READ | PROT_WRITE
                    );
                    sys!(
                        lines,
                        format!("{access} {kind} {what} mprotect X"),
                        SYS_mprotect,
                        at,
                        4096,
                        PROT_READ | PROT_EXEC
                    );
                    sys!(
                        lines,
                        format!("{access} {kind} {what} msync"),
                        SYS_msync,
                        at,
                        8192,
                        MS_SYNC
                    );
                    quiet!(SYS_munmap, at, 8192);
                }
            }
        }
        sys!(
            lines,
            format!("{access} beyond"),
            SYS_mmap,
            0,
            4096,
            PROT_READ,
            MAP_SHARED,
            fd,
            1 << 20
        );
        sys!(
            lines,
            format!("{access} at an odd place"),
            SYS_mmap,
            0,
            4096,
            PROT_READ,
            MAP_SHARED,
            fd,
            5
        );
        sys!(
            lines,
            format!("{access} of nothing"),
            SYS_mmap,
            0,
            0,
            PROT_READ,
            MAP_SHARED,
            fd,
            0
        );
        quiet!(SYS_close, fd);
    }
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY);
    sys!(
        lines,
        "of a directory",
        SYS_mmap,
        0,
        4096,
        PROT_READ,
        MAP_SHARED,
        dir,
        0
    );
}

fn advise(lines: &mut Lines) {
    let fd = file(c"file", &[b'x'; 65536], O_RDWR);
    let at = must!(
        SYS_mmap,
        0,
        65536,
        PROT_READ | PROT_WRITE,
        MAP_SHARED,
        fd,
        0
    );
    for (what, advice) in [
        ("NORMAL", 0),
        ("RANDOM", 1),
        ("SEQUENTIAL", 2),
        ("WILLNEED", 3),
        ("DONTNEED", 4),
        ("FREE", 8),
        ("REMOVE", 9),
        ("DONTFORK", 10),
        ("DOFORK", 11),
        ("MERGEABLE", 12),
        ("HUGEPAGE", 14),
        ("NOHUGEPAGE", 15),
        ("DONTDUMP", 16),
        ("WIPEONFORK", 18),
        ("COLD", 20),
        ("PAGEOUT", 21),
        ("POPULATE_READ", 22),
        ("POPULATE_WRITE", 23),
        ("DONTNEED_LOCKED", 24),
        ("COLLAPSE", 25),
        ("GUARD_INSTALL", 102),
        ("GUARD_REMOVE", 103),
        ("unknown", 50),
    ] {
        // COLLAPSE and HUGEPAGE hang on the policy of the mount.
        sys!(
            lines,
            format!("madvise {what}"),
            SYS_madvise,
            at,
            16384,
            advice
        );
        lines.note(format!("after {what}"), shape(fd, c"").as_str());
    }
    let mut seen = [0u8; 16];
    sys!(lines, "mincore", SYS_mincore, at, 65536, seen.as_mut_ptr());
    lines.note("in core", seen.map(|page| page & 1));
    let read = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    let at = must!(SYS_mmap, 0, 65536, PROT_READ, MAP_SHARED, read, 0);
    sys!(lines, "REMOVE of a reader", SYS_madvise, at, 4096, 9);
    let at = must!(
        SYS_mmap,
        0,
        65536,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE,
        read,
        0
    );
    sys!(lines, "REMOVE of a private one", SYS_madvise, at, 4096, 9);
}

fn touch(at: i64, write: bool) {
    let at = at as *mut u8;
    // SAFETY: a mapping of the case; a fault in it ends the child, which is what is compared.
    unsafe {
        if write {
            at.write_volatile(b'!');
        } else {
            at.read_volatile();
        }
    }
}

fn beyond(lines: &mut Lines) {
    let fd = file(c"file", b"short", O_RDWR);
    let at = must!(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    touch(at + 4000, true);
    lines.note("written in the last page", shape(fd, c"").as_str());
    must!(SYS_ftruncate, fd, 4096i64);
    let mut buf = [0u8; 4096];
    val!(lines, "read", SYS_pread64, fd, buf.as_mut_ptr(), 4096, 0i64);
    lines.note("what was beyond the end", buf[4000]);
    touch(at + 4096, false);
    lines.note("read beyond", "lives");
}

fn shrunk(lines: &mut Lines) {
    let fd = file(c"file", &[b'x'; 16384], O_RDWR);
    let at = must!(
        SYS_mmap,
        0,
        16384,
        PROT_READ | PROT_WRITE,
        MAP_SHARED,
        fd,
        0
    );
    touch(at + 12288, true);
    must!(SYS_ftruncate, fd, 4096i64);
    lines.note("is", shape(fd, c"").as_str());
    touch(at, true);
    lines.note("below", "lives");
    touch(at + 12288, true);
    lines.note("beyond", "lives");
}

fn punched(lines: &mut Lines) {
    let fd = file(c"file", &[b'x'; 16384], O_RDWR);
    let at = must!(
        SYS_mmap,
        0,
        16384,
        PROT_READ | PROT_WRITE,
        MAP_SHARED,
        fd,
        0
    );
    touch(at + 4096, true);
    sys!(lines, "punch", SYS_fallocate, fd, 3, 4096i64, 4096i64);
    lines.note("is", shape(fd, c"").as_str());
    touch(at + 4096, false);
    lines.note("read there", shape(fd, c"").as_str());
    touch(at + 4096, true);
    lines.note("written there", shape(fd, c"").as_str());
    must!(SYS_unlinkat, AT_FDCWD, c"file", 0);
    must!(SYS_close, fd);
    touch(at + 8192, true);
    lines.note("without name and descriptor", "lives");
}

fn private(lines: &mut Lines) {
    let fd = file(c"file", &[b'x'; 4096], O_RDONLY);
    let at = must!(
        SYS_mmap,
        0,
        4096,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE,
        fd,
        0
    );
    touch(at, true);
    let mut buf = [0u8; 1];
    val!(lines, "read", SYS_pread64, fd, buf.as_mut_ptr(), 1, 0i64);
    lines.note("the file keeps", buf);
    // Into itself, by way of the page fault handler.
    let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
    let at = must!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    val!(
        lines,
        "write from its own mapping",
        SYS_pwrite64,
        fd,
        at,
        4096,
        100i64
    );
    val!(
        lines,
        "read into its own mapping",
        SYS_pread64,
        fd,
        at,
        4096,
        0i64
    );
    lines.note("is", shape(fd, c"").as_str());
}

fn remap(lines: &mut Lines) {
    let fd = file(c"file", &[b'x'; 16384], O_RDWR);
    let at = must!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    let at = sys!(lines, "grow", SYS_mremap, at, 4096, 16384, MREMAP_MAYMOVE);
    sys!(lines, "shrink", SYS_mremap, at, 16384, 4096, 0);
    sys!(lines, "duplicate", SYS_mremap, at, 0, 4096, MREMAP_MAYMOVE);
    sys!(
        lines,
        "DONTUNMAP",
        SYS_mremap,
        at,
        4096,
        4096,
        MREMAP_MAYMOVE | 4,
        0
    );
    sys!(
        lines,
        "remap_file_pages",
        SYS_remap_file_pages,
        at,
        4096,
        0,
        2,
        0
    );
}

fn locked(lines: &mut Lines) {
    let fd = file(c"file", &[b'x'; 16384], O_RDWR);
    let at = must!(
        SYS_mmap,
        0,
        16384,
        PROT_READ | PROT_WRITE,
        MAP_SHARED,
        fd,
        0
    );
    sys!(lines, "mlock", SYS_mlock, at, 16384);
    sys!(lines, "munlock", SYS_munlock, at, 16384);
    sys!(lines, "mlock2 ONFAULT", SYS_mlock2, at, 16384, 1);
    let limit = [0u64, 0];
    must!(SYS_prlimit64, 0, RLIMIT_MEMLOCK, limit.as_ptr(), 0);
    must!(SYS_setresuid, 1001, 1001, 1001);
    sys!(lines, "mlock without a limit", SYS_mlock, at + 4096, 4096);
}
