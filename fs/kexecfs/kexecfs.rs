// SPDX-License-Identifier: GPL-2.0-only

//! kexecfs: a file system that carries open files across kexec.
//!
//! Every mount is one preservation domain. `super.rs` mounts it, `inode.rs` makes its tree,
//! `preserve.rs` takes descriptors and gives them back, `domain.rs` and `domain/` are what all of
//! these act on.
//! `data.rs` is the directory tree that is handed over, `regular.rs` and `content.rs` are its
//! files, `attr.rs` and `identity.rs` what else its inodes have and are known by; `prepare.rs`
//! makes a domain ready for the kexec, with what `walk.rs` finds in `data/`.
//! `control.rs` is the machine-wide view.
//! `test/` is for tests.
//! `registry.rs` knows all domains, `reboot.rs` deals with reboots, `handover.rs` writes them down
//! for the next kernel and reads what the previous one wrote. `state.rs`, `name.rs` and
//! `options.rs` are the words that a user writes.
//!
//! User documentation: `Documentation/filesystems/kexecfs/kexecfs.rst`.

#![forbid(unsafe_code)]

// In this order: see "Layers" in `architecture.rst`.
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
