// SPDX-License-Identifier: GPL-2.0-only

//! Control files that are read as text: it is that of the time when reading began.

use crate::files::command::check_subject;
use kernel::{
    fmt::{
        self,
        Write as _, //
    },
    fs::{
        file::{
            LocalFile,
            Offset, //
        },
        file_ops::poll, //
    },
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    uaccess::UserSliceWriter, //
};

/// An open control file that is read as text, and the subject of that text.
#[pin_data]
pub(crate) struct OpenText<S> {
    pub(crate) source: S,
    /// The text as it was when reading began, if it has.
    #[pin]
    text: Mutex<Option<KVVec<u8>>>,
    /// How often the text had changed by then, or when the file was opened.
    seen: Atomic<u32>,
}

impl<S> OpenText<S> {
    /// Opens a text that has changed `changes` times so far.
    pub(crate) fn new(source: S, changes: u32) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                seen: Atomic::new(changes),
                source,
                text <- new_mutex!(None, "OpenText::text"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Reads the text that `make` makes, anew at position 0, and at the first read.
    pub(crate) fn read(
        &self,
        file: &LocalFile,
        to: &mut UserSliceWriter,
        pos: &mut Offset,
        make: impl FnOnce(&mut KVVec<u8>) -> Result,
    ) -> Result<usize> {
        check_subject(file)?;
        if *pos == 0 || self.text.lock().is_none() {
            let mut text = KVVec::new();

            make(&mut text)?;
            let old = self.text.lock().replace(text);

            drop(old);
        }
        // Only this open file's own lock is held while the page of the reader may be waited for.
        to.write_slice_file(self.text.lock().as_deref().unwrap_or_default(), pos)
    }

    /// Keeps that the reader has seen the text as it is after `changes` changes.
    pub(crate) fn mark_seen(&self, changes: u32) {
        self.seen.store(changes, Relaxed);
    }

    /// Which events there are, if the text has changed `changes` times so far.
    ///
    /// A read never waits: there are programs, as busybox' shell, that ask before they read.
    pub(crate) fn poll(&self, changes: u32) -> u32 {
        if self.seen.load(Relaxed) == changes {
            poll::IN
        } else {
            poll::IN | poll::PRI
        }
    }
}

/// Appends formatted text.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn append(text: &mut KVVec<u8>, args: fmt::Arguments<'_>) -> Result {
    struct Text<'a>(&'a mut KVVec<u8>);

    impl fmt::Write for Text<'_> {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0
                .extend_from_slice(s.as_bytes(), GFP_KERNEL_ACCOUNT)
                .map_err(|_| fmt::Error)
        }
    }

    Text(text).write_fmt(args).map_err(|_| ENOMEM)
}
