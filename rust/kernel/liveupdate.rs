// SPDX-License-Identifier: GPL-2.0-only

//! Live Update Orchestrator (LUO): sessions for users inside the kernel.
//!
//! LUO hands open files over to the next kernel when a kexec starts it. The files are in sessions,
//! which have names, and in a session each file has a token.
//!
//! In the kernel that hands over, a file is first held ([`HeldFile`]), then preserved in an
//! [`OutgoingSession`]. In the next kernel that session comes in and can be claimed
//! ([`IncomingSession`]), its files retrieved and finished, either by the first caller, or by a
//! [`SessionOwner`], to which all sessions of one prefix belong. A [`RebootNotifier`] has the first
//! and the last word when reboot(2) begins the handover.
//!
//! # Locking
//!
//! All functions may sleep, and none waits for reboot(2): once LUO has begun to write down what is
//! handed over, whatever would change it gives [`EBUSY`], for good if the kexec succeeds.
//!
//! None may be called with the caller's `mmap_lock` held. Apart from that, LUO's locks come below
//! those of the callers; what is called back from here says which of them is held around it.
//!
//! [`HeldFile::hold`] takes none of LUO's locks. It waits for the lock of the inode, for as long as
//! another user of the file likes. So no lock may be held around it that others need.
//!
//! # Not supported
//!
//! Handlers for kinds of files and File-Lifecycle-Bound (FLB) objects cannot be written with what
//! is here.
//!
//! C headers: [`include/linux/liveupdate_session.h`](srctree/include/linux/liveupdate_session.h),
//! [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use crate::{
    bindings,
    error::to_result,
    fs::File,
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef,
    time::{
        Instant,
        Monotonic, //
    }, //
};
use core::{
    mem::ManuallyDrop,
    ptr, //
};

mod session;
pub use self::session::{
    for_each_incoming,
    IncomingSession,
    OutgoingSession, //
};

/// Returns whether LUO is in use.
///
/// It can go from `true` to `false` up to `late_initcall` (level 7), where LUO sets up what it
/// needs to hand anything over, and not later.
#[inline]
pub fn enabled() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { bindings::liveupdate_enabled() }
}

/// Reads the sessions that the previous kernel handed over, unless that was done before.
///
/// This calls the [`SessionOwner`]s, so it cannot be called by them. No lock may be held that they
/// take. Not before `late_initcall` (level 7) is over: until then handlers are registered.
///
/// # Errors
///
/// - [`EOPNOTSUPP`] if LUO is not in use.
/// - [`EBUSY`] during a reboot, [`EINTR`] if the caller was killed, [`ENOMEM`]: it can be tried
///   again.
#[inline]
pub fn load() -> Result {
    // SAFETY: The function has no requirements.
    to_result(unsafe { bindings::liveupdate_load() })
}

/// Returns the number of live updates that led to this kernel, which is 0 after an ordinary boot.
#[inline]
pub fn generation() -> u64 {
    // SAFETY: The function has no requirements.
    unsafe { bindings::liveupdate_generation() }
}

/// What image for kexec there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KexecImage {
    /// None: a kexec is refused with [`EINVAL`].
    None,
    /// One that carries nothing over: it was loaded by kexec_load(2).
    Plain,
    /// One that carries over what is preserved.
    Handover,
    /// One that returns to this kernel, in which everything is as before (`CONFIG_KEXEC_JUMP`).
    Returns,
}

/// Returns what reboot(KEXEC) would start now (`liveupdate_kexec_image()`).
///
/// # Errors
///
/// [`EBUSY`] if an image is being loaded just now, or a kexec is under way.
pub fn kexec_image() -> Result<KexecImage> {
    // SAFETY: The function has no requirements.
    let image = unsafe { bindings::liveupdate_kexec_image() };

    to_result(image)?;
    match image as u32 {
        bindings::LIVEUPDATE_IMAGE_NONE => Ok(KexecImage::None),
        bindings::LIVEUPDATE_IMAGE_PLAIN => Ok(KexecImage::Plain),
        bindings::LIVEUPDATE_IMAGE_HANDOVER => Ok(KexecImage::Handover),
        _ => Ok(KexecImage::Returns),
    }
}

/// A file that is ready to be preserved: its handler keeps its size from changing.
///
/// When it is dropped the file is as it was before.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::File,
///     liveupdate::HeldFile,
///     sync::aref::ARef,
/// };
///
/// /// Keeps the size of a file, and allocates what it lacks.
/// fn hold(file: ARef<File>) -> Result<HeldFile> {
///     let held = HeldFile::hold(file)?;
///
///     held.populate()?;
///     Ok(held)
/// }
/// ```
///
/// # Invariants
///
/// `liveupdate_file_hold()` succeeded for `file`, and neither was that undone since, nor was the
/// hold given to a session.
pub struct HeldFile {
    // Drop order: the reference is put after `drop()` has given the hold back.
    file: ARef<File>,
}

impl HeldFile {
    /// Holds a file, waiting for its inode's lock. Only being killed ends that early.
    ///
    /// # Errors
    ///
    /// - [`EOPNOTSUPP`] if LUO has no handler for this kind of file (LUO itself says [`ENOENT`]).
    /// - [`EBUSY`] if the file is held or preserved already, by whomever.
    /// - [`EINTR`] if the caller was killed.
    /// - Any other error of the handler.
    pub fn hold(file: ARef<File>) -> Result<Self> {
        // SAFETY: The file is valid, as we have a reference.
        to_result(unsafe { bindings::liveupdate_file_hold(file.as_ptr(), false) })
            .map_err(no_handler)?;

        // INVARIANT: The call succeeded.
        Ok(Self { file })
    }

    /// Holds a file unless its inode is locked by somebody else.
    ///
    /// Memory that the file lacks is then allocated by [`OutgoingSession::preserve`].
    ///
    /// # Errors
    ///
    /// Those of [`HeldFile::hold`], and [`EAGAIN`] if the file is in use just now.
    pub fn try_hold(file: ARef<File>) -> Result<Self> {
        // SAFETY: The file is valid, as we have a reference.
        to_result(unsafe { bindings::liveupdate_file_hold(file.as_ptr(), true) })
            .map_err(no_handler)?;

        // INVARIANT: The call succeeded.
        Ok(Self { file })
    }

    /// Allocates the memory that the file lacks: what it preserves has no holes.
    ///
    /// It is charged to the caller, whose cgroup may make him wait: this belongs where no lock is
    /// held. A caller that leaves it out lets [`OutgoingSession::preserve`] do it.
    ///
    /// # Errors
    ///
    /// - [`EBUSY`] if a reboot waits.
    /// - [`EINTR`] if the caller was killed.
    /// - [`ENOMEM`] if there is no memory.
    /// - Any other error of the handler.
    pub fn populate(&self) -> Result {
        // SAFETY: By the type invariants the file is valid and held.
        to_result(unsafe { bindings::liveupdate_file_populate(self.file.as_ptr()) })
    }

    /// Returns how many blocks of 512 bytes the file occupies (`i_blocks`), which may be outdated.
    #[inline]
    pub fn i_blocks(&self) -> u64 {
        // SAFETY: By the type invariants the file is valid.
        let inode = unsafe { bindings::file_inode(self.file.as_ptr()) };
        // SAFETY: An open file holds its inode.
        let blocks = unsafe { &raw const (*inode).i_blocks };

        // SAFETY: An open file holds its inode; C reads the number without a lock as well.
        unsafe { blocks.read_volatile() }
    }

    /// Returns the file.
    #[inline]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Turns this into the file that nobody holds any more, or somebody else does.
    fn into_file(self) -> ARef<File> {
        let this = ManuallyDrop::new(self);

        // SAFETY: `this` is neither used nor dropped after this, so its field can be moved out.
        unsafe { ptr::read(&this.file) }
    }
}

impl Drop for HeldFile {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the hold is ours, and the file is valid.
        unsafe { bindings::liveupdate_file_unhold(self.file.as_ptr()) };
    }
}

/// Says that a kind of file cannot be preserved, where LUO says that it found no handler.
fn no_handler(err: Error) -> Error {
    if err == ENOENT {
        EOPNOTSUPP
    } else {
        err
    }
}

/// The number of bytes that the name of a handler can have, with a terminating zero.
const COMPATIBLE_LENGTH: usize = bindings::LIVEUPDATE_HNDL_COMPAT_LENGTH as usize;

/// The name of the handler of a file, which says what kind of file it is, and in which version:
/// LUO's "compatible" string.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::Compatible;
///
/// fn is_memfd(handler: &Compatible) -> bool {
///     handler.as_bytes().starts_with(b"memfd-")
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Compatible {
    bytes: [u8; COMPATIBLE_LENGTH],
}

impl Compatible {
    /// Copies a name. LUO's are shorter than `LIVEUPDATE_HNDL_COMPAT_LENGTH`; of another, the
    /// beginning is taken.
    fn new(name: &CStr) -> Self {
        let mut bytes = [0; COMPATIBLE_LENGTH];

        for (to, from) in bytes.iter_mut().zip(name.to_bytes()) {
            *to = *from;
        }
        Self { bytes }
    }

    /// Returns the bytes of the name.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split(|byte| *byte == 0).next().unwrap_or(&[])
    }
}

/// A part of the kernel to which all sessions belong whose names begin with a prefix.
///
/// User space cannot create such sessions.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::SessionOwner;
///
/// struct Owner;
///
/// impl SessionOwner for Owner {
///     const PREFIX: &'static CStr = c"example-";
///
///     fn incoming() {
///         pr_info!("sessions came in\n");
///     }
///
///     fn freeze_failed(_name: &CStr, _token: u64, _error: Error) -> bool {
///         false
///     }
/// }
/// ```
pub trait SessionOwner: 'static {
    /// The beginning of the names of all sessions of this owner.
    const PREFIX: &'static CStr;

    /// The sessions that the previous kernel handed over have been read: claims those of this
    /// owner.
    ///
    /// Called once, from [`load`] or the first open of `/dev/liveupdate`, before user space can get
    /// at any of them. What is not claimed here, user space can claim.
    ///
    /// Called with the lock that [`load`] takes. So it must not call [`load`], must not wait for
    /// user memory, and every lock that it takes is below that one.
    fn incoming();

    /// A file of the session `name` could not be frozen for a kexec. Returns whether to go on
    /// without the session, as after [`OutgoingSession::exclude`]; else the kexec is refused.
    ///
    /// Called between [`RebootNotifier::prepare`] and [`RebootNotifier::abort`] with LUO's locks:
    /// it must not call anything here, nor take a lock under which such a call is made.
    fn freeze_failed(name: &CStr, token: u64, error: Error) -> bool;
}

/// Makes a [`SessionOwner`] known to LUO. This has to be done before `late_initcall` (level 7).
///
/// There is no way back, so this is only for what can never be unloaded. LUO exports nothing to
/// modules: code that calls this is built in, or it does not link.
///
/// # Errors
///
/// - [`EINVAL`] if the prefix is empty.
/// - [`EEXIST`] if it is the beginning of another owner's prefix, or the other way round.
/// - [`EBUSY`] if it is too late.
/// - [`EOPNOTSUPP`] if LUO is not in use.
/// - [`ENOMEM`] if there is not enough memory.
pub fn register_session_owner<T: SessionOwner>() -> Result {
    let owner = KBox::new(
        bindings::liveupdate_session_owner {
            prefix: T::PREFIX.as_char_ptr(),
            incoming: Some(incoming_callback::<T>),
            freeze_failed: Some(freeze_failed_callback::<T>),
            ..pin_init::zeroed()
        },
        GFP_KERNEL,
    )?;

    register_for_good(owner, |owner| {
        // SAFETY: The struct is initialized as LUO wants it, and it is valid for good if this
        // succeeds. The prefix is a constant, the function belongs to built-in code.
        unsafe { bindings::liveupdate_register_session_owner(owner) }
    })
}

/// Calls [`SessionOwner::incoming`].
extern "C" fn incoming_callback<T: SessionOwner>() {
    T::incoming();
}

/// Calls [`SessionOwner::freeze_failed`].
///
/// # Safety
///
/// `name` must be a valid C string, and `err` an errno.
unsafe extern "C" fn freeze_failed_callback<T: SessionOwner>(
    name: *const c_char,
    token: u64,
    err: c_int,
) -> bool {
    // SAFETY: By the safety requirements.
    let name = unsafe { CStr::from_char_ptr(name) };

    T::freeze_failed(name, token, Error::from_errno(err))
}

/// Registers a C struct that C will keep, and leaves it to C if that succeeds.
fn register_for_good<T>(what: KBox<T>, register: impl FnOnce(*mut T) -> c_int) -> Result {
    let ptr = KBox::into_raw(what);

    to_result(register(ptr)).inspect_err(|_| {
        // SAFETY: The pointer came from `into_raw()` above, and C did not keep it.
        drop(unsafe { KBox::from_raw(ptr) });
    })
}

/// What a part of the kernel has to do when reboot(2) begins a kexec, before LUO writes down what
/// is handed over.
///
/// [`prepare`](Self::prepare) and [`abort`](Self::abort) are called in process context by the task
/// that is in reboot(2), with the locks of kexec and reboot held. See `kernel_kexec()` in
/// [`kernel/kexec_core.c`].
///
/// [`kernel/kexec_core.c`]: srctree/kernel/kexec_core.c
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::RebootNotifier;
///
/// struct Notifier;
///
/// impl RebootNotifier for Notifier {
///     fn prepare(handover: bool) -> Result {
///         if handover {
///             Ok(())
///         } else {
///             Err(EPERM)
///         }
///     }
///
///     fn abort() {}
/// }
/// ```
pub trait RebootNotifier: 'static {
    /// The kexec begins. `handover` says whether the next kernel will get what is preserved: if
    /// not, its image was loaded in a way that carries nothing.
    ///
    /// LUO's functions all work still, for the last time in this kernel if the kexec succeeds. An
    /// error refuses the kexec and becomes that of reboot(2). A notifier that returns one is not
    /// told to abort: it has to have undone its work itself.
    fn prepare(handover: bool) -> Result;

    /// The kexec will not take place, after a [`prepare`](Self::prepare) that succeeded: everything
    /// goes on as before.
    fn abort();

    /// An image has been loaded that carries nothing over.
    ///
    /// Called by the task that has loaded it, with none of these locks.
    fn plain_image_loaded() {}
}

/// Lets a reboot that has failed be over for other tasks (`liveupdate_reboot_failed()`), whose
/// operations would end with [`EBUSY`] until the last notifier has been called.
///
/// For a [`RebootNotifier`] that has undone its work; anywhere else it does nothing.
pub fn reboot_failed() {
    // SAFETY: The function has no requirements.
    unsafe { bindings::liveupdate_reboot_failed() }
}

/// Calls `f` with a deadline for the handlers of the files: what it preserves or hands on then ends
/// with [`EBUSY`].
///
/// For [`RebootNotifier::prepare`], and for a task that rehearses that. If two tasks have deadlines
/// at a time only the later one has an effect.
pub fn with_reboot_deadline<R>(deadline: Instant<Monotonic>, f: impl FnOnce() -> R) -> R {
    // SAFETY: The function has no requirements.
    unsafe { bindings::liveupdate_reboot_set_deadline(deadline.as_nanos()) };
    let ret = f();

    // SAFETY: The function has no requirements.
    unsafe { bindings::liveupdate_reboot_set_deadline(i64::MAX) };
    ret
}

/// Calls `f` on several CPUs at once, in up to `tasks` tasks that preserve for the reboot
/// (`liveupdate_reboot_parallel()`), and returns when all have ended. Does nothing if that is one
/// task, or there is one CPU: for work that the caller does in any case, if it was not done.
///
/// For [`RebootNotifier::prepare`].
pub fn reboot_parallel<F: Fn() + Sync>(tasks: usize, f: F) {
    /// # Safety
    ///
    /// `f` must point to an `F` that is valid and shared for the duration of the call.
    unsafe extern "C" fn call<F: Fn() + Sync>(f: *mut c_void) {
        // SAFETY: By the safety requirements.
        let f = unsafe { &*f.cast::<F>() };

        f();
    }

    // SAFETY: The function has no requirements.
    let cpus = unsafe { bindings::num_online_cpus() };
    let tasks = u32::try_from(tasks).unwrap_or(u32::MAX).min(cpus);

    if tasks > 1 {
        // SAFETY: `f` may be called by several tasks at once, as it is `Sync`. It is valid during
        // this call, and all of theirs end before.
        unsafe {
            bindings::liveupdate_reboot_parallel(
                tasks,
                Some(call::<F>),
                (&raw const f).cast_mut().cast(),
            )
        };
    }
}

/// How many bytes of memory can be preserved, about: all that is available
/// (`si_mem_available()`), without free memory that is for movable pages only.
pub fn available_memory() -> u64 {
    // SAFETY: The function has no requirements.
    let pages = unsafe { bindings::available_kernel_pages() };

    (pages as u64).saturating_mul(PAGE_SIZE as u64)
}

/// Makes a [`RebootNotifier`] known to LUO.
///
/// There is no way back, so this is only for what can never be unloaded. LUO exports nothing to
/// modules: code that calls this is built in, or it does not link.
///
/// # Errors
///
/// - [`ENOMEM`] if there is not enough memory.
pub fn register_reboot_notifier<T: RebootNotifier>() -> Result {
    let block = KBox::new(
        bindings::notifier_block {
            notifier_call: Some(reboot_callback::<T>),
            ..pin_init::zeroed()
        },
        GFP_KERNEL,
    )?;

    register_for_good(block, |block| {
        // SAFETY: The block is initialized, and it is valid for good if this succeeds. The function
        // belongs to built-in code, and it is called with what it asks for.
        unsafe { bindings::liveupdate_register_reboot_notifier(block) }
    })
}

/// Calls the functions of a [`RebootNotifier`].
///
/// # Safety
///
/// If `action` is `LIVEUPDATE_PREPARE`, `data` must be a valid pointer to a
/// `struct liveupdate_reboot_info` for the duration of the call.
unsafe extern "C" fn reboot_callback<T: RebootNotifier>(
    _block: *mut bindings::notifier_block,
    action: c_ulong,
    data: *mut c_void,
) -> c_int {
    const PREPARE: c_ulong = bindings::LIVEUPDATE_PREPARE as c_ulong;
    const ABORT: c_ulong = bindings::LIVEUPDATE_ABORT as c_ulong;
    const PLAIN_IMAGE: c_ulong = bindings::LIVEUPDATE_PLAIN_IMAGE as c_ulong;

    match action {
        PREPARE => {
            // SAFETY: By the safety requirements.
            let handover = unsafe { (*data.cast::<bindings::liveupdate_reboot_info>()).handover };
            let errno = T::prepare(handover).map_or_else(|err| err.to_errno(), |()| 0);

            // SAFETY: The function accepts every errno.
            unsafe { bindings::notifier_from_errno(errno) }
        }
        ABORT => {
            T::abort();
            bindings::NOTIFY_OK as c_int
        }
        PLAIN_IMAGE => {
            T::plain_image_loaded();
            bindings::NOTIFY_OK as c_int
        }
        _ => bindings::NOTIFY_DONE as c_int,
    }
}
