//! The guest of a run that judges firmware: programs that firmware boots, for its own drivers to be used, and the
//! disk that they are on.
//!
//! * `bios`: for the BIOS of a PC, from a disk and from a network.
//! * `efi`: for UEFI on x86-64, 64-bit Arm and RISC-V.
//! * `u_boot`: a script for U-Boot.
//! * `disk`: a disk with all of them, and what it contains afterwards.
//!
//! Each program does the same, as far as its firmware can. It reads sectors, compares them, and writes them to another
//! place; has a file sent to it by TFTP, compares that, and writes it to the disk; and switches the machine off. On the
//! serial port it writes the lines of [`stickler_exerciser::GuestLine`]: a mark when it begins, a failed step, and at
//! the end that it has passed. The steps are [`READ`], [`WRITE`] and [`NETWORK`].

mod bios;
mod disk;
mod efi;
mod u_boot;

pub use disk::{BootDisk, Compared};
use stickler_exerciser::pattern;

/// The step in which a program reads the disk.
pub const READ: &str = "read";
/// The step in which it writes.
pub const WRITE: &str = "write";
/// The step in which it receives a file.
pub const NETWORK: &str = "network";

/// Bytes of a sector.
const SECTOR: usize = 512;

/// How many sectors the programs read and write at a time.
const CHUNKS: [u8; 7] = [1, 2, 5, 8, 16, 32, 64];

/// Sectors in all.
const COPIED: usize = 128;

/// Bytes of the file that is sent: no whole number of sectors, or of blocks of TFTP.
const SENT: usize = 40_004;

/// A processor for which there are programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramArch {
    /// x86-64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl ProgramArch {
    /// All of them.
    pub const ALL: [ProgramArch; 3] = [
        ProgramArch::X86_64,
        ProgramArch::Aarch64,
        ProgramArch::Riscv64,
    ];
}

/// The name of the file that the programs ask for.
pub const SENT_NAME: &str = "data";

/// The name of the file that firmware of a PC's network card boots.
pub const NETWORK_PROGRAM_NAME: &str = "boot";

/// The files that a server has for the programs, with their names.
#[must_use]
pub fn served_files() -> Vec<(&'static str, Vec<u8>)> {
    let data = sent();
    vec![
        (NETWORK_PROGRAM_NAME, bios::network_program(&data)),
        (SENT_NAME, data),
    ]
}

/// What is copied from one place of the disk to another.
fn copied() -> Vec<u8> {
    pattern::bytes(0x666d, COPIED * SECTOR)
}

/// What is sent.
fn sent() -> Vec<u8> {
    pattern::bytes(0x6e65, SENT)
}

/// The CRC-32 of Ethernet, zip and UEFI.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_chunks_are_all_that_is_copied() {
        let sectors: usize = CHUNKS.iter().map(|count| usize::from(*count)).sum();
        assert_eq!(sectors, COPIED);
    }
}
