//! Packets from the driver (§5.1.6.2 of virtio 1.0).

use super::*;

#[test]
fn a_packet_is_the_same_however_it_is_framed() {
    let mut card = card(1, f::MAC);
    let packet = packet(64);
    let mut message = header::encode(&NetHeader::default()).to_vec();
    message.extend(&packet);
    for cut in 0..message.len() {
        let (first, second) = message.split_at(cut);
        let returned = card.do_queue(TX, &[Buffer::Out(first), Buffer::Out(second)]);
        assert_eq!(returned[0].len, 0);
    }
    let pieces: Vec<_> = message.chunks(5).map(Buffer::Out).collect();
    card.bench.offer_indirect(TX, &pieces);
    // A device-writable buffer in between is no part of it.
    let (first, second) = message.split_at(7);
    card.bench.offer(
        TX,
        &[Buffer::Out(first), Buffer::In(9), Buffer::Out(second)],
    );
    card.bench.notify(TX);
    let sent = card.sent();
    assert_eq!(sent.len(), message.len() + 2);
    assert!(
        sent.iter()
            .all(|(pair, header, sent)| *pair == 0 && *header == plain(0) && *sent == packet)
    );
    assert!(card.bench.collect(TX).iter().all(|chain| chain.len == 0));
    assert_eq!(card.bench.signals.queues, 1 << TX);
    assert_eq!(
        card.bench.witness.of("NetTransmit").len(),
        message.len() + 2
    );
}

#[test]
fn packets_nobody_can_send_are_dropped_and_returned() {
    let mut card = card(1, f::CSUM | f::HOST_TSO4);
    let gso = NetHeader {
        gso_type: gso::TCPV4,
        gso_size: 1000,
        ..partial(34, 16)
    };
    let good = tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]);
    card.send(TX, &NetHeader::default(), &[]);
    card.send(TX, &NetHeader::default(), &vec![0; MAX_PACKET + 1]);
    card.send(TX, &partial(50, 9), &packet(60));
    card.send(TX, &partial(u16::MAX, u16::MAX), &packet(60));
    card.send(TX, &NetHeader { gso_size: 0, ..gso }, &good);
    card.send(TX, &NetHeader { flags: 0, ..gso }, &good);
    card.send(
        TX,
        &NetHeader {
            gso_type: gso::TCPV6,
            ..gso
        },
        &good,
    );
    card.send(
        TX,
        &NetHeader {
            gso_type: gso::UDP,
            ..gso
        },
        &good,
    );
    card.send(
        TX,
        &NetHeader {
            gso_type: 99,
            ..gso
        },
        &good,
    );
    let returned = card.do_queue(TX, &[Buffer::Out(&[0; 11])]);
    assert_eq!(returned[0].len, 0);
    let returned = card.do_queue(TX, &[Buffer::In(100)]);
    assert_eq!(returned[0].len, 0);
    assert_eq!(card.sent(), []);
    let told = card.bench.witness.of("NetTransmit").len();
    assert_eq!(told, 11);
    card.send(TX, &gso, &good);
    card.send(TX, &partial(50, 8), &packet(60));
    card.send(TX, &NetHeader::default(), &vec![0; MAX_PACKET]);
    assert_eq!(card.sent().len(), 3);
}

#[test]
fn headers_are_reduced_to_what_was_negotiated() {
    // Flag bits that are not for the driver are ignored.
    let mut negotiated = card(1, f::CSUM);
    let told = NetHeader {
        flags: 0xff,
        num_buffers: 9,
        hdr_len: 3,
        ..partial(10, 2)
    };
    negotiated.send(TX, &told, &packet(60));
    assert_eq!(negotiated.sent()[0].1, partial(10, 2));
    // Without NEEDS_CSUM its fields are not used.
    negotiated.send(
        TX,
        &NetHeader {
            flags: flags::DATA_VALID,
            ..told
        },
        &packet(60),
    );
    assert_eq!(negotiated.sent()[0].1, plain(0));
    // Without CSUM no flag is known.
    let mut minimal = card(1, 0);
    minimal.send(
        TX,
        &NetHeader {
            csum_start: 999,
            ..told
        },
        &packet(60),
    );
    assert_eq!(minimal.sent()[0].1, plain(0));
}

#[test]
fn hdr_len_is_a_hint_and_nothing_more() {
    let mut card = card(1, f::CSUM | f::HOST_TSO4);
    let packet = tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]);
    for (told, handed_on) in [(0, 0), (1, 1), (54, 54), (u16::MAX, packet.len() as u16)] {
        let header = NetHeader {
            gso_type: gso::TCPV4,
            gso_size: 1000,
            hdr_len: told,
            ..partial(34, 16)
        };
        card.send(TX, &header, &packet);
        let expected = NetHeader {
            hdr_len: handed_on,
            ..header
        };
        assert_eq!(card.sent(), [(0, expected, packet.clone())]);
    }
}

#[test]
fn rules_get_to_see_the_bytes_where_they_matter() {
    let mut card = card(1, f::CSUM);
    // The first ones, whatever they are.
    for _ in 0..super::SHOWN + 1 {
        card.send(TX, &NetHeader::default(), &packet(60));
    }
    card.send(TX, &partial(34, 16), &packet(1000));
    let seen = card.bench.witness.of("NetTransmit");
    let (first, others) = seen.split_at(super::SHOWN as usize);
    for seen in first {
        assert!(seen.contains("bytes: [2, 0, 0, 0, 0, 1,"), "{seen}");
    }
    assert!(others[0].contains("bytes: []"), "{}", others[0]);
    assert!(
        others[1].contains("bytes: [2, 0, 0, 0, 0, 1,"),
        "{}",
        others[1]
    );
    assert!(others[1].contains("len: 1000"), "{}", others[1]);
}

#[test]
fn a_broken_queue_asks_for_a_reset() {
    for queue in [TX, CONTROL] {
        let mut card = card(1, f::CTRL_VQ);
        card.bench.offer_head(queue, 64);
        card.bench.notify(queue);
        assert!(card.bench.signals.needs_reset);
    }
    let mut card = card(1, 0);
    card.bench.offer_head(RX, 64);
    card.arrive(plain(0), &packet(60));
    assert!(card.bench.signals.needs_reset);
}
