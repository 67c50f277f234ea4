//! What a driver did, in the specification's terms. Sections are those of virtio 1.0.
//!
//! An event says what happened, never what was wrong. Events borrow what they describe, so that
//! reporting one costs nothing.
//!
//! Events are in groups, one for each subject. A chapter of rules matches groups without a wildcard: a
//! new event does not compile until every chapter that looks at its group has said what it does with
//! it, and a new group not until every chapter has.
//!
//! * [`ControlEvent`]: events that come with register accesses, and others that are rare.
//! * [`DataEvent`]: events that come with every buffer. They change no [session](crate::session)
//!   state, and are small.

mod buffer;
mod clock;
mod control;
mod device;
mod pci;

pub use buffer::{
    AlteredBuffer, AvailableRead, Buffer, BufferId, BufferPart, ChainEnd, DescriptorField, Element,
    IndirectFault, Moment, UsedRingField,
};
pub use clock::ClockEvent;
pub use control::{
    ConfigEvent, FeatureEvent, LatitudeEvent, LiveNotification, NotificationEvent, QueueArea,
    QueueEvent, QueueSetup, Register, RegisterEvent, ShownLatitude, SplitRingEvent, SplitSetup,
    StatusEvent, Told,
};
pub use device::{
    BlockHeader, BlockRequest, ConsoleEvent, ConsoleMessage, NetCommand, NetEvent, NetHeader,
    NetOutOfUse, NetReceived, NetRing, NetTransmit,
};
pub use pci::{PciEvent, WindowField};

/// One move of the driver, or the device's answer to one.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It does not come with every buffer.
    Control(ControlEvent<'a>),
    /// It comes with every buffer.
    Data(DataEvent<'a>),
    /// The device was reset from outside, as when the machine around it is reset. The driver has not asked for
    /// it: its time with the device was ended. Another driver finds the device as it was at first.
    ///
    /// No chapter of rules sees it: each begins anew.
    OutsideReset,
}

/// An event that does not come with every buffer.
#[derive(Clone, Copy, Debug)]
pub enum ControlEvent<'a> {
    /// The device's use of latitudes.
    Latitude(LatitudeEvent),
    /// Time.
    Clock(ClockEvent),
    /// An access to a register, of whatever transport.
    Register(RegisterEvent),
    /// Events of virtio over PCI only (§4.1).
    Pci(PciEvent),
    /// Device status (§2.1).
    Status(StatusEvent),
    /// Features (§2.2).
    Feature(FeatureEvent),
    /// Device-specific configuration (§2.3).
    Config(ConfigEvent),
    /// Configuration of virtqueues (§2.4).
    Queue(QueueEvent),
    /// Notifications of available buffers (§2.4.9).
    Notification(NotificationEvent),
    /// Events of split virtqueues only (§2.4).
    SplitRing(SplitRingEvent),
    /// The network device (§5.1).
    Net(NetEvent<'a>),
    /// The console device (§5.3).
    Console(ConsoleEvent<'a>),
}

/// An event that comes with every buffer.
#[derive(Clone, Copy, Debug)]
pub enum DataEvent<'a> {
    /// The device looked at the header of a split virtqueue's available ring (§2.4.6).
    AvailableRead(AvailableRead),
    /// The driver made a buffer available. Reported once for each, at the next notification or when the
    /// device looks at the queue, whether or not the device takes the buffer.
    Exposed(Buffer<'a>),
    /// The device returned a buffer.
    Returned {
        /// Which virtqueue.
        queue: u16,
        /// Which buffer.
        id: BufferId,
        /// Bytes that the device says it has written to the buffer.
        len: u32,
    },
    /// The driver asked a network device to transmit a packet (§5.1.6.2).
    NetTransmit(NetTransmit<'a>),
    /// The driver made a request of a block device (§5.2.6).
    BlockRequest(BlockRequest),
}

impl<'a> From<DataEvent<'a>> for Event<'a> {
    #[inline(always)]
    fn from(event: DataEvent<'a>) -> Self {
        Event::Data(event)
    }
}

macro_rules! into_event {
    ($($group:ident($event:ty)),+ $(,)?) => {
        $(impl<'a> From<$event> for Event<'a> {
            #[inline(always)]
            fn from(event: $event) -> Self {
                Event::Control(ControlEvent::$group(event))
            }
        })+
    };
}

into_event! {
    Latitude(LatitudeEvent),
    Clock(ClockEvent),
    Register(RegisterEvent),
    Pci(PciEvent),
    Status(StatusEvent),
    Feature(FeatureEvent),
    Config(ConfigEvent),
    Queue(QueueEvent),
    Notification(NotificationEvent),
    SplitRing(SplitRingEvent),
    Net(NetEvent<'a>),
    Console(ConsoleEvent<'a>),
}
