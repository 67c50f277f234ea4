//! MSI-X vectors (§4.1.5.1.2 of virtio 1.0).

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, PciEvent};
use crate::judge::Verdicts;
use crate::layout::NO_VECTOR;
use crate::requirement::requirements;
use crate::rules::Chapter;
use crate::session::Session;

requirements! {
    chapter PciVectors;

    IN_TABLE = "msix.vector.in-table", Driver MustNot ["4.1.5.1.2.2-4"], Asserted,
        "Events are mapped only to vectors in the MSI-X table.";
    ENABLED = "msix.vector.while-enabled", Driver ShouldNot ["4.1.5.1.2", "4.1.5.1.3"], Asserted,
        "Events are mapped to vectors only while MSI-X is enabled.";
    BEFORE_ENABLE = "msix.vector.before-enable", Driver Must ["4.1.4.3.2-3", "4.1.5.1.3"], Asserted,
        "A queue is mapped to its vector before it is enabled.",
        readings [
            "any-time": "Events may be mapped and unmapped at any time; only the size and the addresses must be set before.",
            "before": "queue_msix_vector is one of the fields that are configured before the queue is enabled.",
        ];
    VERIFIED_CONFIG = "msix.vector.verified.config", Driver Must ["4.1.5.1.2.2-5"], Asserted,
        "After mapping configuration changes to a vector, the driver reads msix_config back.";
    VERIFIED_QUEUE = "msix.vector.verified.queue", Driver Must ["4.1.5.1.2.2-5"], Asserted,
        "After mapping a queue to a vector, the driver reads queue_msix_vector back.";
}

advice! {
    "msix":
        "An event is mapped to an MSI-X vector that the device does not have, or the driver did not check whether the device accepted the mapping: its interrupts never arrive.";
        "Write the vector, read the field back, and use fewer vectors or INTx if it reads as VIRTIO_MSI_NO_VECTOR.";
    "msix.vector.while-enabled":
        "An event is mapped to a vector while the device still uses its interrupt pin.";
        "Enable MSI-X in its capability first, then map events to its vectors.";
}

/// The state of this chapter's rules: mappings that have not been read back.
#[derive(Default)]
pub(crate) struct PciVectorRules {
    config: bool,
    queues: u64,
}

impl PciVectorRules {
    fn written(
        &mut self,
        queue: Option<u16>,
        value: u16,
        vectors: u16,
        enabled: bool,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let mapped = value != NO_VECTOR
            && verdicts.check(IN_TABLE, value < vectors, queue, || {
                format!("vector {value} chosen; the MSI-X table has {vectors}")
            });
        if mapped {
            verdicts.check(ENABLED, enabled, queue, || {
                format!("vector {value} chosen while MSI-X is not enabled")
            });
        }
        if let Some(index) = queue
            && mapped
        {
            let before = !session.is_enabled(index);
            verdicts.check_by(BEFORE_ENABLE, [true, before], queue, || {
                format!("vector {value} chosen for a queue that is enabled")
            });
        }
        match queue {
            None => self.config = mapped,
            Some(index @ 0..64) => {
                self.queues &= !(1 << index);
                self.queues |= u64::from(mapped) << index;
            }
            Some(_) => {}
        }
    }

    fn read(&mut self, queue: Option<u16>, verdicts: &mut Verdicts) {
        match queue {
            None if self.config => {
                self.config = false;
                verdicts.held(VERIFIED_CONFIG);
            }
            Some(index @ 0..64) if self.queues & 1 << index != 0 => {
                self.queues &= !(1 << index);
                verdicts.held(VERIFIED_QUEUE);
            }
            _ => {}
        }
    }

    /// The driver relies on the mappings from now on.
    fn relied_on(&mut self, verdicts: &mut Verdicts) {
        let PciVectorRules { config, queues } = std::mem::take(self);
        if config {
            verdicts.violated(
                VERIFIED_CONFIG,
                None,
                "msix_config written and not read back".to_owned(),
            );
        }
        for index in (0..64).filter(|i| queues & 1 << i != 0) {
            verdicts.violated(
                VERIFIED_QUEUE,
                Some(index),
                "queue_msix_vector written and not read back".to_owned(),
            );
        }
    }
}

impl Chapter for PciVectorRules {
    fn new(_kind: DeviceKind) -> Self {
        PciVectorRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::Pci(event) => match event {
                PciEvent::VectorWritten {
                    queue,
                    value,
                    vectors,
                    enabled,
                } => self.written(queue, value, vectors, enabled, session, verdicts),
                PciEvent::VectorRead { queue, .. } => self.read(queue, verdicts),
                PciEvent::CapabilityRead
                | PciEvent::SecondInstance { .. }
                | PciEvent::CapabilityWritten { .. }
                | PciEvent::WindowAddressed { .. }
                | PciEvent::WindowAccessed { .. }
                | PciEvent::IsrRead { .. } => {}
            },
            ControlEvent::Status(event) => {
                let ends_life = event.asks_for_reset() && session.is_live();
                if ends_life || event.sets_driver_ok() {
                    self.relied_on(verdicts);
                } else if event.asks_for_reset() {
                    // An initialization that was given up does not rely on mappings.
                    *self = PciVectorRules::default();
                }
            }
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
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
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}
