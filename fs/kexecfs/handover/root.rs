// SPDX-License-Identifier: GPL-2.0-only

//! The root, and the index of all domains.

use super::{
    frame::{
        Checked,
        RESERVED, //
    },
    hooks::hooks,
    reader::{
        check_features,
        IncomingDomain,
        Reader,
        Unreadable, //
    },
    tree::{
        Index,
        Tree, //
    },
    writer::{
        page_buffer,
        FEATURES, //
    }, //
};
use crate::words::name::Name;
use core::mem::offset_of;
use kernel::{
    alloc::AllocError,
    kho::{
        self,
        abi::kexecfs as abi,
        PreservedFolio,
        PreservedVmalloc,
        RestoredFolio,
        RestoredVmalloc,
        Subtree, //
    },
    page::{
        page_align,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::Arc, //
};

/// The KHO subtree of kexecfs, for the next kernel.
pub(crate) struct OutgoingRoot {
    subtree: Subtree,
    /// The array that the subtree points at while it is sealed.
    index: Option<PreservedVmalloc>,
}

impl OutgoingRoot {
    /// Adds an empty subtree.
    pub(crate) fn add() -> Result<Self> {
        let mut root = Self {
            subtree: Subtree::add(abi::ENTRY_NAME, PreservedFolio::new(PAGE_SIZE)?)?,
            index: None,
        };

        root.write(0, None)?;
        Ok(root)
    }

    /// Points the subtree at the records of `domains`, which have to stay until
    /// [`OutgoingRoot::unseal`].
    pub(crate) fn seal(&mut self, domains: &[abi::IndexEntry]) -> Result {
        let mut index = page_buffer(core::mem::size_of_val(domains))?;

        for (slot, domain) in index
            .chunks_exact_mut(size_of::<abi::IndexEntry>())
            .zip(domains)
        {
            slot.copy_from_slice(domain.as_bytes());
        }
        (hooks().index)(&mut index);
        let index = PreservedVmalloc::new(index)?;

        self.write(domains.len(), Some(&index))?;
        self.index = Some(index);
        Ok(())
    }

    /// Excludes a domain after all.
    pub(crate) fn exclude(&mut self, number: usize) {
        let at = number * size_of::<abi::IndexEntry>();
        let entry = self
            .index
            .as_mut()
            .and_then(|index| abi::IndexEntry::mut_from_prefix(index.get_mut(at..)?).ok());

        if let Some((entry, _)) = entry {
            entry.flags |= abi::ENTRY_EXCLUDED;
        }
    }

    /// Undoes [`OutgoingRoot::seal`].
    pub(crate) fn unseal(&mut self) -> Result {
        self.write(0, None)?;
        self.index = None;
        Ok(())
    }

    fn write(&mut self, count: usize, index: Option<&PreservedVmalloc>) -> Result {
        let mut root = abi::Root {
            magic: abi::ROOT_MAGIC,
            major: abi::MAJOR,
            minor: abi::MINOR,
            features: FEATURES,
            count: count.try_into()?,
            seal: index.map_or(0, |_| abi::SEAL_MAGIC),
            index: index.map(|index| index.descriptor()).unwrap_or_default(),
            ..Default::default()
        };

        (hooks().root)(&mut root);
        root.write_to_prefix(&mut self.subtree).map_err(|_| EINVAL)
    }
}

/// A domain in the index of the previous kernel.
pub(crate) enum Found {
    Domain(IncomingDomain),
    /// It was excluded from the kexec, which has left the LUO session of this name.
    Excluded(Name),
    Unreadable(Unreadable),
}

/// Reads the root and the index of the previous kernel, and frees them. Calls `each` for every
/// domain.
pub(crate) fn read(each: &mut dyn FnMut(Found) -> Result) -> Result {
    let folio = match kho::retrieve_subtree(abi::ENTRY_NAME) {
        Ok(folio) => folio,
        Err(e) if e == ENOENT => return Ok(()),
        Err(e) => {
            pr_err!("the root of what was handed over can't be had: {e:?}\n");
            return Err(e);
        }
    };
    let Ok((root, _)) = abi::Root::ref_from_prefix(&folio) else {
        pr_err!("the root of what was handed over is too short\n");
        return Err(EIO);
    };

    if root.magic != abi::ROOT_MAGIC {
        pr_err!(
            "the root of what was handed over has no magic: {:#x}\n",
            root.magic
        );
        return Err(EIO);
    }
    if root.major != abi::MAJOR {
        pr_err!(
            "what was handed over has version {}.{}, this kernel reads {}.x; \
             its files are plain LUO sessions\n",
            root.major,
            root.minor,
            abi::MAJOR
        );
        return Err(EIO);
    }
    if let Err((why, e)) = check_root(root) {
        pr_err!("the root of what was handed over can't be read: {why}\n");
        return Err(e);
    }
    match root.seal {
        abi::SEAL_MAGIC => read_index(&folio, root, each),
        0 => Ok(()),
        seal => {
            pr_err!("the root of what was handed over has no seal: {seal:#x}\n");
            Err(EIO)
        }
    }
}

fn check_root(root: &abi::Root) -> Checked<()> {
    check_features(&root.features)?;
    if root.reserved != 0 {
        return Err(RESERVED);
    }
    Ok(())
}

/// Reads the index that `root`, which lies in `folio`, tells of.
fn read_index(
    folio: &RestoredFolio,
    root: &abi::Root,
    each: &mut dyn FnMut(Found) -> Result,
) -> Result {
    let index = RestoredVmalloc::new(folio, offset_of!(abi::Root, index)).inspect_err(|e| {
        pr_err!("the index of what was handed over can't be had: {e:?}\n");
    })?;
    let count = usize::try_from(root.count)?;

    if count > index.len() / size_of::<abi::IndexEntry>() {
        pr_err!("the index of what was handed over is too short for {count} domains\n");
        return Err(EIO);
    }
    for (number, entry) in index
        .chunks_exact(size_of::<abi::IndexEntry>())
        .take(count)
        .enumerate()
    {
        let at = number * size_of::<abi::IndexEntry>();
        let Ok((entry, _)) = abi::IndexEntry::ref_from_prefix(entry) else {
            return Err(EIO);
        };

        let is_excluded = entry.flags & abi::ENTRY_EXCLUDED != 0;

        each(match read_domain(&index, at, entry) {
            Ok(domain) if is_excluded => Found::Excluded(match domain.session {
                Some(session) => session,
                None => domain.name.session()?,
            }),
            Ok(domain) => Found::Domain(domain),
            Err(unreadable) => Found::Unreadable(unreadable),
        })?;
    }
    Ok(())
}

/// Reads the domain of `entry`, which lies `at` so many bytes in the index.
// Its frame is not needed afterwards.
#[inline(never)]
fn read_domain(
    index: &RestoredVmalloc,
    at: usize,
    entry: &abi::IndexEntry,
) -> Result<IncomingDomain, Unreadable> {
    let unreadable = |why, error| Unreadable {
        name: None,
        why,
        at: 0,
        error,
    };
    let area = RestoredVmalloc::new(index, at + offset_of!(abi::IndexEntry, stream))
        .map_err(|e| unreadable("its memory can't be had", e))?;
    let stream = usize::try_from(entry.len)
        .ok()
        .filter(|len| len % abi::RECORD_ALIGN == 0 && page_align(*len) == Some(area.len()))
        .and_then(|len| area.get(..len))
        .ok_or_else(|| unreadable("its stream has another length than its memory", EIO))?;

    let len = stream.len();
    // Both are large, and stay where they are.
    let mut read = Reader::new(stream).domain();

    if let Ok((domain, index)) = &mut read {
        if entry.flags & !abi::ENTRY_EXCLUDED != 0 || entry.reserved != 0 {
            let (why, error) = RESERVED;

            return Err(Unreadable {
                name: domain.name.try_clone().ok(),
                ..unreadable(why, error)
            });
        }
        domain.len = len;
        if !index.is_empty() {
            let tree = new_tree(area, len, core::mem::take(index))
                .map_err(|e| unreadable("no memory", e.into()))?;

            domain.tree = Some(tree);
        }
    }
    read.map(|(domain, _)| domain)
}

// Its frame is not needed by its caller.
#[inline(never)]
fn new_tree(area: RestoredVmalloc, len: usize, index: Index) -> Result<Arc<Tree>, AllocError> {
    Arc::new(Tree::new(area, len, index), GFP_KERNEL)
}
