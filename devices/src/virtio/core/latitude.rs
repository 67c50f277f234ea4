//! What latitudes make of a device on any transport: they become concrete decisions here, once, and
//! the core carries them out without knowing why.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::features::NamedFeature;
use stickler_conformance::latitude::Draw;
use stickler_conformance::{DeviceId, Latitude, Latitudes, Witness, features};

use super::MAX_QUEUES;
use crate::virtio::VirtioDevice;
use crate::virtio::delays::{Delays, TimeBudget};
use crate::virtio::queue::QueueBehaviour;

/// Unassigned feature bits that are offered, in each 32 bits from bit 96 on.
const UNKNOWN_HIGH_FEATURES: u32 = 0x8100_0001;

/// The most times in a row that status is read before a slow reset is complete.
const SLOW_RESET: u64 = 40;

/// The latitudes that delay something by the clock, each for a time of its own in all.
const SLOW: [Latitude; 4] = [
    Latitude::SLOW_COMPLETIONS,
    Latitude::SLOW_CONTROL,
    Latitude::SLOW_INTERRUPTS,
    Latitude::DELAYED_DOORBELL,
];

/// One buffer in so many is used late, one interrupt comes late and one notification is heard late, before
/// delays become fewer.
const BETWEEN_DELAYS: u64 = 16;

/// The decisions for one device.
#[derive(Debug)]
pub(super) struct CoreLatitudes {
    id: DeviceId,
    latitudes: Latitudes,
    /// How many resets there were, for what changes with each.
    resets: u64,
    /// How many times a driver set DRIVER_OK and reset the device afterwards, and whether DRIVER_OK has
    /// been set since the last reset.
    lives: u64,
    living: bool,
    /// How many times FEATURES_OK was refused that was kept before.
    refusals: u64,
    /// The time that each of [`SLOW`] may take.
    budgets: [TimeBudget; SLOW.len()],
}

impl CoreLatitudes {
    pub(super) fn new(latitudes: Latitudes, id: DeviceId) -> Self {
        CoreLatitudes {
            id,
            latitudes,
            resets: 0,
            lives: 0,
            living: false,
            refusals: 0,
            budgets: Default::default(),
        }
    }

    pub(super) fn has(&self, latitude: Latitude) -> bool {
        self.latitudes.has(latitude)
    }

    fn numbers(&self, latitude: Latitude) -> Draw {
        self.latitudes.numbers(latitude, self.id.slot)
    }

    /// The numbers of `latitude`, other ones after each of eight resets.
    fn numbers_of_reset(&self, latitude: Latitude) -> Draw {
        let mut numbers = self.numbers(latitude);
        for _ in 0..self.resets % 8 {
            numbers.bits();
        }
        numbers
    }

    // ---- Virtqueues (§4.1.4.3)

    /// The size of each virtqueue on reset: the device type asks for `asked`, and has a use for the
    /// sizes in `small`.
    pub(super) fn queue_sizes(&mut self, asked: &[u16], small: &[u16]) -> Vec<u16> {
        let mut sizes: Vec<u16> = asked.iter().copied().take(MAX_QUEUES).collect();
        let mut choose = |latitude: Latitude, choices: &[u16], turn: u64| {
            if self.latitudes.has(latitude) && latitude.applies_to(self.id.kind) {
                let mut numbers = self.latitudes.numbers(latitude, self.id.slot);
                for _ in 0..turn {
                    numbers.bits();
                }
                let named = self.latitudes.named_number(latitude);
                // Not every small size is of use to every device type.
                let named = choices.iter().find(|size| Some(u64::from(**size)) == named);
                for size in sizes.iter_mut().filter(|size| **size != 0) {
                    *size = named.copied().unwrap_or_else(|| numbers.of(choices));
                }
            }
        };
        choose(Latitude::SMALL_QUEUES, small, 0);
        choose(Latitude::TINY_QUEUES, &[1, 2, 4], 0);
        choose(Latitude::SMALL_NET_QUEUES, &[8, 16], 0);
        choose(Latitude::LARGEST_QUEUES, &[32768], 0);
        // §4.1.4.3: queue_size is the maximum on reset, and is read each time that a queue is configured
        // (§4.1.5.1.3); no clause says that it is the same after each reset.
        let any: &[u16] = &[64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
        choose(Latitude::RESIZED_QUEUES, any, self.resets);
        self.resets += 1;
        if self.has(Latitude::MORE_QUEUES) {
            let mut numbers = self.numbers(Latitude::MORE_QUEUES);
            let room = MAX_QUEUES.saturating_sub(sizes.len()) as u64;
            for more in 0..(2 + numbers.below(14)).min(room) {
                // Some exist, others are unavailable.
                sizes.push(if more % 2 == 0 { 0 } else { 128 });
            }
        }
        sizes
    }

    /// What is unusual about virtqueue `index` of `device` (§2.4.8, §2.4.9).
    pub(super) fn behaviour<D: VirtioDevice<W>, W: Witness>(
        &self,
        device: &D,
        index: u16,
    ) -> QueueBehaviour {
        let order_is_free = device.may_reorder(index);
        let numbers = |latitude, wanted: bool| {
            (wanted && self.has(latitude)).then(|| {
                let mut numbers = self.numbers(latitude);
                Draw::new(numbers.bits(), u64::from(index) + 64 * self.resets)
            })
        };
        QueueBehaviour {
            any_order: numbers(Latitude::OUT_OF_ORDER, order_is_free),
            bursts: numbers(Latitude::BURSTS, true),
            whole_queue: self.has(Latitude::WHOLE_QUEUE),
            one_by_one: self.has(Latitude::ONE_BY_ONE) && order_is_free,
            late_interrupts: numbers(Latitude::LATE_INTERRUPTS, true),
            beyond_len: self.has(Latitude::WRITES_BEYOND_LEN) && device.may_write_beyond_len(index),
            fickle_suppression: self.has(Latitude::FICKLE_SUPPRESSION),
            unasked_looks: self.has(Latitude::UNASKED_LOOKS),
            slow_returns: self.slow_returns(device, index),
            slow_interrupts: numbers(Latitude::SLOW_INTERRUPTS, true)
                .map(|numbers| self.delays(Latitude::SLOW_INTERRUPTS, numbers)),
        }
    }

    // ---- Time by the clock

    /// Whether something takes time by the clock.
    pub(super) fn takes_time(&self) -> bool {
        SLOW.into_iter().any(|latitude| self.has(latitude)) || self.has(Latitude::INTERRUPT_STORM)
    }

    fn budget(&self, latitude: Latitude) -> TimeBudget {
        let at = SLOW.iter().position(|slow| *slow == latitude);
        at.and_then(|at| self.budgets.get(at))
            .cloned()
            .unwrap_or_default()
    }

    fn delays(&self, latitude: Latitude, numbers: Draw) -> Delays {
        Delays::seldom(latitude, numbers, self.budget(latitude), BETWEEN_DELAYS)
    }

    /// The delays with which the device hears of notifications (§2.4.9.2).
    pub(super) fn doorbells(&self) -> Option<Delays> {
        let latitude = Latitude::DELAYED_DOORBELL;
        self.has(latitude)
            .then(|| self.delays(latitude, self.numbers(latitude)))
    }

    /// The delays with which buffers of queue `index` are used. What waits for the host may take any time
    /// on any device.
    fn slow_returns<D: VirtioDevice<W>, W: Witness>(
        &self,
        device: &D,
        index: u16,
    ) -> Option<Delays> {
        let numbers = |latitude| {
            let mut numbers = self.numbers(latitude);
            Draw::new(numbers.bits(), u64::from(index) + 64 * self.resets)
        };
        let control = Latitude::SLOW_CONTROL;
        if self.has(control) && device.takes_commands(index) {
            return Some(Delays::always(
                control,
                numbers(control),
                self.budget(control),
            ));
        }
        let slow = Latitude::SLOW_COMPLETIONS;
        (self.has(slow) && !device.waits_for_host(index)).then(|| self.delays(slow, numbers(slow)))
    }

    /// Whether queues have to be settled after the device has worked.
    pub(super) fn settles(&self) -> bool {
        [
            Latitude::OUT_OF_ORDER,
            Latitude::BURSTS,
            Latitude::WHOLE_QUEUE,
            Latitude::ONE_BY_ONE,
            Latitude::LATE_INTERRUPTS,
            Latitude::SLOW_COMPLETIONS,
            Latitude::SLOW_CONTROL,
            Latitude::SLOW_INTERRUPTS,
        ]
        .into_iter()
        .any(|latitude| self.has(latitude))
    }

    // ---- Features (§2.2)

    /// Feature bits that are not optional.
    fn essential(&self) -> u64 {
        self.id.kind.essential_features() | features::VERSION_1
    }

    /// What is offered of `all`: what the device has and the core adds.
    pub(super) fn offered(&self, all: u64) -> u64 {
        let mut offered = all;
        if self.has(Latitude::FEW_FEATURES) {
            offered &= !(features::RING_INDIRECT_DESC | features::RING_EVENT_IDX);
        }
        if self.has(Latitude::FEATURE_SUBSET) {
            let mut numbers = self.numbers(Latitude::FEATURE_SUBSET);
            // §2.2.2: no feature without those it requires.
            offered = features::subset(self.id.kind, offered, self.essential(), &mut numbers);
        }
        if self.has(Latitude::UNKNOWN_FEATURES) {
            offered |= features::UNKNOWN;
        }
        offered
    }

    /// The offered bits from `32 * select` on, for a select of 2 and more.
    pub(super) fn high_features(&self, select: u32) -> u32 {
        if self.has(Latitude::UNKNOWN_FEATURES) && select >= 3 {
            UNKNOWN_HIGH_FEATURES
        } else {
            0
        }
    }

    /// Whether the device works with what was accepted (§2.2.2), of what it offers.
    pub(super) fn accepts(&mut self, offered: u64, accepted: u64) -> bool {
        if self.refuses_now() {
            return false;
        }
        let demanded = self.demanded(offered);
        let picked = if self.has(Latitude::PICKY_FEATURES) {
            self.picked(offered)
        } else {
            0
        };
        let refused = picked != 0 && accepted & picked == picked;
        !self.has(Latitude::REFUSED_FEATURES)
            && !refused
            && accepted & demanded == demanded
            && accepted & features::UNKNOWN == 0
    }

    /// Whether a device that was used before refuses whatever is accepted.
    fn refuses_now(&mut self) -> bool {
        if !self.has(Latitude::REFUSES_LATER) {
            return false;
        }
        let mut numbers = self.numbers(Latitude::REFUSES_LATER);
        let life = self.latitudes.number(Latitude::REFUSES_LATER, &mut numbers);
        let times = 1 + numbers.below(2);
        let refuses = self.lives >= life && self.refusals < times;
        self.refusals += u64::from(refuses);
        refuses
    }

    /// The feature without which a demanding device does not work: what drivers should accept is not it,
    /// if there is another.
    fn demanded(&self, offered: u64) -> u64 {
        if !self.has(Latitude::DEMANDING_FEATURES) {
            return 0;
        }
        if let Some(feature) = self.latitudes.named_feature(Latitude::DEMANDING_FEATURES) {
            return self.own(feature) & offered;
        }
        let wanted = self.essential() | self.id.kind.recommended_features();
        let choice = single_bits(offered & !(wanted | features::UNKNOWN));
        if choice.is_empty() {
            return 0;
        }
        self.numbers(Latitude::DEMANDING_FEATURES).of(&choice)
    }

    /// The bit of `feature`, if it is one of this device type.
    fn own(&self, feature: NamedFeature) -> u64 {
        let own = feature.kind().is_none_or(|kind| kind == self.id.kind);
        if own { feature.mask() } else { 0 }
    }

    /// The features that a picky device does not work with together, of those offered: event indices
    /// alone, unless the variation makes it one or two others. What drivers should accept is not among
    /// them: that would mislead them.
    fn picked(&self, offered: u64) -> u64 {
        if let Some(feature) = self.latitudes.named_feature(Latitude::PICKY_FEATURES) {
            return self.own(feature) & offered;
        }
        let usual = offered & features::RING_EVENT_IDX;
        let wanted = self.essential() | self.id.kind.recommended_features();
        let others = offered & !(wanted | features::UNKNOWN | usual);
        let mut choice = single_bits(others);
        if self.latitudes.variation().is_multiple_of(2) || choice.is_empty() {
            return usual;
        }
        let mut numbers = self.numbers(Latitude::PICKY_FEATURES);
        numbers.shuffle(&mut choice);
        let count = if numbers.one_in(3) { 2 } else { 1 };
        choice.iter().take(count).fold(0, |all, bit| all | bit)
    }

    // ---- Status, reset, configuration (§2.1, §2.3)

    /// The driver has set DRIVER_OK.
    pub(super) fn went_live(&mut self) {
        self.living = true;
        for budget in &self.budgets {
            budget.begin_life(self.lives);
        }
    }

    /// The device is reset.
    pub(super) fn end_life(&mut self) {
        self.lives += u64::from(std::mem::take(&mut self.living));
    }

    /// Whether a driver has set DRIVER_OK and the device was not reset since.
    pub(super) fn is_living(&self) -> bool {
        self.living
    }

    /// Whether DRIVER_OK was ever set.
    pub(super) fn has_lived(&self) -> bool {
        self.living || self.lives != 0
    }

    pub(super) fn lives(&self) -> u64 {
        self.lives
    }

    /// How many times status is still read as it was after 0 was written to it.
    pub(super) fn slow_reset(&self) -> u32 {
        if !self.has(Latitude::SLOW_RESET) {
            return 0;
        }
        2 + self
            .numbers_of_reset(Latitude::SLOW_RESET)
            .below(SLOW_RESET) as u32
    }

    /// After how many services of queues a live device needs a reset (§2.1.2), if it ever does.
    pub(super) fn needs_reset_after(&self) -> Option<u32> {
        self.has(Latitude::NEEDS_RESET)
            .then(|| 10 + self.numbers_of_reset(Latitude::NEEDS_RESET).below(150) as u32)
    }

    /// Whether the configuration changes while it is read, after so many reads of the generation or,
    /// where the driver does not read that, of a part of a field. That is seldom enough for a driver
    /// that tries again to succeed.
    pub(super) fn unsettles(&self, reads: u32) -> bool {
        self.has(Latitude::UNSETTLED_CONFIGURATION) && reads % 3 == 1
    }
}

/// The bits that are set, one by one.
fn single_bits(features: u64) -> Vec<u64> {
    let all = (0..u64::BITS).map(|bit| 1 << bit);
    all.filter(|bit| features & bit != 0).collect()
}
