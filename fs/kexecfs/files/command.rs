// SPDX-License-Identifier: GPL-2.0-only

//! Commands in control files: the check of the writer, the reading of the line, and the report of
//! the result.

use crate::{
    domain::Domain,
    types::KexecFs,
    watch::{
        notify,
        ERROR, //
    },
    words::{
        failure::Failure,
        name::{
            command,
            COMMAND_MAX, //
        }, //
    }, //
};
use kernel::{
    cred::Credential,
    fs::{
        file::LocalFile,
        SuperBlock, //
    },
    prelude::*,
    uaccess::UserSliceReader, //
};

/// Fails unless the caller is the subject that opened the file: a privileged program may have
/// inherited it.
pub(crate) fn check_subject(file: &LocalFile) -> Result {
    if file.cred().is_same_subject(&Credential::current()) {
        Ok(())
    } else {
        Err(EPERM)
    }
}

/// Says why a command failed, in the log and in the domain.
pub(crate) fn report(sb: &SuperBlock<KexecFs>, failure: Failure) -> Error {
    let domain = sb.info();

    if domain.messages.ratelimit(c"kexecfs") {
        log(&domain, &failure);
    }
    keep(sb, failure)
}

/// The same for a command that is root's, and for all domains: whatever their users make the log
/// say.
pub(crate) fn report_for_all(sb: &SuperBlock<KexecFs>, failure: Failure) -> Error {
    log(&sb.info(), &failure);
    keep(sb, failure)
}

fn log(domain: &Domain, failure: &Failure) {
    let errno = failure.error.name().unwrap_or(c"?");

    match &failure.file {
        Some(file) => pr_info!("{}: {file}: {}: {errno}\n", domain.name, failure.reason),
        None => pr_info!("{}: {}: {errno}\n", domain.name, failure.reason),
    }
}

fn keep(sb: &SuperBlock<KexecFs>, failure: Failure) -> Error {
    let error = failure.error;

    if sb.info().set_error(Some(failure)) {
        notify(sb, ERROR);
    }
    error
}

/// Keeps that the last command succeeded.
pub(crate) fn succeeded(sb: &SuperBlock<KexecFs>) {
    if sb.info().set_error(None) {
        notify(sb, ERROR);
    }
}

/// Reads the one command of a write, and lets `parse` make something of it.
///
/// `None` is an empty line, or less, which is no command: `printf '5 ram'; echo` writes one.
///
/// # Errors
///
/// `EINVAL` if it is longer than any command, `EFAULT`, and those of `parse`.
pub(crate) fn read_command<'a, T>(
    from: &mut UserSliceReader,
    buf: &'a mut [u8; COMMAND_MAX],
    parse: impl FnOnce(&'a [u8]) -> Result<T>,
) -> Result<Option<T>> {
    let buf = buf.get_mut(..from.len()).ok_or(EINVAL)?;

    from.read_slice(buf)?;
    match command(buf) {
        [] => Ok(None),
        command => parse(command).map(Some),
    }
}
