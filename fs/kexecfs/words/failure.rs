// SPDX-License-Identifier: GPL-2.0-only

//! Why something failed.

use crate::words::name::Name;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// Why something failed: for the log and for the file `error`.
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) file: Option<Name>,
    pub(crate) reason: &'static str,
}

impl Failure {
    pub(crate) fn new(error: Error, reason: &'static str) -> Self {
        Self {
            error,
            file: None,
            reason,
        }
    }

    pub(crate) fn of_file(mut self, name: &Name) -> Self {
        // Without memory for the name the rest is still worth telling.
        self.file = name.try_clone().ok();
        self
    }

    /// Gives another reason if memory is short: then it is no matter of the file.
    pub(crate) fn or_no_memory(mut self) -> Self {
        if self.error == ENOMEM {
            self.reason = "too little memory is free outside of KHO's scratch areas, \
                           or the cgroup is full";
        }
        self
    }

    /// Appends the fields of a line that shows it: the errno, the file and the reason.
    pub(crate) fn fields(&self, line: &mut KVVec<u8>) -> Result {
        let errno = self.error.name().map_or(&b"?"[..], |name| name.to_bytes());
        let file = self.file.as_ref().map_or(&b"-"[..], |name| name.as_bytes());

        for part in [errno, b"\t", file, b"\t", self.reason.as_bytes()] {
            line.extend_from_slice(part, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// Appends the line that `error` shows.
    pub(crate) fn line(&self, line: &mut KVVec<u8>) -> Result {
        self.fields(line)?;
        Ok(line.push(b'\n', GFP_KERNEL_ACCOUNT)?)
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        Error::from(error).into()
    }
}

/// Where only the errno is known, as for want of memory.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = if error == ENOMEM {
            "no memory"
        } else {
            "the kernel could not do it"
        };

        Self::new(error, reason)
    }
}
