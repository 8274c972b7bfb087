// SPDX-License-Identifier: GPL-2.0-only

//! Names of domains and of files, and the commands that hold them.

use core::cmp::Ordering;
use kernel::{
    crypto::sha256,
    fmt::{
        self,
        Write as _, //
    },
    kho::abi::kexecfs as abi,
    prelude::*,
    str::{
        BStr,
        Formatter, //
    },
};

/// The longest command: a descriptor, a space, a name and a newline.
pub(crate) const COMMAND_MAX: usize = 10 + 1 + abi::NAME_MAX + 1;

/// How many bytes of a name lie in it, the NUL included.
const SHORT: usize = 30;

/// The size of the hash in the name of a session, in bytes.
const HASH_BYTES: usize = 128 / 8;

/// A name of at most [`abi::NAME_MAX`] bytes that can be the name of a directory entry.
pub(crate) struct Name {
    /// The first bytes, and zeroes if there are no more: their order is that of the names, unless
    /// they are the same. A tree of names compares these where it lies.
    prefix: u64,
    text: Text,
}

/// The bytes of a name, with a NUL at their end and nowhere else.
enum Text {
    /// Most are so: there are two or three of each name, and they come and go with it.
    Short {
        len: u8,
        buf: [u8; SHORT],
    },
    Long(KVec<u8>),
}

impl Text {
    fn new(name: &[u8]) -> Result<Self> {
        let mut buf = [0; SHORT];

        // Room for the NUL remains.
        if name.len() < buf.len() {
            if let Some(to) = buf.get_mut(..name.len()) {
                to.copy_from_slice(name);
            }
            return Ok(Self::Short {
                len: u8::try_from(name.len())?,
                buf,
            });
        }
        let mut buf = KVec::with_capacity(name.len() + 1, GFP_KERNEL_ACCOUNT)?;

        buf.extend_from_slice(name, GFP_KERNEL_ACCOUNT)?;
        buf.push(0, GFP_KERNEL_ACCOUNT)?;
        Ok(Self::Long(buf))
    }

    /// The first bytes, and zeroes if there are no more.
    fn prefix(&self) -> u64 {
        let bytes: &[u8] = match self {
            Self::Short { buf, .. } => buf,
            Self::Long(buf) => buf,
        };

        bytes
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    fn with_nul(&self) -> &[u8] {
        match self {
            Self::Short { len, buf } => buf.get(..=usize::from(*len)).unwrap_or_default(),
            Self::Long(buf) => buf,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, buf } => buf.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(buf) => buf.split_last().map_or(&[], |(_, name)| name),
        }
    }
}

impl Name {
    /// Checks the name of a preserved file.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is empty or too long, "." or "..", or has a slash or a control character.
    pub(crate) fn of_file(name: &[u8]) -> Result<Self> {
        Self::new(name, |c| c >= b' ' && c != 0x7f)
    }

    /// Whether `name` is a legal one in `data/`, which may have any character but a slash and a
    /// zero.
    pub(crate) fn is_entry(name: &[u8]) -> bool {
        Self::is_legal(name, |_| true)
    }

    /// Checks the name of a domain.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is empty or too long, ".", ".." or "none", or has anything but printable
    /// ASCII without space and slash.
    pub(crate) fn of_domain(name: &[u8]) -> Result<Self> {
        if name == b"none" {
            return Err(EINVAL);
        }
        Self::new(name, |c| c.is_ascii_graphic())
    }

    /// The name of a file for which none was given.
    pub(crate) fn of_fd(fd: u32) -> Result<Self> {
        Self::formatted(fmt!("{fd}"))
    }

    /// The name of a file whose record is missing: only its token is known.
    pub(crate) fn of_token(token: u64) -> Result<Self> {
        Self::formatted(fmt!("token-{token}"))
    }

    /// The name of a session, which the caller has checked.
    pub(crate) fn of_session(name: &[u8]) -> Result<Self> {
        Self::copied(name)
    }

    fn new(name: &[u8], allowed: impl Fn(u8) -> bool) -> Result<Self> {
        if !Self::is_legal(name, allowed) {
            return Err(EINVAL);
        }
        Self::copied(name)
    }

    fn is_legal(name: &[u8], allowed: impl Fn(u8) -> bool) -> bool {
        (1..=abi::NAME_MAX).contains(&name.len())
            && name != b"."
            && name != b".."
            && name.iter().all(|&c| c != b'/' && c != 0 && allowed(c))
    }

    fn formatted(args: fmt::Arguments<'_>) -> Result<Self> {
        let mut text = [0; 32];
        let mut f = Formatter::new(&mut text);

        f.write_fmt(args)?;
        let len = f.bytes_written();
        Self::copied(text.get(..len).ok_or(EOVERFLOW)?)
    }

    fn copied(name: &[u8]) -> Result<Self> {
        let text = Text::new(name)?;

        Ok(Self {
            prefix: text.prefix(),
            text,
        })
    }

    /// A copy of the name.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        match self.text {
            Text::Short { len, buf } => Ok(Self {
                prefix: self.prefix,
                text: Text::Short { len, buf },
            }),
            Text::Long(_) => Self::copied(self.as_bytes()),
        }
    }

    /// The name as C takes it.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_with_nul(self.text.with_nul()).unwrap_or_default()
    }

    /// The bytes of the name.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.bytes()
    }

    /// The name of the LUO session of the domain with this name.
    ///
    /// `kexecfs:NAME` where that fits. Else as much of the beginning as fits, a slash, which no
    /// name can hold, and a hash of the whole.
    pub(crate) fn session(&self) -> Result<Name> {
        let prefix = abi::SESSION_PREFIX.to_bytes();
        let mut session = KVec::with_capacity(abi::SESSION_NAME_MAX, GFP_KERNEL_ACCOUNT)?;

        session.extend_from_slice(prefix, GFP_KERNEL_ACCOUNT)?;
        if prefix.len() + self.as_bytes().len() <= abi::SESSION_NAME_MAX {
            session.extend_from_slice(self.as_bytes(), GFP_KERNEL_ACCOUNT)?;
        } else {
            let hash = sha256(self.as_bytes());
            let room = abi::SESSION_NAME_MAX - prefix.len() - 1 - 2 * HASH_BYTES;

            session.extend_from_slice(
                self.as_bytes().get(..room).unwrap_or_default(),
                GFP_KERNEL_ACCOUNT,
            )?;
            session.push(b'/', GFP_KERNEL_ACCOUNT)?;
            for byte in hash.iter().take(HASH_BYTES) {
                for digit in [byte >> 4, byte & 0xf] {
                    let digit = char::from_digit(digit.into(), 16).unwrap_or_default();

                    session.push(digit as u8, GFP_KERNEL_ACCOUNT)?;
                }
            }
        }
        Self::copied(&session)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix
            .cmp(&other.prefix)
            .then_with(|| self.as_bytes().cmp(other.as_bytes()))
    }
}

/// For the log: bytes above ASCII are escaped.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(BStr::from_bytes(self.as_bytes()), f)
    }
}

/// A name as the value of a mount option, as `seq_show_option()` escapes it.
pub(crate) struct OptionValue<'a>(pub(crate) &'a Name);

impl fmt::Display for OptionValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &c in self.0.as_bytes() {
            match c {
                b',' | b'\\' => write!(f, "\\{c:03o}")?,
                _ => f.write_char(char::from(c))?,
            }
        }
        Ok(())
    }
}

/// For the mounter: a word that is no name of a domain, and why.
pub(crate) struct IllegalDomain<'a> {
    /// What the word was given as.
    pub(crate) as_what: &'static str,
    pub(crate) word: &'a [u8],
}

impl fmt::Display for IllegalDomain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "illegal {} '", self.as_what)?;
        fmt::Display::fmt(BStr::from_bytes(self.word), f)?;
        // mount(8) canonicalizes a source that exists, unless it knows the type.
        f.write_str(if self.as_what == "source" && self.word.contains(&b'/') {
            "': it is a path, as mount(8) makes of a name that exists in its working directory: \
             mount with -o domain=NAME"
        } else {
            "': the name of a domain has 1 to 255 bytes of printable ASCII without space and '/', \
             and isn't '.', '..' or 'none'"
        })
    }
}

/// One command without the newline that may end it.
pub(crate) fn command(written: &[u8]) -> &[u8] {
    written.strip_suffix(b"\n").unwrap_or(written)
}

/// The descriptor and the name in a command `FD` or `FD NAME`.
///
/// # Errors
///
/// `EINVAL` if it isn't of that form, `EBADF` if the number is beyond all descriptors.
pub(crate) fn fd_and_name(command: &[u8]) -> Result<(u32, Name)> {
    let digits = command.iter().take_while(|c| c.is_ascii_digit()).count();
    let (number, rest) = command.split_at_checked(digits).ok_or(EINVAL)?;

    if number.is_empty() {
        return Err(EINVAL);
    }
    let fd = number.iter().try_fold(0u32, |fd, digit| {
        fd.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    });
    let name = match rest {
        [] => None,
        [b' ', name @ ..] => Some(Name::of_file(name)?),
        _ => return Err(EINVAL),
    };
    let fd = fd.ok_or(EBADF)?;

    Ok((fd, name.map_or_else(|| Name::of_fd(fd), Ok)?))
}

#[cfg(CONFIG_KEXECFS_KUNIT_TEST)]
#[path = "name_tests.rs"]
mod tests;
