//! MSI-X vectors (§4.1.5.1.2).

use super::{Chapter, goes_live};
use crate::event::Event;
use crate::judge::Verdicts;
use crate::layout::{DeviceKind, NO_VECTOR};
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::setup::END;

    IN_TABLE = "msix.vector.in-table", Driver MustNot ["4.1.5.1.2.2-4"], Asserted,
        "Events are mapped only to vectors that the MSI-X table has.";
    ENABLED = "msix.vector.while-enabled", Driver ShouldNot ["4.1.5.1.2", "4.1.5.1.3"], Asserted,
        "Events are mapped to vectors only while MSI-X is enabled.";
    BEFORE_ENABLE = "msix.vector.before-enable", Driver Must ["4.1.4.3.2-3", "4.1.5.1.3"], Asserted,
        "A queue is mapped to its vector before it is enabled.",
        readings [
            "any-time": "Events are mapped and unmapped whenever the driver likes; what comes before is what says where the queue is.",
            "before": "queue_msix_vector is one of the fields that are configured before the queue is enabled.",
        ];
    VERIFIED_CONFIG = "msix.vector.verified.config", Driver Must ["4.1.5.1.2.2-5"], Asserted,
        "After mapping configuration changes to a vector, the driver reads msix_config back.";
    VERIFIED_QUEUE = "msix.vector.verified.queue", Driver Must ["4.1.5.1.2.2-5"], Asserted,
        "After mapping a queue to a vector, the driver reads queue_msix_vector back.";
}

/// What this chapter remembers: mappings that have not been read back.
#[derive(Default)]
pub(crate) struct Rules {
    config: bool,
    queues: u64,
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules::default()
    }

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

    /// The driver relies on what is mapped by now.
    fn relied_on(&mut self, verdicts: &mut Verdicts) {
        let Rules { config, queues } = std::mem::take(self);
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

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            Event::VectorWritten {
                queue,
                value,
                vectors,
                enabled,
            } => self.written(queue, value, vectors, enabled, session, verdicts),
            Event::VectorRead { queue, .. } => self.read(queue, verdicts),
            Event::StatusWritten { to: 0, .. } if session.is_live() => self.relied_on(verdicts),
            // An initialization given up relies on nothing.
            Event::StatusWritten { to: 0, .. } => *self = Rules::default(),
            _ if goes_live(event) => self.relied_on(verdicts),
            _ => {}
        }
    }
}
