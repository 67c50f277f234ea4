//! Bus 0: how a guest's accesses find a function.
//!
//! There is one bus with up to 32 slots, and each slot holds a function 0 only. Configuration space
//! is reached by configuration mechanism #1 (the ports 0xCF8 and 0xCFC) and by ECAM; memory and I/O
//! space by the addresses the guest gives to BARs. What nobody answers reads as all ones.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use stickler_conformance::latitude::Draw;

use super::config::{BAR_COUNT, register};
use super::host_bridge::HostBridge;
use super::{Decoded, IO_SPACE, PciFunction};

/// Slots on a bus.
const SLOTS: usize = 32;

/// Bytes of configuration space a function has under ECAM.
const CONFIG_LEN: usize = 4096;

/// Bytes of address space the ECAM of bus 0 takes: 8 functions in each of 32 slots.
pub const ECAM_LEN: u64 = (SLOTS * 8 * CONFIG_LEN) as u64;

/// CONFIG_ADDRESS of configuration mechanism #1.
const CONFIG_ADDRESS: u16 = 0xcf8;
/// CONFIG_DATA of configuration mechanism #1, four ports.
const CONFIG_DATA: u16 = 0xcfc;
/// The bits of CONFIG_ADDRESS that are implemented: enable, bus, device, function, register.
const CONFIG_ADDRESS_BITS: u32 = 0x80ff_fffc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// Where in the guest-physical address space the bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciLayout {
    /// Base of the ECAM of bus 0, [`ECAM_LEN`] bytes.
    pub ecam_base: u64,
    /// The host bridge's window below 4 GiB, from which 32-bit BARs get their first addresses.
    pub mem32: Range<u64>,
    /// The host bridge's window for 64-bit BARs; may be empty, then those go below 4 GiB too.
    pub mem64: Range<u64>,
}

/// From where I/O BARs get their first addresses: ports that nothing else on a PC uses.
pub const IO_WINDOW: Range<u64> = 0xc000..0xf000;

/// PCI bus 0 with its host bridge.
pub struct PciBus {
    layout: PciLayout,
    functions: [OnceLock<Arc<dyn PciFunction>>; SLOTS],
    /// CONFIG_ADDRESS. A guest serializes its own use of the port pair.
    config_address: AtomicU32,
    /// Which addresses belong to which BAR, by rising base.
    routes: RwLock<Vec<Route>>,
    /// Where the next BAR's first address is taken from.
    free: Mutex<Free>,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    slot: usize,
    decoded: Decoded,
}

struct Free {
    io: Range<u64>,
    mem32: Range<u64>,
    mem64: Range<u64>,
}

impl PciBus {
    /// A bus with nothing but the host bridge in slot 0.
    pub fn new(layout: PciLayout) -> Self {
        let free = Free {
            io: IO_WINDOW,
            mem32: layout.mem32.clone(),
            mem64: layout.mem64.clone(),
        };
        let bus = PciBus {
            layout,
            functions: [const { OnceLock::new() }; SLOTS],
            config_address: AtomicU32::new(0),
            routes: RwLock::default(),
            free: Mutex::new(free),
        };
        let host_bridge: Arc<dyn PciFunction> = Arc::new(HostBridge::new());
        // Slot 0 of a new bus is empty: this cannot fail.
        let _ = bus.functions[0].set(host_bridge);
        bus
    }

    /// Where the bus is.
    pub fn layout(&self) -> &PciLayout {
        &self.layout
    }

    /// Puts `function` into `slot` (1 to 31) and, as no firmware runs that would, gives its BARs their
    /// first addresses. Memory space stays disabled until the guest enables it.
    ///
    /// Fails if there is no such slot, it is taken, or a window has no room for a BAR.
    pub fn add(&self, slot: u8, function: Arc<dyn PciFunction>) -> io::Result<()> {
        let place = self
            .functions
            .get(usize::from(slot))
            .ok_or_else(|| io::Error::other(format!("PCI bus 0 has no slot {slot}")))?;
        if place.get().is_some() {
            return Err(io::Error::other(format!("PCI slot {slot} is taken")));
        }
        self.assign_bars(slot, function.as_ref())?;
        place
            .set(function)
            .map_err(|_| io::Error::other(format!("PCI slot {slot} is taken")))?;
        self.refresh_routes(usize::from(slot));
        Ok(())
    }

    /// Reads guest-physical memory space. `false`: no function has this address; `data` is untouched.
    pub fn mmio_read(&self, gpa: u64, data: &mut [u8]) -> bool {
        if let Some(offset) = self.ecam_offset(gpa) {
            self.ecam_read(offset, data);
            return true;
        }
        match self.route(gpa, data.len()) {
            Some((function, bar, offset)) => {
                function.bar_read(bar, offset, data);
                true
            }
            None => false,
        }
    }

    /// Writes guest-physical memory space. `false`: no function has this address.
    pub fn mmio_write(&self, gpa: u64, data: &[u8]) -> bool {
        if let Some(offset) = self.ecam_offset(gpa) {
            self.ecam_write(offset, data);
            return true;
        }
        match self.route(gpa, data.len()) {
            Some((function, bar, offset)) => {
                function.bar_write(bar, offset, data);
                true
            }
            None => false,
        }
    }

    /// Reads I/O space. `false`: the port is not the bus's; `data` is untouched.
    ///
    /// CONFIG_ADDRESS answers to double words only, so that other widths reach what else is there
    /// (the reset register at 0xCF9).
    pub fn pio_read(&self, port: u16, data: &mut [u8]) -> bool {
        match (port, data.len()) {
            (CONFIG_ADDRESS, 4) => {
                let address = self.config_address.load(Ordering::Relaxed);
                data.copy_from_slice(&address.to_le_bytes());
                true
            }
            (CONFIG_DATA..=0xcff, 1..=4) => {
                data.fill(0xff);
                if let Some((slot, register)) = self.addressed() {
                    let byte = port - CONFIG_DATA;
                    let len = data.len().min(usize::from(4 - byte));
                    self.config_read(slot, usize::from(register + byte), &mut data[..len]);
                }
                true
            }
            (port, len) => match self.route(IO_SPACE | u64::from(port), len) {
                Some((function, bar, offset)) => {
                    function.bar_read(bar, offset, data);
                    true
                }
                None => false,
            },
        }
    }

    /// Writes I/O space. `false`: the port is not the bus's.
    pub fn pio_write(&self, port: u16, data: &[u8]) -> bool {
        match (port, data.len()) {
            (CONFIG_ADDRESS, 4) => {
                let mut address = [0; 4];
                address.copy_from_slice(data);
                let address = u32::from_le_bytes(address) & CONFIG_ADDRESS_BITS;
                self.config_address.store(address, Ordering::Relaxed);
                true
            }
            (CONFIG_DATA..=0xcff, 1..=4) => {
                if let Some((slot, register)) = self.addressed() {
                    let byte = port - CONFIG_DATA;
                    let len = data.len().min(usize::from(4 - byte));
                    self.config_write(slot, usize::from(register + byte), &data[..len]);
                }
                true
            }
            (port, len) => match self.route(IO_SPACE | u64::from(port), len) {
                Some((function, bar, offset)) => {
                    function.bar_write(bar, offset, data);
                    true
                }
                None => false,
            },
        }
    }

    /// What CONFIG_ADDRESS selects: a slot of bus 0, function 0, and a register.
    fn addressed(&self) -> Option<(usize, u16)> {
        let address = self.config_address.load(Ordering::Relaxed);
        let bus_and_function = address & 0x00ff_0700;
        (address & CONFIG_ENABLE != 0 && bus_and_function == 0)
            .then_some(((address >> 11 & 31) as usize, (address & 0xfc) as u16))
    }

    fn ecam_offset(&self, gpa: u64) -> Option<u64> {
        let offset = gpa.wrapping_sub(self.layout.ecam_base);
        (offset < ECAM_LEN).then_some(offset)
    }

    fn ecam_read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        let (slot, function, register) = ecam_parts(offset);
        if function == 0 {
            let len = data.len().min(CONFIG_LEN - register);
            self.config_read(slot, register, &mut data[..len]);
        }
    }

    fn ecam_write(&self, offset: u64, data: &[u8]) {
        let (slot, function, register) = ecam_parts(offset);
        if function == 0 {
            let len = data.len().min(CONFIG_LEN - register);
            self.config_write(slot, register, &data[..len]);
        }
    }

    fn config_read(&self, slot: usize, register: usize, data: &mut [u8]) {
        let Some(function) = self.function(slot) else {
            data.fill(0xff);
            return;
        };
        for (at, len) in aligned_parts(register, data.len()) {
            let start = at - register;
            function.config_read(at as u16, &mut data[start..start + len]);
        }
    }

    fn config_write(&self, slot: usize, register: usize, data: &[u8]) {
        let Some(function) = self.function(slot) else {
            return;
        };
        for (at, len) in aligned_parts(register, data.len()) {
            let start = at - register;
            function.config_write(at as u16, &data[start..start + len]);
        }
        let end = register + data.len();
        let touches = |r: Range<usize>| register < r.end && r.start < end;
        // The capabilities hold the power state, on which decoding depends as well.
        if touches(register::COMMAND..register::COMMAND + 2)
            || touches(register::BARS..register::BARS + 4 * BAR_COUNT)
            || touches(register::CAPABILITIES..register::END)
        {
            self.refresh_routes(slot);
        }
    }

    fn function(&self, slot: usize) -> Option<&dyn PciFunction> {
        Some(self.functions.get(slot)?.get()?.as_ref())
    }

    /// Whose BAR has all `len` bytes at `gpa`, and where in it they are.
    fn route(&self, gpa: u64, len: usize) -> Option<(&dyn PciFunction, u8, u64)> {
        if !(1..=8).contains(&len) {
            return None;
        }
        let route = {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            let behind = routes.partition_point(|r| r.decoded.base <= gpa);
            // The nearest base below is the one, unless the guest makes BARs overlap.
            *routes[..behind]
                .iter()
                .rev()
                .find(|r| gpa - r.decoded.base < r.decoded.len)?
        };
        let offset = gpa - route.decoded.base;
        if len as u64 > route.decoded.len - offset {
            return None;
        }
        Some((self.function(route.slot)?, route.decoded.bar, offset))
    }

    fn refresh_routes(&self, slot: usize) {
        let Some(function) = self.function(slot) else {
            return;
        };
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: of two vCPUs that write at the same time, the later one to come here
        // sees what both have written.
        let decoded = function.decoded();
        if routes
            .iter()
            .filter(|r| r.slot == slot)
            .map(|r| &r.decoded)
            .eq(decoded.iter())
        {
            return;
        }
        routes.retain(|r| r.slot != slot);
        routes.extend(decoded.into_iter().map(|decoded| Route { slot, decoded }));
        routes.sort_by_key(|r| r.decoded.base);
    }

    /// Does what firmware would: sizes each BAR and gives it an address.
    fn assign_bars(&self, slot: u8, function: &dyn PciFunction) -> io::Result<()> {
        let read = |bar: usize| {
            let mut value = [0; 4];
            function.config_read((register::BARS + 4 * bar) as u16, &mut value);
            u32::from_le_bytes(value)
        };
        let write = |bar: usize, value: u32| {
            function.config_write((register::BARS + 4 * bar) as u16, &value.to_le_bytes());
        };
        let mut placement = function.placement();
        let mut bar = 0;
        while bar < BAR_COUNT {
            write(bar, u32::MAX);
            let low = read(bar);
            if low & 1 == 1 {
                let size = u64::from((low & !0x3).wrapping_neg());
                let base = lock(&self.free).take_ports(size).ok_or_else(|| {
                    io::Error::other(format!("no ports for BAR {bar} of PCI slot {slot}"))
                })?;
                write(bar, base as u32);
                bar += 1;
                continue;
            }
            let wide = low & 0b111 == 0b100 && bar + 1 < BAR_COUNT;
            let high = if wide {
                write(bar + 1, u32::MAX);
                read(bar + 1)
            } else {
                u32::MAX
            };
            let size = (u64::from(high) << 32 | u64::from(low & !0xf)).wrapping_neg();
            let implemented = low & !0xf != 0 || (wide && high != 0);
            if implemented {
                let base = lock(&self.free)
                    .take(size, wide, &mut placement)
                    .ok_or_else(|| {
                        io::Error::other(format!(
                            "no room for BAR {bar} ({size:#x} bytes) of PCI slot {slot}"
                        ))
                    })?;
                write(bar, base as u32);
                if wide {
                    write(bar + 1, (base >> 32) as u32);
                }
            }
            bar += if wide { 2 } else { 1 };
        }
        Ok(())
    }
}

impl Free {
    /// Takes `size` ports (a power of two), aligned to their number.
    fn take_ports(&mut self, size: u64) -> Option<u64> {
        let base = self.io.start.checked_next_multiple_of(size)?;
        let end = base.checked_add(size).filter(|end| *end <= self.io.end)?;
        self.io.start = end;
        Some(base)
    }

    /// Takes `size` bytes (a power of two), aligned to their size: from below, or, with a placement,
    /// from above and in either window, with a gap.
    fn take(&mut self, size: u64, wide: bool, placement: &mut Option<Draw>) -> Option<u64> {
        let high = wide && !self.mem64.is_empty();
        let Some(numbers) = placement else {
            let window = if high {
                &mut self.mem64
            } else {
                &mut self.mem32
            };
            let base = window.start.checked_next_multiple_of(size)?;
            let end = base.checked_add(size)?;
            if end > window.end {
                return None;
            }
            window.start = end;
            return Some(base);
        };
        let window = if high && numbers.one_in(2) {
            &mut self.mem64
        } else {
            &mut self.mem32
        };
        // A gap only where it is no matter.
        let gap = match window.end.saturating_sub(window.start) / 64 / size {
            0 => 0,
            room => size * numbers.below(room.min(256)),
        };
        let base = window.end.checked_sub(size)?.checked_sub(gap)?;
        let base = base - base % size;
        if base < window.start {
            return None;
        }
        window.end = base;
        Some(base)
    }
}

/// Slot, function and register of an offset in the ECAM.
fn ecam_parts(offset: u64) -> (usize, usize, usize) {
    let offset = offset as usize;
    (offset >> 15 & 31, offset >> 12 & 7, offset & 0xfff)
}

/// Cuts an access into naturally aligned ones of 1, 2 and 4 bytes: offset and length of each.
pub fn aligned_parts(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = offset + len;
    let mut at = offset;
    std::iter::from_fn(move || {
        let len = [4, 2, 1]
            .into_iter()
            .find(|len| at.is_multiple_of(*len) && at + len <= end)?;
        let part = (at, len);
        at += len;
        Some(part)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
