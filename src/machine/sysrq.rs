//! A break on the serial line, and a key after it: Linux takes the key as a command (SysRq).
//!
//! `vm-superio` has no breaks, so they are put in front of its port: while a break waits, the port says so in its
//! line status and as the reason of its interrupt, and the byte 0 that comes with it is read first.

/// Registers of a 16550A, as offsets from its first port.
pub(super) const DATA: u8 = 0;
pub(super) const INTERRUPT_ENABLE: u8 = 1;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const LINE_STATUS: u8 = 5;

/// In line control: the first registers are the divisor.
const DIVISOR_ACCESS: u8 = 0x80;

/// In line status: a byte has come, and it is a break.
const DATA_READY: u8 = 1;
const BREAK: u8 = 0x10;

/// In interrupt enable: a byte has come, and the line status has changed.
const DATA_INTERRUPT: u8 = 1;
const STATUS_INTERRUPT: u8 = 4;

/// In interrupt identification: the FIFOs are on; the line status has changed; a byte has come.
const FIFOS: u8 = 0xc0;
const STATUS_CHANGED: u8 = 6;
const DATA_CAME: u8 = 4;

/// The break that waits to be read, if one does.
#[derive(Debug, Default)]
pub(super) struct BreakLine {
    key: Option<u8>,
}

/// What reading a register gives while a break waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakRead {
    /// What the port itself gives.
    Port,
    /// This value, and the port is not read.
    Value(u8),
    /// What the port gives, and these bits too.
    PortAnd(u8),
    /// The byte 0 of the break. The key comes next.
    Taken(u8),
}

impl BreakLine {
    /// A break comes, and `key` after it.
    pub(super) fn send(&mut self, key: u8) {
        self.key = Some(key);
    }

    /// Whether the break has not been read yet.
    pub(super) fn waits(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the break interrupts, where `enabled` is the register interrupt enable.
    pub(super) fn interrupts(&self, enabled: u8) -> bool {
        self.waits() && enabled & (DATA_INTERRUPT | STATUS_INTERRUPT) != 0
    }

    /// The guest reads the register at `offset`; `register` gives the value of another one.
    pub(super) fn read(&mut self, offset: u8, mut register: impl FnMut(u8) -> u8) -> BreakRead {
        let Some(key) = self.key else {
            return BreakRead::Port;
        };
        match offset {
            DATA | INTERRUPT_ENABLE if register(LINE_CONTROL) & DIVISOR_ACCESS != 0 => {
                BreakRead::Port
            }
            DATA => {
                self.key = None;
                BreakRead::Taken(key)
            }
            INTERRUPT_IDENTIFICATION => match register(INTERRUPT_ENABLE) {
                enabled if enabled & STATUS_INTERRUPT != 0 => {
                    BreakRead::Value(FIFOS | STATUS_CHANGED)
                }
                enabled if enabled & DATA_INTERRUPT != 0 => BreakRead::Value(FIFOS | DATA_CAME),
                _ => BreakRead::Port,
            },
            LINE_STATUS => BreakRead::PortAnd(DATA_READY | BREAK),
            _ => BreakRead::Port,
        }
    }
}
