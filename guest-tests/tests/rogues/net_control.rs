//! Commands on the network device's control virtqueue (§5.1.6.5 of virtio 1.0).

use stickler_conformance::device::net::{ack, announce, class, guest_offloads, mac, mq, rx, vlan};
use stickler_conformance::features::net;
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::rogues;

/// All with which there is a command.
const ALL: u64 = net::MAC
    | net::CTRL_VQ
    | net::CTRL_RX
    | net::CTRL_RX_EXTRA
    | net::CTRL_VLAN
    | net::CTRL_MAC_ADDR
    | net::GUEST_ANNOUNCE
    | net::MQ
    | net::GUEST_CSUM
    | net::CTRL_GUEST_OFFLOADS;

/// Sends a command that the device has to refuse, from a driver without the features `lacking`.
fn refused(d: &mut Driver<'_>, lacking: u64, class: u8, command: u8, data: &[u8]) {
    d.initialize(ALL & !lacking, Interrupts::Msix);
    assert_eq!(d.command(class, command, data), ack::ERR);
}

/// Two tables of addresses, one in each.
fn tables(first: u8, second: u8) -> Vec<u8> {
    let one = |a| [1, 0, 0, 0, a, 0, 0, 0, 0, 9];
    [one(first), one(second)].concat()
}

rogues! {
    half_a_command: Net breaks "net.control.format" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        let half = d.command_buffers(&[class::RX]);
        let queue = d.control_queue();
        d.submit(queue, &half);
    };
    no_room_for_the_answer: Net breaks "net.control.ack" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        let command = d.command_buffers(&[class::RX, rx::PROMISC, 1]);
        let queue = d.control_queue();
        d.submit(queue, &command[..1]);
    };
    unknown_command: Net breaks "net.control.defined" by |d| refused(d, 0, 9, 0, &[]);
    promiscuous_without_the_feature: Net breaks "net.control.rx.negotiated" by |d| {
        refused(d, net::CTRL_RX, class::RX, rx::PROMISC, &[1]);
    };
    no_broadcast_without_the_feature: Net breaks "net.control.rx-extra.negotiated" by |d| {
        refused(d, net::CTRL_RX_EXTRA, class::RX, rx::NOBCAST, &[1]);
    };
    half_promiscuous: Net breaks "net.control.rx.data" by |d| refused(d, 0, class::RX, rx::PROMISC, &[2]);
    addresses_without_the_feature: Net breaks "net.control.mac.negotiated" by |d| {
        refused(d, net::CTRL_RX, class::MAC, mac::TABLE_SET, &tables(2, 3));
    };
    one_table: Net breaks "net.control.mac-table.format" by |d| {
        refused(d, 0, class::MAC, mac::TABLE_SET, &tables(2, 3)[..10]);
    };
    table_of_more_than_there_is: Net breaks "net.control.mac-table.format" by |d| {
        refused(d, 0, class::MAC, mac::TABLE_SET, &[0xff; 20]);
    };
    multicast_in_the_first_table: Net breaks "net.control.mac-table.unicast" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        d.command(class::MAC, mac::TABLE_SET, &tables(3, 3));
    };
    unicast_in_the_second_table: Net breaks "net.control.mac-table.multicast" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        d.command(class::MAC, mac::TABLE_SET, &tables(2, 2));
    };
    half_an_address: Net breaks "net.control.mac-address.data" by |d| {
        refused(d, 0, class::MAC, mac::ADDR_SET, &[2, 0, 0]);
    };
    vlan_without_the_feature: Net breaks "net.control.vlan.negotiated" by |d| {
        refused(d, net::CTRL_VLAN, class::VLAN, vlan::ADD, &[5, 0]);
    };
    vlan_that_is_none: Net breaks "net.control.vlan.data" by |d| {
        refused(d, 0, class::VLAN, vlan::ADD, &[0, 0x10]);
    };
    announces_without_the_feature: Net breaks "net.control.announce.negotiated" by |d| {
        refused(d, net::GUEST_ANNOUNCE, class::ANNOUNCE, announce::ACK, &[]);
    };
    announces_with_data: Net breaks "net.control.announce.data" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        d.command(class::ANNOUNCE, announce::ACK, &[1]);
    };
    room_for_more_than_the_answer: Net breaks "net.control.ack-alone" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        let mut command = d.command_buffers(&[class::RX, rx::PROMISC, 1]);
        if let Some(ack) = command.last_mut() {
            ack.len = 2;
        }
        let queue = d.control_queue();
        d.submit(queue, &command);
    };
    // The answer is in the first byte: later versions have more after it.
    room_for_much_more_than_the_answer: Net breaks "net.control.ack-alone" by |d| {
        d.initialize(ALL, Interrupts::Msix);
        let [command, _] = d.command_buffers(&[class::RX, rx::PROMISC, 1]);
        let at = d.rig.allocate(100);
        d.rig.write_bytes(at, &[0xff; 100]);
        // In front of it, a buffer of no bytes.
        let room = [Buffer::writable(at + 99, 0), Buffer::writable(at, 60), Buffer::writable(at + 60, 40)];
        let queue = d.control_queue();
        d.submit(queue, &[&[command][..], &room].concat());
        assert_eq!(d.wait_used(queue)[0].1, 1);
        assert_eq!(d.rig.read_bytes(at, 1), [ack::OK]);
        assert_eq!(d.rig.read_bytes(at + 1, 99), [0xff; 99]);
    };
    pairs_without_the_feature: Net breaks "net.control.mq.negotiated" by |d| {
        refused(d, net::MQ, class::MQ, mq::VQ_PAIRS_SET, &[1, 0]);
    };
    half_a_number_of_pairs: Net breaks "net.control.mq.data" by |d| refused(d, 0, class::MQ, mq::VQ_PAIRS_SET, &[1]);
    no_pairs: Net breaks "net.control.mq.pairs" by |d| refused(d, 0, class::MQ, mq::VQ_PAIRS_SET, &[0, 0]);
    a_pair_too_many: Net breaks "net.control.mq.pairs" by |d| refused(d, 0, class::MQ, mq::VQ_PAIRS_SET, &[3, 0]);
    pairs_not_set_up: Net breaks "net.control.mq.configured" by |d| {
        d.negotiate(ALL);
        d.set_up_interrupts(Interrupts::Msix);
        for queue in [0, 1, 4] {
            assert!(d.configure_queue(queue, 8));
            d.enable_queue();
        }
        d.go();
        d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]);
    };
    offloads_without_the_feature: Net breaks "net.control.offloads.negotiated" by |d| {
        refused(d, net::CTRL_GUEST_OFFLOADS, class::GUEST_OFFLOADS, guest_offloads::SET, &[0; 8]);
    };
    half_a_mask: Net breaks "net.control.offloads.data" by |d| {
        refused(d, 0, class::GUEST_OFFLOADS, guest_offloads::SET, &[0; 4]);
    };
    offloads_not_negotiated: Net breaks "net.control.offloads.subset" by |d| {
        refused(d, 0, class::GUEST_OFFLOADS, guest_offloads::SET, &net::GUEST_TSO4.to_le_bytes());
    };
}
