// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of names and commands.

use kernel::prelude::*;

#[kunit_tests(kexecfs_name)]
mod cases {
    use super::super::*;
    use kernel::str::CString;

    fn long(len: usize) -> Result<KVec<u8>> {
        Ok(KVec::from_elem(b'a', len, GFP_KERNEL)?)
    }

    #[test]
    fn a_domain_has_printable_ascii() -> Result {
        for name in [&b"vm1"[..], b"a", b"...", b"None", b"~!", b"web@3.service"] {
            assert!(Name::of_domain(name)?.as_bytes() == name);
        }
        for name in [
            &b""[..],
            b".",
            b"..",
            b"none",
            b"a b",
            b"a/b",
            b"a\tb",
            b"\x7f",
            b"\xc3\xa4",
            b"a\0",
        ] {
            assert!(matches!(Name::of_domain(name), Err(e) if e == EINVAL));
        }
        Ok(())
    }

    #[test]
    fn a_path_is_said_to_be_one() -> Result {
        let told = |as_what, word: &[u8]| -> Result<CString> {
            CString::try_from_fmt(fmt!("{}", IllegalDomain { as_what, word }))
        };
        let path = told("source", b"/srv")?;

        assert!(path
            .to_bytes()
            .starts_with(b"illegal source '/srv': it is a path"));
        assert!(path.to_bytes().ends_with(b"-o domain=NAME"));
        for word in [&b"none"[..], b"a/b"] {
            let told = told("domain", word)?;

            assert!(told.to_bytes().starts_with(b"illegal domain '"));
            assert!(told.to_bytes().ends_with(b"and isn't '.', '..' or 'none'"));
        }
        Ok(())
    }

    #[test]
    fn a_name_among_options_is_escaped() -> Result {
        let name = Name::of_domain(b"a,b\\c=d#")?;
        let shown = CString::try_from_fmt(fmt!("{}", OptionValue(&name)))?;

        assert!(shown.to_bytes() == b"a\\054b\\134c=d#");
        Ok(())
    }

    #[test]
    fn a_file_may_have_spaces_and_utf8() -> Result {
        for name in [&b"none"[..], b" a b ", b"\xc3\xa4", b"\xff", b"-", b"5"] {
            assert!(Name::of_file(name)?.as_bytes() == name);
        }
        for name in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\nb",
            b"\t",
            b"\x7f",
            b"\0",
        ] {
            assert!(matches!(Name::of_file(name), Err(e) if e == EINVAL));
        }
        Ok(())
    }

    #[test]
    fn a_name_has_at_most_255_bytes() -> Result {
        assert_eq!(Name::of_file(&long(255)?)?.as_bytes().len(), 255);
        assert_eq!(Name::of_domain(&long(255)?)?.as_bytes().len(), 255);
        assert!(Name::of_file(&long(256)?).is_err());
        assert!(Name::of_domain(&long(256)?).is_err());
        Ok(())
    }

    #[test]
    fn a_session_has_the_name_or_a_hash() -> Result {
        assert!(Name::of_domain(b"vm1")?.session()?.as_bytes() == b"kexecfs:vm1");

        let fits = Name::of_domain(&long(55)?)?.session()?;
        assert_eq!(fits.as_bytes().len(), 63);
        assert!(!fits.as_bytes().contains(&b'/'));

        let one = Name::of_domain(&long(56)?)?.session()?;
        let other = Name::of_domain(&long(57)?)?.session()?;
        assert_eq!(one.as_bytes().len(), 63);
        assert!(one
            .as_bytes()
            .starts_with(b"kexecfs:aaaaaaaaaaaaaaaaaaaaaa/"));
        assert!(one != other);
        Ok(())
    }

    #[test]
    fn a_command_ends_with_one_newline_or_none() {
        assert!(command(b"a\n") == b"a");
        assert!(command(b"a") == b"a");
        assert!(command(b"a\n\n") == b"a\n");
        assert!(command(b"\n") == b"");
    }

    #[test]
    fn a_descriptor_comes_with_or_without_a_name() -> Result {
        let (fd, name) = fd_and_name(b"5")?;
        assert!(fd == 5 && name.as_bytes() == b"5");
        let (fd, name) = fd_and_name(b"007")?;
        assert!(fd == 7 && name.as_bytes() == b"7");
        let (fd, name) = fd_and_name(b"5 ram of vm")?;
        assert!(fd == 5 && name.as_bytes() == b"ram of vm");
        let (_, name) = fd_and_name(b"5  a")?;
        assert!(name.as_bytes() == b" a");
        Ok(())
    }

    #[test]
    fn another_command_is_einval() {
        for bad in [
            &b""[..],
            b" 5",
            b"5 ",
            b"-1",
            b"+5",
            b"5x",
            b"x",
            b"5\tname",
            b"5 a\nb",
            b"5\n6",
            b"0x5",
        ] {
            assert!(matches!(fd_and_name(bad), Err(e) if e == EINVAL));
        }
        assert!(matches!(fd_and_name(b"4294967296"), Err(e) if e == EBADF));
    }
}
