// SPDX-License-Identifier: GPL-2.0-only

//! Opening: flags, kinds of files, modes, O_TMPFILE, handles.

use super::lines::{file, must, quiet, shape, sys, val, Lines};
use super::Case;
use libc::*;

pub const CASES: &[Case] = &[
    ("open", flags),
    ("open by mode", modes),
    ("create", create),
    ("tmpfile", tmpfile),
    ("handles", handles),
    ("openat2", openat2),
    ("fcntl", fcntl),
];

/// One of each kind.
pub fn kinds() {
    must!(SYS_close, file(c"file", b"contents", O_RDWR));
    must!(SYS_mkdirat, AT_FDCWD, c"dir", 0o755);
    must!(SYS_symlinkat, c"file", AT_FDCWD, c"link");
    must!(SYS_symlinkat, c"missing", AT_FDCWD, c"dangling");
    must!(SYS_mknodat, AT_FDCWD, c"fifo", S_IFIFO | 0o644, 0);
    must!(SYS_mknodat, AT_FDCWD, c"socket", S_IFSOCK | 0o644, 0);
    must!(SYS_mknodat, AT_FDCWD, c"null", S_IFCHR | 0o666, 0x103);
    must!(SYS_mknodat, AT_FDCWD, c"block", S_IFBLK | 0o666, 0x700);
}

const FLAGS: &[(&str, i32)] = &[
    ("0", 0),
    ("APPEND", O_APPEND),
    ("TRUNC", O_TRUNC),
    ("CREAT|EXCL", O_CREAT | O_EXCL),
    ("DIRECTORY", O_DIRECTORY),
    ("NOFOLLOW", O_NOFOLLOW),
    ("PATH", O_PATH),
    ("PATH|NOFOLLOW", O_PATH | O_NOFOLLOW),
    ("DIRECT", O_DIRECT),
    ("SYNC", O_SYNC),
    ("DSYNC", O_DSYNC),
    ("NOATIME", O_NOATIME),
    ("ASYNC", O_ASYNC),
    ("LARGEFILE", O_LARGEFILE),
    ("DIRECTORY|CREAT", O_DIRECTORY | O_CREAT),
];

fn flags(lines: &mut Lines) {
    kinds();
    for path in [
        c"file",
        c"dir",
        c"link",
        c"dangling",
        c"fifo",
        c"socket",
        c"null",
        c"block",
        c"missing",
        c"file/",
        c"file/x",
    ] {
        for (access, bits) in [
            ("RDONLY", O_RDONLY),
            ("WRONLY", O_WRONLY),
            ("RDWR", O_RDWR),
            ("3", 3),
        ] {
            for (name, flags) in FLAGS {
                let what = format!("{} {access}|{name}", path.to_str().unwrap_or("?"));
                let fd = sys!(
                    lines,
                    what,
                    SYS_openat,
                    AT_FDCWD,
                    path,
                    bits | flags | O_NONBLOCK,
                    0o644
                );
                if fd >= 0 {
                    val!(lines, format!("{what} F_GETFL"), SYS_fcntl, fd, F_GETFL);
                    quiet!(SYS_close, fd);
                }
                quiet!(SYS_unlinkat, AT_FDCWD, c"missing", 0);
            }
        }
    }
}

/// As a user other than root.
fn modes(lines: &mut Lines) {
    for mode in [0o000, 0o400, 0o200, 0o600, 0o044, 0o022, 0o111, 0o777] {
        let name = std::ffi::CString::new(format!("m{mode:o}")).unwrap_or_default();
        must!(SYS_close, file(&name, b"x", O_RDONLY));
        must!(SYS_fchmodat, AT_FDCWD, name.as_c_str(), mode);
        must!(SYS_mkdirat, AT_FDCWD, c"d", 0o755);
        let dir = std::ffi::CString::new(format!("d{mode:o}")).unwrap_or_default();
        must!(SYS_renameat, AT_FDCWD, c"d", AT_FDCWD, dir.as_c_str());
        must!(SYS_fchmodat, AT_FDCWD, dir.as_c_str(), mode);
    }
    must!(SYS_setgroups, 0, 0);
    must!(SYS_setresgid, 1001, 1001, 1001);
    must!(SYS_setresuid, 1001, 1001, 1001);
    for mode in [0o000, 0o400, 0o200, 0o600, 0o044, 0o022, 0o111, 0o777] {
        let name = std::ffi::CString::new(format!("m{mode:o}")).unwrap_or_default();
        let dir = std::ffi::CString::new(format!("d{mode:o}")).unwrap_or_default();
        let (name, dir) = (name.as_c_str(), dir.as_c_str());
        for (access, bits) in [
            ("RDONLY", O_RDONLY),
            ("WRONLY", O_WRONLY),
            ("RDWR", O_RDWR),
            ("NOATIME", O_NOATIME),
        ] {
            let fd = sys!(
                lines,
                format!("{mode:o} {access}"),
                SYS_openat,
                AT_FDCWD,
                name,
                bits
            );
            quiet!(SYS_close, fd);
        }
        for (what, how) in [("R", R_OK), ("W", W_OK), ("F", F_OK)] {
            sys!(
                lines,
                format!("{mode:o} access {what}"),
                SYS_faccessat2,
                AT_FDCWD,
                name,
                how,
                AT_EACCESS
            );
            sys!(
                lines,
                format!("dir {mode:o} access {what}"),
                SYS_faccessat2,
                AT_FDCWD,
                dir,
                how,
                0
            );
        }
        sys!(
            lines,
            format!("dir {mode:o} list"),
            SYS_openat,
            AT_FDCWD,
            dir,
            O_RDONLY | O_DIRECTORY
        );
        sys!(
            lines,
            format!("{mode:o} chmod"),
            SYS_fchmodat,
            AT_FDCWD,
            name,
            0o600
        );
        sys!(
            lines,
            format!("{mode:o} chown"),
            SYS_fchownat,
            AT_FDCWD,
            name,
            1001,
            1001,
            0
        );
        sys!(
            lines,
            format!("{mode:o} truncate"),
            SYS_truncate,
            name,
            0i64
        );
        sys!(
            lines,
            format!("{mode:o} utimensat"),
            SYS_utimensat,
            AT_FDCWD,
            name,
            0,
            0
        );
        sys!(
            lines,
            format!("{mode:o} setxattr"),
            SYS_setxattr,
            name,
            c"user.x",
            c"y",
            1,
            0
        );
        sys!(
            lines,
            format!("{mode:o} unlink"),
            SYS_unlinkat,
            AT_FDCWD,
            name,
            0
        );
    }
    sys!(
        lines,
        "mknod null",
        SYS_mknodat,
        AT_FDCWD,
        c"n",
        S_IFCHR | 0o666,
        0x103
    );
    sys!(
        lines,
        "trusted",
        SYS_setxattr,
        c"m777",
        c"trusted.x",
        c"y",
        1,
        0
    );
    sys!(
        lines,
        "security",
        SYS_setxattr,
        c"m777",
        c"security.x",
        c"y",
        1,
        0
    );
}

fn create(lines: &mut Lines) {
    for umask in [0o000, 0o022, 0o777] {
        must!(SYS_umask, umask);
        for mode in [0o666, 0o777, 0o7777, 0] {
            let what = format!("umask {umask:o} mode {mode:o}");
            sys!(
                lines,
                &what,
                SYS_openat,
                AT_FDCWD,
                c"new",
                O_CREAT | O_RDWR,
                mode
            );
            lines.note(
                format!("{what} file"),
                shape(i64::from(AT_FDCWD), c"new").as_str(),
            );
            sys!(lines, &what, SYS_mkdirat, AT_FDCWD, c"newdir", mode);
            lines.note(
                format!("{what} dir mode"),
                super::lines::stat(i64::from(AT_FDCWD), c"newdir").map(|s| s.st_mode),
            );
            quiet!(SYS_unlinkat, AT_FDCWD, c"new", 0);
            quiet!(SYS_unlinkat, AT_FDCWD, c"newdir", AT_REMOVEDIR);
        }
    }
    must!(SYS_umask, 0o022);
    // A directory whose set-group-ID bit passes its group on.
    must!(SYS_mkdirat, AT_FDCWD, c"group", 0o755);
    must!(SYS_fchownat, AT_FDCWD, c"group", 0, 1001, 0);
    must!(SYS_fchmodat, AT_FDCWD, c"group", 0o2777);
    sys!(
        lines,
        "file in it",
        SYS_openat,
        AT_FDCWD,
        c"group/file",
        O_CREAT,
        0o2775
    );
    sys!(
        lines,
        "dir in it",
        SYS_mkdirat,
        AT_FDCWD,
        c"group/dir",
        0o755
    );
    for path in [c"group/file", c"group/dir"] {
        let s = super::lines::stat(i64::from(AT_FDCWD), path);
        lines.note(
            path.to_string_lossy(),
            s.map(|s| format!("{:o} {}:{}", s.st_mode, s.st_uid, s.st_gid)),
        );
    }
    for (what, mode) in [
        ("reg", S_IFREG),
        ("fifo", S_IFIFO),
        ("socket", S_IFSOCK),
        ("char", S_IFCHR),
        ("block", S_IFBLK),
        ("dir", S_IFDIR),
        ("link", S_IFLNK),
        ("0", 0),
    ] {
        sys!(
            lines,
            format!("mknod {what}"),
            SYS_mknodat,
            AT_FDCWD,
            c"node",
            mode | 0o644,
            0x501
        );
        let s = super::lines::stat(i64::from(AT_FDCWD), c"node");
        lines.note(
            format!("mknod {what} is"),
            s.map(|s| (s.st_mode, s.st_rdev, s.st_size, s.st_blocks)),
        );
        quiet!(SYS_unlinkat, AT_FDCWD, c"node", 0);
    }
}

fn tmpfile(lines: &mut Lines) {
    must!(SYS_mkdirat, AT_FDCWD, c"dir", 0o755);
    for (what, flags) in [
        ("RDWR", O_TMPFILE | O_RDWR),
        ("WRONLY", O_TMPFILE | O_WRONLY),
        ("RDONLY", O_TMPFILE | O_RDONLY),
        ("EXCL", O_TMPFILE | O_RDWR | O_EXCL),
        ("APPEND", O_TMPFILE | O_RDWR | O_APPEND),
        ("CREAT", O_TMPFILE | O_RDWR | O_CREAT),
    ] {
        let fd = sys!(lines, what, SYS_openat, AT_FDCWD, c"dir", flags, 0o640);
        if fd < 0 {
            continue;
        }
        val!(
            lines,
            format!("{what} write"),
            SYS_write,
            fd,
            c"text".as_ptr(),
            4
        );
        lines.note(format!("{what} is"), shape(fd, c"").as_str());
        sys!(
            lines,
            format!("{what} link"),
            SYS_linkat,
            fd,
            c"",
            AT_FDCWD,
            c"dir/name",
            AT_EMPTY_PATH
        );
        lines.note(format!("{what} linked"), shape(fd, c"").as_str());
        sys!(
            lines,
            format!("{what} unlink"),
            SYS_unlinkat,
            AT_FDCWD,
            c"dir/name",
            0
        );
        sys!(
            lines,
            format!("{what} link again"),
            SYS_linkat,
            fd,
            c"",
            AT_FDCWD,
            c"dir/again",
            AT_EMPTY_PATH
        );
        quiet!(SYS_close, fd);
    }
    sys!(
        lines,
        "in a file",
        SYS_openat,
        AT_FDCWD,
        c"dir/again",
        O_TMPFILE | O_RDWR,
        0o600
    );
}

fn handles(lines: &mut Lines) {
    kinds();
    for path in [c"file", c"dir", c"link", c"fifo", c"null"] {
        let name = path.to_string_lossy().into_owned();
        let mut handle = [0u32; 34];
        let mut mount = 0i32;
        for flags in [0, AT_SYMLINK_FOLLOW, 0x200 /* AT_HANDLE_FID */] {
            handle[0] = 128;
            sys!(
                lines,
                format!("{name} handle {flags:#x}"),
                SYS_name_to_handle_at,
                AT_FDCWD,
                path,
                handle.as_mut_ptr(),
                &raw mut mount,
                flags
            );
            lines.note(
                format!("{name} handle {flags:#x} has"),
                (handle[0], handle[1]),
            );
        }
        handle[0] = 128;
        quiet!(
            SYS_name_to_handle_at,
            AT_FDCWD,
            path,
            handle.as_mut_ptr(),
            &raw mut mount,
            0
        );
        let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY | O_DIRECTORY);
        for flags in [O_RDONLY, O_PATH, O_RDWR] {
            sys!(
                lines,
                format!("{name} open {flags:#x}"),
                SYS_open_by_handle_at,
                dir,
                handle.as_mut_ptr(),
                flags | O_NONBLOCK
            );
        }
        quiet!(SYS_unlinkat, AT_FDCWD, path, 0);
        sys!(
            lines,
            format!("{name} open after unlink"),
            SYS_open_by_handle_at,
            dir,
            handle.as_mut_ptr(),
            O_PATH
        );
    }
    let mut small = [0u32; 34];
    let mut mount = 0i32;
    sys!(
        lines,
        "too small",
        SYS_name_to_handle_at,
        AT_FDCWD,
        c".",
        small.as_mut_ptr(),
        &raw mut mount,
        0
    );
    lines.note("it would need", small[0]);
}

fn openat2(lines: &mut Lines) {
    kinds();
    must!(SYS_close, file(c"dir/inner", b"x", O_RDONLY));
    must!(SYS_symlinkat, c"/", AT_FDCWD, c"root");
    for (what, path, flags, resolve) in [
        ("beneath", c"dir/inner", 0, RESOLVE_BENEATH),
        ("beneath dotdot", c"dir/../../x", 0, RESOLVE_BENEATH),
        ("no symlinks", c"link", 0, RESOLVE_NO_SYMLINKS),
        ("in root", c"root", 0, RESOLVE_IN_ROOT),
        ("no xdev", c"dir/inner", 0, RESOLVE_NO_XDEV),
        ("cached", c"dir/inner", 0, RESOLVE_CACHED),
        ("cached create", c"dir/new", O_CREAT, RESOLVE_CACHED),
        ("unknown", c"file", 1 << 30, 0),
    ] {
        let how = [flags as u64, 0, resolve];
        sys!(
            lines,
            what,
            SYS_openat2,
            AT_FDCWD,
            path,
            how.as_ptr(),
            size_of_val(&how)
        );
    }
}

fn fcntl(lines: &mut Lines) {
    let fd = file(c"file", b"contents", O_RDWR);
    for (what, flags) in [
        ("APPEND", O_APPEND),
        ("DIRECT", O_DIRECT),
        ("NONBLOCK", O_NONBLOCK),
        ("NOATIME", O_NOATIME),
        ("ASYNC", O_ASYNC),
        ("SYNC", O_SYNC),
    ] {
        sys!(
            lines,
            format!("F_SETFL {what}"),
            SYS_fcntl,
            fd,
            F_SETFL,
            flags
        );
        val!(lines, format!("F_GETFL {what}"), SYS_fcntl, fd, F_GETFL);
    }
    sys!(lines, "F_SETFL 0", SYS_fcntl, fd, F_SETFL, 0);
    let mut hint = 0u64;
    sys!(lines, "F_GET_RW_HINT", SYS_fcntl, fd, 1035, &raw mut hint);
    hint = 2;
    sys!(lines, "F_SET_RW_HINT", SYS_fcntl, fd, 1036, &raw mut hint);
    sys!(lines, "F_GETOWN", SYS_fcntl, fd, F_GETOWN);
    sys!(lines, "F_SETOWN", SYS_fcntl, fd, F_SETOWN, 1);
    sys!(lines, "F_SETSIG", SYS_fcntl, fd, 10, SIGUSR1);
    sys!(lines, "F_GETPIPE_SZ", SYS_fcntl, fd, F_GETPIPE_SZ);
    sys!(
        lines,
        "F_ADD_SEALS",
        SYS_fcntl,
        fd,
        F_ADD_SEALS,
        F_SEAL_GROW
    );
    sys!(lines, "F_ADD_SEALS 0", SYS_fcntl, fd, F_ADD_SEALS, 0);
    val!(lines, "F_GET_SEALS", SYS_fcntl, fd, F_GET_SEALS);
    let other = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    sys!(
        lines,
        "F_GET_SEALS of a reader",
        SYS_fcntl,
        other,
        F_GET_SEALS
    );
    for (what, kind) in [("RDLCK", F_RDLCK), ("WRLCK", F_WRLCK), ("UNLCK", F_UNLCK)] {
        sys!(
            lines,
            format!("F_SETLEASE {what} of a reader"),
            SYS_fcntl,
            other,
            F_SETLEASE,
            kind
        );
        val!(
            lines,
            format!("F_GETLEASE {what} of a reader"),
            SYS_fcntl,
            other,
            F_GETLEASE
        );
        sys!(
            lines,
            format!("F_SETLEASE {what} of a writer"),
            SYS_fcntl,
            fd,
            F_SETLEASE,
            kind
        );
        val!(
            lines,
            format!("F_GETLEASE {what} of a writer"),
            SYS_fcntl,
            fd,
            F_GETLEASE
        );
    }
    quiet!(SYS_close, fd);
    sys!(
        lines,
        "F_SETLEASE RDLCK alone",
        SYS_fcntl,
        other,
        F_SETLEASE,
        F_RDLCK
    );
    sys!(
        lines,
        "open for writing against it",
        SYS_openat,
        AT_FDCWD,
        c"file",
        O_WRONLY | O_NONBLOCK
    );
    sys!(
        lines,
        "truncate against it",
        SYS_openat,
        AT_FDCWD,
        c"file",
        O_RDONLY | O_TRUNC | O_NONBLOCK
    );
    sys!(
        lines,
        "F_SETLEASE UNLCK",
        SYS_fcntl,
        other,
        F_SETLEASE,
        F_UNLCK
    );
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY | O_DIRECTORY);
    sys!(
        lines,
        "F_SETLEASE of a directory",
        SYS_fcntl,
        dir,
        F_SETLEASE,
        F_RDLCK
    );
    sys!(
        lines,
        "F_NOTIFY of a directory",
        SYS_fcntl,
        dir,
        F_NOTIFY,
        0
    );
    sys!(lines, "F_NOTIFY of a file", SYS_fcntl, other, F_NOTIFY, 2);
    for (what, kind) in [("F_SETLK", F_SETLK), ("F_OFD_SETLK", F_OFD_SETLK)] {
        for (name, how) in [("RDLCK", F_RDLCK), ("WRLCK", F_WRLCK), ("UNLCK", F_UNLCK)] {
            // SAFETY: plain numbers, for which zeroes are valid.
            let mut lock: flock = unsafe { core::mem::zeroed() };
            lock.l_type = how as i16;
            lock.l_len = 10;
            let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
            sys!(
                lines,
                format!("{what} {name}"),
                SYS_fcntl,
                fd,
                kind,
                &raw mut lock
            );
        }
    }
    for (what, how) in [
        ("SH", LOCK_SH),
        ("EX", LOCK_EX),
        ("EX|NB", LOCK_EX | LOCK_NB),
        ("UN", LOCK_UN),
        ("MAND", 32),
    ] {
        sys!(lines, format!("flock {what}"), SYS_flock, other, how);
    }
}
