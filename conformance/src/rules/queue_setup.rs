//! Configuration of virtqueues (§2.4, §4.1.4.3, §4.1.5.1.3 of virtio 1.0).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, QueueArea, QueueEvent, QueueSetup, SplitSetup};
use crate::features::RING_EVENT_IDX;
use crate::judge::Verdicts;
use crate::layout::{desc, status};
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter QueueSetup;

    EXISTS = "queue.exists", Driver MustNot ["4.1.5.1.3", "4.1.4.3"], Asserted,
        "Only queues that exist are configured: a queue whose queue_size reads as 0 does not exist.";
    SIZE_POWER = "queue.size.power-of-two", Driver MustNot ["4.1.4.3.2-2"], Asserted,
        "The value written to queue_size is a power of two.",
        readings [
            "or-zero": "0 may also be written: the layout of the structure defines it for an unavailable queue.",
            "never-zero": "0 is not a power of two.",
        ];
    SIZE_MAX = "queue.size.at-most-offered", Driver MustNot ["4.1.5.1.3", "4.1.4.3"], Asserted,
        "The driver may reduce queue_size below the presented value, but never increases it.";
    SIZE_READ = "queue.size.read", Driver Should ["4.1.5.1.3"], Asserted,
        "The driver reads a queue's queue_size, which a reset may have changed, before it enables the queue.";
    SIZE_SET = "queue.size.not-zero", Driver Must ["2.4", "4.1.4.3"], Asserted,
        "An enabled queue has a size other than 0.";
    ALIGN_DESC = "queue.align.descriptor-table", Driver Must ["2.4.1-1"], Asserted,
        "The descriptor table begins at a multiple of 16 bytes.";
    ALIGN_AVAIL = "queue.align.available-ring", Driver Must ["2.4.1-1"], Asserted,
        "The available ring begins at a multiple of 2 bytes.";
    ALIGN_USED = "queue.align.used-ring", Driver Must ["2.4.1-1"], Asserted,
        "The used ring begins at a multiple of 4 bytes.";
    IN_MEMORY = "queue.in-memory", Driver Must ["2.4"], Asserted,
        "Each part of a virtqueue is contiguous and in the guest's memory.";
    PARTS_APART = "queue.parts-apart", Driver Must ["2.4", "2.4.6", "2.4.8"], Asserted,
        "The descriptor table, the available ring and the used ring of a queue do not overlap.",
        readings [
            "if-used": "used_event and avail_event are part of the rings only with VIRTIO_F_RING_EVENT_IDX.",
            "always": "The rings end with used_event and avail_event, whatever was negotiated.",
        ];
    QUEUES_APART = "queue.queues-apart", Driver Must ["2.4", "4.1.5.1.3"], Asserted,
        "The rings of one queue do not overlap those of another.",
        readings [
            "if-used": "used_event and avail_event are part of the rings only with VIRTIO_F_RING_EVENT_IDX.",
            "always": "The rings end with used_event and avail_event, whatever was negotiated.",
        ];
    USED_FLAGS = "queue.used-flags-zero", Driver Must ["2.4.9.1-1"], Asserted,
        "flags of the used ring is 0 when the queue is enabled.";
    USED_IDX = "queue.used-idx-zero", Driver Must ["2.4.8", "4.1.5.1.3"], Asserted,
        "idx of the used ring is 0 when the queue is enabled.";
    CONFIGURED = "queue.enable.configured", Driver Must ["4.1.4.3.2-3"], Asserted,
        "The addresses of a queue's three parts are written before the queue is enabled.";
    SIZE_FIXED = "queue.enable.size-fixed", Driver Must ["4.1.4.3.2-3"], Asserted,
        "The size of an enabled queue is not changed.";
    ADDRESS_FIXED = "queue.enable.address-fixed", Driver Must ["4.1.4.3.2-3"], Asserted,
        "The addresses of an enabled queue are not changed.";
    NOT_DISABLED = "queue.enable.not-zero", Driver MustNot ["4.1.4.3.2-5"], Asserted,
        "The driver does not write 0 to queue_enable.",
        readings [
            "disabling": "Only an enabled queue can be disabled: writing 0 to a queue_enable of 0 has no effect.",
            "any-zero": "0 is not written to queue_enable of any queue, enabled or not.",
        ];
    ENABLE_VALUE = "queue.enable.value", Driver Must ["4.1.4.3"], Asserted,
        "A queue is enabled by writing 1 to queue_enable, and no other value.";
    ENABLE_ONCE = "queue.enable.once", Driver ShouldNot ["4.1.5.1.3"], Asserted,
        "An enabled queue is not enabled again.";
    ENABLE_AFTER = "queue.enable.after-features-ok", Driver Must ["3.1.1-1", "3.1.1-3"], Asserted,
        "Queues are enabled after FEATURES_OK has been set.";
    ENABLE_BEFORE = "queue.enable.before-driver-ok", Driver Must ["3.1.1-1"], Asserted,
        "Queues are enabled before DRIVER_OK is set.",
        readings [
            "later-pairs": "The additional queue pairs of a network device may be enabled later, when the driver needs them.",
            "all-queues": "Every queue that is ever used is enabled before DRIVER_OK is set.",
        ];
}

advice! {
    "queue":
        "A virtqueue is not set up as the device requires, and the device uses different memory than the driver.";
        "For each queue: select it, read queue_size, reduce it if necessary, write the three aligned addresses, map the vector, and only then write 1 to queue_enable.";
    "queue.exists":
        "A queue is configured whose queue_size reads as 0.";
        "Read queue_size after selecting a queue, and skip queues with 0.";
    "queue.size":
        "The value written to queue_size is not a power of two, or larger than the presented value.";
        "Round down to a power of two that is at most the value read from queue_size.";
    "queue.size.read":
        "A queue is enabled whose queue_size was not read: the driver may lay out the rings for a wrong size, or for a queue that does not exist.";
        "After each reset, select the queue and read queue_size before laying out its rings.";
    "queue.align":
        "A part of the queue is not aligned: 16 bytes for the descriptor table, 2 for the available ring, 4 for the used ring.";
        "Allocate each part with its alignment; page alignment is always sufficient.";
    "queue.used-flags-zero":
        "The memory of the used ring was not cleared before the queue was enabled.";
        "Clear all of the queue's memory before enabling it.";
    "queue.used-idx-zero":
        "idx of the used ring is not 0 when the queue is enabled: the device starts at 0, and driver and device then count differently.";
        "Clear all of the queue's memory before enabling the queue, also when it is set up again after a reset.";
    "queue.enable":
        "queue_enable is written at the wrong time or with the wrong value: too early, too late, twice, or with 0 to disable the queue.";
        "Write 1 once to each queue, after its other fields and after FEATURES_OK, and before DRIVER_OK; to stop a queue, reset the device.";
}

/// Queues beyond these do not exist here.
const QUEUES: usize = 64;

/// The state of this chapter's rules since the last reset.
pub(crate) struct QueueSetupRules {
    queues: Box<[QueueState; QUEUES]>,
    /// queue_size of an enabled queue was changed.
    size_changed: bool,
    /// An address of an enabled queue was changed.
    address_changed: bool,
    /// The driver tried to disable an enabled queue.
    disabled: bool,
}

#[derive(Clone, Copy, Default)]
struct QueueState {
    /// queue_size has been read.
    size_read: bool,
    /// Which of the three addresses have been written.
    written: [bool; 3],
    /// Its setup when it was enabled.
    setup: Option<QueueSetup>,
    /// … if its parts are in memory.
    extents: Option<QueueSetup>,
}

impl QueueSetupRules {
    fn queue(&mut self, index: u16) -> Option<&mut QueueState> {
        self.queues.get_mut(usize::from(index))
    }

    fn size_written(
        &mut self,
        index: u16,
        [value, max]: [u16; 2],
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let queue = Some(index);
        if !verdicts.check(EXISTS, max != 0, queue, || {
            format!("queue_size written as {value}, but queue {index} does not exist")
        }) {
            return;
        }
        let power = value.is_power_of_two();
        let by = [(value != 0).then_some(power), Some(power)];
        verdicts.check_by(SIZE_POWER, by, queue, || {
            format!("queue_size written as {value}")
        });
        verdicts.check(SIZE_MAX, value <= max, queue, || {
            format!("queue_size written as {value}; the device presented {max}")
        });
        let enabled = self.queue(index).and_then(|q| q.setup);
        if let Some(setup) = enabled
            && setup.size != value
            && !session.not_reset
        {
            self.size_changed = true;
            verdicts.violated(
                SIZE_FIXED,
                queue,
                format!(
                    "queue_size written as {value}, while the queue is enabled with {}",
                    setup.size
                ),
            );
        }
    }

    fn address_written(
        &mut self,
        index: u16,
        area: QueueArea,
        address: u64,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let Some(queue) = self.queue(index) else {
            return;
        };
        queue.written[area as usize] = true;
        let Some(setup) = queue.setup else {
            return;
        };
        let enabled_with = setup.address(area);
        if enabled_with != address && !session.not_reset {
            self.address_changed = true;
            verdicts.violated(
                ADDRESS_FIXED,
                Some(index),
                format!(
                    "{} written as {address:#x}, while the queue is enabled with {enabled_with:#x}",
                    area.register()
                ),
            );
        }
    }

    fn enable_written(
        &mut self,
        index: u16,
        value: u16,
        setup: Option<QueueSetup>,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let queue = Some(index);
        if session.not_reset && setup.is_some_and(|s| s.enabled) {
            return;
        }
        if value == 0 {
            self.disabled = true;
            let enabled = setup.is_some_and(|s| s.enabled);
            verdicts.check_by(NOT_DISABLED, [!enabled, false], queue, || {
                let which = if enabled { "an enabled" } else { "a disabled" };
                format!("0 written to queue_enable of {which} queue")
            });
            return;
        }
        if !verdicts.check(ENABLE_VALUE, value == 1, queue, || {
            format!("{value:#x} written to queue_enable")
        }) {
            return;
        }
        verdicts.check(EXISTS, setup.is_some(), queue, || {
            format!("queue {index} enabled, but it does not exist")
        });
        let Some(setup) = setup else {
            return;
        };
        if !verdicts.check(ENABLE_ONCE, !setup.enabled, queue, || {
            "1 written to queue_enable of an enabled queue".to_owned()
        }) {
            return;
        }
        self.enabled(index, &setup, session, verdicts);
    }

    fn enabled(
        &mut self,
        index: u16,
        setup: &QueueSetup,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let queue = Some(index);
        let when = || {
            format!(
                "enabled while device status is {}",
                status::names(session.status)
            )
        };
        if session.not_reset {
            // Its status is another's.
        } else if session.is_live() {
            let later = (session.kind.facts().may_enable_later)(index, session.negotiated);
            verdicts.check_by(ENABLE_BEFORE, [later, false], queue, when);
        } else {
            verdicts.held(ENABLE_BEFORE);
            // A driver that has been refused, and goes on, is not too early.
            if !session.refused {
                verdicts.check(ENABLE_AFTER, session.is_decided(), queue, when);
            }
        }
        if !verdicts.check(SIZE_SET, setup.size != 0, queue, || {
            "enabled with a queue_size of 0".to_owned()
        }) {
            return;
        }
        let Some(state) = self.queue(index) else {
            return;
        };
        let missing = QueueArea::ALL
            .into_iter()
            .find(|area| !state.written[*area as usize]);
        state.setup = Some(*setup);
        verdicts.check(SIZE_READ, state.size_read, queue, || {
            "enabled before queue_size was read".to_owned()
        });
        let configured = verdicts.check(CONFIGURED, missing.is_none(), queue, || {
            let register = missing.map_or("", QueueArea::register);
            format!("enabled before {register} was written")
        });
        if !configured {
            return;
        }
        for (requirement, area) in [
            (ALIGN_DESC, QueueArea::Descriptor),
            (ALIGN_AVAIL, QueueArea::Driver),
            (ALIGN_USED, QueueArea::Device),
        ] {
            let address = setup.address(area);
            let aligned = address.is_multiple_of(area.alignment());
            verdicts.check(requirement, aligned, queue, || {
                format!("enabled with {} at {address:#x}", area.register())
            });
        }
        if let Some(SplitSetup {
            used_flags,
            used_idx,
        }) = setup.split
        {
            verdicts.check(USED_FLAGS, used_flags == 0, queue, || {
                format!("enabled while flags of the used ring is {used_flags:#x}")
            });
            verdicts.check(USED_IDX, used_idx == 0, queue, || {
                format!("enabled while idx of the used ring is {used_idx}")
            });
        }
        let inside = verdicts.check(IN_MEMORY, setup.in_memory, queue, || {
            format!(
                "{}: not all of it is in the guest's memory",
                enabled_with(setup)
            )
        });
        if inside {
            self.apart(index, setup, session, verdicts);
        }
    }

    fn apart(
        &mut self,
        index: u16,
        setup: &QueueSetup,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let event_idx = session.has(RING_EVENT_IDX);
        let by_extents = [event_idx, true].map(|event_idx| extents(setup, event_idx));
        let apart = by_extents.map(|[table, available, used]| {
            !overlap(table, available) && !overlap(available, used) && !overlap(table, used)
        });
        verdicts.check_by(PARTS_APART, apart, Some(index), || {
            format!("{}: these parts overlap", enabled_with(setup))
        });
        let neighbours = [event_idx, true].map(|event_idx| {
            self.queues.iter().enumerate().position(|(other, queue)| {
                let theirs = queue.extents.map(|setup| extents(&setup, event_idx));
                other != usize::from(index)
                    && theirs.is_some_and(|theirs| {
                        let ours = extents(setup, event_idx);
                        theirs.iter().any(|t| ours.iter().any(|o| overlap(*t, *o)))
                    })
            })
        });
        let apart = neighbours.map(|neighbour| neighbour.is_none());
        verdicts.check_by(QUEUES_APART, apart, Some(index), || {
            let [lenient, strict] = neighbours;
            let neighbour = lenient.or(strict).unwrap_or_default();
            format!(
                "{}: the queue overlaps queue {neighbour}",
                enabled_with(setup)
            )
        });
        if let Some(state) = self.queue(index) {
            state.extents = Some(*setup);
        }
    }

    fn went_live(&mut self, verdicts: &mut Verdicts) {
        if self.queues.iter().any(|q| q.setup.is_some()) {
            for (requirement, broken) in [
                (SIZE_FIXED, self.size_changed),
                (ADDRESS_FIXED, self.address_changed),
                (NOT_DISABLED, self.disabled),
            ] {
                if !broken {
                    verdicts.held(requirement);
                }
            }
        }
    }
}

impl Chapter for QueueSetupRules {
    fn new(_kind: DeviceKind) -> Self {
        QueueSetupRules {
            queues: Box::new([QueueState::default(); QUEUES]),
            size_changed: false,
            address_changed: false,
            disabled: false,
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::Queue(event) => match event {
                QueueEvent::SizeRead { queue } => {
                    if let Some(queue) = self.queue(queue) {
                        queue.size_read = true;
                    }
                }
                QueueEvent::SizeWritten { queue, value, max } => {
                    self.size_written(queue, [value, max], session, verdicts);
                }
                QueueEvent::AddressWritten {
                    queue,
                    area,
                    address,
                } => self.address_written(queue, area, address, session, verdicts),
                QueueEvent::EnableWritten {
                    queue,
                    value,
                    setup,
                } => self.enable_written(queue, value, setup, session, verdicts),
            },
            ControlEvent::Status(event) => {
                if event.asks_for_reset() {
                    self.queues.fill(QueueState::default());
                    self.size_changed = false;
                    self.address_changed = false;
                    self.disabled = false;
                } else if event.sets_driver_ok() {
                    self.went_live(verdicts);
                }
            }
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Feature(_)
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

/// The setup of an enabled queue, for messages.
fn enabled_with(setup: &QueueSetup) -> String {
    format!(
        "enabled with queue_desc {:#x}, queue_avail {:#x}, queue_used {:#x} and a size of {}",
        setup.descriptor, setup.driver, setup.device, setup.size
    )
}

/// The start and end of the three parts (§2.4), with or without used_event and avail_event.
pub(super) fn extents(setup: &QueueSetup, event_idx: bool) -> [(u64, u64); 3] {
    let size = u64::from(setup.size);
    let event = if event_idx { 2 } else { 0 };
    [
        (setup.descriptor, u64::from(desc::LEN) * size),
        (setup.driver, 4 + 2 * size + event),
        (setup.device, 4 + 8 * size + event),
    ]
    .map(|(start, len)| (start, start.saturating_add(len)))
}

/// Whether two ranges, each start and end, have bytes in common.
pub(super) fn overlap((start, end): (u64, u64), (other_start, other_end): (u64, u64)) -> bool {
    start < other_end && other_start < end
}
