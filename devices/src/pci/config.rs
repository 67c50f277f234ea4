//! A function's configuration space: type 0 header, BARs, capability list, as the PCI specification
//! has them (§4.1.1 of virtio 1.0).
//!
//! Every byte has a mask of the bits software may write; what is beyond that (power states, status
//! that is computed) has a method.

use super::{Decoded, IO_SPACE};

/// BAR registers in a type 0 header.
pub const BAR_COUNT: usize = 6;

/// Offsets of the registers of a type 0 header that are named here.
pub mod register {
    #![allow(missing_docs, reason = "the names are those of the PCI specification")]
    pub const VENDOR: usize = 0x00;
    pub const DEVICE: usize = 0x02;
    pub const COMMAND: usize = 0x04;
    pub const STATUS: usize = 0x06;
    pub const REVISION: usize = 0x08;
    pub const CLASS: usize = 0x09;
    pub const CACHE_LINE_SIZE: usize = 0x0c;
    pub const BARS: usize = 0x10;
    pub const SUBSYSTEM_VENDOR: usize = 0x2c;
    pub const SUBSYSTEM: usize = 0x2e;
    pub const CAPABILITIES_POINTER: usize = 0x34;
    pub const INTERRUPT_LINE: usize = 0x3c;
    pub const INTERRUPT_PIN: usize = 0x3d;
    /// Where the capabilities start.
    pub const CAPABILITIES: usize = 0x40;
    /// End of the conventional configuration space.
    pub const END: usize = 0x100;
}

/// Bits of the command register.
pub mod command {
    #![allow(missing_docs, reason = "the names are those of the PCI specification")]
    pub const IO_SPACE: u16 = 1;
    pub const MEMORY_SPACE: u16 = 1 << 1;
    pub const BUS_MASTER: u16 = 1 << 2;
    pub const PARITY_ERROR_RESPONSE: u16 = 1 << 6;
    pub const SERR_ENABLE: u16 = 1 << 8;
    pub const INTERRUPT_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register.
pub mod status {
    #![allow(missing_docs, reason = "the names are those of the PCI specification")]
    pub const INTERRUPT: u16 = 1 << 3;
    pub const CAPABILITIES_LIST: u16 = 1 << 4;
}

/// Capability ids.
pub mod capability {
    #![allow(missing_docs, reason = "the names are those of the PCI specification")]
    pub const POWER_MANAGEMENT: u8 = 0x01;
    pub const VENDOR_SPECIFIC: u8 = 0x09;
    pub const PCI_EXPRESS: u8 = 0x10;
    pub const MSI_X: u8 = 0x11;
}

/// What a function says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class code: base class, sub-class, programming interface (24 bits).
    pub class: u32,
    /// Subsystem Vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// Type 0 configuration space of a function with memory BARs.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; register::END],
    writable: [u8; register::END],
    bars: [Option<Bar>; BAR_COUNT],
    /// Where the next capability goes.
    next_capability: usize,
    /// The byte that points to the next capability.
    link: usize,
    power_management: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Bar {
    io: bool,
    wide: bool,
    len: u64,
}

/// PMCSR in the power management capability, and its bits.
const PMCSR: usize = 4;
const PMCSR_STATE: u8 = 0b11;
const PMCSR_D3_HOT: u8 = 0b11;
const PMCSR_NO_SOFT_RESET: u8 = 1 << 3;

impl ConfigSpace {
    /// A header without BARs and capabilities. Of the command register, what a function without I/O
    /// space that is reached as PCI Express must implement can be written.
    pub fn new(identity: Identity) -> Self {
        let mut space = ConfigSpace {
            bytes: [0; register::END],
            writable: [0; register::END],
            bars: [None; BAR_COUNT],
            next_capability: register::CAPABILITIES,
            link: register::CAPABILITIES_POINTER,
            power_management: None,
        };
        space.put(register::VENDOR, &identity.vendor.to_le_bytes());
        space.put(register::DEVICE, &identity.device.to_le_bytes());
        space.put(register::REVISION, &[identity.revision]);
        space.put(register::CLASS, &identity.class.to_le_bytes()[..3]);
        space.put(
            register::SUBSYSTEM_VENDOR,
            &identity.subsystem_vendor.to_le_bytes(),
        );
        space.put(register::SUBSYSTEM, &identity.subsystem.to_le_bytes());
        let writable = command::MEMORY_SPACE
            | command::BUS_MASTER
            | command::PARITY_ERROR_RESPONSE
            | command::SERR_ENABLE
            | command::INTERRUPT_DISABLE;
        space.allow(register::COMMAND, &writable.to_le_bytes());
        space.allow(register::CACHE_LINE_SIZE, &[0xff]);
        space
    }

    /// Makes the command register read as `value` always.
    pub fn fix_command(&mut self, value: u16) {
        self.put(register::COMMAND, &value.to_le_bytes());
        self.allow(register::COMMAND, &[0, 0]);
    }

    /// Returns the function the interrupt pin INTA#.
    pub fn add_interrupt_pin(&mut self) {
        self.put(register::INTERRUPT_PIN, &[1]);
        self.allow(register::INTERRUPT_LINE, &[0xff]);
    }

    /// Adds a non-prefetchable memory BAR of `len` bytes, a power of two from 16, below 4 GiB or
    /// (`wide`) anywhere in 64 bits, where it takes the next register as well.
    ///
    /// `false`: there is no such BAR register, it is taken, or `len` cannot be a BAR's.
    #[must_use]
    pub fn add_bar(&mut self, index: usize, wide: bool, len: u64) -> bool {
        let last = index + usize::from(wide);
        let taken = |i: usize| {
            self.bars[i].is_some() || (i > 0 && self.bars[i - 1].is_some_and(|bar| bar.wide))
        };
        let possible = len.is_power_of_two() && len >= 16 && (wide || len <= 1 << 31);
        if last >= BAR_COUNT || !possible || (index..=last).any(taken) {
            return false;
        }
        let at = register::BARS + 4 * index;
        let mask = !(len - 1);
        if wide {
            self.put(at, &0b100u32.to_le_bytes());
            self.allow(at, &mask.to_le_bytes());
        } else {
            self.allow(at, &(mask as u32).to_le_bytes());
        }
        self.bars[index] = Some(Bar {
            io: false,
            wide,
            len,
        });
        true
    }

    /// Adds a BAR of `len` bytes in I/O space, a power of two from 4 to 256, in the first register
    /// that is free. Returns its index, if there is one.
    pub fn add_io_bar(&mut self, len: u64) -> Option<usize> {
        let free = |i: &usize| {
            self.bars[*i].is_none() && !(*i > 0 && self.bars[*i - 1].is_some_and(|bar| bar.wide))
        };
        let index = (0..BAR_COUNT).find(free)?;
        if !len.is_power_of_two() || !(4..=256).contains(&len) {
            return None;
        }
        let at = register::BARS + 4 * index;
        self.put(at, &1u32.to_le_bytes());
        self.allow(at, &(!(len as u32 - 1)).to_le_bytes());
        let command = self.writable_word(register::COMMAND) | command::IO_SPACE;
        self.allow(register::COMMAND, &command.to_le_bytes());
        self.bars[index] = Some(Bar {
            io: true,
            wide: false,
            len,
        });
        Some(index)
    }

    fn writable_word(&self, offset: usize) -> u16 {
        match self.writable.get(offset..offset + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]),
            _ => 0,
        }
    }

    /// Makes a memory BAR that is there prefetchable.
    pub fn make_prefetchable(&mut self, index: usize) {
        let at = register::BARS + 4 * index;
        let low = self.dword(at) | 0b1000;
        self.put(at, &low.to_le_bytes());
    }

    /// Appends a capability: `body` is what follows its id and next pointer, `writable` the bits of
    /// it that software may write. Returns its offset, or `None` if there is no room.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> Option<u8> {
        self.add_capability_at(self.next_capability, id, body, writable)
    }

    /// As [`add_capability`](Self::add_capability), at an offset of the caller's, a multiple of 4
    /// from [`register::CAPABILITIES`] on, where no other capability is.
    pub fn add_capability_at(
        &mut self,
        at: usize,
        id: u8,
        body: &[u8],
        writable: &[u8],
    ) -> Option<u8> {
        let end = (at + 2 + body.len()).next_multiple_of(4);
        if end > register::END || writable.len() > body.len() {
            return None;
        }
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.allow(at + 2, writable);
        self.bytes[self.link] = at as u8;
        self.link = at + 1;
        self.next_capability = self.next_capability.max(end);
        let status = self.word(register::STATUS) | status::CAPABILITIES_LIST;
        self.put(register::STATUS, &status.to_le_bytes());
        Some(at as u8)
    }

    /// Appends the power management capability every PCI Express function has: D0 and D3hot, and no
    /// reset in between.
    pub fn add_power_management(&mut self) -> Option<u8> {
        // Version 3 of the specification; no PME, no D1 and D2.
        let body = [0x03, 0x00, PMCSR_NO_SOFT_RESET, 0, 0, 0];
        let at = self.add_capability(
            capability::POWER_MANAGEMENT,
            &body,
            &[0, 0, PMCSR_STATE, 0, 0, 0],
        )?;
        self.power_management = Some(usize::from(at));
        Some(at)
    }

    /// Appends the PCI Express capability of a root complex integrated endpoint: it has no link.
    pub fn add_pci_express(&mut self) -> Option<u8> {
        let mut body = [0; 0x3a];
        let mut writable = [0; 0x3a];
        // Offsets in the PCI Express specification count from the capability's id.
        let mut register = |offset: usize, value: u32, mask: u32| {
            body[offset - 2..offset + 2].copy_from_slice(&value.to_le_bytes());
            writable[offset - 2..offset + 2].copy_from_slice(&mask.to_le_bytes());
        };
        // Device Capabilities: 128-byte payloads, role-based error reporting.
        register(0x04, 1 << 15, 0);
        // Device Control: error reporting, relaxed ordering and no snoop (both on at first) and the
        // read request size can be set; nothing follows from them here.
        register(0x08, 0x2810, 0x781f);
        // Device Capabilities 2 and Control 2: a completion never times out.
        register(0x24, 1 << 4, 0);
        register(0x28, 0, 1 << 4);
        // PCI Express Capabilities: version 2, root complex integrated endpoint.
        body[..2].copy_from_slice(&0x0092u16.to_le_bytes());
        self.add_capability(capability::PCI_EXPRESS, &body, &writable)
    }

    /// Reads at `offset`; behind the conventional 256 bytes there is no extended capability, so all
    /// of it reads as 0.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = *self.bytes.get(usize::from(offset) + i).unwrap_or(&0);
        }
    }

    /// Writes at `offset` those bits that can be written.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (i, &byte) in data.iter().enumerate() {
            self.write_byte(usize::from(offset) + i, byte);
        }
    }

    fn write_byte(&mut self, at: usize, value: u8) {
        let (Some(byte), Some(&mask)) = (self.bytes.get_mut(at), self.writable.get(at)) else {
            return;
        };
        if self.power_management.is_some_and(|pm| at == pm + PMCSR)
            && !matches!(value & PMCSR_STATE, 0 | PMCSR_D3_HOT)
        {
            // A state the function does not support: the write of the state is discarded.
            return;
        }
        *byte = *byte & !mask | value & mask;
    }

    /// Sets `value` at `offset`, whatever software may write there.
    pub fn put(&mut self, offset: usize, value: &[u8]) {
        if let Some(bytes) = self.bytes.get_mut(offset..offset + value.len()) {
            bytes.copy_from_slice(value);
        }
    }

    fn allow(&mut self, offset: usize, mask: &[u8]) {
        if let Some(bytes) = self.writable.get_mut(offset..offset + mask.len()) {
            bytes.copy_from_slice(mask);
        }
    }

    /// The 16-bit register at `offset`, 0 outside.
    pub fn word(&self, offset: usize) -> u16 {
        match self.bytes.get(offset..offset + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]),
            _ => 0,
        }
    }

    fn dword(&self, offset: usize) -> u32 {
        u32::from(self.word(offset)) | u32::from(self.word(offset + 2)) << 16
    }

    fn command(&self, bit: u16) -> bool {
        self.word(register::COMMAND) & bit != 0
    }

    /// Whether the function is in power state D0, where alone it does anything.
    fn powered(&self) -> bool {
        self.power_management
            .and_then(|pm| self.bytes.get(pm + PMCSR))
            .is_none_or(|pmcsr| pmcsr & PMCSR_STATE == 0)
    }

    /// Whether the function may access memory, to which sending messages belongs.
    pub fn bus_master(&self) -> bool {
        self.command(command::BUS_MASTER) && self.powered()
    }

    /// Whether the function may assert its interrupt pin.
    pub fn intx_allowed(&self) -> bool {
        !self.command(command::INTERRUPT_DISABLE) && self.powered()
    }

    /// Sets Interrupt Status in the status register.
    pub fn set_interrupt_status(&mut self, on: bool) {
        let status = self.word(register::STATUS) & !status::INTERRUPT;
        let bit = if on { status::INTERRUPT } else { 0 };
        self.put(register::STATUS, &(status | bit).to_le_bytes());
    }

    /// Bytes of BAR `index`, if there is one.
    pub fn bar_len(&self, index: u8) -> Option<u64> {
        let bar = self.bars.get(usize::from(index))?.as_ref()?;
        Some(bar.len)
    }

    /// What the BARs decode: nothing unless their space is enabled, and no BAR that is 0.
    pub fn decoded(&self) -> Vec<Decoded> {
        if !self.powered() {
            return Vec::new();
        }
        let decoded = |(index, bar): (usize, &Option<Bar>)| {
            let bar = bar.as_ref()?;
            let at = register::BARS + 4 * index;
            let (space, low, mark) = if bar.io {
                (command::IO_SPACE, self.dword(at) & !0x3, IO_SPACE)
            } else {
                (command::MEMORY_SPACE, self.dword(at) & !0xf, 0)
            };
            let high = if bar.wide {
                u64::from(self.dword(at + 4)) << 32
            } else {
                0
            };
            let base = high | u64::from(low);
            (base != 0 && self.command(space)).then_some(Decoded {
                bar: index as u8,
                base: base | mark,
                len: bar.len,
            })
        };
        self.bars.iter().enumerate().filter_map(decoded).collect()
    }
}
