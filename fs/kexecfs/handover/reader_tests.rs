// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of the records of a domain.

use kernel::prelude::*;

#[kunit_tests(kexecfs_handover)]
mod cases {
    use super::super::*;
    use crate::handover::writer::{
        self,
        Writer, //
    };

    const FLAGS_AT: usize = 6;

    /// A stream for the tests to damage, which is as long as it says.
    fn stream(write: impl FnMut(&mut Writer<'_>) -> Result) -> Result<VVec<u8>> {
        let (mut buf, len) = writer::stream(write)?;

        buf.truncate(len);
        Ok(buf)
    }

    fn domain_record(name: &[u8], session: &[u8]) -> abi::DomainRecord {
        abi::DomainRecord {
            uid: 1000,
            gid: 1001,
            mode: 0o750,
            max_fds: 7,
            name_len: name.len() as u16,
            session_len: session.len() as u16,
            ..Default::default()
        }
    }

    fn file_record(token: u64, name: &[u8]) -> abi::FileRecord {
        abi::FileRecord {
            token,
            size: 4096,
            name_len: name.len() as u16,
            ..Default::default()
        }
    }

    /// A domain, files, whatever `more` writes, and the end.
    fn domain_with(
        files: &[(u64, &[u8])],
        mut more: impl FnMut(&mut Writer<'_>) -> Result,
    ) -> Result<VVec<u8>> {
        stream(|writer| {
            let domain = domain_record(b"vm1", b"kexecfs:vm1");

            writer.record(
                abi::RECORD_DOMAIN,
                &[domain.as_bytes(), b"vm1", b"kexecfs:vm1"],
            )?;
            for (token, name) in files {
                let file = file_record(*token, name);

                writer.record(abi::RECORD_FILE, &[file.as_bytes(), name])?;
            }
            more(writer)?;
            end(writer, writer.records)
        })
    }

    fn end(writer: &mut Writer<'_>, count: u32) -> Result {
        let end = abi::EndRecord {
            count,
            ..Default::default()
        };

        writer.record(abi::RECORD_END, &[end.as_bytes()])
    }

    fn why(stream: &[u8]) -> &'static str {
        Reader::new(stream).domain().err().map_or("", |e| e.why)
    }

    #[test]
    fn what_is_written_is_read() -> Result {
        let name = Name::of_domain(b"vm1")?;
        let session = name.session()?;
        let options = Options::new()?;
        let (ram, tail) = (Name::of_file(b"ram of vm")?, Name::of_file(b"\xc3\xa4")?);
        let files = [(&ram, 3, 4096), (&tail, u64::MAX, 0)];
        let stream = stream(|writer| {
            writer.domain(&name, Some(&session), &options, Some(7), files.into_iter())?;
            writer.end()
        })?;
        let Ok((domain, _)) = Reader::new(&stream).domain() else {
            return Err(EIO);
        };

        assert!(domain.name == name && domain.session == Some(session));
        assert!(domain.options == options && domain.waited == 7);
        assert_eq!(domain.files.iter().count(), 2);
        for (name, token, size) in files {
            let file = domain.files.get(name).ok_or(ENOENT)?;

            assert!(file.token == token && file.size == size);
        }
        Ok(())
    }

    #[test]
    fn a_domain_without_files_has_no_session() -> Result {
        let name = Name::of_domain(b"vm1")?;
        let options = Options::new()?;
        let stream = stream(|writer| {
            writer.domain(&name, None, &options, None, core::iter::empty())?;
            writer.end()
        })?;
        let (domain, _) = Reader::new(&stream).domain().map_err(|e| e.error)?;

        assert!(domain.session.is_none() && domain.files.is_empty());
        Ok(())
    }

    #[test]
    fn a_stream_that_is_cut_is_unreadable() -> Result {
        let whole = domain_with(&[(0, b"a"), (1, b"b")], |_| Ok(()))?;

        assert!(Reader::new(&whole).domain().is_ok());
        for len in 0..whole.len() {
            let cut = whole.get(..len).ok_or(EINVAL)?;

            assert!(Reader::new(cut).domain().is_err());
        }
        Ok(())
    }

    #[test]
    fn no_byte_can_be_changed_into_a_crash() -> Result {
        let mut damaged = domain_with(&[(0, b"a"), (1, b"b")], |writer| {
            let dir = abi::InodeRecord {
                mode: 0o040755,
                ..Default::default()
            };
            let file = abi::InodeRecord {
                mode: 0o100644,
                size: 8,
                ..Default::default()
            };

            writer.inode(&dir, b"")?;
            writer.inode(&file, b"contents")?;
            writer.name(0, 1, b"name")?;
            writer.xattr(1, b"user.a", b"value")
        })?;

        for at in 0..damaged.len() {
            for bit in 0..8 {
                let Some(byte) = damaged.get_mut(at) else {
                    return Err(EINVAL);
                };

                *byte ^= 1 << bit;
                let _ = Reader::new(&damaged).domain();
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
        }
        assert!(Reader::new(&damaged).domain().is_ok());
        Ok(())
    }

    #[test]
    fn an_unknown_record_is_skipped_unless_it_must_be_understood() -> Result {
        let mut at = 0;
        let mut stream = domain_with(&[], |writer| {
            at = writer.len;
            writer.record(4711, &[b"from another version"])
        })?;

        assert!(!why(&stream).is_empty());
        *stream.get_mut(at + FLAGS_AT).ok_or(EINVAL)? = 0;
        assert!(why(&stream).is_empty());
        Ok(())
    }

    #[test]
    fn names_and_tokens_are_unique() -> Result {
        let same_name = domain_with(&[(0, b"a"), (1, b"a")], |_| Ok(()))?;
        let same_token = domain_with(&[(0, b"a"), (0, b"b")], |_| Ok(()))?;

        assert_eq!(why(&same_name), "two files have the same name");
        assert_eq!(why(&same_token), "two files have the same token");
        Ok(())
    }

    #[test]
    fn illegal_names_are_unreadable() -> Result {
        for name in [&b""[..], b".", b"a/b", b"a\0", b"\n"] {
            assert!(!why(&domain_with(&[(0, name)], |_| Ok(()))?).is_empty());
        }
        for (name, session) in [
            (&b"none"[..], &b""[..]),
            (b"", b"kexecfs:"),
            (b"a b", b""),
            (b"vm1", b"other"),
            (b"vm1", b"kexecfs:a b"),
        ] {
            let stream = stream(|writer| {
                let domain = domain_record(name, session);

                writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), name, session])?;
                end(writer, writer.records)
            })?;

            assert!(!why(&stream).is_empty());
        }
        Ok(())
    }

    #[test]
    fn there_is_one_domain_first_and_one_end_last() -> Result {
        let second = domain_with(&[], |writer| {
            let domain = domain_record(b"vm2", b"");

            writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), b"vm2"])
        })?;
        let early = domain_with(&[], |writer| end(writer, writer.records))?;
        let miscounted = domain_with(&[], |writer| {
            writer.records += 1;
            Ok(())
        })?;
        let headless = stream(|writer| end(writer, 0))?;

        assert_eq!(why(&second), "there are two records of the domain");
        assert_eq!(why(&early), "something follows its end");
        assert!(!why(&miscounted).is_empty());
        assert_eq!(why(&headless), "its first record is not that of the domain");
        Ok(())
    }

    #[test]
    fn an_unreadable_domain_keeps_its_name() -> Result {
        let stream = domain_with(&[(0, b"a"), (0, b"b")], |_| Ok(()))?;
        let Err(unreadable) = Reader::new(&stream).domain() else {
            return Err(EINVAL);
        };

        assert!(unreadable.name == Some(Name::of_domain(b"vm1")?));
        assert!(unreadable.error == EIO && unreadable.at != 0);
        Ok(())
    }
}
