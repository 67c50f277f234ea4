//! The network device: ARP, and pings of many sizes, by hand.

use anyhow::{Context, Result, anyhow, ensure};
use stickler_guest_programs::exercise::{GUEST, HOST};
use stickler_guest_programs::pattern;
use virtio_drivers::Error;
use virtio_drivers::device::net::{TxBuffer, VirtIONet};
use virtio_drivers::transport::pci::PciTransport;

use crate::dma::Memory;

type Device = VirtIONet<Memory, PciTransport, 16>;

/// Size in bytes of a receive buffer.
const BUFFER: usize = 2048;

/// The guest's address.
const OURS: [u8; 4] = GUEST.octets();

/// How many pings are sent; more than there are buffers.
const PINGS: u16 = 40;

/// Asks for the host's address and pings it.
pub(crate) fn exercise(transport: PciTransport) -> Result<()> {
    let mut device = Device::new(transport, BUFFER)?;
    let ours = device.mac_address();
    let host = HOST.octets();

    let mut request = ethernet([0xff; 6], ours, 0x0806);
    request.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(ours);
    request.extend(OURS);
    request.extend([0; 6]);
    request.extend(host);
    send(&mut device, request)?;
    let reply = receive(&mut device, |frame| {
        frame.get(12..14) == Some(&[0x08, 0x06]) && frame.get(28..32) == Some(&host)
    })?;
    let theirs: [u8; 6] = reply
        .get(22..28)
        .and_then(|bytes| bytes.try_into().ok())
        .context("the answer to ARP is cut short")?;

    for number in 0..PINGS {
        let data = pattern::bytes(number.into(), usize::from(number) * 36 + 8);
        let mut frame = ethernet(theirs, ours, 0x0800);
        frame.extend(ipv4(host, &echo_request(number, &data)));
        send(&mut device, frame)?;
        let reply = receive(&mut device, |frame| is_echo_reply(frame, number))?;
        let found = &reply[42..];
        ensure!(
            found.len() >= data.len(),
            "the answer to ping {number} is cut short"
        );
        pattern::compare(&found[..data.len()], &data)
            .map_err(|difference| anyhow!("the answer to ping {number} is wrong: {difference}"))?;
    }
    Ok(())
}

fn send(device: &mut Device, mut frame: Vec<u8>) -> Result<()> {
    frame.resize(frame.len().max(60), 0);
    device.send(TxBuffer::from(&frame)).context("cannot send")
}

/// Waits for a frame for which `wanted` returns true, and drops others.
fn receive(device: &mut Device, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    loop {
        match device.receive() {
            Ok(buffer) => {
                let frame = buffer.packet().to_vec();
                device.recycle_rx_buffer(buffer)?;
                if wanted(&frame) {
                    return Ok(frame);
                }
            }
            Err(Error::NotReady) => std::thread::yield_now(),
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

/// An IPv4 packet with an ICMP message.
fn ipv4(to: [u8; 4], message: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + message.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 1, 0, 0]);
    packet.extend(OURS);
    packet.extend(to);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(message);
    packet
}

fn echo_request(number: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1];
    message.extend(number.to_be_bytes());
    message.extend(data);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn is_echo_reply(frame: &[u8], number: u16) -> bool {
    frame.len() >= 42
        && frame[12..15] == [0x08, 0x00, 0x45]
        && frame[23] == 1
        && frame[34] == 0
        && frame[40..42] == number.to_be_bytes()
}

/// The internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
