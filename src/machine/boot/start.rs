//! What a kernel receives at its entry: Linux's boot parameters, or PVH's start info.

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::initrd::Initrd;
use super::kernel::Kernel;
use crate::machine::Error;
use crate::machine::layout::{self, AddressMap};

/// `type_of_loader`: a boot loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xff;

/// Writes the boot parameters ("zero page") of Linux's 64-bit boot protocol.
pub(super) fn write_boot_params(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    kernel: &Kernel,
    initrd: Option<Initrd>,
    command_line: &str,
    rsdp: u64,
) -> Result<(), Error> {
    let mut params = boot_params {
        // An ELF kernel comes without a setup header: it gets what it checks of one.
        hdr: kernel.setup.unwrap_or(setup_header {
            boot_flag: 0xaa55,
            header: u32::from_le_bytes(*b"HdrS"),
            kernel_alignment: 0x0100_0000,
            ..Default::default()
        }),
        acpi_rsdp_addr: rsdp,
        ..Default::default()
    };
    params.hdr.type_of_loader = UNDEFINED_LOADER;
    params.hdr.cmd_line_ptr = layout::COMMAND_LINE as u32;
    // Of what the kernel takes, so much is used.
    params.hdr.cmdline_size = command_line.len() as u32 + 1;
    if let Some(initrd) = initrd {
        params.hdr.ramdisk_image = initrd.start as u32;
        params.hdr.ramdisk_size = initrd.len as u32;
    }
    let areas = map.areas();
    params.e820_entries = areas.len() as u8;
    for (entry, area) in params.e820_table.iter_mut().zip(&areas) {
        *entry = boot_e820_entry {
            addr: area.start,
            size: area.len,
            r#type: area.kind as u32,
        };
    }
    let at = GuestAddress(layout::BOOT_PARAMS);
    LinuxBootConfigurator::write_bootparams(&BootParams::new(&params, at), memory)
        .map_err(|_| unwritable("the boot parameters", at))
}

/// Writes PVH's start info, with the memory map and the initrd as its one module.
pub(super) fn write_pvh_start_info(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    initrd: Option<Initrd>,
    rsdp: u64,
) -> Result<(), Error> {
    const MODULES: u64 = layout::PVH_START_INFO + 0x100;
    const MEMORY_MAP: u64 = layout::PVH_START_INFO + 0x200;

    let areas: Vec<hvm_memmap_table_entry> = map
        .areas()
        .iter()
        .map(|area| hvm_memmap_table_entry {
            addr: area.start,
            size: area.len,
            type_: area.kind as u32,
            reserved: 0,
        })
        .collect();
    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: u32::from(initrd.is_some()),
        modlist_paddr: if initrd.is_some() { MODULES } else { 0 },
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: rsdp,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: areas.len() as u32,
        ..Default::default()
    };
    let at = GuestAddress(layout::PVH_START_INFO);
    let mut params = BootParams::new(&info, at);
    params.set_sections(&areas, GuestAddress(MEMORY_MAP));
    if let Some(initrd) = initrd {
        let module = hvm_modlist_entry {
            paddr: initrd.start,
            size: initrd.len,
            ..Default::default()
        };
        params.set_modules(&[module], GuestAddress(MODULES));
    }
    PvhBootConfigurator::write_bootparams(&params, memory)
        .map_err(|_| unwritable("the PVH start info", at))
}

fn unwritable(what: &'static str, at: GuestAddress) -> Error {
    Error::GuestMemory {
        what,
        address: at.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::boot::Entry;
    use vm_memory::Bytes;

    fn memory() -> (GuestMemoryMmap, AddressMap) {
        let map = AddressMap::new(64 << 20, 40).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)]).unwrap();
        (memory, map)
    }

    const INITRD: Initrd = Initrd {
        start: 0x300_0000,
        len: 0x1234,
    };

    #[test]
    fn boot_params_tell_of_everything() {
        let (memory, map) = memory();
        let kernel = Kernel {
            entry: Entry::Linux64 { rip: 0 },
            setup: None,
            end: 0,
            initrd_max: 0,
            command_line_limit: 0,
        };
        write_boot_params(&memory, &map, &kernel, Some(INITRD), "quiet", 0xe_0000).unwrap();
        let at = |offset| GuestAddress(layout::BOOT_PARAMS + offset);
        let dword = |offset| memory.read_obj::<u32>(at(offset)).unwrap();
        assert_eq!(memory.read_obj::<u64>(at(0x70)).unwrap(), 0xe_0000);
        assert_eq!(memory.read_obj::<u8>(at(0x1e8)).unwrap(), 6);
        assert_eq!(dword(0x202), u32::from_le_bytes(*b"HdrS"));
        assert_eq!(dword(0x218), 0x300_0000);
        assert_eq!(dword(0x21c), 0x1234);
        assert_eq!(dword(0x228), layout::COMMAND_LINE as u32);
        // The first line of the memory map: conventional memory.
        assert_eq!(memory.read_obj::<u64>(at(0x2d0)).unwrap(), 0);
        assert_eq!(
            memory.read_obj::<u64>(at(0x2d8)).unwrap(),
            layout::CONVENTIONAL_END
        );
        assert_eq!(dword(0x2e0), 1);
    }

    #[test]
    fn start_info_refers_to_map_and_module() {
        let (memory, map) = memory();
        write_pvh_start_info(&memory, &map, Some(INITRD), 0xe_0000).unwrap();
        let at = |offset| GuestAddress(layout::PVH_START_INFO + offset);
        let qword = |offset| memory.read_obj::<u64>(at(offset)).unwrap();
        assert_eq!(memory.read_obj::<u32>(at(0)).unwrap(), 0x336e_c578);
        assert_eq!(memory.read_obj::<u32>(at(12)).unwrap(), 1);
        assert_eq!(qword(16), layout::PVH_START_INFO + 0x100);
        assert_eq!(qword(24), layout::COMMAND_LINE);
        assert_eq!(qword(32), 0xe_0000);
        assert_eq!(qword(0x100), INITRD.start);
        assert_eq!(qword(0x108), INITRD.len);
        assert_eq!(memory.read_obj::<u32>(at(48)).unwrap(), 6);
        assert_eq!(qword(0x208), layout::CONVENTIONAL_END);
    }

    #[test]
    fn without_initrd_there_is_no_module() {
        let (memory, map) = memory();
        write_pvh_start_info(&memory, &map, None, 0).unwrap();
        let modules: u32 = memory
            .read_obj(GuestAddress(layout::PVH_START_INFO + 12))
            .unwrap();
        assert_eq!(modules, 0);
    }
}
