//! Pairs of queues of the network device (§5.1.6.3.1, §5.1.6.5.5 of virtio 1.0).

use stickler_conformance::DeviceKind::Net;
use stickler_conformance::event::{NetEvent, NetHeader, NetOutOfUse, StatusEvent};
use stickler_conformance::features::net;
use stickler_conformance::{Outcome, catalogue};

use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("net.tx.queue.first-only", Net, |p| {
        p.boot();
        p.send_out_of_use(3, 0);
    }),
    case("net.tx.queue.within-pairs", Net, |p| {
        p.boot();
        p.set_pairs(1);
        p.send_out_of_use(3, 0);
    }),
    case("net.rx.populated", Net, |p| {
        p.boot();
        p.set_pairs(2);
        for _ in 0..6 {
            p.send(NetHeader::default(), &[0; 60]);
            p.pass(1);
        }
    }),
];

fn outcome(p: &Play, name: &str) -> Outcome {
    let requirement = catalogue::find(name).expect("in the catalogue");
    p.tallies().outcome(requirement)
}

#[test]
fn the_command_may_be_overtaken() {
    let mut p = Play::new(Net);
    p.boot();
    // The driver placed it first, and the device looked at the packets first.
    p.send_out_of_use(3, 2);
    p.send_out_of_use(3, 2);
    p.command(0, 0, &[1]);
    p.set_pairs(2);
    assert_eq!(outcome(&p, "net.tx.queue.first-only"), Outcome::Held);
    p.send_through(3, NetHeader::default(), &[0; 60]);
    p.set_pairs(1);
    p.send_out_of_use(3, 1);
    p.set_pairs(2);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_command_that_waits_may_be_another() {
    for pairs in [None, Some(1)] {
        let mut p = Play::new(Net);
        p.boot();
        p.send_out_of_use(3, 2);
        p.command(0, 0, &[1]);
        assert_eq!(p.messages(), [""; 0]);
        match pairs {
            None => p.command(0, 0, &[0]),
            Some(pairs) => p.set_pairs(pairs),
        }
        assert_eq!(p.found(), ["net.tx.queue.first-only"], "{pairs:?}");
        // One that comes later does not count.
        p.set_pairs(2);
        assert_eq!(p.messages().len(), 1);
    }
}

#[test]
fn packets_queued_before_the_command_are_the_devices_to_send() {
    let mut p = Play::new(Net);
    p.boot();
    p.set_pairs(2);
    // Five are available when the device takes the command.
    p.idx[3] = 5;
    p.set_pairs(1);
    let sent = |p: &mut Play, packets, taken| {
        p.see(NetEvent::OutOfUse(NetOutOfUse {
            queue: 3,
            packets,
            taken,
            commands: 0,
        }));
    };
    sent(&mut p, 3, 3);
    // A command that changes nothing does not excuse more.
    p.idx[3] = 6;
    p.set_pairs(1);
    assert_eq!(p.messages(), [""; 0]);
    sent(&mut p, 3, 6);
    let message =
        "net.tx.queue.within-pairs: packets queued on transmitq2: 1; pairs of queues in use: 1";
    assert_eq!(p.messages(), [message]);
    // It is in use again, and with it what waits.
    p.set_pairs(2);
    p.send_through(3, NetHeader::default(), &[0; 60]);
    p.idx[3] = 1;
    p.set_pairs(1);
    sent(&mut p, 1, 1);
    assert_eq!(p.messages().len(), 1);
    sent(&mut p, 1, 2);
    assert_eq!(p.messages().len(), 2);
}

#[test]
fn positions_wrap() {
    let mut p = Play::new(Net);
    p.boot();
    p.set_pairs(2);
    p.idx[3] = 2;
    p.set_pairs(1);
    let (packets, commands) = (3, 0);
    for taken in [0, 3] {
        p.see(NetEvent::OutOfUse(NetOutOfUse {
            queue: 3,
            packets,
            taken,
            commands,
        }));
    }
    assert_eq!(p.messages().len(), 1);
    assert!(p.messages()[0].contains("transmitq2: 1;"));
}

#[test]
fn a_reset_leaves_open_what_a_command_would_have_been() {
    let mut p = Play::new(Net);
    p.boot();
    p.send_out_of_use(3, 1);
    p.reset();
    p.boot();
    p.command(0, 0, &[1]);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn without_the_feature_there_are_no_pairs() {
    let mut p = Play::new(Net);
    p.boot_with(p.offered & !net::MQ);
    p.send_out_of_use(3, 0);
    assert_eq!(p.messages(), [""; 0]);
}

/// To DRIVER_OK, with no buffer in receiveq1.
fn boots_empty(p: &mut Play) {
    p.negotiate(p.offered);
    p.read_config(|f| f.name != "writeback");
    p.populated = 0;
    p.bring_up();
}

/// Sends a packet in each of so many seconds.
fn works(p: &mut Play, seconds: u32) {
    for _ in 0..seconds {
        p.send(NetHeader::default(), &[0; 60]);
        p.sleep(1);
    }
}

#[test]
fn a_queue_may_be_filled_after_the_command() {
    // The order of Linux: virtnet_set_channels sends the command, and then has the queues filled.
    let mut p = Play::new(Net);
    p.boot();
    p.set_pairs(2);
    works(&mut p, 5);
    p.read_ring(2, true);
    works(&mut p, 100);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
    assert_eq!(outcome(&p, "net.rx.populated"), Outcome::Held);
}

#[test]
fn a_card_that_is_not_used_needs_no_buffers() {
    // The order of Linux: virtnet_probe sends the command, and the queues are filled when the interface is
    // brought up.
    let mut p = Play::new(Net);
    boots_empty(&mut p);
    p.set_pairs(2);
    // It reads the link's state, and sends commands, while the interface is down.
    for _ in 0..100 {
        p.read_field(p.field("status"));
        p.notify(4);
        p.command(0, 0, &[0]);
        p.pass(1);
    }
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_queue_that_goes_out_of_use_needs_no_buffers() {
    let mut p = Play::new(Net);
    p.boot();
    p.set_pairs(2);
    works(&mut p, 3);
    p.set_pairs(1);
    works(&mut p, 100);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_queue_that_was_never_filled_is_found_at_the_end() {
    let uses: [fn(&mut Play); 3] = [
        |p| p.send(NetHeader::default(), &[0; 60]),
        |p| p.notify(0),
        |p| p.read_ring(0, true),
    ];
    for use_it in uses {
        let mut p = Play::new(Net);
        boots_empty(&mut p);
        p.set_pairs(2);
        use_it(&mut p);
        p.sleep(6);
        p.see(StatusEvent::RunEnded { by_guest: true });
        assert_eq!(p.found(), ["net.rx.populated"]);
    }
}
