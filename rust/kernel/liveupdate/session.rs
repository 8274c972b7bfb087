// SPDX-License-Identifier: GPL-2.0-only

//! Sessions of LUO.
//!
//! C headers: [`include/linux/liveupdate_session.h`](srctree/include/linux/liveupdate_session.h)

use super::{
    no_handler,
    Compatible,
    HeldFile,
    COMPATIBLE_LENGTH, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Atomic, //
    }, //
};
use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    },
};

/// A session that this kernel fills and hands over.
///
/// When it is dropped it is destroyed: all files are taken back out of it, the last one first.
/// During a reboot it cannot be; then it is left to LUO, which hands it over if the kexec succeeds.
/// If the kexec fails after all, it stays until the machine reboots. A caller that does not want
/// that has to keep from dropping it between
/// [`RebootNotifier::prepare`](super::RebootNotifier::prepare) and
/// [`RebootNotifier::abort`](super::RebootNotifier::abort).
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::{HeldFile, OutgoingSession};
///
/// /// A session with one file.
/// fn preserve(name: &CStr, file: HeldFile) -> Result<OutgoingSession> {
///     let session = OutgoingSession::create(name)?;
///
///     session.preserve(file, 1).map_err(|(_file, e)| e)?;
///     Ok(session)
/// }
/// ```
///
/// # Invariants
///
/// The pointer is to a session that `liveupdate_session_create()` returned. It is valid until it is
/// destroyed, which only the owner of this object does.
pub struct OutgoingSession(NonNull<bindings::liveupdate_session>);

// SAFETY: A session belongs to no thread.
unsafe impl Send for OutgoingSession {}

// SAFETY: LUO locks a session for each of the methods that take a shared reference.
unsafe impl Sync for OutgoingSession {}

impl OutgoingSession {
    /// Creates an empty session. This works only after `late_initcall` (level 7).
    ///
    /// # Errors
    ///
    /// - [`EINVAL`] if the name is empty or has more than 63 bytes.
    /// - [`EEXIST`] if there is an outgoing session of that name.
    /// - [`EBUSY`] during a reboot.
    /// - [`EOPNOTSUPP`] if LUO is not in use, or not up yet.
    /// - [`ENOMEM`] if there is not enough memory.
    pub fn create(name: &CStr) -> Result<Self> {
        // SAFETY: The name is valid during the call, which copies it.
        let session = unsafe { bindings::liveupdate_session_create(name.as_char_ptr()) };
        let session = from_err_ptr(session)?;

        // INVARIANT: The call succeeded.
        Ok(Self(NonNull::new(session).ok_or(ENOMEM)?))
    }

    /// Preserves a file under a token and returns the name of its handler.
    ///
    /// From then on the session has the hold and a reference of its own.
    ///
    /// # Errors
    ///
    /// The file comes back with the error, still held.
    ///
    /// - [`EEXIST`] if the session has a file of that token.
    /// - [`EBUSY`] during a reboot.
    /// - [`EOPNOTSUPP`] if LUO has no handler for this kind of file.
    /// - [`ENOSPC`] if the session is full.
    /// - [`ENOMEM`] if there is not enough memory.
    /// - Any other error of the handler.
    pub fn preserve(&self, file: HeldFile, token: u64) -> Result<Compatible, (HeldFile, Error)> {
        let mut bytes = [0; COMPATIBLE_LENGTH];

        // SAFETY:
        // - The session is valid by the type invariants.
        // - The file is valid, and held by us, by the type invariants of `HeldFile`.
        // - LUO writes at most as many bytes as there are.
        let ret = to_result(unsafe {
            bindings::liveupdate_session_preserve(
                self.0.as_ptr(),
                file.file.as_ptr(),
                token,
                bytes.as_mut_ptr().cast(),
            )
        });

        match ret {
            Ok(()) => {
                // The hold is the session's now. The reference remains ours.
                drop(file.into_file());
                Ok(Compatible { bytes })
            }
            Err(err) => Err((file, no_handler(err))),
        }
    }

    /// Takes a file back out of the session. Afterwards nobody holds it.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if there is no file of that token.
    /// - [`EBUSY`] during a reboot, or if files that were preserved later may depend on this one.
    #[inline]
    pub fn unpreserve(&self, token: u64) -> Result {
        // SAFETY: The session is valid by the type invariants.
        to_result(unsafe { bindings::liveupdate_session_unpreserve(self.0.as_ptr(), token) })
    }

    /// Freezes the files as a reboot does, and unfreezes them: tells whether a kexec would be
    /// refused (`liveupdate_session_rehearse()`).
    ///
    /// # Errors
    ///
    /// The token of the file that can't be frozen comes with the error of its handler.
    ///
    /// - [`EBUSY`] without a token during a reboot.
    pub fn rehearse(&self) -> Result<(), (Option<u64>, Error)> {
        // Tokens count up from 0.
        let mut failed = u64::MAX;

        // SAFETY: The session is valid by the type invariants, and `failed` can be written to.
        to_result(unsafe {
            bindings::liveupdate_session_rehearse(self.0.as_ptr(), &raw mut failed)
        })
        .map_err(|err| (Some(failed).filter(|&token| token != u64::MAX), err))
    }

    /// Hands the session over to be finished by the next kernel, or for its files again.
    ///
    /// For a reboot that has begun and goes on without it: its files are not frozen.
    pub fn exclude(&self, exclude: bool) {
        // SAFETY: The session is valid by the type invariants.
        unsafe { bindings::liveupdate_session_exclude(self.0.as_ptr(), exclude) };
    }
}

impl Drop for OutgoingSession {
    fn drop(&mut self) {
        // If this fails a reboot is under way, and the session is part of what is handed over. It
        // is leaked on purpose: LUO still has it in its list.
        // SAFETY: The session is valid by the type invariants, and not used again.
        let _ = unsafe { bindings::liveupdate_session_destroy(self.0.as_ptr()) };
    }
}

/// A session that the previous kernel handed over, which we have claimed: nobody else can get at
/// it.
///
/// When it is dropped it can be claimed again, with all the files that were not finished.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::File,
///     liveupdate::IncomingSession,
///     sync::{aref::ARef, atomic::Atomic},
/// };
///
/// /// The file that was preserved under the token 1.
/// fn retrieve(name: &CStr) -> Result<ARef<File>> {
///     IncomingSession::claim(name)?.retrieve(1, &Atomic::new(false))
/// }
/// ```
///
/// # Invariants
///
/// The pointer is to a session that `liveupdate_session_claim()` returned. It is valid until it is
/// unclaimed or finished, which only the owner of this object does.
pub struct IncomingSession(NonNull<bindings::liveupdate_session>);

// SAFETY: A session belongs to no thread.
unsafe impl Send for IncomingSession {}

// SAFETY: LUO locks a session for each of the methods that take a shared reference.
unsafe impl Sync for IncomingSession {}

impl IncomingSession {
    /// Claims a session. [`load`](super::load) must have been called before.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if no session of that name came in.
    /// - [`EINVAL`] if somebody else has claimed it.
    /// - [`ENODEV`] if this kernel has no handler for one of its files, or not yet.
    /// - [`EIO`] if its files can't be read.
    /// - [`EBUSY`] during a reboot.
    pub fn claim(name: &CStr) -> Result<Self> {
        // SAFETY: The name is valid during the call.
        let session = unsafe { bindings::liveupdate_session_claim(name.as_char_ptr()) };
        let session = from_err_ptr(session)?;

        // INVARIANT: The call succeeded.
        Ok(Self(NonNull::new(session).ok_or(ENOENT)?))
    }

    /// Returns the file that was preserved under a token.
    ///
    /// The file is made from what was preserved, in the name and at the expense of the caller. If
    /// it was before, it is the same file again. It ends early once `cancel` is true.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if there is no file of that token.
    /// - [`EBUSY`] during a reboot, or if it was cancelled.
    /// - Any other error of the handler, which also decides whether it can be tried again. For a
    ///   memfd it can, after everything but [`EIO`] and [`EOPNOTSUPP`]; after [`ENOMEM`] for one.
    pub fn retrieve(&self, token: u64, cancel: &Atomic<bool>) -> Result<ARef<File>> {
        let mut file = ptr::null_mut();

        // SAFETY: The session is valid by the type invariants, `cancel` is during the call, which
        // reads it by READ_ONCE(), and `file` can be written to.
        to_result(unsafe {
            bindings::liveupdate_session_retrieve(
                self.0.as_ptr(),
                token,
                cancel.as_ptr(),
                &raw mut file,
            )
        })?;
        let file = NonNull::new(file).ok_or(ENOENT)?;

        // SAFETY:
        // - The call succeeded, so it gave us a reference. `File` has the layout of `struct file`.
        // - The session has a reference too. So `fdget_pos()` on any descriptor of this file, of
        //   which there is a third one then, takes the lock.
        Ok(unsafe { ARef::from_raw(file.cast()) })
    }

    /// Finishes one file: the session forgets it, and what was not retrieved is freed.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if there is no file of that token.
    /// - [`EBUSY`] during a reboot, if the handler is not done with the file yet, or if files that
    ///   were preserved later may depend on this one.
    #[inline]
    pub fn finish_file(&self, token: u64) -> Result {
        // SAFETY: The session is valid by the type invariants.
        to_result(unsafe { bindings::liveupdate_session_finish_file(self.0.as_ptr(), token) })
    }

    /// Hands a file that was not retrieved on to the next kernel as it came.
    ///
    /// It is in both sessions under the same token until [`OutgoingSession::unpreserve`] takes it
    /// back. Meanwhile it can be neither retrieved nor finished.
    ///
    /// # Errors
    ///
    /// - [`ENOENT`] if there is no file of that token.
    /// - [`EEXIST`] if the token is used in `out`.
    /// - [`EOPNOTSUPP`] if the handler can't hand such a file on.
    /// - [`EBUSY`] during a reboot, or if the file was retrieved or is handed on already.
    /// - [`EIO`] if what the previous kernel handed over is broken.
    /// - [`ENOSPC`] if the session is full, [`ENOMEM`].
    #[inline]
    pub fn carry(&self, token: u64, out: &OutgoingSession) -> Result {
        // SAFETY: Both sessions are valid by the type invariants.
        to_result(unsafe {
            bindings::liveupdate_session_carry(self.0.as_ptr(), token, out.0.as_ptr())
        })
    }

    /// Finishes all files and frees the session.
    ///
    /// # Errors
    ///
    /// The session comes back with the error, still claimed.
    ///
    /// - [`EBUSY`] during a reboot, or if a handler is not done with its file yet.
    pub fn finish(self) -> Result<(), (Self, Error)> {
        // SAFETY: The session is valid by the type invariants. If this succeeds it is not used
        // again.
        match to_result(unsafe { bindings::liveupdate_session_finish(self.0.as_ptr()) }) {
            Ok(()) => {
                mem::forget(self);
                Ok(())
            }
            Err(err) => Err((self, err)),
        }
    }

    /// Finishes the files that `keep`, which is called once with the token of each, doesn't keep:
    /// all of them, or after an error none.
    ///
    /// The session is locked meanwhile: `keep` must not call any method of it or of another
    /// session.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] during a reboot, if a handler is not done with its file yet, or if files that
    ///   are kept may depend on others.
    pub fn finish_but(&self, keep: &mut dyn FnMut(u64) -> bool) -> Result {
        let mut keep = keep;

        // SAFETY: The session is valid by the type invariants. `keep_callback` gets a pointer to
        // what it asks for, and only during this call.
        to_result(unsafe {
            bindings::liveupdate_session_finish_but(
                self.0.as_ptr(),
                Some(keep_callback),
                (&raw mut keep).cast(),
            )
        })
    }

    /// Calls `f` for each file with its token and the name of its handler, in the order in which
    /// they were preserved, until it fails.
    ///
    /// The session is locked meanwhile: `f` must not call any method of it or of another session.
    ///
    /// # Errors
    ///
    /// The error that `f` returned.
    pub fn for_each_file(&self, f: &mut dyn FnMut(u64, Compatible) -> Result) -> Result {
        let mut f = f;

        // SAFETY: The session is valid by the type invariants. `file_callback` gets a pointer to
        // what it asks for, and only during this call.
        to_result(unsafe {
            bindings::liveupdate_session_for_each_file(
                self.0.as_ptr(),
                Some(file_callback),
                (&raw mut f).cast(),
            )
        })
    }
}

impl Drop for IncomingSession {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The session is valid by the type invariants, and it is not used again.
        unsafe { bindings::liveupdate_session_unclaim(self.0.as_ptr()) };
    }
}

/// Calls the closure of [`IncomingSession::for_each_file`].
///
/// # Safety
///
/// `compatible` must be a valid C string, and `data` a valid pointer to a mutable reference of the
/// closure, which nobody else uses, both for the duration of the call.
unsafe extern "C" fn file_callback(
    token: u64,
    compatible: *const c_char,
    data: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let f = unsafe { &mut *data.cast::<&mut dyn FnMut(u64, Compatible) -> Result>() };
    // SAFETY: By the safety requirements.
    let compatible = unsafe { CStr::from_char_ptr(compatible) };

    from_result(|| {
        f(token, Compatible::new(compatible))?;
        Ok(0)
    })
}

/// Calls the closure of [`IncomingSession::finish_but`].
///
/// # Safety
///
/// `data` must be a valid pointer to a mutable reference of the closure, which nobody else uses,
/// for the duration of the call.
unsafe extern "C" fn keep_callback(token: u64, data: *mut c_void) -> bool {
    // SAFETY: By the safety requirements.
    let keep = unsafe { &mut *data.cast::<&mut dyn FnMut(u64) -> bool>() };

    keep(token)
}

/// Calls `f` for each session that came in with its name, and whether it is claimed, until it
/// fails.
///
/// [`load`](super::load) must have been called before. The list of sessions is locked meanwhile:
/// `f` must not call anything here, [`IncomingSession::claim`] least of all.
///
/// # Errors
///
/// The error that `f` returned.
pub fn for_each_incoming(f: &mut dyn FnMut(&CStr, bool) -> Result) -> Result {
    let mut f = f;

    // SAFETY: `session_callback` gets a pointer to what it asks for, and only during this call.
    to_result(unsafe {
        bindings::liveupdate_for_each_incoming(Some(session_callback), (&raw mut f).cast())
    })
}

/// Calls the closure of [`for_each_incoming`].
///
/// # Safety
///
/// `name` must be a valid C string, and `data` a valid pointer to a mutable reference of the
/// closure, which nobody else uses, both for the duration of the call.
unsafe extern "C" fn session_callback(
    name: *const c_char,
    claimed: bool,
    data: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let f = unsafe { &mut *data.cast::<&mut dyn FnMut(&CStr, bool) -> Result>() };
    // SAFETY: By the safety requirements.
    let name = unsafe { CStr::from_char_ptr(name) };

    from_result(|| {
        f(name, claimed)?;
        Ok(0)
    })
}
