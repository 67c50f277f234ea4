//! The layout of messages: numbers and bits of the protocol. All data is in the endianness of the host.

use rustix::io::Errno;

/// Bytes of a header.
pub const HEADER_LEN: usize = 16;

/// The most bytes that one access may read or write: all of a function's configuration space, which a
/// client may read at once. The client is told so (`max_data_xfer_size`).
pub const MAX_DATA: usize = 4096;

/// The most file descriptors that come with a message. The client is told [`MESSAGE_FDS`].
pub const MAX_FDS: usize = 16;

/// The number of file descriptors that a client is told it may send with one message.
pub const MESSAGE_FDS: usize = 8;

/// The most bytes of a message that are kept: the longest one of use is a write of [`MAX_DATA`].
pub const MAX_PAYLOAD: usize = ACCESS_LEN + MAX_DATA;

/// The most bytes of a message at all. What is longer than [`MAX_PAYLOAD`] is read and thrown away, so
/// that the next header is found; a client that announces more than this has lost its way.
pub const MAX_DISCARDED: usize = 1 << 20;

/// Bytes before the data of an access to a region.
pub const ACCESS_LEN: usize = 16;

/// Commands (section "Commands" of the protocol).
pub mod command {
    /// What both sides agree on; the first message.
    pub const VERSION: u16 = 1;
    /// The client shares memory.
    pub const DMA_MAP: u16 = 2;
    /// … and takes it back.
    pub const DMA_UNMAP: u16 = 3;
    /// What the device has.
    pub const DEVICE_GET_INFO: u16 = 4;
    /// What a region is like.
    pub const DEVICE_GET_REGION_INFO: u16 = 5;
    /// File descriptors that stand for accesses.
    pub const DEVICE_GET_REGION_IO_FDS: u16 = 6;
    /// What a kind of interrupts is like.
    pub const DEVICE_GET_IRQ_INFO: u16 = 7;
    /// How to interrupt.
    pub const DEVICE_SET_IRQS: u16 = 8;
    /// An access that reads.
    pub const REGION_READ: u16 = 9;
    /// An access that writes.
    pub const REGION_WRITE: u16 = 10;
    /// Reset of the device.
    pub const DEVICE_RESET: u16 = 13;
    /// Several writes in one message.
    pub const REGION_WRITE_MULTI: u16 = 15;
}

/// Bits of the header's flags.
pub mod flag {
    /// Which bits are the type.
    pub const TYPE: u32 = 0xf;
    /// The type of a reply; that of a command is 0.
    pub const REPLY: u32 = 1;
    /// The client wants no reply.
    pub const NO_REPLY: u32 = 1 << 4;
    /// The reply is that the command failed.
    pub const ERROR: u32 = 1 << 5;
}

/// Bits of requests and replies, those of `<linux/vfio.h>`.
pub mod bits {
    /// DMA_MAP: the device may read.
    pub const DMA_READ: u32 = 1;
    /// DMA_MAP: the device may write.
    pub const DMA_WRITE: u32 = 1 << 1;
    /// DMA_UNMAP: all that is mapped.
    pub const DMA_UNMAP_ALL: u32 = 1 << 1;
    /// The device can be reset.
    pub const DEVICE_RESET: u32 = 1;
    /// It is a PCI device.
    pub const DEVICE_PCI: u32 = 1 << 1;
    /// The region can be read.
    pub const REGION_READ: u32 = 1;
    /// The region can be written.
    pub const REGION_WRITE: u32 = 1 << 1;
    /// Interrupts are signalled through eventfds.
    pub const IRQ_EVENTFD: u32 = 1;
    /// They can be masked.
    pub const IRQ_MASKABLE: u32 = 1 << 1;
    /// Each masks itself when it is sent.
    pub const IRQ_AUTOMASKED: u32 = 1 << 2;
    /// SET_IRQS has no data.
    pub const SET_DATA_NONE: u32 = 1;
    /// … a byte for each interrupt.
    pub const SET_DATA_BOOL: u32 = 1 << 1;
    /// … an eventfd for each.
    pub const SET_DATA_EVENTFD: u32 = 1 << 2;
    /// It masks.
    pub const SET_MASK: u32 = 1 << 3;
    /// It unmasks.
    pub const SET_UNMASK: u32 = 1 << 4;
    /// It triggers, or says what is to be signalled.
    pub const SET_TRIGGER: u32 = 1 << 5;
}

/// The regions of a PCI device: its BARs first.
pub mod region {
    /// The last BAR; the first is 0.
    pub const LAST_BAR: u32 = 5;
    /// Configuration space.
    pub const CONFIG: u32 = 7;
    /// How many regions there are: BARs, expansion ROM, configuration space, VGA.
    pub const COUNT: u32 = 9;
}

/// The kinds of interrupts of a PCI device.
pub mod irq {
    /// INTA#.
    pub const INTX: u32 = 0;
    /// MSI-X.
    pub const MSIX: u32 = 2;
    /// How many kinds there are: those, MSI, errors and requests to release the device.
    pub const COUNT: u32 = 5;
}

/// What precedes every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's name for the message; a reply has that of its command.
    pub id: u16,
    /// One of [`command`].
    pub command: u16,
    /// Bytes of the message, this header included.
    pub size: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// In a reply with [`flag::ERROR`], why.
    pub error: u32,
}

impl Header {
    /// From the bytes of a message.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Header {
        let [i0, i1, c0, c1, rest @ ..] = *bytes;
        let [s0, s1, s2, s3, f0, f1, f2, f3, e0, e1, e2, e3] = rest;
        Header {
            id: u16::from_ne_bytes([i0, i1]),
            command: u16::from_ne_bytes([c0, c1]),
            size: u32::from_ne_bytes([s0, s1, s2, s3]),
            flags: u32::from_ne_bytes([f0, f1, f2, f3]),
            error: u32::from_ne_bytes([e0, e1, e2, e3]),
        }
    }

    /// As the bytes of a message.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..2].copy_from_slice(&self.id.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.command.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.size.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[12..].copy_from_slice(&self.error.to_ne_bytes());
        bytes
    }
}

/// The fields of a payload, from its start.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Fields(payload)
    }

    /// The next 16 bits.
    ///
    /// # Errors
    /// EINVAL if the payload is too short, as for the others.
    pub(crate) fn u16(&mut self) -> Result<u16, Errno> {
        self.take().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Errno> {
        self.take().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Errno> {
        self.take().map(u64::from_ne_bytes)
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(*first)
    }
}
