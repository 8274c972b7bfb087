// SPDX-License-Identifier: GPL-2.0-only

//! Mount options with types.
//!
//! C headers: [`include/linux/fs_parser.h`](srctree/include/linux/fs_parser.h)

use crate::{
    bindings,
    prelude::*,
    str::CStrExt as _,
    task::{
        Kgid,
        Kuid, //
    },
};

/// Which type the value of an option has, and thereby which [`Value`] it comes as.
#[derive(Clone, Copy)]
enum Kind {
    U32,
    Uid,
    Gid,
    String,
    Number,
    Size,
    Flag,
}

/// One mount option: a `struct fs_parameter_spec`.
///
/// # Examples
///
/// ```
/// use kernel::fs::param::Spec;
///
/// const MODE: Spec = Spec::u32oct(c"mode", 0);
/// ```
#[derive(Clone, Copy)]
pub struct Spec {
    raw: bindings::fs_parameter_spec,
    kind: Kind,
}

impl Spec {
    const fn new(
        name: &'static CStr,
        opt: u8,
        kind: Kind,
        type_: bindings::fs_param_type,
        base: usize,
    ) -> Self {
        let mut raw: bindings::fs_parameter_spec = pin_init::zeroed();

        raw.name = crate::str::as_char_ptr_in_const_context(name);
        raw.opt = opt;
        raw.type_ = type_;
        // `fs_param_is_u32()` takes the base of the number from here.
        raw.data = core::ptr::without_provenance(base);
        Self { raw, kind }
    }

    /// A number in decimal, or with the prefix of another base (`fsparam_u32()`).
    pub const fn u32(name: &'static CStr, opt: u8) -> Self {
        Self::new(name, opt, Kind::U32, Some(bindings::fs_param_is_u32), 0)
    }

    /// An octal number, as for access modes (`fsparam_u32oct()`).
    pub const fn u32oct(name: &'static CStr, opt: u8) -> Self {
        Self::new(name, opt, Kind::U32, Some(bindings::fs_param_is_u32), 8)
    }

    /// A user id in the user namespace of the mounter (`fsparam_uid()`).
    pub const fn uid(name: &'static CStr, opt: u8) -> Self {
        Self::new(name, opt, Kind::Uid, Some(bindings::fs_param_is_uid), 0)
    }

    /// A group id in the user namespace of the mounter (`fsparam_gid()`).
    pub const fn gid(name: &'static CStr, opt: u8) -> Self {
        Self::new(name, opt, Kind::Gid, Some(bindings::fs_param_is_gid), 0)
    }

    /// A string that is not empty (`fsparam_string()`).
    pub const fn string(name: &'static CStr, opt: u8) -> Self {
        Self::new(
            name,
            opt,
            Kind::String,
            Some(bindings::fs_param_is_string),
            0,
        )
    }

    /// A number that may have a suffix such as `k` or `m`, as `nr_inodes=` of tmpfs (`memparse()`).
    pub const fn number(name: &'static CStr, opt: u8) -> Self {
        Self::new(
            name,
            opt,
            Kind::Number,
            Some(bindings::fs_param_is_string),
            0,
        )
    }

    /// A word that switches something on, or with `no` before it off (`fsparam_flag_no()`).
    pub const fn flag_no(name: &'static CStr, opt: u8) -> Self {
        let mut spec = Self::new(name, opt, Kind::Flag, None, 0);

        spec.raw.flags = bindings::fs_param_neg_with_no as u16;
        spec
    }

    /// A number of bytes that may have a suffix, or be a share of the memory with `%`, as `size=`
    /// of tmpfs (`memparse()`).
    pub const fn size(name: &'static CStr, opt: u8) -> Self {
        Self::new(name, opt, Kind::Size, Some(bindings::fs_param_is_string), 0)
    }
}

/// The options of a file system, closed by the empty entry that C looks for.
///
/// # Examples
///
/// ```
/// use kernel::fs::param::{Spec, Table};
///
/// /// `size=` and `persist`.
/// static OPTIONS: Table<2> = Table::new([Spec::size(c"size", 0), Spec::flag_no(c"persist", 1)]);
/// ```
#[repr(C)]
pub struct Table<const N: usize> {
    specs: [bindings::fs_parameter_spec; N],
    end: bindings::fs_parameter_spec,
    kinds: [(u8, Kind); N],
}

// SAFETY: The strings and functions that the specifications point at are static and immutable.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    /// Makes a table, for a `static`: two options with one number do not compile.
    pub const fn new(options: [Spec; N]) -> Self {
        let mut specs = [pin_init::zeroed(); N];
        let mut kinds = [(0, Kind::U32); N];
        let mut i = 0;

        while i < N {
            let mut j = 0;

            // Else a value could come as what another option is.
            while j < i {
                assert!(
                    options[j].raw.opt != options[i].raw.opt,
                    "two options have one number"
                );
                j += 1;
            }
            specs[i] = options[i].raw;
            kinds[i] = (options[i].raw.opt, options[i].kind);
            i += 1;
        }
        Self {
            specs,
            end: pin_init::zeroed(),
            kinds,
        }
    }

    /// The table without its length, for [`FileSystem::PARAMETERS`](super::FileSystem::PARAMETERS).
    pub const fn parameters(&'static self) -> Parameters {
        // INVARIANT: `end` follows `specs`, by `repr(C)` and as both have the same alignment, and
        // is all zeroes.
        Parameters {
            specs: core::ptr::from_ref(self).cast(),
            kinds: &self.kinds,
        }
    }
}

/// The options of a file system.
///
/// # Examples
///
/// ```
/// use kernel::fs::param::{Parameters, Spec, Table};
///
/// static OPTIONS: Table<1> = Table::new([Spec::uid(c"uid", 0)]);
///
/// const PARAMETERS: Parameters = OPTIONS.parameters();
/// ```
///
/// # Invariants
///
/// `specs` points at a static array of specifications whose last entry is all zeroes.
#[derive(Clone, Copy)]
pub struct Parameters {
    specs: *const bindings::fs_parameter_spec,
    kinds: &'static [(u8, Kind)],
}

impl Parameters {
    /// The array as `struct file_system_type` has it.
    pub(super) const fn as_ptr(&self) -> *const bindings::fs_parameter_spec {
        self.specs
    }

    /// Parses an option, with a message in the log of `fc` if it can't be (`fs_parse()`).
    ///
    /// # Errors
    ///
    /// `ENOPARAM` for an option that isn't in the table, `EINVAL` for a value of another type.
    ///
    /// # Safety
    ///
    /// `fc` and `param` must be valid, and not be used by anybody else until the value is dropped.
    pub(super) unsafe fn parse<'a>(
        &self,
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> Result<(u8, Value<'a>), c_int> {
        let mut result: bindings::fs_parse_result = pin_init::zeroed();

        // SAFETY: The caller guarantees that the context is valid.
        let log = unsafe { &raw mut (*fc).log };
        // SAFETY: The log and the parameter are valid, as the caller guarantees, and the array by
        // the type invariant.
        let opt = unsafe { bindings::__fs_parse(log, self.specs, param, &mut result) };
        if opt < 0 {
            return Err(opt);
        }

        let kind = self
            .kinds
            .iter()
            .find(|(number, _)| c_int::from(*number) == opt)
            .map(|(number, kind)| (*number, *kind));
        let Some((opt, kind)) = kind else {
            return Err(EINVAL.to_errno());
        };
        let value = match kind {
            // SAFETY: `fs_param_is_u32()` has filled this member of the union.
            Kind::U32 => Value::U32(unsafe { result.__bindgen_anon_1.uint_32 }),
            // SAFETY: `fs_param_is_uid()` has filled this member of the union.
            Kind::Uid => Value::Uid(Kuid::from_raw(unsafe { result.__bindgen_anon_1.uid })),
            // SAFETY: `fs_param_is_gid()` has filled this member of the union.
            Kind::Gid => Value::Gid(Kgid::from_raw(unsafe { result.__bindgen_anon_1.gid })),
            Kind::String => {
                // SAFETY: `fs_param_is_string()` has checked that the parameter is a string.
                Value::String(unsafe { string(param) })
            }
            Kind::Flag => Value::Flag(!result.negated),
            Kind::Number | Kind::Size => {
                // SAFETY: `fs_param_is_string()` has checked that the parameter is a string.
                let string = unsafe { string(param) };

                Value::Number(number(string, matches!(kind, Kind::Size)).map_err(|e| {
                    // SAFETY: The caller guarantees that the context and the parameter are valid.
                    unsafe { log_bad_value(fc, param) };
                    e.to_errno()
                })?)
            }
        };
        Ok((opt, value))
    }
}

/// The string that a parameter has.
///
/// # Safety
///
/// `param` must be valid and have one, and stay for `'a`.
unsafe fn string<'a>(param: *const bindings::fs_parameter) -> &'a CStr {
    // SAFETY: The caller guarantees that the parameter is valid.
    let value = unsafe { &(*param).__bindgen_anon_1 };
    // SAFETY: The caller guarantees that this member of the union is the one that is used.
    let string = unsafe { value.string };

    // SAFETY: The string belongs to the parameter, which the caller guarantees to stay.
    unsafe { CStr::from_char_ptr(string) }
}

/// Says in the log of `fc` that the value of a parameter can't be read (`invalf()`).
///
/// # Safety
///
/// `fc` and `param` must be valid.
unsafe fn log_bad_value(fc: *mut bindings::fs_context, param: *const bindings::fs_parameter) {
    let format = c"Bad value for '%s'".as_char_ptr();
    // SAFETY: The caller guarantees that the context is valid.
    let log = unsafe { &(*fc).log };
    // SAFETY: The caller guarantees that the parameter is valid.
    let key = unsafe { (*param).key };

    // SAFETY: The log is that of a context, and the key a string, as the format says.
    unsafe { bindings::logfc(log.log, log.prefix, b'e', format, key) };
}

/// The value of a mount option: a `struct fs_parse_result`.
///
/// # Examples
///
/// ```
/// use kernel::fs::param::Value;
///
/// /// The value of an option that is a number.
/// fn number(value: Value<'_>) -> Result<u64> {
///     match value {
///         Value::Number(number) => Ok(number),
///         _ => Err(EINVAL),
///     }
/// }
/// ```
pub enum Value<'a> {
    /// Of [`Spec::u32`] and [`Spec::u32oct`].
    U32(u32),
    /// Of [`Spec::uid`].
    Uid(Kuid),
    /// Of [`Spec::gid`].
    Gid(Kgid),
    /// Of [`Spec::string`].
    String(&'a CStr),
    /// Of [`Spec::flag_no`].
    Flag(bool),
    /// Of [`Spec::number`] and [`Spec::size`].
    Number(u64),
}

/// Reads a number with a suffix, or a share of the memory if `share` allows it.
fn number(string: &CStr, share: bool) -> Result<u64> {
    let mut rest = core::ptr::null_mut();

    if !string.to_bytes().first().is_some_and(u8::is_ascii_digit) {
        return Err(EINVAL);
    }
    // SAFETY: The string ends with a zero; `rest` gets a pointer into it.
    let number = unsafe { bindings::memparse(string.as_char_ptr(), &raw mut rest) };

    // SAFETY: `rest` points at what of the string has not been read, at least at its zero.
    match unsafe { CStr::from_char_ptr(rest) }.to_bytes() {
        b"" => Ok(number),
        b"%" if share => {
            let memory = totalram_pages() * bindings::PAGE_SIZE as u64;

            // Rounded down by less than a byte for each percent.
            number.checked_mul(memory / 100).ok_or(EINVAL)
        }
        _ => Err(EINVAL),
    }
}

/// The memory that the kernel manages, in pages (`si_meminfo()`).
pub fn totalram_pages() -> u64 {
    let mut info = core::mem::MaybeUninit::<bindings::sysinfo>::zeroed();

    // SAFETY: The function fills the structure.
    unsafe { bindings::si_meminfo(info.as_mut_ptr()) };
    // SAFETY: All bytes have been set, and each value of them is one of the integers there.
    // CAST: Both have 64 bits, or it is the smaller.
    unsafe { info.assume_init() }.totalram as u64
}
