//! The network, with another smoltcp in the place of the driver and its guest.

use rustix::event::{PollFd, PollFlags};
use smoltcp::phy;
use smoltcp::socket::{dhcpv4, icmp, tcp};
use smoltcp::wire::{Icmpv6Packet, Icmpv6Repr, IpAddress, IpEndpoint};
use stickler_conformance::event::NetHeader;
use stickler_devices::net::MAX_PACKET;

use super::super::testing::{GUEST_MAC, GUEST_V6, Guest, bytes};
use super::*;

const GUEST: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);

fn guest(offloads: bool) -> Guest<UserNet> {
    let net = UserNet::new(1, &[]).expect("no privileges are needed");
    Guest::new(net, offloads, GUEST)
}

fn is_readable(net: &UserNet, millis: i64) -> bool {
    let mut fds = [PollFd::new(&net.timer, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: millis / 1000,
        tv_nsec: millis % 1000 * 1_000_000,
    };
    rustix::event::poll(&mut fds, Some(&timeout)).expect("polls") > 0
}

#[test]
fn a_guest_gets_an_address_by_dhcp() {
    let mut guest = guest(false);
    guest
        .interface
        .update_ip_addrs(|addresses| addresses.clear());
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, dns) =
        guest.until(
            |sockets| match sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
                Some(dhcpv4::Event::Configured(config)) => {
                    Some((config.address, config.router, config.dns_servers))
                }
                _ => None,
            },
        );
    assert_eq!(address, Ipv4Cidr::new(GUEST, 24));
    assert_eq!(router, Some(GATEWAY));
    assert_eq!(dns.to_vec(), [GATEWAY]);
}

#[test]
fn the_gateway_answers_ping_of_any_size() {
    let mut guest = guest(false);
    for (seq_no, len) in [(1, 0), (2, 56), (3, 1472), (4, 8000)] {
        guest.ping(GATEWAY, seq_no, &bytes(len));
    }
}

#[test]
fn the_gateway_answers_ping_over_ipv6() {
    let mut guest = guest(false);
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 1 << 12]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(7)).expect("free");
    let handle = guest.sockets.add(socket);
    let request = Icmpv6Repr::EchoRequest {
        ident: 7,
        seq_no: 1,
        data: b"six",
    };
    let socket = guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
    let room = socket
        .send(request.buffer_len(), IpAddress::Ipv6(GATEWAY_LINK_LOCAL))
        .expect("room");
    request.emit(
        &GUEST_V6,
        &GATEWAY_LINK_LOCAL,
        &mut Icmpv6Packet::new_unchecked(room),
        &phy::ChecksumCapabilities::default(),
    );
    let reply = guest.until(|sockets| {
        let socket = sockets.get_mut::<icmp::Socket<'_>>(handle);
        socket.recv().ok().map(|(bytes, _)| bytes.to_vec())
    });
    assert!(reply.ends_with(b"six"));
}

#[test]
fn tcp_echoes_without_and_with_offloads_over_both_versions() {
    let data = bytes(300_000);
    for offloads in [false, true] {
        for to in [
            IpAddress::Ipv4(GATEWAY),
            IpAddress::Ipv6(GATEWAY_LINK_LOCAL),
        ] {
            let mut guest = guest(offloads);
            let handle = guest.connect(to, 7, 4000);
            guest.echo(handle, &data);
            guest.close(handle);
            // smoltcp, on either side, makes large packets over IPv4 only.
            let large = offloads && matches!(to, IpAddress::Ipv4(_));
            assert_eq!(guest.card.sent_large > 0, large, "{to}");
            assert_eq!(guest.card.received_large > 0, large, "{to}");
        }
    }
}

#[test]
fn many_connections_at_once_and_one_after_the_other() {
    let mut guest = guest(false);
    for round in 0..5 {
        let handles: Vec<_> = (0..20)
            .map(|i| guest.connect(GATEWAY, 7, 5000 + 100 * round + i))
            .collect();
        for (i, handle) in handles.iter().enumerate() {
            guest.echo(*handle, &[i as u8; 1000]);
        }
        for handle in handles {
            guest.close(handle);
        }
    }
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    let mut guest = guest(false);
    let handle = guest.connect(GATEWAY, 9, 4000);
    let mut left = 200_000;
    guest.until(|sockets| {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.can_send() {
            left -= socket
                .send(|room| {
                    let len = room.len().min(left);
                    (len, len)
                })
                .expect("open");
        }
        assert!(!socket.can_recv());
        (left == 0 && socket.send_queue() == 0).then_some(())
    });
    guest.close(handle);
}

#[test]
fn datagrams_come_back_and_names_do_not_resolve() {
    let mut guest = guest(false);
    let handle = guest.udp(4000);
    for len in [0, 1, 1472, 1473, 20_000] {
        let echo = IpEndpoint::new(IpAddress::Ipv4(GATEWAY), 7);
        assert!(guest.ask(handle, echo, &bytes(len)) == bytes(len), "{len}");
    }
    let broadcast = IpEndpoint::new(IpAddress::v4(10, 0, 2, 255), 7);
    assert_eq!(guest.ask(handle, broadcast, b"anyone"), b"anyone");
    let dns = IpEndpoint::new(IpAddress::Ipv4(GATEWAY), 53);
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let answer = guest.ask(handle, dns, query);
    assert_eq!(answer[..4], [0x12, 0x34, 0x81, 3]);
    assert_eq!(answer[4..], query[4..]);
}

#[test]
fn the_timer_fires_when_there_is_something_to_do_again() {
    let mut guest = guest(false);
    let handle = guest.connect(GATEWAY, 7, 4000);
    guest.echo(handle, b"hello");
    // What the gateway has sent gets no answer: it will have to say it again.
    let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(handle);
    socket.send_slice(b"are you there").expect("room");
    let now = guest.now();
    guest
        .interface
        .poll_egress(now, &mut guest.card, &mut guest.sockets);
    guest.card.net.transmitted();
    let mut frame = vec![0; MAX_PACKET];
    while guest.card.net.receive(0, &mut frame).is_some() {}
    assert!(is_readable(&guest.card.net, 30_000));
    guest.card.net.host_ready(0);
    assert!(guest.card.net.receive(0, &mut frame).is_some());
    assert!(!is_readable(&guest.card.net, 0), "set anew");
}

#[test]
fn a_guest_that_never_receives_costs_a_bounded_amount_of_memory() {
    let mut guest = guest(false);
    let mut arp = vec![0xff; 6];
    arp.extend(GUEST_MAC.0);
    arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(GUEST_MAC.0);
    arp.extend(GUEST.octets());
    arp.extend([0; 6]);
    arp.extend(GATEWAY.octets());
    for _ in 0..5000 {
        guest.card.send(NetHeader::default(), &arp);
    }
    guest.card.net.transmitted();
    let mut frame = vec![0; MAX_PACKET];
    let mut count = 0;
    while let Some(received) = guest.card.net.receive(0, &mut frame) {
        assert_eq!(received.len, 42);
        count += 1;
    }
    assert!((256..1000).contains(&count), "{count}");
    // And then all is well again.
    let handle = guest.connect(GATEWAY, 7, 4000);
    guest.echo(handle, b"hello");
}

#[test]
fn checksums_that_are_wrong_are_not_believed() {
    let mut guest = guest(false);
    let handle = guest.udp(4000);
    let echo = IpEndpoint::new(IpAddress::Ipv4(GATEWAY), 7);
    guest.ask(handle, echo, b"so that the gateway knows us");
    let mut packet = vec![0x02, 0x53, 0x54, 0x4b, 0xff, 0x02];
    packet.extend(GUEST_MAC.0);
    packet.extend([8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0x62, 0xbf]);
    packet.extend(GUEST.octets());
    packet.extend(GATEWAY.octets());
    packet.extend([0x0f, 0xa0, 0, 7, 0, 10, 0, 1, 0x55, 0x55]);
    let mut answered = |header: NetHeader| {
        guest.card.send(header, &packet);
        guest.card.net.transmitted();
        let mut frame = vec![0; MAX_PACKET];
        guest.card.net.receive(0, &mut frame).is_some()
    };
    assert!(!answered(NetHeader::default()));
    // The pseudo header's sum belongs there, and here is another; but completed it is consistent.
    let partial = NetHeader {
        flags: flags::NEEDS_CSUM,
        csum_start: 34,
        csum_offset: 6,
        ..NetHeader::default()
    };
    assert!(!answered(partial));
    let sum: u32 = [0x0a00, 0x020f, 0x0a00, 0x0202, 17, 10].iter().sum();
    packet[40..42].copy_from_slice(&(sum as u16).to_be_bytes());
    let mut answered = |header: NetHeader| {
        guest.card.send(header, &packet);
        guest.card.net.transmitted();
        let mut frame = vec![0; MAX_PACKET];
        guest.card.net.receive(0, &mut frame).is_some()
    };
    assert!(!answered(NetHeader::default()));
    assert!(answered(partial));
}

#[test]
fn random_packets_do_no_harm() {
    let mut guest = guest(false);
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let starts: [&[u8]; 5] = [
        &[8, 0, 0x45],
        &[8, 6, 0, 1, 8, 0],
        &[0x86, 0xdd, 0x60],
        &[0x81, 0, 0, 1, 8, 0, 0x45],
        &[],
    ];
    let mut frame = vec![0; MAX_PACKET];
    for _ in 0..20_000 {
        let mut packet = vec![0x02, 0x53, 0x54, 0x4b, 0xff, 0x02];
        packet.extend(GUEST_MAC.0);
        packet.extend(starts[random(5) as usize]);
        packet.extend((0..random(120)).map(|_| random(256) as u8));
        packet.truncate(1 + random(packet.len() as u64) as usize);
        let gso_type = [gso::NONE, gso::TCPV4, gso::TCPV6][random(3) as usize];
        let header = NetHeader {
            flags: random(2) as u8,
            gso_type,
            gso_size: random(40) as u16,
            csum_start: random(60) as u16,
            csum_offset: random(60) as u16,
            ..NetHeader::default()
        };
        guest.card.send(header, &packet);
        guest.card.net.transmitted();
        while guest.card.net.receive(0, &mut frame).is_some() {}
    }
    let handle = guest.connect(GATEWAY, 7, 4000);
    guest.echo(handle, b"hello");
}
