//! What buffers and requests say of how a driver copes. Citations are of virtio 1.0.

use std::collections::BTreeMap;

use crate::device::block::kind;
use crate::event::{
    BlockRequest, Buffer, BufferId, ControlEvent, DataEvent, PciEvent, RegisterEvent,
};
use crate::features::block;
use crate::latitude::{Latitude, Latitudes};
use crate::layout::{Structure, common};
use crate::session::Session;

/// After so many requests that begin where another one ended, the driver counts sectors.
const CONTINUED: u32 = 2;

/// Bytes of a sector (§5.2.4).
const SECTOR: u64 = 512;

/// What buffers have said so far.
#[derive(Default)]
pub(super) struct Evidence {
    /// The buffer that each queue has returned last.
    returned: BTreeMap<u16, BufferId>,
    /// An interrupt for two causes that the driver has yet to handle.
    shared: Option<Shared>,
    /// Where the last request to the disk ended.
    end: Option<u64>,
    /// How many requests have begun there.
    continued: u32,
}

/// What the driver has made of an interrupt for two causes (§4.1.5.4.2).
struct Shared {
    /// The buffers that it was for, or some of them.
    returned: BTreeMap<u16, BufferId>,
    /// One of them is in use again: so the driver has taken it.
    taken: bool,
    /// The configuration has been read.
    read: bool,
}

/// What an event says.
#[derive(Default)]
pub(super) struct Said {
    /// With these, the driver has coped.
    pub(super) coped: Latitudes,
    /// These it ignores.
    pub(super) ignored: Latitudes,
}

/// Whether the driver looks at the device-specific configuration, or whether it has changed (§2.3).
pub(super) fn reads_configuration(event: RegisterEvent) -> bool {
    let RegisterEvent::Read(register) = event else {
        return false;
    };
    match register.structure {
        Structure::Device => true,
        Structure::Common => register.covers(common::CONFIG_GENERATION),
        Structure::Notify | Structure::Isr | Structure::PciCfg => false,
    }
}

/// Whether a buffer has the first descriptor of the one that was returned as `id`: so the driver knows that
/// this is free.
pub(super) fn takes_up(buffer: &Buffer<'_>, BufferId(id): BufferId) -> bool {
    let mut elements = buffer.elements.iter();
    elements.any(|element| !element.indirect && element.index == id)
}

impl Evidence {
    /// Whether buffers say something about `latitude`.
    pub(super) fn is_for(latitude: Latitude) -> bool {
        [
            Latitude::SHARED_INTERRUPTS,
            Latitude::READ_ONLY,
            Latitude::FEW_SEGMENTS,
            Latitude::SMALL_SEGMENTS,
            Latitude::BLOCK_SIZES,
            Latitude::LARGE_BLOCKS,
        ]
        .contains(&latitude)
    }

    /// Returns whether the driver has handled both causes of an interrupt.
    pub(super) fn control(&mut self, event: &ControlEvent<'_>) -> bool {
        match *event {
            ControlEvent::Pci(PciEvent::IsrRead { value: 3, .. }) => {
                self.shared = Some(Shared {
                    returned: self.returned.clone(),
                    taken: false,
                    read: false,
                });
            }
            ControlEvent::Pci(PciEvent::IsrRead { value, .. }) => {
                // It says again what the driver may not have handled.
                let again = |shared: &mut Shared| {
                    let (queue, config) = (value & 1 != 0, value & 2 != 0);
                    queue && !shared.taken || config && !shared.read
                };
                self.shared.take_if(again);
            }
            ControlEvent::Register(event) if reads_configuration(event) => {
                if let Some(shared) = &mut self.shared {
                    shared.read = true;
                }
            }
            ControlEvent::Status(event) if event.asks_for_reset() => *self = Evidence::default(),
            ControlEvent::Pci(_)
            | ControlEvent::Register(_)
            | ControlEvent::Status(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
        self.has_handled_both()
    }

    fn has_handled_both(&mut self) -> bool {
        let both = |shared: &mut Shared| shared.taken && shared.read;
        self.shared.take_if(both).is_some()
    }

    /// A buffer or a request.
    pub(super) fn data(
        &mut self,
        event: &DataEvent<'_>,
        in_use: Latitudes,
        session: &Session,
    ) -> Said {
        let mut said = Said::default();
        match event {
            DataEvent::Returned { queue, id, .. } => {
                self.returned.insert(*queue, *id);
            }
            DataEvent::Exposed(buffer) => {
                if let Some(shared) = &mut self.shared {
                    let returned = shared.returned.get(&buffer.queue);
                    shared.taken |= returned.is_some_and(|id| takes_up(buffer, *id));
                }
            }
            DataEvent::BlockRequest(request) => said = self.block(request, session),
            DataEvent::AvailableRead(_) | DataEvent::NetTransmit(_) => {}
        }
        if self.has_handled_both() {
            said.coped = said.coped.with(Latitude::SHARED_INTERRUPTS);
        }
        let only = |latitudes: Latitudes| latitudes.iter().filter(|l| in_use.has(*l)).collect();
        Said {
            coped: only(said.coped),
            ignored: only(said.ignored),
        }
    }

    /// A request to a disk (§5.2.6).
    fn block(&mut self, request: &BlockRequest, session: &Session) -> Said {
        let mut said = Said::default();
        let Some(header) = request.header else {
            return said;
        };
        let len = match header.kind {
            kind::IN => request.writable,
            kind::OUT => request.readable,
            _ => return said,
        };
        if header.kind == kind::OUT {
            said.ignored = said.ignored.with(Latitude::READ_ONLY);
        }
        // As many segments as there may be: more were to be had.
        if session.has(block::SEG_MAX) && request.segments == request.seg_max {
            said.coped = said.coped.with(Latitude::FEW_SEGMENTS);
        }
        // More than one segment holds, and in segments that are short enough.
        let size_max = request.size_max;
        if session.has(block::SIZE_MAX)
            && len > u64::from(size_max)
            && request.longest_segment <= size_max
        {
            said.coped = said.coped.with(Latitude::SMALL_SEGMENTS);
        }
        if self.end == Some(header.sector) {
            self.continued = self.continued.saturating_add(1);
        }
        // In any larger unit, one sector would be the same as one unit.
        self.end = (len > SECTOR).then(|| header.sector.saturating_add(len / SECTOR));
        if self.continued >= CONTINUED {
            let sizes = [Latitude::BLOCK_SIZES, Latitude::LARGE_BLOCKS];
            said.coped = sizes.into_iter().fold(said.coped, Latitudes::with);
        }
        said
    }
}
