// SPDX-License-Identifier: GPL-2.0-only

//! Attributes: modes, owners, times, extended ones, ACLs, statx, ioctls.

use super::lines::{file, must, quiet, shape, stat, sys, val, Lines};
use super::Case;
use libc::*;

pub const CASES: &[Case] = &[
    ("chmod and chown", modes),
    ("times", times),
    ("timestamps", stamps),
    ("xattr", xattr),
    ("acl", acl),
    ("statx", statx),
    ("statfs", statfs),
    ("ioctl", ioctls),
    ("flags", flags),
    ("quota", quota),
];

const HERE: i64 = AT_FDCWD as i64;

fn modes(lines: &mut Lines) {
    super::open::kinds();
    for path in [c"file", c"dir", c"link", c"fifo"] {
        let name = path.to_string_lossy();
        for mode in [0o644, 0o7777, 0o2644, 0o4755, 0, 0o100_644] {
            sys!(
                lines,
                format!("{name} chmod {mode:o}"),
                SYS_fchmodat,
                AT_FDCWD,
                path,
                mode
            );
            lines.note(format!("{name} {mode:o}"), shape(HERE, path).as_str());
        }
        sys!(
            lines,
            format!("{name} chmod 6777"),
            SYS_fchmodat,
            AT_FDCWD,
            path,
            0o6777
        );
        for (uid, gid) in [(1001, 1001), (-1, 5), (5, -1), (-1, -1)] {
            sys!(
                lines,
                format!("{name} chown {uid}:{gid}"),
                SYS_fchownat,
                AT_FDCWD,
                path,
                uid,
                gid,
                0
            );
            lines.note(format!("{name} {uid}:{gid}"), shape(HERE, path).as_str());
        }
    }
    // Calls that remove the set-id bits of a file.
    let caps = [0x0200_0000u32, 1, 0, 0, 0];
    for (what, act) in [
        ("write", 0),
        ("truncate", 1),
        ("fallocate", 2),
        ("chown", 3),
        ("setxattr", 4),
        ("mmap", 5),
        ("splice", 6),
    ] {
        for mode in [0o4755, 0o2755, 0o2745, 0o6777] {
            for uid in [0, 1001] {
                quiet!(SYS_unlinkat, AT_FDCWD, c"set", 0);
                must!(SYS_close, file(c"set", b"contents", O_RDWR));
                must!(SYS_fchownat, AT_FDCWD, c"set", 1001, 1001, 0);
                must!(SYS_fchmodat, AT_FDCWD, c"set", mode);
                quiet!(
                    SYS_setxattr,
                    c"set",
                    c"security.capability",
                    caps.as_ptr(),
                    20,
                    0
                );
                let fd = must!(SYS_openat, AT_FDCWD, c"set", O_RDWR);
                must!(SYS_setresuid, -1, uid, -1);
                match act {
                    0 => quiet!(SYS_write, fd, c"x", 1),
                    1 => quiet!(SYS_ftruncate, fd, 3i64),
                    2 => quiet!(SYS_fallocate, fd, 0, 0i64, 3i64),
                    3 => quiet!(SYS_fchown, fd, 1001, 1001),
                    4 => quiet!(SYS_fsetxattr, fd, c"user.x", c"y", 1, 0),
                    5 => quiet!(SYS_mmap, 0, 8, PROT_WRITE, MAP_SHARED, fd, 0),
                    _ => {
                        let mut at = 0i64;
                        quiet!(SYS_copy_file_range, fd, &raw mut at, fd, 0, 1, 0)
                    }
                };
                must!(SYS_setresuid, -1, 0, -1);
                let mut buf = [0u8; 32];
                let has = quiet!(
                    SYS_fgetxattr,
                    fd,
                    c"security.capability",
                    buf.as_mut_ptr(),
                    32
                );
                lines.note(
                    format!("{what} {mode:o} by {uid}"),
                    (stat(fd, c"").map(|s| format!("{:o}", s.st_mode)), has),
                );
                quiet!(SYS_close, fd);
            }
        }
    }
}

fn times(lines: &mut Lines) {
    super::open::kinds();
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    for path in [c"file", c"dir", c"link", c"fifo", c"missing"] {
        let name = path.to_string_lossy();
        for (what, a, m) in [
            ("set", (1000i64, 5i64), (2000, 999_999_999)),
            ("omit", (0, OMIT), (7, 0)),
            ("both omitted", (0, OMIT), (0, OMIT)),
            ("before 1970", (-1, 0), (-1_000_000_000, 1)),
            ("far", (1 << 40, 0), (1 << 40, 0)),
            ("bad ns", (0, 1_000_000_000), (0, 0)),
            ("negative ns", (0, -1), (0, 0)),
        ] {
            let spec = [a.0, a.1, m.0, m.1];
            sys!(
                lines,
                format!("{name} {what}"),
                SYS_utimensat,
                AT_FDCWD,
                path,
                spec.as_ptr(),
                AT_SYMLINK_NOFOLLOW
            );
            let s = stat(HERE, path);
            lines.note(
                format!("{name} {what} is"),
                s.map(|s| (s.st_atime, s.st_atime_nsec, s.st_mtime, s.st_mtime_nsec)),
            );
        }
        let spec = [0, NOW, 0, NOW];
        sys!(
            lines,
            format!("{name} now"),
            SYS_utimensat,
            AT_FDCWD,
            path,
            spec.as_ptr(),
            AT_SYMLINK_NOFOLLOW
        );
    }
    let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    sys!(lines, "of a reader", SYS_utimensat, fd, 0, 0, 0);
    let path = must!(SYS_openat, AT_FDCWD, c"file", O_PATH);
    sys!(lines, "of a path", SYS_utimensat, path, 0, 0, 0);
    sys!(
        lines,
        "of a path by AT_EMPTY_PATH",
        SYS_utimensat,
        path,
        c"",
        0,
        AT_EMPTY_PATH
    );
}

/// Which times a call changes, compared with those before it.
fn stamps(lines: &mut Lines) {
    super::open::kinds();
    let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
    let of = |fd, path| {
        stat(fd, path).map(|s| {
            (
                (s.st_atime, s.st_atime_nsec),
                (s.st_mtime, s.st_mtime_nsec),
                (s.st_ctime, s.st_ctime_nsec),
            )
        })
    };
    let mut check = |what: &str, act: &mut dyn FnMut() -> i64| {
        let (f, d) = (of(fd, c""), of(HERE, c"."));
        act();
        let (g, e) = (of(fd, c""), of(HERE, c"."));
        if let (Some(f), Some(d), Some(g), Some(e)) = (f, d, g, e) {
            lines.note(
                what,
                format!(
                    "file a{} m{} c{} dir m{} c{}",
                    f.0 != g.0,
                    f.1 != g.1,
                    f.2 != g.2,
                    d.1 != e.1,
                    d.2 != e.2
                ),
            );
        }
    };
    let mut buf = [0u8; 4096];
    let buf = buf.as_mut_ptr();
    check("write", &mut || quiet!(SYS_pwrite64, fd, buf, 1, 0i64));
    check("write again", &mut || {
        quiet!(SYS_pwrite64, fd, buf, 1, 0i64)
    });
    check("write nothing", &mut || {
        quiet!(SYS_pwrite64, fd, buf, 0, 0i64)
    });
    check("truncate to the same", &mut || {
        let size = stat(fd, c"").map_or(0, |s| s.st_size);
        quiet!(SYS_ftruncate, fd, size)
    });
    check("truncate", &mut || quiet!(SYS_ftruncate, fd, 5i64));
    check("fallocate", &mut || {
        quiet!(SYS_fallocate, fd, 0, 0i64, 8192i64)
    });
    check("punch", &mut || quiet!(SYS_fallocate, fd, 3, 0i64, 4096i64));
    check("chmod", &mut || quiet!(SYS_fchmod, fd, 0o640));
    check("chown", &mut || quiet!(SYS_fchown, fd, 5, 5));
    check("chown of nothing", &mut || quiet!(SYS_fchown, fd, -1, -1));
    check("setxattr", &mut || {
        quiet!(SYS_fsetxattr, fd, c"user.x", c"y", 1, 0)
    });
    check("removexattr", &mut || {
        quiet!(SYS_fremovexattr, fd, c"user.x")
    });
    check("link", &mut || {
        quiet!(SYS_linkat, AT_FDCWD, c"file", AT_FDCWD, c"new", 0)
    });
    check("rename", &mut || {
        quiet!(SYS_renameat, AT_FDCWD, c"new", AT_FDCWD, c"new2")
    });
    check("rename itself", &mut || {
        quiet!(SYS_renameat, AT_FDCWD, c"file", AT_FDCWD, c"file2")
    });
    check("rename back", &mut || {
        quiet!(SYS_renameat, AT_FDCWD, c"file2", AT_FDCWD, c"file")
    });
    check("exchange", &mut || {
        quiet!(SYS_renameat2, AT_FDCWD, c"file", AT_FDCWD, c"fifo", 2)
    });
    check("exchange back", &mut || {
        quiet!(SYS_renameat2, AT_FDCWD, c"file", AT_FDCWD, c"fifo", 2)
    });
    check("unlink", &mut || quiet!(SYS_unlinkat, AT_FDCWD, c"new2", 0));
    check("create", &mut || {
        quiet!(SYS_openat, AT_FDCWD, c"c", O_CREAT | O_RDWR, 0o644)
    });
    check("open", &mut || quiet!(SYS_openat, AT_FDCWD, c"c", O_RDWR));
    check("truncating open", &mut || {
        quiet!(SYS_openat, AT_FDCWD, c"file", O_RDWR | O_TRUNC)
    });
    check("mkdir", &mut || quiet!(SYS_mkdirat, AT_FDCWD, c"d", 0o755));
    check("rmdir", &mut || {
        quiet!(SYS_unlinkat, AT_FDCWD, c"d", AT_REMOVEDIR)
    });
    check("symlink", &mut || {
        quiet!(SYS_symlinkat, c"x", AT_FDCWD, c"s")
    });
    check("mknod", &mut || {
        quiet!(SYS_mknodat, AT_FDCWD, c"n", S_IFIFO | 0o600, 0)
    });
    check("a failed rename", &mut || {
        quiet!(SYS_renameat, AT_FDCWD, c"none", AT_FDCWD, c"new2")
    });
    check("a failed unlink", &mut || {
        quiet!(SYS_unlinkat, AT_FDCWD, c"none", 0)
    });
    check("mmap and write", &mut || {
        quiet!(SYS_ftruncate, fd, 4096i64);
        let at = quiet!(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        quiet!(
            SYS_read,
            must!(SYS_openat, AT_FDCWD, c"/dev/zero", O_RDONLY),
            at,
            10
        )
    });
    check("utimensat", &mut || quiet!(SYS_utimensat, fd, 0, 0, 0));
    // Read after a modification: relatime moves the time of access.
    check("read", &mut || quiet!(SYS_pread64, fd, buf, 1, 0i64));
    check("read again", &mut || quiet!(SYS_pread64, fd, buf, 1, 0i64));
    let mut seen = 0;
    for _ in 0..1000 {
        let before = of(fd, c"");
        quiet!(SYS_pwrite64, fd, buf, 1, 0i64);
        seen += usize::from(before != of(fd, c""));
    }
    lines.note("writes of 1000 that a stat sees", seen);
    let mut seen = 0;
    for _ in 0..200 {
        let before = of(HERE, c".");
        quiet!(SYS_mkdirat, AT_FDCWD, c"d", 0o755);
        let between = of(HERE, c".");
        quiet!(SYS_unlinkat, AT_FDCWD, c"d", AT_REMOVEDIR);
        seen += usize::from(before != between) + usize::from(between != of(HERE, c"."));
    }
    lines.note("changes of 400 of a directory that a stat sees", seen);
}

fn xattr(lines: &mut Lines) {
    super::open::kinds();
    let value = [b'v'; 70_000];
    let mut buf = vec![0u8; 70_000];
    for path in [c"file", c"dir", c"link", c"fifo", c"missing"] {
        let on = path.to_string_lossy();
        for name in [
            c"user.a",
            c"trusted.a",
            c"security.a",
            c"system.a",
            c"btrfs.a",
            c"user.",
            c"user",
            c"a",
            c"",
            c"security.capability",
            c"security.selinux",
            c"security.ima",
            c"security.evm",
            c"system.posix_acl_access",
        ] {
            let what = format!("{on} {}", name.to_string_lossy());
            for (how, flags) in [("CREATE", 1), ("0", 0), ("REPLACE", 2), ("3", 3)] {
                sys!(
                    lines,
                    format!("{what} {how}"),
                    SYS_lsetxattr,
                    path,
                    name,
                    value.as_ptr(),
                    5,
                    flags
                );
            }
            val!(
                lines,
                format!("{what} get"),
                SYS_lgetxattr,
                path,
                name,
                buf.as_mut_ptr(),
                100
            );
            val!(
                lines,
                format!("{what} size"),
                SYS_lgetxattr,
                path,
                name,
                0,
                0
            );
            sys!(
                lines,
                format!("{what} get too little"),
                SYS_lgetxattr,
                path,
                name,
                buf.as_mut_ptr(),
                1
            );
            sys!(
                lines,
                format!("{what} remove"),
                SYS_lremovexattr,
                path,
                name
            );
            sys!(
                lines,
                format!("{what} remove again"),
                SYS_lremovexattr,
                path,
                name
            );
        }
        for size in [0, 1, 65_536, 65_537] {
            sys!(
                lines,
                format!("{on} of {size} bytes"),
                SYS_lsetxattr,
                path,
                c"user.big",
                value.as_ptr(),
                size,
                0
            );
        }
        sys!(
            lines,
            format!("{on} trusted for the list"),
            SYS_lsetxattr,
            path,
            c"trusted.l",
            value.as_ptr(),
            3,
            0
        );
        val!(lines, format!("{on} list size"), SYS_llistxattr, path, 0, 0);
        let got = val!(
            lines,
            format!("{on} list"),
            SYS_llistxattr,
            path,
            buf.as_mut_ptr(),
            4096
        )
        .max(0) as usize;
        lines.note(
            format!("{on} names"),
            String::from_utf8_lossy(&buf[..got]).into_owned(),
        );
        sys!(
            lines,
            format!("{on} list too little"),
            SYS_llistxattr,
            path,
            buf.as_mut_ptr(),
            2
        );
    }
    let long = std::ffi::CString::new(format!("user.{}", "n".repeat(250))).unwrap_or_default();
    sys!(
        lines,
        "name of 255",
        SYS_setxattr,
        c"file",
        long.as_c_str(),
        value.as_ptr(),
        1,
        0
    );
    let long = std::ffi::CString::new(format!("user.{}", "n".repeat(251))).unwrap_or_default();
    sys!(
        lines,
        "name of 256",
        SYS_setxattr,
        c"file",
        long.as_c_str(),
        value.as_ptr(),
        1,
        0
    );
    let reader = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    sys!(
        lines,
        "of a reader",
        SYS_fsetxattr,
        reader,
        c"user.r",
        value.as_ptr(),
        1,
        0
    );
    let path = must!(SYS_openat, AT_FDCWD, c"file", O_PATH);
    sys!(
        lines,
        "of a path",
        SYS_fsetxattr,
        path,
        c"user.r",
        value.as_ptr(),
        1,
        0
    );
}

/// An ACL as an extended attribute: {tag, perm, id} after a version.
fn encode(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn acl(lines: &mut Lines) {
    super::open::kinds();
    const NONE: u32 = u32::MAX;
    let small = encode(&[(1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]);
    let named = encode(&[
        (1, 7, NONE),
        (2, 6, 1001),
        (4, 5, NONE),
        (8, 4, 1002),
        (0x10, 6, NONE),
        (0x20, 0, NONE),
    ]);
    let unsorted = encode(&[(0x20, 0, NONE), (1, 7, NONE), (4, 5, NONE)]);
    let no_mask = encode(&[(1, 7, NONE), (2, 6, 1001), (4, 5, NONE), (0x20, 0, NONE)]);
    let mut buf = [0u8; 256];
    for path in [c"file", c"dir", c"fifo", c"link"] {
        let on = path.to_string_lossy();
        for name in [c"system.posix_acl_access", c"system.posix_acl_default"] {
            for (what, bytes) in [
                ("small", &small),
                ("named", &named),
                ("unsorted", &unsorted),
                ("no mask", &no_mask),
                ("empty", &Vec::new()),
                ("named again", &named),
            ] {
                let what = format!("{on} {} {what}", name.to_string_lossy());
                sys!(
                    lines,
                    &what,
                    SYS_lsetxattr,
                    path,
                    name,
                    bytes.as_ptr(),
                    bytes.len(),
                    0
                );
                let got = val!(
                    lines,
                    format!("{what} get"),
                    SYS_lgetxattr,
                    path,
                    name,
                    buf.as_mut_ptr(),
                    256
                )
                .max(0) as usize;
                lines.note(format!("{what} is"), &buf[..got]);
                lines.note(
                    format!("{what} mode"),
                    stat(HERE, path).map(|s| format!("{:o}", s.st_mode)),
                );
            }
        }
        let got = val!(
            lines,
            format!("{on} list"),
            SYS_llistxattr,
            path,
            buf.as_mut_ptr(),
            256
        )
        .max(0) as usize;
        lines.note(
            format!("{on} names"),
            String::from_utf8_lossy(&buf[..got]).into_owned(),
        );
        sys!(
            lines,
            format!("{on} chmod"),
            SYS_fchmodat,
            AT_FDCWD,
            path,
            0o751
        );
        let got = val!(
            lines,
            format!("{on} access after chmod"),
            SYS_lgetxattr,
            path,
            c"system.posix_acl_access",
            buf.as_mut_ptr(),
            256
        )
        .max(0) as usize;
        lines.note(format!("{on} is after chmod"), &buf[..got]);
    }
    // Files that are created below a default ACL.
    for umask in [0o022, 0o077] {
        must!(SYS_umask, umask);
        must!(SYS_close, file(c"dir/file", b"x", O_RDONLY));
        must!(SYS_mkdirat, AT_FDCWD, c"dir/dir", 0o777);
        must!(SYS_symlinkat, c"x", AT_FDCWD, c"dir/link");
        must!(SYS_mknodat, AT_FDCWD, c"dir/fifo", S_IFIFO | 0o666, 0);
        let tmp = must!(SYS_openat, AT_FDCWD, c"dir", O_TMPFILE | O_RDWR, 0o666);
        lines.note(
            "tmpfile mode",
            stat(tmp, c"").map(|s| format!("{:o}", s.st_mode)),
        );
        for path in [c"dir/file", c"dir/dir", c"dir/link", c"dir/fifo"] {
            let on = path.to_string_lossy();
            lines.note(
                format!("{on} mode"),
                stat(HERE, path).map(|s| format!("{:o}", s.st_mode)),
            );
            for name in [c"system.posix_acl_access", c"system.posix_acl_default"] {
                let got = val!(
                    lines,
                    format!("{on} {}", name.to_string_lossy()),
                    SYS_lgetxattr,
                    path,
                    name,
                    buf.as_mut_ptr(),
                    256
                )
                .max(0) as usize;
                lines.note(format!("{on} is"), &buf[..got]);
            }
            quiet!(
                SYS_unlinkat,
                AT_FDCWD,
                path,
                if path == c"dir/dir" { AT_REMOVEDIR } else { 0 }
            );
        }
    }
    // The permissions that it gives to others.
    must!(SYS_setgroups, 0, 0);
    must!(SYS_setresgid, 1003, 1003, 1003);
    must!(SYS_setresuid, 1001, 1001, 1001);
    for (what, how) in [("RDONLY", O_RDONLY), ("WRONLY", O_WRONLY), ("RDWR", O_RDWR)] {
        sys!(
            lines,
            format!("named user {what}"),
            SYS_openat,
            AT_FDCWD,
            c"file",
            how
        );
    }
    sys!(
        lines,
        "named user sets it",
        SYS_setxattr,
        c"file",
        c"system.posix_acl_access",
        small.as_ptr(),
        small.len(),
        0
    );
    sys!(
        lines,
        "named user creates",
        SYS_openat,
        AT_FDCWD,
        c"dir/mine",
        O_CREAT | O_RDWR,
        0o600
    );
    for (what, how) in [("R", R_OK), ("W", W_OK), ("X", X_OK)] {
        sys!(
            lines,
            format!("access {what}"),
            SYS_faccessat2,
            AT_FDCWD,
            c"file",
            how,
            0
        );
    }
}

fn statx(lines: &mut Lines) {
    super::open::kinds();
    let mut buf = [0u64; 32];
    for path in [c"file", c"dir", c"link", c"fifo", c"null"] {
        let on = path.to_string_lossy();
        for mask in [
            0u32,
            0x7ff,
            0xfff,
            STATX_BTIME,
            0x1000,
            0x2000,
            0x4000,
            0x8000,
            0x10000,
            0x20000,
        ] {
            sys!(
                lines,
                format!("{on} {mask:#x}"),
                SYS_statx,
                AT_FDCWD,
                path,
                AT_SYMLINK_NOFOLLOW,
                mask,
                buf.as_mut_ptr()
            );
            lines.note(
                format!("{on} {mask:#x} has"),
                format!("{:#x}", buf[0] as u32),
            );
        }
        lines.note(format!("{on} block size"), buf[0] >> 32);
        lines.note(
            format!("{on} attributes"),
            format!("{:#x} of {:#x}", buf[1], buf[7]),
        );
        sys!(
            lines,
            format!("{on} btime"),
            SYS_statx,
            AT_FDCWD,
            path,
            AT_SYMLINK_NOFOLLOW,
            STATX_BTIME | STATX_CTIME,
            buf.as_mut_ptr()
        );
        let time = |n: usize| (buf[n] as i64, buf[n + 1] as u32);
        lines.note(
            format!("{on} was born"),
            (time(10) != (0, 0), time(10) <= time(12)),
        );
    }
    sys!(
        lines,
        "reserved mask",
        SYS_statx,
        AT_FDCWD,
        c"file",
        0,
        0x8000_0000u32,
        buf.as_mut_ptr()
    );
    sys!(
        lines,
        "sync",
        SYS_statx,
        AT_FDCWD,
        c"file",
        0x2000,
        0xfff,
        buf.as_mut_ptr()
    );
}

fn statfs(lines: &mut Lines) {
    must!(SYS_close, file(c"file", b"x", O_RDWR));
    let mut buf = [0u64; 16];
    for (what, path) in [("dir", c"."), ("file", c"file")] {
        sys!(lines, what, SYS_statfs, path, buf.as_mut_ptr());
        lines.note(format!("{what} block size"), buf[1]);
        lines.note(
            format!("{what} has blocks, free ones, inodes"),
            (buf[2] != 0, buf[3] != 0, buf[5] != 0, buf[6] != 0),
        );
        lines.note(format!("{what} fsid"), buf[7] != 0);
        lines.note(format!("{what} name length, fragment"), (buf[8], buf[9]));
        // But for NODEV, NOEXEC and relatime, which are the mount's.
        lines.note(format!("{what} flags"), buf[10] & !(4 | 8 | 4096));
    }
}

fn ioctls(lines: &mut Lines) {
    super::open::kinds();
    for (on, path) in [("file", c"file"), ("dir", c"dir")] {
        let fd = must!(SYS_openat, AT_FDCWD, path, O_RDONLY);
        for (what, nr) in [
            ("FIONREAD", 0x541bu32),
            ("FIOQSIZE", 0x5460),
            ("FIGETBSZ", 2),
            ("FIBMAP", 1),
            ("FIONBIO", 0x5421),
            ("FIOASYNC", 0x5452),
            ("FIOCLEX", 0x5451),
            ("TCGETS", 0x5401),
            ("FS_IOC_GETFLAGS", 0x8008_6601),
            ("FS_IOC_GETVERSION", 0x8008_7601),
            ("FS_IOC_SETVERSION", 0x4008_7602),
            ("FS_IOC_FSGETXATTR", 0x801c_581f),
            ("FS_IOC_GETFSUUID", 0x8011_1500),
            ("FS_IOC_GETFSSYSFSPATH", 0x8081_1501),
            ("FS_IOC_FIEMAP", 0xc020_660b),
            ("FIFREEZE", 0xc004_5877),
            ("FITHAW", 0xc004_5878),
            ("FITRIM", 0xc018_5879),
            ("FS_IOC_GETFSLABEL", 0x8100_9431),
            ("FS_IOC_ENABLE_VERITY", 0x4080_6685),
            ("FS_IOC_RESVSP", 0x4030_5828),
            ("FS_IOC_GETLBMD_CAP", 0xc028_1502),
            ("BLKGETSIZE64", 0x8008_1272),
            ("PAGEMAP_SCAN", 0xc060_6610),
            ("unknown", 0x1234),
        ] {
            let mut buf = [0u64; 64];
            sys!(
                lines,
                format!("{on} {what}"),
                SYS_ioctl,
                fd,
                nr,
                buf.as_mut_ptr()
            );
            if matches!(
                what,
                "FIONREAD" | "FIOQSIZE" | "FIGETBSZ" | "FS_IOC_GETFLAGS"
            ) && on == "file"
            {
                lines.note(format!("{on} {what} is"), buf[0]);
            }
        }
    }
}

fn flags(lines: &mut Lines) {
    super::open::kinds();
    for (on, path) in [("file", c"file"), ("dir", c"dir")] {
        let fd = must!(SYS_openat, AT_FDCWD, path, O_RDONLY);
        for (what, bits) in [
            ("IMMUTABLE", 0x10u64),
            ("APPEND", 0x20),
            ("NODUMP", 0x40),
            ("NOATIME", 0x80),
            ("SECRM", 1),
            ("UNRM", 2),
            ("COMPR", 4),
            ("SYNC", 8),
            ("NOCOW", 0x80_0000),
            ("DAX", 0x200_0000),
            ("DIRSYNC", 0x1_0000),
            ("CASEFOLD", 0x4000_0000),
            ("PROJINHERIT", 0x2000_0000),
            ("0", 0),
        ] {
            let mut value = bits;
            sys!(
                lines,
                format!("{on} set {what}"),
                SYS_ioctl,
                fd,
                0x4008_6602u32,
                &raw mut value
            );
            value = 0;
            sys!(
                lines,
                format!("{on} get {what}"),
                SYS_ioctl,
                fd,
                0x8008_6601u32,
                &raw mut value
            );
            lines.note(format!("{on} {what} is"), format!("{value:#x}"));
            let mut x = [0u32; 7];
            sys!(
                lines,
                format!("{on} fsgetxattr {what}"),
                SYS_ioctl,
                fd,
                0x801c_581fu32,
                x.as_mut_ptr()
            );
            lines.note(
                format!("{on} {what} xflags"),
                format!("{:#x} extsize {} projid {}", x[0], x[1], x[3]),
            );
            sys!(
                lines,
                format!("{on} fssetxattr {what}"),
                SYS_ioctl,
                fd,
                0x401c_5820u32,
                x.as_mut_ptr()
            );
            let mut buf = [0u64; 32];
            quiet!(SYS_statx, AT_FDCWD, path, 0, 0xfff, buf.as_mut_ptr());
            lines.note(format!("{on} {what} attributes"), format!("{:#x}", buf[1]));
            if on == "file" {
                sys!(
                    lines,
                    format!("{what}: write"),
                    SYS_openat,
                    AT_FDCWD,
                    path,
                    O_WRONLY
                );
                sys!(
                    lines,
                    format!("{what}: append"),
                    SYS_openat,
                    AT_FDCWD,
                    path,
                    O_WRONLY | O_APPEND
                );
                sys!(lines, format!("{what}: truncate"), SYS_truncate, path, 3i64);
                sys!(
                    lines,
                    format!("{what}: chmod"),
                    SYS_fchmodat,
                    AT_FDCWD,
                    path,
                    0o600
                );
                sys!(
                    lines,
                    format!("{what}: utimensat"),
                    SYS_utimensat,
                    AT_FDCWD,
                    path,
                    0,
                    0
                );
                sys!(
                    lines,
                    format!("{what}: setxattr"),
                    SYS_setxattr,
                    path,
                    c"user.f",
                    c"y",
                    1,
                    0
                );
                sys!(
                    lines,
                    format!("{what}: link"),
                    SYS_linkat,
                    AT_FDCWD,
                    path,
                    AT_FDCWD,
                    c"new",
                    0
                );
                sys!(
                    lines,
                    format!("{what}: rename"),
                    SYS_renameat,
                    AT_FDCWD,
                    path,
                    AT_FDCWD,
                    c"new"
                );
                sys!(
                    lines,
                    format!("{what}: rename back"),
                    SYS_renameat,
                    AT_FDCWD,
                    c"new",
                    AT_FDCWD,
                    path
                );
            } else {
                sys!(
                    lines,
                    format!("{what}: create in it"),
                    SYS_openat,
                    AT_FDCWD,
                    c"dir/f",
                    O_CREAT | O_RDONLY,
                    0o644
                );
                let child = quiet!(SYS_openat, AT_FDCWD, c"dir/f", O_RDONLY);
                let mut value = 0u64;
                sys!(
                    lines,
                    format!("{what}: inherited"),
                    SYS_ioctl,
                    child,
                    0x8008_6601u32,
                    &raw mut value
                );
                lines.note(format!("{what}: inherited is"), format!("{value:#x}"));
                sys!(
                    lines,
                    format!("{what}: unlink in it"),
                    SYS_unlinkat,
                    AT_FDCWD,
                    c"dir/f",
                    0
                );
            }
        }
    }
    let fifo = must!(SYS_openat, AT_FDCWD, c"fifo", O_RDONLY | O_NONBLOCK);
    let mut value = 0u64;
    sys!(
        lines,
        "fifo get",
        SYS_ioctl,
        fifo,
        0x8008_6601u32,
        &raw mut value
    );
    // file_getattr(2) and file_setattr(2).
    let mut attr = [0u64; 3];
    for path in [c"file", c"link", c"fifo"] {
        let on = path.to_string_lossy();
        sys!(
            lines,
            format!("{on} file_getattr"),
            SYS_file_getattr,
            AT_FDCWD,
            path,
            attr.as_mut_ptr(),
            24,
            AT_SYMLINK_NOFOLLOW
        );
        lines.note(format!("{on} xflags"), attr[0]);
        sys!(
            lines,
            format!("{on} file_setattr"),
            SYS_file_setattr,
            AT_FDCWD,
            path,
            attr.as_mut_ptr(),
            24,
            AT_SYMLINK_NOFOLLOW
        );
    }
}

fn quota(lines: &mut Lines) {
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY | O_DIRECTORY);
    let mut buf = [0u64; 32];
    for (what, cmd) in [
        ("GETQUOTA", 0x0080_0007u32),
        ("GETINFO", 0x0080_0005),
        ("GETFMT", 0x0080_0004),
        ("SYNC", 0x0080_0001),
        ("GETSTATS", 0x5805),
    ] {
        sys!(
            lines,
            what,
            SYS_quotactl_fd,
            dir,
            cmd << 8,
            0,
            buf.as_mut_ptr()
        );
    }
}
