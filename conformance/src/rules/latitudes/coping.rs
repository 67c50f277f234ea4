//! When a driver has shown that it copes with a latitude. Citations are of virtio 1.0.
//!
//! A provoked requirement counts as held only where a driver that ignores the latitude would have failed
//! by then: a driver that goes on for a moment has not shown anything yet.

use super::evidence::{Evidence, reads_configuration, takes_up};
use super::vectors::VectorEvidence;
use crate::event::{
    BufferId, ControlEvent, DataEvent, LatitudeEvent, LiveNotification, NotificationEvent,
    PciEvent, ShownLatitude, Told,
};
use crate::event::{Register, RegisterEvent};
use crate::judge::Verdicts;
use crate::latitude::{Latitude, Latitudes, Shows};
use crate::layout::{Structure, common};
use crate::session::Session;
use crate::tally::Tallies;

/// After so many notifications, the driver has probably met each latitude that affects all work.
const ENOUGH: u32 = 4;

/// What is known of how the driver copes.
#[derive(Default)]
pub(super) struct Coping {
    /// The latitudes in use.
    in_use: Latitudes,
    /// Those that the driver has been seen to ignore.
    ignored: Latitudes,
    /// The driver has asked for a reset.
    reset: bool,
    /// The driver has used the second instance of a structure, since the reset.
    second: bool,
    /// How often virtqueues have been notified since the reset.
    notified: u32,
    /// What the device has shown, and the driver has yet to answer.
    awaited: Vec<Awaited>,
    /// Where the driver knows virtqueues to be notified.
    addresses: NotifyOffsets,
    /// What vectors say.
    vectors: VectorEvidence,
    /// What buffers say, where a latitude in use is judged by that.
    evidence: Option<Box<Evidence>>,
}

/// `queue_notify_off` of each virtqueue, as the driver has read it.
#[derive(Default)]
struct NotifyOffsets {
    /// `queue_select`.
    selected: u16,
    /// The virtqueues of which it is not the index, a bit each.
    elsewhere: u64,
}

impl NotifyOffsets {
    fn see(&mut self, event: RegisterEvent) {
        let field = |register: Register, offset| {
            let bytes = [register.byte(offset)?, register.byte(offset + 1)?];
            (register.structure == Structure::Common).then(|| u16::from_le_bytes(bytes))
        };
        match event {
            RegisterEvent::Written(register) => {
                if let Some(queue) = field(register, common::QUEUE_SELECT) {
                    self.selected = queue;
                }
            }
            RegisterEvent::Read(register) => {
                if let Some(off) = field(register, common::QUEUE_NOTIFY_OFF)
                    && off != self.selected
                    && self.selected < 64
                {
                    self.elsewhere |= 1 << self.selected;
                }
            }
        }
    }

    fn is_elsewhere(&self, queue: u16) -> bool {
        queue < 64 && self.elsewhere & 1 << queue != 0
    }
}

/// What a driver has yet to do before it has coped.
struct Awaited {
    shown: ShownLatitude,
    /// The buffer by which it learns of it, once the device has returned that.
    returned: Option<BufferId>,
    /// It has learned of it.
    learned: bool,
}

impl Awaited {
    /// A driver that uses the buffer again by which it was told has taken it.
    fn see(&mut self, event: &DataEvent<'_>) {
        let Some(Told::Buffer(told)) = self.shown.told else {
            return;
        };
        match event {
            DataEvent::Returned { queue, id, .. } if *queue == told => {
                self.returned.get_or_insert(*id);
            }
            DataEvent::Exposed(buffer) if buffer.queue == told => {
                self.learned |= self.returned.is_some_and(|id| takes_up(buffer, id));
            }
            DataEvent::Returned { .. }
            | DataEvent::Exposed(_)
            | DataEvent::AvailableRead(_)
            | DataEvent::NetTransmit(_)
            | DataEvent::BlockRequest(_) => {}
        }
    }
}

/// Counts the requirements as held that `latitude` provokes.
pub(super) fn hold(latitude: Latitude, verdicts: &mut Verdicts) {
    for requirement in latitude.entry().provokes {
        verdicts.held(*requirement);
    }
}

/// … that the latitudes in use provoke which are judged now.
fn hold_all(shows: &[Shows], latitudes: Latitudes, verdicts: &mut Verdicts) {
    for latitude in latitudes.iter() {
        if shows.contains(&latitude.entry().shows) {
            hold(latitude, verdicts);
        }
    }
}

impl Coping {
    /// An event, before the rules about giving up have seen it.
    pub(super) fn control(
        &mut self,
        event: &ControlEvent<'_>,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        if let ControlEvent::Latitude(LatitudeEvent::InUse(latitude)) = *event
            && latitude.applies_to(session.kind)
        {
            self.in_use = self.in_use.with(latitude);
            if Evidence::is_for(latitude) {
                self.evidence.get_or_insert_default();
            }
        }
        if self.in_use.is_empty() {
            return;
        }
        for latitude in self.vectors.see(event, self.in_use, session) {
            hold(latitude, verdicts);
        }
        if let Some(evidence) = &mut self.evidence
            && evidence.control(event)
        {
            hold(Latitude::SHARED_INTERRUPTS, verdicts);
        }
        match *event {
            ControlEvent::Latitude(event) => self.latitude(event, verdicts),
            ControlEvent::Pci(PciEvent::SecondInstance { .. }) => self.second = true,
            ControlEvent::Notification(NotificationEvent::Live(live)) => {
                self.notified(live, verdicts);
            }
            ControlEvent::Register(event) => {
                self.addresses.see(event);
                if reads_configuration(event) {
                    self.learned_by(Some(Told::Configuration));
                }
            }
            ControlEvent::Status(event) => {
                if event.asks_for_reset() {
                    self.reset = true;
                    self.second = false;
                    self.notified = 0;
                    self.awaited.clear();
                }
                if event.sets_driver_ok() {
                    hold_all(&[Shows::Live], self.visible(), verdicts);
                }
            }
            ControlEvent::Pci(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Notification(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    /// The latitudes in use that the driver has not been seen to pass by.
    fn visible(&self) -> Latitudes {
        let mut latitudes = self.in_use;
        if self.second {
            latitudes = latitudes.without(Latitude::SECOND_INSTANCES);
        }
        if !self.reset {
            latitudes = latitudes.without(Latitude::LIVE_AT_ARRIVAL);
        }
        latitudes
    }

    fn latitude(&mut self, event: LatitudeEvent, verdicts: &mut Verdicts) {
        match event {
            LatitudeEvent::InUse(_) => {}
            LatitudeEvent::Shown(latitude) => self.await_answer(ShownLatitude {
                latitude,
                told: None,
                next: None,
            }),
            LatitudeEvent::ShownAt(shown) => self.await_answer(shown),
            LatitudeEvent::Answered(latitude) => hold(latitude, verdicts),
        }
    }

    fn await_answer(&mut self, shown: ShownLatitude) {
        if shown.latitude.entry().shows != Shows::Used {
            return;
        }
        // What is shown again and again would otherwise never be answered.
        if self.awaited.iter().all(|awaited| awaited.shown != shown) {
            self.awaited.push(Awaited {
                shown,
                returned: None,
                learned: false,
            });
        }
    }

    fn learned_by(&mut self, told: Option<Told>) {
        for awaited in &mut self.awaited {
            awaited.learned |= awaited.shown.told == told;
        }
    }

    /// The driver has notified a queue.
    fn notified(&mut self, live: LiveNotification, verdicts: &mut Verdicts) {
        self.awaited.retain(|awaited| {
            let goes_on = awaited.shown.next.is_none_or(|next| next == live.queue);
            if awaited.learned && goes_on {
                hold(awaited.shown.latitude, verdicts);
                return false;
            }
            true
        });
        self.learned_by(None);
        self.notified = self.notified.saturating_add(1);
        if self.notified == ENOUGH {
            hold_all(&[Shows::Works, Shows::Worked], self.in_use, verdicts);
        }
        // What is notified at the wrong place has no new buffers.
        if live.asked || live.at_start {
            for latitude in self.in_use.iter() {
                if latitude.entry().shows == Shows::Notified && self.tells(latitude, live.queue) {
                    hold(latitude, verdicts);
                }
            }
        }
    }

    /// Whether `queue` has its address (§4.1.4.4) where only a driver looks for it that knows of
    /// `latitude`.
    fn tells(&self, latitude: Latitude, queue: u16) -> bool {
        match latitude {
            Latitude::NOTIFY_OFFSETS | Latitude::SAME_NOTIFY_OFFSET => {
                let one_address = self.in_use.has(Latitude::ONE_NOTIFY_ADDRESS);
                !one_address && self.addresses.is_elsewhere(queue)
            }
            // The first one is at the beginning, whatever the multiplier is.
            _ => queue > 0,
        }
    }

    /// The driver has done something that only a driver does that ignores `latitude`.
    fn ignored(&mut self, latitude: Latitude) {
        self.ignored = self.ignored.with(latitude);
    }

    /// A buffer or a request.
    #[inline(always)]
    pub(super) fn data(
        &mut self,
        event: &DataEvent<'_>,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        if self.evidence.is_some() || !self.awaited.is_empty() {
            self.buffer(event, session, verdicts);
        }
    }

    #[cold]
    fn buffer(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        for awaited in &mut self.awaited {
            awaited.see(event);
        }
        let Some(evidence) = &mut self.evidence else {
            return;
        };
        let said = evidence.data(event, self.in_use, session);
        said.coped.iter().for_each(|l| hold(l, verdicts));
        said.ignored.iter().for_each(|l| self.ignored(l));
    }

    /// Takes back what does not count: where the driver has been seen to ignore a latitude, or has violated
    /// a requirement as only a driver does that ignores it, it has not coped.
    pub(super) fn tally(&self, tallies: &mut Tallies) {
        for latitude in self.in_use.iter() {
            let entry = latitude.entry();
            let mut unless = entry.unless.iter();
            if self.ignored.has(latitude) || unless.any(|req| tallies.get(*req).violated > 0) {
                entry.provokes.iter().for_each(|req| tallies.forfeit(*req));
            }
        }
    }
}
