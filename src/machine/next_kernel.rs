//! Whether another kernel starts while devices are live: kexec without a reset of the devices.
//!
//! A kernel asks each BAR how large it is, by writing all ones to it, when it looks for devices, which is before any
//! driver of it touches one. No driver does so while it uses its device. A device that is live when this comes was
//! therefore left live by the kernel before: it still writes to memory that is no longer its driver's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stickler_devices::virtio::Serviced;

use super::layout;
use crate::journal::{Journal, NextKernel};

/// CONFIG_ADDRESS of PCI configuration mechanism #1, and the first and the last port of CONFIG_DATA.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_DATA_LAST: u16 = 0xcff;

/// In CONFIG_ADDRESS: the access goes to the bus.
const ENABLE: u32 = 1 << 31;

/// The BARs of a function, in its configuration space.
const FIRST_BAR: u16 = 0x10;
const LAST_BAR: u16 = 0x24;

/// Bytes of configuration space of a function in the ECAM.
const FUNCTION: u64 = 1 << 12;
const FUNCTIONS: u64 = 8;

/// A kernel does not ask for the size of all BARs again so soon.
const ONE_KERNEL: Duration = Duration::from_secs(5);

/// Watches what the guest writes to the configuration space of its devices.
pub(super) struct NextKernelWatch {
    address: AtomicU32,
    devices: Vec<Arc<dyn Serviced>>,
    journal: Journal,
    last: Mutex<Option<Duration>>,
}

impl NextKernelWatch {
    pub(super) fn new(devices: Vec<Arc<dyn Serviced>>, journal: Journal) -> Self {
        NextKernelWatch {
            address: AtomicU32::new(0),
            devices,
            journal,
            last: Mutex::new(None),
        }
    }

    /// The guest writes `data` to `port`, before the write is done.
    pub(super) fn port_write(&self, port: u16, data: &[u8]) {
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else {
            return;
        };
        match port {
            CONFIG_ADDRESS => self.address.store(value, Ordering::Relaxed),
            CONFIG_DATA..=CONFIG_DATA_LAST => {
                let address = self.address.load(Ordering::Relaxed);
                // Bus 0 and function 0; each device is the only function in its slot.
                if address & (ENABLE | 0x00ff_0700) == ENABLE {
                    let register = (address & 0xfc) as u16 + (port - CONFIG_DATA);
                    self.config_write((address >> 11 & 31) as u8, register, value);
                }
            }
            _ => {}
        }
    }

    /// The guest writes `data` to the address `gpa`, before the write is done.
    pub(super) fn memory_write(&self, gpa: u64, data: &[u8]) {
        if !(layout::ECAM..layout::ECAM + layout::ECAM_LEN).contains(&gpa) {
            return;
        }
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else {
            return;
        };
        let offset = gpa - layout::ECAM;
        let (function, register) = (offset / FUNCTION, (offset % FUNCTION) as u16);
        if function % FUNCTIONS == 0 {
            self.config_write((function / FUNCTIONS) as u8, register, value);
        }
    }

    fn config_write(&self, slot: u8, register: u16, value: u32) {
        let asks_for_size = value == u32::MAX
            && (FIRST_BAR..=LAST_BAR).contains(&register)
            && register.is_multiple_of(4);
        let is_live = |device: &&Arc<dyn Serviced>| device.is_live();
        if !asks_for_size
            || !self
                .devices
                .iter()
                .filter(is_live)
                .any(|device| device.id().slot == slot)
        {
            return;
        }
        let now = self.journal.elapsed();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_sub(last) < ONE_KERNEL) {
            return;
        }
        *last = Some(now);
        let live = self.devices.iter().filter(is_live);
        self.journal.next_kernel(NextKernel {
            live: live.map(|device| device.id()).collect(),
            slot,
            bar: ((register - FIRST_BAR) / 4) as u8,
            time_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;
    use std::sync::atomic::AtomicBool;

    use stickler_conformance::{DeviceId, DeviceKind, Tallies};
    use stickler_devices::memory::GuestRam;
    use stickler_devices::virtio::{Progress, Wake};

    use super::*;

    /// A device of which only its life matters.
    struct Life(DeviceId, AtomicBool);

    impl Serviced for Life {
        fn id(&self) -> DeviceId {
            self.0
        }
        fn kick_fd(&self) -> RawFd {
            -1
        }
        fn host_fds(&self) -> Vec<RawFd> {
            Vec::new()
        }
        fn service(&self, _: Wake) -> Progress {
            Progress::Done
        }
        fn memory_changed(&self, _: GuestRam) {}
        fn run_ended(&self, _: bool) {}
        fn is_live(&self) -> bool {
            self.1.load(Ordering::Relaxed)
        }
        fn was_taken(&self) -> bool {
            true
        }
        fn tallies(&self) -> Option<Tallies> {
            None
        }
    }

    fn rig() -> (NextKernelWatch, Journal, Vec<Arc<Life>>) {
        let lives: Vec<Arc<Life>> = [(1, DeviceKind::Net), (2, DeviceKind::Block)]
            .into_iter()
            .map(|(slot, kind)| Arc::new(Life(DeviceId { slot, kind }, AtomicBool::new(false))))
            .collect();
        let devices = lives.iter().map(|life| life.clone() as Arc<dyn Serviced>);
        let journal = Journal::new();
        let watch = NextKernelWatch::new(devices.collect(), journal.clone());
        (watch, journal, lives)
    }

    fn port(watch: &NextKernelWatch, slot: u32, register: u32, value: u32) {
        let address = ENABLE | slot << 11 | register;
        watch.port_write(CONFIG_ADDRESS, &address.to_le_bytes());
        watch.port_write(CONFIG_DATA, &value.to_le_bytes());
    }

    #[test]
    fn a_kernel_that_finds_live_devices_is_noted_once_with_all_of_them() {
        let (watch, journal, lives) = rig();
        for slot in 1..=2 {
            port(&watch, slot, 0x10, u32::MAX);
        }
        assert_eq!(journal.next_kernels(), []);
        for life in &lives {
            life.1.store(true, Ordering::Relaxed);
        }
        // What drivers and kernels write otherwise: a BAR's address, the command register, another bus.
        port(&watch, 1, 0x10, 0xfe00_0000);
        port(&watch, 1, 0x04, u32::MAX);
        port(&watch, 1, 0x30, u32::MAX);
        port(&watch, 1 << 5 | 1, 0x10, u32::MAX);
        port(&watch, 3, 0x10, u32::MAX);
        watch.port_write(CONFIG_DATA, &[0xff; 2]);
        assert_eq!(journal.next_kernels(), []);
        for slot in 1..=2 {
            for register in [0x10, 0x14] {
                port(&watch, slot, register, u32::MAX);
            }
        }
        let seen = journal.next_kernels();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].slot, seen[0].bar), (1, 0));
        assert_eq!(
            seen[0].live,
            lives.iter().map(|life| life.0).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_memory_mapped_configuration_space_is_watched_too() {
        let (watch, journal, lives) = rig();
        lives[1].1.store(true, Ordering::Relaxed);
        watch.memory_write(layout::ECAM - 4, &[0xff; 4]);
        watch.memory_write(layout::ECAM + (1 << 15) + 0x14, &[0xff; 4]);
        watch.memory_write(layout::ECAM + (2 << 15) + (1 << 12) + 0x14, &[0xff; 4]);
        assert_eq!(journal.next_kernels(), []);
        watch.memory_write(layout::ECAM + (2 << 15) + 0x14, &[0xff; 4]);
        let seen = journal.next_kernels();
        assert_eq!((seen[0].slot, seen[0].bar, seen[0].live.len()), (2, 1, 1));
    }
}
