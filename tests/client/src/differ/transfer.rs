// SPDX-License-Identifier: GPL-2.0-only

//! Reading, writing, seeking, splicing, truncating and allocating.

use super::lines::{file, must, quiet, shape, sys, val, Lines};
use super::Case;
use libc::*;
use std::ffi::c_void;

pub const CASES: &[Case] = &[
    ("read and write", simple),
    ("read and write flags", rwf),
    ("direct", direct),
    ("seek", seek),
    ("truncate", truncate),
    ("fallocate", fallocate),
    ("splice", splice),
    ("copy_file_range", copy),
    ("aio", aio),
    ("sync", sync),
    ("file size limit", limit),
];

fn simple(lines: &mut Lines) {
    let fd = file(c"file", b"0123456789", O_RDWR);
    let mut buf = [0u8; 64];
    let buf = buf.as_mut_ptr();

    val!(lines, "read", SYS_read, fd, buf, 64);
    val!(lines, "read at the end", SYS_read, fd, buf, 64);
    val!(lines, "pread", SYS_pread64, fd, buf, 64, 5i64);
    val!(lines, "pread beyond", SYS_pread64, fd, buf, 64, 500i64);
    sys!(lines, "pread at -1", SYS_pread64, fd, buf, 64, -1i64);
    sys!(lines, "read to nowhere", SYS_pread64, fd, 8, 64, 0i64);
    sys!(lines, "write from nowhere", SYS_pwrite64, fd, 8, 64, 0i64);
    val!(lines, "write nothing", SYS_write, fd, buf, 0);
    val!(lines, "write beyond", SYS_pwrite64, fd, buf, 10, 5000i64);
    lines.note("is", shape(fd, c"").as_str());
    sys!(lines, "write at -1", SYS_pwrite64, fd, buf, 1, -1i64);
    sys!(
        lines,
        "write at the maximum",
        SYS_pwrite64,
        fd,
        buf,
        2,
        i64::MAX
    );
    sys!(
        lines,
        "write one before the maximum",
        SYS_pwrite64,
        fd,
        buf,
        2,
        i64::MAX - 1
    );
    sys!(
        lines,
        "read at the maximum",
        SYS_pread64,
        fd,
        buf,
        2,
        i64::MAX
    );
    let iov = [iovec {
        iov_base: buf as *mut c_void,
        iov_len: 5,
    }; 3];
    val!(lines, "writev", SYS_pwritev, fd, iov.as_ptr(), 3, 0, 0);
    val!(lines, "readv", SYS_preadv, fd, iov.as_ptr(), 3, 0, 0);
    sys!(lines, "readv of -1", SYS_readv, fd, iov.as_ptr(), -1);
    sys!(lines, "readv of 1025", SYS_readv, fd, iov.as_ptr(), 1025);
    let append = must!(SYS_openat, AT_FDCWD, c"file", O_WRONLY | O_APPEND);
    val!(lines, "append", SYS_write, append, buf, 7);
    val!(lines, "append at 0", SYS_pwrite64, append, buf, 7, 0i64);
    val!(lines, "position of append", SYS_lseek, append, 0, SEEK_CUR);
    lines.note("is", shape(fd, c"").as_str());
    sys!(lines, "read of a writer", SYS_read, append, buf, 1);
    let reader = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    sys!(lines, "write of a reader", SYS_write, reader, buf, 1);
    sys!(lines, "readahead", SYS_readahead, reader, 0i64, 4096);
    sys!(
        lines,
        "readahead of a writer",
        SYS_readahead,
        append,
        0i64,
        4096
    );
    for advice in 0..8 {
        sys!(
            lines,
            format!("fadvise {advice}"),
            SYS_fadvise64,
            fd,
            0i64,
            0i64,
            advice
        );
    }
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY);
    sys!(lines, "read of a directory", SYS_read, dir, buf, 1);
    sys!(lines, "write of a directory", SYS_write, dir, buf, 1);
    sys!(lines, "fsync of a directory", SYS_fsync, dir);
    must!(SYS_unlinkat, AT_FDCWD, c"file", 0);
    val!(
        lines,
        "write without a name",
        SYS_pwrite64,
        fd,
        buf,
        10,
        0i64
    );
    lines.note("without a name", shape(fd, c"").as_str());
}

fn rwf(lines: &mut Lines) {
    let mut text = *b"0123456789";
    let iov = [iovec {
        iov_base: text.as_mut_ptr() as *mut c_void,
        iov_len: 10,
    }];
    for flags in [
        RWF_HIPRI,
        RWF_DSYNC,
        RWF_SYNC,
        RWF_NOWAIT,
        RWF_APPEND,
        0x20, /* NOAPPEND */
        0x40,
        /* ATOMIC */ 0x80,
        /* DONTCACHE */ 0x100,
        /* NOSIGNAL */ 0x200,
        RWF_APPEND | 0x20,
        RWF_DSYNC | RWF_NOWAIT,
    ] {
        quiet!(SYS_unlinkat, AT_FDCWD, c"file", 0);
        let fd = file(c"file", &text, O_RDWR);
        val!(
            lines,
            format!("pwritev2 {flags:#x}"),
            SYS_pwritev2,
            fd,
            iov.as_ptr(),
            1,
            0,
            0,
            flags
        );
        lines.note(
            format!("size {flags:#x}"),
            super::lines::stat(fd, c"").map(|s| s.st_size),
        );
        val!(
            lines,
            format!("preadv2 {flags:#x}"),
            SYS_preadv2,
            fd,
            iov.as_ptr(),
            1,
            0,
            0,
            flags
        );
        val!(
            lines,
            format!("pwritev2 {flags:#x} -1"),
            SYS_pwritev2,
            fd,
            iov.as_ptr(),
            1,
            -1i64,
            -1i64,
            flags
        );
        let append = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR | O_APPEND);
        val!(
            lines,
            format!("append {flags:#x}"),
            SYS_pwritev2,
            append,
            iov.as_ptr(),
            1,
            0,
            0,
            flags
        );
        lines.note(
            format!("append size {flags:#x}"),
            super::lines::stat(fd, c"").map(|s| s.st_size),
        );
    }
}

#[repr(align(4096))]
struct Pages([u8; 8192]);

fn direct(lines: &mut Lines) {
    must!(SYS_close, file(c"file", &[7; 8192], O_RDWR));
    let fd = sys!(
        lines,
        "open",
        SYS_openat,
        AT_FDCWD,
        c"file",
        O_RDWR | O_DIRECT
    );
    let mut pages = Pages([1; 8192]);
    for (what, at, len, pos) in [
        ("aligned", 0, 4096, 0i64),
        ("sector", 512, 512, 512),
        ("odd address", 1, 512, 0),
        ("odd length", 0, 100, 0),
        ("odd position", 0, 512, 3),
        ("beyond the end", 0, 4096, 16384),
    ] {
        let buf = pages.0[at..].as_mut_ptr();
        val!(
            lines,
            format!("read {what}"),
            SYS_pread64,
            fd,
            buf,
            len,
            pos
        );
        val!(
            lines,
            format!("write {what}"),
            SYS_pwrite64,
            fd,
            buf,
            len,
            pos
        );
    }
    lines.note("is", shape(fd, c"").as_str());
}

fn seek(lines: &mut Lines) {
    let fd = file(c"file", b"begin", O_RDWR);
    must!(SYS_pwrite64, fd, c"middle".as_ptr(), 6, 100_000i64);
    must!(SYS_ftruncate, fd, 1_000_000i64);
    for (name, whence) in [
        ("SET", SEEK_SET),
        ("CUR", SEEK_CUR),
        ("END", SEEK_END),
        ("DATA", SEEK_DATA),
        ("HOLE", SEEK_HOLE),
        ("5", 5),
    ] {
        for at in [
            0i64,
            1,
            4095,
            4096,
            8192,
            98_304,
            100_000,
            102_400,
            999_999,
            1_000_000,
            1_000_001,
            -1,
            i64::MAX,
            i64::MIN,
        ] {
            val!(lines, format!("{name} {at}"), SYS_lseek, fd, at, whence);
            quiet!(SYS_lseek, fd, 0, SEEK_SET);
        }
    }
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY);
    for (name, whence) in [
        ("SET", SEEK_SET),
        ("CUR", SEEK_CUR),
        ("END", SEEK_END),
        ("DATA", SEEK_DATA),
    ] {
        for at in [0i64, 1, 2, -1] {
            sys!(
                lines,
                format!("directory {name} {at}"),
                SYS_lseek,
                dir,
                at,
                whence
            );
        }
    }
}

fn truncate(lines: &mut Lines) {
    super::open::kinds();
    for path in [c"file", c"dir", c"link", c"dangling", c"fifo", c"missing"] {
        for size in [0i64, 5, 4096, 4097, -1, i64::MAX, 1 << 50] {
            let what = format!("{} {size}", path.to_string_lossy());
            sys!(lines, &what, SYS_truncate, path, size);
            lines.note(what, shape(i64::from(AT_FDCWD), path).as_str());
        }
    }
    quiet!(SYS_truncate, c"file", 0i64);
    let reader = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    sys!(lines, "of a reader", SYS_ftruncate, reader, 5i64);
    let path = must!(SYS_openat, AT_FDCWD, c"file", O_PATH);
    sys!(lines, "of a path", SYS_ftruncate, path, 5i64);
    let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
    must!(SYS_write, fd, [b'x'; 5000].as_ptr(), 5000);
    must!(SYS_ftruncate, fd, 10i64);
    must!(SYS_ftruncate, fd, 100i64);
    let mut buf = [1u8; 100];
    val!(
        lines,
        "read what it grew by",
        SYS_pread64,
        fd,
        buf.as_mut_ptr(),
        100,
        0i64
    );
    lines.note("it is", (&buf[..12], buf[12..].iter().all(|b| *b == 0)));
}

fn fallocate(lines: &mut Lines) {
    for (what, mode) in [
        ("0", 0),
        ("KEEP_SIZE", 1),
        ("PUNCH", 2),
        ("PUNCH|KEEP", 3),
        ("NO_HIDE_STALE", 4),
        ("COLLAPSE", 8),
        ("ZERO", 0x10),
        ("ZERO|KEEP", 0x11),
        ("INSERT", 0x20),
        ("UNSHARE", 0x40),
        ("WRITE_ZEROES", 0x80),
        ("unknown", 0x400),
    ] {
        for (at, len) in [
            (0i64, 4096i64),
            (4096, 4096),
            (100, 50),
            (8192, 100_000),
            (0, 0),
            (-1, 5),
            (5, -1),
            (i64::MAX, 1),
        ] {
            quiet!(SYS_unlinkat, AT_FDCWD, c"file", 0);
            let fd = file(c"file", &[b'x'; 10_000], O_RDWR);
            let name = format!("{what} {at}+{len}");
            sys!(lines, &name, SYS_fallocate, fd, mode, at, len);
            lines.note(&name, shape(fd, c"").as_str());
            let mut buf = vec![0u8; 12_000];
            let got = quiet!(SYS_pread64, fd, buf.as_mut_ptr(), buf.len(), 0i64).max(0) as usize;
            lines.note(
                format!("{name} zeroes"),
                buf[..got].iter().filter(|b| **b == 0).count(),
            );
            quiet!(SYS_close, fd);
        }
    }
    let reader = must!(SYS_openat, AT_FDCWD, c"file", O_RDONLY);
    sys!(lines, "of a reader", SYS_fallocate, reader, 0, 0i64, 10i64);
    let dir = must!(SYS_openat, AT_FDCWD, c".", O_RDONLY);
    sys!(lines, "of a directory", SYS_fallocate, dir, 0, 0i64, 10i64);
    must!(SYS_fchmodat, AT_FDCWD, c"file", 0o6777);
    let fd = must!(SYS_openat, AT_FDCWD, c"file", O_RDWR);
    sys!(lines, "of a set-id file", SYS_fallocate, fd, 0, 0i64, 10i64);
    lines.note("it is", shape(fd, c"").as_str());
}

fn splice(lines: &mut Lines) {
    let fd = file(c"file", &[b'a'; 10_000], O_RDWR);
    let to = file(c"to", b"", O_RDWR);
    let mut pipe = [0i32; 2];
    must!(SYS_pipe2, pipe.as_mut_ptr(), O_NONBLOCK);
    let [out, into] = pipe;

    let mut at = 100i64;
    val!(
        lines,
        "file to pipe",
        SYS_splice,
        fd,
        &raw mut at,
        into,
        0,
        5000,
        0
    );
    lines.note("at", at);
    val!(lines, "pipe to file", SYS_splice, out, 0, to, 0, 5000, 0);
    lines.note("is", shape(to, c"").as_str());
    val!(
        lines,
        "file to pipe at the position",
        SYS_splice,
        fd,
        0,
        into,
        0,
        3000,
        SPLICE_F_MOVE
    );
    at = 20_000;
    val!(
        lines,
        "pipe to file beyond",
        SYS_splice,
        out,
        0,
        to,
        &raw mut at,
        3000,
        SPLICE_F_MOVE | SPLICE_F_MORE
    );
    lines.note("is", shape(to, c"").as_str());
    val!(
        lines,
        "file at its end",
        SYS_splice,
        fd,
        &raw mut at,
        into,
        0,
        3000,
        0
    );
    at = -1;
    sys!(
        lines,
        "at -1",
        SYS_splice,
        fd,
        &raw mut at,
        into,
        0,
        3000,
        0
    );
    sys!(lines, "file to file", SYS_splice, fd, 0, to, 0, 100, 0);
    sys!(lines, "an empty pipe", SYS_splice, out, 0, to, 0, 10, 0);
    let append = must!(SYS_openat, AT_FDCWD, c"to", O_WRONLY | O_APPEND);
    must!(SYS_write, into, [b'p'; 100].as_ptr(), 100);
    sys!(
        lines,
        "pipe to append",
        SYS_splice,
        out,
        0,
        append,
        0,
        100,
        0
    );
    at = 0;
    val!(lines, "sendfile", SYS_sendfile, to, fd, &raw mut at, 10_000);
    val!(
        lines,
        "sendfile at the position",
        SYS_sendfile,
        to,
        fd,
        0,
        10_000
    );
    sys!(lines, "sendfile to append", SYS_sendfile, append, fd, 0, 10);
    lines.note("is", shape(to, c"").as_str());
    let iov = [iovec {
        iov_base: [b'v'; 64].as_ptr() as *mut c_void,
        iov_len: 64,
    }];
    val!(lines, "vmsplice", SYS_vmsplice, into, iov.as_ptr(), 1, 0);
    let mut other = [0i32; 2];
    must!(SYS_pipe2, other.as_mut_ptr(), O_NONBLOCK);
    val!(lines, "tee", SYS_tee, out, other[1], 10, 0);
    sys!(lines, "tee of a file", SYS_tee, fd, other[1], 10, 0);
    at = 0;
    val!(
        lines,
        "a user's pages to file",
        SYS_splice,
        other[0],
        0,
        to,
        &raw mut at,
        10,
        0
    );
}

fn copy(lines: &mut Lines) {
    let fd = file(c"file", &[b'a'; 10_000], O_RDWR);
    let to = file(c"to", b"", O_RDWR);
    for (what, from, into, len, flags) in [
        ("whole", 0i64, 0i64, 10_000usize, 0u32),
        ("short", 9_000, 0, 10_000, 0),
        ("at the end", 10_000, 0, 10, 0),
        ("beyond", 0, 50_000, 10, 0),
        ("nothing", 0, 0, 0, 0),
        ("flags", 0, 0, 10, 1),
        ("negative", -1, 0, 10, 0),
    ] {
        let (mut a, mut b) = (from, into);
        val!(
            lines,
            what,
            SYS_copy_file_range,
            fd,
            &raw mut a,
            to,
            &raw mut b,
            len,
            flags
        );
        lines.note(format!("{what} at"), (a, b));
    }
    let (mut a, mut b) = (0i64, 100i64);
    sys!(
        lines,
        "overlapping",
        SYS_copy_file_range,
        fd,
        &raw mut a,
        fd,
        &raw mut b,
        1000,
        0
    );
    let append = must!(SYS_openat, AT_FDCWD, c"to", O_WRONLY | O_APPEND);
    sys!(
        lines,
        "to append",
        SYS_copy_file_range,
        fd,
        0,
        append,
        0,
        10,
        0
    );
    let reader = must!(SYS_openat, AT_FDCWD, c"to", O_RDONLY);
    sys!(
        lines,
        "to a reader",
        SYS_copy_file_range,
        fd,
        0,
        reader,
        0,
        10,
        0
    );
    for (what, nr) in [
        ("FICLONE", 0x4004_9409u64),
        ("FICLONERANGE", 0x4020_940d),
        ("FIDEDUPERANGE", 0xc018_9436),
    ] {
        let mut range = [0u64; 8];
        range[0] = fd as u64;
        let arg = if nr == 0x4004_9409 {
            fd as usize
        } else {
            range.as_mut_ptr() as usize
        };
        sys!(lines, what, SYS_ioctl, to, nr, arg);
    }
}

/// struct iocb.
#[repr(C)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    reqprio: i16,
    fildes: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

fn aio(lines: &mut Lines) {
    let fd = file(c"file", &[b'a'; 10_000], O_RDWR);
    let mut ctx = 0u64;
    sys!(lines, "io_setup", SYS_io_setup, 8, &raw mut ctx);
    let mut buf = [b'z'; 4096];
    for (what, opcode, flags) in [
        ("PREAD", 0, 0),
        ("PWRITE", 1, 0),
        ("FSYNC", 2, 0),
        ("FDSYNC", 3, 0),
        ("POLL", 5, 0),
        ("NOOP", 6, 0),
        ("PREADV", 7, 0),
        ("PWRITE NOWAIT", 1, RWF_NOWAIT),
    ] {
        let iov = [iovec {
            iov_base: buf.as_mut_ptr() as *mut c_void,
            iov_len: 100,
        }];
        let mut iocb = Iocb {
            data: 1,
            key: 0,
            rw_flags: flags,
            opcode,
            reqprio: 0,
            fildes: fd as u32,
            buf: if opcode == 7 {
                iov.as_ptr() as u64
            } else if opcode < 2 {
                buf.as_mut_ptr() as u64
            } else if opcode == 5 {
                1
            } else {
                0
            },
            nbytes: if opcode == 7 {
                1
            } else if opcode < 2 {
                4096
            } else {
                0
            },
            offset: if opcode < 2 || opcode == 7 { 8000 } else { 0 },
            reserved: 0,
            flags: 0,
            resfd: 0,
        };
        let list = [&raw mut iocb];
        let n = val!(
            lines,
            format!("submit {what}"),
            SYS_io_submit,
            ctx,
            1,
            list.as_ptr()
        );
        if n == 1 {
            let mut event = [0i64; 4];
            val!(
                lines,
                format!("wait {what}"),
                SYS_io_getevents,
                ctx,
                1,
                1,
                event.as_mut_ptr(),
                0
            );
            lines.note(format!("answer {what}"), event[2]);
        }
    }
    lines.note("is", shape(fd, c"").as_str());
}

fn sync(lines: &mut Lines) {
    let fd = file(c"file", b"text", O_RDWR);
    let path = must!(SYS_openat, AT_FDCWD, c"file", O_PATH);
    sys!(lines, "fsync", SYS_fsync, fd);
    sys!(lines, "fdatasync", SYS_fdatasync, fd);
    sys!(lines, "syncfs", SYS_syncfs, fd);
    sys!(lines, "fsync of a path", SYS_fsync, path);
    for flags in [0, 1, 2, 4, 7, 8] {
        sys!(
            lines,
            format!("sync_file_range {flags}"),
            SYS_sync_file_range,
            fd,
            0i64,
            0i64,
            flags
        );
    }
    let range = [0u64, 4096];
    let mut stat = [0u64; 5];
    sys!(
        lines,
        "cachestat",
        SYS_cachestat,
        fd,
        range.as_ptr(),
        stat.as_mut_ptr(),
        0
    );
    lines.note("cached pages", stat[0]);
}

fn limit(lines: &mut Lines) {
    let fd = file(c"file", b"", O_RDWR);
    let limit = [100u64, 100];
    must!(SYS_prlimit64, 0, RLIMIT_FSIZE, limit.as_ptr(), 0);
    // SAFETY: the signal is only ignored.
    unsafe { signal(SIGXFSZ, SIG_IGN) };
    let buf = [b'x'; 200];
    val!(
        lines,
        "write across it",
        SYS_pwrite64,
        fd,
        buf.as_ptr(),
        200,
        0i64
    );
    val!(
        lines,
        "write at it",
        SYS_pwrite64,
        fd,
        buf.as_ptr(),
        200,
        100i64
    );
    val!(
        lines,
        "write below it",
        SYS_pwrite64,
        fd,
        buf.as_ptr(),
        10,
        0i64
    );
    sys!(lines, "truncate", SYS_ftruncate, fd, 101i64);
    sys!(lines, "fallocate", SYS_fallocate, fd, 0, 0i64, 200i64);
    let (mut a, mut b) = (0i64, 95i64);
    val!(
        lines,
        "copy",
        SYS_copy_file_range,
        fd,
        &raw mut a,
        fd,
        &raw mut b,
        50,
        0
    );
    lines.note("is", shape(fd, c"").as_str());
    // SAFETY: the default again.
    unsafe { signal(SIGXFSZ, SIG_DFL) };
    sys!(
        lines,
        "with the signal",
        SYS_pwrite64,
        fd,
        buf.as_ptr(),
        1,
        100i64
    );
}
