//! The rules, one file for each chapter. Each declares its requirements, judges events against them, and
//! describes what a violation looks like and how to fix a driver.
//!
//! A new chapter is one line in `chapters!`. A rule sees the [session](crate::session) as it was
//! before the event.
//!
//! No match on events ends in a wildcard: a new event does not compile until every chapter has said
//! what it does with it.

#![deny(clippy::wildcard_enum_match_arm)]

use crate::advice::Advice;
use crate::built;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent};
use crate::judge::Verdicts;
use crate::latitude;
use crate::requirement::Requirement;
use crate::session::Session;
use crate::tally::Tallies;

pub mod block;
pub mod buffer;
pub mod config;
pub mod console;
pub mod entropy;
pub mod features;
pub mod latitudes;
pub mod net;
pub mod notify;
pub mod pci;
pub mod queue_setup;
mod read_only;
pub mod split_ring;
pub mod status;

/// The rules of a chapter, which judge events.
pub(crate) trait Chapter {
    /// The rules for a device of type `kind` that is fresh from reset.
    fn new(kind: DeviceKind) -> Self;

    /// Judges an event that does not come with every buffer.
    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts);

    /// Judges an event that comes with every buffer. Implementations are `#[inline(always)]`, so that
    /// the match on the event is decided where the caller builds it.
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts);

    /// Adds the counts that this chapter keeps itself: a frequent event for which several requirements
    /// hold is counted once, and added to each of them here.
    fn tally(&self, tallies: &mut Tallies) {
        let _ = tallies;
    }
}

macro_rules! chapters {
    (
        judged {
            $($id:ident = $($module:ident)::+, $field:ident: $rules:ident, $title:literal;)+
        }
        declared {
            $($declared:ident = $($declared_module:ident)::+, $declared_title:literal;)+
        }
    ) => {
        /// A chapter of requirements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ChapterId {
            $(#[doc = $title] $id,)+
            $(#[doc = $declared_title] $declared,)+
        }

        /// The number of requirements of each chapter.
        const LENS: [usize; ChapterId::ALL.len()] = [
            $($($module)::+::REQUIREMENTS.len(),)+
            $($($declared_module)::+::REQUIREMENTS.len(),)+
        ];

        // Each file declares the chapter as which it is listed here.
        $(const _: () = assert!($($module)::+::CHAPTER as u8 == ChapterId::$id as u8);)+
        $(const _: () =
            assert!($($declared_module)::+::CHAPTER as u8 == ChapterId::$declared as u8);)+

        impl ChapterId {
            /// All of them, in catalogue order.
            pub const ALL: &[ChapterId] =
                &[$(ChapterId::$id,)+ $(ChapterId::$declared,)+];

            /// The title of the chapter.
            pub const fn title(self) -> &'static str {
                match self {
                    $(ChapterId::$id => $title,)+
                    $(ChapterId::$declared => $declared_title,)+
                }
            }

            /// Its requirements, in the order of their rows.
            pub const fn requirements(self) -> &'static [Requirement] {
                match self {
                    $(ChapterId::$id => $($module)::+::REQUIREMENTS,)+
                    $(ChapterId::$declared => $($declared_module)::+::REQUIREMENTS,)+
                }
            }

            /// Its advice on violations.
            pub(crate) const fn advice(self) -> &'static [Advice] {
                match self {
                    $(ChapterId::$id => $($module)::+::ADVICE,)+
                    $(ChapterId::$declared => $($declared_module)::+::ADVICE,)+
                }
            }
        }

        /// The rules of all chapters for one device.
        pub(crate) struct Chapters {
            $($field: $($module)::+::$rules,)+
        }

        impl Chapters {
            pub(crate) fn new(kind: DeviceKind) -> Self {
                Chapters { $($field: Chapter::new(kind),)+ }
            }

            /// Hands an event that does not come with every buffer to each chapter.
            #[inline(never)]
            pub(crate) fn control(
                &mut self,
                event: &ControlEvent<'_>,
                session: &Session,
                verdicts: &mut Verdicts,
            ) {
                $(self.$field.control(event, session, verdicts);)+
            }

            /// Hands an event that comes with every buffer to each chapter.
            #[inline(always)]
            pub(crate) fn data(
                &mut self,
                event: &DataEvent<'_>,
                session: &Session,
                verdicts: &mut Verdicts,
            ) {
                $(self.$field.data(event, session, verdicts);)+
            }

            /// Adds the counts that the chapters keep themselves.
            pub(crate) fn tally(&self, tallies: &mut Tallies) {
                $(self.$field.tally(tallies);)+
            }
        }
    };
}

// In the order of the specification. The chapters that are only declared are judged by others: the
// latitudes' by `latitudes`; those on devices are built.
chapters! {
    judged {
        Status = status, status: StatusRules, "device status and initialization";
        Features = features, features: FeatureRules, "features";
        Config = config, config: ConfigRules, "device-specific configuration";
        QueueSetup = queue_setup, queue_setup: QueueSetupRules, "configuration of virtqueues";
        Notify = notify, notify: NotifyRules, "notifications of available buffers";
        Buffer = buffer, buffer: BufferRules, "buffers and their descriptors";
        SplitRing = split_ring, split_ring: SplitRingRules, "available and used ring";
        PciRegisters = pci::registers, pci_registers: PciRegisterRules, "PCI: capabilities and registers";
        PciAccess = pci::access, pci_access: PciAccessRules, "PCI: width of accesses";
        PciVectors = pci::vectors, pci_vectors: PciVectorRules, "PCI: MSI-X vectors";
        PciNotify = pci::notify, pci_notify: PciNotifyRules, "PCI: how notifications are sent";
        NetSetup = net::setup, net_setup: NetSetupRules, "network device: features and virtqueues";
        NetTransmit = net::transmit, net_transmit: NetTransmitRules, "network device: packets that are sent";
        NetBuffers = net::buffers, net_buffers: NetBufferRules, "network device: receive buffers";
        NetReceive = net::receive, net_receive: NetReceiveRules, "network device: packets that are received";
        NetControl = net::control, net_control: NetControlRules, "network device: control commands";
        NetCard = net::card, net_card: NetCardRules, "network device: address, link, announcements";
        Block = block, block: BlockRules, "block device";
        Console = console, console: ConsoleRules, "console device";
        Entropy = entropy, entropy: EntropyRules, "entropy device";
        Latitudes = latitudes, latitudes: LatitudeRules, "latitudes: giving up";
    }
    declared {
        LatitudeTransport = latitude::transport, "latitudes of the transport";
        LatitudeDevice = latitude::device, "latitudes of status, features and configuration";
        LatitudeVirtqueue = latitude::virtqueue, "latitudes of virtqueues and interrupts";
        LatitudeNet = latitude::net, "latitudes of the network device";
        LatitudeBlock = latitude::block, "latitudes of the block device";
        LatitudeConsole = latitude::console, "latitudes of the console device";
        LatitudeEntropy = latitude::entropy, "latitudes of the entropy device";
        BuiltBasic = built::basic, "on devices: basic facilities and operation";
        BuiltPci = built::pci, "on devices: PCI transport";
        BuiltNet = built::net, "on devices: network device";
        BuiltBlock = built::block, "on devices: block device";
        BuiltConsole = built::console, "on devices: console device";
        BuiltEntropy = built::entropy, "on devices: entropy device";
    }
}

/// The index of each chapter's first requirement in the catalogue, and the end.
const FIRST_INDICES: [usize; LENS.len() + 1] = {
    let mut indices = [0; LENS.len() + 1];
    let mut chapter = 0;
    while chapter < LENS.len() {
        indices[chapter + 1] = indices[chapter] + LENS[chapter];
        chapter += 1;
    }
    indices
};

impl ChapterId {
    /// The index of its first requirement in the catalogue.
    #[inline(always)]
    pub(crate) const fn first_index(self) -> usize {
        FIRST_INDICES[self as usize]
    }

    /// The number of requirements of all chapters.
    pub(crate) const fn end() -> usize {
        FIRST_INDICES[LENS.len()]
    }
}
