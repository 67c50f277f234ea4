//! The registers a vCPU starts with.

use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Entry;
use crate::machine::{Error, layout};

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// The selectors both boot protocols allow; Linux's 64-bit one demands these.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// Descriptor attributes as they stand in a descriptor: access byte, then granularity and size in
/// bits 12 to 15.
const CODE_64: u16 = 0xa09b;
const CODE_32: u16 = 0xc09b;
const DATA_32: u16 = 0xc093;
const TASK_32: u16 = 0x008b;

/// Writes the descriptor table and the page tables the entry needs.
pub(in crate::machine) fn write_boot_structures(
    memory: &GuestMemoryMmap,
    entry: Entry,
) -> Result<(), Error> {
    let code = match entry {
        Entry::Linux64 { .. } => CODE_64,
        Entry::Pvh { .. } => CODE_32,
    };
    let table = [
        0,
        0,
        descriptor(code, 0xf_ffff),
        descriptor(DATA_32, 0xf_ffff),
        descriptor(TASK_32, 0x67),
    ];
    write_words(memory, layout::GDT, &table)?;
    if let Entry::Linux64 { .. } = entry {
        write_identity_map(memory)?;
    }
    Ok(())
}

/// Maps the first 4 GiB to themselves with 2 MiB pages.
fn write_identity_map(memory: &GuestMemoryMmap) -> Result<(), Error> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    const PAGE: u64 = 4096;
    let pointers = layout::PAGE_TABLES + PAGE;
    let directories = pointers + PAGE;
    write_words(memory, layout::PAGE_TABLES, &[pointers | PRESENT_WRITABLE])?;
    for gib in 0..4 {
        let directory = directories + gib * PAGE;
        write_words(memory, pointers + gib * 8, &[directory | PRESENT_WRITABLE])?;
        let pages: Vec<u64> = (0..512)
            .map(|page| (gib << 30) | (page << 21) | PRESENT_WRITABLE | LARGE)
            .collect();
        write_words(memory, directory, &pages)?;
    }
    Ok(())
}

fn write_words(memory: &GuestMemoryMmap, address: u64, words: &[u64]) -> Result<(), Error> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    memory
        .write_slice(&bytes, GuestAddress(address))
        .map_err(|_| Error::GuestMemory {
            what: "boot structures",
            address,
        })
}

/// A segment descriptor with base 0.
fn descriptor(attributes: u16, limit: u64) -> u64 {
    let attributes = u64::from(attributes);
    (limit & 0xffff)
        | (attributes & 0xff) << 40
        | (limit >> 16 & 0xf) << 48
        | (attributes >> 12) << 52
}

/// The same, as KVM wants it.
fn segment(selector: u16, attributes: u16, limit: u32) -> kvm_segment {
    let bit = |n: u16| (attributes >> n & 1) as u8;
    let granular = bit(15) == 1;
    kvm_segment {
        base: 0,
        limit: if granular { limit << 12 | 0xfff } else { limit },
        selector,
        type_: (attributes & 0xf) as u8,
        s: bit(4),
        dpl: (attributes >> 5 & 3) as u8,
        present: bit(7),
        avl: bit(12),
        l: bit(13),
        db: bit(14),
        g: bit(15),
        ..Default::default()
    }
}

/// Sets the registers with which the first vCPU enters the kernel.
pub(in crate::machine) fn set_boot_registers(vcpu: &VcpuFd, entry: Entry) -> Result<(), Error> {
    let (rip, rsi, rbx) = match entry {
        Entry::Linux64 { rip } => (rip, layout::BOOT_PARAMS, 0),
        Entry::Pvh { rip } => (rip, 0, layout::PVH_START_INFO),
    };
    let regs = kvm_regs {
        rip,
        rsi,
        rbx,
        rsp: layout::BOOT_STACK,
        rbp: layout::BOOT_STACK,
        // Bit 1 is always set; interrupts are off.
        rflags: 2,
        ..Default::default()
    };
    vcpu.set_regs(&regs)
        .map_err(Error::kvm("set the boot vCPU's registers"))?;

    let mut sregs = vcpu
        .get_sregs()
        .map_err(Error::kvm("read the boot vCPU's system registers"))?;
    set_mode(&mut sregs, entry);
    vcpu.set_sregs(&sregs)
        .map_err(Error::kvm("set the boot vCPU's system registers"))
}

fn set_mode(sregs: &mut kvm_sregs, entry: Entry) {
    let data = segment(DATA, DATA_32, 0xf_ffff);
    let code = match entry {
        Entry::Linux64 { .. } => CODE_64,
        Entry::Pvh { .. } => CODE_32,
    };
    sregs.cs = segment(CODE, code, 0xf_ffff);
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.tr = segment(TASK, TASK_32, 0x67);
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = 5 * 8 - 1;
    // No interrupt descriptors: an exception before the kernel has set its own ends in a triple
    // fault.
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    match entry {
        Entry::Linux64 { .. } => {
            sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
            sregs.cr3 = layout::PAGE_TABLES;
            sregs.cr4 = CR4_PAE;
            sregs.efer = EFER_LME | EFER_LMA;
        }
        Entry::Pvh { .. } => {
            sregs.cr0 = CR0_PE | CR0_ET;
            sregs.cr3 = 0;
            sregs.cr4 = 0;
            sregs.efer = 0;
        }
    }
}

/// Sets what every vCPU has from its firmware: FPU, memory types, local APIC pins.
pub(in crate::machine) fn set_common_registers(vcpu: &VcpuFd, first: bool) -> Result<(), Error> {
    const MISC_ENABLE: u32 = 0x1a0;
    const FAST_STRING: u64 = 1;
    const MTRR_DEF_TYPE: u32 = 0x2ff;
    /// Enabled, write-back.
    const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;

    let fpu = kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    };
    vcpu.set_fpu(&fpu).map_err(Error::kvm("set a vCPU's FPU"))?;

    // One at a time: a model-specific register that this CPU lacks does not matter.
    for (index, data) in [(MISC_ENABLE, FAST_STRING), (MTRR_DEF_TYPE, MTRR_WRITE_BACK)] {
        let entry = kvm_msr_entry {
            index,
            data,
            ..Default::default()
        };
        if let Ok(msrs) = Msrs::from_entries(&[entry]) {
            vcpu.set_msrs(&msrs)
                .map_err(Error::kvm("set a vCPU's model-specific registers"))?;
        }
    }
    set_local_apic_pins(vcpu, first)
}

/// LINT0 takes interrupts of the legacy controller (on the first vCPU), LINT1 is NMI, as firmware
/// leaves them and the MADT tells.
fn set_local_apic_pins(vcpu: &VcpuFd, first: bool) -> Result<(), Error> {
    const LVT_LINT0: usize = 0x350;
    const LVT_LINT1: usize = 0x360;
    const EXT_INT: u32 = 7 << 8;
    const NMI: u32 = 4 << 8;
    let mut apic = vcpu
        .get_lapic()
        .map_err(Error::kvm("read a vCPU's local APIC"))?;
    let mut set = |offset: usize, value: u32| {
        for (register, byte) in apic.regs[offset..].iter_mut().zip(value.to_le_bytes()) {
            *register = byte as _;
        }
    };
    if first {
        set(LVT_LINT0, EXT_INT);
    }
    set(LVT_LINT1, NMI);
    vcpu.set_lapic(&apic)
        .map_err(Error::kvm("set a vCPU's local APIC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_flat() {
        // The values of Linux's boot protocol document: flat 4 GiB code and data.
        assert_eq!(descriptor(CODE_32, 0xf_ffff), 0x00cf_9b00_0000_ffff);
        assert_eq!(descriptor(CODE_64, 0xf_ffff), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(DATA_32, 0xf_ffff), 0x00cf_9300_0000_ffff);
        assert_eq!(descriptor(TASK_32, 0x67), 0x0000_8b00_0000_0067);
        let code = segment(CODE, CODE_64, 0xf_ffff);
        assert_eq!(
            (code.limit, code.type_, code.l, code.db),
            (0xffff_ffff, 0xb, 1, 0)
        );
        assert_eq!((code.present, code.s, code.g), (1, 1, 1));
    }

    #[test]
    fn pvh_starts_without_paging_and_linux_with() {
        let mut sregs = kvm_sregs::default();
        set_mode(&mut sregs, Entry::Pvh { rip: 0 });
        assert_eq!(sregs.cr0 & CR0_PG, 0);
        assert_eq!((sregs.cs.l, sregs.cs.db), (0, 1));
        set_mode(&mut sregs, Entry::Linux64 { rip: 0 });
        assert_eq!(sregs.cr0 & CR0_PG, CR0_PG);
        assert_eq!(sregs.efer, EFER_LME | EFER_LMA);
    }

    #[test]
    fn identity_map_maps_the_last_page_to_itself() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        write_boot_structures(&memory, Entry::Linux64 { rip: 0 }).unwrap();
        let word = |address: u64| memory.read_obj::<u64>(GuestAddress(address)).unwrap();
        let table = |entry: u64| entry & !0xfff;
        let pointers = table(word(layout::PAGE_TABLES));
        let directory = table(word(pointers + 3 * 8));
        assert_eq!(word(directory + 511 * 8), 0xffe0_0083);
        assert!(directory + 4096 <= layout::COMMAND_LINE);
    }
}
