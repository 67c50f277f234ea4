//! Firmware as the guest of a run: which there is, where its files are, how QEMU starts it, and whether it did what it
//! should have done with the devices.
//!
//! Firmware boots programs of ours ([`stickler_firmware_guest`]), from a disk of ours or over the network. They use its
//! drivers, and tell what they do on the serial port. A run has passed when the firmware has booted the program, the
//! program has passed, and the disk contains the right data.
//!
//! * [`find`]: the files, and QEMU's options.
//! * [`watch`]: what firmware and program say.
//! * [`verdict`]: whether a run has passed.

pub mod find;
pub mod verdict;
pub mod watch;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::backends::net::user::ServedFile;
use crate::qemu::GuestArch;

pub use find::{Firmware, FirmwareError};
pub use verdict::{BootReport, DataState};
pub use watch::BootWatch;

/// `--firmware`: which firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareSpec {
    /// A BIOS for PCs.
    SeaBios,
    /// EDK2, for all processors: OVMF, AAVMF.
    Ovmf,
    /// U-Boot, for all processors.
    UBoot,
    /// iPXE in a network card, started by SeaBIOS.
    Ipxe,
    /// A file with firmware, which QEMU takes with `-bios`.
    File(PathBuf),
}

/// The names, and what is meant.
const NAMED: [(&str, FirmwareSpec); 4] = [
    ("seabios", FirmwareSpec::SeaBios),
    ("ovmf", FirmwareSpec::Ovmf),
    ("u-boot", FirmwareSpec::UBoot),
    ("ipxe", FirmwareSpec::Ipxe),
];

impl FromStr for FirmwareSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, spec)) = NAMED.into_iter().find(|(name, _)| *name == text) {
            return Ok(spec);
        }
        // A name that was mistyped is no file.
        if text.contains(['/', '.']) {
            return Ok(FirmwareSpec::File(text.into()));
        }
        Err("firmware is seabios, ovmf, u-boot, ipxe, or a file: ./NAME".to_owned())
    }
}

impl fmt::Display for FirmwareSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let FirmwareSpec::File(path) = self {
            return path.display().fmt(f);
        }
        let named = NAMED.iter().find(|(_, spec)| spec == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FirmwareSpec {
    /// Whether it has a driver for entropy devices. A device that its transport looks at, and for which there is no driver,
    /// would be taken for one that a driver did not cope with.
    pub fn has_entropy(&self, arch: GuestArch) -> bool {
        match self {
            FirmwareSpec::Ovmf => true,
            FirmwareSpec::UBoot => arch != GuestArch::X86_64,
            FirmwareSpec::SeaBios | FirmwareSpec::Ipxe | FirmwareSpec::File(_) => false,
        }
    }

    /// Whether it boots from the disk; otherwise it does so from the network alone.
    pub fn boots_from_disk(&self) -> bool {
        *self != FirmwareSpec::Ipxe
    }
}

/// What the network's server has for the programs.
pub fn served_files() -> Vec<ServedFile> {
    stickler_firmware_guest::served_files()
        .into_iter()
        .map(|(name, content)| ServedFile {
            name: name.to_owned(),
            content,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_read_back_as_it_is_shown() {
        for text in ["seabios", "ovmf", "u-boot", "ipxe", "./bios.bin", "/x/y"] {
            let spec: FirmwareSpec = text.parse().expect("it is one");
            assert_eq!(spec.to_string(), text);
        }
        for text in ["", "uboot", "bios"] {
            let error = text.parse::<FirmwareSpec>().unwrap_err();
            assert!(error.contains("u-boot"), "{error}");
        }
    }
}
