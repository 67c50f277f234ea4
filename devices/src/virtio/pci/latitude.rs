//! What latitudes make of a device's transport: they become concrete decisions here, once, and the
//! transport carries them out without knowing why.

use stickler_conformance::latitude::Draw;
use stickler_conformance::layout::Structure;
use stickler_conformance::{DeviceId, DeviceKind, Latitude, Latitudes, features};

use super::layout::{MAX_VECTORS, Options, PAGE, Part};
use crate::pci::config::BAR_COUNT;
use crate::virtio::queue::Habits;

/// At most so many virtqueues does a device have here.
pub(super) const MAX_QUEUES: usize = 64;

/// Feature bits that nobody knows, in each 32 bits from bit 96 on.
const UNKNOWN_HIGH_FEATURES: u32 = 0x8100_0001;

/// How many times in a row status is read before a slow reset is complete, at most.
const SLOW_RESET: u64 = 40;

/// The decisions for one device.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    id: DeviceId,
    pub(super) latitudes: Latitudes,
    /// `queue_notify_off` by queue, where it is not the queue's index.
    notify_offs: Option<Vec<u16>>,
    /// How many resets there were, for what changes with each.
    resets: u64,
    /// How many times a driver brought the device to life and it was reset, and whether it lives now.
    lives: u64,
    living: bool,
}

impl Plan {
    pub(super) fn new(id: DeviceId, latitudes: Latitudes) -> Self {
        Plan {
            id,
            latitudes,
            notify_offs: None,
            resets: 0,
            lives: 0,
            living: false,
        }
    }

    fn has(&self, latitude: Latitude) -> bool {
        self.latitudes.has(latitude)
    }

    fn numbers(&self, latitude: Latitude) -> Draw {
        self.latitudes.numbers(latitude, self.id.slot)
    }

    // ---- Layout (§4.1.4)

    /// Where structures are, and how large a table of vectors there is.
    pub(super) fn options(&self, options: &Options, queues: u16) -> Options {
        let mut options = options.clone();
        self.choose_bars(&mut options);
        if self.has(Latitude::OneNotifyAddress) {
            options.notify_off_multiplier = 0;
        } else if self.has(Latitude::CloseNotifyAddresses) {
            options.notify_off_multiplier = 2;
        } else if self.has(Latitude::DistantNotifyAddresses) {
            let mut numbers = self.numbers(Latitude::DistantNotifyAddresses);
            options.notify_off_multiplier = numbers.of(&[4096, 1024, 256, 64]);
        }
        if self.has(Latitude::SharedInterrupts) || self.has(Latitude::NoMsix) {
            options.vectors = Some(0);
        } else if self.has(Latitude::OneVector) {
            options.vectors = Some(1);
        } else if self.has(Latitude::MostVectors) {
            options.vectors = Some(MAX_VECTORS);
        } else if self.has(Latitude::SomeVectors) {
            let mut numbers = self.numbers(Latitude::SomeVectors);
            // Never just enough for everything, and, where that can be, not enough.
            let few = match queues {
                0 | 1 => 3,
                queues => 2 + numbers.below(u64::from(queues) - 1) as u16,
            };
            options.vectors = Some(numbers.of(&[few, 67, 500]));
        }
        options
    }

    fn choose_bars(&self, options: &mut Options) {
        let all_wide = self.has(Latitude::WideBars);
        if self.has(Latitude::SeparateBars) {
            let mut bars: [u8; BAR_COUNT] = [0, 1, 2, 3, 4, 5];
            self.numbers(Latitude::SeparateBars).shuffle(&mut bars);
            [
                options.common_bar,
                options.isr_bar,
                options.device_bar,
                options.notify_bar,
                options.msix_bar,
                _,
            ] = bars;
            options.wide_bars = [false; BAR_COUNT];
        } else if self.has(Latitude::OneBar) {
            let mut numbers = self.numbers(Latitude::OneBar);
            let bar = match numbers.below(5) as u8 + 1 {
                5 if all_wide => 4,
                bar => bar,
            };
            options.common_bar = bar;
            options.isr_bar = bar;
            options.device_bar = bar;
            options.notify_bar = bar;
            options.msix_bar = bar;
            options.wide_bars = [false; BAR_COUNT];
            options.wide_bars[usize::from(bar)] = bar < 5 && numbers.one_in(2);
        }
        if self.has(Latitude::PrefetchableBar) {
            // Reading device-specific configuration has no effect, and of all structures it alone
            // has no registers whose writes a bridge must not merge.
            if !self.has(Latitude::SeparateBars) {
                options.device_bar = 4;
                options.wide_bars[4] = true;
            }
            options.prefetchable_bars[usize::from(options.device_bar)] = true;
        }
        if all_wide {
            options.wide_bars = [true; BAR_COUNT];
        } else if self.has(Latitude::NarrowBars) {
            options.wide_bars = [false; BAR_COUNT];
        }
    }

    // ---- Virtqueues (§4.1.4.3)

    /// The size of each virtqueue on reset, given what the device type asks for.
    pub(super) fn queue_sizes(&mut self, asked: &[u16]) -> Vec<u16> {
        let mut sizes: Vec<u16> = asked.iter().copied().take(MAX_QUEUES).collect();
        let net = self.id.kind == DeviceKind::Net;
        let mut choose = |latitude, choices: &[u16], turn: u64| {
            if self.latitudes.has(latitude) {
                let mut numbers = self.latitudes.numbers(latitude, self.id.slot);
                for _ in 0..turn {
                    numbers.bits();
                }
                for size in sizes.iter_mut().filter(|size| **size != 0) {
                    *size = numbers.of(choices);
                }
            }
        };
        let small: &[u16] = if net { &[32, 64] } else { &[16, 8, 32] };
        choose(Latitude::SmallQueues, small, 0);
        choose(Latitude::TinyQueues, &[1, 2, 4], 0);
        choose(Latitude::LargestQueues, &[32768], 0);
        // §4.1.4.3: queue_size says on reset what is the most then, and is read each time that a queue
        // is configured (§4.1.5.1.3); nothing has it be what it was before.
        let any: &[u16] = &[64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
        choose(Latitude::ResizedQueues, any, self.resets);
        self.resets += 1;
        if self.has(Latitude::MoreQueues) {
            let mut numbers = self.numbers(Latitude::MoreQueues);
            let room = MAX_QUEUES.saturating_sub(sizes.len()) as u64;
            for more in 0..(2 + numbers.below(14)).min(room) {
                // Some are there, others are unavailable.
                sizes.push(if more % 2 == 0 { 0 } else { 128 });
            }
        }
        sizes
    }

    /// What is unusual about virtqueue `index` (§2.4.8, §2.4.9).
    pub(super) fn habits(&self, index: usize) -> Habits {
        // Input and packets come in the order of the ring, and a packet in several buffers at once.
        let order_is_free = match self.id.kind {
            DeviceKind::Block | DeviceKind::Entropy => true,
            DeviceKind::Net | DeviceKind::Console => index % 2 == 1,
        };
        // Elsewhere the last byte is a status, and not always written in order.
        let spare_is_free = match self.id.kind {
            DeviceKind::Entropy => true,
            DeviceKind::Block => false,
            DeviceKind::Net | DeviceKind::Console => index == 0,
        };
        let numbers = |latitude, wanted: bool| {
            (wanted && self.has(latitude)).then(|| {
                let mut numbers = self.numbers(latitude);
                Draw::new(numbers.bits(), index as u64 + 64 * self.resets)
            })
        };
        Habits {
            any_order: numbers(Latitude::OutOfOrder, order_is_free),
            bursts: numbers(Latitude::Bursts, true),
            whole_queue: self.has(Latitude::WholeQueue),
            one_by_one: self.has(Latitude::OneByOne) && order_is_free,
            late_interrupts: numbers(Latitude::LateInterrupts, true),
            beyond_len: self.has(Latitude::WritesBeyondLen) && spare_is_free,
            fickle: self.has(Latitude::FickleSuppression),
            ..Habits::default()
        }
    }

    /// Whether queues have to be settled after the device has worked.
    pub(super) fn settles(&self) -> bool {
        [
            Latitude::OutOfOrder,
            Latitude::Bursts,
            Latitude::WholeQueue,
            Latitude::OneByOne,
            Latitude::LateInterrupts,
        ]
        .into_iter()
        .any(|latitude| self.has(latitude))
    }

    /// Decides `queue_notify_off` of so many queues. Gives the largest.
    pub(super) fn place_notifications(&mut self, queues: u16) -> u16 {
        if self.has(Latitude::SameNotifyOffset) {
            self.notify_offs = Some(vec![3; usize::from(queues)]);
        } else if self.has(Latitude::NotifyOffsets) {
            let mut offs: Vec<u16> = (0..queues).map(|index| 2 * index + 1).collect();
            self.numbers(Latitude::NotifyOffsets).shuffle(&mut offs);
            if let [.., last] = offs.as_mut_slice()
                && queues == 1
            {
                *last = 3;
            }
            self.notify_offs = Some(offs);
        }
        match &self.notify_offs {
            Some(offs) => offs.iter().copied().max().unwrap_or(0),
            None => queues.saturating_sub(1),
        }
    }

    /// `queue_notify_off` of a queue that exists.
    pub(super) fn notify_off(&self, queue: u16) -> u16 {
        match &self.notify_offs {
            Some(offs) => offs.get(usize::from(queue)).copied().unwrap_or(0),
            None => queue,
        }
    }

    /// Which queue is notified by `value` at `offset` of the notification structure, if any has its
    /// address there (§4.1.4.4).
    pub(super) fn notified_queue(&self, offset: u32, multiplier: u32, value: u32) -> Option<u32> {
        let place = match multiplier {
            // All share one address, and the value tells which is meant.
            0 => return (offset == 0).then_some(value),
            multiplier if offset.is_multiple_of(multiplier) => offset / multiplier,
            _ => return None,
        };
        let Some(offs) = &self.notify_offs else {
            return Some(place);
        };
        let at_place = |queue: &usize| offs.get(*queue).map(|off| u32::from(*off)) == Some(place);
        let meant = usize::try_from(value).ok().filter(at_place);
        let found = meant.or_else(|| (0..offs.len()).find(at_place));
        found.map(|queue| queue as u32)
    }

    // ---- Features (§2.2)

    /// What is offered, given what the device type has and the transport adds.
    pub(super) fn offered(&self, all: u64) -> u64 {
        let mut offered = all;
        if self.has(Latitude::FewFeatures) {
            offered &= !(features::RING_INDIRECT_DESC | features::RING_EVENT_IDX);
        }
        if self.has(Latitude::FeatureSubset) {
            let mut numbers = self.numbers(Latitude::FeatureSubset);
            // §2.2.2: no feature without those it requires.
            offered = features::subset(self.id.kind, offered, self.essential(), &mut numbers);
            // §5.2.5.2: no CONFIG_WCE without FLUSH.
            let cache = features::block::CONFIG_WCE | features::block::FLUSH;
            if self.id.kind == DeviceKind::Block && offered & cache == features::block::CONFIG_WCE {
                offered &= !cache;
            }
        }
        if self.has(Latitude::UnknownFeatures) {
            offered |= features::UNKNOWN;
        }
        offered
    }

    /// Bits that are no offer of something more.
    fn essential(&self) -> u64 {
        let own = match self.id.kind {
            // A disk that cannot be written has to say so (§5.2.3).
            DeviceKind::Block => features::block::RO,
            _ => 0,
        };
        own | features::VERSION_1
    }

    /// The offered bits from `32 * select` on, for a select of 2 and more.
    pub(super) fn high_features(&self, select: u32) -> u32 {
        if self.has(Latitude::UnknownFeatures) && select >= 3 {
            UNKNOWN_HIGH_FEATURES
        } else {
            0
        }
    }

    /// Whether the device works with what was accepted (§2.2.2), of what it offers.
    pub(super) fn accepts(&self, offered: u64, accepted: u64) -> bool {
        let picked = if self.has(Latitude::PickyFeatures) {
            self.picked(offered)
        } else {
            0
        };
        let refused = picked != 0 && accepted & picked == picked;
        !self.has(Latitude::RefusedFeatures) && !refused && accepted & features::UNKNOWN == 0
    }

    /// The features that a picky device does not work with together, of those offered: event indices
    /// alone, unless the variation has it one or two others. What drivers should accept (§5.1.4.2,
    /// §5.2.6.1) is not among them: it would lead them astray.
    fn picked(&self, offered: u64) -> u64 {
        let usual = offered & features::RING_EVENT_IDX;
        let demanded = match self.id.kind {
            DeviceKind::Net => features::net::MAC,
            _ => 0,
        };
        let others = offered & !(self.essential() | demanded | features::UNKNOWN | usual);
        let mut choice: Vec<u64> = (0..u64::BITS)
            .map(|bit| 1 << bit)
            .filter(|bit| others & bit != 0)
            .collect();
        if self.latitudes.variation().is_multiple_of(2) || choice.is_empty() {
            return usual;
        }
        let mut numbers = self.numbers(Latitude::PickyFeatures);
        numbers.shuffle(&mut choice);
        let count = if numbers.one_in(3) { 2 } else { 1 };
        choice.iter().take(count).fold(0, |all, bit| all | bit)
    }

    // ---- Now and then

    /// After so many services of queues of a live device does it need a reset (§2.1.2), if ever.
    pub(super) fn needs_reset_after(&self) -> Option<u32> {
        self.has(Latitude::NeedsReset).then(|| {
            let mut numbers = self.numbers(Latitude::NeedsReset);
            for _ in 0..self.resets % 8 {
                numbers.bits();
            }
            10 + numbers.below(150) as u32
        })
    }

    /// Whether the configuration changes while it is read, after so many reads of config_generation.
    /// Seldom enough that a driver that tries again comes to an end.
    pub(super) fn unsettles(&self, generation_reads: u32) -> bool {
        self.has(Latitude::UnsettledConfiguration) && generation_reads % 3 == 1
    }

    // ---- Vectors (§4.1.5.1.2)

    /// Whether mapping an event to a vector fails for want of resources: `others` are the vectors that
    /// other events are mapped to, this one itself left out. §4.1.5.1.2.1 wants support for any event
    /// and any vector, and knows of failure where it is impossible to satisfy a request; so what is
    /// refused depends on what there is besides, or on the time, and never on event or vector.
    pub(super) fn refuses_vector(&self, mut others: impl Iterator<Item = u16>) -> bool {
        if self.has(Latitude::NoVectorMaps) {
            return self.lives.is_multiple_of(2);
        }
        // Two different ones are all there is room for.
        self.has(Latitude::RefusedVectors)
            && others
                .next()
                .is_some_and(|one| others.any(|other| other != one))
    }

    /// A driver has brought the device to life.
    pub(super) fn went_live(&mut self) {
        self.living = true;
    }

    /// The device is reset, which ends its life if it had one.
    pub(super) fn end_life(&mut self) {
        self.lives += u64::from(std::mem::take(&mut self.living));
    }

    // ---- Addresses (PCI 6.2.5.1)

    /// Where firmware has put the BARs, if not where it usually does.
    pub(super) fn placement(&self) -> Option<Draw> {
        self.has(Latitude::RelocatedBars)
            .then(|| self.numbers(Latitude::RelocatedBars))
    }

    // ---- Reset (§2.1)

    /// How many times status is still read as it was after 0 was written to it.
    pub(super) fn slow_reset(&self) -> u32 {
        if !self.has(Latitude::SlowReset) {
            return 0;
        }
        let mut numbers = self.numbers(Latitude::SlowReset);
        for _ in 0..self.resets % 8 {
            numbers.bits();
        }
        2 + numbers.below(SLOW_RESET) as u32
    }
}

/// How parts of a BAR follow one another.
pub(super) enum Spacing {
    /// On a page each.
    Pages,
    /// As close as alignment allows.
    Packed(Draw),
    /// Far apart, in another order.
    Distant(Draw),
}

impl Plan {
    pub(super) fn spacing(&self) -> Spacing {
        if self.has(Latitude::PackedStructures) {
            Spacing::Packed(self.numbers(Latitude::PackedStructures))
        } else if self.has(Latitude::DistantStructures) {
            Spacing::Distant(self.numbers(Latitude::DistantStructures))
        } else {
            Spacing::Pages
        }
    }
}

impl Spacing {
    pub(super) fn order<T>(&mut self, parts: &mut [T]) {
        if let Spacing::Packed(numbers) | Spacing::Distant(numbers) = self {
            numbers.shuffle(parts);
        }
    }

    /// Where `part` starts if `end` is taken up to there.
    pub(super) fn start(&mut self, part: Part, end: u64) -> u64 {
        match self {
            Spacing::Pages => end.next_multiple_of(PAGE),
            Spacing::Distant(numbers) => end.next_multiple_of(PAGE) + PAGE * numbers.below(64),
            Spacing::Packed(numbers) => {
                // §4.1.4.3.1, §4.1.4.4.1, §4.1.4.6.1; ISR status may be anywhere, and MSI-X needs 8
                // bytes (PCI 6.8.2).
                let alignment = match part {
                    Part::Virtio(structure) | Part::Second(structure) => match structure {
                        Structure::Isr => 1,
                        Structure::Notify => 2,
                        _ => 4,
                    },
                    Part::MsixTable | Part::MsixPending => 8,
                };
                let gap = alignment * (1 + 2 * numbers.below(4));
                end.next_multiple_of(alignment) + gap
            }
        }
    }
}

/// How the capabilities of virtio and MSI-X stand in configuration space (PCI 6.7).
impl Plan {
    /// Puts those in the middle of the list into another order.
    pub(super) fn order_capabilities<T>(&self, middle: &mut [T]) {
        if self.has(Latitude::CapabilityOrder) {
            self.numbers(Latitude::CapabilityOrder).shuffle(middle);
        }
    }

    /// Where capabilities of these lengths, which stand in the list in this order, are placed in the
    /// `room` from `start` on; one behind the other if nothing is to be special.
    pub(super) fn place_capabilities(
        &self,
        lens: &[usize],
        start: usize,
        room: usize,
    ) -> Vec<usize> {
        let rounded: Vec<usize> = lens.iter().map(|len| len.next_multiple_of(4)).collect();
        let mut order: Vec<usize> = (0..lens.len()).collect();
        let mut places = vec![0; lens.len()];
        let mut numbers = self.numbers(Latitude::ScatteredCapabilities);
        let mut spare = 0;
        if self.has(Latitude::ScatteredCapabilities) {
            numbers.shuffle(&mut order);
            spare = room.saturating_sub(rounded.iter().sum()) / 4;
        }
        let mut at = start;
        for (left, index) in (1..=order.len()).rev().zip(order) {
            let gap = numbers.below((2 * spare / left) as u64 + 1) as usize;
            let gap = gap.min(spare);
            spare -= gap;
            at += 4 * gap;
            places[index] = at;
            at += rounded[index];
        }
        places
    }
}
