use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use stickler_conformance::{DeviceId, DeviceKind, Tallies};
use stickler_devices::memory::GuestRam;

use super::*;

/// A device that stops its worker after its third share of work for a kick. Its host side always has
/// more work.
struct Busy {
    kick: OwnedFd,
    host: OwnedFd,
    kicks: AtomicU32,
    rounds: AtomicU32,
    stop: OwnedFd,
    host_kicks: bool,
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

fn signal(fd: &OwnedFd) {
    rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
}

impl Busy {
    fn new(host: OwnedFd, host_kicks: bool) -> Self {
        Busy {
            kick: event(),
            host,
            kicks: AtomicU32::new(0),
            rounds: AtomicU32::new(0),
            stop: event(),
            host_kicks,
        }
    }
}

impl Serviced for Busy {
    fn id(&self) -> DeviceId {
        DeviceId {
            slot: 1,
            kind: DeviceKind::Entropy,
        }
    }

    fn kick_fd(&self) -> RawFd {
        self.kick.as_raw_fd()
    }

    fn host_fds(&self) -> Vec<RawFd> {
        vec![self.host.as_raw_fd()]
    }

    fn service(&self, wake: Wake) -> Progress {
        match wake {
            Wake::Kick => {
                // Three shares of work, then the worker is to stop.
                if self.kicks.fetch_add(1, Ordering::Relaxed) < 2 {
                    return Progress::More;
                }
                signal(&self.stop);
                Progress::Done
            }
            Wake::Host(index) => {
                assert_eq!(index, 0);
                if self.rounds.fetch_add(1, Ordering::Relaxed) == 10 && self.host_kicks {
                    signal(&self.kick);
                }
                Progress::More
            }
            Wake::Tick | Wake::Elapsed(_) => Progress::Done,
        }
    }

    fn memory_changed(&self, _ram: GuestRam) {}

    fn run_ended(&self, _by_guest: bool) {}

    fn is_live(&self) -> bool {
        false
    }

    fn was_taken(&self) -> bool {
        false
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

#[test]
fn a_kick_is_served_until_all_is_done() {
    let device = Busy::new(event(), false);
    signal(&device.kick);
    serve(&device, device.stop.as_fd()).unwrap();
    assert_eq!(device.kicks.load(Ordering::Relaxed), 3);
    assert_eq!(device.rounds.load(Ordering::Relaxed), 0);
}

#[test]
fn a_source_without_end_does_not_starve_another() {
    let device = Busy::new(event(), true);
    signal(&device.host);
    serve(&device, device.stop.as_fd()).unwrap();
    assert_eq!(device.kicks.load(Ordering::Relaxed), 3);
    assert!(device.rounds.load(Ordering::Relaxed) >= 11);
}

#[test]
fn a_regular_file_is_ready_from_the_start() {
    let file = tempfile::tempfile().unwrap();
    let device = Busy::new(file.into(), true);
    serve(&device, device.stop.as_fd()).unwrap();
    assert_eq!(device.kicks.load(Ordering::Relaxed), 3);
}

#[test]
fn stop_wakes_an_idle_worker() {
    let device = Busy::new(event(), false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| serve(&device, device.stop.as_fd()));
        signal(&device.stop);
        worker.join().unwrap().unwrap();
    });
    assert_eq!(device.kicks.load(Ordering::Relaxed), 0);
}

/// A device that waits for the clock, and stops its worker when it has been told that the time is over.
struct Timed {
    kick: OwnedFd,
    stop: OwnedFd,
    /// Milliseconds for which it waits.
    wait: u64,
    /// Microseconds that have passed.
    passed: AtomicU64,
}

impl Serviced for Timed {
    fn id(&self) -> DeviceId {
        DeviceId {
            slot: 1,
            kind: DeviceKind::Entropy,
        }
    }

    fn kick_fd(&self) -> RawFd {
        self.kick.as_raw_fd()
    }

    fn host_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn service(&self, wake: Wake) -> Progress {
        if let Wake::Elapsed(time) = wake {
            let time = time.as_micros() as u64;
            let passed = self.passed.fetch_add(time, Ordering::Relaxed) + time;
            if passed >= self.wait * 1000 {
                signal(&self.stop);
            }
        }
        Progress::Done
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn alarm(&self) -> Option<Duration> {
        let passed = Duration::from_micros(self.passed.load(Ordering::Relaxed));
        Duration::from_millis(self.wait).checked_sub(passed)
    }

    fn memory_changed(&self, _ram: GuestRam) {}

    fn run_ended(&self, _by_guest: bool) {}

    fn is_live(&self) -> bool {
        false
    }

    fn was_taken(&self) -> bool {
        false
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

#[test]
fn a_device_that_waits_for_the_clock_is_told_of_all_the_time_that_passes() {
    let device = Timed {
        kick: event(),
        stop: event(),
        wait: 20,
        passed: AtomicU64::new(0),
    };
    let begun = Instant::now();
    serve(&device, device.stop.as_fd()).unwrap();
    let (told, real) = (device.passed.load(Ordering::Relaxed), begun.elapsed());
    assert!(told >= 20_000, "{told}");
    // It was not called only when the next tick was due, and was not told of more than there was.
    assert!(real < TICK, "{real:?}");
    assert!(u128::from(told) <= real.as_micros(), "{told} of {real:?}");
}
