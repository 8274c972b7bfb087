// SPDX-License-Identifier: GPL-2.0-only

//! Reading and writing regular files of `data/`.
//!
//! The bytes go straight to and from the inner file. A write is cut at the limit of the domain, and
//! while the domain is prepared, at the end of the file.

use crate::{
    content::{
        size_of,
        Content, //
    },
    data::{
        content,
        times_of, //
    },
    sb::KexecFs, //
};
use kernel::{
    fs::{
        file::{
            fmode,
            LocalFile,
            Offset, //
        },
        file_ops::falloc,
        kiocb::flags,
        BackingFile,
        FileOperations,
        Inode,
        Kiocb,
        LockedInode,
        Path, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

/// An open regular file.
pub(crate) struct OpenRegular {
    backing: BackingFile,
    inner: Path,
    content: Arc<Content>,
}

/// The operations of an open regular file.
pub(crate) struct RegularFile;

#[vtable]
impl FileOperations for RegularFile {
    type FileSystem = KexecFs;
    type Data = KBox<OpenRegular>;

    fn open(inode: &Inode<KexecFs>, file: &LocalFile) -> Result<Self::Data> {
        let content = content(inode)?;
        let inner = content.inner(inode)?;
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

        Ok(KBox::new(open, GFP_KERNEL_ACCOUNT)?)
    }

    fn backing<'a>(open: <Self::Data as ForeignOwnable>::Borrowed<'a>) -> Result<&'a BackingFile> {
        open.content.alive()?;
        Ok(&open.backing)
    }

    fn read_iter(
        _inode: &Inode<KexecFs>,
        kiocb: &mut Kiocb<'_, Self::Data>,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        kiocb.file().content.alive()?;
        kiocb.file().backing.read_iter(to, kiocb)
    }

    fn write_iter(
        inode: &Inode<KexecFs>,
        kiocb: &mut Kiocb<'_, Self::Data>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let open = kiocb.file();

        open.content.alive()?;
        let mut locked = if kiocb.ki_flags() & flags::NOWAIT != 0 {
            inode.try_lock().ok_or(EAGAIN)?
        } else {
            inode.lock()
        };
        let fixed = make_room(open, kiocb, from)?;
        let result = open.backing.write_iter(from, kiocb);

        open.content.counted.fit(size_of(&open.inner));
        update(&mut locked, &open.inner);
        match result {
            // It was prepared just now, and doesn't grow any more.
            Err(e) if e == EPERM && !fixed && open.content.is_fixed() => {
                make_room(open, kiocb, from)?;
                open.backing.write_iter(from, kiocb)
            }
            result => result,
        }
    }

    fn fallocate(
        open: &OpenRegular,
        inode: &Inode<KexecFs>,
        mode: c_int,
        offset: Offset,
        len: Offset,
    ) -> Result {
        let mut locked = inode.lock();

        // Not inside it: memory may take as long as a cgroup likes, and a prepare waits. Once the
        // inner file is held it has the last word.
        drop(open.content.change()?);
        let counted = &open.content.counted;
        let (start, end) = (offset.try_into()?, offset.checked_add(len).ok_or(EFBIG)?);
        let end = end.try_into()?;
        let punches = mode & falloc::PUNCH_HOLE != 0;

        if !punches {
            counted.grow(end)?;
        }
        let result = open.backing.vfs_fallocate(mode, offset, len);

        // What fails leaves no blocks behind.
        if result.is_ok() && punches {
            counted.deallocate(start, end);
        } else if result.is_ok() && mode & falloc::KEEP_SIZE != 0 {
            counted.preallocate(end);
        }
        counted.fit(size_of(&open.inner));
        update(&mut locked, &open.inner);
        match result {
            Err(e) if e == EPERM && open.content.is_fixed() => Err(EBUSY),
            result => result,
        }
    }
}

/// Makes room for a write, or cuts it where there is none. Returns whether the size is fixed.
///
/// The lock of the inode is held.
fn make_room(
    open: &OpenRegular,
    kiocb: &Kiocb<'_, KBox<OpenRegular>>,
    from: &mut IovIterSource<'_>,
) -> Result<bool> {
    let size = size_of(&open.inner);
    let pos = if kiocb.ki_flags() & flags::APPEND != 0 {
        size
    } else {
        kiocb.ki_pos().try_into()?
    };
    let end = pos.saturating_add(from.len() as u64);
    let fixed = open.content.is_fixed();

    if end <= size || from.is_empty() {
        return Ok(fixed);
    }
    let end = if fixed {
        size
    } else {
        open.content.counted.grow_for_write(pos, end)?
    };
    let len = end.checked_sub(pos).filter(|len| *len != 0).ok_or(EBUSY)?;

    from.truncate(len.try_into()?);
    Ok(fixed)
}

/// Copies size and times from the inner file, where a write has changed them.
fn update(locked: &mut LockedInode<'_, KexecFs>, inner: &Path) {
    let times = times_of(locked, &inner.times());

    locked.i_size_write(inner.i_size_read());
    locked.set_times(times);
}
