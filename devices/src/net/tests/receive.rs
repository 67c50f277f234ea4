//! Packets to the driver (§5.1.6.3, §5.1.6.4 of virtio 1.0).

use stickler_conformance::event::DataEvent;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::memory::GuestRam;

// ---- Reception

#[test]
fn a_packet_comes_behind_its_header_in_any_framing() {
    let mut card = card(1, f::MAC);
    let packet = packet(100);
    let layouts: [&[Buffer<'_>]; 4] = [
        &[Buffer::In(1526)],
        &[Buffer::In(12), Buffer::In(1514)],
        &[
            Buffer::In(5),
            Buffer::In(0),
            Buffer::In(50),
            Buffer::In(1500),
        ],
        &[Buffer::Out(&[1, 2]), Buffer::In(112)],
    ];
    for layout in layouts {
        card.bench.offer(RX, layout);
        card.arrive(plain(7), &packet);
        let returned = card.bench.collect(RX);
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].len, 112);
        assert_eq!(split(&returned[0].bytes), (plain(1), packet.clone()));
    }
    assert_eq!(card.bench.signals.queues, 1 << RX);
    assert_eq!(card.bench.witness.of("Exposed").len(), 4);
}

#[test]
fn packets_wait_for_buffers_in_order() {
    let mut card = card(1, f::MAC);
    card.arrive(plain(0), &packet(60));
    card.arrive(plain(0), &packet(61));
    assert_eq!(card.bench.signals.queues, 0);
    for len in [60, 61] {
        let returned = card.do_queue(RX, &[Buffer::In(1526)]);
        assert_eq!(split(&returned[0].bytes), (plain(1), packet(len)));
    }
    assert_eq!(card.do_queue(RX, &[Buffer::In(1526)]), []);
    card.arrive(plain(0), &packet(62));
    assert_eq!(card.bench.collect(RX).len(), 1);
}

#[test]
fn without_merging_a_buffer_that_is_too_small_waits_for_a_smaller_packet() {
    let mut card = card(1, f::MAC);
    card.bench.offer(RX, &[Buffer::In(100)]);
    card.bench.offer(RX, &[Buffer::In(1526)]);
    card.arrive(plain(0), &packet(500));
    assert_eq!(card.bench.collect(RX), []);
    card.arrive(plain(0), &packet(88));
    card.arrive(plain(0), &packet(500));
    let lens: Vec<u32> = card.bench.collect(RX).iter().map(|r| r.len).collect();
    assert_eq!(lens, [100, 512]);
}

#[test]
fn merged_buffers_are_used_together() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    // Room for 88, 100 and 7 bytes of packet, and one to spare.
    for len in [100, 100, 7] {
        card.bench.offer(RX, &[Buffer::In(len)]);
        card.arrive(plain(0), &[]);
    }
    card.arrive(plain(0), &packet(196));
    assert_eq!(card.bench.collect(RX), [], "one byte short");
    assert_eq!(card.bench.signals.queues, 0);
    card.bench.offer(RX, &[Buffer::In(50)]);
    card.bench.notify(RX);
    let returned = card.bench.collect(RX);
    let lens: Vec<u32> = returned.iter().map(|r| r.len).collect();
    assert_eq!(lens, [100, 100, 7, 1]);
    let message: Vec<u8> = returned.into_iter().flat_map(|r| r.bytes).collect();
    assert_eq!(split(&message), (plain(4), packet(196)));
    // The heads come back in the order in which they were given, all before the next packet's.
    card.bench.offer(RX, &[Buffer::In(1526)]);
    card.arrive(plain(0), &packet(60));
    assert_eq!(
        split(&card.bench.collect(RX)[0].bytes),
        (plain(1), packet(60))
    );
}

/// Looks at the used ring's `idx` in memory whenever a chain is put into the ring.
struct IdxAtUsed {
    ram: crate::memory::GuestRam,
    at: u64,
    seen: Vec<u16>,
}

impl Witness for IdxAtUsed {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        if let Event::Data(DataEvent::Returned { .. }) = event {
            let mut idx = [0; 2];
            self.ram
                .slice(self.at, 2)
                .expect("in memory")
                .copy_to(&mut idx);
            self.seen.push(u16::from_le_bytes(idx));
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

#[test]
fn the_buffers_of_a_packet_become_visible_at_once() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    for _ in 0..5 {
        card.bench.offer(RX, &[Buffer::In(50)]);
    }
    let incoming = &mut card.bench.device.backend.incoming;
    incoming.push_back((plain(0), packet(238)));
    let mut witness = IdxAtUsed {
        ram: card.bench.ram.clone(),
        at: card.bench.used_idx_at(RX),
        seen: Vec::new(),
    };
    card.bench.with_witness(&mut witness, |device, io| {
        let _ = device.host_ready(BACKEND, io);
    });
    assert_eq!(witness.seen, [0; 5], "not one before the others");
    assert_eq!(card.bench.collect(RX).len(), 5);
}

#[test]
fn even_the_header_may_be_spread_over_merged_buffers() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    for len in [3, 0, 8, 1, 60] {
        match len {
            0 => card.bench.offer(RX, &[Buffer::Out(&[1])]),
            len => card.bench.offer(RX, &[Buffer::In(len)]),
        };
    }
    card.arrive(plain(0), &packet(60));
    let returned = card.bench.collect(RX);
    let lens: Vec<u32> = returned.iter().map(|r| r.len).collect();
    assert_eq!(lens, [3, 0, 8, 1, 60]);
    let message: Vec<u8> = returned.into_iter().flat_map(|r| r.bytes).collect();
    assert_eq!(split(&message), (plain(5), packet(60)));
}

#[test]
fn a_packet_for_which_the_queue_can_never_have_room_is_dropped() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    for _ in 0..64 {
        card.bench.offer(RX, &[Buffer::In(20)]);
    }
    card.arrive(plain(0), &packet(1514));
    assert_eq!(card.bench.collect(RX), []);
    card.arrive(plain(0), &packet(60));
    assert_eq!(card.bench.collect(RX).len(), 4);
    assert!(!card.bench.signals.needs_reset);
}

#[test]
fn a_reset_forgets_packets_and_buffers() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    card.bench.offer(RX, &[Buffer::In(20)]);
    card.arrive(plain(0), &packet(60));
    card.bench.reset();
    card.bench.start(f::MAC, 64);
    card.bench.offer(RX, &[Buffer::In(1526)]);
    card.arrive(plain(0), &packet(61));
    assert_eq!(
        split(&card.bench.collect(RX)[0].bytes),
        (plain(1), packet(61))
    );
}

// ---- Offloads towards the driver

#[test]
fn checksums_are_completed_for_drivers_that_take_no_partial_ones() {
    let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, b"hello"));
    let header = offload::make_partial(&mut frame).expect("TCP");
    let mut completed = frame.clone();
    assert!(offload::complete_checksum(&mut completed, &header));
    assert_ne!(frame, completed);

    let mut card = card(1, f::MAC);
    assert_eq!(card.receive(header, &frame), Some((plain(1), completed)));
    let valid = NetHeader {
        flags: flags::DATA_VALID,
        ..NetHeader::default()
    };
    assert_eq!(card.receive(valid, &frame), Some((plain(1), frame.clone())));
    // A place outside the packet cannot be filled.
    assert_eq!(card.receive(partial(70, 0), &packet(60)), None);

    let mut card = self::card(1, f::MAC | f::GUEST_CSUM);
    let (got, bytes) = card.receive(header, &frame).expect("passes");
    assert_eq!(bytes, frame);
    let expected = NetHeader {
        num_buffers: 1,
        ..partial(header.csum_start, header.csum_offset)
    };
    assert_eq!(got, expected);
    let (got, _) = card
        .receive(
            NetHeader {
                flags: 0xfe,
                ..valid
            },
            &frame,
        )
        .expect("passes");
    assert_eq!(
        got,
        NetHeader {
            num_buffers: 1,
            ..valid
        }
    );
}

#[test]
fn packets_to_be_segmented_come_only_to_drivers_that_take_them() {
    let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]));
    let partial = offload::make_partial(&mut frame).expect("TCP");
    let large = NetHeader {
        gso_type: gso::TCPV4,
        gso_size: 1000,
        hdr_len: 1,
        ..partial
    };
    let with_ecn = NetHeader {
        gso_type: gso::TCPV4 | gso::ECN,
        ..large
    };
    let expected = NetHeader {
        hdr_len: 54,
        num_buffers: 1,
        ..large
    };
    let base = f::MAC | f::CTRL_VQ | f::CTRL_GUEST_OFFLOADS | f::GUEST_CSUM;
    let mut card = card(1, base | f::GUEST_TSO4);
    assert_eq!(
        card.bench.device.backend.offloads,
        f::GUEST_CSUM | f::GUEST_TSO4
    );
    assert_eq!(card.receive(large, &frame), Some((expected, frame.clone())));
    assert_eq!(card.receive(with_ecn, &frame), None);
    for bad in [
        NetHeader {
            gso_type: gso::TCPV6,
            ..large
        },
        NetHeader {
            gso_type: gso::UDP,
            ..large
        },
        NetHeader {
            gso_size: 0,
            ..large
        },
        NetHeader { flags: 0, ..large },
    ] {
        assert_eq!(card.receive(bad, &frame), None);
    }
    // VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET: what was not negotiated is refused.
    let set = |bits: u64| [&[5, 0][..], &bits.to_le_bytes()].concat();
    assert_eq!(card.command(CONTROL, &set(f::GUEST_TSO6)), 1);
    assert_eq!(card.command(CONTROL, &set(f::GUEST_CSUM)), 0);
    assert_eq!(card.bench.device.backend.offloads, f::GUEST_CSUM);
    assert_eq!(card.receive(large, &frame), None);
    assert_eq!(card.command(CONTROL, &set(f::GUEST_TSO4)), 0);
    assert_eq!(card.bench.device.backend.offloads, 0, "needs GUEST_CSUM");
    let both = f::GUEST_CSUM | f::GUEST_TSO4;
    assert_eq!(card.command(CONTROL, &set(both)), 0);
    assert_eq!(card.receive(large, &frame), Some((expected, frame.clone())));

    let mut card = self::card(1, base | f::GUEST_TSO4 | f::GUEST_ECN);
    let (got, _) = card.receive(with_ecn, &frame).expect("takes ECN");
    assert_eq!(got.gso_type, gso::TCPV4 | gso::ECN);
}

#[test]
fn each_gso_type_needs_its_feature() {
    let types = [
        (gso::TCPV4, f::GUEST_TSO4),
        (gso::TCPV6, f::GUEST_TSO6),
        (gso::UDP, f::GUEST_UFO),
    ];
    let base = f::MAC | f::GUEST_CSUM;
    for negotiated in [
        0,
        f::GUEST_TSO4,
        f::GUEST_TSO6,
        f::GUEST_TSO4 | f::GUEST_TSO6,
    ] {
        let mut card = card(1, base | negotiated);
        for (gso_type, needs) in types {
            let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]));
            let header = NetHeader {
                gso_type,
                gso_size: 1000,
                ..offload::make_partial(&mut frame).expect("TCP")
            };
            let received = card.receive(header, &frame).map(|(h, _)| h.gso_type);
            let expected = (negotiated & needs != 0).then_some(gso_type);
            assert_eq!(received, expected, "{negotiated:#x}");
        }
    }
}

// ---- Memory that comes and goes

#[test]
fn a_buffer_whose_memory_vanishes_comes_back_with_nothing_in_it() {
    const MEGABYTE: usize = 1 << 20;
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    // The device takes it, and waits for another one: it is too small.
    card.bench.offer(RX, &[Buffer::In(100)]);
    card.arrive(plain(0), &packet(500));
    assert_eq!(card.bench.collect(RX), []);
    // Buffers that follow are beyond the second megabyte, which it is in.
    card.bench.offer(TX, &[Buffer::In(MEGABYTE as u32)]);
    let left = [
        (GuestAddress(0), MEGABYTE),
        (GuestAddress(2 * MEGABYTE as u64), 2 * MEGABYTE),
    ];
    let ram = GuestMemoryMmap::from_ranges(&left).expect("a few megabytes");
    let ram = GuestRam::new(ram);
    let rings = card.bench.ram.slice(0, MEGABYTE).expect("in memory");
    rings.copy_to_volatile_slice(ram.slice(0, MEGABYTE).expect("in memory"));
    card.bench.change_memory(ram);
    let returned = card.do_queue(RX, &[Buffer::In(1526)]);
    let lens: Vec<u32> = returned.iter().map(|r| r.len).collect();
    assert_eq!(lens, [0, 512]);
    assert!(!card.bench.signals.needs_reset);
    assert_eq!(
        card.receive(plain(0), &packet(60)),
        Some((plain(1), packet(60)))
    );
}
