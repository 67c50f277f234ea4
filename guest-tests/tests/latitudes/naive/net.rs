//! The network device (§5.1).

use stickler_conformance::features::net;
use stickler_conformance::layout::Structure;
use stickler_guest_tests::in_process::net::arp_request;
use stickler_guest_tests::in_process::{Driver, Interrupts};

use crate::cases;

cases! {
    status_is_about_the_link: Announce on Net, never_acknowledges,
        Breaks "net.announce.acknowledged", copes with acknowledges;
    to_acknowledge_is_enough: Announce on Net, never_announces,
        Breaks "net.announce.sent", copes with acknowledges;
}

const FEATURES: u64 = net::MAC | net::STATUS | net::CTRL_VQ | net::GUEST_ANNOUNCE;

fn status(d: &Driver<'_>) -> u64 {
    d.consistently(|d| d.read(Structure::Device, 6, 2))
}

/// Looks whether the link is up, and for nothing else.
fn never_acknowledges(d: &mut Driver<'_>) {
    d.initialize(FEATURES, Interrupts::Msix);
    assert_eq!(status(d) & 1, 1);
    let mac = d.mac();
    sends(d, &arp_request(&mac));
}

/// Acknowledges, and goes on sending to whom it has sent before.
fn never_announces(d: &mut Driver<'_>) {
    d.initialize(FEATURES, Interrupts::Msix);
    assert_eq!(status(d) & 1, 1);
    assert_eq!(d.command(3, 0, &[]), 0);
    let mut packet = arp_request(&d.mac());
    packet[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    sends(d, &packet);
}

/// Sends a packet 65536 times.
fn sends(d: &mut Driver<'_>, packet: &[u8]) {
    let buffer = d.packet(&Default::default(), packet);
    for _ in 0..1 << 10 {
        for _ in 0..64 {
            let queue = d.queue(1);
            let head = queue.chain(&[buffer]);
            queue.expose(head);
        }
        if d.queue(1).notification_wanted() {
            d.notify(1);
        }
        d.wait_used(1);
    }
}

/// Announces itself and says that it has.
fn acknowledges(d: &mut Driver<'_>) {
    d.initialize(FEATURES, Interrupts::Msix);
    assert_eq!(status(d), 3);
    let mac = d.mac();
    d.transmit(1, &Default::default(), &arp_request(&mac));
    assert_eq!(d.command(3, 0, &[]), 0);
}
