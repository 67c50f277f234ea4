//! The entropy device (§5.4 of virtio 1.0).

use super::Chapter;
use super::buffer::{Directions, room};
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{Buffer, ChainEnd, ControlEvent, DataEvent};
use crate::judge::Verdicts;
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter Entropy;

    WRITABLE = "entropy.buffer.writable", Driver MustNot ["5.4.6.1-1"], Asserted,
        "The driver adds no device-readable buffers to the entropy device's queue.";
    ROOM = "entropy.buffer.room", Driver Must ["5.4.6"], Asserted,
        "A buffer in the entropy device's queue has room for at least one random byte.";

    @unobservable {
        "entropy.length.examined", Driver Must ["5.4.6.1-2"],
            "the device cannot see how many of the returned bytes a driver uses",
            "The driver uses no more random bytes than the device reports as written.";
    }
}

advice! {
    "entropy":
        "A buffer for entropy is not device-writable, or is empty.";
        "Add device-writable buffers of at least one byte.";
}

/// These rules have no state.
pub(crate) struct EntropyRules;

/// Judges a buffer that the driver has made available.
#[inline]
fn taken(buffer: &Buffer<'_>, verdicts: &mut Verdicts) {
    let (queue, id) = (Some(buffer.queue), buffer.id);
    let readable = Directions::of(buffer).readable();
    verdicts.check(WRITABLE, !readable, queue, || {
        format!("chain {id} has device-readable buffers")
    });
    if !readable {
        verdicts.check(ROOM, room(buffer) > 0, queue, || {
            format!("chain {id} has no room")
        });
    }
}

impl Chapter for EntropyRules {
    fn new(_kind: DeviceKind) -> Self {
        EntropyRules
    }

    fn control(&mut self, event: &ControlEvent<'_>, _: &Session, _: &mut Verdicts) {
        match event {
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Status(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            // The parts of an incomplete chain are not known.
            DataEvent::Exposed(buffer)
                if session.kind == DeviceKind::Entropy
                    && matches!(buffer.end, ChainEnd::Complete) =>
            {
                taken(buffer, verdicts);
            }
            DataEvent::Exposed(_)
            | DataEvent::AvailableRead(_)
            | DataEvent::Returned { .. }
            | DataEvent::NetTransmit(_)
            | DataEvent::BlockRequest(_) => {}
        }
    }
}
