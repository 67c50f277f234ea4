//! The processors of guests.

use std::fmt;

use clap::ValueEnum;
use stickler_firmware_guest::ProgramArch;

/// The processor of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GuestArch {
    /// x86-64: a PC
    #[default]
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm
    Aarch64,
    /// 64-bit RISC-V
    Riscv64,
}

impl GuestArch {
    /// All of them.
    pub const ALL: [GuestArch; 3] = [GuestArch::X86_64, GuestArch::Aarch64, GuestArch::Riscv64];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            GuestArch::X86_64 => "x86_64",
            GuestArch::Aarch64 => "aarch64",
            GuestArch::Riscv64 => "riscv64",
        }
    }

    /// The name of QEMU's program for it.
    pub fn program(self) -> String {
        format!("qemu-system-{}", self.name())
    }

    /// Debian's package with that program.
    pub(super) fn package(self) -> &'static str {
        match self {
            GuestArch::X86_64 => "qemu-system-x86",
            GuestArch::Aarch64 => "qemu-system-arm",
            GuestArch::Riscv64 => "qemu-system-riscv",
        }
    }

    /// A processor that only the QEMU for it has.
    pub(super) fn sign(self) -> &'static str {
        match self {
            GuestArch::X86_64 => "qemu64",
            GuestArch::Aarch64 => "cortex-a57",
            GuestArch::Riscv64 => "rv64",
        }
    }

    /// QEMU's machine for a kernel, which is loaded by QEMU.
    pub(super) fn machine(self) -> &'static str {
        match self {
            GuestArch::X86_64 => "q35",
            GuestArch::Aarch64 | GuestArch::Riscv64 => "virt",
        }
    }

    /// What Linux calls the first serial port.
    pub fn serial_port(self) -> &'static str {
        match self {
            GuestArch::X86_64 | GuestArch::Riscv64 => "ttyS0",
            GuestArch::Aarch64 => "ttyAMA0",
        }
    }

    /// The same for programs that firmware boots.
    pub fn of_programs(self) -> ProgramArch {
        match self {
            GuestArch::X86_64 => ProgramArch::X86_64,
            GuestArch::Aarch64 => ProgramArch::Aarch64,
            GuestArch::Riscv64 => ProgramArch::Riscv64,
        }
    }
}

impl fmt::Display for GuestArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_called_the_same_everywhere() {
        for arch in GuestArch::ALL {
            let value = arch.to_possible_value().expect("it is one");
            assert_eq!(value.get_name(), arch.name());
            assert!(arch.program().ends_with(arch.name()));
        }
    }
}
