// SPDX-License-Identifier: GPL-2.0-only

//! Whether each change of a file has a time of its own.

use crate::many::Stream;
use crate::ops::Args;
use crate::{usage, Failure, Outcome};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, CWD, UTIME_NOW, UTIME_OMIT,
};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

type Time = (i64, i64);

/// mtime and ctime.
fn times(path: &str) -> Result<(Time, Time), std::io::Error> {
    let st = fs::symlink_metadata(path)?;
    Ok(((st.mtime(), st.mtime_nsec()), (st.ctime(), st.ctime_nsec())))
}

/// `changes PATH HOW N`: N times a stat of PATH, a change and a stat; prints how many were seen in
/// mtime, if it is one of the contents, and in ctime.
///
/// HOW is write (to an open file), append or write-at (to one that is opened anew), first (append to
/// a new file), truncate, chmod, flags, mixed (write and chmod by turns), or create (and rename, and unlink,
/// in the directory PATH).
pub fn changes(args: &Args<'_>) -> Outcome {
    let (path, how, n): (_, _, u32) = (args.text(0)?, args.text(1)?, args.number(2)?);
    let (mut mtimes, mut ctimes, mut of_contents) = (0, 0, 0);
    let child = format!("{path}/child");
    let other = format!("{path}/other");
    let mut open = None;

    for i in 0..n {
        let how = match how {
            "mixed" if i % 2 == 0 => "write",
            "mixed" => "chmod",
            "first" => {
                drop(open.take());
                let _ = fs::remove_file(path);
                File::create(path)?;
                "append"
            }
            "create" if i % 3 == 1 => "rename",
            "create" if i % 3 == 2 => "unlink",
            how => how,
        };
        if how == "write" && open.is_none() {
            open = Some(rustix::fs::openat(CWD, path, OFlags::RDWR, Mode::empty())?);
        }
        let before = times(path)?;
        match how {
            "write" => {
                if let Some(fd) = &open {
                    rustix::io::pwrite(fd, &[i as u8], 0)?;
                }
            }
            "append" => File::options().append(true).open(path)?.write_all(b"x")?,
            "truncate" => File::options()
                .write(true)
                .open(path)?
                .set_len(u64::from(i % 2))?,
            "write-at" => File::options()
                .write(true)
                .open(path)?
                .write_all_at(b"x", 0)?,
            "chmod" => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600 + i % 2))?;
            }
            "flags" => {
                let file = File::open(path)?;
                let nodump = [rustix::fs::IFlags::empty(), rustix::fs::IFlags::NODUMP];
                rustix::fs::ioctl_setflags(&file, nodump[(i % 2) as usize])?;
            }
            "create" => drop(File::create(&child)?),
            "rename" => fs::rename(&child, &other)?,
            "unlink" => fs::remove_file(&other)?,
            other => return usage(format!("{other}: no such change")),
        }
        let after = times(path)?;
        if how != "chmod" && how != "flags" {
            of_contents += 1;
            mtimes += u32::from(after.0 > before.0);
        }
        ctimes += u32::from(after.1 > before.1);
    }
    Ok(Some(format!(
        "changes {how}: {mtimes} of {of_contents} seen in mtime, {ctimes} of {n} in ctime"
    )))
}

fn nsec(nsec: i64) -> Timespec {
    Timespec {
        tv_sec: 1,
        tv_nsec: nsec,
    }
}

/// `access-time PATH`: sets the time of the last read, and says whether that of the last change is what
/// it was.
pub fn access_time(args: &Args<'_>) -> Outcome {
    let path = args.text(0)?;
    let before = times(path)?.0;
    let set = Timestamps {
        last_access: nsec(UTIME_NOW),
        last_modification: nsec(UTIME_OMIT),
    };
    rustix::fs::utimensat(CWD, path, &set, AtFlags::empty())?;
    let what = match times(path)?.0.cmp(&before) {
        std::cmp::Ordering::Less => "went back",
        std::cmp::Ordering::Equal => "stays",
        std::cmp::Ordering::Greater => "went on",
    };
    Ok(Some(format!("access-time: mtime {what}")))
}

/// `first-open-race PATH MS`: for so long, makes ever a new file whose mtime is set while a thread opens it
/// for the first time; prints how often it was another one afterwards.
pub fn first_open_race(args: &Args<'_>) -> Outcome {
    let (path, ms) = (args.text(0)?, args.number(1)?);
    // Whose turn it is: a number that is odd is the opener's, 0 the end.
    let turn = AtomicU32::new(2);
    let set = Timestamps {
        last_access: nsec(0),
        last_modification: nsec(0),
    };
    let end = Instant::now() + Duration::from_millis(ms);
    let mut random = Stream::new(1);
    let (mut lost, mut all) = (0, 0);

    std::thread::scope(|scope| {
        scope.spawn(|| loop {
            match turn.load(Ordering::Acquire) {
                0 => break,
                n if n % 2 == 1 => {
                    drop(File::open(path));
                    turn.store(n + 1, Ordering::Release);
                }
                _ => std::hint::spin_loop(),
            }
        });
        let mut race = |n: u32| -> Result<(), Failure> {
            rustix::fs::mknodat(CWD, path, FileType::RegularFile, Mode::RUSR, 0)?;
            turn.store(n, Ordering::Release);
            for _ in 0..random.next() % 4000 {
                std::hint::spin_loop();
            }
            let result = rustix::fs::utimensat(CWD, path, &set, AtFlags::empty());
            while turn.load(Ordering::Acquire) == n {
                std::hint::spin_loop();
            }
            result?;
            all += 1;
            lost += u32::from(times(path)?.0 != (1, 0));
            Ok(fs::remove_file(path)?)
        };
        let result = (1..)
            .step_by(2)
            .take_while(|_| Instant::now() < end)
            .try_for_each(&mut race);
        turn.store(0, Ordering::Release);
        result
    })?;
    Ok(Some(format!(
        "@full first-open-race: {all} times\nfirst-open-race: {lost} times lost"
    )))
}
