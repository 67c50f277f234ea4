//! The files of a check: where it writes, and that none is used twice.

use std::path::PathBuf;

use super::{CheckOptions, Failure, Outputs};
use crate::cli::claims::Claims;
use crate::cli::confine::directory_of;

/// Where the processes of a campaign write: reports, files of their own, and what the user gives to guests.
pub(super) fn written_in(options: &CheckOptions, outputs: &Outputs) -> Vec<PathBuf> {
    let mut written = outputs.directories();
    written.push("/dev".into());
    written.extend(options.keep.clone());
    for path in options.devices.files() {
        written.push(directory_of(&path));
        written.push(path);
    }
    written
}

/// Finds a file that is used twice before anything is written to it.
pub(super) fn own_files(options: &CheckOptions) -> Result<(), Failure> {
    let mut claims = Claims::default();
    if let Some(kernel) = &options.kernel {
        claims.claim(kernel, "the kernel", false)?;
    }
    for module in &options.module {
        claims.claim(module, "a module", false)?;
    }
    if let Some(initrd) = &options.initrd {
        claims.claim(initrd, "the initrd", false)?;
    }
    claims.reports(&options.judging.report)?;
    claims.disks(&options.devices.disks())?;
    claims.consoles(&options.devices.consoles())
}
