//! MSI-X: message-signalled interrupts with a table and pending bits in memory space.

use crate::interrupt::{InterruptSink, MsiMessage};

/// Bytes of a table entry: message address, upper address, data, vector control.
pub const ENTRY_LEN: usize = 16;

/// Bits of Message Control that software may write.
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;

/// Offset of Message Control in the capability.
const MESSAGE_CONTROL: usize = 2;

/// Bits of each byte of an entry that software may write: the address is a multiple of 4, and of
/// vector control only the mask bit is there.
const WRITABLE: [u8; ENTRY_LEN] = [
    0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0,
];
/// Where the mask bit is.
const VECTOR_CONTROL: usize = 12;

/// A function's MSI-X state.
#[derive(Clone, Debug)]
pub struct Msix {
    table: Vec<[u8; ENTRY_LEN]>,
    pending: Vec<u64>,
    /// By vector: the message that the host was last given.
    routes: Vec<Option<MsiMessage>>,
    capability: usize,
    /// The function's slot.
    device: u8,
    enabled: bool,
    function_masked: bool,
    /// The function is bus master.
    may_send: bool,
}

/// Where table or pending bits are: a BAR and the offset in it, a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the BAR.
    pub bar: u8,
    /// Offset in it, bytes.
    pub offset: u32,
}

impl Msix {
    /// What follows id and next pointer in the capability, and the bits of it that can be written,
    /// for `vectors` (1 to 2048) vectors.
    pub fn capability(vectors: u16, table: Place, pending: Place) -> ([u8; 10], [u8; 10]) {
        let mut body = [0; 10];
        let mut writable = [0; 10];
        body[..2].copy_from_slice(&(vectors - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(table.offset | u32::from(table.bar)).to_le_bytes());
        body[6..].copy_from_slice(&(pending.offset | u32::from(pending.bar)).to_le_bytes());
        writable[..2].copy_from_slice(&(ENABLE | FUNCTION_MASK).to_le_bytes());
        (body, writable)
    }

    /// `vectors` vectors of the function in slot `device`, all of them masked; the capability is at
    /// offset `capability` of configuration space.
    pub fn new(vectors: u16, capability: u8, device: u8) -> Self {
        let mut entry = [0; ENTRY_LEN];
        entry[VECTOR_CONTROL] = 1;
        Msix {
            table: vec![entry; usize::from(vectors)],
            pending: vec![0; usize::from(vectors).div_ceil(64)],
            routes: vec![None; usize::from(vectors)],
            capability: usize::from(capability),
            device,
            enabled: false,
            function_masked: false,
            may_send: false,
        }
    }

    /// Bytes of the table of `vectors` vectors.
    pub const fn table_len(vectors: u16) -> u64 {
        vectors as u64 * ENTRY_LEN as u64
    }

    /// Bytes of the pending bits of `vectors` vectors.
    pub const fn pending_len(vectors: u16) -> u64 {
        (vectors as u64).div_ceil(64) * 8
    }

    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        self.table.len() as u16
    }

    /// Whether MSI-X is enabled: the function interrupts by vectors instead of its pin.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Reads what configuration space now says, and signals the vectors that were waiting for it.
    pub fn refresh(&mut self, config: &super::config::ConfigSpace, sink: &dyn InterruptSink) {
        let control = config.word(self.capability + MESSAGE_CONTROL);
        let (enabled, function_masked, may_send) = (
            control & ENABLE != 0,
            control & FUNCTION_MASK != 0,
            config.bus_master(),
        );
        if (enabled, function_masked, may_send)
            == (self.enabled, self.function_masked, self.may_send)
        {
            return;
        }
        self.enabled = enabled;
        self.function_masked = function_masked;
        self.may_send = may_send;
        for vector in 0..self.vectors() {
            self.update(vector, sink);
        }
    }

    /// Requests an interrupt by `vector`: signals it, or sets its pending bit while the vector or the
    /// function is masked or the function may not send. Does nothing unless MSI-X is enabled and there
    /// is such a vector.
    pub fn request(&mut self, vector: u16, sink: &dyn InterruptSink) {
        if !self.enabled {
            return;
        }
        if let Some(word) = self.pending.get_mut(usize::from(vector) / 64)
            && usize::from(vector) < self.table.len()
        {
            *word |= 1 << (vector % 64);
            self.signal_if_pending(vector, sink);
        }
    }

    /// Clears all pending bits: the events behind them no longer exist.
    pub fn clear_pending(&mut self) {
        self.pending.fill(0);
    }

    /// Reads the table at `offset`.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let at = offset as usize + i;
            *byte = self
                .table
                .get(at / ENTRY_LEN)
                .map_or(0, |entry| entry[at % ENTRY_LEN]);
        }
    }

    /// Writes the table at `offset`; a pending vector that this unmasks is signalled.
    pub fn write_table(&mut self, offset: u64, data: &[u8], sink: &dyn InterruptSink) {
        for (i, &value) in data.iter().enumerate() {
            let at = offset as usize + i;
            if let Some(entry) = self.table.get_mut(at / ENTRY_LEN) {
                let mask = WRITABLE[at % ENTRY_LEN];
                let byte = &mut entry[at % ENTRY_LEN];
                *byte = *byte & !mask | value & mask;
            }
        }
        let first = offset as usize / ENTRY_LEN;
        let last = (offset as usize + data.len().saturating_sub(1)) / ENTRY_LEN;
        for vector in first..=last.min(self.table.len().saturating_sub(1)) {
            self.update(vector as u16, sink);
        }
    }

    /// Reads the pending bits at `offset`. Software cannot write them.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let at = offset as usize + i;
            *byte = self
                .pending
                .get(at / 8)
                .map_or(0, |word| word.to_le_bytes()[at % 8]);
        }
    }

    /// An entry or a mask has changed: tells the host the vector's message, and signals the vector if
    /// that was waiting.
    fn update(&mut self, vector: u16, sink: &dyn InterruptSink) {
        let index = usize::from(vector);
        let (Some(entry), Some(route)) = (self.table.get(index), self.routes.get_mut(index)) else {
            return;
        };
        let masked = self.function_masked || entry[VECTOR_CONTROL] & 1 != 0;
        let message = (self.enabled && !masked).then(|| message(entry));
        if *route != message {
            *route = message;
            sink.route(self.device, vector, message);
        }
        self.signal_if_pending(vector, sink);
    }

    fn signal_if_pending(&mut self, vector: u16, sink: &dyn InterruptSink) {
        let (word, bit) = (usize::from(vector) / 64, 1u64 << (vector % 64));
        let (Some(route), Some(pending)) = (
            self.routes.get(usize::from(vector)),
            self.pending.get_mut(word),
        ) else {
            return;
        };
        let masked = route.is_none() && !sink.keeps_masks();
        if *pending & bit == 0 || masked || !self.enabled || !self.may_send {
            return;
        }
        *pending &= !bit;
        sink.signal(self.device, vector);
    }
}

/// The message of a table entry.
fn message(entry: &[u8; ENTRY_LEN]) -> MsiMessage {
    let [a0, a1, a2, a3, a4, a5, a6, a7, d0, d1, d2, d3, ..] = *entry;
    MsiMessage {
        address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
        data: u32::from_le_bytes([d0, d1, d2, d3]),
    }
}
