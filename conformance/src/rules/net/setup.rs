//! How a network device is set up: features, configuration and virtqueues (§5.1.2 to §5.1.4 of virtio
//! 1.0).

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, FeatureEvent, QueueEvent};
use crate::features::{names, net};
use crate::judge::Verdicts;
use crate::layout::status;
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::rules::features::accept_offered;
use crate::rules::read_only::ReadOnlyFields;
use crate::session::Session;

requirements! {
    chapter NetSetup;

    ACCEPT_MAC = "net.features.mac", Driver Should ["5.1.4.2-1"], Asserted,
        "The driver accepts VIRTIO_NET_F_MAC if it is offered.";
    NEEDS_GUEST_TSO4 = "net.features.dependency.guest-tso4", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_TSO4 is accepted only together with GUEST_CSUM.";
    NEEDS_GUEST_TSO6 = "net.features.dependency.guest-tso6", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_TSO6 is accepted only together with GUEST_CSUM.";
    NEEDS_GUEST_ECN = "net.features.dependency.guest-ecn", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_ECN is accepted only together with GUEST_TSO4 or GUEST_TSO6.";
    NEEDS_GUEST_UFO = "net.features.dependency.guest-ufo", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_UFO is accepted only together with GUEST_CSUM.";
    NEEDS_HOST_TSO4 = "net.features.dependency.host-tso4", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_TSO4 is accepted only together with CSUM.";
    NEEDS_HOST_TSO6 = "net.features.dependency.host-tso6", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_TSO6 is accepted only together with CSUM.";
    NEEDS_HOST_ECN = "net.features.dependency.host-ecn", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_ECN is accepted only together with HOST_TSO4 or HOST_TSO6.";
    NEEDS_HOST_UFO = "net.features.dependency.host-ufo", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_UFO is accepted only together with CSUM.";
    NEEDS_CTRL_RX = "net.features.dependency.ctrl-rx", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_CTRL_RX is accepted only together with CTRL_VQ.";
    NEEDS_CTRL_VLAN = "net.features.dependency.ctrl-vlan", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_CTRL_VLAN is accepted only together with CTRL_VQ.";
    NEEDS_GUEST_ANNOUNCE = "net.features.dependency.guest-announce", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_ANNOUNCE is accepted only together with CTRL_VQ.";
    NEEDS_MQ = "net.features.dependency.mq", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_MQ is accepted only together with CTRL_VQ.";
    NEEDS_CTRL_MAC_ADDR = "net.features.dependency.ctrl-mac-addr", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_CTRL_MAC_ADDR is accepted only together with CTRL_VQ.";
    NET_READ_ONLY = "net.config.read-only", Driver MustNot ["5.1.4"], Asserted,
        "The driver writes no field of a network device's configuration.";
    CONTROLQ = "net.queue.negotiated", Driver MustNot ["5.1.2"], Asserted,
        "A network device's queues beyond the first pair are enabled only with VIRTIO_NET_F_CTRL_VQ or MQ.";
    PAIRS = "net.queue.pairs-negotiated", Driver MustNot ["5.1.2"], Asserted,
        "Without VIRTIO_NET_F_MQ, no queue of a network device after queue 2, its controlq, is enabled.";
}

advice! {
    "net":
        "The network driver uses a feature that was not negotiated, or a wrong layout.";
        "Test the feature bit before each use, and compare the layout with struct virtio_net_hdr and struct virtio_net_config.";
    "net.queue":
        "A queue is enabled that does not exist with the accepted features, or whose number means another queue with them.";
        "Without VIRTIO_NET_F_MQ there is one pair, and the controlq, with VIRTIO_NET_F_CTRL_VQ, is queue 2; with it, the controlq comes after max_virtqueue_pairs pairs.";
    "net.features":
        "A feature is accepted without another feature that it requires.";
        "Accept a feature only together with the features that it requires.";
}

/// The requirement of each feature that requires another (§5.1.3.1).
static DEPENDENCIES: [(u64, Req); 13] = [
    (net::GUEST_TSO4, NEEDS_GUEST_TSO4),
    (net::GUEST_TSO6, NEEDS_GUEST_TSO6),
    (net::GUEST_ECN, NEEDS_GUEST_ECN),
    (net::GUEST_UFO, NEEDS_GUEST_UFO),
    (net::HOST_TSO4, NEEDS_HOST_TSO4),
    (net::HOST_TSO6, NEEDS_HOST_TSO6),
    (net::HOST_ECN, NEEDS_HOST_ECN),
    (net::HOST_UFO, NEEDS_HOST_UFO),
    (net::CTRL_RX, NEEDS_CTRL_RX),
    (net::CTRL_VLAN, NEEDS_CTRL_VLAN),
    (net::GUEST_ANNOUNCE, NEEDS_GUEST_ANNOUNCE),
    (net::MQ, NEEDS_MQ),
    (net::CTRL_MAC_ADDR, NEEDS_CTRL_MAC_ADDR),
];

/// The state of this chapter's rules.
pub(crate) struct NetSetupRules {
    read_only: ReadOnlyFields,
}

/// The device has decided on features.
fn decided(offered: u64, accepted: u64, session: &Session, verdicts: &mut Verdicts) {
    accept_offered(ACCEPT_MAC, net::MAC, offered, accepted, session, verdicts);
    let bits = DeviceKind::Net.facts().features.iter();
    for bit in bits.filter(|bit| bit.requires != 0 && accepted & bit.mask != 0) {
        let Some((_, requirement)) = DEPENDENCIES.iter().find(|(of, _)| *of == bit.mask) else {
            continue;
        };
        verdicts.check(*requirement, accepted & bit.requires != 0, None, || {
            format!(
                "{} accepted without {}",
                names(session.kind, bit.mask),
                names(session.kind, bit.requires)
            )
        });
    }
}

/// Judges whether the driver may enable a queue beyond the first pair (§5.1.2).
fn enabled(index: u16, session: &Session, verdicts: &mut Verdicts) {
    // Without FEATURES_OK, the wrong time is reported instead.
    if index < 2 || session.status & status::FEATURES_OK == 0 {
        return;
    }
    let queue = Some(index);
    let any_of = net::CTRL_VQ | net::MQ;
    let negotiated = session.negotiated & any_of != 0;
    if verdicts.check(CONTROLQ, negotiated, queue, || {
        format!("enabled without {}", names(session.kind, any_of))
    }) {
        verdicts.check(PAIRS, index == 2 || session.has(net::MQ), queue, || {
            "enabled without VIRTIO_NET_F_MQ".to_owned()
        });
    }
}

impl Chapter for NetSetupRules {
    fn new(_kind: DeviceKind) -> Self {
        NetSetupRules {
            read_only: ReadOnlyFields::new(NET_READ_ONLY),
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        if session.kind != DeviceKind::Net {
            return;
        }
        match event {
            ControlEvent::Register(event) => self.read_only.register(event, session, verdicts),
            ControlEvent::Status(event) => self.read_only.status(*event, verdicts),
            ControlEvent::Feature(FeatureEvent::Decided {
                offered, accepted, ..
            }) => decided(*offered, *accepted, session, verdicts),
            ControlEvent::Queue(QueueEvent::EnableWritten {
                queue,
                value: 1,
                setup: Some(setup),
            }) if !setup.enabled => enabled(*queue, session, verdicts),
            ControlEvent::Feature(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dependency_has_its_requirement() {
        let bits = DeviceKind::Net.facts().features.iter();
        let depend: Vec<u64> = bits.filter(|b| b.requires != 0).map(|b| b.mask).collect();
        let judged: Vec<u64> = DEPENDENCIES.iter().map(|(mask, _)| *mask).collect();
        assert_eq!(judged, depend);
    }
}
