//! What latitudes make of a device's function on the bus: they become concrete decisions here, once,
//! and the transport carries them out without knowing why.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::latitude::Draw;
use stickler_conformance::layout::Structure;
use stickler_conformance::{Latitude, Latitudes};

use super::layout::{MAX_VECTORS, Options, PAGE, Part};
use crate::pci::config::BAR_COUNT;

/// The decisions for one function.
#[derive(Clone, Debug)]
pub(super) struct PciLatitudes {
    latitudes: Latitudes,
    slot: u8,
    /// `queue_notify_off` by queue, where it is not the queue's index.
    notify_offs: Option<Vec<u16>>,
}

impl PciLatitudes {
    pub(super) fn new(latitudes: Latitudes, slot: u8) -> Self {
        PciLatitudes {
            latitudes,
            slot,
            notify_offs: None,
        }
    }

    pub(super) fn has(&self, latitude: Latitude) -> bool {
        self.latitudes.has(latitude)
    }

    /// Whether the function is a plain one.
    pub(super) fn is_plain(&self) -> bool {
        self.latitudes.is_empty()
    }

    fn numbers(&self, latitude: Latitude) -> Draw {
        self.latitudes.numbers(latitude, self.slot)
    }

    // ---- Layout (§4.1.4)

    /// Where structures are, and how large a table of vectors there is.
    pub(super) fn options(&self, options: &Options, queues: u16) -> Options {
        let mut options = options.clone();
        self.choose_bars(&mut options);
        if self.has(Latitude::ONE_NOTIFY_ADDRESS) {
            options.notify_off_multiplier = 0;
        } else if self.has(Latitude::CLOSE_NOTIFY_ADDRESSES) {
            options.notify_off_multiplier = 2;
        } else if self.has(Latitude::DISTANT_NOTIFY_ADDRESSES) {
            let mut numbers = self.numbers(Latitude::DISTANT_NOTIFY_ADDRESSES);
            let distance = Latitude::DISTANT_NOTIFY_ADDRESSES;
            options.notify_off_multiplier = self.latitudes.number(distance, &mut numbers) as u32;
        }
        if self.has(Latitude::SHARED_INTERRUPTS) || self.has(Latitude::NO_MSIX) {
            options.vectors = Some(0);
        } else if self.has(Latitude::ONE_VECTOR) {
            options.vectors = Some(1);
        } else if self.has(Latitude::MOST_VECTORS) {
            options.vectors = Some(MAX_VECTORS);
        } else if self.has(Latitude::SOME_VECTORS) {
            let mut numbers = self.numbers(Latitude::SOME_VECTORS);
            // Never just enough for everything, and, where that can be, not enough.
            let few = match queues {
                0 | 1 => 3,
                queues => 2 + numbers.below(u64::from(queues) - 1) as u16,
            };
            options.vectors = match self.latitudes.number(Latitude::SOME_VECTORS, &mut numbers) {
                0 => Some(few),
                many => Some(many as u16),
            };
        }
        options
    }

    fn choose_bars(&self, options: &mut Options) {
        let all_wide = self.has(Latitude::WIDE_BARS);
        if self.has(Latitude::SEPARATE_BARS) {
            let mut bars: [u8; BAR_COUNT] = [0, 1, 2, 3, 4, 5];
            self.numbers(Latitude::SEPARATE_BARS).shuffle(&mut bars);
            [
                options.common_bar,
                options.isr_bar,
                options.device_bar,
                options.notify_bar,
                options.msix_bar,
                _,
            ] = bars;
            options.wide_bars = [false; BAR_COUNT];
        } else if self.has(Latitude::ONE_BAR) {
            let mut numbers = self.numbers(Latitude::ONE_BAR);
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
        if self.has(Latitude::PREFETCHABLE_BAR) {
            // Reading device-specific configuration has no effect, and of all structures it alone
            // has no registers whose writes a bridge must not merge.
            if !self.has(Latitude::SEPARATE_BARS) {
                options.device_bar = 4;
                options.wide_bars[4] = true;
            }
            options.prefetchable_bars[usize::from(options.device_bar)] = true;
        }
        if all_wide {
            options.wide_bars = [true; BAR_COUNT];
        } else if self.has(Latitude::NARROW_BARS) {
            options.wide_bars = [false; BAR_COUNT];
        }
    }

    // ---- Notifications (§4.1.4.4)

    /// Decides `queue_notify_off` of so many queues. Returns the largest.
    pub(super) fn place_notifications(&mut self, queues: u16) -> u16 {
        if self.has(Latitude::SAME_NOTIFY_OFFSET) {
            self.notify_offs = Some(vec![3; usize::from(queues)]);
        } else if self.has(Latitude::NOTIFY_OFFSETS) {
            let mut offs: Vec<u16> = (0..queues).map(|index| 2 * index + 1).collect();
            self.numbers(Latitude::NOTIFY_OFFSETS).shuffle(&mut offs);
            // None is at the offset of its index.
            for index in 0..offs.len() {
                if offs[index] == index as u16 {
                    offs.swap(index, (index + 1) % queues as usize);
                }
            }
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

    // ---- Vectors (§4.1.5.1.2)

    /// Whether mapping an event to a vector fails for lack of resources: `others` are the vectors that
    /// other events are mapped to, and `lives` is how many times a driver has used the device before.
    /// §4.1.5.1.2.1 demands support for any event and any vector, and allows failure where it is
    /// impossible to satisfy a request; so what is refused depends on the other mappings or on the
    /// time, and never on event or vector.
    pub(super) fn refuses_vector(&self, mut others: impl Iterator<Item = u16>, lives: u64) -> bool {
        if self.has(Latitude::NO_VECTOR_MAPS) {
            return lives.is_multiple_of(2);
        }
        // There is room for two different ones.
        self.has(Latitude::REFUSED_VECTORS)
            && others
                .next()
                .is_some_and(|one| others.any(|other| other != one))
    }

    /// The latitude by which vectors are refused.
    pub(super) fn refusing_vectors(&self) -> Option<Latitude> {
        [Latitude::REFUSED_VECTORS, Latitude::NO_VECTOR_MAPS]
            .into_iter()
            .find(|latitude| self.has(*latitude))
    }

    // ---- Addresses (PCI 6.2.5.1)

    /// Where firmware has put the BARs, if not where it usually does.
    pub(super) fn placement(&self) -> Option<Draw> {
        self.has(Latitude::RELOCATED_BARS)
            .then(|| self.numbers(Latitude::RELOCATED_BARS))
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

impl PciLatitudes {
    pub(super) fn spacing(&self) -> Spacing {
        if self.has(Latitude::PACKED_STRUCTURES) {
            Spacing::Packed(self.numbers(Latitude::PACKED_STRUCTURES))
        } else if self.has(Latitude::DISTANT_STRUCTURES) {
            Spacing::Distant(self.numbers(Latitude::DISTANT_STRUCTURES))
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

/// Where the capabilities of virtio and MSI-X are in configuration space (PCI 6.7).
impl PciLatitudes {
    /// Puts those in the middle of the list into another order.
    pub(super) fn order_capabilities<T>(&self, middle: &mut [T]) {
        if self.has(Latitude::CAPABILITY_ORDER) {
            self.numbers(Latitude::CAPABILITY_ORDER).shuffle(middle);
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
        let mut numbers = self.numbers(Latitude::SCATTERED_CAPABILITIES);
        let mut spare = 0;
        if self.has(Latitude::SCATTERED_CAPABILITIES) {
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
