//! A network in userspace, without privileges: a gateway at 10.0.2.2 that answers ARP and ping, leases
//! addresses by DHCP, echoes what it is sent over TCP and UDP (port 7), and sends files by TFTP if it is given some.
//! Nothing behind it: it is there to give a driver someone to talk to.
//!
//! The TCP/IP stack is smoltcp's. It sees Ethernet's ordinary packets; what a driver leaves to the
//! device (checksums, segmentation) is done before, what the driver can do itself is left to it.

mod dhcp;
mod services;
#[cfg(test)]
mod tests;
mod tftp;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr,
};
use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::features::net as feature;
use stickler_devices::net::{NetBackend, Packet, Received, offload};

use services::Services;
use wire::{Outgoing, Wire};

/// The gateway's address: router, DHCP server, name server and everything else.
pub const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
/// The network's mask.
pub const NETMASK: Ipv4Address = Ipv4Address::new(255, 255, 255, 0);
/// The gateway's IPv6 address on the link.
pub const GATEWAY_LINK_LOCAL: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The gateway's unique local IPv6 address, of a /64.
pub const GATEWAY_V6: Ipv6Address = Ipv6Address::new(0xfd53, 0x544b, 0, 0, 0, 0, 0, 2);

/// Locally administered, and none that is given to a guest's card.
const GATEWAY_MAC: EthernetAddress = EthernetAddress([0x02, 0x53, 0x54, 0x4b, 0xff, 0x02]);

/// All of the gateway's addresses.
const ADDRESSES: [IpCidr; 3] = [
    IpCidr::Ipv4(Ipv4Cidr::new(GATEWAY, 24)),
    IpCidr::Ipv6(Ipv6Cidr::new(GATEWAY_LINK_LOCAL, 64)),
    IpCidr::Ipv6(Ipv6Cidr::new(GATEWAY_V6, 64)),
];

/// So often stack and services take turns at most before the driver gets to see the result.
const ROUNDS: usize = 16;

/// A file that the gateway sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedFile {
    /// Its name, in small letters.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// The network and its gateway.
pub struct UserNet {
    queue_pairs: u16,
    offloads: u64,
    start: std::time::Instant,
    timer: OwnedFd,
    interface: Interface,
    sockets: SocketSet<'static>,
    services: Services,
    wire: Wire,
    /// The segments of a packet that the driver could not take whole.
    segments: VecDeque<Vec<u8>>,
    /// The stack waits for the driver to take packets.
    blocked: bool,
}

impl UserNet {
    /// A network for one card, which is given `queue_pairs` queue pairs. The gateway sends `files` by TFTP, and tells
    /// DHCP clients to boot the first of them.
    ///
    /// # Errors
    /// If no timer can be had.
    pub fn new(queue_pairs: u16, files: &[ServedFile]) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let mut wire = Wire::default();
        let config = Config::new(HardwareAddress::Ethernet(GATEWAY_MAC));
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // Has room for more than these.
            let _ = addresses.extend_from_slice(&ADDRESSES);
        });
        let mut sockets = SocketSet::new(Vec::new());
        let services = Services::new(&mut sockets, files);
        let mut net = UserNet {
            queue_pairs,
            offloads: 0,
            start: std::time::Instant::now(),
            timer,
            interface,
            sockets,
            services,
            wire,
            segments: VecDeque::new(),
            blocked: false,
        };
        net.poll();
        Ok(net)
    }

    /// Lets stack and services do what there is to do, and sets the timer for what is to do later.
    fn poll(&mut self) {
        let now = self.now();
        self.take(now);
        for _ in 0..ROUNDS {
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            if !self.services.serve(&mut self.sockets) {
                break;
            }
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.blocked = self.wire.is_outgoing_full();
        let delay = self.interface.poll_delay(now, &self.sockets);
        self.set_timer(match delay {
            Some(delay) if !self.blocked => {
                Duration::from_micros(delay.total_micros()).max(Duration::from_millis(1))
            }
            // There is nothing to do before the driver's next packet.
            _ => Duration::ZERO,
        });
    }

    /// Lets the stack take what the driver has sent, packet by packet, so that a service is ready for
    /// the next connection before that asks for it.
    fn take(&mut self, now: Instant) {
        loop {
            match self
                .interface
                .poll_ingress_single(now, &mut self.wire, &mut self.sockets)
            {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => {
                    self.services.serve(&mut self.sockets);
                }
            }
        }
    }

    /// Sets the timer, which makes it unreadable, too; zero stops it.
    fn set_timer(&self, delay: Duration) {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = Itimerspec {
            it_interval: zero,
            // Fails only for times that are out of range, in some hundred billion years.
            it_value: Timespec::try_from(delay).unwrap_or(zero),
        };
        // Fails only for times that are none.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
    }

    fn now(&self) -> Instant {
        let elapsed = self.start.elapsed().as_micros();
        Instant::from_micros(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    fn push(&mut self, packet: Vec<u8>) {
        if self.wire.is_incoming_full() {
            self.poll();
        }
        self.wire.push(packet);
    }

    /// The next packet for the driver, cut if it cannot take it whole.
    fn next(&mut self) -> Option<Outgoing> {
        loop {
            if let Some(packet) = self.segments.pop_front() {
                return Some(Outgoing {
                    header: Default::default(),
                    packet,
                });
            }
            let outgoing = match self.wire.pop() {
                Some(outgoing) => outgoing,
                None if self.blocked => {
                    self.poll();
                    self.wire.pop()?
                }
                None => return None,
            };
            let needs = if !offload::is_gso(&outgoing.header) {
                0
            } else if outgoing.header.gso_type & !gso::ECN == gso::TCPV6 {
                feature::GUEST_TSO6
            } else {
                feature::GUEST_TSO4
            };
            if self.offloads & needs == needs {
                return Some(outgoing);
            }
            offload::segment(&outgoing.header, &outgoing.packet, |segment| {
                self.segments.push_back(segment);
            });
        }
    }
}

impl NetBackend for UserNet {
    fn features(&self) -> u64 {
        feature::CSUM
            | feature::HOST_TSO4
            | feature::HOST_TSO6
            | feature::HOST_ECN
            | feature::GUEST_CSUM
            | feature::GUEST_TSO4
            | feature::GUEST_TSO6
            | feature::GUEST_ECN
    }

    fn queue_pairs(&self) -> u16 {
        self.queue_pairs
    }

    fn set_offloads(&mut self, guest: u64) {
        self.offloads = guest;
    }

    fn transmit(&mut self, _pair: u16, packet: &Packet<'_>) {
        let mut bytes = packet.to_vec();
        let header = &packet.header;
        if offload::is_gso(header) {
            offload::segment(header, &bytes, |segment| self.push(segment));
        } else if header.flags & flags::NEEDS_CSUM == 0
            || offload::complete_checksum(&mut bytes, header)
        {
            self.push(bytes);
        }
    }

    fn transmitted(&mut self) {
        self.poll();
    }

    fn receive(&mut self, _source: u16, frame: &mut [u8]) -> Option<Received> {
        loop {
            let Outgoing { header, packet } = self.next()?;
            // Always fits: the stack's packets are no longer than the device's.
            if let Some(place) = frame.get_mut(..packet.len()) {
                place.copy_from_slice(&packet);
                return Some(Received {
                    header,
                    len: packet.len(),
                });
            }
        }
    }

    fn host_fds(&self) -> Vec<RawFd> {
        vec![self.timer.as_raw_fd()]
    }

    fn host_ready(&mut self, _index: usize) {
        self.poll();
    }
}
