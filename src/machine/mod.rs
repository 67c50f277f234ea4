//! The KVM machine.
//!
//! [`Machine::new`] assembles it, [`Machine::add_device`] puts devices on its bus, [`Machine::run`]
//! runs the guest to its end. The parts, in the order they are put together:
//!
//! * [`layout`]: the guest's physical address space;
//! * `cpuid`, `boot`: what a vCPU is and how it enters the kernel;
//! * `acpi`: the tables that describe the board to the guest;
//! * `interrupts`, `ports`, [`serial`]: the board itself;
//! * `vcpu`: a vCPU's thread; a device's is [`crate::worker`];
//! * [`output`], `control`, `kick`: how a run ends;
//! * `next_kernel`: whether another kernel starts while devices are live;
//! * `question`, `sysrq`: where the guest stands when its time is over;
//! * [`probe`]: whether this host's KVM can run stock kernels.

mod acpi;
mod boot;
pub(crate) mod control;
mod cpuid;
mod error;
pub(crate) mod event;
mod interrupts;
mod kick;
pub mod layout;
mod next_kernel;
pub mod output;
mod ports;
pub mod probe;
mod question;
mod run;
pub mod serial;
mod sysrq;
pub mod terminal;
mod vcpu;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use stickler_devices::interrupt::InterruptSink;
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::{PciBus, PciFunction, PciLayout};
use stickler_devices::virtio::Serviced;
use vm_memory::{GuestAddress, GuestMemoryMmap};

pub use boot::{command_line, command_line_on};
pub use control::StopHandle;
pub use error::Error;
pub use output::{OutputScanner, PanicNote};
pub use serial::SerialConfig;

use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::signals::EndingSignals;
use control::Control;
use interrupts::KvmInterrupts;
use layout::AddressMap;
use next_kernel::NextKernelWatch;
use ports::Ports;
use serial::SerialPort;

/// The most vCPUs a guest can have.
pub const MAX_CPUS: u8 = 16;

/// What machine to make, and what to boot on it.
pub struct Config {
    /// A bzImage or an ELF vmlinux.
    pub kernel: PathBuf,
    /// An initrd or initramfs.
    pub initrd: Option<PathBuf>,
    /// What to add to the kernel's command line, see [`command_line`].
    pub append: String,
    /// Bytes of guest memory, from [`layout::MIN_MEMORY`] on.
    pub memory_bytes: u64,
    /// vCPUs, from 1 to [`MAX_CPUS`].
    pub cpus: u8,
    /// How long the guest may run; `None` for no limit.
    pub timeout: Option<Duration>,
    /// What the serial port is connected to.
    pub serial: SerialConfig,
    /// Whether to use a KVM even if [`probe::try_guest`] says it cannot run stock kernels.
    pub trust_kvm: bool,
}

impl Config {
    /// The defaults: 256 MiB, one vCPU, no time limit, the serial port on standard input and output.
    pub fn new(kernel: impl Into<PathBuf>) -> Self {
        Config {
            kernel: kernel.into(),
            initrd: None,
            append: String::new(),
            memory_bytes: 256 << 20,
            cpus: 1,
            timeout: None,
            serial: SerialConfig::default(),
            trust_kvm: false,
        }
    }
}

/// A machine that is ready to run: the kernel is loaded.
pub struct Machine {
    // Dropped in this order: vCPUs before the machine, the machine before its memory.
    vcpus: Vec<VcpuFd>,
    vm: Arc<VmFd>,
    ram: GuestRam,
    interrupts: Arc<KvmInterrupts>,
    bus: Arc<PciBus>,
    devices: Vec<Arc<dyn Serviced>>,
    serial: SerialConfig,
    scanner: OutputScanner,
    control: Arc<Control>,
    timeout: Option<Duration>,
    journal: Journal,
}

impl Machine {
    /// Makes the machine and loads the kernel. Marks the guest sets go to `journal`.
    pub fn new(config: Config, journal: Journal) -> Result<Self, Error> {
        if !(1..=MAX_CPUS).contains(&config.cpus) {
            return Err(Error::Cpus {
                asked: config.cpus.into(),
                most: MAX_CPUS.into(),
            });
        }

        // KVM, if it can run stock kernels.
        let kvm = probe::open()?;
        probe::check_capabilities(&kvm)?;
        if !config.trust_kvm {
            probe::try_guest(&kvm)?;
        }
        let most = kvm.get_max_vcpus();
        if usize::from(config.cpus) > most {
            return Err(Error::Cpus {
                asked: config.cpus.into(),
                most: most as u32,
            });
        }
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(Error::kvm("ask which CPU features it supports"))?;

        // Memory, with the kernel and the ACPI tables in it.
        let map = AddressMap::new(config.memory_bytes, cpuid::physical_bits(&cpuid))?;
        let memory = allocate(&map)?;
        let rsdp = acpi::write(&memory, &map, config.cpus)?;
        let entry = boot::load(
            &memory,
            &map,
            &config.kernel,
            config.initrd.as_deref(),
            &config.append,
            rsdp,
        )?;
        boot::write_boot_structures(&memory, entry)?;

        // The virtual machine: interrupt controllers, timer, memory, vCPUs.
        let vm = create_vm(&kvm)?;
        probe::register(&vm, &memory).map_err(Error::kvm("give the guest its memory"))?;
        let vcpus = create_vcpus(&kvm, &vm, &cpuid, config.cpus)?;
        if let Some(first) = vcpus.first() {
            boot::set_boot_registers(first, entry)?;
        }

        // The board: PCI bus, and what is needed to find out how the run ends.
        let vm = Arc::new(vm);
        let bus = Arc::new(PciBus::new(PciLayout {
            ecam_base: layout::ECAM,
            mem32: layout::PCI_MEM32,
            mem64: map.mem64,
        }));
        let panic = PanicNote::default();
        Ok(Machine {
            vcpus,
            interrupts: Arc::new(KvmInterrupts::new(vm.clone())),
            vm,
            ram: GuestRam::new(memory),
            bus,
            devices: Vec::new(),
            serial: config.serial,
            scanner: OutputScanner::new(journal.clone(), panic.clone()),
            control: Arc::new(Control::new(panic)?),
            timeout: config.timeout,
            journal,
        })
    }

    /// The guest's memory.
    pub fn ram(&self) -> GuestRam {
        self.ram.clone()
    }

    /// The interrupt controllers, for devices.
    pub fn interrupts(&self) -> Arc<dyn InterruptSink> {
        self.interrupts.clone()
    }

    /// Puts a device into PCI slot `slot` (1 to 31) of bus 0, and has it served by a thread of its
    /// own while the guest runs.
    pub fn add_device(
        &mut self,
        slot: u8,
        function: Arc<dyn PciFunction>,
        device: Arc<dyn Serviced>,
    ) -> Result<(), Error> {
        self.bus
            .add(slot, function)
            .map_err(|why| Error::Slot { slot, why })?;
        self.devices.push(device);
        Ok(())
    }

    /// A scanner for the output of another console of this guest, such as the console device's
    /// port 0.
    pub fn output_scanner(&self) -> OutputScanner {
        self.scanner.of_another_console()
    }

    /// Ends the run from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.control.clone())
    }

    /// Runs the guest to its end, or until one of `signals` has come. When this returns, all threads have ended,
    /// except one that hangs.
    pub fn run(self, signals: &EndingSignals) -> Result<GuestEnd, Error> {
        let takes_input = matches!(self.serial, SerialConfig::Stdio | SerialConfig::StdinStderr);
        let vm = self.vm;
        let port = Arc::new(SerialPort::new(
            move |level| {
                // The line exists: KVM has been given its interrupt controllers.
                let _ = vm.set_irq_line(serial::IRQ, level);
            },
            self.serial,
            self.scanner,
            self.control.clone(),
        )?);
        let watch = NextKernelWatch::new(self.devices.clone(), self.journal.clone());
        let ports = Ports::new(port, self.bus, self.control.clone(), watch);
        run::to_the_end(run::Parts {
            vcpus: self.vcpus,
            ram: self.ram,
            devices: self.devices,
            ports,
            control: self.control,
            timeout: self.timeout,
            takes_input,
            journal: self.journal,
            signals,
        })
    }
}

fn allocate(map: &AddressMap) -> Result<GuestMemoryMmap, Error> {
    let no_memory = |why: String| Error::NoMemory {
        asked: map.low_ram + map.high_ram,
        why,
    };
    let ranges = map
        .ram()
        .into_iter()
        .map(|(start, len)| Ok((GuestAddress(start), usize::try_from(len)?)))
        .collect::<Result<Vec<_>, std::num::TryFromIntError>>()
        .map_err(|why| no_memory(why.to_string()))?;
    GuestMemoryMmap::from_ranges(&ranges).map_err(|why| no_memory(why.to_string()))
}

fn create_vm(kvm: &Kvm) -> Result<VmFd, Error> {
    let vm = kvm
        .create_vm()
        .map_err(Error::kvm("create a virtual machine"))?;
    vm.set_tss_address(layout::KVM_TSS)
        .map_err(Error::kvm("place the task state segment"))?;
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
        .map_err(Error::kvm("place the identity map"))?;
    vm.create_irq_chip()
        .map_err(Error::kvm("create interrupt controllers"))?;
    vm.create_pit2(kvm_pit_config {
        // The kernel answers port 0x61 too.
        flags: KVM_PIT_SPEAKER_DUMMY,
        ..Default::default()
    })
    .map_err(Error::kvm("create the interval timer"))?;
    Ok(vm)
}

fn create_vcpus(kvm: &Kvm, vm: &VmFd, cpuid: &CpuId, cpus: u8) -> Result<Vec<VcpuFd>, Error> {
    let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    (0..cpus)
        .map(|index| {
            let vcpu = vm
                .create_vcpu(index.into())
                .map_err(Error::kvm("create a vCPU"))?;
            vcpu.set_cpuid2(&cpuid::for_vcpu(cpuid, index, cpus, tsc_deadline)?)
                .map_err(Error::kvm("set a vCPU's CPUID"))?;
            boot::set_common_registers(&vcpu, index == 0)?;
            Ok(vcpu)
        })
        .collect()
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
