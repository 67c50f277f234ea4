//! What a device does by the clock.

use std::time::Duration;

use super::*;

const MOMENT: Duration = Duration::from_millis(1);

fn live_with(latitude: Latitude) -> Rig {
    let mut rig = Rig::with(Latitudes::default().with(latitude));
    rig.bring_up();
    rig
}

impl Rig {
    fn elapse(&mut self, time: Duration) {
        let told = self.core.service(Wake::Elapsed(time), &mut self.transport);
        assert_eq!(told, Progress::Done);
    }

    /// Sends buffers until something waits for the clock; returns how many, and for how long.
    fn send_until_late(&mut self) -> (u16, Duration) {
        for count in 1..1000 {
            self.send(0, count);
            self.work();
            self.core.take_kick();
            if let Some(time) = self.core.alarm(&self.transport) {
                return (count, time);
            }
        }
        panic!("nothing comes late");
    }
}

#[test]
fn what_comes_late_comes_when_its_time_has_come() {
    for latitude in [
        Latitude::SLOW_COMPLETIONS,
        Latitude::SLOW_INTERRUPTS,
        Latitude::DELAYED_DOORBELL,
    ] {
        let mut rig = live_with(latitude);
        let (count, time) = rig.send_until_late();
        assert!(time >= Duration::from_millis(100), "{latitude}: {time:?}");
        let calls = std::mem::take(&mut rig.transport.calls).len();
        assert_eq!(calls, usize::from(count) - 1, "{latitude}");
        let used = match latitude {
            Latitude::SLOW_INTERRUPTS => count,
            _ => count - 1,
        };
        rig.elapse(time - MOMENT);
        assert!(!rig.core.take_kick(), "{latitude}");
        rig.work();
        assert_eq!((rig.used_idx(0), rig.transport.calls.len()), (used, 0));
        assert_eq!(rig.core.alarm(&rig.transport), Some(MOMENT));
        rig.elapse(MOMENT);
        assert!(rig.core.take_kick(), "{latitude}");
        rig.work();
        assert_eq!((rig.used_idx(0), rig.transport.calls.len()), (count, 1));
        assert_eq!(rig.core.alarm(&rig.transport), None);
        let shown = rig.core.witness.of("Latitude(Shown").len()
            + rig.core.witness.of("Latitude(ShownAt").len();
        assert_eq!(shown, 1, "{latitude}: {:?}", rig.core.witness.0);
    }
}

#[test]
fn a_second_in_which_the_device_keeps_the_driver_waiting_does_not_count() {
    for latitude in [
        Latitude::SLOW_COMPLETIONS,
        Latitude::SLOW_INTERRUPTS,
        Latitude::DELAYED_DOORBELL,
    ] {
        let mut rig = live_with(latitude);
        let tick = |rig: &mut Rig| {
            let _ = rig.core.service(Wake::Tick, &mut rig.transport);
            rig.core.witness.of("Clock").len()
        };
        assert_eq!(tick(&mut rig), 1);
        let (_, time) = rig.send_until_late();
        rig.elapse(time);
        assert_eq!(tick(&mut rig), 1, "{latitude}");
        rig.work();
        rig.elapse(MOMENT);
        assert_eq!(tick(&mut rig), 2, "{latitude}");
    }
}

#[test]
fn a_device_that_may_not_access_memory_waits_for_no_clock() {
    let mut rig = live_with(Latitude::DELAYED_DOORBELL);
    let (count, time) = rig.send_until_late();
    rig.transport.may_access_memory = false;
    assert_eq!(rig.core.alarm(&rig.transport), None);
    rig.elapse(time);
    rig.work();
    assert_eq!(rig.used_idx(0), count - 1);
    rig.transport.may_access_memory = true;
    rig.work();
    assert_eq!(rig.used_idx(0), count);
}

#[test]
fn a_reset_forgets_what_would_have_come_late() {
    for latitude in [
        Latitude::SLOW_COMPLETIONS,
        Latitude::SLOW_INTERRUPTS,
        Latitude::DELAYED_DOORBELL,
        Latitude::INTERRUPT_STORM,
    ] {
        let mut rig = live_with(latitude);
        if latitude == Latitude::INTERRUPT_STORM {
            for count in 1..200 {
                rig.send(0, count);
                let _ = rig.core.service(Wake::Kick, &mut rig.transport);
            }
        } else {
            rig.send_until_late();
        }
        let used = rig.used_idx(0);
        rig.set_status(0);
        rig.transport.calls.clear();
        rig.elapse(Duration::from_secs(10));
        rig.work();
        assert_eq!(rig.core.alarm(&rig.transport), None);
        assert_eq!((rig.used_idx(0), rig.transport.calls.len()), (used, 0));
    }
}

#[test]
fn a_storm_is_so_many_interrupts_or_lasts_so_long() {
    let mut rig = live_with(Latitude::INTERRUPT_STORM);
    let mut most = 0;
    for count in 1..100 {
        rig.transport.calls.clear();
        rig.send(0, count);
        rig.work();
        most = most.max(rig.transport.calls.len());
    }
    assert!((100_000..100_500).contains(&most), "{most}");
    let storms = rig.core.witness.of("Latitude(Shown").len();
    assert!((1..4).contains(&storms), "{storms}");
    // On a host where each takes long, it ends after half a second.
    let mut rig = live_with(Latitude::INTERRUPT_STORM);
    for count in 1..100 {
        rig.transport.calls.clear();
        rig.send(0, count);
        rig.core.take_kick();
        let mut shares = 0;
        while rig.core.service(Wake::Kick, &mut rig.transport) == Progress::More {
            rig.elapse(Duration::from_millis(100));
            shares += 1;
            assert!(shares <= 6);
        }
    }
    assert_eq!(rig.core.witness.of("Latitude(Shown").len(), 0);
}
