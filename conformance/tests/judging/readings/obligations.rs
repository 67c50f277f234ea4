//! What a driver owes, and what is tolerated: drivers that have not done it yet, or not often enough to be
//! accused.

use stickler_conformance::DeviceKind::{Console, Net};
use stickler_conformance::Latitude;
use stickler_conformance::event::{LatitudeEvent, NetHeader, RegisterEvent};
use stickler_conformance::layout::Structure::Device;

use super::{Ambiguity, from_another_card, read};
use crate::net_receive::misses_once;
use crate::parts::{MAC, r, register};

pub(super) const CASES: &[Ambiguity] = &[
    read("net.link.read", Net, &[true, false], |p| {
        p.negotiate(p.offered);
        p.bring_up();
        p.send(NetHeader::default(), &[0; 60]);
        p.reset();
    }),
    read("net.link.read-again", Net, &[true, false], |p| {
        p.boot();
        p.see(LatitudeEvent::Shown(Latitude::LINK_FLAPS));
        p.send(NetHeader::default(), &[0; 60]);
        p.reset();
    }),
    read("net.announce.acknowledged", Net, &[true, false], |p| {
        p.boot();
        p.see(RegisterEvent::Read(register(Device, 6, 2, 3)));
        p.reset();
    }),
    read("net.announce.sent", Net, &[true, false], |p| {
        p.boot();
        p.see(RegisterEvent::Read(register(Device, 6, 2, 1)));
        p.see(RegisterEvent::Read(register(Device, 6, 2, 3)));
        p.command(3, 0, &[]);
        let mut frame = from_another_card(2);
        frame[0] = 2;
        frame[6..12].copy_from_slice(&MAC);
        p.send(NetHeader::default(), &frame);
        p.reset();
    }),
    read(
        "console.control.device-ready-sent",
        Console,
        &[true, false],
        |p| {
            p.boot();
            p.pass(5);
            p.reset();
        },
    ),
    read(
        "console.control.port-ready-sent",
        Console,
        &[true, false],
        |p| {
            p.boot();
            p.message(u32::MAX, 0, 1);
            p.message_sent(0, 1, 0);
            p.exchange(1, &[r(64)]);
            p.reset();
        },
    ),
    read(
        "console.control.console-port-answered",
        Console,
        &[true, false],
        |p| {
            p.boot();
            p.message(u32::MAX, 0, 1);
            p.message_sent(0, 1, 0);
            p.message(0, 3, 1);
            p.message_sent(0, 4, 1);
            p.reset();
        },
    ),
    read("net.rx.flags.unknown", Net, &[true, false], |p| {
        misses_once(p, Latitude::UNKNOWN_FLAGS);
    }),
    read("net.rx.csum.without-flag", Net, &[true, false], |p| {
        misses_once(p, Latitude::STRAY_CHECKSUM_FIELDS);
    }),
    read("net.rx.hdr-len.no-reliance", Net, &[true, false], |p| {
        misses_once(p, Latitude::ODD_HDR_LEN);
    }),
    read("net.rx.populated", Net, &[true, false], |p| {
        p.boot();
        p.set_pairs(2);
    }),
];
