//! Whether a driver copes with what the specification leaves to the device types (§5).
//!
//! A device tells when it has just done what a latitude is about. A driver that goes on using the
//! device has coped; one that gives up before the device is live has not, if there was one latitude
//! only.

use super::Chapter;
use crate::event::{Event, Register};
use crate::features::net;
use crate::judge::Verdicts;
use crate::latitude::{About, Latitude, Latitudes};
use crate::layout::{DeviceKind, Structure, status};
use crate::protocol::net::config::STATUS;
use crate::requirement::{Level, Req};
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::coping::END;

    LINK = "net.link.read-again", Driver Should ["5.1.4.2-4"], Provoked("link-flaps"),
        "With VIRTIO_NET_F_STATUS the driver takes the link's state from status, also when it has changed.";
    MERGED = "net.receive.merged", Driver Must ["5.1.6.4"], Provoked("split-packets"),
        "The driver puts a packet together from num_buffers buffers, of each as many bytes as were used.";
    EARLY = "net.receive.unasked", Driver Must ["5.1.6.3"], Provoked("early-packets"),
        "The driver copes with packets from the moment it sets DRIVER_OK.";
    LARGE = "net.receive.largest", Driver Must ["5.1.6.3"], Provoked("large-packets"),
        "The driver copes with packets as large as what it negotiated allows.";
    CHECKSUMS = "net.receive.checksum-states", Driver Must ["5.1.6.4"], Provoked("checksum-states"),
        "With VIRTIO_NET_F_GUEST_CSUM the driver takes packets whose checksum is partial, validated or neither.";
    FAILED = "block.request.failed", Driver Must ["5.2.6"], Provoked("failing-sectors"),
        "The driver takes VIRTIO_BLK_S_IOERR for an answer, and goes on with other requests.";
    UNKNOWN_LEN = "block.request.failed-len", Driver MustNot ["2.4.8.3-1"], Provoked("unknown-len"),
        "The driver takes nothing for granted of a failed request of which len is 0, and goes on with others.";
    READ_ONLY = "block.read-only", Driver Should ["5.2.6.1-2"], Provoked("read-only"),
        "The driver works with a disk that is read-only.";
    CAPACITY = "block.capacity.changed", Driver Should ["3.2.2"], Provoked("capacity-changes"),
        "The driver copes with a capacity that changes while it uses the disk.";
    UNSUPPORTED = "block.request.unsupported", Driver Must ["5.2.6"], Provoked("refused-id"),
        "The driver takes VIRTIO_BLK_S_UNSUPP for an answer, and goes on with other requests.";
    FEW_SEGMENTS = "block.seg-max.smallest", Driver Must ["5.2.3"], Provoked("few-segments"),
        "The driver works with a seg_max of 1, as far as it negotiates VIRTIO_BLK_F_SEG_MAX.";
    SMALL_SEGMENTS = "block.size-max.smallest", Driver May ["5.2.3"], Provoked("small-segments"),
        "The driver works with a size_max of 512, as far as it negotiates VIRTIO_BLK_F_SIZE_MAX, or sets FAILED.";
    BLOCK_SIZE = "block.blk-size.any", Driver Must ["5.2.5"], Provoked("block-sizes"),
        "The driver counts sectors in 512 bytes, whatever blk_size, geometry and topology are.";
    LARGE_BLOCKS = "block.blk-size.large", Driver May ["5.2.5"], Provoked("large-blocks"),
        "The driver works with a blk_size that is larger than it would choose, or sets FAILED.";
    WRITEBACK = "block.writeback.after-reset", Driver Must ["5.2.5"], Provoked("writethrough"),
        "The driver works with either cache mode after a reset.";
    PORTS = "console.port.removed", Driver Must ["5.3.6.2"], Provoked("ports-come-and-go"),
        "The driver copes with ports that are removed, and added again.";
    CLOSED = "console.port.host-closed", Driver Must ["5.3.6.2"], Provoked("ports-open-and-close"),
        "The driver copes with ports that are closed by the host, and opened again.";
    INPUT = "console.input.before-open", Driver Must ["5.3.6"], Provoked("early-input"),
        "The driver takes input from the moment it has given buffers for it.";
    SIZE = "console.size.changed", Driver Must ["5.3.6"], Provoked("size-changes"),
        "The driver copes with any size of the console, and with changes of it.";
    ONE_BYTE = "entropy.used.one-byte", Driver Must ["5.4.6"], Provoked("one-byte"),
        "The driver works with a device that puts one byte into each buffer.";
    SHORT = "entropy.used.short", Driver Must ["5.4.6"], Provoked("short-reads"),
        "The driver works with a device that does not fill its buffers.";
}

/// What a driver has coped with that goes on after the device has made use of a latitude. `LINK` is
/// judged by what it reads.
const GOES_ON: &[(Latitude, Req)] = &[
    (Latitude::SplitPackets, MERGED),
    (Latitude::EarlyPackets, EARLY),
    (Latitude::LargePackets, LARGE),
    (Latitude::ChecksumStates, CHECKSUMS),
    (Latitude::FailingSectors, FAILED),
    (Latitude::UnknownLen, UNKNOWN_LEN),
    (Latitude::ReadOnly, READ_ONLY),
    (Latitude::CapacityChanges, CAPACITY),
    (Latitude::RefusedId, UNSUPPORTED),
    (Latitude::FewSegments, FEW_SEGMENTS),
    (Latitude::SmallSegments, SMALL_SEGMENTS),
    (Latitude::BlockSizes, BLOCK_SIZE),
    (Latitude::LargeBlocks, LARGE_BLOCKS),
    (Latitude::Writethrough, WRITEBACK),
    (Latitude::PortsComeAndGo, PORTS),
    (Latitude::PortsOpenAndClose, CLOSED),
    (Latitude::EarlyInput, INPUT),
    (Latitude::SizeChanges, SIZE),
    (Latitude::OneByte, ONE_BYTE),
    (Latitude::ShortReads, SHORT),
];

/// So many packets are not overtaken by the interrupt that tells of the link, and by who sees to it.
const PACKETS: u32 = 1 << 16;

/// What this chapter remembers.
#[derive(Default)]
pub(crate) struct Rules {
    latitudes: Latitudes,
    /// What the device has made use of since the driver moved last.
    used: Latitudes,
    /// Since the link has changed and status was not read: how many packets were sent.
    link: Option<u32>,
}

/// Whether `latitude` shows before a device of type `kind` is live.
fn shows_before(latitude: Latitude, kind: DeviceKind) -> bool {
    match latitude.about() {
        About::Block => kind == DeviceKind::Block,
        _ => false,
    }
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules::default()
    }

    /// The driver has sent a packet.
    #[inline(always)]
    pub(super) fn transmit(&mut self, verdicts: &mut Verdicts) {
        if let Some(packets) = &mut self.link {
            *packets += 1;
            if *packets >= PACKETS {
                self.link = None;
                let message = format!(
                    "the link has changed, and {PACKETS} packets were sent without a look at status"
                );
                verdicts.violated(LINK, None, message);
            }
        }
    }

    /// The driver sets FAILED before the device is live.
    fn gave_up(&mut self, session: &Session, verdicts: &mut Verdicts) {
        if self.latitudes.count() != 1 {
            return;
        }
        for (latitude, requirement) in GOES_ON {
            if self.latitudes.has(*latitude)
                && shows_before(*latitude, session.kind)
                && requirement.requirement().level != Level::May
            {
                let message = format!("FAILED set where {}", latitude.text());
                verdicts.violated(*requirement, None, message);
            }
        }
    }

    /// The driver uses the device after what it has done.
    fn goes_on(&mut self, verdicts: &mut Verdicts) {
        let used = std::mem::take(&mut self.used);
        for (latitude, requirement) in GOES_ON {
            if used.has(*latitude) {
                verdicts.held(*requirement);
            }
        }
    }

    fn config_read(&mut self, register: &Register, verdicts: &mut Verdicts) {
        let covers = register.structure == Structure::Device
            && (register.offset..register.offset + u32::from(register.width)).contains(&STATUS);
        if covers && self.link.take().is_some() {
            verdicts.held(LINK);
        }
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            Event::Latitude(latitude) => self.latitudes = self.latitudes.with(*latitude),
            Event::MadeUse(Latitude::LinkFlaps)
                if session.has(net::STATUS) && self.link.is_none() =>
            {
                self.link = Some(0);
            }
            Event::MadeUse(Latitude::LinkFlaps) => {}
            Event::MadeUse(latitude) => self.used = self.used.with(*latitude),
            Event::StatusWritten { to: 0, .. } => {
                self.used = Latitudes::default();
                self.link = None;
            }
            Event::StatusWritten { from, to }
                if to & !from & status::FAILED != 0 && !session.is_live() =>
            {
                self.gave_up(session, verdicts);
            }
            Event::NotifiedLive(_) if !self.used.is_empty() => self.goes_on(verdicts),
            Event::RegisterRead(register) if self.link.is_some() => {
                self.config_read(register, verdicts);
            }
            _ => {}
        }
    }
}
