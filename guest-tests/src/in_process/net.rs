//! Packets and commands of a network device, as a conforming driver sends them (§5.1.6 of virtio 1.0).

use etherparse::PacketBuilder;
use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::layout::Structure;
use stickler_conformance::packet::{
    ETHERNET_LEN, Headers, IPV4_LEN, TCP_LEN, Transport, UDP_LEN, ethertype, tcp,
};
use stickler_devices::net::{header, offload};
use stickler_mock_driver::Buffer;

use super::driver::Driver;

/// Bytes of struct virtio_net_hdr.
pub const HEADER_LEN: u32 = header::LEN as u32;

/// Bytes of a receive buffer that any driver may have (§5.1.6.3.1).
pub const ANY_PACKET: u32 = 65562;
/// … and those without offloads.
pub const PLAIN_PACKET: u32 = 1526;

const OUR_ADDRESS: [u8; 4] = [10, 0, 2, 15];
const GATEWAY: [u8; 4] = [10, 0, 2, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

/// Bytes of all headers of our TCP packets.
pub const TCP_HEADERS: usize = TCP + TCP_LEN;
/// Where the TCP header begins in them.
const TCP: usize = ETHERNET_LEN + IPV4_LEN;
/// Where `csum_start` and `csum_offset` point in them.
pub const TCP_CHECKSUM: (u16, u16) = (TCP as u16, tcp::CHECKSUM as u16);

/// Fills a frame up to the shortest length of Ethernet.
fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Asks who has the gateway's address.
pub fn arp_request(mac: &[u8]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    let arp = [&fixed[..], mac, &OUR_ADDRESS, &[0; 6], &GATEWAY].concat();
    let header = [&BROADCAST[..], mac, &ethertype::ARP.to_be_bytes()].concat();
    padded([header, arp].concat())
}

/// A TCP segment over IPv4 that nobody expects, with `payload` bytes; its checksum field holds the
/// sum of the pseudo header.
pub fn tcp_segment(mac: &[u8], payload: usize) -> Vec<u8> {
    let mut packet = summed_segment(mac, payload);
    offload::make_partial(&mut packet).expect("a TCP packet");
    packet
}

/// A packet of [`tcp_segment`] with its checksum.
pub fn summed_segment(mac: &[u8], payload: usize) -> Vec<u8> {
    let mac = mac.try_into().expect("6 bytes");
    let headers = PacketBuilder::ethernet2(mac, BROADCAST)
        .ipv4(OUR_ADDRESS, GATEWAY, 64)
        .tcp(40_000, 9, 1, 1024)
        .ack(0);
    let mut packet = Vec::new();
    let written = headers.write(&mut packet, &vec![0x61; payload]);
    written.expect("the payload fits into a packet");
    padded(packet)
}

/// A UDP datagram over IPv4 that nobody expects, with `payload` bytes; its checksum field holds the sum of the
/// pseudo header.
pub fn udp_datagram(mac: &[u8], payload: usize) -> Vec<u8> {
    let mac = mac.try_into().expect("6 bytes");
    let headers = PacketBuilder::ethernet2(mac, BROADCAST)
        .ipv4(OUR_ADDRESS, GATEWAY, 64)
        .udp(40_000, 9);
    let mut packet = Vec::new();
    let written = headers.write(&mut packet, &vec![0x61; payload]);
    written.expect("the payload fits into a packet");
    let headers = Headers::parse(&packet).expect("a UDP packet");
    let sum = headers.pseudo_header_sum(&packet, UDP_LEN + payload);
    let field = headers.transport + Transport::Udp.checksum_field();
    packet[field..field + 2].copy_from_slice(&sum.expect("known addresses").to_be_bytes());
    padded(packet)
}

/// The header of a packet of [`udp_datagram`] whose checksum is left to the device.
pub fn udp_checksum_header() -> NetHeader {
    NetHeader {
        csum_offset: Transport::Udp.checksum_field() as u16,
        ..checksum_header()
    }
}

/// Sets CWR in a packet of [`tcp_segment`].
pub fn set_cwr(packet: &mut [u8]) {
    packet[TCP + tcp::FLAGS] |= tcp::CWR;
}

/// The header of a packet of [`tcp_segment`] whose checksum is left to the device.
pub fn checksum_header() -> NetHeader {
    NetHeader {
        flags: flags::NEEDS_CSUM,
        csum_start: TCP_CHECKSUM.0,
        csum_offset: TCP_CHECKSUM.1,
        ..NetHeader::default()
    }
}

/// … that is to be segmented as well.
pub fn segmentation_header() -> NetHeader {
    NetHeader {
        gso_type: gso::TCPV4,
        gso_size: 1000,
        hdr_len: TCP_HEADERS as u16,
        ..checksum_header()
    }
}

impl Driver<'_> {
    /// The card's address.
    pub fn mac(&self) -> Vec<u8> {
        self.consistently(|d| {
            (0..6)
                .map(|i| d.read(Structure::Device, i, 1) as u8)
                .collect()
        })
    }

    /// Header and packet in memory, as one buffer.
    pub fn packet(&self, header: &NetHeader, packet: &[u8]) -> Buffer {
        let bytes = [&header::encode(header)[..], packet].concat();
        let at = self.rig.allocate(bytes.len() as u64);
        self.rig.write_bytes(at, &bytes);
        Buffer::readable(at, bytes.len() as u32)
    }

    /// Sends a packet through a transmit queue and waits until the device is done with it.
    pub fn transmit(&mut self, queue: u16, header: &NetHeader, packet: &[u8]) {
        let buffer = self.packet(header, packet);
        self.submit(queue, &[buffer]);
        self.wait_used(queue);
    }

    /// Returns a receive queue `count` buffers of `len` bytes.
    pub fn give_receive_buffers(&mut self, queue: u16, count: u16, len: u32) {
        for _ in 0..count {
            let at = self.rig.allocate(u64::from(len));
            self.submit(queue, &[Buffer::writable(at, len)]);
        }
    }

    /// Bytes that receive buffers should have (§5.1.6.3.1).
    pub fn receive_size(&self) -> u32 {
        let offloads = feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_UFO;
        let merges = self.features & feature::MRG_RXBUF != 0;
        if !merges && self.features & offloads != 0 {
            ANY_PACKET
        } else {
            PLAIN_PACKET
        }
    }

    /// Asks for the gateway's address, and waits for the answer, which comes in on the first queue.
    pub fn resolve_gateway(&mut self) {
        let (mac, size) = (self.mac(), self.receive_size());
        self.give_receive_buffers(0, 2, size);
        self.transmit(1, &NetHeader::default(), &arp_request(&mac));
        loop {
            for (buffer, len) in self.wait_buffers(0) {
                let bytes = self.rig.read_bytes(buffer.addr, len as usize);
                let at = HEADER_LEN as usize + 12;
                if bytes.get(at..at + 2) == Some(&ethertype::ARP.to_be_bytes()) {
                    return;
                }
                // Something else; there may be more of it.
                self.submit(0, &[buffer]);
            }
        }
    }

    /// The control virtqueue (§5.1.2).
    pub fn control_queue(&self) -> u16 {
        *self.usable_queues().last().expect("there are queues")
    }

    /// Sends a command (§5.1.6.5). Returns what the device acknowledges it with.
    pub fn command(&mut self, class: u8, command: u8, data: &[u8]) -> u8 {
        let buffers = self.command_buffers(&[&[class, command], data].concat());
        let queue = self.control_queue();
        self.submit(queue, &buffers);
        self.wait_used(queue);
        self.rig.read_bytes(buffers[1].addr, 1)[0]
    }

    /// The buffers of a command: what it is, and a byte for the acknowledgement.
    pub fn command_buffers(&self, bytes: &[u8]) -> [Buffer; 2] {
        let at = self.rig.allocate(bytes.len() as u64 + 1);
        self.rig.write_bytes(at, bytes);
        let len = bytes.len() as u32;
        let ack = at + u64::from(len);
        self.rig.write_bytes(ack, &[0xff]);
        [Buffer::readable(at, len), Buffer::writable(ack, 1)]
    }
}
