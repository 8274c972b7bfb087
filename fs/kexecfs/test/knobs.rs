// SPDX-License-Identifier: GPL-2.0-only

//! Knobs for the tests, in `debugfs/kexecfs_test`: records as another version of kexecfs would hand
//! them over, damaged ones, and a mutator for the reader. They are the other end of the hooks in
//! `handover/hooks.rs`.
//!
//! `major` and `minor` are the version in the root. `supported`, `required` and `active` are
//! further features of each domain that is prepared from then on; with `root`, of the root instead.
//! `unknown` adds a record of an unknown type to each domain, which 1: may be skipped, 2: must be
//! understood. A `damage` other than 0 is the seed for changes to each domain that is serialized
//! from then on. With `sizes`, files of `data/` that LUO has are a byte larger in their records.
//! `index` damages what the next kexec points at: 1: each of the first domains but one in a way of
//! its own, 2: the number of domains, 3: the seal, 4: the address of the index, 5: the two domains
//! after the first, which get the pages as memory whose addresses were written to `pages`.
//! Writing `SEED COUNT` to `fuzz` reads so many damaged streams; the number of those that could be
//! read is in the log. `records` shows the records of the first domain that is prepared.
//! Writing anything to `wait_inside` makes each domain do for lockdep what O_TMPFILE once did: wait
//! for the end of a prepare inside the gate that prepare shuts.

use super::mutator::Random;
use crate::{
    handover::{
        stream,
        Hooks,
        Reader,
        Writer, //
    },
    identity::Identity,
    registry::registry,
    words::{
        name::Name,
        options::Options, //
    }, //
};
use kernel::{
    debugfs::{
        BinaryWriter,
        Dir,
        File, //
    },
    fs::file::Offset,
    kho::{
        abi::{
            kexecfs as abi,
            Vmalloc, //
        },
        PreservedFolio, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    },
};

/// Memory that can't be handed over: x86 keeps the first MiB away from all. (A page beside one
/// that was handed over may be so as well.)
const FIRMWARE: u64 = 0x1000;

/// The mode of a directory.
const DIR: u32 = 0o040755;

/// A type that no version will use.
const UNKNOWN: u16 = 0x7f00;

#[pin_data]
struct Knobs {
    #[pin]
    major: File<Atomic<u32>>,
    #[pin]
    minor: File<Atomic<u32>>,
    #[pin]
    supported: File<Atomic<u32>>,
    #[pin]
    required: File<Atomic<u32>>,
    #[pin]
    active: File<Atomic<u32>>,
    #[pin]
    root: File<Atomic<u32>>,
    #[pin]
    unknown: File<Atomic<u32>>,
    #[pin]
    damage: File<Atomic<u32>>,
    #[pin]
    sizes: File<Atomic<u32>>,
    #[pin]
    index: File<Atomic<u32>>,
    #[pin]
    pages: File<()>,
    #[pin]
    fuzz: File<()>,
    #[pin]
    records: File<Written>,
    #[pin]
    wait_inside: File<()>,
}

static KNOBS: SetOnce<Pin<KBox<Knobs>>> = SetOnce::new();

/// Makes the knobs, and puts the hooks in place.
pub(super) fn start() -> Result {
    let dir = Dir::new(c"kexecfs_test");
    let number = |n: u32| Atomic::new(n);
    let knobs = KBox::pin_init(
        try_pin_init!(Knobs {
            major <- dir.read_write_file(c"major", number(abi::MAJOR.into())),
            minor <- dir.read_write_file(c"minor", number(abi::MINOR.into())),
            supported <- dir.read_write_file(c"supported", number(0)),
            required <- dir.read_write_file(c"required", number(0)),
            active <- dir.read_write_file(c"active", number(0)),
            root <- dir.read_write_file(c"root", number(0)),
            unknown <- dir.read_write_file(c"unknown", number(0)),
            damage <- dir.read_write_file(c"damage", number(0)),
            sizes <- dir.read_write_file(c"sizes", number(0)),
            index <- dir.read_write_file(c"index", number(0)),
            pages <- dir.write_callback_file(c"pages", (), &pages),
            fuzz <- dir.write_callback_file(c"fuzz", (), &fuzz),
            records <- dir.read_binary_file(c"records", Written),
            wait_inside <- dir.write_callback_file(c"wait_inside", (), &wait_inside),
        }? Error),
        GFP_KERNEL,
    )?;

    KNOBS.populate(knobs);
    Hooks {
        root: change_root,
        domain: change_domain,
        index: damage_index,
        stream: damage,
        unknown_record,
    }
    .set();
    Ok(())
}

/// The records of a domain.
struct Written;

impl BinaryWriter for Written {
    fn write_to_slice(&self, to: &mut UserSliceWriter, offset: &mut Offset) -> Result<usize> {
        for domain in registry()?.domains()? {
            let mut copy = KVVec::new();
            let copied = domain.with_records(|records| {
                Ok(copy.extend_from_slice(records.as_bytes(), GFP_KERNEL)?)
            });

            match copied {
                // It isn't prepared.
                Err(e) if e == EINVAL => {}
                result => return result.and_then(|()| to.write_slice_file(&copy, offset)),
            }
        }
        Err(ENOENT)
    }
}

fn wait_inside((): &(), _from: &mut UserSliceReader) -> Result {
    for domain in registry()?.domains()? {
        let _inside = domain.enter_changes()?;

        domain.preparing.sync();
    }
    Ok(())
}

fn knob(which: impl FnOnce(&Knobs) -> &Atomic<u32>, default: u32) -> u32 {
    KNOBS
        .as_ref()
        .map_or(default, |knobs| which(knobs).load(Relaxed))
}

/// Adds further features.
fn change_features(features: &mut abi::Features) {
    features.supported |= u64::from(knob(|knobs| &knobs.supported, 0));
    features.required |= u64::from(knob(|knobs| &knobs.required, 0));
    features.active |= u64::from(knob(|knobs| &knobs.active, 0));
}

fn change_domain(domain: &mut abi::DomainRecord) {
    if knob(|knobs| &knobs.root, 0) == 0 {
        change_features(&mut domain.features);
    }
}

/// The type and the flags of a further record.
fn unknown_record() -> Option<(u16, u16)> {
    match knob(|knobs| &knobs.unknown, 0) {
        0 => None,
        1 => Some((UNKNOWN, 0)),
        _ => Some((UNKNOWN, abi::RECORD_MUST_UNDERSTAND)),
    }
}

/// Damages the records of a domain, if that is wanted.
fn damage(stream: &mut [u8]) {
    let seed = knob(|knobs| &knobs.damage, 0);

    if seed != 0 {
        Random::new(seed.into()).change(stream);
    }
    if knob(|knobs| &knobs.sizes, 0) != 0 {
        change_sizes(stream);
    }
}

/// Adds a byte to the size of each file of `data/` that LUO has.
fn change_sizes(mut stream: &mut [u8]) {
    while let Ok((record, rest)) = abi::Record::mut_from_prefix(stream) {
        if record.kind == abi::RECORD_INODE {
            if let Ok((inode, _)) = abi::InodeRecord::mut_from_prefix(rest) {
                if inode.flags & abi::INODE_TOKEN != 0 {
                    inode.size += 1;
                }
            }
        }
        let len = (record.len as usize).next_multiple_of(abi::RECORD_ALIGN);

        stream = rest.get_mut(len..).unwrap_or_default();
    }
}

/// Damages the entries of the index, if that is wanted.
fn damage_index(index: &mut [u8]) {
    match knob(|knobs| &knobs.index, 0) {
        1 => {}
        5 => return give_pages(index),
        _ => return,
    }
    let mut first = Vmalloc::default();
    let entries = index.chunks_exact_mut(size_of::<abi::IndexEntry>());

    for (number, entry) in entries.enumerate() {
        let Ok((entry, _)) = abi::IndexEntry::mut_from_prefix(entry) else {
            return;
        };
        let stream = &mut entry.stream;

        match number {
            0 => first = *stream,
            1 => *stream = first,
            2 => stream.first = FIRMWARE,
            3 => stream.first += 8,
            // The local APIC.
            4 => stream.first = 0xfee0_0000,
            5 => stream.first = 1 << 45,
            6 => stream.order = 9,
            7 => stream.total_pages = u32::MAX,
            8 => entry.len = u64::MAX,
            9 => entry.len -= 8,
            _ => return,
        }
    }
}

/// The chunks that KHO would have made for the memory that two domains are given.
static CHUNKS: SetOnce<[PreservedFolio; 2]> = SetOnce::new();

/// `ADDRESS ADDRESS`
fn pages((): &(), from: &mut UserSliceReader) -> Result {
    let mut buf = [0; 48];
    let [Some(one), Some(two), None] = numbers(from, &mut buf)? else {
        return Err(EINVAL);
    };

    CHUNKS.populate([chunk(one)?, chunk(two)?]);
    Ok(())
}

/// A `struct kho_vmalloc_chunk` of one page.
fn chunk(page: u64) -> Result<PreservedFolio> {
    let mut chunk = PreservedFolio::new(PAGE_SIZE)?;

    // Behind the address of the next one, of which there is none.
    page.write_to_prefix(chunk.get_mut(size_of::<u64>()..).ok_or(EINVAL)?)
        .map_err(|_| EINVAL)?;
    Ok(chunk)
}

fn give_pages(index: &mut [u8]) {
    let entries = index.chunks_exact_mut(size_of::<abi::IndexEntry>()).skip(1);

    for (entry, chunk) in entries.zip(CHUNKS.as_ref().into_iter().flatten()) {
        if let Ok((entry, _)) = abi::IndexEntry::mut_from_prefix(entry) {
            entry.stream.first = chunk.phys();
            entry.stream.total_pages = 1;
        }
    }
}

/// Gives the root another version or other features, or damages it, if that is wanted.
fn change_root(root: &mut abi::Root) {
    let (major, minor) = (root.major.into(), root.minor.into());

    root.major = knob(|knobs| &knobs.major, major)
        .try_into()
        .unwrap_or(u16::MAX);
    root.minor = knob(|knobs| &knobs.minor, minor)
        .try_into()
        .unwrap_or(u16::MAX);
    if knob(|knobs| &knobs.root, 0) != 0 {
        change_features(&mut root.features);
    }
    if root.seal == 0 {
        return;
    }
    match knob(|knobs| &knobs.index, 0) {
        2 => root.count = u64::MAX,
        3 => root.seal += 1,
        4 => root.index.first = FIRMWARE,
        _ => {}
    }
}

/// `SEED COUNT`
fn fuzz((): &(), from: &mut UserSliceReader) -> Result {
    let mut buf = [0; 48];
    let [Some(seed), Some(count), None] = numbers(from, &mut buf)? else {
        return Err(EINVAL);
    };
    let whole = sample()?;
    let mut damaged = VVec::zeroed(whole.len(), GFP_KERNEL)?;
    let mut random = Random::new(seed);
    let mut readable = 0u64;

    for _ in 0..count {
        damaged.copy_from_slice(&whole);
        random.change(&mut damaged);
        let len = random.cut(damaged.len());

        readable += u64::from(
            Reader::new(damaged.get(..len).ok_or(EINVAL)?)
                .domain()
                .is_ok(),
        );
    }
    pr_info!("fuzz: seed {seed}: {readable} of {count} damaged streams can be read\n");
    Ok(())
}

/// The first three numbers in `from`.
fn numbers(from: &mut UserSliceReader, buf: &mut [u8]) -> Result<[Option<u64>; 3]> {
    let text = buf.get_mut(..from.len()).ok_or(EINVAL)?;

    from.read_slice(text)?;
    let mut words = core::str::from_utf8(text)
        .map_err(|_| EINVAL)?
        .split_ascii_whitespace()
        .map(|word| word.parse().map_err(|_| EINVAL));

    Ok([
        words.next().transpose()?,
        words.next().transpose()?,
        words.next().transpose()?,
    ])
}

/// A stream with something of everything.
fn sample() -> Result<VVec<u8>> {
    let (mut buf, len) = stream(|writer| {
        let name = Name::of_domain(b"sample")?;
        let session = name.session()?;
        // As many numbers as there are inodes.
        let identity = Identity::restore([1; 16], abi::INO_MIN + 7).ok_or(EINVAL)?;

        writer.domain(&name, &session, &identity, &Options::new()?, 1)?;
        writer.file(&Name::of_file(b"one")?, 1, 4096)?;
        writer.file(&Name::of_file(b"two")?, 2, 0)?;
        write_sample_tree(writer)?;
        writer.end()
    })?;

    buf.truncate(len);
    Ok(buf)
}

fn write_sample_tree(writer: &mut Writer<'_>) -> Result {
    let modes = [DIR, DIR, 0o100644, 0o100600, 0o120777, 0o010600, DIR];

    for (ino, mode) in (abi::INO_MIN..).zip(modes) {
        let mut record = abi::InodeRecord {
            mode,
            ino,
            ..Default::default()
        };
        let rest = match mode {
            0o100644 => &b"contents"[..],
            0o120777 => b"target",
            _ => b"",
        };

        match mode {
            0o100644 => record.size = 8,
            0o100600 => {
                (record.size, record.token) = (100_000, 3);
                record.flags = abi::INODE_TOKEN;
            }
            _ => {}
        }
        writer.inode(&record, rest)?;
    }
    for (parent, inode, name) in [
        (0, 1, &b"dir"[..]),
        (1, 2, b"file"),
        (0, 2, b"link"),
        (1, 3, b"file2"),
        (0, 4, b"symlink"),
        (1, 5, b"pipe"),
        (1, 6, b"deep"),
    ] {
        writer.name(parent, inode, name)?;
    }
    for (inode, name) in [(0, &b"user.a"[..]), (2, b"user.a"), (2, b"user.b")] {
        writer.xattr(inode, name, b"value")?;
    }
    Ok(())
}
