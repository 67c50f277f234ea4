//! Options of `stickler run` and `stickler check`: which guest QEMU runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::devices::input;
use super::failure::Failure;
use super::values::MonitorSpec;
use crate::firmware::{Firmware, FirmwareSpec};
use crate::qemu::{GuestArch, Qemu};

/// Firmware, and the guest's processor.
#[derive(Debug, Args)]
#[command(next_help_heading = "Guest")]
pub struct GuestKind {
    /// Firmware to judge instead of a kernel: seabios, ovmf (EDK2, for all processors), u-boot, ipxe, or a FILE for
    /// QEMU's -bios
    ///
    /// It boots a program of stickler's own from a disk and a network of stickler's own. The program reads, writes where
    /// the firmware can, receives a file, and switches the guest off. The run fails (exit code 3) if the firmware does not
    /// boot it, or if the data is wrong. Firmware is that of Debian's packages (ovmf, u-boot-qemu, ...).
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["kernel", "initrd", "append"])]
    pub firmware: Option<FirmwareSpec>,

    /// The guest's processor; with another than x86_64, QEMU runs the guest
    #[arg(long, value_name = "ARCH", value_enum, default_value_t)]
    pub arch: GuestArch,
}

impl GuestKind {
    /// Whether only QEMU can run it, in words.
    fn needs_qemu(&self) -> Option<String> {
        match (&self.firmware, self.arch) {
            (Some(firmware), _) => Some(format!("firmware ({firmware})")),
            (None, GuestArch::X86_64) => None,
            (None, arch) => Some(format!("a guest of {arch}")),
        }
    }

    /// What runs it, if only QEMU can.
    ///
    /// # Errors
    /// The user wants something else.
    pub(super) fn monitor(
        &self,
        asked: Option<&MonitorSpec>,
    ) -> Result<Option<MonitorSpec>, Failure> {
        match (self.needs_qemu(), asked) {
            (None, _) => Ok(None),
            (Some(what), Some(MonitorSpec::Kvm)) => Err(Failure::Input(format!(
                "--monitor kvm runs kernels for x86_64 only, and not {what}: leave it out, or use --monitor qemu"
            ))),
            (Some(_), Some(qemu)) => Ok(Some(qemu.clone())),
            (Some(_), None) => Ok(Some(MonitorSpec::Qemu(None))),
        }
    }

    /// The firmware that is asked for, and where it is.
    ///
    /// # Errors
    /// It is not there, nor QEMU.
    pub(super) fn find(&self, qemu: Option<&Path>) -> Result<Option<Firmware>, Failure> {
        let Some(spec) = &self.firmware else {
            return Ok(None);
        };
        let qemu = Qemu::find(qemu, self.arch).map_err(input)?;
        let firmware = Firmware::find(spec, self.arch, qemu.named()).map_err(input)?;
        Ok(Some(firmware))
    }
}

/// The kernel's file, of which the parser has seen to it that it is there where there is no firmware.
pub(super) fn kernel(kernel: Option<&PathBuf>) -> Result<&Path, Failure> {
    kernel.map(PathBuf::as_path).ok_or_else(|| {
        Failure::Input("there is no guest: name a kernel with --kernel, or --firmware".into())
    })
}
