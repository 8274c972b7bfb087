// SPDX-License-Identifier: GPL-2.0-only

//! Names: rename, link, unlink, directories and their listing.

use super::lines::{file, must, quiet, shape, stat, sys, val, Lines};
use super::Case;
use libc::*;
use std::ffi::CStr;

pub const CASES: &[Case] = &[
    ("rename", rename),
    ("link", link),
    ("remove", remove),
    ("long names", long),
    ("symlink", symlink),
    ("list", list),
    ("sticky", sticky),
];

const KINDS: &[(&str, &CStr)] = &[
    ("file", c"file"),
    ("dir", c"dir"),
    ("full", c"full"),
    ("link", c"link"),
    ("fifo", c"fifo"),
    ("missing", c"missing"),
];

fn make() {
    must!(SYS_close, file(c"file", b"contents", O_RDWR));
    must!(SYS_mkdirat, AT_FDCWD, c"dir", 0o755);
    must!(SYS_mkdirat, AT_FDCWD, c"full", 0o755);
    must!(SYS_mkdirat, AT_FDCWD, c"full/sub", 0o755);
    must!(SYS_symlinkat, c"file", AT_FDCWD, c"link");
    must!(SYS_mknodat, AT_FDCWD, c"fifo", S_IFIFO | 0o644, 0);
}

fn rename(lines: &mut Lines) {
    for (flag, flags) in [
        ("0", 0u32),
        ("NOREPLACE", 1),
        ("EXCHANGE", 2),
        ("WHITEOUT", 4),
        ("WHITEOUT|NOREPLACE", 5),
        ("WHITEOUT|EXCHANGE", 6),
        ("8", 8),
    ] {
        for (n, (from, a)) in KINDS.iter().enumerate() {
            for (m, (to, b)) in KINDS.iter().enumerate() {
                let dir = std::ffi::CString::new(format!("{flags}-{n}-{m}")).unwrap_or_default();
                must!(SYS_mkdirat, AT_FDCWD, dir.as_c_str(), 0o755);
                must!(SYS_chdir, dir.as_c_str());
                make();
                let what = format!("{flag} {from} to {to}");
                sys!(
                    lines,
                    &what,
                    SYS_renameat2,
                    AT_FDCWD,
                    *a,
                    AT_FDCWD,
                    *b,
                    flags
                );
                let is = |path| {
                    stat(i64::from(AT_FDCWD), path).map(|s| (s.st_mode, s.st_nlink, s.st_rdev))
                };
                lines.note(format!("{what} {from}"), is(a));
                lines.note(format!("{what} {to}"), is(b));
                lines.note(
                    format!("{what} links"),
                    stat(i64::from(AT_FDCWD), c".").map(|s| (s.st_nlink, s.st_size)),
                );
                must!(SYS_chdir, c"..");
            }
        }
    }
    make();
    for (what, from, to) in [
        ("into itself", c"full", c"full/sub/x"),
        ("onto its parent", c"full/sub", c"full"),
        ("dot", c".", c"x"),
        ("to dotdot", c"file", c".."),
        ("trailing slash", c"file/", c"x"),
        ("dir to a trailing slash", c"dir", c"new/"),
        ("file to a trailing slash", c"file", c"new2/"),
        ("empty", c"", c"x"),
    ] {
        sys!(lines, what, SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    }
    must!(SYS_linkat, AT_FDCWD, c"file", AT_FDCWD, c"same", 0);
    sys!(
        lines,
        "to another name of it",
        SYS_renameat,
        AT_FDCWD,
        c"file",
        AT_FDCWD,
        c"same"
    );
    lines.note(
        "both are there",
        (
            shape(i64::from(AT_FDCWD), c"file") == shape(i64::from(AT_FDCWD), c"same"),
            stat(i64::from(AT_FDCWD), c"same").map(|s| s.st_nlink),
        ),
    );
}

fn link(lines: &mut Lines) {
    make();
    for (what, from) in KINDS {
        sys!(lines, *what, SYS_linkat, AT_FDCWD, *from, AT_FDCWD, c"new", 0);
        lines.note(
            format!("{what} is"),
            shape(i64::from(AT_FDCWD), c"new").as_str(),
        );
        quiet!(SYS_unlinkat, AT_FDCWD, c"new", 0);
        sys!(
            lines,
            format!("follow {what}"),
            SYS_linkat,
            AT_FDCWD,
            *from,
            AT_FDCWD,
            c"new",
            AT_SYMLINK_FOLLOW
        );
        quiet!(SYS_unlinkat, AT_FDCWD, c"new", 0);
        sys!(
            lines,
            format!("onto {what}"),
            SYS_linkat,
            AT_FDCWD,
            c"file",
            AT_FDCWD,
            *from,
            0
        );
    }
    let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    sys!(
        lines,
        "by /proc",
        SYS_linkat,
        AT_FDCWD,
        path.as_c_str(),
        AT_FDCWD,
        c"proc",
        AT_SYMLINK_FOLLOW
    );
    sys!(
        lines,
        "unknown flag",
        SYS_linkat,
        AT_FDCWD,
        c"file",
        AT_FDCWD,
        c"new",
        1
    );
    sys!(lines, "to /proc", SYS_linkat, AT_FDCWD, c"file", AT_FDCWD, c"/proc/x", 0);
}

fn remove(lines: &mut Lines) {
    for flags in [0, AT_REMOVEDIR, 1] {
        for (what, path) in KINDS {
            quiet!(SYS_mkdirat, AT_FDCWD, c"r", 0o755);
            must!(SYS_chdir, c"r");
            let all = [c"file", c"link", c"fifo"];
            all.iter().for_each(|name| {
                quiet!(SYS_unlinkat, AT_FDCWD, *name, 0);
            });
            [c"full/sub", c"full", c"dir"].iter().for_each(|name| {
                quiet!(SYS_unlinkat, AT_FDCWD, *name, AT_REMOVEDIR);
            });
            make();
            sys!(
                lines,
                format!("{flags:#x} {what}"),
                SYS_unlinkat,
                AT_FDCWD,
                *path,
                flags
            );
            lines.note(
                format!("{flags:#x} {what} links"),
                stat(i64::from(AT_FDCWD), c".").map(|s| (s.st_nlink, s.st_size)),
            );
            must!(SYS_chdir, c"..");
        }
    }
    for (what, path) in [
        ("dot", c"."),
        ("dotdot", c".."),
        ("dir/.", c"r/dir/."),
        ("slash", c"r/file/"),
        ("empty", c""),
    ] {
        sys!(
            lines,
            format!("rmdir {what}"),
            SYS_unlinkat,
            AT_FDCWD,
            path,
            AT_REMOVEDIR
        );
        sys!(
            lines,
            format!("unlink {what}"),
            SYS_unlinkat,
            AT_FDCWD,
            path,
            0
        );
    }
    // A working directory that goes.
    must!(SYS_mkdirat, AT_FDCWD, c"gone", 0o755);
    must!(SYS_chdir, c"gone");
    sys!(lines, "the working directory", SYS_rmdir, c"../gone");
    let mut buf = [0u8; 256];
    sys!(lines, "getcwd", SYS_getcwd, buf.as_mut_ptr(), 256);
    sys!(
        lines,
        "create in it",
        SYS_openat,
        AT_FDCWD,
        c"x",
        O_CREAT | O_RDWR,
        0o644
    );
    sys!(lines, "mkdir in it", SYS_mkdirat, AT_FDCWD, c"x", 0o755);
    sys!(lines, "list it", SYS_openat, AT_FDCWD, c".", O_RDONLY);
    lines.note(
        "it is",
        stat(i64::from(AT_FDCWD), c".").map(|s| (s.st_mode, s.st_nlink)),
    );
}

fn long(lines: &mut Lines) {
    for len in [1, 254, 255, 256] {
        let name = std::ffi::CString::new(vec![b'n'; len]).unwrap_or_default();
        let name = name.as_c_str();
        sys!(
            lines,
            format!("create {len}"),
            SYS_openat,
            AT_FDCWD,
            name,
            O_CREAT | O_RDWR,
            0o644
        );
        sys!(
            lines,
            format!("rename {len}"),
            SYS_renameat,
            AT_FDCWD,
            name,
            AT_FDCWD,
            c"short"
        );
        sys!(
            lines,
            format!("rename to {len}"),
            SYS_renameat,
            AT_FDCWD,
            c"short",
            AT_FDCWD,
            name
        );
        sys!(
            lines,
            format!("symlink {len}"),
            SYS_symlinkat,
            c"x",
            AT_FDCWD,
            name
        );
        sys!(
            lines,
            format!("unlink {len}"),
            SYS_unlinkat,
            AT_FDCWD,
            name,
            0
        );
    }
    for name in [c"\x01\x7f", c"\xff\xfe", c" ", c"a\nb", c"...", c"-"] {
        sys!(
            lines,
            format!("create {name:?}"),
            SYS_openat,
            AT_FDCWD,
            name,
            O_CREAT | O_EXCL,
            0o644
        );
        sys!(
            lines,
            format!("open {name:?}"),
            SYS_openat,
            AT_FDCWD,
            name,
            O_RDONLY
        );
    }
}

fn symlink(lines: &mut Lines) {
    for len in [0usize, 1, 59, 60, 127, 128, 129, 4095, 4096] {
        let to = std::ffi::CString::new(vec![b't'; len]).unwrap_or_default();
        sys!(
            lines,
            format!("create {len}"),
            SYS_symlinkat,
            to.as_c_str(),
            AT_FDCWD,
            c"link"
        );
        lines.note(
            format!("is {len}"),
            shape(i64::from(AT_FDCWD), c"link").as_str(),
        );
        let mut buf = [0u8; 5000];
        val!(
            lines,
            format!("read {len}"),
            SYS_readlinkat,
            AT_FDCWD,
            c"link",
            buf.as_mut_ptr(),
            5000
        );
        val!(
            lines,
            format!("read a part of {len}"),
            SYS_readlinkat,
            AT_FDCWD,
            c"link",
            buf.as_mut_ptr(),
            10
        );
        quiet!(SYS_unlinkat, AT_FDCWD, c"link", 0);
    }
    must!(SYS_symlinkat, c"loop", AT_FDCWD, c"loop");
    sys!(
        lines,
        "open a loop",
        SYS_openat,
        AT_FDCWD,
        c"loop",
        O_RDONLY
    );
    sys!(
        lines,
        "chmod",
        SYS_fchmodat2,
        AT_FDCWD,
        c"loop",
        0o600,
        AT_SYMLINK_NOFOLLOW
    );
    sys!(
        lines,
        "chown",
        SYS_fchownat,
        AT_FDCWD,
        c"loop",
        5,
        6,
        AT_SYMLINK_NOFOLLOW
    );
    lines.note("is", shape(i64::from(AT_FDCWD), c"loop").as_str());
    let mut buf = [0u8; 16];
    sys!(
        lines,
        "readlink of a directory",
        SYS_readlinkat,
        AT_FDCWD,
        c".",
        buf.as_mut_ptr(),
        16
    );
    sys!(
        lines,
        "readlink of 0 bytes",
        SYS_readlinkat,
        AT_FDCWD,
        c"loop",
        buf.as_mut_ptr(),
        0
    );
}

/// Names and types of a listing, in its order.
fn entries(dir: i64, size: usize) -> Vec<(String, u8)> {
    let mut buf = vec![0u8; size];
    let mut all = Vec::new();
    loop {
        let got = quiet!(SYS_getdents64, dir, buf.as_mut_ptr(), buf.len());
        if got <= 0 {
            return all;
        }
        let mut at = 0;
        while at < got as usize {
            let len = usize::from(u16::from_ne_bytes([buf[at + 16], buf[at + 17]]));
            let name = CStr::from_bytes_until_nul(&buf[at + 19..]).unwrap_or_default();
            all.push((name.to_string_lossy().into_owned(), buf[at + 18]));
            at += len;
        }
    }
}

fn list(lines: &mut Lines) {
    make();
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY | O_DIRECTORY);
    lines.note("all", entries(dir, 4096));
    lines.note("again", entries(dir, 4096));
    must!(SYS_lseek, dir, 0, SEEK_SET);
    lines.note("from the beginning", entries(dir, 64));
    must!(SYS_lseek, dir, 0, SEEK_SET);
    let mut buf = [0u8; 64];
    sys!(
        lines,
        "a small buffer",
        SYS_getdents64,
        dir,
        buf.as_mut_ptr(),
        10
    );
    val!(lines, "dot", SYS_getdents64, dir, buf.as_mut_ptr(), 24);
    must!(SYS_unlinkat, AT_FDCWD, c"file", 0);
    must!(SYS_close, file(c"new", b"", O_RDWR));
    lines.note("after a change", entries(dir, 4096));
    must!(SYS_lseek, dir, 0, SEEK_SET);
    must!(SYS_renameat, AT_FDCWD, c"new", AT_FDCWD, c"renamed");
    must!(SYS_renameat2, AT_FDCWD, c"dir", AT_FDCWD, c"fifo", 2);
    lines.note("after renames", entries(dir, 4096));
    let fd = must!(SYS_openat, AT_FDCWD, c"full", O_RDONLY | O_DIRECTORY);
    must!(SYS_unlinkat, AT_FDCWD, c"full/sub", AT_REMOVEDIR);
    must!(SYS_unlinkat, AT_FDCWD, c"full", AT_REMOVEDIR);
    sys!(
        lines,
        "of a directory that is gone",
        SYS_getdents64,
        fd,
        buf.as_mut_ptr(),
        64
    );
    let fd = must!(SYS_openat, AT_FDCWD, c"renamed", O_RDONLY);
    sys!(lines, "of a file", SYS_getdents64, fd, buf.as_mut_ptr(), 64);
    let mut ino = Vec::new();
    must!(SYS_lseek, dir, 0, SEEK_SET);
    let mut big = [0u8; 4096];
    let got = must!(SYS_getdents64, dir, big.as_mut_ptr(), 4096) as usize;
    let mut at = 0;
    while at < got {
        let number = u64::from_ne_bytes(big[at..at + 8].try_into().unwrap_or_default());
        let name = CStr::from_bytes_until_nul(&big[at + 19..]).unwrap_or_default();
        if name != c".." {
            ino.push(stat(i64::from(AT_FDCWD), name).map(|s| s.st_ino) == Some(number));
        }
        at += usize::from(u16::from_ne_bytes([big[at + 16], big[at + 17]]));
    }
    lines.note(
        "inode numbers agree with stat",
        ino.iter().all(|same| *same),
    );
}

fn sticky(lines: &mut Lines) {
    must!(SYS_fchmodat, AT_FDCWD, c".", 0o1777);
    must!(SYS_close, file(c"file", b"x", O_RDWR));
    must!(SYS_close, file(c"mine", b"x", O_RDWR));
    must!(SYS_fchownat, AT_FDCWD, c"mine", 1001, 1001, 0);
    must!(SYS_setgroups, 0, 0);
    must!(SYS_setresgid, 1001, 1001, 1001);
    must!(SYS_setresuid, 1001, 1001, 1001);
    sys!(lines, "unlink", SYS_unlinkat, AT_FDCWD, c"file", 0);
    sys!(
        lines,
        "rename",
        SYS_renameat,
        AT_FDCWD,
        c"file",
        AT_FDCWD,
        c"x"
    );
    sys!(
        lines,
        "rename over",
        SYS_renameat,
        AT_FDCWD,
        c"mine",
        AT_FDCWD,
        c"file"
    );
    sys!(
        lines,
        "rename its own",
        SYS_renameat,
        AT_FDCWD,
        c"mine",
        AT_FDCWD,
        c"x"
    );
    sys!(
        lines,
        "open for writing",
        SYS_openat,
        AT_FDCWD,
        c"file",
        O_WRONLY | O_CREAT,
        0o600
    );
    sys!(
        lines,
        "hard link",
        SYS_linkat,
        AT_FDCWD,
        c"file",
        AT_FDCWD,
        c"y",
        0
    );
    sys!(lines, "chmod setgid", SYS_fchmodat, AT_FDCWD, c"x", 0o2755);
}
