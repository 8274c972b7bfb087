// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of mount options.

use kernel::prelude::*;

#[kunit_tests(kexecfs_options)]
mod cases {
    use super::super::*;
    use kernel::str::CString;

    fn set(given: &mut Given, opt: u8, value: Value<'_>) -> Result {
        given.set(opt, value).map_err(|_| EINVAL)
    }

    fn given(mode: u32, max_fds: u32) -> Result<Given> {
        let mut given = Given::default();

        set(&mut given, MODE, Value::U32(mode))?;
        set(&mut given, MAX_FDS, Value::U32(max_fds))?;
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
    fn a_value_of_another_type_is_refused() {
        assert!(Given::default().set(UID, Value::U32(0)).is_err());
        assert!(Given::default().set(SIZE, Value::U32(0)).is_err());
        assert!(Given::default()
            .set(ERRORS, Value::String(c"maybe"))
            .is_err());
        assert!(Given::default().set(DOMAIN, Value::String(c"vm1")).is_err());
        assert!(Given::default().set(HUGE, Value::String(c"force")).is_err());
        assert!(Given::default().set(HUGE, Value::U32(1)).is_err());
        assert!(Given::default().set(HUGE + 1, Value::U32(0)).is_err());
    }

    #[test]
    fn defaults_are_not_shown() -> Result {
        assert!(CString::try_from_fmt(fmt!("{}", Options::new()?))?.to_bytes() == b"");

        let mut given = given(0o750, 7)?;
        set(
            &mut given,
            UID,
            Value::Uid(Kuid::from_val(1000).ok_or(EINVAL)?),
        )?;
        set(
            &mut given,
            GID,
            Value::Gid(Kgid::from_val(1001).ok_or(EINVAL)?),
        )?;
        set(&mut given, SIZE, Value::Number(1_048_577))?;
        set(&mut given, NR_INODES, Value::Number(0))?;
        set(&mut given, ERRORS, Value::String(c"drop"))?;
        set(&mut given, PERSIST, Value::Flag(true))?;
        let options = given.over(Options::new()?);
        let shown = CString::try_from_fmt(fmt!("{options}"))?;
        assert!(
            shown.to_bytes()
                == b",uid=1000,gid=1001,mode=750,max_fds=7,size=1028k,nr_inodes=0\
                     ,errors=drop,persist"
        );
        assert!(options.max_bytes() == 1028 * 1024 && options.max_inodes() == u64::MAX);
        Ok(())
    }

    #[test]
    fn huge_stays_unless_it_is_given() -> Result {
        let mut given = Given::default();

        set(&mut given, HUGE, Value::String(c"never"))?;
        let options = given.over(Options::new()?);

        assert!(options.huge == Some(Huge::Never));
        assert!(CString::try_from_fmt(fmt!("{options}"))?.to_bytes() == b",huge=never");
        assert!(Given::default().over(options) == options);
        for (huge, ..) in HUGE_VALUES {
            assert!(huge_from_record(huge_to_record(huge)) == Some(huge));
        }
        assert!(huge_from_record(0).is_none() && huge_from_record(5).is_none());
        Ok(())
    }
}
