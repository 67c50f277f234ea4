//! Packets to the driver for which there are too few buffers (§5.1.6.4 of virtio 1.0).

use stickler_conformance::Latitude;

use super::*;

/// A TCP packet with so much data, to be cut into segments of 1000 bytes.
fn to_be_segmented(payload: usize) -> (NetHeader, Vec<u8>) {
    let data: Vec<u8> = (0..payload).map(|i| (i % 251) as u8).collect();
    let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, &data));
    let header = NetHeader {
        gso_type: gso::TCPV4,
        gso_size: 1000,
        ..offload::make_partial(&mut frame).expect("TCP")
    };
    (header, frame)
}

/// What the device makes of such a packet where it cannot hand it over whole.
fn cut(header: &NetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    assert!(offload::segment(header, packet, |s| segments.push(s)));
    segments
}

/// A card whose driver takes packets to be segmented and merges buffers.
fn merging_card(pairs: u16) -> Card {
    let multi = if pairs > 1 { MULTI } else { f::MAC };
    card(pairs, multi | f::MRG_RXBUF | f::GUEST_CSUM | f::GUEST_TSO4)
}

/// A driver that refills its queue once more than half of it is used, as Linux's does.
#[test]
fn a_packet_does_not_wait_for_more_buffers_than_a_driver_keeps_there() {
    let mut card = merging_card(1);
    let offer = |card: &mut Card, count| {
        for _ in 0..count {
            card.bench.offer(RX, &[Buffer::In(1526)]);
        }
    };
    offer(&mut card, 32);
    // Half of the buffers go, and no more.
    let (header, packet) = to_be_segmented(16 * 1526 - 12 - 54);
    card.arrive(header, &packet);
    let returned = card.bench.collect(RX);
    assert_eq!(returned.len(), 16);
    assert_eq!(split(&returned[0].bytes).0.gso_type, gso::TCPV4);
    // The next packet needs more than are left.
    let (header, packet) = to_be_segmented(20_000 + 5000);
    card.arrive(header, &packet);
    let mut returned = card.bench.collect(RX);
    assert_eq!(returned.len(), 16, "all that there are");
    // Now the driver refills.
    offer(&mut card, 32);
    card.bench.notify(RX);
    returned.extend(card.bench.collect(RX));
    let got: Vec<_> = returned.iter().map(|r| split(&r.bytes)).collect();
    let expected: Vec<_> = cut(&header, &packet)
        .into_iter()
        .map(|segment| (plain(1), segment))
        .collect();
    assert_eq!(got.len(), 25);
    assert_eq!(got, expected);
    // What there is room for comes whole.
    card.arrive(header, &packet[..]);
    assert!(card.bench.collect(RX).len() < 25, "not cut");
}

#[test]
fn without_any_buffer_a_packet_waits_and_comes_whole() {
    let mut card = merging_card(1);
    let (header, packet) = to_be_segmented(3000);
    card.arrive(header, &packet);
    for _ in 0..3 {
        card.bench.offer(RX, &[Buffer::In(1526)]);
    }
    card.bench.notify(RX);
    let returned = card.bench.collect(RX);
    assert_eq!(split(&returned[0].bytes).0.num_buffers, 3);
}

#[test]
fn a_packet_that_a_whole_queue_does_not_hold_comes_in_segments() {
    for pairs in [1, 2] {
        let mut card = merging_card(pairs);
        for _ in 0..64 {
            card.bench.offer(RX, &[Buffer::In(100)]);
        }
        let (header, packet) = to_be_segmented(7000);
        card.arrive(header, &packet);
        let returned = card.bench.collect(RX);
        let first = cut(&header, &packet).swap_remove(0);
        let message: Vec<u8> = returned.iter().flat_map(|r| r.bytes.clone()).collect();
        assert_eq!(
            message[header::LEN..][..first.len()],
            first,
            "{pairs} pairs"
        );
    }
}

#[test]
fn the_largest_packets_of_the_devices_own_do_not_wait_either() {
    let mut card = merging_card(1);
    let latitudes = Latitudes::default().with(Latitude::LARGE_PACKETS);
    VirtioDevice::<VecWitness>::set_latitudes(&mut card.bench.device, latitudes, 1);
    card.bench
        .start(f::MAC | f::MRG_RXBUF | f::GUEST_CSUM | f::GUEST_TSO4, 64);
    let message = [0; 72];
    let mut came = 0;
    for _ in 0..64 {
        for _ in 0..16 {
            card.bench.offer(RX, &[Buffer::In(1526)]);
        }
        card.do_queue(TX, &[Buffer::Out(&message)]);
        came += card.bench.collect(RX).len();
        if came > 0 {
            break;
        }
    }
    assert_eq!(came % 16, 0);
    let shown = card.bench.witness.of("Shown");
    assert!(came > 0 && shown.is_empty(), "{came} {shown:?}");
}

#[test]
fn a_link_that_goes_down_and_a_reset_forget_segments() {
    for reset in [false, true] {
        let mut card = merging_card(1);
        card.bench.offer(RX, &[Buffer::In(1526)]);
        let (header, packet) = to_be_segmented(5000);
        card.arrive(header, &packet);
        assert_eq!(card.bench.collect(RX).len(), 1);
        if reset {
            card.bench.reset();
            card.bench.start(f::MAC, 64);
        } else {
            card.link.set_up(false);
            card.bench.host_ready(LINK);
            // One waited already.
            assert_eq!(card.do_queue(RX, &[Buffer::In(1526)]).len(), 1);
            card.link.set_up(true);
        }
        card.bench.offer(RX, &[Buffer::In(1526)]);
        card.bench.offer(RX, &[Buffer::In(1526)]);
        card.bench.offer(RX, &[Buffer::In(1526)]);
        card.bench.notify(RX);
        card.arrive(plain(0), &self::packet(60));
        let got = card.bench.collect(RX).pop().expect("one packet");
        assert_eq!(split(&got.bytes), (plain(1), self::packet(60)));
    }
}
