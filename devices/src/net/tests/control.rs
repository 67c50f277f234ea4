//! The control virtqueue (§5.1.6.5) and the link (§5.1.4). Citations are of virtio 1.0.

use super::*;

// ---- Control

#[test]
fn each_mode_is_set_by_its_command() {
    const MULTICAST: Mac = [3, 0, 0, 0, 0, 1];
    let to = |mac: Mac| {
        let mut packet = packet(60);
        packet[..6].copy_from_slice(&mac);
        packet
    };
    let mut card = card(1, f::MAC | f::CTRL_VQ | f::CTRL_RX | f::CTRL_RX_EXTRA);
    // Ours, another's, a multicast, a broadcast.
    let packets = [to(MAC), to(PEER), to(MULTICAST), to([0xff; 6])];
    let takes = |card: &mut Card| {
        packets
            .each_ref()
            .map(|packet| card.receive(plain(0), packet).is_some())
    };
    let fresh = [true, false, false, true];
    assert_eq!(takes(&mut card), fresh);
    for (command, on) in [
        (0, [true; 4]),
        (1, [true, false, true, true]),
        (2, [true, true, false, true]),
        (3, fresh),
        (4, [false, false, false, true]),
        (5, [true, false, false, false]),
    ] {
        assert_eq!(card.command(CONTROL, &[0, command, 1]), 0);
        assert_eq!(takes(&mut card), on, "{command} on");
        assert_eq!(card.command(CONTROL, &[0, command, 0]), 0);
        assert_eq!(takes(&mut card), fresh, "{command} off");
    }
    // Suppressing multicasts takes effect although all are asked for.
    assert_eq!(card.command(CONTROL, &[0, 1, 1]), 0);
    assert_eq!(card.command(CONTROL, &[0, 3, 1]), 0);
    assert_eq!(takes(&mut card), fresh);
}

#[test]
fn a_reset_empties_the_filtering_table() {
    let features = f::MAC | f::CTRL_VQ | f::CTRL_RX;
    let mut card = card(1, features);
    let mut other = packet(60);
    other[..6].copy_from_slice(&PEER);
    let table = [&[1, 0, 1, 0, 0, 0][..], &PEER, &[0; 4]].concat();
    assert_eq!(card.command(CONTROL, &table), 0);
    assert!(card.receive(plain(0), &other).is_some());
    card.bench.reset();
    card.bench.start(features, 64);
    assert!(card.receive(plain(0), &other).is_none());
}

#[test]
fn commands_are_acknowledged_by_whether_they_were_carried_out() {
    let all = f::MAC
        | f::CTRL_VQ
        | f::CTRL_RX
        | f::CTRL_RX_EXTRA
        | f::CTRL_VLAN
        | f::CTRL_MAC_ADDR
        | f::GUEST_ANNOUNCE
        | f::STATUS
        | f::MQ
        | f::GUEST_CSUM
        | f::CTRL_GUEST_OFFLOADS;
    let table = [&[1, 0, 1, 0, 0, 0][..], &PEER, &[0; 4]].concat();
    // Bytes, what they need, whether they are good.
    let commands: &[(&[u8], u64, bool)] = &[
        (&[], 0, false),
        (&[0], 0, false),
        (&[0, 0], 0, false),
        (&[0, 0, 1], f::CTRL_RX, true),
        (&[0, 0, 0], f::CTRL_RX, true),
        (&[0, 0, 2], 0, false),
        (&[0, 0, 1, 0], 0, false),
        (&[0, 1, 1], f::CTRL_RX, true),
        (&[0, 2, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 3, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 4, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 5, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 6, 1], 0, false),
        (&table, f::CTRL_RX, true),
        (&table[..table.len() - 1], 0, false),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], f::CTRL_RX, true),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, false),
        (&[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 0, false),
        (&[1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0, false),
        (&[1, 1, 2, 0, 0, 0, 0, 9], f::CTRL_MAC_ADDR, true),
        (&[1, 1, 2, 0, 0, 0, 0], 0, false),
        (&[1, 2], 0, false),
        (&[2, 0, 5, 0], f::CTRL_VLAN, true),
        (&[2, 1, 5, 0], f::CTRL_VLAN, true),
        (&[2, 0, 0, 0x10], 0, false),
        (&[2, 0, 5], 0, false),
        (&[2, 2, 5, 0], 0, false),
        (&[3, 0], f::GUEST_ANNOUNCE, true),
        (&[3, 1], 0, false),
        (&[4, 0, 2, 0], f::MQ, true),
        (&[4, 0, 1, 0], f::MQ, true),
        (&[4, 0, 0, 0], 0, false),
        (&[4, 0, 3, 0], 0, false),
        (&[4, 1, 2, 0], 0, false),
        (
            &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            f::CTRL_GUEST_OFFLOADS,
            true,
        ),
        (
            &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            f::CTRL_GUEST_OFFLOADS,
            true,
        ),
        (&[5, 0, 4, 0, 0, 0, 0, 0, 0, 0], 0, false),
        (&[5, 0, 2], 0, false),
        (&[6, 0], 0, false),
    ];
    for (bytes, feature, good) in commands {
        let mut all_of_it = card(2, all);
        let queue = 4;
        assert_eq!(
            all_of_it.command(queue, bytes),
            u8::from(!good),
            "{bytes:?}"
        );
        assert_eq!(all_of_it.bench.witness.of("Net(Command").len(), 1);
        assert_eq!(all_of_it.bench.signals.queues, 1 << queue);
        // In single bytes, too.
        let mut pieces: Vec<_> = bytes
            .iter()
            .map(|byte| Buffer::Out(std::slice::from_ref(byte)))
            .collect();
        pieces.extend([Buffer::In(0), Buffer::In(3)]);
        let returned = all_of_it.do_queue(queue, &pieces);
        assert_eq!(returned[0].bytes, [u8::from(!good)], "{bytes:?}");
        // Not without the feature.
        if *good {
            let mut without = all & !feature;
            if *feature == f::CTRL_MAC_ADDR {
                without &= !f::CTRL_RX;
            }
            let mut card = card(2, without);
            let queue = if *feature == f::MQ { 2 } else { 4 };
            assert_eq!(card.command(queue, bytes), 1, "{bytes:?}");
        }
    }
}

#[test]
fn a_command_without_room_for_ack_is_carried_out_and_returned() {
    let mut card = card(1, f::CTRL_VQ | f::CTRL_RX);
    let returned = card.do_queue(CONTROL, &[Buffer::Out(&[0, 0, 1])]);
    assert_eq!(returned[0].len, 0);
    assert!(card.bench.device.filter.promiscuous);
    // More data than any command has.
    let long = vec![0; crate::net::control::MAX_COMMAND + 3];
    assert_eq!(card.command(CONTROL, &long), 1);
}

#[test]
fn the_address_set_is_the_one_filtered_by_and_shown_until_reset() {
    let features = f::MAC | f::CTRL_VQ | f::CTRL_RX | f::CTRL_MAC_ADDR;
    let mut card = card(1, features);
    assert!(card.receive(plain(0), &packet(60)).is_some());
    assert_eq!(card.command(CONTROL, &[1, 1, 2, 0, 0, 0, 0, 9]), 0);
    assert_eq!(card.config()[..6], [2, 0, 0, 0, 0, 9]);
    assert!(card.bench.signals.config_changed);
    assert!(card.receive(plain(0), &packet(60)).is_none());
    let mut other = packet(60);
    other[5] = 9;
    card.arrive(plain(0), &other);
    assert_eq!(card.bench.collect(RX).len(), 1);
    card.bench.reset();
    assert_eq!(card.config()[..6], MAC);
    card.bench.start(features, 64);
    assert!(card.receive(plain(0), &packet(60)).is_some());

    // Without CTRL_MAC_ADDR it is filtered by, and not shown.
    let mut card = self::card(1, features & !f::CTRL_MAC_ADDR);
    assert_eq!(card.command(CONTROL, &[1, 1, 2, 0, 0, 0, 0, 9]), 0);
    assert_eq!(card.config()[..6], MAC);
    assert!(card.receive(plain(0), &packet(60)).is_none());
}

#[test]
fn the_filter_stands_between_the_network_and_the_driver() {
    let mut card = card(1, f::MAC | f::CTRL_VQ | f::CTRL_RX | f::CTRL_VLAN);
    let mut other = packet(60);
    other[..6].copy_from_slice(&PEER);
    assert!(card.receive(plain(0), &other).is_none());
    assert_eq!(card.command(CONTROL, &[0, 0, 1]), 0);
    assert!(card.receive(plain(0), &other).is_some());
    assert_eq!(card.command(CONTROL, &[0, 0, 0]), 0);
    let table = [&[1, 0, 1, 0, 0, 0][..], &PEER, &[0; 4]].concat();
    assert_eq!(card.command(CONTROL, &table), 0);
    assert!(card.receive(plain(0), &other).is_some());
    let mut tagged = packet(60);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
    assert!(card.receive(plain(0), &tagged).is_none());
    assert_eq!(card.command(CONTROL, &[2, 0, 5, 0]), 0);
    assert!(card.receive(plain(0), &tagged).is_some());
}

// ---- The link

#[test]
fn nothing_passes_while_the_link_is_down() {
    let mut card = card(1, f::MAC | f::STATUS);
    card.link.set_up(false);
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [0, 0]);
    assert!(std::mem::take(&mut card.bench.signals.config_changed));
    assert!(!card.link.is_up());
    card.send(TX, &plain(0), &packet(60));
    assert_eq!(card.sent(), []);
    assert_eq!(card.receive(plain(0), &packet(60)), None);
    // Nothing changes twice.
    card.link.set_up(false);
    card.bench.host_ready(LINK);
    assert!(!card.bench.signals.config_changed);
    card.link.set_up(true);
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [1, 0]);
    assert!(card.bench.signals.config_changed);
    card.send(TX, &plain(0), &packet(60));
    assert_eq!(card.sent().len(), 1);
    // A reset does not plug the cable in.
    card.link.set_up(false);
    card.bench.reset();
    assert_eq!(card.config()[6..8], [0, 0]);
}

#[test]
fn announcing_is_asked_for_until_it_is_acknowledged() {
    let features = f::MAC | f::STATUS | f::CTRL_VQ | f::GUEST_ANNOUNCE;
    let mut card = card(1, features);
    card.link.announce();
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [3, 0]);
    assert!(std::mem::take(&mut card.bench.signals.config_changed));
    assert_eq!(card.command(CONTROL, &[3, 0]), 0);
    assert_eq!(card.config()[6..8], [1, 0]);
    assert!(card.bench.signals.config_changed);
    card.link.announce();
    card.bench.host_ready(LINK);
    card.bench.reset();
    assert_eq!(card.config()[6..8], [1, 0]);

    let mut card = self::card(1, features & !f::GUEST_ANNOUNCE);
    card.link.announce();
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [1, 0], "the driver does not know how");
}
