//! The I/O ports of the board: serial port, reset lines, ACPI's fixed hardware, PCI configuration
//! mechanism #1.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use stickler_devices::pci::PciBus;

use super::acpi::fixed;
use super::control::Control;
use super::next_kernel::NextKernelWatch;
use super::serial::{self, SerialPort};
use crate::end::GuestEnd;

/// The keyboard controller's ports. Only its reset line exists.
const KEYBOARD_DATA: u16 = 0x60;
const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_PULSE_RESET: u8 = 0xfe;

/// CONFIG_ADDRESS and CONFIG_DATA of PCI configuration mechanism #1. The reset register is the byte
/// at the second of these ports.
const PCI_FIRST: u16 = 0xcf8;
const PCI_LAST: u16 = 0xcff;

/// Everything that is reached by IN and OUT.
pub(super) struct Ports {
    pub(super) serial: Arc<SerialPort>,
    pub(super) bus: Arc<PciBus>,
    control: Arc<Control>,
    watch: NextKernelWatch,
    /// PM1 enable: remembered, and nothing comes of it, as there are no fixed events.
    pm1_enable: [AtomicU8; 2],
    /// The reset register but for the bit that resets.
    reset: AtomicU8,
}

impl Ports {
    pub(super) fn new(
        serial: Arc<SerialPort>,
        bus: Arc<PciBus>,
        control: Arc<Control>,
        watch: NextKernelWatch,
    ) -> Self {
        Ports {
            serial,
            bus,
            control,
            watch,
            pm1_enable: Default::default(),
            reset: AtomicU8::new(0),
        }
    }

    /// IN of 1, 2 or 4 bytes.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) {
        if is_pci(port, data.len()) {
            if !self.bus.pio_read(port, data) {
                data.fill(0xff);
            }
            return;
        }
        if port >= FIRST_FREE_PORT && self.bus.pio_read(port, data) {
            return;
        }
        for (offset, byte) in (0..).zip(data) {
            *byte = self.read_byte(port.wrapping_add(offset));
        }
    }

    /// A write to an address that is no memory.
    pub(super) fn memory_write(&self, address: u64, data: &[u8]) {
        self.watch.memory_write(address, data);
        self.bus.mmio_write(address, data);
    }

    /// OUT of 1, 2 or 4 bytes.
    pub(super) fn write(&self, port: u16, data: &[u8]) {
        if is_pci(port, data.len()) {
            self.watch.port_write(port, data);
            self.bus.pio_write(port, data);
            return;
        }
        if port >= FIRST_FREE_PORT && self.bus.pio_write(port, data) {
            return;
        }
        for (offset, byte) in (0..).zip(data) {
            self.write_byte(port.wrapping_add(offset), *byte);
        }
    }

    fn read_byte(&self, port: u16) -> u8 {
        const SERIAL_LAST: u16 = serial::PORT + 7;
        const EVENT_STATUS_LAST: u16 = fixed::PM1_EVENT + 1;
        const EVENT_ENABLE: u16 = fixed::PM1_EVENT + 2;
        const EVENT_ENABLE_LAST: u16 = fixed::PM1_EVENT + 3;
        const CONTROL_LAST: u16 = fixed::PM1_CONTROL + 1;
        /// SCI_EN: ACPI mode is on and cannot be switched off.
        const SCI_ENABLED: u8 = 1;
        match port {
            serial::PORT..=SERIAL_LAST => self.serial.read((port - serial::PORT) as u8),
            // Nothing to read, and always ready for a command.
            KEYBOARD_DATA | KEYBOARD_COMMAND => 0,
            fixed::PM1_EVENT..=EVENT_STATUS_LAST => 0,
            EVENT_ENABLE..=EVENT_ENABLE_LAST => {
                self.pm1_enable[usize::from(port - EVENT_ENABLE)].load(Ordering::Relaxed)
            }
            fixed::PM1_CONTROL => SCI_ENABLED,
            CONTROL_LAST => 0,
            fixed::RESET => self.reset.load(Ordering::Relaxed),
            _ => 0xff,
        }
    }

    fn write_byte(&self, port: u16, value: u8) {
        const SERIAL_LAST: u16 = serial::PORT + 7;
        const EVENT_ENABLE: u16 = fixed::PM1_EVENT + 2;
        const EVENT_ENABLE_LAST: u16 = fixed::PM1_EVENT + 3;
        const CONTROL_LAST: u16 = fixed::PM1_CONTROL + 1;
        /// SLP_EN and SLP_TYP, as they stand in the upper byte of PM1 control.
        const SLEEP_ENABLE: u8 = 1 << 5;
        const RESET_CPU: u8 = 1 << 2;
        match port {
            serial::PORT..=SERIAL_LAST => self.serial.write((port - serial::PORT) as u8, value),
            KEYBOARD_COMMAND if value == KEYBOARD_PULSE_RESET => self.control.end(GuestEnd::Reset),
            EVENT_ENABLE..=EVENT_ENABLE_LAST => {
                self.pm1_enable[usize::from(port - EVENT_ENABLE)].store(value, Ordering::Relaxed);
            }
            CONTROL_LAST
                if value & SLEEP_ENABLE != 0 && value >> 2 & 7 == fixed::SLEEP_TYPE_OFF =>
            {
                self.control.end(GuestEnd::PowerOff);
            }
            fixed::RESET => {
                self.reset.store(value & !RESET_CPU, Ordering::Relaxed);
                if value & RESET_CPU != 0 {
                    self.control.end(GuestEnd::Reset);
                }
            }
            _ => {}
        }
    }
}

/// From here on the machine has no ports of its own: what is there are I/O BARs.
const FIRST_FREE_PORT: u16 = 0x1000;

/// Whether an access belongs to PCI configuration mechanism #1.
fn is_pci(port: u16, len: usize) -> bool {
    (PCI_FIRST..=PCI_LAST).contains(&port) && !(port == fixed::RESET && len == 1)
}
