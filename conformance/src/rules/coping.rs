//! Whether a driver copes with an unusual transport and with unusual virtqueues.
//!
//! As in the chapter on [latitudes](super::latitude): a driver that brings such a device to life has
//! coped with what it had to cope with until then; what comes later is judged when it comes.

use super::{Chapter, goes_live};
use crate::event::{Event, Register};
use crate::features;
use crate::judge::Verdicts;
use crate::latitude::{Latitude, Latitudes};
use crate::layout::{DeviceKind, Structure, common, status};
use crate::requirement::{Level, Req};
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::latitude::END;

    ORDER = "pci.capability.any-order", Driver Must ["4.1.4"], Provoked("capability-order"),
        "The driver finds structures by cfg_type, in whatever order their capabilities stand.";
    PLACE = "pci.capability.any-place", Driver Must ["4.1.4"], Provoked("scattered-capabilities"),
        "The driver follows the pointers from one capability to the next, wherever they lead.";
    FOREIGN = "pci.capability.foreign", Driver Must ["4.1.4.1-1"], Provoked("foreign-capabilities"),
        "The driver passes over capabilities that it does not know.";
    LAST = "pci.capability.reserved-last", Driver Must ["4.1.4.1-1", "4.1.4.1-4"], Provoked("reserved-last"),
        "The driver ignores capabilities with reserved values also where it has found the structures.";
    IO = "pci.capability.io-space", Driver Must ["4.1.4"], Provoked("io-instances"),
        "The driver tells structures in I/O space from those in memory space.";
    OWN_BAR = "pci.structure.separate-bars", Driver Must ["4.1.4"], Provoked("separate-bars"),
        "The driver finds each structure in the BAR that its capability names.";
    ONE_BAR = "pci.structure.one-bar", Driver Must ["4.1.4"], Provoked("one-bar"),
        "The driver finds structures in any BAR, also in that of the MSI-X table.";
    WIDE = "pci.structure.wide-bars", Driver Must ["4.1.4"], Provoked("wide-bars"),
        "The driver finds structures in 64-bit BARs.";
    NARROW = "pci.structure.narrow-bars", Driver Must ["4.1.4"], Provoked("narrow-bars"),
        "The driver finds structures in 32-bit BARs.";
    PREFETCHABLE = "pci.structure.prefetchable-bar", Driver Must ["4.1.4"], Provoked("prefetchable-bar"),
        "The driver finds structures in a prefetchable BAR.";
    PACKED = "pci.structure.least-alignment", Driver Must ["4.1.4.3", "4.1.4.4", "4.1.4.5", "4.1.4.6"],
        Provoked("packed-structures"),
        "The driver finds structures that are aligned no further than they have to be.";
    DISTANT = "pci.structure.any-offset", Driver Must ["4.1.4"], Provoked("distant-structures"),
        "The driver finds structures at any offset in a BAR.";
    RELOCATED = "pci.structure.any-address", Driver Must ["4.1.4"], Provoked("relocated-bars"),
        "The driver finds BARs where their registers say.";
    SHARED_ADDRESS = "notify.address.one", Driver Must ["4.1.4.4"], Provoked("one-notify-address"),
        "With a notify_off_multiplier of 0 the driver notifies all virtqueues at one address.";
    CLOSE_ADDRESS = "notify.address.close", Driver Must ["4.1.4.4"], Provoked("close-notify-addresses"),
        "With a notify_off_multiplier of 2 the driver notifies each virtqueue at its address.";
    DISTANT_ADDRESS = "notify.address.distant", Driver Must ["4.1.4.4"], Provoked("distant-notify-addresses"),
        "With a large notify_off_multiplier the driver notifies each virtqueue at its address.";
    OFFSETS = "notify.address.offsets", Driver Must ["4.1.4.4"], Provoked("notify-offsets"),
        "The driver reads queue_notify_off of each virtqueue, and notifies the queue there.";
    SAME_OFFSET = "notify.address.same-offset", Driver Must ["4.1.4.4"], Provoked("same-notify-offset"),
        "The driver notifies virtqueues at the same address where queue_notify_off is the same.";
    NO_MSIX = "msix.table-size.none", Driver Must ["4.1.5.1.2.2-1"], Provoked("no-msix"),
        "The driver copes with a device without MSI-X.";
    SOME_VECTORS = "msix.table-size.any", Driver Must ["4.1.5.1.2.2-1"], Provoked("some-vectors"),
        "The driver copes with an MSI-X table of any size.";
    NONE_MAPPED = "msix.vector.all-refused", Driver May ["4.1.5.1.2.2-6"], Provoked("no-vector-maps"),
        "Where no vector can be mapped the driver may disable MSI-X.";
    ARRIVAL = "status.reset.live-device", Driver Must ["3.1.1-1"], Provoked("live-at-arrival"),
        "The driver resets a device that it finds live.";
    SLOW = "status.reset.slow", Driver Must ["4.1.4.3.2-4"], Provoked("slow-reset"),
        "The driver waits for a reset that takes its time.";
    SUBSET = "features.missing.any", Driver May ["2.2.1-2"], Provoked("feature-subset"),
        "The driver works with any subset of features, or sets FAILED.";
    UNKNOWN = "features.unknown", Driver MustNot ["2.2"], Provoked("unknown-features"),
        "The driver does not accept feature bits that it cannot know.";
    PICKY = "features.refused", Driver Should ["3.1.1-4"], Provoked("picky-features"),
        "A driver whose features the device refuses sets FAILED, or tries others after a reset.";
    SMALL = "queue.size.small", Driver May ["2.4", "4.1.4.3"], Provoked("small-queues"),
        "The driver works with a small virtqueue.";
    TINY = "queue.size.tiny", Driver May ["2.4", "4.1.4.3"], Provoked("tiny-queues"),
        "The driver works with a virtqueue of very few descriptors, or sets FAILED.";
    LARGEST = "queue.size.largest", Driver May ["2.4", "4.1.4.3"], Provoked("largest-queues"),
        "The driver works with the largest virtqueue there can be, or asks for a smaller one.";
    RESIZED = "queue.size.after-reset", Driver May ["4.1.4.3"], Provoked("resized-queues"),
        "The driver reads queue_size anew after a reset.";
    MORE = "queue.count.larger", Driver May ["4.1.4.3"], Provoked("more-queues"),
        "The driver uses the virtqueues of its device type, however many there are.";
    IN_ANY_ORDER = "used.any-order", Driver Must ["2.4.8"], Provoked("out-of-order"),
        "The driver knows by id which of its buffers was used.";
    IN_BURSTS = "used.bursts", Driver Must ["2.4.8", "3.2.2"], Provoked("bursts"),
        "The driver takes all used buffers that it is shown, however few interrupts there were.";
    ALL_AT_ONCE = "used.whole-queue", Driver Must ["2.4.8", "3.2.2"], Provoked("whole-queue"),
        "The driver takes all used buffers that it is shown, also when they are all there were.";
    LATE = "interrupt.late", Driver Must ["2.4.8", "3.2.2"], Provoked("late-interrupts"),
        "The driver copes with an interrupt for used buffers that it has taken already.";
    ALONE = "used.one-by-one", Driver Must ["2.4.8", "3.2.2"], Provoked("one-by-one"),
        "The driver takes used buffers that come one by one.";
    BEYOND = "used.len.more-written", Driver Must ["2.4.8.3-1"], Provoked("writes-beyond-len"),
        "The driver copes with a device that writes more than len bytes into a buffer.";
    FICKLE = "notify.suppression.changes", Driver Must ["2.4.9.1-2", "2.4.9.1-4", "2.4.9.1-6"],
        Provoked("fickle-suppression"),
        "Each time, the driver looks at what the device says about notifications, where it was agreed to say it.";
    UNASKED = "available.complete-at-once", Driver Must ["3.2.1.3"], Provoked("unasked-looks"),
        "What the driver makes available is complete, for the device may look before it is notified.";
    AGAIN = "config.generation.again", Driver Should ["2.3.1-1"], Provoked("unsettled-configuration"),
        "Where config_generation has changed the driver reads the configuration again.";
    RECOVERS = "status.needs-reset.recovery", Driver May ["2.1.1"], Provoked("needs-reset"),
        "Where the device needs a reset the driver may reset it, and begin anew.";
}

/// What a driver has coped with that brings the device to life.
const COPED: &[(Latitude, Req)] = &[
    (Latitude::CapabilityOrder, ORDER),
    (Latitude::ScatteredCapabilities, PLACE),
    (Latitude::ForeignCapabilities, FOREIGN),
    (Latitude::ReservedLast, LAST),
    (Latitude::IoInstances, IO),
    (Latitude::SeparateBars, OWN_BAR),
    (Latitude::OneBar, ONE_BAR),
    (Latitude::WideBars, WIDE),
    (Latitude::NarrowBars, NARROW),
    (Latitude::PrefetchableBar, PREFETCHABLE),
    (Latitude::PackedStructures, PACKED),
    (Latitude::DistantStructures, DISTANT),
    (Latitude::RelocatedBars, RELOCATED),
    (Latitude::NoMsix, NO_MSIX),
    (Latitude::SomeVectors, SOME_VECTORS),
    (Latitude::NoVectorMaps, NONE_MAPPED),
    (Latitude::LiveAtArrival, ARRIVAL),
    (Latitude::SlowReset, SLOW),
    (Latitude::FeatureSubset, SUBSET),
    (Latitude::SmallQueues, SMALL),
    (Latitude::TinyQueues, TINY),
    (Latitude::LargestQueues, LARGEST),
    (Latitude::ResizedQueues, RESIZED),
    (Latitude::MoreQueues, MORE),
];

/// … and with what, that notifies a virtqueue where it is to be notified.
const NOTIFIED: &[(Latitude, Req)] = &[
    (Latitude::OneNotifyAddress, SHARED_ADDRESS),
    (Latitude::CloseNotifyAddresses, CLOSE_ADDRESS),
    (Latitude::DistantNotifyAddresses, DISTANT_ADDRESS),
    (Latitude::NotifyOffsets, OFFSETS),
    (Latitude::SameNotifyOffset, SAME_OFFSET),
];

/// … and with what, that goes on making buffers available after the device has made use of it.
const SHOWN: &[(Latitude, Req)] = &[
    (Latitude::OutOfOrder, IN_ANY_ORDER),
    (Latitude::Bursts, IN_BURSTS),
    (Latitude::WholeQueue, ALL_AT_ONCE),
    (Latitude::LateInterrupts, LATE),
];

/// … and with what, that goes on making buffers available after having been shown used ones.
const WORKED: &[(Latitude, Req)] = &[
    (Latitude::OneByOne, ALONE),
    (Latitude::WritesBeyondLen, BEYOND),
    (Latitude::FickleSuppression, FICKLE),
    (Latitude::UnaskedLooks, UNASKED),
];

/// So many notifications make it likely that the driver has seen something of each.
const ENOUGH: u32 = 4;

/// What this chapter remembers.
#[derive(Default)]
pub(crate) struct Rules {
    latitudes: Latitudes,
    /// How often virtqueues of this life of the device have been notified.
    notified: u32,
    /// What of [`SHOWN`] the device has made use of, and the driver has not moved since.
    shown: Latitudes,
    /// The configuration has changed under way, and …
    changed: Option<Noticed>,
    /// The device needs a reset.
    needs_reset: bool,
    /// What the driver accepted when FEATURES_OK was refused, and has not set FAILED since.
    refused: Option<u64>,
}

/// Whether the driver has seen that config_generation changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noticed {
    No,
    Yes,
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules::default()
    }

    fn held(&self, table: &[(Latitude, Req)], verdicts: &mut Verdicts) {
        for (latitude, requirement) in table {
            if self.latitudes.has(*latitude) {
                verdicts.held(*requirement);
            }
        }
    }

    /// The driver sets FAILED before the device is live. Of several latitudes nobody knows which it
    /// was.
    fn gave_up(&self, verdicts: &mut Verdicts) {
        for (latitude, requirement) in COPED {
            let demanded = requirement.requirement().level != Level::May;
            if demanded && self.latitudes.has(*latitude) && self.latitudes.count() == 1 {
                let message = format!("FAILED set where {}", latitude.text());
                verdicts.violated(*requirement, None, message);
            }
        }
    }

    fn register_read(&mut self, register: &Register, verdicts: &mut Verdicts) {
        let generation = register.offset <= common::CONFIG_GENERATION
            && common::CONFIG_GENERATION < register.offset + u32::from(register.width);
        match (self.changed, register.structure) {
            (Some(Noticed::No), Structure::Common) if generation => {
                self.changed = Some(Noticed::Yes);
            }
            (Some(Noticed::Yes), Structure::Device) => {
                self.changed = None;
                verdicts.held(AGAIN);
            }
            _ => {}
        }
    }

    fn decided(&mut self, accepted: u64, kept: bool, verdicts: &mut Verdicts) {
        if self.latitudes.has(Latitude::UnknownFeatures) {
            let unknown = accepted & features::UNKNOWN;
            verdicts.check(UNKNOWN, unknown == 0, None, || {
                format!("{unknown:#x} accepted, to which nobody has given a meaning")
            });
        }
        if !self.latitudes.has(Latitude::PickyFeatures) {
            return;
        }
        let before = self.refused.take();
        if kept {
            // Another set than the refused one, for that is refused always.
            if before.is_some() {
                verdicts.held(PICKY);
            }
            return;
        }
        if before == Some(accepted) {
            let message = format!(
                "FEATURES_OK refused for {accepted:#x}, and the same accepted again without FAILED in between"
            );
            verdicts.violated(PICKY, None, message);
        }
        self.refused = Some(accepted);
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            Event::Latitude(latitude) => self.latitudes = self.latitudes.with(latitude),
            _ if self.latitudes.is_empty() => {}
            Event::StatusWritten { to: 0, .. } => {
                self.notified = 0;
                self.shown = Latitudes::default();
                self.changed = None;
                if std::mem::take(&mut self.needs_reset) {
                    verdicts.held(RECOVERS);
                }
            }
            Event::StatusWritten { from, to }
                if to & !from & status::FAILED != 0 && !session.is_live() =>
            {
                if self.refused.take().is_some() {
                    verdicts.held(PICKY);
                } else {
                    self.gave_up(verdicts);
                }
            }
            Event::StatusWritten { .. } if self.changed == Some(Noticed::Yes) => {
                // Not so with other registers: another processor may be writing those.
                self.changed = None;
                let message = "config_generation had changed since the configuration was read, which was not read again";
                verdicts.violated(AGAIN, None, message.to_owned());
            }
            Event::FeaturesDecided { accepted, kept, .. } => {
                self.decided(accepted, kept, verdicts);
            }
            Event::MadeUse(latitude) => self.shown = self.shown.with(latitude),
            Event::NotifiedLive(_) => {
                let shown = std::mem::take(&mut self.shown);
                for (latitude, requirement) in SHOWN {
                    if shown.has(*latitude) {
                        verdicts.held(*requirement);
                    }
                }
                self.notified = self.notified.saturating_add(1);
                match self.notified {
                    1 => self.held(NOTIFIED, verdicts),
                    ENOUGH => self.held(WORKED, verdicts),
                    _ => {}
                }
            }
            Event::NeedsReset if self.latitudes.has(Latitude::NeedsReset) => {
                self.needs_reset = true;
            }
            Event::ChangedUnderWay => self.changed = Some(Noticed::No),
            Event::RegisterRead(register) => self.register_read(&register, verdicts),
            _ => {}
        }
        if goes_live(event) {
            self.held(COPED, verdicts);
        }
    }
}
