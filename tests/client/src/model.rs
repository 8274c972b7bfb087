// SPDX-License-Identifier: GPL-2.0-only

//! A model of data/: threads change one tree while it is prepared again and again. Each keeps the state
//! that follows from the results of its calls, and the records of each prepare are compared with it.

mod calls;

use crate::many::Stream;
use crate::ops::Args;
use crate::records::{Recorded, RecordedInode};
use crate::{quote, usage, Failure, Outcome};
use calls::Worker;
use rustix::fs::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Directories in which all threads have names.
const SHARED: u64 = 4;
/// How many names a thread has in a directory at most.
const NAMES: u64 = 6;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Dir,
    File(Vec<u8>),
    Link(Vec<u8>),
    Fifo,
    Whiteout,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Inode {
    kind: Kind,
    mode: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Inode {
    fn new(kind: Kind, mode: u32) -> Self {
        Inode {
            kind,
            mode,
            xattrs: BTreeMap::new(),
        }
    }

    fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// As in the record of the same inode, without contents that LUO keeps.
    fn matches(&self, recorded: &RecordedInode) -> bool {
        let (format, rest) = match &self.kind {
            Kind::Dir => (libc::S_IFDIR, &[][..]),
            Kind::File(bytes) => (libc::S_IFREG, &bytes[..]),
            Kind::Link(target) => (libc::S_IFLNK, &target[..]),
            Kind::Fifo => (libc::S_IFIFO, &[][..]),
            Kind::Whiteout => (libc::S_IFCHR, &[][..]),
        };
        let size = match &self.kind {
            Kind::File(bytes) => bytes.len() as u64,
            _ => 0,
        };
        recorded.mode == format | self.mode
            && recorded.size == size
            && (recorded.token || recorded.rest == rest)
            && recorded.xattrs == self.xattrs
    }
}

/// The files of one thread, by path within data/.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, u64>,
    inodes: BTreeMap<u64, Inode>,
    next: u64,
}

impl Model {
    fn get(&self, path: &str) -> Option<&Inode> {
        self.inodes.get(self.names.get(path)?)
    }

    fn get_mut(&mut self, path: &str) -> Option<&mut Inode> {
        self.inodes.get_mut(self.names.get(path)?)
    }

    fn add(&mut self, path: &str, inode: Inode) {
        self.inodes.insert(self.next, inode);
        self.names.insert(path.into(), self.next);
        self.next += 1;
    }

    fn remove(&mut self, path: &str) {
        if let Some(id) = self.names.remove(path) {
            if !self.names.values().any(|other| *other == id) {
                self.inodes.remove(&id);
            }
        }
    }

    fn has_entries(&self, dir: &str) -> bool {
        let prefix = format!("{dir}/");
        self.names
            .range(prefix.clone()..)
            .next()
            .is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// Takes `path` and all below it out, by what follows `path`.
    fn cut(&mut self, path: &str) -> Vec<(String, u64)> {
        let prefix = format!("{path}/");
        let below: Vec<String> = self
            .names
            .keys()
            .filter(|name| *name == path || name.starts_with(&prefix))
            .cloned()
            .collect();
        below
            .into_iter()
            .filter_map(|name| Some((name[path.len()..].to_string(), self.names.remove(&name)?)))
            .collect()
    }

    fn paste(&mut self, path: &str, names: Vec<(String, u64)>) {
        for (rest, id) in names {
            self.names.insert(format!("{path}{rest}"), id);
        }
    }
}

struct Run<'a> {
    data: PathBuf,
    state: String,
    paused: AtomicBool,
    stop: AtomicBool,
    done: AtomicU64,
    refused: AtomicU64,
    models: &'a [Mutex<Model>],
    wrong: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn inside(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl Run<'_> {
    fn wrong(&self, why: String) {
        self.stop.store(true, Ordering::Relaxed);
        lock(&self.wrong).push(why);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn work(&self, me: usize, seed: u64) {
        let mut random = Stream::new(seed * 1000 + me as u64);
        while !self.stopped() {
            if self.paused.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
            let mut worker = Worker {
                run: self,
                me,
                random,
                model: lock(&self.models[me]),
            };
            worker.turn();
            random = worker.random;
        }
    }

    /// Lets the threads make `count` more calls.
    fn let_run(&self, count: u64) {
        let until = self.done.load(Ordering::Relaxed) + count;
        while self.done.load(Ordering::Relaxed) < until && !self.stopped() {
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// Prepares, and compares the records with the models of the threads.
    fn prepare(&self, random: &mut Stream) -> Result<(), Failure> {
        fs::write(&self.state, "prepare")?;
        // They find out.
        self.let_run(random.next() % 12);
        self.paused.store(true, Ordering::Relaxed);
        let models: Vec<_> = self.models.iter().map(lock).collect();
        let recorded = Recorded::read()?;
        compare(&models, &recorded)
    }
}

/// Compares the records with the models.
fn compare(models: &[MutexGuard<'_, Model>], recorded: &Recorded) -> Result<(), Failure> {
    let mut pairs = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    let mut count = SHARED as usize;
    for (me, model) in models.iter().enumerate() {
        for (path, id) in &model.names {
            let wrong = |why: String| Err(Failure::Wrong(format!("{path}: {why}")));
            let Some(number) = recorded.names.get(path) else {
                return wrong("is not written down".into());
            };
            let before = pairs.insert((me, *id), *number);
            if before.is_some_and(|before| before != *number) {
                return wrong("is another inode".into());
            }
            if before.is_none() && !numbers.insert(*number) {
                return wrong("is the inode of another name".into());
            }
            let (inode, record) = (&model.inodes[id], &recorded.inodes[*number as usize]);
            if !inode.matches(record) {
                return wrong(format!("{inode:?} is {record:?}"));
            }
        }
        count += model.names.len();
    }
    if recorded.names.len() != count {
        let all = recorded.names.keys().find(|name| {
            name.contains('/') && !models.iter().any(|model| model.names.contains_key(*name))
        });
        return Err(Failure::Wrong(format!("{all:?} is written down")));
    }
    Ok(())
}

/// A line for each name, with all that is known of it.
fn listing(names: &BTreeMap<String, (u64, Inode)>) -> String {
    let mut first = BTreeMap::new();
    let mut out = String::new();
    for (path, (id, inode)) in names {
        let first = first.entry(*id).or_insert(path);
        let kind = match &inode.kind {
            Kind::File(bytes) => format!("file {}", quote(bytes)),
            Kind::Link(target) => format!("link {}", quote(target)),
            other => format!("{other:?}"),
        };
        out += &format!("{path} = {first} {:o} {kind}", inode.mode);
        for (name, value) in &inode.xattrs {
            out += &format!(" {}={}", quote(name), quote(value));
        }
        out.push('\n');
    }
    out
}

/// `model DIR FILE SEED THREADS PREPARES CALLS`: THREADS threads make at least CALLS calls in the data/ of
/// the domain at DIR, which is meanwhile prepared PREPARES times, and cancelled but for the last. Each
/// time the records have to be the result of the calls that succeeded. The state that the next kernel must
/// have is written to FILE.
pub fn model(args: &Args<'_>) -> Outcome {
    let dir = args.text(0)?;
    let (seed, threads): (u64, usize) = (args.number(2)?, args.number(3)?);
    let (prepares, calls): (u64, u64) = (args.number(4)?, args.number(5)?);
    let models: Vec<_> = (0..threads).map(|_| Mutex::new(Model::default())).collect();
    let run = Run {
        data: Path::new(dir).join("data"),
        state: format!("{dir}/state"),
        paused: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        models: &models,
        wrong: Mutex::new(Vec::new()),
    };
    if prepares == 0 || threads == 0 {
        return usage("model: PREPARES and THREADS are not 0");
    }
    rustix::process::umask(Mode::empty());
    for n in 0..SHARED {
        fs::create_dir(run.data.join(format!("s{n}")))?;
    }
    let begin = Instant::now();
    let made = std::thread::scope(|scope| {
        for me in 0..threads {
            let run = &run;
            scope.spawn(move || run.work(me, seed));
        }
        let mut random = Stream::new(seed);
        let mut made = 0;
        while made < prepares && !run.stopped() {
            // They also go on while it prepares.
            run.let_run(random.next() % (calls / prepares / 2).max(1));
            if made + 1 == prepares {
                run.let_run(calls.saturating_sub(run.done.load(Ordering::Relaxed)));
            }
            if let Err(failure) = run.prepare(&mut random) {
                run.wrong(format!("prepare {made}: {}", failure.text()));
                break;
            }
            made += 1;
            if made < prepares {
                if let Err(e) = fs::write(&run.state, "cancel") {
                    run.wrong(format!("cancel {made}: {e}"));
                }
                run.paused.store(false, Ordering::Relaxed);
            }
        }
        run.stop.store(true, Ordering::Relaxed);
        made
    });
    let wrong = lock(&run.wrong);
    if !wrong.is_empty() {
        return Err(Failure::Wrong(wrong.join("\n")));
    }
    let done = run.done.load(Ordering::Relaxed);
    let mut all = BTreeMap::new();
    for (me, model) in models.iter().map(lock).enumerate() {
        for (path, id) in &model.names {
            let unique = *id * threads as u64 + me as u64;
            all.insert(path.clone(), (unique, model.inodes[id].clone()));
        }
    }
    fs::write(args.text(1)?, listing(&all))?;
    eprintln!(
        "@full model: {done} calls, {} of them EBUSY, {made} prepares, {} names, {} ms",
        run.refused.load(Ordering::Relaxed),
        all.len(),
        begin.elapsed().as_millis()
    );
    if made < prepares || done < calls {
        return Err(Failure::Wrong(format!(
            "only {made} prepares and {done} calls"
        )));
    }
    Ok(Some(format!(
        "model: {prepares} prepares and {calls} calls, and what they wrote down is what succeeded"
    )))
}

fn scan(top: &Path, dir: &Path, names: &mut BTreeMap<String, (u64, Inode)>) -> Result<(), Failure> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let format = meta.file_type();
        let kind = match () {
            () if format.is_dir() => Kind::Dir,
            () if format.is_symlink() => {
                Kind::Link(fs::read_link(&path)?.as_os_str().as_bytes().to_vec())
            }
            () if format.is_fifo() => Kind::Fifo,
            () if format.is_char_device() => Kind::Whiteout,
            () => Kind::File(fs::read(&path)?),
        };
        let mut inode = Inode::new(kind, meta.mode() & 0o7777);
        for name in crate::tree::xattr_names(&path)? {
            let value = crate::tree::xattr_value(&path, &name)?;
            inode.xattrs.insert(name, value);
        }
        let name = path.strip_prefix(top).unwrap_or(&path);
        let is_dir = inode.is_dir();
        // The directories that all share are in no model.
        if name.components().count() > 1 {
            names.insert(name.to_string_lossy().into_owned(), (meta.ino(), inode));
        }
        if is_dir {
            scan(top, &path, names)?;
        }
    }
    Ok(())
}

/// `model-check DIR FILE`: the data/ of the domain at DIR has the state that `model` wrote to FILE.
pub fn model_check(args: &Args<'_>) -> Outcome {
    let top = Path::new(args.text(0)?).join("data");
    let mut names = BTreeMap::new();
    scan(&top, &top, &mut names)?;
    let (found, wanted) = (listing(&names), fs::read_to_string(args.text(1)?)?);
    let different = found
        .lines()
        .map(|line| format!("found {line}"))
        .zip(wanted.lines().map(|line| format!("wanted {line}")))
        .find(|(found, wanted)| {
            found.split_once(' ').map(|x| x.1) != wanted.split_once(' ').map(|x| x.1)
        });
    if let Some((found, wanted)) = different {
        return Err(Failure::Wrong(format!("{found}\n{wanted}")));
    }
    if found.len() != wanted.len() {
        return Err(Failure::Wrong("there are more or less names".into()));
    }
    Ok(Some("model-check: all is there".into()))
}
