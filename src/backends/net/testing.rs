//! A guest for tests of back ends: smoltcp in the place of the driver and all behind it.

use std::time::{Duration, Instant as Clock};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, IpEndpoint,
    Ipv4Address, Ipv6Address,
};
use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::{Element, NetHeader};
use stickler_conformance::features::net as feature;
use stickler_devices::memory::GuestRam;
use stickler_devices::net::{Gather, MAX_PACKET, NetBackend, Packet, Received, offload};
use vm_memory::{Bytes, GuestAddress};

pub(super) const GUEST_MAC: EthernetAddress = EthernetAddress([2, 0x53, 0x54, 0x4b, 0, 3]);
pub(super) const GUEST_V6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x15);

/// All offloads for packets to the driver.
const ALL: u64 =
    feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;

/// So many bytes that differ.
pub(super) fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i ^ (i >> 8)) as u8).collect()
}

/// The card, and what has passed it.
pub(super) struct Card<B> {
    pub(super) net: B,
    /// The queue pair on which packets are sent.
    pub(super) pair: u16,
    ram: GuestRam,
    /// Whether the guest leaves checksums and segmentation to the device.
    offloads: bool,
    pub(super) sent_large: usize,
    pub(super) received_large: usize,
}

impl<B: NetBackend> Card<B> {
    pub(super) fn send(&mut self, header: NetHeader, packet: &[u8]) {
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
        self.net.transmit(self.pair, &packet);
    }
}

impl<B: NetBackend> phy::Device for Card<B> {
    type RxToken<'a> = PeerRxToken;
    type TxToken<'a> = PeerTxToken<'a, B>;

    fn receive(&mut self, _: Instant) -> Option<(PeerRxToken, PeerTxToken<'_, B>)> {
        let mut packet = vec![0; MAX_PACKET];
        let Received { header, len } =
            (0..self.net.sources()).find_map(|source| self.net.receive(source, &mut packet))?;
        packet.truncate(len);
        if offload::is_gso(&header) {
            assert!(self.offloads, "not asked for");
            assert!(header.flags & flags::NEEDS_CSUM != 0 && header.gso_size > 0);
            self.received_large += 1;
        } else {
            assert!(len <= 1514, "{len} bytes and not to be segmented");
        }
        // As the device does, or a driver that takes partial checksums.
        if header.flags & flags::NEEDS_CSUM != 0 {
            assert!(offload::complete_checksum(&mut packet, &header));
        }
        let token = PeerTxToken {
            card: self,
            meta: PacketMeta::default(),
        };
        Some((PeerRxToken(packet), token))
    }

    fn transmit(&mut self, _: Instant) -> Option<PeerTxToken<'_, B>> {
        Some(PeerTxToken {
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

pub(super) struct PeerRxToken(Vec<u8>);

impl phy::RxToken for PeerRxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(super) struct PeerTxToken<'a, B> {
    card: &'a mut Card<B>,
    meta: PacketMeta,
}

impl<B: NetBackend> phy::TxToken for PeerTxToken<'_, B> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        let mut header = NetHeader::default();
        if self.card.offloads
            && let Some(partial) = offload::make_partial(&mut packet)
        {
            header = partial;
            if let Some(size) = self.meta.segmentation_offload_size {
                header.gso_type = gso::TCPV4;
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
pub(super) struct Guest<B> {
    pub(super) card: Card<B>,
    pub(super) interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    start: Clock,
}

impl<B: NetBackend> Guest<B> {
    /// A guest with this address on the network `net`, which makes use of all offloads or of none.
    pub(super) fn new(mut net: B, offloads: bool, address: Ipv4Address) -> Self {
        net.set_offloads(if offloads { ALL } else { 0 });
        let mut card = Card {
            net,
            pair: 0,
            ram: GuestRam::anonymous(1 << 17),
            offloads,
            sent_large: 0,
            received_large: 0,
        };
        let config = Config::new(HardwareAddress::Ethernet(GUEST_MAC));
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let own = [
                IpCidr::new(IpAddress::Ipv4(address), 24),
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

    pub(super) fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as i64)
    }

    /// Lets both sides work until `done` gives something.
    pub(super) fn until<R>(
        &mut self,
        mut done: impl FnMut(&mut SocketSet<'static>) -> Option<R>,
    ) -> R {
        let begin = Clock::now();
        loop {
            let now = self.now();
            self.interface.poll(now, &mut self.card, &mut self.sockets);
            self.card.net.transmitted();
            if let Some(result) = done(&mut self.sockets) {
                return result;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "no end");
            // As the worker would, only more often.
            std::thread::sleep(Duration::from_millis(1));
            for index in 0..self.card.net.host_fds().len() {
                self.card.net.host_ready(index);
            }
        }
    }

    /// Pings and checks the answer.
    pub(super) fn ping(&mut self, to: Ipv4Address, seq_no: u16, data: &[u8]) {
        const IDENT: u16 = 0x22b;
        let checksums = phy::ChecksumCapabilities::default();
        let buffer =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 1 << 16]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(IDENT)).expect("free");
        let request = Icmpv4Repr::EchoRequest {
            ident: IDENT,
            seq_no,
            data,
        };
        let room = socket
            .send(request.buffer_len(), IpAddress::Ipv4(to))
            .expect("room");
        request.emit(&mut Icmpv4Packet::new_unchecked(room), &checksums);
        let handle = self.sockets.add(socket);
        let reply = self.until(|sockets| {
            let socket = sockets.get_mut::<icmp::Socket<'_>>(handle);
            socket.recv().ok().map(|(bytes, _)| bytes.to_vec())
        });
        let reply = Icmpv4Packet::new_checked(&reply[..]).expect("a packet");
        let expected = Icmpv4Repr::EchoReply {
            ident: IDENT,
            seq_no,
            data,
        };
        assert_eq!(Icmpv4Repr::parse(&reply, &checksums), Ok(expected));
        self.sockets.remove(handle);
    }

    pub(super) fn connect(
        &mut self,
        to: impl Into<IpAddress>,
        port: u16,
        from: u16,
    ) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        let to = IpEndpoint::new(to.into(), port);
        socket
            .connect(self.interface.context(), to, from)
            .expect("a good address");
        self.sockets.add(socket)
    }

    /// Sends `data` to the echo service and checks that it comes back.
    pub(super) fn echo(&mut self, handle: SocketHandle, data: &[u8]) {
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
    pub(super) fn close(&mut self, handle: SocketHandle) {
        self.sockets.get_mut::<tcp::Socket<'_>>(handle).close();
        self.until(|sockets| {
            let state = sockets.get::<tcp::Socket<'_>>(handle).state();
            matches!(state, tcp::State::TimeWait | tcp::State::Closed).then_some(())
        });
        self.sockets.remove(handle);
    }

    pub(super) fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 1 << 17]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("free");
        self.sockets.add(socket)
    }

    /// Sends a datagram and waits for one.
    pub(super) fn ask(&mut self, handle: SocketHandle, to: IpEndpoint, datagram: &[u8]) -> Vec<u8> {
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
