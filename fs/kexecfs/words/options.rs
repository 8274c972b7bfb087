// SPDX-License-Identifier: GPL-2.0-only

//! Mount options: the owner, access mode and limits of a domain.

use kernel::{
    fmt,
    fs::{
        param::{
            totalram_pages,
            Spec,
            Table,
            Value, //
        },
        path::{
            hpage_pmd_size,
            Huge, //
        },
        Mode, //
    },
    kho::abi::kexecfs as abi,
    page::PAGE_SIZE,
    prelude::*,
    task::{
        Kgid,
        Kuid, //
    }, //
};

const UID: u8 = 0;
const GID: u8 = 1;
const MODE: u8 = 2;
const MAX_FDS: u8 = 3;
const SIZE: u8 = 4;
const NR_INODES: u8 = 5;
const ERRORS: u8 = 6;
const PERSIST: u8 = 7;
/// `domain=`, which says what is mounted and is no option of it: it is not in [`Given`].
pub(crate) const DOMAIN: u8 = 8;
const HUGE: u8 = 9;

/// The options by name and type.
pub(crate) static PARAMETERS: Table<10> = Table::new([
    Spec::uid(c"uid", UID),
    Spec::gid(c"gid", GID),
    Spec::u32oct(c"mode", MODE),
    Spec::u32(c"max_fds", MAX_FDS),
    Spec::size(c"size", SIZE),
    Spec::number(c"nr_inodes", NR_INODES),
    Spec::string(c"errors", ERRORS),
    Spec::flag_no(c"persist", PERSIST),
    Spec::string(c"domain", DOMAIN),
    Spec::string(c"huge", HUGE),
]);

/// The options of a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// The owner of the root and of every control file.
    pub(crate) uid: Kuid,
    /// Their group.
    pub(crate) gid: Kgid,
    /// The access mode of the root.
    pub(crate) mode: u16,
    /// How many files can be preserved at the same time.
    pub(crate) max_fds: u32,
    /// How many bytes the domain may hold.
    pub(crate) size: Limit,
    /// How many entries `data/` may have.
    pub(crate) nr_inodes: Limit,
    /// What a reboot does with a domain that can't be prepared.
    pub(crate) errors: Errors,
    /// Whether the domain stays when it is unmounted in the state `normal`.
    pub(crate) persist: bool,
    /// When files of `data/` get huge pages. By default that is a matter of `shmem_enabled`.
    pub(crate) huge: Option<Huge>,
}

/// What a reboot does with a domain that can't be prepared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// The kexec is refused.
    Refuse,
    /// The reboot excludes it.
    Drop,
}

impl Errors {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Drop => "drop",
        }
    }

    fn from_bytes(word: &[u8]) -> Option<Self> {
        match word {
            b"refuse" => Some(Self::Refuse),
            b"drop" => Some(Self::Drop),
            _ => None,
        }
    }
}

/// The values of `huge=`, with their words and what the record of them has.
const HUGE_VALUES: [(Huge, &str, u32); 4] = [
    (Huge::Never, "never", abi::HUGE_NEVER),
    (Huge::Always, "always", abi::HUGE_ALWAYS),
    (Huge::WithinSize, "within_size", abi::HUGE_WITHIN_SIZE),
    (Huge::Advise, "advise", abi::HUGE_ADVISE),
];

/// The value of `huge=` that a mounter gives.
///
/// # Errors
///
/// What is wrong with it. As on tmpfs, it is `never` where there are no huge pages.
fn huge_given(word: &[u8]) -> Result<Huge, &'static str> {
    let value = HUGE_VALUES.iter().find(|value| value.1.as_bytes() == word);
    let &(huge, ..) = value.ok_or("huge= is never, always, within_size or advise")?;

    if huge != Huge::Never && hpage_pmd_size().is_none() {
        return Err("huge= is never: there are no transparent huge pages");
    }
    Ok(huge)
}

/// The value of `huge=` in a record.
pub(crate) fn huge_from_record(record: u32) -> Option<Huge> {
    let value = HUGE_VALUES.iter().find(|value| value.2 == record);

    value.map(|value| value.0)
}

/// For the record: see [`huge_from_record`].
pub(crate) fn huge_to_record(huge: Huge) -> u32 {
    let value = HUGE_VALUES.iter().find(|value| value.0 == huge);

    value.map_or(abi::HUGE_NEVER, |value| value.2)
}

/// A limit that depends on the memory of the machine unless it is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(u64);

impl Limit {
    /// The value if a mount gives none.
    pub(crate) const DEFAULT: Self = Self(0);
    const NONE: Self = Self(u64::MAX);

    /// A limit as a mount gives it, where 0 means that there is none.
    fn given(limit: u64) -> Self {
        if limit == 0 {
            Self::NONE
        } else {
            Self(limit)
        }
    }

    /// The limit as the record of it has it: 0 for the default, all bits set for none.
    pub(crate) fn from_record(limit: u64) -> Self {
        Self(limit)
    }

    /// For the record: see [`Limit::from_record`].
    pub(crate) fn to_record(self) -> u64 {
        self.0
    }

    /// The limit where `default` is that of this machine.
    fn or(self, default: u64) -> u64 {
        if self == Self::DEFAULT {
            default
        } else {
            self.0
        }
    }
}

impl Options {
    const MODE: u16 = 0o755;
    const MAX_FDS: u32 = 1024;

    /// How many bytes the domain may hold: like a tmpfs, half of the memory by default.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.size.or(totalram_pages() / 2 * PAGE_SIZE as u64)
    }

    /// How many entries `data/` may have: by default, half as many as there are pages of memory.
    pub(crate) fn max_inodes(&self) -> u64 {
        self.nr_inodes.or(totalram_pages() / 2)
    }

    /// The value if a mount gives none.
    ///
    /// # Errors
    ///
    /// None in practice: root has a valid number.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            uid: Kuid::from_val(0).ok_or(EINVAL)?,
            gid: Kgid::from_val(0).ok_or(EINVAL)?,
            mode: Self::MODE,
            max_fds: Self::MAX_FDS,
            size: Limit::DEFAULT,
            nr_inodes: Limit::DEFAULT,
            errors: Errors::Refuse,
            persist: false,
            huge: None,
        })
    }
}

/// As `/proc/mounts` shows them: those that differ from the default, each after a comma.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uid.val() != 0 {
            write!(f, ",uid={}", self.uid.val())?;
        }
        if self.gid.val() != 0 {
            write!(f, ",gid={}", self.gid.val())?;
        }
        if self.mode != Self::MODE {
            write!(f, ",mode={:03o}", self.mode)?;
        }
        if self.max_fds != Self::MAX_FDS {
            write!(f, ",max_fds={}", self.max_fds)?;
        }
        match self.size {
            Limit::DEFAULT => {}
            Limit::NONE => write!(f, ",size=0")?,
            Limit(size) if size % 1024 == 0 => write!(f, ",size={}k", size / 1024)?,
            Limit(size) => write!(f, ",size={size}")?,
        }
        match self.nr_inodes {
            Limit::DEFAULT => {}
            Limit::NONE => write!(f, ",nr_inodes=0")?,
            Limit(inodes) => write!(f, ",nr_inodes={inodes}")?,
        }
        if self.errors == Errors::Drop {
            write!(f, ",errors=drop")?;
        }
        if self.persist {
            write!(f, ",persist")?;
        }
        if let Some((_, word, _)) = HUGE_VALUES.iter().find(|value| Some(value.0) == self.huge) {
            write!(f, ",huge={word}")?;
        }
        Ok(())
    }
}

/// The options that a mount gives.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given {
    uid: Option<Kuid>,
    gid: Option<Kgid>,
    mode: Option<u16>,
    max_fds: Option<u32>,
    size: Option<Limit>,
    nr_inodes: Option<Limit>,
    errors: Option<Errors>,
    persist: Option<bool>,
    huge: Option<Huge>,
}

impl Given {
    /// Takes the option with the number `opt`.
    ///
    /// # Errors
    ///
    /// The range of the option, if the value is outside of it.
    pub(crate) fn set(&mut self, opt: u8, value: Value<'_>) -> Result<(), &'static str> {
        match (opt, value) {
            (UID, Value::Uid(uid)) => self.uid = Some(uid),
            (GID, Value::Gid(gid)) => self.gid = Some(gid),
            (MODE, Value::U32(mode)) => {
                let mode = u16::try_from(mode)
                    .ok()
                    .filter(|mode| mode & !Mode::ALL == 0);

                self.mode = Some(mode.ok_or("mode= is at most 07777")?);
            }
            (MAX_FDS, Value::U32(max_fds)) => self.max_fds = Some(max_fds),
            (SIZE, Value::Number(size)) => {
                // In whole pages, as the files that count.
                let size = size
                    .checked_next_multiple_of(PAGE_SIZE as u64)
                    .ok_or("size= is too large")?;

                self.size = Some(Limit::given(size));
            }
            (ERRORS, Value::String(word)) => {
                let errors = Errors::from_bytes(word.to_bytes());

                self.errors = Some(errors.ok_or("errors= is refuse or drop")?);
            }
            (HUGE, Value::String(word)) => self.huge = Some(huge_given(word.to_bytes())?),
            (PERSIST, Value::Flag(persist)) => self.persist = Some(persist),
            (NR_INODES, Value::Number(inodes)) => self.nr_inodes = Some(Limit::given(inodes)),
            _ => return Err("there is no such option"),
        }
        Ok(())
    }

    /// `options` with what was given in its place.
    pub(crate) fn over(&self, options: Options) -> Options {
        Options {
            uid: self.uid.unwrap_or(options.uid),
            gid: self.gid.unwrap_or(options.gid),
            mode: self.mode.unwrap_or(options.mode),
            max_fds: self.max_fds.unwrap_or(options.max_fds),
            size: self.size.unwrap_or(options.size),
            nr_inodes: self.nr_inodes.unwrap_or(options.nr_inodes),
            errors: self.errors.unwrap_or(options.errors),
            persist: self.persist.unwrap_or(options.persist),
            huge: self.huge.or(options.huge),
        }
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[path = "options_tests.rs"]
mod tests;
