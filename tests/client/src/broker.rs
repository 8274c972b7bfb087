// SPDX-License-Identifier: GPL-2.0-only

//! Many services that preserve descriptors at once: each in its own domain, or all through a broker, which
//! holds /dev/liveupdate and gets and gives descriptors by SCM_RIGHTS (`scripts/bench`).

use crate::ops::Args;
use crate::{luo, scale, sys, usage, Failure, Outcome};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

/// How many descriptors a service has.
const FILES: usize = 8;

/// Sends `text`, and the descriptors.
fn send(to: &UnixStream, text: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(to, &[IoSlice::new(text)], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives what `send` has sent.
fn receive(from: &UnixStream) -> Result<(String, Vec<OwnedFd>), Failure> {
    let mut text = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut to = [IoSliceMut::new(&mut text)];
    let len = recvmsg(from, &mut to, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    Ok((String::from_utf8_lossy(&text[..len]).into_owned(), fds))
}

/// Serves one client: preserves what it sends, or gives it what was handed over under its name.
fn serve(dev: BorrowedFd<'_>, client: &UnixStream, restore: bool) -> Result<(), Failure> {
    let (name, fds) = receive(client)?;
    if !restore {
        // It is left open: its end would unpreserve the files.
        let session = luo::create(dev, &name)?;
        for (token, fd) in fds.iter().enumerate() {
            luo::preserve(sys::fd(session), fd.as_raw_fd(), token as u64)?;
        }
        return send(client, b"done", &[]);
    }
    let session = luo::retrieve(dev, &name)?;
    let numbers = (0..FILES)
        .map(|token| luo::fetch(sys::fd(session), token as u64))
        .collect::<Result<Vec<_>, _>>()?;
    luo::finish(sys::fd(session))?;
    send(
        client,
        b"done",
        &numbers.iter().map(|n| sys::fd(*n)).collect::<Vec<_>>(),
    )?;
    numbers.into_iter().try_for_each(sys::close)?;
    Ok(sys::close(session)?)
}

/// `broker DEV SOCKET CLIENTS preserve|restore`: serves so many clients, one after the other.
pub fn broker(args: &Args<'_>) -> Outcome {
    let dev = rustix::fs::open(args.text(0)?, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let listener = UnixListener::bind(args.text(1)?)?;
    let clients: usize = args.number(2)?;
    let restore = args.text(3)? == "restore";
    for _ in 0..clients {
        serve(dev.as_fd(), &listener.accept()?.0, restore)?;
    }
    // With the sessions, until the kexec.
    loop {
        std::thread::park();
    }
}

/// What a service does by the files of its domain.
fn by_files(dir: &str, files: &[OwnedFd], restore: bool) -> Result<(), Failure> {
    if restore {
        let fd_restore = scale::open_dir(&format!("{dir}/fd_restore"))?;
        for n in 0..FILES {
            scale::take(&fd_restore, &format!("f{n}"))?;
        }
        return Ok(std::fs::write(format!("{dir}/state"), "finish")?);
    }
    let control = rustix::fs::open(format!("{dir}/fd_preserve"), OFlags::WRONLY, Mode::empty())?;
    for (n, file) in files.iter().enumerate() {
        rustix::io::write(&control, format!("{} f{n}", file.as_raw_fd()).as_bytes())?;
    }
    Ok(())
}

/// What it does by the broker.
fn by_broker(socket: &str, name: &str, files: &[OwnedFd], restore: bool) -> Result<(), Failure> {
    let broker = UnixStream::connect(socket)?;
    let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    send(&broker, name.as_bytes(), if restore { &[] } else { &fds })?;
    let (_, got) = receive(&broker)?;
    if restore && got.len() != FILES {
        return Err(Failure::Wrong(format!("{} descriptors", got.len())));
    }
    for fd in got {
        let _ = fd.into_raw_fd();
    }
    Ok(())
}

/// `service files|broker PATH NUMBER preserve|restore`: one service: it makes its files, says that it is
/// ready, and begins when its input ends. Then it prints how long it took.
pub fn service(args: &Args<'_>) -> Outcome {
    let (how, path, number) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let restore = args.text(3)? == "restore";
    let files = (0..if restore { 0 } else { FILES })
        .map(|_| -> Result<OwnedFd, Failure> {
            let memfd = rustix::fs::memfd_create("service", MemfdFlags::CLOEXEC)?;
            rustix::io::write(&memfd, b"x")?;
            Ok(memfd)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout();
    out.write_all(b"r")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let begin = sys::ticks();
    match how {
        "files" => by_files(&path.replace('%', number), &files, restore)?,
        "broker" => by_broker(path, &format!("service{number}"), &files, restore)?,
        other => return usage(format!("{other}: no such way")),
    }
    out.write_all(&sys::ticks().to_ne_bytes())?;
    out.write_all(&begin.to_ne_bytes())?;
    out.flush()?;
    // Its end is no part of what is measured.
    loop {
        std::thread::park();
    }
}

/// `scale-services LABEL files|broker PATH N preserve|restore`: N services that begin at once: the ticks
/// until the last has ended, the median of the services, from the beginning of all to its own end, and
/// the median and the worst of what a service takes from its own beginning on.
pub fn services(args: &Args<'_>) -> Outcome {
    let (label, count) = (args.text(0)?, args.number::<usize>(3)?);
    let mut children: Vec<Child> = (0..count)
        .map(|n| {
            Command::new("/proc/self/exe")
                .args(["service", args.text(1)?, args.text(2)?])
                .args([&n.to_string(), args.text(4)?])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    let mut inputs = Vec::new();
    for child in &mut children {
        if let Some(out) = &mut child.stdout {
            out.read_exact(&mut [0])?;
        }
        inputs.push(child.stdin.take());
    }
    let begin = sys::ticks();
    drop(inputs);
    let (mut ends, mut own) = (Vec::new(), Vec::new());
    for child in &mut children {
        let mut times = [[0; 8]; 2];
        if let Some(out) = &mut child.stdout {
            out.read_exact(times.as_flattened_mut())?;
        }
        let [end, began] = times.map(u64::from_ne_bytes);
        ends.push(end.saturating_sub(begin));
        own.push(end.saturating_sub(began));
    }
    ends.sort_unstable();
    own.sort_unstable();
    let worst = |times: &[u64]| times.last().copied().unwrap_or(0);
    if args.text(4)? == "restore" {
        for child in &mut children {
            child.kill()?;
            child.wait()?;
        }
    }
    Ok(Some(format!(
        "{label} {count} {}\n{label}-median 1 {}\n{label}-own-median 1 {}\n{label}-own-worst 1 {}",
        worst(&ends),
        ends[count / 2],
        own[count / 2],
        worst(&own),
    )))
}
