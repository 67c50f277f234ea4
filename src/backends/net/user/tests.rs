//! The network, with another smoltcp in the place of the driver and its guest.

use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, Timespec};
use smoltcp::iface::SocketHandle;
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::socket::{dhcpv4, icmp, tcp, udp};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpEndpoint};
use stickler_conformance::event::{Element, NetHeader};
use stickler_devices::memory::GuestRam;
use stickler_devices::net::header::{GSO_TCPV4, GSO_TCPV6};
use stickler_devices::net::{Gather, MAX_PACKET};
use vm_memory::{Bytes, GuestAddress};

use super::*;

const GUEST_MAC: EthernetAddress = EthernetAddress([2, 0x53, 0x54, 0x4b, 0, 3]);
const GUEST: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const GUEST_V6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x15);

const ALL: u64 =
    feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;

/// The card, and what has passed it.
struct Card {
    net: UserNet,
    ram: GuestRam,
    /// Whether the guest leaves checksums and segmentation to the device.
    offloads: bool,
    sent_large: usize,
    received_large: usize,
}

impl Card {
    fn send(&mut self, header: NetHeader, packet: &[u8]) {
        assert!(packet.len() <= MAX_PACKET);
        self.ram
            .inner()
            .write_slice(packet, GuestAddress(0))
            .expect("in memory");
        let buffer = Element {
            addr: 0,
            len: packet.len() as u32,
            flags: 0,
            next: 0,
            index: 0,
            indirect: false,
        };
        let packet = Packet {
            header,
            len: packet.len(),
            data: Gather::new(&self.ram, std::slice::from_ref(&buffer)),
        };
        self.net.transmit(0, &packet);
    }
}

impl phy::Device for Card {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let mut packet = vec![0; MAX_PACKET];
        let Received { header, len } = self.net.receive(0, &mut packet)?;
        packet.truncate(len);
        if offload::is_gso(&header) {
            assert!(self.net.offloads & ALL == ALL, "not asked for");
            assert!(header.flags & F_NEEDS_CSUM != 0 && header.gso_size > 0);
            self.received_large += 1;
        } else {
            assert!(len <= 1514, "{len} bytes and not to be segmented");
        }
        // As the device does, or a driver that takes partial checksums.
        if header.flags & F_NEEDS_CSUM != 0 {
            assert!(offload::complete_checksum(&mut packet, &header));
        }
        let token = TxToken {
            card: self,
            meta: PacketMeta::default(),
        };
        Some((RxToken(packet), token))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken {
            card: self,
            meta: PacketMeta::default(),
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        if self.offloads {
            capabilities.checksum.tcp = Checksum::Rx;
            capabilities.segmentation.tcpv4 = 60_000.try_into().ok();
        }
        capabilities
    }
}

struct RxToken(Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct TxToken<'a> {
    card: &'a mut Card,
    meta: PacketMeta,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        let mut header = NetHeader::default();
        if self.card.offloads
            && let Some(partial) = offload::make_partial(&mut packet)
        {
            header = partial;
            if let Some(size) = self.meta.segmentation_offload_size {
                header.gso_type = GSO_TCPV4;
                header.gso_size = size.get();
                self.card.sent_large += 1;
            }
        }
        self.card.send(header, &packet);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

/// A guest on the network.
struct Guest {
    card: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    start: Clock,
}

impl Guest {
    fn new(offloads: bool) -> Self {
        let mut net = UserNet::new(1).expect("no privileges are needed");
        net.set_offloads(if offloads { ALL } else { 0 });
        let mut card = Card {
            net,
            ram: GuestRam::anonymous(1 << 17),
            offloads,
            sent_large: 0,
            received_large: 0,
        };
        let config = Config::new(HardwareAddress::Ethernet(GUEST_MAC));
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let own = [
                IpCidr::new(IpAddress::Ipv4(GUEST), 24),
                IpCidr::new(IpAddress::Ipv6(GUEST_V6), 64),
            ];
            addresses.extend_from_slice(&own).expect("room");
        });
        Guest {
            card,
            interface,
            sockets: SocketSet::new(Vec::new()),
            start: Clock::now(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as i64)
    }

    /// Lets both sides work until `done` gives something.
    fn until<R>(&mut self, mut done: impl FnMut(&mut SocketSet<'static>) -> Option<R>) -> R {
        let begin = Clock::now();
        loop {
            let now = self.now();
            self.interface.poll(now, &mut self.card, &mut self.sockets);
            self.card.net.transmitted();
            if let Some(result) = done(&mut self.sockets) {
                return result;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "no end");
            // The timer is what the worker would wake us for.
            if is_readable(&self.card.net, 1) {
                self.card.net.host_ready(0);
            }
        }
    }

    fn connect(&mut self, to: impl Into<IpAddress>, port: u16, from: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        let to = IpEndpoint::new(to.into(), port);
        socket
            .connect(self.interface.context(), to, from)
            .expect("a good address");
        self.sockets.add(socket)
    }

    /// Sends `data` to the echo service and checks that it comes back.
    fn echo(&mut self, handle: SocketHandle, data: &[u8]) {
        let (mut sent, mut received) = (0, Vec::new());
        self.until(|sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() {
                sent += socket.send_slice(&data[sent..]).expect("open");
            }
            while socket.can_recv() {
                socket
                    .recv(|bytes| {
                        received.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .expect("open");
            }
            (received.len() >= data.len()).then_some(())
        });
        assert!(received == data, "not what was sent");
    }

    /// Closes a connection and waits until the other side has, too.
    fn close(&mut self, handle: SocketHandle) {
        self.sockets.get_mut::<tcp::Socket<'_>>(handle).close();
        self.until(|sockets| {
            let state = sockets.get::<tcp::Socket<'_>>(handle).state();
            matches!(state, tcp::State::TimeWait | tcp::State::Closed).then_some(())
        });
        self.sockets.remove(handle);
    }

    fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 1 << 17]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("free");
        self.sockets.add(socket)
    }

    /// Sends a datagram and waits for one.
    fn ask(&mut self, handle: SocketHandle, to: IpEndpoint, datagram: &[u8]) -> Vec<u8> {
        self.sockets
            .get_mut::<udp::Socket<'_>>(handle)
            .send_slice(datagram, to)
            .expect("room");
        self.until(|sockets| {
            let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.recv().ok().map(|(bytes, _)| bytes.to_vec())
        })
    }
}

fn is_readable(net: &UserNet, millis: i64) -> bool {
    let mut fds = [PollFd::new(&net.timer, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: millis / 1000,
        tv_nsec: millis % 1000 * 1_000_000,
    };
    rustix::event::poll(&mut fds, Some(&timeout)).expect("polls") > 0
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i ^ (i >> 8)) as u8).collect()
}

#[test]
fn a_guest_gets_an_address_by_dhcp() {
    let mut guest = Guest::new(false);
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
    let mut guest = Guest::new(false);
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 1 << 16]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(0x22b)).expect("free");
    let handle = guest.sockets.add(socket);
    for (seq_no, len) in [(1, 0), (2, 56), (3, 1472), (4, 8000)] {
        let data = bytes(len);
        let request = Icmpv4Repr::EchoRequest {
            ident: 0x22b,
            seq_no,
            data: &data,
        };
        let socket = guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
        let room = socket
            .send(request.buffer_len(), IpAddress::Ipv4(GATEWAY))
            .expect("room");
        request.emit(
            &mut Icmpv4Packet::new_unchecked(room),
            &phy::ChecksumCapabilities::default(),
        );
        let reply = guest.until(|sockets| {
            let socket = sockets.get_mut::<icmp::Socket<'_>>(handle);
            socket.recv().ok().map(|(bytes, _)| bytes.to_vec())
        });
        let reply = Icmpv4Packet::new_checked(&reply[..]).expect("a packet");
        let reply = Icmpv4Repr::parse(&reply, &phy::ChecksumCapabilities::default());
        let expected = Icmpv4Repr::EchoReply {
            ident: 0x22b,
            seq_no,
            data: &data,
        };
        assert_eq!(reply, Ok(expected));
    }
}

#[test]
fn the_gateway_answers_ping_over_ipv6() {
    let mut guest = Guest::new(false);
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
            let mut guest = Guest::new(offloads);
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
    let mut guest = Guest::new(false);
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
    let mut guest = Guest::new(false);
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
    let mut guest = Guest::new(false);
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
    let mut guest = Guest::new(false);
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
    let mut guest = Guest::new(false);
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
    let mut guest = Guest::new(false);
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
        flags: F_NEEDS_CSUM,
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
    let mut guest = Guest::new(false);
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
        let gso_type = [0, GSO_TCPV4, GSO_TCPV6][random(3) as usize];
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
