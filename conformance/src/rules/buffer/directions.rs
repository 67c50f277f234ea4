//! In which directions the parts of a buffer go (§2.4.4 of virtio 1.0).

use crate::event::Buffer;
use crate::layout::desc;

/// Which parts a buffer has: device-readable, device-writable.
#[derive(Clone, Copy, Default)]
pub(in crate::rules) struct Directions(u8);

impl Directions {
    const READABLE: u8 = 1;
    const WRITABLE: u8 = 2;
    const DISORDERED: u8 = 4;

    /// The parts of a buffer. A descriptor that refers to an indirect table is not one of them.
    #[inline(always)]
    pub(in crate::rules) fn of(buffer: &Buffer<'_>) -> Self {
        let mut directions = Directions::default();
        let parts = buffer.elements.iter();
        for part in parts.filter(|e| e.flags & desc::INDIRECT == 0) {
            directions.add(part.flags);
        }
        directions
    }

    /// There are device-readable parts.
    #[inline(always)]
    pub(in crate::rules) fn readable(self) -> bool {
        self.0 & Self::READABLE != 0
    }

    /// There are device-writable parts.
    #[inline(always)]
    pub(in crate::rules) fn writable(self) -> bool {
        self.0 & Self::WRITABLE != 0
    }

    /// 1 for device-readable parts, and 2 for device-writable ones.
    #[inline(always)]
    pub(super) fn both(self) -> usize {
        usize::from(self.0 & (Self::READABLE | Self::WRITABLE))
    }

    /// A device-readable part follows a device-writable one.
    #[inline(always)]
    pub(super) fn disordered(self) -> bool {
        self.0 & Self::DISORDERED != 0
    }

    /// Adds a descriptor's part.
    #[inline(always)]
    pub(super) fn add(&mut self, flags: u16) {
        let kind = if flags & desc::WRITE != 0 {
            Self::WRITABLE
        } else {
            Self::READABLE | (self.0 & Self::WRITABLE) << 1
        };
        self.0 |= kind;
    }
}
