//! Whether a driver copes with what the specification leaves to the device.
//!
//! A device tells at the start which [latitudes](crate::latitude) it makes use of. A driver that
//! brings it to life nevertheless has coped. One that gives up has not, if there was one latitude
//! only: of several nobody knows which it was.

use super::{Chapter, goes_live};
use crate::event::Event;
use crate::features::net;
use crate::judge::Verdicts;
use crate::latitude::{Latitude, Latitudes};
use crate::layout::{DeviceKind, status};
use crate::protocol;
use crate::protocol::net::config::STATUS;
use crate::protocol::net::{announce, class};
use crate::requirement::{Level, Req};
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::entropy::END;

    DEVICE_ID = "pci.match.device-id", Driver Must ["4.1.2.2-1"], Provoked("any-revision"),
        "The driver takes a device by vendor 0x1af4 and a device ID of 0x1040 plus the virtio device ID.";
    REVISION = "pci.match.any-revision", Driver Must ["4.1.2.2-3"], Provoked("any-revision"),
        "The driver takes a device of any PCI Revision ID.";
    SUBSYSTEM = "pci.match.any-subsystem", Driver May ["4.1.2.2-4"], Provoked("any-subsystem"),
        "The driver may take a device of any PCI Subsystem Vendor and Device ID.";
    TRANSITIONAL = "pci.match.transitional-id", Driver Must ["4.1.2.2-2"], Provoked("transitional-id"),
        "The driver takes a device by vendor 0x1af4 and the Transitional PCI Device ID of its type.";
    CFG_TYPE = "pci.capability.reserved-cfg-type", Driver Must ["4.1.4.1-1"], Provoked("reserved-cfg-type"),
        "The driver ignores a capability with a reserved cfg_type.";
    FIRST = "pci.capability.first-instance", Driver Should ["4.1.4.1-2"], Provoked("second-instances"),
        "Of several capabilities of the same structure the driver uses the first.";
    CAP_LEN = "pci.capability.larger-cap-len", Driver Must ["4.1.4.1-3"], Provoked("long-capabilities"),
        "The driver accepts a cap_len that is larger than the fields need.";
    BAR = "pci.capability.reserved-bar", Driver Must ["4.1.4.1-4"], Provoked("reserved-bar"),
        "The driver ignores a capability with a reserved bar.";
    MAPPED = "pci.structure.map-what-is-needed", Driver Should ["4.1.4.1-5"],
        Unobservable("how much of a BAR is mapped shows nowhere: a device sees accesses, and those beyond the fields are judged as such"),
        "The driver maps no more of a structure than it needs.";
    LENGTH = "pci.structure.larger-length", Driver Must ["4.1.4.1-6"], Provoked("oversized-structures"),
        "The driver copes with a structure of any length that is large enough.";
    NO_LIMIT = "config.size.no-limit", Driver MustNot ["2.3.1-3"], Provoked("oversized-structures"),
        "The driver sets no limit to the size of structures and of device configuration space.";
    LARGE_ENOUGH = "config.size.large-enough", Driver Should ["2.3.1-4"], Provoked("oversized-structures"),
        "Of the size of device configuration space the driver checks only that it is large enough.";
    SMALL_TABLE = "msix.table-size.smallest", Driver Must ["4.1.5.1.2.2-1"], Provoked("one-vector"),
        "The driver copes with an MSI-X table of one entry.";
    LARGE_TABLE = "msix.table-size.largest", Driver Must ["4.1.5.1.2.2-1"], Provoked("most-vectors"),
        "The driver copes with an MSI-X table of 0x800 entries.";
    FALL_BACK = "msix.table-size.fall-back", Driver May ["4.1.5.1.2.2-2"], Provoked("one-vector"),
        "With one MSI-X vector only the driver may use the interrupt pin.";
    HINT = "msix.table-size.hint", Driver May ["4.1.5.1.2.2-3"], Provoked("most-vectors"),
        "The driver may take the size of the MSI-X table for a hint as to how many vectors to use.";
    REFUSED = "msix.vector.refused", Driver May ["4.1.5.1.2.2-6"], Provoked("refused-vectors"),
        "Where a vector cannot be mapped the driver may try with fewer, use none, or give up.";
    COPE = "features.missing.cope", Driver Should ["2.2.1-2"], Provoked("few-features"),
        "The driver works without features that are not offered.";
    ELSE_FAILED = "features.missing.else-failed", Driver Must ["2.2.1-2"], Provoked("few-features"),
        "A driver that cannot work without a feature that is not offered sets FAILED.";
    VERSION_1 = "features.version-1.missing", Driver May ["6.1-2"],
        Unobservable("a device of virtio 1.0 offers VIRTIO_F_VERSION_1 always (§6.2), so none can see what a driver does without"),
        "The driver may fail where VIRTIO_F_VERSION_1 is not offered.";
    GIVEN_UP = "status.failed.given-up", Driver Should ["3.1.1-4"], Provoked("refused-features"),
        "A driver that gives up on a device sets FAILED; it may reset the device later, and begin anew.";
    SPURIOUS = "interrupt.spurious", Driver Must ["2.4.7.1-5"], Provoked("spurious-interrupts"),
        "The driver copes with interrupts for which there is no used buffer.";
    SHARED = "interrupt.shared", Driver Must ["4.1.5.4.2-1"], Provoked("shared-interrupts"),
        "The driver copes with one interrupt for a change of the configuration and for used buffers.";
    ACKNOWLEDGED = "net.announce.acknowledged", Driver Must ["5.1.6.5.4.1-2"], Provoked("announce"),
        "Having seen VIRTIO_NET_S_ANNOUNCE in status, the driver sends VIRTIO_NET_CTRL_ANNOUNCE_ACK.";
}

/// What a driver has coped with that brings the device to life.
const COPED: &[(Latitude, Req)] = &[
    (Latitude::AnyRevision, DEVICE_ID),
    (Latitude::AnyRevision, REVISION),
    (Latitude::AnySubsystem, SUBSYSTEM),
    (Latitude::TransitionalId, TRANSITIONAL),
    (Latitude::ReservedCfgType, CFG_TYPE),
    (Latitude::ReservedBar, BAR),
    (Latitude::LongCapabilities, CAP_LEN),
    (Latitude::SecondInstances, FIRST),
    (Latitude::OversizedStructures, LENGTH),
    (Latitude::OversizedStructures, NO_LIMIT),
    (Latitude::OversizedStructures, LARGE_ENOUGH),
    (Latitude::OneVector, SMALL_TABLE),
    (Latitude::OneVector, FALL_BACK),
    (Latitude::MostVectors, LARGE_TABLE),
    (Latitude::MostVectors, HINT),
    (Latitude::RefusedVectors, REFUSED),
    (Latitude::FewFeatures, COPE),
    (Latitude::FewFeatures, ELSE_FAILED),
];

/// So many packets are not overtaken by an acknowledgement that is on its way.
const PACKETS: u32 = 1 << 16;

/// VIRTIO_NET_S_ANNOUNCE, in the low byte of status (§5.1.4).
const S_ANNOUNCE: u64 = protocol::net::status::ANNOUNCE as u64;

/// What this chapter remembers.
#[derive(Default)]
pub(crate) struct Rules {
    latitudes: Latitudes,
    /// The driver has used the second instance of a structure, in this life of the device.
    second: bool,
    /// What the driver accepted when FEATURES_OK was refused, and has not set FAILED since.
    refused: Option<u64>,
    /// There was an interrupt without a used buffer, and the driver has not moved since.
    spurious: bool,
    /// … or one for two reasons.
    shared: bool,
    /// Since the driver has seen that it is to announce itself: how many packets it has sent.
    announce: Option<u32>,
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules::default()
    }

    fn went_live(&mut self, verdicts: &mut Verdicts) {
        for (latitude, requirement) in COPED {
            if self.latitudes.has(*latitude) && !(*requirement == FIRST && self.second) {
                verdicts.held(*requirement);
            }
        }
    }

    /// The driver sets FAILED before the device is live.
    fn gave_up(&mut self, verdicts: &mut Verdicts) {
        if self.refused.take().is_some() {
            verdicts.held(GIVEN_UP);
            return;
        }
        for (latitude, requirement) in COPED {
            if !self.latitudes.has(*latitude) {
                continue;
            }
            if *requirement == ELSE_FAILED {
                verdicts.held(ELSE_FAILED);
            } else if requirement.requirement().level != Level::May && self.latitudes.count() == 1 {
                let message = format!("FAILED set where {}", latitude.text());
                verdicts.violated(*requirement, None, message);
            }
        }
    }

    fn features_refused(&mut self, accepted: u64, verdicts: &mut Verdicts) {
        if !self.latitudes.has(Latitude::RefusedFeatures) {
            return;
        }
        // Whoever accepts the same again has not tried another set: it had given up, and begins anew.
        if self.refused.replace(accepted) == Some(accepted) {
            let message = format!(
                "FEATURES_OK refused for {accepted:#x}, and the same accepted again without FAILED in between"
            );
            verdicts.violated(GIVEN_UP, None, message);
        }
    }

    /// The driver has sent a packet.
    #[inline(always)]
    pub(super) fn transmit(&mut self, verdicts: &mut Verdicts) {
        if let Some(packets) = &mut self.announce {
            *packets += 1;
            if *packets >= PACKETS {
                self.announce = None;
                let message = format!(
                    "VIRTIO_NET_S_ANNOUNCE was read, and {PACKETS} packets were sent without VIRTIO_NET_CTRL_ANNOUNCE_ACK"
                );
                verdicts.violated(ACKNOWLEDGED, None, message);
            }
        }
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            Event::Latitude(latitude) => self.latitudes = self.latitudes.with(latitude),
            Event::SecondInstance { structure } => {
                self.second = true;
                let message = format!("an access to the second {}", structure.name());
                verdicts.violated(FIRST, None, message);
            }
            Event::StatusWritten { to: 0, .. } => {
                self.second = false;
                self.spurious = false;
                self.shared = false;
                self.announce = None;
            }
            Event::StatusWritten { from, to }
                if to & !from & status::FAILED != 0 && !session.is_live() =>
            {
                self.gave_up(verdicts);
            }
            Event::FeaturesDecided {
                accepted,
                kept: false,
                ..
            } => self.features_refused(accepted, verdicts),
            Event::SpuriousInterrupt => self.spurious = true,
            Event::IsrRead { value: 3, .. } if self.latitudes.has(Latitude::SharedInterrupts) => {
                self.shared = true;
            }
            Event::NotifiedLive(_) => {
                if std::mem::take(&mut self.spurious) {
                    verdicts.held(SPURIOUS);
                }
                if std::mem::take(&mut self.shared) {
                    verdicts.held(SHARED);
                }
            }
            Event::RegisterRead(register)
                if session.kind == DeviceKind::Net
                    && register.structure == crate::layout::Structure::Device
                    && session.has(net::STATUS | net::GUEST_ANNOUNCE)
                    && session.is_live() =>
            {
                let covered = register.offset <= STATUS
                    && STATUS < register.offset + u32::from(register.width);
                if covered
                    && register.value >> (8 * (STATUS - register.offset)) & S_ANNOUNCE != 0
                    && self.announce.is_none()
                {
                    self.announce = Some(0);
                }
            }
            Event::NetCommand(command)
                if command.class == Some(class::ANNOUNCE)
                    && command.command == Some(announce::ACK)
                    && self.announce.take().is_some() =>
            {
                verdicts.held(ACKNOWLEDGED);
            }
            _ if goes_live(event) => self.went_live(verdicts),
            _ => {}
        }
    }
}
