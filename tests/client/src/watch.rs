// SPDX-License-Identifier: GPL-2.0-only

//! Notification of changes: poll(2) and inotify(7).

use crate::ops::{command, Args};
use crate::{quote, Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::{inotify, Mode, OFlags};
use std::mem::MaybeUninit;

fn wait(file: &OwnedFd, events: PollFlags, ms: i64) -> Result<PollFlags, Failure> {
    let mut set = [PollFd::new(file, events)];
    let limit = Timespec {
        tv_sec: ms / 1000,
        tv_nsec: (ms % 1000) * 1_000_000,
    };
    rustix::event::poll(&mut set, Some(&limit))?;
    Ok(set[0].revents())
}

fn contents(file: &OwnedFd) -> Result<String, Failure> {
    let mut buf = [0u8; 4096];
    let n = rustix::io::pread(file, &mut buf[..], 0)?;
    Ok(quote(&buf[..n]))
}

/// `poll PATH MS CMD...`: reads PATH, runs CMD, and says whether poll() told of a change, and what
/// there is to read then.
///
/// As for a sysfs attribute, the change is POLLPRI (or POLLERR); a file that is not readable while it
/// is unchanged may tell by POLLIN as well. Before CMD there must be no news.
pub fn poll(args: &Args<'_>) -> Outcome {
    let file = rustix::fs::open(
        args.text(0)?,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    contents(&file)?;
    let all = PollFlags::IN | PollFlags::PRI;
    let quiet = wait(&file, all, 0)?;
    if quiet.intersects(PollFlags::PRI | PollFlags::ERR) {
        return Err(Failure::Wrong(format!("news before any change: {quiet:?}")));
    }
    let mut child = command(&Args(&args.0[2..]))?.spawn()?;
    let news = wait(&file, all - quiet, args.number(1)?)?;
    child.wait()?;
    let text = contents(&file)?;
    let after = wait(&file, all - quiet, 0)?;
    if !(after - quiet).is_empty() {
        return Err(Failure::Wrong(format!("news after it was read: {after:?}")));
    }
    Ok(Some(if (news - quiet).is_empty() {
        "poll: nothing".into()
    } else {
        format!("poll: changed to {text}")
    }))
}

/// `inotify PATH MS CMD...`: runs CMD and says whether PATH was reported as modified within MS.
pub fn inotify(args: &Args<'_>) -> Outcome {
    let inot = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inot, args.text(0)?, inotify::WatchFlags::MODIFY)?;
    let mut child = command(&Args(&args.0[2..]))?.spawn()?;
    let news = wait(&inot, PollFlags::IN, args.number(1)?)?;
    child.wait()?;
    if news.is_empty() {
        return Ok(Some("inotify: nothing".into()));
    }
    let mut buf = [MaybeUninit::<u8>::uninit(); 4096];
    let mut events = inotify::Reader::new(&inot, &mut buf);
    let event = events.next()?;
    Ok(Some(
        if event.events().contains(inotify::ReadFlags::MODIFY) {
            "inotify: modified".into()
        } else {
            format!("inotify: {:?}", event.events())
        },
    ))
}

/// `inotify-names DIR CMD...`: runs CMD and says which names have come and gone in DIR by its end.
pub fn inotify_names(args: &Args<'_>) -> Outcome {
    let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE;
    inotify_all(args, flags, |event| {
        let what = if event.events().contains(inotify::ReadFlags::CREATE) {
            "create"
        } else {
            "delete"
        };
        let name = event.file_name().unwrap_or_default();
        format!("{what} {}", name.to_string_lossy())
    })
}

/// `inotify-file PATH CMD...`: runs CMD and says how often the attributes of PATH have changed by its
/// end, and whether it was removed.
pub fn inotify_file(args: &Args<'_>) -> Outcome {
    let flags = inotify::WatchFlags::ATTRIB | inotify::WatchFlags::DELETE_SELF;
    inotify_all(args, flags, |event| {
        if event.events().contains(inotify::ReadFlags::ATTRIB) {
            "attributes".into()
        } else if event.events().contains(inotify::ReadFlags::DELETE_SELF) {
            "removed".into()
        } else {
            "end".into()
        }
    })
}

fn inotify_all(
    args: &Args<'_>,
    flags: inotify::WatchFlags,
    text: fn(&inotify::Event<'_>) -> String,
) -> Outcome {
    let inot = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inot, args.text(0)?, flags)?;
    command(&Args(&args.0[1..]))?.status()?;
    let mut buf = [MaybeUninit::<u8>::uninit(); 4096];
    let mut events = inotify::Reader::new(&inot, &mut buf);
    let mut all = String::from("inotify:");
    loop {
        let event = match events.next() {
            Ok(event) => event,
            Err(rustix::io::Errno::AGAIN) => return Ok(Some(all)),
            Err(e) => return Err(e.into()),
        };
        all = format!("{all} {}", text(&event));
    }
}
