//! A program for UEFI. It has no loops and computes nothing: it is a list of calls of the firmware ([`steps`]), which is
//! translated for each processor ([`code`]) and put into a file of the form that UEFI loads ([`pe`]).

mod aarch64;
mod code;
mod pe;
mod riscv64;
mod steps;
mod x86_64;

pub(crate) use steps::EfiPlaces;

use crate::ProgramArch;

/// The name of the program in `\EFI\BOOT`, from where UEFI starts it by itself (UEFI 2.10, section 3.5.1.1).
pub(crate) fn file_name(arch: ProgramArch) -> &'static str {
    match arch {
        ProgramArch::X86_64 => "BOOTX64.EFI",
        ProgramArch::Aarch64 => "BOOTAA64.EFI",
        ProgramArch::Riscv64 => "BOOTRISCV64.EFI",
    }
}

/// The file.
pub(crate) fn image(arch: ProgramArch, places: &EfiPlaces) -> Vec<u8> {
    let program = steps::program(places);
    match arch {
        ProgramArch::X86_64 => pe::image(pe::MACHINE_X64, |at| {
            code::translate(&program, x86_64::X86_64, at)
        }),
        ProgramArch::Aarch64 => pe::image(pe::MACHINE_AARCH64, |at| {
            code::translate(&program, aarch64::Aarch64, at)
        }),
        ProgramArch::Riscv64 => pe::image(pe::MACHINE_RISCV64, |at| {
            code::translate(&program, riscv64::Riscv64, at)
        }),
    }
}
