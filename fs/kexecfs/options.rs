// SPDX-License-Identifier: GPL-2.0-only

//! Mount options: the owner, access mode and limits of a domain.

use kernel::{
    fmt,
    fs::{
        param::{
            Spec,
            Table,
            Value, //
        },
        Mode, //
    },
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

/// The options by name and type.
pub(crate) static PARAMETERS: Table<4> = Table::new([
    Spec::uid(c"uid", UID),
    Spec::gid(c"gid", GID),
    Spec::u32oct(c"mode", MODE),
    Spec::u32(c"max_fds", MAX_FDS),
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
}

impl Options {
    const MODE: u16 = 0o755;
    const MAX_FDS: u32 = 1024;

    /// What holds where a mount gives nothing.
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
        })
    }
}

/// As `/proc/mounts` shows them: what isn't as it is by default, each after a comma.
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
}

impl Given {
    /// Takes the option with the number `opt`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the value is beyond what the option can be.
    pub(crate) fn set(&mut self, opt: u8, value: Value<'_>) -> Result {
        match (opt, value) {
            (UID, Value::Uid(uid)) => self.uid = Some(uid),
            (GID, Value::Gid(gid)) => self.gid = Some(gid),
            (MODE, Value::U32(mode)) => {
                let mode = u16::try_from(mode).map_err(|_| EINVAL)?;

                if mode & !Mode::ALL != 0 {
                    return Err(EINVAL);
                }
                self.mode = Some(mode);
            }
            (MAX_FDS, Value::U32(max_fds)) => self.max_fds = Some(max_fds),
            _ => return Err(EINVAL),
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
        }
    }
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[kunit_tests(kexecfs_options)]
mod tests {
    use super::*;
    use kernel::str::CString;

    fn given(mode: u32, max_fds: u32) -> Result<Given> {
        let mut given = Given::default();

        given.set(MODE, Value::U32(mode))?;
        given.set(MAX_FDS, Value::U32(max_fds))?;
        Ok(given)
    }

    #[test]
    fn only_what_is_given_changes() -> Result {
        let defaults = Options::new()?;

        assert!(Given::default().over(defaults) == defaults);
        let options = given(0o700, 5)?.over(defaults);
        assert!(options.mode == 0o700 && options.max_fds == 5);
        assert!(options.uid == defaults.uid && options.gid == defaults.gid);
        Ok(())
    }

    #[test]
    fn a_mode_has_twelve_bits() {
        assert!(given(0o7777, 0).is_ok());
        assert!(given(0o10000, 0).is_err());
        assert!(given(0o200000, 0).is_err());
    }

    #[test]
    fn a_value_of_another_type_is_einval() {
        assert!(Given::default().set(UID, Value::U32(0)) == Err(EINVAL));
        assert!(Given::default().set(MAX_FDS + 1, Value::U32(0)) == Err(EINVAL));
    }

    #[test]
    fn defaults_are_not_shown() -> Result {
        assert!(CString::try_from_fmt(fmt!("{}", Options::new()?))?.to_bytes() == b"");

        let mut given = given(0o750, 7)?;
        given.set(UID, Value::Uid(Kuid::from_val(1000).ok_or(EINVAL)?))?;
        given.set(GID, Value::Gid(Kgid::from_val(1001).ok_or(EINVAL)?))?;
        let shown = CString::try_from_fmt(fmt!("{}", given.over(Options::new()?)))?;
        assert!(shown.to_bytes() == b",uid=1000,gid=1001,mode=750,max_fds=7");
        Ok(())
    }
}
