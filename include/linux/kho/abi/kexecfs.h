/* SPDX-License-Identifier: GPL-2.0-only */

/**
 * DOC: kexecfs ABI
 *
 * kexecfs hands its domains over to the next kernel by the structures below.
 * The files of a domain are handed over by the Live Update Orchestrator (LUO),
 * in one LUO session for each domain. These structures hold what LUO does not
 * keep: the domains' names, owners, modes and limits, the files' names, and the tree
 * data/ with the contents of its small files. LUO's tokens connect the two.
 *
 * This interface is a contract. The structures here change neither their layout
 * nor their meaning within a KEXECFS_ABI_MAJOR. An addition is a feature, with a
 * bit of its own in struct kexecfs_features, or a new type of record that an older
 * kernel may skip without harm, and raises KEXECFS_ABI_MINOR. Existing structures do
 * not grow: a feature may give a meaning to their reserved members.
 *
 * How the structures refer to each other::
 *
 *   KHO subtree "kexecfs"
 *     |
 *     v
 *   struct kexecfs_root
 *     |
 *     | index (struct kho_vmalloc)
 *     v
 *   array of struct kexecfs_index_entry, count of them
 *     |
 *     | stream (struct kho_vmalloc)
 *     v
 *   a stream of records, len bytes
 *
 * The root is the beginning of a page of its own, which is preserved as a folio
 * of order 0. The index is the beginning of a preserved vmalloc area. The rest of
 * both is zero.
 *
 * The stream is the beginning of a preserved vmalloc area. Its records follow
 * each other without gaps. Each is a struct kexecfs_record, its payload, and
 * zeroes up to the next multiple of KEXECFS_RECORD_ALIGN bytes. The stream holds
 *
 *   - one KEXECFS_RECORD_DOMAIN, which is the first record,
 *   - at most one KEXECFS_RECORD_HUGE,
 *   - a KEXECFS_RECORD_FILE for each file, in any order,
 *   - if the domain has a tree data/, a KEXECFS_RECORD_INODE for each of its
 *     inodes, a KEXECFS_RECORD_NAME for each of its names and a
 *     KEXECFS_RECORD_XATTR for each extended attribute,
 *   - one KEXECFS_RECORD_END, which is the last record and ends where the stream
 *     ends. A stream without it was cut off.
 *
 * The inodes of data/ are numbered from 0 in the order of their records. Inode 0
 * is the directory data/ itself and has no name. Each other directory has just one
 * name, in a directory of a smaller number, so that there are no cycles; each
 * other inode has one or more names. The records of an inode and of the directory
 * come before that of the name, and the record of an inode before those of its
 * extended attributes. No directory has two names that are the same, no inode two
 * extended attributes, and no two inodes have the same ino.
 *
 * Numbers have the byte order of the machine; KHO hands nothing to a machine of
 * another one. Physical addresses are those of the first byte. The members are
 * naturally aligned without any padding, and lie in memory at least as aligned
 * as that, so that they can be read in place. Reserved members, and each bit of a
 * flags member that has no name here, are zero.
 *
 * Rules for readers. The writer was another kernel, of another version perhaps,
 * and the reader checks all that it wrote:
 *
 *   - A root with another magic or another major version is not read at all, nor
 *     is one whose seal is not KEXECFS_SEAL_MAGIC: the previous kernel did not
 *     commit to the handover. A greater minor version is read.
 *   - If the root requires a feature that the reader lacks no domain is read; if a
 *     domain does, that one is not. Other unknown features are ignored.
 *   - A reserved member or bit that is not zero breaks a rule.
 *   - A physical address is only followed if KHO says that a block of just this
 *     order is preserved there and was not restored yet. This also keeps two
 *     domains from having the same memory.
 *   - A record of an unknown type is skipped. With KEXECFS_RECORD_MUST_UNDERSTAND
 *     the whole domain is unreadable (%EIO) instead.
 *   - A stream that breaks any other rule given here makes its domain unreadable,
 *     and no other.
 *   - Of two domains with the same name neither is readable.
 *   - A file that LUO handed over and that no record names still belongs to the
 *     domain. A record of a file that LUO did not hand over is dropped.
 */

#ifndef _LINUX_KHO_ABI_KEXECFS_H
#define _LINUX_KHO_ABI_KEXECFS_H

#include <linux/build_bug.h>
#include <linux/kho/abi/kexec_handover.h>
#include <linux/types.h>

/* The name of the KHO subtree that holds the struct kexecfs_root */
#define KEXECFS_KHO_ENTRY_NAME		"kexecfs"

/* The prefix of the names of all LUO sessions that belong to domains */
#define KEXECFS_SESSION_PREFIX		"kexecfs:"

/* The version of this ABI, see above */
#define KEXECFS_ABI_MAJOR		1
#define KEXECFS_ABI_MINOR		1

/*
 * The bits of struct kexecfs_features that have a meaning. There are none yet:
 * version 1.1 needs none. It has added KEXECFS_RECORD_HUGE.
 */
#define KEXECFS_FEATURES		0

/*
 * ASCII for "KEXECFS1" and "KEXECFSS", the first letter on top. Trees before
 * version 1.0 had "KEXECFSR" and another layout.
 */
#define KEXECFS_ROOT_MAGIC		0x4b45584543465331ULL
#define KEXECFS_SEAL_MAGIC		0x4b45584543465353ULL

/* The greatest lengths of names, in bytes, without a terminating zero */
#define KEXECFS_NAME_MAX		255
#define KEXECFS_SESSION_NAME_MAX	63

/* The greatest length of the value of an extended attribute, in bytes */
#define KEXECFS_XATTR_SIZE_MAX		65536

/*
 * The numbers of inodes in data/, those of st_ino: they are at least
 * KEXECFS_INO_MIN and below KEXECFS_INO_MAX. Smaller ones are those of inodes that
 * each domain has.
 */
#define KEXECFS_INO_MIN			16
#define KEXECFS_INO_MAX			0x7fffffffffffffffULL

/* The alignment of records in bytes, relative to the beginning of the stream */
#define KEXECFS_RECORD_ALIGN		8

/**
 * struct kexecfs_features - The features of the writer, and of the data it wrote.
 * @supported: The features that the writer knows.
 * @required:  Those without which the data cannot be read, or not without harm. All
 *             of them are in @active.
 * @active:    Those that the writer has used. All of them are in @supported.
 *
 * Each feature is a bit, the same in all three, see KEXECFS_FEATURES. The feature
 * flags of LUO's own structures have the same meaning. A feature that a reader may
 * ignore is active without being required. Any other one is at first only supported,
 * by a version that reads it and does not write it yet, and becomes active and
 * required once a rollback to an older version is not supported any more.
 */
struct kexecfs_features {
	u64 supported;
	u64 required;
	u64 active;
};

static_assert(sizeof(struct kexecfs_features) == 24);

/**
 * struct kexecfs_root - The contents of the KHO subtree.
 * @magic:    KEXECFS_ROOT_MAGIC.
 * @major:    KEXECFS_ABI_MAJOR of the writer.
 * @minor:    KEXECFS_ABI_MINOR of the writer.
 * @reserved: Zero.
 * @features: The features of this structure and of @index.
 * @count:    The number of domains in @index.
 * @seal:     KEXECFS_SEAL_MAGIC once reboot(2) has committed to a kexec with all
 *            of the domains serialized, zero before and whenever a kexec failed. If
 *            it is zero nothing is handed over.
 * @index:    KHO's descriptor of the array of domains.
 */
struct kexecfs_root {
	u64 magic;
	u16 major;
	u16 minor;
	u32 reserved;
	struct kexecfs_features features;
	u64 count;
	u64 seal;
	struct kho_vmalloc index;
};

static_assert(sizeof(struct kexecfs_root) == 72);

/*
 * Bits of the flags of struct kexecfs_index_entry.
 *
 * KEXECFS_ENTRY_EXCLUDED: the domain was excluded from the kexec. Of the contents of
 * the stream only its LUO session exists, to be finished.
 */
#define KEXECFS_ENTRY_EXCLUDED		0x1

/**
 * struct kexecfs_index_entry - Where the records of a domain are.
 * @len:      The length of the stream in bytes, a multiple of
 *            KEXECFS_RECORD_ALIGN. The area may be longer, by less than a page.
 * @flags:    KEXECFS_ENTRY_*.
 * @reserved: Zero.
 * @stream:   KHO's descriptor of the area whose beginning is the stream.
 */
struct kexecfs_index_entry {
	u64 len;
	u32 flags;
	u32 reserved;
	struct kho_vmalloc stream;
};

static_assert(sizeof(struct kexecfs_index_entry) == 32);

/* Values of the type of struct kexecfs_record */
#define KEXECFS_RECORD_DOMAIN		1	/* struct kexecfs_domain_record */
#define KEXECFS_RECORD_FILE		2	/* struct kexecfs_file_record */
#define KEXECFS_RECORD_END		3	/* struct kexecfs_end_record */
#define KEXECFS_RECORD_INODE		4	/* struct kexecfs_inode_record */
#define KEXECFS_RECORD_NAME		5	/* struct kexecfs_name_record */
#define KEXECFS_RECORD_XATTR		6	/* struct kexecfs_xattr_record */
#define KEXECFS_RECORD_HUGE		7	/* struct kexecfs_huge_record */

/*
 * Bits of the flags of struct kexecfs_record.
 *
 * KEXECFS_RECORD_MUST_UNDERSTAND: a reader that does not know this type of record
 * must not read the domain. The types above have it set, but KEXECFS_RECORD_HUGE.
 */
#define KEXECFS_RECORD_MUST_UNDERSTAND	0x1

/**
 * struct kexecfs_record - The header of a record.
 * @len:   The length of the payload that follows, in bytes, without this header
 *         and without the zeroes after the payload.
 * @type:  The type of the payload, a KEXECFS_RECORD_*.
 * @flags: See KEXECFS_RECORD_MUST_UNDERSTAND.
 */
struct kexecfs_record {
	u32 len;
	u16 type;
	u16 flags;
};

static_assert(sizeof(struct kexecfs_record) == KEXECFS_RECORD_ALIGN);

/*
 * Bits of the flags of struct kexecfs_domain_record.
 *
 * KEXECFS_DOMAIN_DROP: if the domain cannot be prepared at a reboot it is dropped.
 * Without it the kexec is refused.
 * KEXECFS_DOMAIN_PERSIST: the domain stays when it is unmounted.
 */
#define KEXECFS_DOMAIN_DROP		0x1
#define KEXECFS_DOMAIN_PERSIST		0x2

/**
 * struct kexecfs_domain_record - The properties of a domain.
 * @features:    The features of this structure and of all that follows it in the
 *               stream.
 * @uuid:        The UUID of its superblock, which is not zero.
 * @next_ino:    A number that is greater than that of each inode which data/ has or
 *               had, from KEXECFS_INO_MIN to KEXECFS_INO_MAX.
 * @size:        How many bytes the domain may hold: 0 for the default of the
 *               reader, all bits set for no limit.
 * @nr_inodes:   How many entries data/ may have: likewise.
 * @waited:      For how many seconds it has waited to be finished since it was handed
 *               over for the first time, over all kernels. 0 if it was not, or has
 *               been finished.
 * @uid:         The owner of its root, as a kuid: a number of the initial user
 *               namespace.
 * @gid:         The group of its root, as a kgid: likewise.
 * @mode:        The permission bits of its root, within 07777.
 * @max_fds:     How many files may be preserved in it.
 * @name_len:    The length of the domain's name in bytes, from 1 to
 *               KEXECFS_NAME_MAX.
 * @session_len: The length of the name of the domain's LUO session in bytes, up
 *               to KEXECFS_SESSION_NAME_MAX. If it is 0 there is no session:
 *               nothing is preserved in the domain.
 * @flags:       KEXECFS_DOMAIN_*.
 *
 * The domain's name and the session's name follow, in this order and without
 * anything between or after them. The domain's name is of printable ASCII
 * without space and '/', and none of ".", ".." and "none". The session's begins
 * with KEXECFS_SESSION_PREFIX and is of printable ASCII without space.
 */
struct kexecfs_domain_record {
	struct kexecfs_features features;
	u8 uuid[16];
	u64 next_ino;
	u64 size;
	u64 nr_inodes;
	u64 waited;
	u32 uid;
	u32 gid;
	u32 mode;
	u32 max_fds;
	u16 name_len;
	u16 session_len;
	u32 flags;
};

static_assert(sizeof(struct kexecfs_domain_record) == 96);

/*
 * Values of the huge of struct kexecfs_huge_record: when files of data/ get huge
 * pages, as the option huge= of a mount of tmpfs says it.
 */
#define KEXECFS_HUGE_NEVER		1
#define KEXECFS_HUGE_ALWAYS		2
#define KEXECFS_HUGE_WITHIN_SIZE	3
#define KEXECFS_HUGE_ADVISE		4

/**
 * struct kexecfs_huge_record - When files of data/ get huge pages.
 * @huge:     KEXECFS_HUGE_*.
 * @reserved: Zero.
 *
 * Without this record it is the default of the reader.
 */
struct kexecfs_huge_record {
	u32 huge;
	u32 reserved;
};

static_assert(sizeof(struct kexecfs_huge_record) == 8);

/**
 * struct kexecfs_file_record - A file that is preserved in a domain.
 * @token:    LUO's token for the file in the domain's session. No two records of
 *            a stream have the same.
 * @size:     The size of the file in bytes when it was preserved, 0 if it has
 *            none. A listing shows it until the file is retrieved.
 * @name_len: The length of the file's name in bytes, from 1 to KEXECFS_NAME_MAX.
 * @reserved: Zero.
 *
 * The name follows, and nothing after it. It has neither '/' nor control
 * characters, is not "." or "..", and no two records of a stream have the same.
 */
struct kexecfs_file_record {
	u64 token;
	u64 size;
	u16 name_len;
	u16 reserved[3];
};

static_assert(sizeof(struct kexecfs_file_record) == 24);

/*
 * Bits of the flags of struct kexecfs_inode_record.
 *
 * KEXECFS_INODE_TOKEN: the contents are those of the file that LUO handed over
 * under the token of the record. Without it they follow the record.
 */
#define KEXECFS_INODE_TOKEN		0x1

/**
 * struct kexecfs_inode_record - An inode of data/.
 * @size:       The size in bytes of a regular file, 0 for all others.
 * @token:      LUO's token for the contents in the domain's session, if @flags says
 *              so, else 0. No other record of the stream has the same.
 * @ino:        Its number, that of st_ino: at least KEXECFS_INO_MIN and below the
 *              next_ino of struct kexecfs_domain_record. No other inode has the same.
 * @atime_sec:  The time of the last read, in seconds since 1970.
 * @mtime_sec:  The time of the last change of the contents.
 * @ctime_sec:  The time of the last change of contents or attributes.
 * @btime_sec:  The time of its creation.
 * @atime_nsec: Nanoseconds of that second, below 1,000,000,000.
 * @mtime_nsec: Likewise.
 * @ctime_nsec: Likewise.
 * @btime_nsec: Likewise.
 * @uid:        The owner, as a kuid: a number of the initial user namespace.
 * @gid:        The group, as a kgid: likewise.
 * @mode:       The type and the permission bits, as st_mode has them.
 * @rdev:       The device that a device node stands for, as new_encode_dev() has it,
 *              0 for all others.
 * @generation: The generation of @ino, which is part of file handles.
 * @fa_flags:   Those of FS_IOC_GETFLAGS: FS_IMMUTABLE_FL, FS_APPEND_FL, FS_NODUMP_FL
 *              and FS_NOATIME_FL, no others.
 * @flags:      See KEXECFS_INODE_TOKEN.
 * @reserved:   Zero.
 *
 * The contents of a regular file without a token follow, @size bytes. The target of
 * a symbolic link follows its record, from 1 to 4095 bytes without a zero.
 * After the record of a file with a token there may be @size bytes that are
 * ignored. Nothing follows any other record.
 */
struct kexecfs_inode_record {
	u64 size;
	u64 token;
	u64 ino;
	s64 atime_sec;
	s64 mtime_sec;
	s64 ctime_sec;
	s64 btime_sec;
	u32 atime_nsec;
	u32 mtime_nsec;
	u32 ctime_nsec;
	u32 btime_nsec;
	u32 uid;
	u32 gid;
	u32 mode;
	u32 rdev;
	u32 generation;
	u32 fa_flags;
	u32 flags;
	u32 reserved;
};

static_assert(sizeof(struct kexecfs_inode_record) == 104);

/**
 * struct kexecfs_name_record - A name in data/.
 * @parent: The number of the directory that it is in.
 * @inode:  The number of the inode that it names.
 *
 * The name follows, from 1 to KEXECFS_NAME_MAX bytes. It has neither '/' nor a
 * zero, and is not "." or "..".
 */
struct kexecfs_name_record {
	u32 parent;
	u32 inode;
};

static_assert(sizeof(struct kexecfs_name_record) == 8);

/**
 * struct kexecfs_xattr_record - An extended attribute of an inode in data/.
 * @inode:    The number of the inode.
 * @name_len: The length of the attribute's name in bytes, from 1 to
 *            KEXECFS_NAME_MAX.
 * @reserved: Zero.
 *
 * The full name and the value follow, in this order and without anything between
 * or after them. The name begins with "user.", "trusted." or "security.", goes
 * on after that, and has no zero. The value has up to KEXECFS_XATTR_SIZE_MAX
 * bytes.
 *
 * Or the name is "system.posix_acl_access", but not of a symbolic link, or
 * "system.posix_acl_default" of a directory, with the value that getxattr(2) returns
 * in the initial user namespace. An access ACL has more than the three entries that
 * a mode stands for, and agrees with that of the inode.
 */
struct kexecfs_xattr_record {
	u32 inode;
	u16 name_len;
	u16 reserved;
};

static_assert(sizeof(struct kexecfs_xattr_record) == 8);

/**
 * struct kexecfs_end_record - The end of a stream.
 * @count:    The number of records before this one, those of unknown type
 *            included.
 * @reserved: Zero.
 */
struct kexecfs_end_record {
	u32 count;
	u32 reserved;
};

static_assert(sizeof(struct kexecfs_end_record) == 8);

#endif /* _LINUX_KHO_ABI_KEXECFS_H */
