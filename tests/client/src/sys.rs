// SPDX-License-Identifier: GPL-2.0-only

//! The few things that need `unsafe`: numbers taken as descriptors, ioctls, one system call that
//! rustix lacks, and the memory of userfaultfd.

use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};
use rustix::ioctl::{ioctl, Opcode, Updater};
use std::ffi::CString;

/// A descriptor by its number; one that is not open gives EBADF when it is used.
pub fn fd(n: RawFd) -> BorrowedFd<'static> {
    assert!(n >= 0, "a descriptor is not negative");
    // SAFETY: nothing in this program relies on a descriptor staying open: every use is one system
    // call on a number that the test chose, and a wrong number is an EBADF that it wants to see.
    unsafe { BorrowedFd::borrow_raw(n) }
}

/// Moves `owned` to the number `n`, without CLOEXEC, and leaves it open.
pub fn place(owned: OwnedFd, n: RawFd) -> Result<()> {
    use rustix::fd::AsRawFd;
    if owned.as_raw_fd() == n {
        let _ = owned.into_raw_fd();
        return rustix::io::fcntl_setfd(fd(n), rustix::io::FdFlags::empty());
    }
    // SAFETY: dup2() replaces whatever the test had at `n`, which is what it asked for; no owner of
    // `n` exists, since descriptors live in this program as numbers only.
    if unsafe { libc::dup2(owned.as_raw_fd(), n) } < 0 {
        return Err(last());
    }
    Ok(())
}

/// Closes the number `n`.
pub fn close(n: RawFd) -> Result<()> {
    // SAFETY: as in place(): `n` has no owner.
    if unsafe { libc::close(n) } < 0 {
        return Err(last());
    }
    Ok(())
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// An ioctl whose argument is a struct that the kernel reads and writes.
pub fn update<const OP: Opcode, T>(at: BorrowedFd<'_>, arg: &mut T) -> Result<()> {
    // SAFETY: the callers in luo.rs and stall.rs pair each opcode with the struct that the kernel's
    // uapi header gives it.
    unsafe { ioctl(at, Updater::<OP, T>::new(arg)) }
}

/// mount_setattr(tree, "", AT_EMPTY_PATH, {MOUNT_ATTR_IDMAP, userns}).
pub fn idmap(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> Result<()> {
    use rustix::fd::AsRawFd;
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    #[repr(C)]
    struct Attr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = Attr {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns_fd: userns.as_raw_fd() as u64,
    };
    let empty = CString::default();
    // SAFETY: the path is a string, and `attr` is the kernel's struct mount_attr of 32 bytes.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            &attr as *const Attr,
            core::mem::size_of::<Attr>(),
        )
    };
    if rc < 0 {
        return Err(last());
    }
    Ok(())
}

/// unshare(CLONE_NEWUSER).
pub fn new_user_namespace() -> Result<()> {
    // SAFETY: only CLONE_FILES makes this call dangerous, and it is not given.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }
}

/// truncate(2).
pub fn truncate(path: &std::path::Path, size: u64) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the path is a string that lives during the call.
    if unsafe { libc::truncate(path.as_ptr(), size as libc::off_t) } < 0 {
        return Err(last());
    }
    Ok(())
}

/// The path by which an open file can be given a name.
pub fn link_of(file: &OwnedFd) -> String {
    use rustix::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// One page of memory that is missing: touching it stalls until it is supplied through the
/// userfaultfd that comes with it.
pub struct MissingPage {
    pub uffd: OwnedFd,
    addr: u64,
}

const PAGE: usize = 4096;
const UFFD_API: u64 = 0xAA;
const UFFDIO_API: Opcode = 0xc018_aa3f;
const UFFDIO_REGISTER: Opcode = 0xc020_aa00;
const UFFDIO_ZEROPAGE: Opcode = 0xc020_aa04;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

impl MissingPage {
    pub fn new() -> Result<Self> {
        use rustix::mm::{mmap_anonymous, userfaultfd, MapFlags, ProtFlags, UserfaultfdFlags};
        // SAFETY: a new mapping, which nothing else refers to.
        let addr = unsafe {
            mmap_anonymous(
                core::ptr::null_mut(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }? as u64;
        // poll() works on a nonblocking one only.
        // SAFETY: the descriptor is used on the mapping above alone.
        let uffd = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK) }?;
        let mut api = [UFFD_API, 0, 0];
        update::<UFFDIO_API, _>(uffd.as_fd(), &mut api)?;
        let mut reg = [addr, PAGE as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
        update::<UFFDIO_REGISTER, _>(uffd.as_fd(), &mut reg)?;
        Ok(MissingPage { uffd, addr })
    }

    /// write(2) from the missing page; returns when the page was supplied.
    pub fn write_from(&self, to: BorrowedFd<'_>) -> Result<usize> {
        use rustix::fd::AsRawFd;
        // SAFETY: the mapping stays for as long as `self`, and only the kernel reads it.
        let rc = unsafe { libc::write(to.as_raw_fd(), self.addr as *const _, PAGE) };
        usize::try_from(rc).map_err(|_| last())
    }

    /// getdents64(2) into the missing page; returns as write_from() does.
    pub fn list_into(&self, dir: BorrowedFd<'_>) -> Result<usize> {
        use rustix::fd::AsRawFd;
        // SAFETY: the kernel writes at most PAGE bytes to the mapping, which nothing else uses.
        let rc = unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), self.addr, PAGE) };
        usize::try_from(rc).map_err(|_| last())
    }

    /// Supplies the page, as zeroes.
    pub fn supply(&self) -> Result<()> {
        let mut zero = [self.addr, PAGE as u64, 0, 0];
        update::<UFFDIO_ZEROPAGE, _>(self.uffd.as_fd(), &mut zero)
    }
}

/// Mappings of files, by the number that the test chose: address and length.
static MAPPINGS: std::sync::Mutex<[(usize, usize); 8]> = std::sync::Mutex::new([(0, 0); 8]);

fn mappings() -> std::sync::MutexGuard<'static, [(usize, usize); 8]> {
    MAPPINGS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Maps `length` bytes of a file as number `n`.
pub fn map(at: BorrowedFd<'_>, length: usize, shared: bool, write: bool, n: usize) -> Result<()> {
    use rustix::mm::{mmap, MapFlags, ProtFlags};
    let prot = if write {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        ProtFlags::READ
    };
    let flags = if shared {
        MapFlags::SHARED
    } else {
        MapFlags::PRIVATE
    };
    // SAFETY: a new mapping at an address that the kernel chooses.
    let addr = unsafe { mmap(core::ptr::null_mut(), length, prot, flags, at, 0) }?;
    match mappings().get_mut(n) {
        Some(slot) => *slot = (addr as usize, length),
        None => return Err(Errno::INVAL),
    }
    Ok(())
}

/// The mapping number `n`. Reading beyond the file's end is a SIGBUS, which the test then deserves.
pub fn mapping(n: usize) -> Option<&'static mut [u8]> {
    let (addr, length) = *mappings().get(n)?;
    if addr == 0 {
        return None;
    }
    // SAFETY: it stays mapped until unmap(), and the operations run one after the other: none keeps
    // the slice beyond its own end.
    Some(unsafe { core::slice::from_raw_parts_mut(addr as *mut u8, length) })
}

/// madvise(MADV_REMOVE) of a part of the mapping number `n`.
pub fn remove_range(n: usize, at: usize, length: usize) -> Result<()> {
    let (addr, all) = *mappings().get(n).ok_or(Errno::INVAL)?;
    if at.checked_add(length).is_none_or(|end| end > all) {
        return Err(Errno::INVAL);
    }
    // SAFETY: it is a part of a mapping of this program; no slice of it is in use (see mapping()).
    unsafe {
        rustix::mm::madvise(
            (addr + at) as *mut _,
            length,
            rustix::mm::Advice::LinuxRemove,
        )
    }
}

/// madvise(MADV_HUGEPAGE) of the mapping number `n`.
pub fn advise_huge(n: usize) -> Result<()> {
    let (addr, all) = *mappings().get(n).ok_or(Errno::INVAL)?;
    // SAFETY: it is a mapping of this program, the contents of which stay as they are.
    unsafe { rustix::mm::madvise(addr as *mut _, all, rustix::mm::Advice::LinuxHugepage) }
}

/// madvise(MADV_COLLAPSE) of the mapping number `n`.
pub fn collapse(n: usize) -> Result<()> {
    let (addr, all) = *mappings().get(n).ok_or(Errno::INVAL)?;
    // SAFETY: it is a mapping of this program, the contents of which stay as they are.
    match unsafe { libc::madvise(addr as *mut _, all, libc::MADV_COLLAPSE) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// FIOQSIZE: how many bytes the file takes up.
pub fn fioqsize(at: BorrowedFd<'_>) -> Result<i64> {
    let mut bytes = 0;
    // "FIOQSIZE" of asm-generic/ioctls.h, which gives a loff_t.
    update::<0x5460, i64>(at, &mut bytes)?;
    Ok(bytes)
}

/// Takes the mapping number `n` away.
pub fn unmap(n: usize) -> Result<()> {
    if let Some(slot) = mappings().get_mut(n) {
        let (addr, length) = core::mem::take(slot);
        // SAFETY: no slice of the mapping is in use any more (see mapping()).
        unsafe { rustix::mm::munmap(addr as *mut _, length) }?;
    }
    Ok(())
}

/// A listener of fanotify that is asked for each open(2) through the mount of `path`.
pub struct OpenListener(OwnedFd);

impl OpenListener {
    pub fn new(path: &std::path::Path) -> Result<Self> {
        use rustix::fd::FromRawFd;
        use std::os::unix::ffi::OsStrExt;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC;
        // SAFETY: it takes numbers only.
        let n = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as libc::c_uint) };
        if n < 0 {
            return Err(last());
        }
        // SAFETY: the descriptor has just been made for this.
        let group = unsafe { OwnedFd::from_raw_fd(n) };
        let mark = libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT;
        // SAFETY: the path is a string that lives during the call.
        let rc = unsafe {
            libc::fanotify_mark(n, mark, libc::FAN_OPEN_PERM, libc::AT_FDCWD, path.as_ptr())
        };
        if rc < 0 {
            return Err(last());
        }
        Ok(OpenListener(group))
    }

    /// Waits until it is asked, and returns the descriptor of the file that is being opened.
    pub fn asked(&self) -> Result<OwnedFd> {
        use rustix::fd::FromRawFd;
        // struct fanotify_event_metadata: the descriptor is at byte 16.
        let mut event = [0u8; 24];
        if rustix::io::read(&self.0, &mut event[..])? != event.len() {
            return Err(Errno::IO);
        }
        let n = RawFd::from_ne_bytes([event[16], event[17], event[18], event[19]]);
        if n < 0 {
            return Err(Errno::BADF);
        }
        // SAFETY: the kernel has just put the descriptor into the table for the caller.
        Ok(unsafe { OwnedFd::from_raw_fd(n) })
    }

    /// Allows it.
    pub fn allow(&self, file: &OwnedFd) -> Result<()> {
        use rustix::fd::AsRawFd;
        let mut answer = [0u8; 8];
        answer[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
        answer[4..].copy_from_slice(&libc::FAN_ALLOW.to_ne_bytes());
        rustix::io::write(&self.0, &answer).map(|_| ())
    }
}

/// The processor's counter.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Lets this process, and those that it begins, run until they wait (SCHED_FIFO).
pub fn sched_fifo() -> std::io::Result<()> {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads the structure, which is valid.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The argument of name_to_handle_at() and open_by_handle_at(): struct file_handle with its bytes.
#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; libc::MAX_HANDLE_SZ as usize],
}

const HEADER: usize = 8;

/// The handle of `path`, which may be a symbolic link, as struct file_handle has it.
pub fn name_to_handle(path: &str) -> Result<Vec<u8>> {
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let mut handle = FileHandle {
        bytes: libc::MAX_HANDLE_SZ as u32,
        kind: 0,
        data: [0; libc::MAX_HANDLE_SZ as usize],
    };
    let mut mount = 0;
    // SAFETY: the path is a string, and the kernel writes no more than `bytes` of the handle.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &mut handle as *mut FileHandle,
            &mut mount as *mut i32,
            0,
        )
    };
    if rc < 0 {
        return Err(last());
    }
    let mut all = [handle.bytes.to_ne_bytes(), handle.kind.to_ne_bytes()].concat();
    all.extend_from_slice(&handle.data[..handle.bytes as usize]);
    Ok(all)
}

/// Opens the file with the given handle on the mount that `at` is of.
pub fn open_by_handle(at: BorrowedFd<'_>, handle: &[u8], flags: u32) -> Result<OwnedFd> {
    use rustix::fd::{AsRawFd, FromRawFd};
    let mut buf = FileHandle {
        bytes: 0,
        kind: 0,
        data: [0; libc::MAX_HANDLE_SZ as usize],
    };
    let word = |at: usize| -> Result<[u8; 4]> {
        let bytes = handle.get(at..at + 4).ok_or(Errno::INVAL)?;
        bytes.try_into().map_err(|_| Errno::INVAL)
    };
    buf.bytes = u32::from_ne_bytes(word(0)?);
    buf.kind = i32::from_ne_bytes(word(4)?);
    let data = &handle[HEADER..];
    buf.data
        .get_mut(..data.len())
        .ok_or(Errno::INVAL)?
        .copy_from_slice(data);
    // SAFETY: the kernel reads no more than `bytes` of the handle, which it checks.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            at.as_raw_fd(),
            &buf as *const FileHandle,
            (flags | libc::O_CLOEXEC as u32) as i32,
        )
    };
    if rc < 0 {
        return Err(last());
    }
    // SAFETY: the call has returned a new descriptor, which has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(rc as RawFd) })
}

/// A group of fanotify that watches for the events `mask` in the file system of `path`.
pub fn fanotify(flags: u32, mask: u64, path: &str) -> Result<OwnedFd> {
    use rustix::fd::{AsRawFd, FromRawFd};
    const FAN_MARK_ADD_FILESYSTEM: u32 = 0x101;
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    // SAFETY: the call takes two numbers.
    let rc = unsafe { libc::syscall(libc::SYS_fanotify_init, flags, libc::O_CLOEXEC) };
    if rc < 0 {
        return Err(last());
    }
    // SAFETY: the call has returned a new descriptor, which has no other owner.
    let group = unsafe { OwnedFd::from_raw_fd(rc as RawFd) };
    // SAFETY: the path is a string.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_fanotify_mark,
            group.as_raw_fd(),
            FAN_MARK_ADD_FILESYSTEM,
            mask,
            libc::AT_FDCWD,
            path.as_ptr(),
        )
    };
    if rc < 0 {
        return Err(last());
    }
    Ok(group)
}
