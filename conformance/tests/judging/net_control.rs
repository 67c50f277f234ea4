//! Commands on the network device's control virtqueue (§5.1.6.5 of virtio 1.0).

use stickler_conformance::DeviceKind::Net;
use stickler_conformance::event::{NetCommand, NetEvent};
use stickler_conformance::features::net;

use crate::parts::{MAC_TABLES, setup};
use crate::play::Play;
use crate::table::{Case, case, may};

pub const CASES: &[Case] = &[
    case("net.control.format", Net, |p| {
        raw(p, |c| c.command = None);
    }),
    case("net.control.ack", Net, |p| raw(p, |c| c.writable = 0)),
    case("net.control.ack-alone", Net, |p| raw(p, |c| c.writable = 2)),
    case("net.control.defined", Net, |p| all(p, 6, 0, &[])),
    case("net.control.rx.negotiated", Net, |p| {
        without(p, net::CTRL_RX, 0, 1, &[1]);
    }),
    case("net.control.rx-extra.negotiated", Net, |p| {
        without(p, net::CTRL_RX_EXTRA, 0, 2, &[1]);
    }),
    case("net.control.rx.data", Net, |p| all(p, 0, 0, &[2])),
    case("net.control.mac.negotiated", Net, |p| {
        without(p, net::CTRL_RX, 1, 0, MAC_TABLES);
    }),
    case("net.control.mac-table.format", Net, |p| {
        all(p, 1, 0, &MAC_TABLES[..MAC_TABLES.len() - 1]);
    }),
    case("net.control.mac-table.unicast", Net, |p| {
        changed_tables(p, 4, 3);
    }),
    case("net.control.mac-table.multicast", Net, |p| {
        changed_tables(p, 14, 2);
    }),
    may("net.control.mac-table.empty", Net, |p| {
        all(p, 1, 0, &[0; 8]);
    }),
    case("net.control.mac-address.data", Net, |p| {
        all(p, 1, 1, &[2, 0, 0, 0, 0]);
    }),
    case("net.control.vlan.negotiated", Net, |p| {
        without(p, net::CTRL_VLAN, 2, 1, &[1, 0]);
    }),
    case("net.control.vlan.data", Net, |p| all(p, 2, 0, &[0, 0x10])),
    case("net.control.announce.negotiated", Net, |p| {
        without(p, net::GUEST_ANNOUNCE, 3, 0, &[]);
    }),
    case("net.control.announce.data", Net, |p| all(p, 3, 0, &[1])),
    case("net.control.mq.negotiated", Net, |p| {
        without(p, net::MQ, 4, 0, &[1, 0]);
    }),
    case("net.control.mq.data", Net, |p| all(p, 4, 0, &[1])),
    case("net.control.mq.pairs", Net, |p| all(p, 4, 0, &[3, 0])),
    case("net.control.mq.configured", Net, |p| {
        p.negotiate(p.offered);
        for queue in [0, 1, 2, 4] {
            p.configure(queue);
            p.enable(setup(queue), queue);
        }
        p.add_status(stickler_conformance::layout::status::DRIVER_OK);
        p.command(4, 0, &[2, 0]);
    }),
    case("net.control.offloads.negotiated", Net, |p| {
        without(p, net::CTRL_GUEST_OFFLOADS, 5, 0, &[0; 8]);
    }),
    case("net.control.offloads.data", Net, |p| all(p, 5, 0, &[0; 4])),
    case("net.control.offloads.subset", Net, |p| {
        without(p, net::GUEST_UFO, 5, 0, &[0, 4, 0, 0, 0, 0, 0, 0]);
    }),
];

/// A command from a driver with all features.
fn all(p: &mut Play, class: u8, command: u8, data: &[u8]) {
    without(p, 0, class, command, data);
}

/// A command from a driver that lacks a feature.
fn without(p: &mut Play, lacking: u64, class: u8, command: u8, data: &[u8]) {
    p.boot_with(p.offered & !lacking);
    p.command(class, command, data);
}

fn raw(p: &mut Play, change: fn(&mut NetCommand<'_>)) {
    p.boot();
    let mut command = NetCommand {
        class: Some(0),
        command: Some(0),
        data: &[1],
        len: 1,
        writable: 1,
        max_virtqueue_pairs: 2,
    };
    change(&mut command);
    p.see(NetEvent::Command(command));
}

fn changed_tables(p: &mut Play, at: usize, value: u8) {
    let mut tables = MAC_TABLES.to_vec();
    tables[at] = value;
    all(p, 1, 0, &tables);
}

#[test]
fn the_address_may_be_set_with_the_feature_for_it() {
    let mut p = Play::new(Net);
    without(&mut p, net::CTRL_RX, 1, 1, &[2, 0, 0, 0, 0, 1]);
    assert_eq!(p.messages(), [""; 0]);
    without(
        &mut p,
        net::CTRL_RX | net::CTRL_MAC_ADDR,
        1,
        1,
        &[2, 0, 0, 0, 0, 1],
    );
    assert_eq!(p.found(), ["net.control.mac.negotiated"]);
}

#[test]
fn tables_longer_than_the_reported_data_are_not_judged() {
    let mut p = Play::new(Net);
    p.boot();
    let mut data = vec![200, 0, 0, 0];
    data.extend([2; 60]);
    p.see(NetEvent::Command(NetCommand {
        class: Some(1),
        command: Some(0),
        data: &data,
        len: 8 + 6 * 200,
        writable: 1,
        max_virtqueue_pairs: 2,
    }));
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn wild_counts_are_no_tables() {
    let mut p = Play::new(Net);
    all(&mut p, 1, 0, &[0xff; 8]);
    all(&mut p, 1, 0, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    all(&mut p, 1, 0, &[]);
    assert_eq!(p.found(), ["net.control.mac-table.format"]);
    assert_eq!(p.messages().len(), 3);
}
