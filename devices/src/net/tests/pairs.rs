//! Several queue pairs (§5.1.6.5.5 of virtio 1.0).

use super::*;

fn flow(port: u16) -> (Vec<u8>, Vec<u8>) {
    let there = tcp4([10, 0, 2, 15], [10, 0, 2, 2], port, 7, b"ping");
    let back = for_card(tcp4([10, 0, 2, 2], [10, 0, 2, 15], 7, port, b"pong"));
    (there, back)
}

#[test]
fn flows_are_received_on_the_pair_they_are_transmitted_on() {
    let mut card = card(3, MULTI);
    let control = 6;
    for pair in 0..3 {
        for _ in 0..9 {
            card.bench.offer(2 * pair, &[Buffer::In(1526)]);
        }
    }
    let round = |card: &mut Card, port| {
        let (there, back) = flow(port);
        for pair in 0..3 {
            card.send(2 * pair + 1, &plain(0), &there);
            card.arrive(plain(0), &back);
        }
        [0, 2, 4].map(|queue| card.bench.collect(queue).len())
    };
    // receiveq1 is the only one before VQ_PAIRS_SET.
    assert_eq!(round(&mut card, 4001), [3, 0, 0]);
    assert_eq!(card.command(control, &[4, 0, 3, 0]), 0);
    assert_eq!(round(&mut card, 4002), [1, 1, 1]);
    // None beyond virtqueue_pairs.
    assert_eq!(card.command(control, &[4, 0, 2, 0]), 0);
    assert_eq!(round(&mut card, 4003), [2, 1, 0]);
    assert_eq!(card.command(control, &[4, 0, 1, 0]), 0);
    assert_eq!(round(&mut card, 4004), [3, 0, 0]);
    let pairs: Vec<u16> = card.sent().iter().map(|(pair, ..)| *pair).collect();
    assert_eq!(pairs, [0, 1, 2].repeat(4));
}

#[test]
fn a_pair_without_buffers_does_not_hold_up_the_others() {
    let mut card = card(2, MULTI);
    assert_eq!(card.command(4, &[4, 0, 2, 0]), 0);
    card.bench.offer(0, &[Buffer::In(1526)]);
    let (there, back) = flow(4001);
    card.send(3, &plain(0), &there);
    card.arrive(plain(0), &back);
    card.arrive(plain(0), &packet(60));
    assert_eq!(card.bench.collect(0).len(), 1);
    assert_eq!(card.bench.collect(2).len(), 0);
    // A reset ends multiqueue.
    card.bench.reset();
    assert_eq!(card.bench.device.pairs, 1);
}
