//! Getting a kernel into memory and a vCPU to its entry.

mod command_line;
mod initrd;
mod kernel;
mod registers;
mod start;

use std::path::Path;

use vm_memory::GuestMemoryMmap;

use super::Error;
use super::layout::AddressMap;

pub use command_line::{command_line, command_line_on};
pub(super) use registers::{set_boot_registers, set_common_registers, write_boot_structures};

/// Where and how the first vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Linux's 64-bit boot protocol: long mode, RSI points to the boot parameters.
    Linux64 {
        /// Guest-physical address of the entry.
        rip: u64,
    },
    /// PVH: 32-bit protected mode without paging, EBX points to the start info.
    Pvh {
        /// Guest-physical address of the entry.
        rip: u64,
    },
}

/// Loads kernel, initrd and command line, and writes the structures that describe them to the kernel.
/// `append` is what the user adds to the command line; `rsdp` is where the ACPI tables begin.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    kernel: &Path,
    initrd: Option<&Path>,
    append: &str,
    rsdp: u64,
) -> Result<Entry, Error> {
    let kernel = kernel::load(memory, map, kernel)?;
    let initrd = initrd
        .map(|path| initrd::load(memory, map, &kernel, path))
        .transpose()?;
    let command_line = command_line(append, kernel.command_line_limit)?;
    command_line::write(memory, &command_line)?;
    match kernel.entry {
        Entry::Linux64 { .. } => {
            start::write_boot_params(memory, map, &kernel, initrd, &command_line, rsdp)?;
        }
        Entry::Pvh { .. } => start::write_pvh_start_info(memory, map, initrd, rsdp)?,
    }
    Ok(kernel.entry)
}
