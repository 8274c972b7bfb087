// SPDX-License-Identifier: GPL-2.0-only

//! KUnit tests of the records of `data/`.

use kernel::prelude::*;

#[kunit_tests(kexecfs_tree)]
mod cases {
    use super::super::*;

    const DIR: u32 = 0o040755;
    const REG: u32 = 0o100644;
    const LNK: u32 = 0o120777;
    const FIFO: u32 = 0o010600;

    /// A number above those of all inodes.
    const NEXT_INO: u64 = abi::INO_MIN + 100;

    fn add_inode(index: &mut Index, payload: &[u8], at: usize) -> Checked<Option<u64>> {
        index.add_inode(payload, at, NEXT_INO)
    }

    /// The payloads of records, one after the other, and their index.
    #[derive(Default)]
    struct Sample {
        stream: KVVec<u8>,
        index: Index,
    }

    impl Sample {
        /// An inode of this mode.
        fn record(mode: u32) -> abi::InodeRecord {
            abi::InodeRecord {
                mode,
                ..Default::default()
            }
        }

        /// Just `data/`.
        fn new() -> Result<Self> {
            let mut sample = Self::default();

            assert_eq!(sample.inode(Self::record(DIR), b"")?, "");
            Ok(sample)
        }

        /// Adds a record by `add`, and returns why it is refused.
        fn add<T>(
            &mut self,
            parts: &[&[u8]],
            add: impl FnOnce(&mut Index, &[u8], usize) -> Checked<T>,
        ) -> Result<&'static str> {
            let at = self.stream.len();

            // Where records begin, as in the real stream.
            self.stream.resize(at.next_multiple_of(8), 0, GFP_KERNEL)?;
            let at = self.stream.len();

            for part in parts {
                self.stream.extend_from_slice(part, GFP_KERNEL)?;
            }
            let payload = self.stream.get(at..).ok_or(EINVAL)?;

            Ok(add(&mut self.index, payload, at)
                .err()
                .map_or("", |(why, _)| why))
        }

        /// Adds an inode, with a number of its own unless `record` has one.
        fn inode(&mut self, mut record: abi::InodeRecord, rest: &[u8]) -> Result<&'static str> {
            if record.ino == 0 {
                record.ino = abi::INO_MIN + self.index.inodes.len() as u64;
            }
            self.add(&[record.as_bytes(), rest], add_inode)
        }

        fn name(&mut self, parent: u32, inode: u32, name: &[u8]) -> Result<&'static str> {
            let record = abi::NameRecord { parent, inode };

            self.add(&[record.as_bytes(), name], Index::add_name)
        }

        fn xattr(&mut self, inode: u32, name: &[u8], value: &[u8]) -> Result<&'static str> {
            let record = abi::XattrRecord {
                inode,
                name_len: name.len() as u16,
                ..Default::default()
            };

            self.add(&[record.as_bytes(), name, value], Index::add_xattr)
        }

        fn check(&self) -> &'static str {
            self.index
                .check(&self.stream)
                .err()
                .map_or("", |(why, _)| why)
        }
    }

    #[test]
    fn a_tree_is_read() -> Result {
        let mut sample = Sample::new()?;

        assert_eq!(sample.inode(Sample::record(DIR), b"")?, "");
        assert_eq!(sample.name(0, 1, b"dir")?, "");
        let packed = abi::InodeRecord {
            size: 3,
            mtime_sec: -1,
            mtime_nsec: 999_999_999,
            ..Sample::record(REG)
        };

        assert_eq!(sample.inode(packed, b"abc")?, "");
        assert_eq!(sample.name(1, 2, b"file")?, "");
        assert_eq!(sample.name(0, 2, b"same")?, "");
        assert_eq!(sample.xattr(2, b"user.a", b"value")?, "");
        assert_eq!(sample.xattr(2, b"user.b", b"")?, "");
        assert_eq!(sample.inode(Sample::record(LNK), b"dir/file")?, "");
        assert_eq!(sample.name(0, 3, b"link")?, "");
        assert_eq!(sample.inode(Sample::record(FIFO), b"")?, "");
        assert_eq!(sample.name(1, 4, b"pipe")?, "");
        let large = abi::InodeRecord {
            size: 1 << 40,
            token: 7,
            flags: abi::INODE_TOKEN,
            ..Sample::record(REG)
        };

        assert_eq!(sample.inode(large, b"")?, "");
        assert_eq!(sample.name(1, 5, b"large")?, "");
        assert_eq!(sample.check(), "");
        Ok(())
    }

    #[test]
    fn an_inode_is_what_its_record_says() -> Result {
        let wrong = "an inode has another size than its contents";
        let sized = |mode, size| abi::InodeRecord {
            size,
            ..Sample::record(mode)
        };
        let mut sample = Sample::new()?;

        assert_eq!(sample.inode(sized(REG, 2), b"abc")?, wrong);
        assert_eq!(sample.inode(sized(REG, 4), b"abc")?, wrong);
        assert_eq!(sample.inode(sized(REG, u64::MAX), b"abc")?, wrong);
        assert_eq!(sample.inode(sized(DIR, 1), b"")?, wrong);
        assert_eq!(sample.inode(sized(FIFO, 0), b"x")?, wrong);
        for target in [&b""[..], b"a\0b", &[b'a'; LINK_MAX + 1]] {
            let why = sample.inode(Sample::record(LNK), target)?;

            assert_eq!(why, "a symbolic link in data/ is illegal");
        }
        for mode in [0, 0o170644, 1 << 16 | REG] {
            let why = sample.inode(Sample::record(mode), b"")?;

            assert_eq!(why, "an inode has no known type");
        }
        let late = abi::InodeRecord {
            atime_nsec: 1_000_000_000,
            ..Sample::record(FIFO)
        };
        let born_late = abi::InodeRecord {
            btime_nsec: 1_000_000_000,
            ..Sample::record(FIFO)
        };
        let nobody = abi::InodeRecord {
            uid: u32::MAX,
            ..Sample::record(FIFO)
        };

        for record in [late, born_late] {
            assert_eq!(sample.inode(record, b"")?, "an inode has an illegal time");
        }
        assert_eq!(sample.inode(nobody, b"")?, "an inode has an illegal owner");
        assert_eq!(
            sample.add(&[b"short"], add_inode)?,
            "the record of an inode is too short"
        );
        let why = Sample::default().inode(Sample::record(REG), b"")?;

        assert_eq!(why, "data/ is no directory");
        Ok(())
    }

    #[test]
    fn every_name_is_in_a_directory_before_it() -> Result {
        let mut sample = Sample::new()?;

        for mode in [DIR, DIR, FIFO] {
            assert_eq!(sample.inode(Sample::record(mode), b"")?, "");
        }
        let nowhere = "a name in data/ is in no directory";

        // A directory without a name, one of a greater number, itself; no directory; nothing.
        for parent in [1, 2, 3, 4, u32::MAX] {
            assert_eq!(sample.name(parent, 1, b"a")?, nowhere);
        }
        assert_eq!(sample.name(0, 0, b"a")?, "a name in data/ names no inode");
        assert_eq!(sample.name(0, 4, b"a")?, "a name in data/ names no inode");
        assert_eq!(sample.name(0, 2, b"a")?, "");
        let twice = "a directory has two names, or is within itself";

        assert_eq!(sample.name(0, 2, b"b")?, twice);
        assert_eq!(sample.name(2, 1, b"b")?, twice);
        assert_eq!(sample.check(), "an inode has no name");
        Ok(())
    }

    #[test]
    fn names_are_legal_and_unique() -> Result {
        let mut sample = Sample::new()?;

        assert_eq!(sample.inode(Sample::record(FIFO), b"")?, "");
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'a'; 256]] {
            assert_eq!(sample.name(0, 1, name)?, "a name in data/ is illegal");
        }
        assert_eq!(sample.name(0, 1, b"\xff\n")?, "");
        assert_eq!(sample.name(0, 1, b"a")?, "");
        assert_eq!(sample.check(), "");
        assert_eq!(sample.name(0, 1, b"\xff\n")?, "");
        assert_eq!(sample.check(), "two in a directory have the same name");
        Ok(())
    }

    #[test]
    fn xattrs_are_legal_and_unique() -> Result {
        let mut sample = Sample::new()?;
        let names = [
            &b""[..],
            b"user.",
            b"user",
            b"system.a",
            b"user.a\0",
            &[b'a'; 256],
        ];

        for name in names {
            assert_eq!(
                sample.xattr(0, name, b"")?,
                "the name of an xattr is illegal"
            );
        }
        assert_eq!(sample.xattr(1, b"user.a", b"")?, "an xattr is of no inode");
        let large = VVec::zeroed(abi::XATTR_SIZE_MAX + 1, GFP_KERNEL)?;

        assert_eq!(sample.xattr(0, b"user.a", &large)?, "an xattr is too large");
        assert_eq!(sample.xattr(0, b"user.a", b"1")?, "");
        assert_eq!(sample.xattr(0, b"user.b", b"1")?, "");
        assert_eq!(sample.check(), "");
        assert_eq!(sample.xattr(0, b"user.a", b"2")?, "");
        assert_eq!(sample.check(), "an inode has two xattrs of the same name");
        Ok(())
    }

    #[test]
    fn numbers_are_legal_and_unique() -> Result {
        let mut sample = Sample::new()?;
        let with = |ino| abi::InodeRecord {
            ino,
            ..Sample::record(FIFO)
        };

        for ino in [1, abi::INO_MIN - 1, NEXT_INO, u64::MAX] {
            assert_eq!(
                sample.inode(with(ino), b"")?,
                "an inode has an illegal number"
            );
        }
        assert_eq!(sample.inode(with(NEXT_INO - 1), b"")?, "");
        assert_eq!(sample.name(0, 1, b"pipe")?, "");
        assert_eq!(sample.check(), "");
        assert_eq!(sample.inode(with(abi::INO_MIN), b"")?, "");
        assert_eq!(sample.name(0, 2, b"pipe2")?, "");
        assert_eq!(sample.check(), "two inodes have the same number");
        Ok(())
    }

    #[test]
    fn what_is_reserved_in_an_inode_is_zero() -> Result {
        let mut sample = Sample::new()?;
        let fifo = Sample::record(FIFO);
        let (reserved, _) = RESERVED;

        for record in [
            abi::InodeRecord { flags: 2, ..fifo },
            abi::InodeRecord {
                reserved: 1,
                ..fifo
            },
            abi::InodeRecord {
                fa_flags: 0x100,
                ..fifo
            },
        ] {
            assert_eq!(sample.inode(record, b"")?, reserved);
        }
        let (token, rdev) = (
            abi::InodeRecord { token: 1, ..fifo },
            abi::InodeRecord { rdev: 1, ..fifo },
        );
        let flag = abi::InodeRecord {
            flags: abi::INODE_TOKEN,
            ..fifo
        };

        assert_eq!(
            sample.inode(token, b"")?,
            "an inode has a token and no file of it"
        );
        assert_eq!(
            sample.inode(rdev, b"")?,
            "an inode has a device and is none"
        );
        assert_eq!(
            sample.inode(flag, b"")?,
            "an inode has a token and is no file"
        );
        Ok(())
    }

    /// An access ACL for user 1, with the mode 0640, as extended attributes have it.
    const ACL: &[u8] = b"\x02\0\0\0\
        \x01\0\x06\0\xff\xff\xff\xff\
        \x02\0\x04\0\x01\0\0\0\
        \x04\0\x04\0\xff\xff\xff\xff\
        \x10\0\x04\0\xff\xff\xff\xff\
        \x20\0\0\0\xff\xff\xff\xff";

    #[test]
    fn acls_are_legal_and_of_their_inodes() -> Result {
        let mut sample = Sample::new()?;
        let (access, default) = (b"system.posix_acl_access", b"system.posix_acl_default");

        assert_eq!(sample.inode(Sample::record(0o100640), b"")?, "");
        assert_eq!(sample.inode(Sample::record(0o100644), b"")?, "");
        assert_eq!(sample.inode(Sample::record(LNK), b"a")?, "");
        assert_eq!(sample.xattr(4, access, ACL)?, "an xattr is of no inode");
        for illegal in [
            &b""[..],
            b"\x02\0\0\0",
            &[0; 44],
            ACL.get(..36).ok_or(EINVAL)?,
        ] {
            assert_eq!(sample.xattr(1, access, illegal)?, "an ACL is illegal");
        }
        assert_eq!(
            sample.xattr(2, access, ACL)?,
            "an inode has another mode than its ACL"
        );
        for inode in [1, 3] {
            let why = "an inode has an ACL that its type hasn't";

            assert_eq!(sample.xattr(inode, default, ACL)?, why);
        }
        assert_eq!(
            sample.xattr(3, access, ACL)?,
            "an inode has an ACL that its type hasn't"
        );
        assert_eq!(sample.xattr(0, default, ACL)?, "");
        assert_eq!(sample.xattr(1, access, ACL)?, "");
        Ok(())
    }
}
