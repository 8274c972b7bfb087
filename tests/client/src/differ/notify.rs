// SPDX-License-Identifier: GPL-2.0-only

//! The events of inotify and fanotify.

use super::lines::{file, must, quiet, sys, val, Lines};
use super::Case;
use libc::*;

pub const CASES: &[Case] = &[
    ("inotify", inotify),
    ("fanotify", fanotify),
    ("fanotify by handle", by_handle),
];

/// A life of a file, which the watches see.
fn live() {
    let fd = quiet!(SYS_openat, AT_FDCWD, c"new", O_CREAT | O_RDWR, 0o644);
    quiet!(SYS_write, fd, c"x", 1);
    quiet!(SYS_pread64, fd, [0u8; 8].as_mut_ptr(), 1, 0i64);
    quiet!(SYS_ftruncate, fd, 100i64);
    quiet!(SYS_fallocate, fd, 0, 0i64, 200i64);
    quiet!(SYS_fchmod, fd, 0o600);
    quiet!(SYS_fsetxattr, fd, c"user.x", c"y", 1, 0);
    quiet!(SYS_close, fd);
    quiet!(SYS_linkat, AT_FDCWD, c"new", AT_FDCWD, c"other", 0);
    quiet!(SYS_renameat, AT_FDCWD, c"other", AT_FDCWD, c"moved");
    quiet!(SYS_renameat2, AT_FDCWD, c"new", AT_FDCWD, c"moved", 2);
    quiet!(SYS_unlinkat, AT_FDCWD, c"moved", 0);
    quiet!(SYS_truncate, c"new", 3i64);
    quiet!(SYS_mkdirat, AT_FDCWD, c"sub", 0o755);
    quiet!(SYS_unlinkat, AT_FDCWD, c"sub", AT_REMOVEDIR);
    quiet!(SYS_symlinkat, c"new", AT_FDCWD, c"sym");
    quiet!(SYS_openat, AT_FDCWD, c".", O_TMPFILE | O_RDWR, 0o600);
    let fd = quiet!(SYS_openat, AT_FDCWD, c"new", O_RDWR);
    let at = quiet!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    quiet!(SYS_madvise, at, 4096, 9);
    let mut pos = 0i64;
    quiet!(SYS_copy_file_range, fd, &raw mut pos, fd, 0, 1, 0);
    quiet!(SYS_unlinkat, AT_FDCWD, c"new", 0);
}

fn inotify(lines: &mut Lines) {
    let fd = must!(SYS_inotify_init1, IN_NONBLOCK);
    sys!(lines, "watch", SYS_inotify_add_watch, fd, c".", 0xfff);
    live();
    let mut buf = vec![0u8; 65536];
    let got = must!(SYS_read, fd, buf.as_mut_ptr(), buf.len()) as usize;
    let mut at = 0;
    while at < got {
        let word =
            |n: usize| u32::from_ne_bytes(buf[at + n..at + n + 4].try_into().unwrap_or_default());
        let len = word(12) as usize;
        let name = String::from_utf8_lossy(&buf[at + 16..at + 16 + len])
            .trim_end_matches('\0')
            .to_string();
        // A file that never had a name is called by its inode number.
        let name = if name.starts_with('#') { "#" } else { &name };
        lines.note("event", format!("{:#x} {name}", word(4)));
        at += 16 + len;
    }
}

/// The masks of all events that wait, and whether each has a descriptor or more information.
fn events(lines: &mut Lines, fd: i64) {
    let mut buf = vec![0u8; 65536];
    loop {
        let got = quiet!(SYS_read, fd, buf.as_mut_ptr(), buf.len());
        if got <= 0 {
            return;
        }
        let mut at = 0;
        while at < got as usize {
            let len = u32::from_ne_bytes(buf[at..at + 4].try_into().unwrap_or_default()) as usize;
            let mask = u64::from_ne_bytes(buf[at + 8..at + 16].try_into().unwrap_or_default());
            let file = i32::from_ne_bytes(buf[at + 16..at + 20].try_into().unwrap_or_default());
            lines.note(
                "event",
                format!(
                    "{mask:#x} {} {}",
                    file >= 0,
                    if len > 24 { buf[at + 24] } else { 0 }
                ),
            );
            if file >= 0 {
                quiet!(SYS_close, file);
            }
            at += len;
        }
    }
}

fn fanotify(lines: &mut Lines) {
    let fd = sys!(lines, "init", SYS_fanotify_init, 0x2, O_RDONLY);
    must!(SYS_close, file(c"file", b"x", O_RDWR));
    for (what, how) in [("inode", 1), ("mount", 0x11), ("filesystem", 0x101)] {
        sys!(
            lines,
            format!("mark {what}"),
            SYS_fanotify_mark,
            fd,
            how,
            0x3b,
            AT_FDCWD,
            c"file"
        );
    }
    let fd2 = quiet!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
    quiet!(SYS_write, fd2, c"y", 1);
    quiet!(SYS_close, fd2);
    events(lines, fd);
}

fn by_handle(lines: &mut Lines) {
    // FAN_REPORT_FID, and that of the directory with the name.
    for (what, flags) in [("FID", 0x200 | 0x2), ("DIR_FID|NAME", 0xc00 | 0x2)] {
        let fd = sys!(
            lines,
            format!("init {what}"),
            SYS_fanotify_init,
            flags,
            O_RDONLY
        );
        for (kind, how) in [("inode", 1), ("filesystem", 0x101)] {
            val!(
                lines,
                format!("mark {what} {kind}"),
                SYS_fanotify_mark,
                fd,
                how,
                0x4000_0fcfu64,
                AT_FDCWD,
                c"."
            );
        }
        live();
        events(lines, fd);
        quiet!(SYS_close, fd);
    }
}
