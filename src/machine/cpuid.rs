//! What CPUID tells the guest: what KVM supports, with each vCPU's place in the machine.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use super::Error;

/// Leaf 1, ECX: the local APIC's timer can be armed with a TSC value.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, ECX: there is a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: EBX tells how many logical processors the package has.
const HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001, ECX: HTT means cores, not threads.
const CMP_LEGACY: u32 = 1 << 1;

/// The CPUID of vCPU `index` of `cpus`: one package of single-threaded cores. `supported` is what
/// KVM offers, `tsc_deadline` whether its local APIC has that timer mode (which the former leaves
/// out).
pub(super) fn for_vcpu(
    supported: &CpuId,
    index: u8,
    cpus: u8,
    tsc_deadline: bool,
) -> Result<CpuId, Error> {
    let id = u32::from(index);
    let cores = u32::from(cpus);
    let core_bits = cores.next_power_of_two().trailing_zeros();

    let mut entries: Vec<kvm_cpuid_entry2> = supported
        .as_slice()
        .iter()
        // The topology leaves are rebuilt below; AMD's own would contradict them.
        .filter(|e| !matches!(e.function, 0xb | 0x1f | 0x8000_0026))
        .copied()
        .collect();

    for entry in &mut entries {
        match entry.function {
            0x1 => {
                entry.ebx &= 0x0000_ffff;
                entry.ebx |= id << 24 | cores.next_power_of_two() << 16;
                entry.ecx |= HYPERVISOR;
                set(&mut entry.ecx, TSC_DEADLINE, tsc_deadline);
                set(&mut entry.edx, HTT, cores > 1);
            }
            // Caches, Intel's and AMD's leaf: the third level is shared, the others are not.
            0x4 | 0x8000_001d => {
                let level = entry.eax >> 5 & 7;
                let sharing = if level >= 3 { cores - 1 } else { 0 };
                entry.eax = entry.eax & !(0xfff << 14) | sharing << 14;
                if entry.function == 0x4 && entry.eax & 0x1f != 0 {
                    entry.eax =
                        entry.eax & 0x03ff_ffff | (cores.next_power_of_two() - 1).min(63) << 26;
                }
            }
            0x8000_0001 => set(&mut entry.ecx, CMP_LEGACY, cores > 1),
            0x8000_0008 => {
                entry.ecx &= !0xf0ff;
                entry.ecx |= core_bits << 12 | (cores - 1);
            }
            0x8000_001e => {
                entry.eax = id;
                entry.ebx = id;
                entry.ecx = 0;
            }
            _ => {}
        }
    }

    // Extended topology: threads (one per core), then cores.
    let levels = [(0, 1, 1 << 8), (core_bits, cores, 2 << 8 | 1), (0, 0, 2)];
    for (number, (shift, processors, kind)) in (0..).zip(levels) {
        entries.push(kvm_cpuid_entry2 {
            function: 0xb,
            index: number,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: processors,
            ecx: kind,
            edx: id,
            ..Default::default()
        });
    }
    if let Some(base) = entries.iter_mut().find(|e| e.function == 0) {
        base.eax = base.eax.max(0xb);
    }

    CpuId::from_entries(&entries).map_err(|_| Error::Kvm {
        what: "describe the CPU to the guest",
        why: vmm_sys_util::errno::Error::new(libc::E2BIG),
    })
}

/// The width of guest-physical addresses, bits.
pub(super) fn physical_bits(supported: &CpuId) -> u8 {
    supported
        .as_slice()
        .iter()
        .find(|e| e.function == 0x8000_0008)
        .map_or(36, |e| (e.eax & 0xff) as u8)
}

fn set(register: &mut u32, bit: u32, on: bool) {
    if on {
        *register |= bit;
    } else {
        *register &= !bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supported() -> CpuId {
        let entry = |function, eax, ebx, ecx, edx| kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        };
        CpuId::from_entries(&[
            entry(0, 0xd, 0, 0, 0),
            entry(1, 0, 0xab12_0800, 0x1, HTT),
            entry(0xb, 9, 9, 9, 9),
            entry(0x4000_0001, 0x0100_7efb, 0, 0, 0),
            entry(0x8000_0008, 0x3028, 0, 0x7fff, 0),
            entry(0x8000_001e, 77, 77, 77, 0),
        ])
        .unwrap()
    }

    fn leaf(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        *cpuid
            .as_slice()
            .iter()
            .find(|e| e.function == function && e.index == index)
            .unwrap()
    }

    #[test]
    fn each_vcpu_has_its_own_apic_id() {
        let cpuid = for_vcpu(&supported(), 3, 6, true).unwrap();
        let one = leaf(&cpuid, 1, 0);
        assert_eq!(one.ebx, 0x0308_0800);
        assert_eq!(one.ecx, 1 | HYPERVISOR | TSC_DEADLINE);
        assert_eq!(one.edx, HTT);
        assert_eq!(leaf(&cpuid, 0xb, 0).edx, 3);
        assert_eq!(leaf(&cpuid, 0xb, 1).eax, 3);
        assert_eq!(leaf(&cpuid, 0xb, 1).ebx, 6);
        assert_eq!(leaf(&cpuid, 0x8000_0008, 0).ecx, 0x3f05);
        assert_eq!(leaf(&cpuid, 0x8000_001e, 0).eax, 3);
    }

    #[test]
    fn a_single_vcpu_has_no_siblings_and_kvm_leaves_stay() {
        let cpuid = for_vcpu(&supported(), 0, 1, false).unwrap();
        assert_eq!(leaf(&cpuid, 1, 0).edx, 0);
        assert_eq!(leaf(&cpuid, 1, 0).ecx & TSC_DEADLINE, 0);
        assert_eq!(leaf(&cpuid, 0xb, 1).eax, 0);
        assert_eq!(leaf(&cpuid, 0x4000_0001, 0).eax, 0x0100_7efb);
        assert_eq!(
            cpuid
                .as_slice()
                .iter()
                .filter(|e| e.function == 0xb)
                .count(),
            3
        );
    }

    #[test]
    fn physical_address_width_is_read() {
        assert_eq!(physical_bits(&supported()), 0x28);
        assert_eq!(physical_bits(&CpuId::from_entries(&[]).unwrap()), 36);
    }
}
