// SPDX-License-Identifier: GPL-2.0-only

//! kexecfs: a file system that carries open files across kexec.
//!
//! Every mount is one preservation domain. The subject of each file, and the order in which they
//! import each other, are in "Layers" of
//! `Documentation/filesystems/kexecfs/architecture.rst`.
//!
//! User documentation: `Documentation/filesystems/kexecfs/kexecfs.rst`.

#![forbid(unsafe_code)]

// A module imports only those before it.
mod types;
mod words;

mod gate;
mod identity;
mod space;
mod watch;

mod handover;

mod domain;

mod data;

mod prepare;

mod files;

mod registry;

mod reboot;

mod check;
mod machine;

mod control;
#[path = "super.rs"]
mod sb;

#[cfg(CONFIG_KEXECFS_TEST)]
mod test;

use kernel::{
    fs::{
        Registration,
        SysfsMountPoint, //
    },
    kho,
    liveupdate,
    prelude::*, //
};

module! {
    type: KexecFsModule,
    name: "kexecfs",
    authors: ["The kexecfs authors"],
    description: "File system that carries open files across kexec",
    license: "GPL",
}

struct KexecFsModule {
    // Dropped in this order.
    _registration: Option<Registration<types::KexecFs>>,
    _control: Option<Registration<types::KexecFsCtl>>,
    _mount_point: Option<SysfsMountPoint>,
}

impl kernel::Module for KexecFsModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let off = if !kho::is_enabled() {
            Some("kho=on")
        } else if !liveupdate::enabled() {
            Some("liveupdate=on")
        } else {
            None
        };

        if let Some(option) = off {
            pr_info!("not registered: nothing is handed over without {option}\n");
            return Ok(Self {
                _registration: None,
                _control: None,
                _mount_point: None,
            });
        }
        gate::start()?;
        watch::start()?;
        registry::Registry::start()?;
        reboot::start()?;
        let module = Self {
            // Last: a mount can follow at once.
            _registration: Some(types::KEXECFS.register()?),
            _control: Some(types::KEXECFSCTL.register()?),
            _mount_point: Some(SysfsMountPoint::new(c"kexecfs")?),
        };

        #[cfg(CONFIG_KEXECFS_TEST)]
        test::start();
        Ok(module)
    }
}
