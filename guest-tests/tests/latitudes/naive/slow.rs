//! Drivers that have no patience (§2.4.8, §2.4.9, §5.1.6.5 of virtio 1.0).

use std::time::Duration;

use stickler_conformance::device::net::{ack, class, rx};
use stickler_conformance::features::net;
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;

cases! {
    a_request_takes_no_time: SLOW_COMPLETIONS on Entropy,
        |d| requests(d, MOMENT, TakesBack::WhenFound),
        Stops "the request is lost", copes with |d| requests(d, LONG, TakesBack::WhenFound);
    a_command_takes_no_time: SLOW_CONTROL on Net,
        |d| commands(d, MOMENT),
        Stops "no answer", copes with |d| commands(d, LONG);
    an_interrupt_takes_no_time: SLOW_INTERRUPTS on Entropy,
        |d| requests(d, MOMENT, TakesBack::WhenInterrupted),
        Stops "the request is lost", copes with |d| requests(d, LONG, TakesBack::WhenInterrupted);
    who_is_notified_looks_at_once: DELAYED_DOORBELL on Entropy,
        |d| requests(d, MOMENT, TakesBack::WhenFound),
        Stops "the request is lost", copes with |d| requests(d, LONG, TakesBack::WhenFound);
    so_many_interrupts_are_a_fault: INTERRUPT_STORM on Entropy,
        |d| counts_interrupts(d, 1000),
        Stops "nobody cared", copes with |d| counts_interrupts(d, usize::MAX);
}

/// For so long one driver waits, and the other.
const MOMENT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(10);

/// When a driver looks for used buffers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakesBack {
    /// It polls.
    WhenFound,
    /// When it is interrupted.
    WhenInterrupted,
}

/// Waits for so long until `done`.
fn waits(d: &mut Driver<'_>, patience: Duration, done: impl Fn(&mut Driver<'_>) -> bool) -> bool {
    let step = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    while !done(d) {
        if waited >= patience {
            return false;
        }
        d.rig.elapse(step);
        waited += step;
    }
    true
}

/// Asks for random bytes many times, and waits for so long for each answer.
fn requests(d: &mut Driver<'_>, patience: Duration, takes_back: TakesBack) {
    d.initialize(0, Interrupts::Msix);
    d.rig.interrupts.take_messages();
    let room = Buffer::writable(d.rig.allocate(8), 8);
    for _ in 0..60 {
        d.submit(0, &[room]);
        let done = waits(d, patience, |d| {
            let called = !d.rig.interrupts.take_messages().is_empty();
            let looks = called || takes_back == TakesBack::WhenFound;
            looks && !d.queue(0).take_used().is_empty()
        });
        assert!(done, "the request is lost");
    }
    d.reset();
}

/// Sends commands, and waits for so long for each answer.
fn commands(d: &mut Driver<'_>, patience: Duration) {
    d.initialize(net::MAC | net::CTRL_VQ | net::CTRL_RX, Interrupts::Msix);
    let queue = d.control_queue();
    for time in 0..20 {
        let buffers = d.command_buffers(&[class::RX, rx::PROMISC, time % 2]);
        d.submit(queue, &buffers);
        let done = waits(d, patience, |d| !d.queue(queue).take_used().is_empty());
        assert!(done, "no answer");
        assert_eq!(d.rig.read_bytes(buffers[1].addr, 1), [ack::OK]);
    }
    d.reset();
}

/// Takes at most so many interrupts without a used buffer, one after the other.
fn counts_interrupts(d: &mut Driver<'_>, most: usize) {
    d.initialize(0, Interrupts::Msix);
    let room = Buffer::writable(d.rig.allocate(8), 8);
    for _ in 0..100 {
        d.submit(0, &[room]);
        let interrupts = d.rig.interrupts.take_messages().len();
        assert!(interrupts <= most, "nobody cared");
        d.wait_used(0);
    }
    d.reset();
}
