//! Packets, receive buffers, address and link of the network device (§5.1.4, §5.1.6.2, §5.1.6.3 of
//! virtio 1.0).

use stickler_conformance::device::net::{ack, class, flags, gso, mq};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net;
use stickler_guest_tests::in_process::net::{
    arp_request, checksum_header, segmentation_header, set_cwr, tcp_segment, udp_checksum_header,
    udp_datagram,
};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::rogues;

/// The features with which every offload of packets to be sent can be used.
const HOST: u64 = net::MAC
    | net::CSUM
    | net::HOST_TSO4
    | net::HOST_TSO6
    | net::HOST_ECN
    | net::MRG_RXBUF
    | net::CTRL_VQ
    | net::MQ;

fn live(d: &mut Driver<'_>, features: u64) {
    d.initialize(features, Interrupts::Msix);
}

/// Sends a packet that leaves nothing to the device, with another header.
fn plain(d: &mut Driver<'_>, features: u64, change: fn(&mut NetHeader)) {
    live(d, features);
    let packet = arp_request(&d.mac());
    let mut header = NetHeader::default();
    change(&mut header);
    d.transmit(1, &header, &packet);
}

/// Sends a packet of which the device makes the checksum.
fn checksum(d: &mut Driver<'_>, change: fn(&mut NetHeader, &mut Vec<u8>)) {
    live(d, HOST);
    let mut packet = tcp_segment(&d.mac(), 100);
    let mut header = checksum_header();
    change(&mut header, &mut packet);
    d.transmit(1, &header, &packet);
}

/// Sends a packet that the device segments, from a driver without the features `lacking`.
fn segment(d: &mut Driver<'_>, lacking: u64, change: fn(&mut NetHeader, &mut Vec<u8>)) {
    live(d, HOST & !lacking);
    let mut packet = tcp_segment(&d.mac(), 3000);
    let mut header = segmentation_header();
    change(&mut header, &mut packet);
    d.transmit(1, &header, &packet);
}

/// Has something come in, and gives `buffers` for it.
fn receive(d: &mut Driver<'_>, features: u64, buffers: &[Buffer]) {
    live(d, features);
    d.submit(0, buffers);
    let packet = arp_request(&d.mac());
    d.transmit(1, &NetHeader::default(), &packet);
}

/// Sends packets that come all from `source`.
fn sends_from(d: &mut Driver<'_>, source: [u8; 6]) {
    for _ in 0..32 {
        d.transmit(1, &NetHeader::default(), &arp_request(&source));
    }
}

fn room(d: &Driver<'_>, len: u32) -> Buffer {
    Buffer::writable(d.rig.allocate(u64::from(len)), len)
}

rogues! {
    half_a_header: Net breaks "net.tx.header" by |d| {
        live(d, net::MAC);
        d.submit(1, &[Buffer::readable(d.rig.allocate(11), 11)]);
    };
    writable_packet: Net breaks "net.tx.readable" by |d| {
        live(d, net::MAC);
        let packet = d.packet(&NetHeader::default(), &arp_request(&d.mac()));
        d.submit(1, &[packet, room(d, 64)]);
    };
    half_an_ethernet_header: Net breaks "net.tx.frame" by |d| {
        live(d, net::MAC);
        d.transmit(1, &NetHeader::default(), &[0; 13]);
    };
    num_buffers_of_a_packet_sent: Net breaks "net.tx.num-buffers" by |d| {
        plain(d, net::MAC | net::MRG_RXBUF, |h| h.num_buffers = 1);
    };
    checksum_without_the_feature: Net breaks "net.tx.flags.zero-without-csum" by |d| {
        plain(d, net::MAC, |h| h.flags = flags::NEEDS_CSUM);
    };
    data_valid_in_a_packet_sent: Net breaks "net.tx.flags.no-data-valid" by |d| {
        plain(d, HOST, |h| h.flags = flags::DATA_VALID);
    };
    undefined_flag: Net breaks "net.tx.flags.defined" by |d| {
        plain(d, HOST, |h| h.flags = 4);
    };
    checksum_outside_the_packet: Net breaks "net.tx.csum.inside" by |d| {
        checksum(d, |h, _| h.csum_offset = 1000);
    };
    checksum_where_tcp_has_none: Net breaks "net.tx.csum.field" by |d| {
        checksum(d, |h, _| h.csum_offset = 6);
    };
    checksum_from_within_tcp: Net breaks "net.tx.csum.start" by |d| {
        checksum(d, |h, _| h.csum_start += 12);
    };
    checksum_from_within_udp: Net breaks "net.tx.csum.start" by |d| {
        live(d, HOST);
        let header = udp_checksum_header();
        let header = NetHeader { csum_start: header.csum_start + 12, ..header };
        d.transmit(1, &header, &udp_datagram(&d.mac(), 100));
    };
    // The whole packet tells.
    checksum_from_within_a_long_packet: Net breaks "net.tx.csum.start" by |d| {
        live(d, HOST);
        let header = checksum_header();
        let header = NetHeader { csum_start: header.csum_start + 12, ..header };
        d.transmit(1, &header, &tcp_segment(&d.mac(), 1400));
    };
    segments_with_a_checksum_elsewhere: Net breaks "net.tx.gso.csum-start" by |d| {
        segment(d, 0, |h, _| h.csum_start += 12);
    };
    segments_without_a_pseudo_header: Net breaks "net.tx.csum.pseudo-header" by |d| {
        segment(d, 0, |_, packet| packet[50] ^= 0x55);
    };
    checksum_left_undone: Net breaks "net.tx.checksummed" by |d| {
        live(d, net::MAC);
        let packet = tcp_segment(&d.mac(), 100);
        d.transmit(1, &NetHeader::default(), &packet);
    };
    wrong_checksum_before: Net breaks "net.tx.csum.preceding" by |d| {
        // The time to live is another.
        checksum(d, |_, packet| packet[22] ^= 1);
    };
    no_pseudo_header: Net breaks "net.tx.csum.pseudo-header" by |d| {
        checksum(d, |_, packet| packet[50] ^= 0x55);
    };
    // That includes this type's own feature.
    segmentation_without_any_feature: Net
        breaks "net.tx.gso.none-without-offloads" and "net.tx.gso.tcpv4" by |d| {
        segment(d, net::HOST_TSO4 | net::HOST_TSO6 | net::HOST_ECN, |_, _| {});
    };
    tcpv4_without_the_feature: Net breaks "net.tx.gso.tcpv4" by |d| {
        segment(d, net::HOST_TSO4, |_, _| {});
    };
    tcpv6_without_the_feature: Net breaks "net.tx.gso.tcpv6" by |d| {
        segment(d, net::HOST_TSO6, |h, _| h.gso_type = gso::TCPV6);
    };
    udp_without_the_feature: Net breaks "net.tx.gso.udp" by |d| {
        segment(d, 0, |h, _| h.gso_type = gso::UDP);
    };
    undefined_gso_type: Net breaks "net.tx.gso.defined" by |d| {
        segment(d, 0, |h, _| h.gso_type = 2);
    };
    segmentation_without_checksum: Net breaks "net.tx.gso.needs-csum" by |d| {
        segment(d, 0, |h, _| h.flags = 0);
    };
    segments_of_no_size: Net breaks "net.tx.gso.size" by |d| {
        segment(d, 0, |h, _| h.gso_size = 0);
    };
    hdr_len_without_tcp: Net breaks "net.tx.gso.hdr-len" by |d| {
        segment(d, 0, |h, _| h.hdr_len = 34);
    };
    ecn_bit_without_the_feature: Net breaks "net.tx.gso.ecn-bit" by |d| {
        segment(d, net::HOST_ECN, |h, _| h.gso_type |= gso::ECN);
    };
    ecn_of_no_type: Net breaks "net.tx.gso.ecn-tcp" by |d| {
        segment(d, 0, |h, _| h.gso_type = gso::ECN);
    };
    segments_another_protocol: Net breaks "net.tx.gso.protocol" by |d| {
        segment(d, 0, |h, _| h.gso_type = gso::TCPV6);
    };
    ecn_without_the_feature: Net breaks "net.tx.gso.ecn-unnegotiated" by |d| {
        segment(d, net::HOST_ECN, |_, packet| set_cwr(packet));
    };
    ecn_unsaid: Net breaks "net.tx.gso.ecn-set" by |d| {
        segment(d, 0, |_, packet| set_cwr(packet));
    };
    second_pair_before_the_command: Net breaks "net.tx.queue.first-only" by |d| {
        live(d, HOST);
        let packet = arp_request(&d.mac());
        d.transmit(3, &NetHeader::default(), &packet);
    };
    second_pair_before_a_command_for_it: Net breaks "net.tx.queue.first-only" by |d| {
        live(d, HOST);
        let packet = arp_request(&d.mac());
        d.transmit(3, &NetHeader::default(), &packet);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]), ack::OK);
    };
    second_pair_after_a_command_for_one: Net breaks "net.tx.queue.within-pairs" by |d| {
        live(d, HOST);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[1, 0]), ack::OK);
        let packet = arp_request(&d.mac());
        d.transmit(3, &NetHeader::default(), &packet);
    };
    // The order of Linux's virtnet_set_channels under traffic.
    second_pair_until_it_is_stopped: Net breaks "net.tx.queue.within-pairs" by |d| {
        live(d, HOST);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]), ack::OK);
        let packet = d.packet(&NetHeader::default(), &arp_request(&d.mac()));
        d.submit(3, &[packet]);
        d.wait_used(3);
        // One is queued before the command, and one after the device has taken it.
        let before = d.queue(3).chain(&[packet]);
        d.queue(3).expose(before);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[1, 0]), ack::OK);
        let after = d.queue(3).chain(&[packet]);
        d.submit_head(3, after);
        d.notify(3);
    };
    readable_receive_buffer: Net breaks "net.rx.writable" by |d| {
        let buffers = [Buffer { writable: false, ..room(d, 12) }, room(d, 1526)];
        receive(d, net::MAC, &buffers);
    };
    small_buffers_with_offloads: Net breaks "net.rx.size.offloads" by |d| {
        let buffers = [room(d, 65561)];
        receive(d, net::MAC | net::GUEST_CSUM | net::GUEST_TSO4, &buffers);
    };
    small_buffers: Net breaks "net.rx.size.plain" by |d| {
        let buffers = [room(d, 1525)];
        receive(d, net::MAC, &buffers);
    };
    no_room_for_the_header: Net breaks "net.rx.size.mergeable" by |d| {
        let buffers = [room(d, 11)];
        receive(d, net::MAC | net::MRG_RXBUF, &buffers);
    };
    second_pair_without_buffers: Net breaks "net.rx.populated" by |d| {
        live(d, HOST);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]), ack::OK);
        d.exercise();
        let packet = arp_request(&d.mac());
        for _ in 0..6 {
            d.transmit(1, &NetHeader::default(), &packet);
            d.rig.tick(1);
        }
    };
    second_pair_without_buffers_until_the_end: Net breaks "net.rx.populated" by |d| {
        live(d, HOST);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]), ack::OK);
        d.exercise();
        d.rig.tick(6);
        d.reset();
    };
    address_of_its_own_making: Net breaks "net.mac.taken" by |d| {
        live(d, net::MAC);
        sends_from(d, [2, 0, 0, 0, 0, 99]);
    };
    universal_address_of_its_own_making: NamelessNet breaks "net.mac.local" by |d| {
        live(d, 0);
        sends_from(d, [0, 0x16, 0x3e, 0, 0, 99]);
    };
    address_nobody_was_told_of: Net breaks "net.mac.told" by |d| {
        live(d, net::MAC | net::CTRL_VQ | net::CTRL_RX);
        d.mac();
        sends_from(d, [2, 0, 0, 0, 0, 99]);
    };
    no_look_at_the_link: Net breaks "net.link.read" by |d| {
        live(d, net::MAC | net::STATUS);
        let packet = arp_request(&d.mac());
        for _ in 0..6 {
            d.transmit(1, &NetHeader::default(), &packet);
            d.rig.tick(1);
        }
    };
}
