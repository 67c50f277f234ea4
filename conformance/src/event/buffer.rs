//! Buffers, and the descriptors that describe them (§2.4.4, §2.4.5). Sections are those of virtio 1.0.

use std::fmt;

/// Identifies a buffer that the driver has made available and the device has not returned: for a split
/// virtqueue the index of its first descriptor, which is what the used ring returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u16);

impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The header of the available ring of a split virtqueue, as read (§2.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailableRead {
    /// Which virtqueue.
    pub queue: u16,
    /// Queue size.
    pub size: u16,
    /// `flags`.
    pub flags: u16,
    /// `idx` when it was read before.
    pub previous: u16,
    /// `idx` now.
    pub idx: u16,
    /// How many buffers the device has taken so far, modulo 2^16: `idx` up to which it has worked.
    pub taken: u16,
}

/// A field of the used ring of a split virtqueue (§2.4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedRingField {
    /// `flags`
    Flags,
    /// `idx`
    Idx,
    /// `id` of the element at this position, modulo the queue size.
    ElementId(u16),
    /// `len` of the element at this position, modulo the queue size.
    ElementLen(u16),
    /// `avail_event`
    AvailEvent,
}

impl fmt::Display for UsedRingField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsedRingField::Flags => f.write_str("flags"),
            UsedRingField::Idx => f.write_str("idx"),
            UsedRingField::ElementId(position) => write!(f, "id of element {position}"),
            UsedRingField::ElementLen(position) => write!(f, "len of element {position}"),
            UsedRingField::AvailEvent => f.write_str("avail_event"),
        }
    }
}

/// When the device looked at what the driver must not alter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It worked on the queue: it took buffers, or returned them.
    Worked,
    /// The driver had notified the queue.
    Notified,
    /// It looked again after a while.
    Later,
    /// It looked for the last time, before it did the reset that the driver asked for, or when the run
    /// had ended.
    Last,
}

impl Moment {
    /// As messages say it.
    pub const fn says(self) -> &'static str {
        match self {
            Moment::Worked => "found when the device worked on the queue",
            Moment::Notified => "found at a notification",
            Moment::Later => "found while the buffers waited",
            Moment::Last => "found at the last look, before the reset or after the end of the run",
        }
    }
}

/// A field of a descriptor (§2.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorField {
    /// `addr`
    Addr,
    /// `len`
    Len,
    /// `flags`
    Flags,
    /// `next`
    Next,
}

impl DescriptorField {
    /// The specification's name.
    pub const fn name(self) -> &'static str {
        match self {
            DescriptorField::Addr => "addr",
            DescriptorField::Len => "len",
            DescriptorField::Flags => "flags",
            DescriptorField::Next => "next",
        }
    }
}

/// A part of a buffer in a split virtqueue that the driver may not alter until it is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferPart {
    /// A field of a descriptor in the queue's table, by the descriptor's index.
    Descriptor(u16, DescriptorField),
    /// A field of a descriptor in the buffer's indirect table, by the descriptor's index.
    IndirectDescriptor(u16, DescriptorField),
    /// The indirect table as a whole, of which only a hash is kept because it is too large.
    IndirectTable,
    /// The entry of the available ring at this position, modulo the queue size. Until the device has
    /// taken the buffer, it is the buffer's.
    RingEntry(u16),
}

/// What the driver altered of a buffer that it had made available, and that the device has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlteredBuffer {
    /// Which virtqueue.
    pub queue: u16,
    /// Which buffer.
    pub id: BufferId,
    /// The first part that differs.
    pub part: BufferPart,
    /// Its value when the buffer was made available.
    pub exposed: u64,
    /// Its value now.
    pub found: u64,
    /// When that was found.
    pub moment: Moment,
}

/// A buffer: its descriptor chain, walked as far as possible.
#[derive(Clone, Copy, Debug)]
pub struct Buffer<'a> {
    /// Which virtqueue.
    pub queue: u16,
    /// Queue size.
    pub size: u16,
    /// Which buffer. In a split virtqueue it may be anything a driver can write into the available
    /// ring.
    pub id: BufferId,
    /// The descriptors in the order walked, those of an indirect table after the one that refers to
    /// it.
    pub elements: &'a [Element],
    /// How the walk ended. Borrowed, because it is rarely looked at beyond its being
    /// [complete](ChainEnd::Complete).
    pub end: &'a ChainEnd,
    /// Bytes in device-readable parts, as far as they were walked.
    pub readable: u64,
    /// Bytes in device-writable parts, as far as they were walked.
    pub writable: u64,
    /// Whether a buffer with this id was made available before and has not been returned.
    pub in_flight: bool,
}

/// One descriptor as read (§2.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// `addr`.
    pub addr: u64,
    /// `len`.
    pub len: u32,
    /// `flags`.
    pub flags: u16,
    /// `next` of a split virtqueue's descriptor.
    pub next: u16,
    /// Its index in its table.
    pub index: u16,
    /// Whether that is an indirect table.
    pub indirect: bool,
}

/// How the walk of a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// At a descriptor without NEXT: the chain is complete.
    Complete,
    /// At a head that is no descriptor of the table; there are no elements.
    HeadOutOfRange,
    /// At a `next` that is no descriptor of its table.
    NextOutOfRange {
        /// That `next`.
        next: u16,
        /// Number of descriptors in the table.
        table: u32,
    },
    /// After as many descriptors as the walk allows (the queue size for each table), with NEXT still
    /// set: a loop or an over-long chain.
    TooLong,
    /// At a descriptor with INDIRECT whose table the device cannot walk: nested, of a length that is
    /// not a multiple of 16 or is 0, or outside memory. The referring element is the last one.
    Indirect(IndirectFault),
    /// At a buffer that does not lie in the guest's memory; it is the last element.
    OutsideMemory,
}

/// Why an indirect table cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndirectFault {
    /// The descriptor itself is in an indirect table.
    Nested,
    /// Its `len` is 0 or no multiple of 16.
    Length,
    /// The table does not lie in the guest's memory.
    OutsideMemory,
}
