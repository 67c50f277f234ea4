//! What a run of firmware has besides other runs: a disk of its own, and a verdict.

use std::fs::{self, File};
use std::path::PathBuf;

use stickler_conformance::Latitudes;
use stickler_firmware_guest::BootDisk;

use crate::backends::disk::DiskSpec;
use crate::children::ScratchDirectory;
use crate::cli::failure::Failure;
use crate::firmware::verdict::BootRun;
use crate::firmware::{BootReport, BootWatch, Firmware};
use crate::report::RunEnd;

/// Firmware that is judged.
pub(super) struct FirmwareRun {
    firmware: Firmware,
    watch: BootWatch,
    disk: Option<PathBuf>,
    /// Open, because a confined process opens nothing.
    content: Option<File>,
    // The disk is in it.
    _directory: ScratchDirectory,
}

impl FirmwareRun {
    /// Makes the disk, unless the user gives others, or the firmware boots from none.
    pub(super) fn prepare(firmware: Firmware, given: &[DiskSpec]) -> Result<Self, Failure> {
        let fail =
            |error| Failure::Internal(format!("cannot make a disk for the firmware: {error}"));
        let directory = ScratchDirectory::new("stickler-").map_err(fail)?;
        let (mut disk, mut content) = (None, None);
        if given.is_empty() && firmware.spec.boots_from_disk() {
            let path = directory.path().join("disk");
            fs::write(&path, BootDisk.content().map_err(fail)?).map_err(fail)?;
            content = Some(File::open(&path).map_err(fail)?);
            disk = Some(path);
        }
        Ok(FirmwareRun {
            firmware,
            watch: BootWatch::default(),
            disk,
            content,
            _directory: directory,
        })
    }

    /// The disks of the run.
    pub(super) fn disks(&self, given: &[DiskSpec]) -> Vec<DiskSpec> {
        let own = self.disk.iter().map(|path| DiskSpec {
            path: path.clone(),
            read_only: false,
        });
        own.chain(given.iter().cloned()).collect()
    }

    pub(super) fn firmware(&self) -> &Firmware {
        &self.firmware
    }

    /// What reads the serial port.
    pub(super) fn watch(&self) -> BootWatch {
        self.watch.clone()
    }

    /// What the firmware did. No driver accesses the disk any more.
    pub(super) fn report(&self, end: &RunEnd, latitudes: Latitudes) -> Result<BootReport, Failure> {
        let run = BootRun {
            firmware: &self.firmware,
            log: &self.watch.log(),
            end,
            disk: self.content.as_ref(),
            latitudes,
        };
        run.report().map_err(|error| {
            Failure::Internal(format!("cannot compare the firmware's disk: {error}"))
        })
    }
}
