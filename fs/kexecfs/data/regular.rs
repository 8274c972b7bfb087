// SPDX-License-Identifier: GPL-2.0-only

//! Regular files of `data/`: their attributes, and reading and writing them.
//!
//! The bytes go straight to and from the inner file. A write is cut at the limit of the domain, and
//! while the domain is prepared, at the end of the file.

use crate::{
    data::{
        acl::set_acl,
        attr,
        content::Content,
        item::content, //
    },
    domain::Domain,
    space::{
        bytes_of,
        size_of, //
    },
    types::KexecFs, //
};
use kernel::{
    fs::{
        acl::SetAcl,
        file::{
            fmode,
            LocalFile,
            Offset, //
        },
        file_ops::falloc,
        fileattr::FileKattr,
        kiocb::flags,
        BackingFile,
        FileOperations,
        FileOps,
        FreeArea,
        GetAttr,
        Inode,
        InodeOperations,
        InodeOps,
        Kiocb,
        Lease,
        LockedInode,
        NewInode,
        NewMapping,
        Path,
        Seek,
        SetAttr,
        SpliceRead,
        SpliceWrite,
        UnmappedArea, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::{
        atomic::Full,
        barrier::smp_mb,
        Arc, //
    }, //
};

/// An open regular file.
pub(crate) struct OpenRegular {
    backing: BackingFile,
    inner: Path,
    content: Arc<Content>,
}

impl OpenRegular {
    /// The file that has the bytes.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the domain is gone.
    fn backing(&self) -> Result<&BackingFile> {
        self.content.alive()?;
        Ok(&self.backing)
    }
}

/// The operations of an open regular file.
struct RegularFile;

#[vtable]
impl FileOperations for RegularFile {
    type FileSystem = KexecFs;
    type Data = KBox<OpenRegular>;

    fn open(inode: &Inode<KexecFs>, file: &LocalFile) -> Result<Self::Data> {
        let content = content(inode)?;
        let inner = content.inner(inode)?;

        content.follow_huge(inode, &inner);
        let backing = if file.f_mode() & fmode::WRITE == 0 {
            BackingFile::open(file, &inner)?
        } else {
            content.open_for_writing(inode, |inner| BackingFile::open(file, inner))?
        };
        let open = OpenRegular {
            backing,
            inner,
            content: content.clone(),
        };

        let open = KBox::new(open, GFP_KERNEL_ACCOUNT)?;

        inode.sb().info().used(inode.sb());
        Ok(open)
    }

    fn can_odirect(open: &OpenRegular) -> bool {
        open.backing.can_odirect()
    }

    fn llseek(open: &OpenRegular, seek: Seek<'_, KexecFs>) -> Result<Offset> {
        if seek.is_data_or_hole() {
            open.content.alive()?;
        }
        open.backing.llseek(seek)
    }

    fn splice_read(open: &OpenRegular, splice: &mut SpliceRead<'_, KexecFs>) -> Result<usize> {
        open.backing()?.splice_read(splice)
    }

    fn mmap(open: &OpenRegular, mapping: NewMapping<'_, KexecFs>) -> Result {
        open.backing()?.mmap(mapping)
    }

    fn get_unmapped_area<'a>(
        open: &OpenRegular,
        area: UnmappedArea<'a, KexecFs>,
    ) -> Result<FreeArea<'a>> {
        open.backing()?.get_unmapped_area(area)
    }

    fn setlease(_open: &OpenRegular, lease: Lease<'_>) -> Result {
        lease.generic_setlease()
    }

    fn read_iter(
        _inode: &Inode<KexecFs>,
        kiocb: &mut Kiocb<'_, Self::Data>,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        kiocb.file().backing()?.read_iter(to, kiocb)
    }

    fn write_iter(
        inode: &Inode<KexecFs>,
        kiocb: &mut Kiocb<'_, Self::Data>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let open = kiocb.file();

        open.content.alive()?;
        let locked = if kiocb.ki_flags() & flags::NOWAIT != 0 {
            inode.try_lock().ok_or(EAGAIN)?
        } else {
            inode.lock()
        };
        let pos = if kiocb.ki_flags() & flags::APPEND != 0 {
            open.inner.i_size_read()
        } else {
            kiocb.ki_pos()
        };

        write(open, &locked, |room| {
            from.truncate(room(pos, from.len())?);
            open.backing.write_iter(from, kiocb, &locked)
        })
    }

    fn splice_write(
        open: &OpenRegular,
        inode: &Inode<KexecFs>,
        splice: &mut SpliceWrite<'_, KexecFs>,
    ) -> Result<usize> {
        open.content.alive()?;
        loop {
            // Not under the lock of the inode: others want it while a writer of the pipe thinks.
            let len = splice.wait()?;

            if len == 0 {
                return Ok(0);
            }
            let locked = inode.lock();
            let result = write(open, &locked, |room| {
                splice.truncate(room(splice.pos(), len)?);
                open.backing.splice_write(splice, &locked)
            });

            match result {
                // Somebody else has read from the pipe meanwhile.
                Err(e) if e == EAGAIN => {}
                result => return result,
            }
        }
    }

    fn fallocate(
        open: &OpenRegular,
        inode: &Inode<KexecFs>,
        file: &LocalFile,
        mode: c_int,
        offset: Offset,
        len: Offset,
    ) -> Result {
        let locked = inode.lock();
        let prepares = open.content.prepares();

        // Not inside it: memory may take as long as a cgroup likes, and a prepare waits. Once the
        // inner file is held it has the last word.
        drop(open.content.change()?);
        locked.file_remove_privs(file)?;
        let counted = &open.content.counted;
        let (start, end) = (offset.try_into()?, offset.checked_add(len).ok_or(EFBIG)?);
        let end = end.try_into()?;
        let punches = mode & falloc::PUNCH_HOLE != 0;
        let before = counted.preallocated();

        if !punches {
            counted.grow(end)?;
            // Before there are any blocks: a prepare may see them at once.
            if mode & falloc::KEEP_SIZE != 0 {
                counted.preallocate(end);
            }
        }
        let result = open.backing.vfs_fallocate(file, mode, offset, len);

        // A call that fails leaves no blocks behind.
        if result.is_err() {
            counted.set_preallocated(before);
        } else if punches {
            counted.deallocate(start, end);
        }
        counted.fit(size_of(&open.inner), open.inner.i_blocks());
        update(&locked, &open.inner);
        match result {
            Err(e) if e == EPERM && open.content.was_fixed_since(prepares) => Err(EBUSY),
            result => result,
        }
    }
}

/// Makes room for a write of so many bytes at a place, and returns how many there is room for.
type MakeRoom<'a> = dyn Fn(Offset, usize) -> Result<usize> + 'a;

/// Calls `write`, which makes room first, and adjusts the charge and the inode afterwards.
fn write(
    open: &OpenRegular,
    locked: &LockedInode<'_, KexecFs>,
    mut write: impl FnMut(&MakeRoom<'_>) -> Result<usize>,
) -> Result<usize> {
    let content = &open.content;
    let result = loop {
        let prepares = content.prepares();
        let fixed = content.is_fixed();
        let result = write(&|pos, len| make_room(open, fixed, pos, len));

        // Unless it was held meanwhile, and didn't grow: perhaps it does again.
        if result != Err(EPERM) || fixed || !content.was_fixed_since(prepares) {
            break result;
        }
    };

    open.content
        .counted
        .fit(size_of(&open.inner), open.inner.i_blocks());
    update(locked, &open.inner);
    result
}

/// Makes room for a write of `len` bytes at `pos`, or for as much of it as there is room for, which
/// is returned: if the size is `fixed`, the part before the end.
///
/// The lock of the inode is held.
fn make_room(open: &OpenRegular, fixed: bool, pos: Offset, len: usize) -> Result<usize> {
    let size = size_of(&open.inner);
    let pos = pos.try_into()?;
    let end = u64::saturating_add(pos, len as u64);

    if end <= size || len == 0 {
        return Ok(len);
    }
    let end = if fixed {
        size
    } else {
        open.content.counted.grow_for_write(pos, end)?
    };

    match end.checked_sub(pos) {
        None | Some(0) => Err(EBUSY),
        Some(len) => Ok(len.try_into()?),
    }
}

/// Copies size, blocks and times from the inner file, where a write has changed them.
fn update(locked: &LockedInode<'_, KexecFs>, inner: &Path) {
    let times = inner.times();

    locked.i_size_write(inner.i_size_read());
    locked.inode_set_bytes(bytes_in(inner));
    locked.set_mtime(times.mtime);
    locked.set_ctime_deleg(times.ctime);
}

/// How many bytes of memory an inner file has.
fn bytes_in(inner: &Path) -> Offset {
    Offset::try_from(inner.i_blocks().saturating_mul(512)).unwrap_or(Offset::MAX)
}

/// Makes a new inode a regular file.
pub(super) fn set_regular(inode: &mut NewInode<'_, KexecFs>) -> Result {
    inode.set_inode_ops(InodeOps::file::<Regular>())?;
    inode.set_file_ops(FileOps::new::<RegularFile>())
}

/// A regular file.
struct Regular;

#[vtable]
impl InodeOperations for Regular {
    type FileSystem = KexecFs;

    fn set_acl(change: SetAcl<'_, KexecFs>) -> Result {
        set_acl(change)
    }

    fn setattr(attr: SetAttr<'_, KexecFs>) -> Result {
        let domain: Arc<Domain> = attr.inode().sb().info().into();

        // Outside the gate: a retrieve may take as long as the caller's cgroup likes.
        if attr.size().is_some() {
            content(attr.inode())?.inner(attr.inode())?;
        }
        let _inside = domain.enter_changes()?;

        // Steps that can fail come before the size changes.
        let attr = attr.prepare()?.ready()?;

        if let Some(size) = attr.size() {
            let inode = attr.inode();
            let content = content(inode)?;
            let inner = content.inner(inode)?;

            let (before, after) = (size_of(&inner), size.try_into()?);

            content.counted.grow(after)?;
            let result = inner.do_truncate(size);

            if result.is_ok() && after <= before {
                content.counted.deallocate(after, u64::MAX);
            }
            content.counted.fit(size_of(&inner), inner.i_blocks());
            update(&attr.locked(), &inner);
            result?;
        }
        attr.copy();
        // Only of that the inner file tells: a write through a mapping has set it there alone.
        if attr.mtime_set() {
            // With that of `Content::set_inner()`.
            smp_mb(Full);
            if let Some(inner) = content(attr.inode())?.inner_if_any() {
                inner.set_times(attr.inode().times());
            }
        }
        Ok(())
    }

    fn getattr(mut attr: GetAttr<'_, KexecFs>) -> Result {
        let inode = attr.inode();

        if let Some(inner) = content(inode)?.inner_if_any() {
            attr.set_size(inner.i_size_read());
            attr.set_blocks(inner.i_blocks());
            attr.fill_mg_cmtime(&inner);
        } else {
            let size = inode.size().try_into()?;

            attr.set_blocks(bytes_of(size, 0) / 512);
        }
        attr::fill(&mut attr)
    }

    fn fileattr_get(inode: &Inode<KexecFs>, fa: &mut FileKattr<'_>) -> Result {
        attr::get_flags(inode, fa)
    }

    fn fileattr_set(inode: LockedInode<'_, KexecFs>, fa: &FileKattr<'_>) -> Result {
        attr::set_flags(inode, fa)
    }
}
