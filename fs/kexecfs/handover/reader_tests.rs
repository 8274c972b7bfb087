// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of the records of a domain.

use kernel::prelude::*;

#[kunit_tests(kexecfs_handover)]
mod cases {
    use super::super::*;
    use crate::handover::writer::{
        self,
        domain_len,
        Writer,
        END_LEN, //
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
            uuid: [1; 16],
            next_ino: abi::INO_MAX,
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

    fn inode_record(mode: u32, ino: u64) -> abi::InodeRecord {
        abi::InodeRecord {
            mode,
            ino,
            ..Default::default()
        }
    }

    fn why(stream: &[u8]) -> &'static str {
        Reader::new(stream).domain().err().map_or("", |e| e.why)
    }

    #[test]
    fn what_is_written_is_read() -> Result {
        let name = Name::of_domain(b"vm1")?;
        let session = name.session()?;
        let (identity, options) = (Identity::new(), Options::new()?);
        let stream = stream(|writer| {
            writer.domain(&name, &session, &identity, &options, 7)?;
            writer.end()
        })?;
        let Ok((domain, _)) = Reader::new(&stream).domain() else {
            return Err(EIO);
        };

        assert!(domain.name == name && domain.session == Some(session));
        assert!(domain.options == options && domain.waited == 7);
        assert!(domain.identity.uuid() == identity.uuid());
        assert_eq!(domain.identity.next_ino(), identity.next_ino());
        Ok(())
    }

    #[test]
    fn files_that_are_written_are_read() -> Result {
        let (ram, tail) = (Name::of_file(b"ram of vm")?, Name::of_file(b"\xc3\xa4")?);
        let files = [(&ram, 3, 4096), (&tail, u64::MAX, 0)];
        let stream = stream(|writer| {
            let domain = domain_record(b"vm1", b"kexecfs:vm1");

            writer.record(
                abi::RECORD_DOMAIN,
                &[domain.as_bytes(), b"vm1", b"kexecfs:vm1"],
            )?;
            for (name, token, size) in files {
                writer.file(name, token, size)?;
            }
            writer.end()
        })?;
        let Ok((domain, _)) = Reader::new(&stream).domain() else {
            return Err(EIO);
        };

        assert_eq!(domain.files.iter().count(), 2);
        for (name, token, size) in files {
            let file = domain.files.get(name).ok_or(ENOENT)?;

            assert!(file.token == token && file.size == size);
        }
        Ok(())
    }

    #[test]
    fn a_domain_without_files_has_no_session() -> Result {
        let stream = stream(|writer| {
            let domain = domain_record(b"vm1", b"");

            writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), b"vm1"])?;
            end(writer, writer.records)
        })?;
        let Ok((domain, _)) = Reader::new(&stream).domain() else {
            return Err(EIO);
        };

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
            let dir = inode_record(0o040755, abi::INO_MIN);
            let file = abi::InodeRecord {
                size: 8,
                ..inode_record(0o100644, abi::INO_MIN + 1)
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
    fn a_record_of_a_known_type_may_not_be_skipped() -> Result {
        let whole = domain_with(&[(0, b"a")], |_| Ok(()))?;
        let (mut at, mut records) = (0, 0);

        assert!(why(&whole).is_empty());
        while at < whole.len() {
            let mut damaged = domain_with(&[(0, b"a")], |_| Ok(()))?;

            *damaged.get_mut(at + FLAGS_AT).ok_or(EINVAL)? = 0;
            assert_eq!(
                why(&damaged),
                "a record of a known type says that it may be skipped"
            );
            at = Frame::read(&whole, at).map_err(|(_, e)| e)?.end;
            records += 1;
        }
        // The domain, the file, the end.
        assert_eq!(records, 3);
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

    /// A domain with these features.
    fn with_features(supported: u64, required: u64, active: u64) -> Result<VVec<u8>> {
        stream(|writer| {
            let domain = abi::DomainRecord {
                features: abi::Features {
                    supported,
                    required,
                    active,
                },
                ..domain_record(b"vm1", b"")
            };

            writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), b"vm1"])?;
            end(writer, writer.records)
        })
    }

    #[test]
    fn features_that_are_required_are_there() -> Result {
        let all = u64::MAX;
        let new = 1 << 63;

        for (supported, required, active) in [(0, 0, 0), (new, 0, 0), (new, 0, new), (all, 0, all)]
        {
            assert_eq!(why(&with_features(supported, required, active)?), "");
        }
        for (supported, required, active) in
            [(0, 0, new), (new, new, 0), (0, new, 0), (0, new, new)]
        {
            assert_eq!(
                why(&with_features(supported, required, active)?),
                "its features contradict each other"
            );
        }
        for (supported, required) in [(new, new), (all, all), (all, new)] {
            let stream = with_features(supported, required, supported)?;
            let Err(unreadable) = Reader::new(&stream).domain() else {
                return Err(EINVAL);
            };

            assert_eq!(
                unreadable.why,
                "it requires features that this kernel doesn't have"
            );
            assert!(unreadable.name == Some(Name::of_domain(b"vm1")?) && unreadable.error == EIO);
        }
        Ok(())
    }

    #[test]
    fn what_is_reserved_is_zero() -> Result {
        let (why_reserved, _) = RESERVED;
        let flags = stream(|writer| {
            let domain = abi::DomainRecord {
                flags: 4,
                ..domain_record(b"vm1", b"")
            };

            writer.record(abi::RECORD_DOMAIN, &[domain.as_bytes(), b"vm1"])?;
            end(writer, writer.records)
        })?;
        let file = domain_with(&[], |writer| {
            let file = abi::FileRecord {
                reserved: [0, 1, 0],
                ..file_record(0, b"a")
            };

            writer.record(abi::RECORD_FILE, &[file.as_bytes(), b"a"])
        })?;
        let mut header = domain_with(&[], |_| Ok(()))?;

        *header.get_mut(FLAGS_AT).ok_or(EINVAL)? |= 2;
        let mut ended = domain_with(&[], |_| Ok(()))?;
        let reserved = ended.len() - 1;

        *ended.get_mut(reserved).ok_or(EINVAL)? = 1;
        for stream in [flags, file, header, ended] {
            assert_eq!(why(&stream), why_reserved);
        }
        Ok(())
    }

    #[test]
    fn a_plan_is_kept_to() -> Result {
        let (name, identity) = (Name::of_domain(b"vm1")?, Identity::new());
        let (session, options) = (name.session()?, Options::new()?);
        let write = |writer: &mut Writer<'_>| {
            writer.domain(&name, &session, &identity, &options, 0)?;
            writer.end()
        };
        let (_, len) = writer::stream(write)?;

        assert_eq!(domain_len(&name, &session)? + END_LEN, len);
        for more in [0, 1, 8] {
            let (_, written) = writer::fill(len + more, write)?;

            assert_eq!(written, len);
        }
        for less in [0, 8, len - 8, len - 1] {
            assert_eq!(writer::fill(less, write).err(), Some(EIO));
        }
        Ok(())
    }

    #[test]
    fn huge_pages_have_one_record_that_may_be_skipped() -> Result {
        let record = |huge, reserved| abi::HugeRecord { huge, reserved };
        let with = |records: &[abi::HugeRecord]| {
            domain_with(&[], |writer| {
                records
                    .iter()
                    .try_for_each(|record| writer.record(abi::RECORD_HUGE, &[record.as_bytes()]))
            })
        };
        let options = Options {
            huge: huge_from_record(abi::HUGE_WITHIN_SIZE),
            ..Options::new()?
        };
        let written = domain_with(&[], |writer| writer.huge(&options))?;
        let Ok((domain, _)) = Reader::new(&written).domain() else {
            return Err(EIO);
        };

        assert!(domain.options.huge == options.huge);
        assert_eq!(why(&with(&[record(abi::HUGE_ALWAYS, 0)])?), "");
        for bad in [0, 5, u32::MAX] {
            assert_eq!(why(&with(&[record(bad, 0)])?), "huge= has no such value");
        }
        assert_eq!(why(&with(&[record(abi::HUGE_NEVER, 1)])?), RESERVED.0);
        let twice = with(&[record(abi::HUGE_NEVER, 0), record(abi::HUGE_NEVER, 0)])?;

        assert_eq!(why(&twice), "there are two records of huge pages");
        let short = domain_with(&[], |writer| writer.record(abi::RECORD_HUGE, &[&[0; 4]]))?;

        assert_eq!(why(&short), "the record of huge pages has another length");
        Ok(())
    }
}
