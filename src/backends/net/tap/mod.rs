//! A tap interface of the host. Packets pass with the header they have on the virtqueues, so that the
//! host's kernel does checksums and segmentation, or leaves them to the driver.

mod ioctl;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use rustix::io::Errno;
use stickler_conformance::features::net as feature;
use stickler_devices::net::header;
use stickler_devices::net::{MAX_PACKET, NetBackend, Packet, Received};

use super::{NetError, describe, fail};
use ioctl::Offloads;

const DEVICE: &str = "/dev/net/tun";

/// An open tap interface.
pub struct Tap {
    /// One for each queue pair.
    queues: Vec<File>,
    /// The offloads for packets to the driver that the host's kernel can leave to it.
    guest_features: u64,
    /// Header and packet, as they go to the kernel.
    scratch: Box<[u8]>,
}

impl Tap {
    /// Opens the existing interface `name` with this number of queues.
    ///
    /// # Errors
    /// If there is no such interface, or we may not use it, or not in that way.
    pub fn open(name: &str, queues: u16) -> Result<Self, NetError> {
        // Naming a missing interface would create one, connected to nothing.
        if !exists(name) {
            return fail(format_args!(
                "there is no interface {name}; `sudo ip tuntap add dev {name} mode tap{} user $USER` \
                 makes one, and `sudo ip link set {name} up` sets it up",
                multi_queue(queues)
            ));
        }
        let queues = (0..queues)
            .map(|_| open_queue(name, queues))
            .collect::<Result<Vec<_>, _>>()?;
        let mut tap = Tap {
            queues,
            guest_features: 0,
            scratch: vec![0; header::LEN + MAX_PACKET].into_boxed_slice(),
        };
        let all =
            feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;
        // Old kernels do not know all of them.
        if tap.try_offloads(all).is_ok() {
            tap.guest_features = all;
        } else if tap.try_offloads(feature::GUEST_CSUM).is_ok() {
            tap.guest_features = feature::GUEST_CSUM;
        }
        tap.set_offloads(0);
        Ok(tap)
    }

    fn try_offloads(&self, guest: u64) -> io::Result<()> {
        let has = |bit| guest & bit != 0;
        let offloads = Offloads {
            checksum: has(feature::GUEST_CSUM),
            tso4: has(feature::GUEST_TSO4),
            tso6: has(feature::GUEST_TSO6),
            ecn: has(feature::GUEST_ECN),
        };
        // They are set for the interface, through any of its queues.
        match self.queues.first() {
            Some(queue) => ioctl::set_offloads(queue, offloads),
            None => Ok(()),
        }
    }
}

/// Whether there is an interface of that name. If that cannot be found out, opening it will tell.
fn exists(name: &str) -> bool {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    !socket.is_ok_and(|socket| netdevice::name_to_index(socket, name) == Err(Errno::NODEV))
}

fn multi_queue(queues: u16) -> &'static str {
    if queues > 1 { " multi_queue" } else { "" }
}

fn open_queue(name: &str, queues: u16) -> Result<File, NetError> {
    let file = match rustix::fs::open(
        DEVICE,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            return fail(format_args!(
                "the host's kernel offers no tap interfaces ({DEVICE} is missing); \
                 `sudo modprobe tun` loads what is needed"
            ));
        }
        Err(Errno::ACCESS | Errno::PERM) => {
            return fail(format_args!(
                "no permission to open {DEVICE}; `sudo chmod 0666 {DEVICE}` gives it \
                 (interfaces keep their own permissions)"
            ));
        }
        Err(error) => {
            return fail(format_args!(
                "{DEVICE} cannot be opened: {}",
                describe(&error.into())
            ));
        }
    };
    let attached = ioctl::attach(&file, name, queues > 1)
        .and_then(|()| ioctl::set_header_size(&file, header::LEN));
    match attached {
        Ok(()) => Ok(file),
        Err(error) => cannot_attach(name, queues, &error),
    }
}

fn cannot_attach<T>(name: &str, queues: u16, error: &io::Error) -> Result<T, NetError> {
    let again = format!(
        "`sudo ip tuntap del dev {name} mode tap` and `sudo ip tuntap add dev {name} mode tap{} user \
         $USER` make it anew",
        multi_queue(queues)
    );
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => fail(format_args!(
            "no permission to use the interface {name}, which is another user's; {again}"
        )),
        Some(Errno::BUSY) => fail(format_args!(
            "the interface {name} is in use by another program; end that, or use another interface"
        )),
        Some(Errno::INVAL) => fail(format_args!(
            "the interface {name} is no tap for {queues} queue{}; {again}",
            if queues == 1 { "" } else { "s" }
        )),
        Some(Errno::TOOBIG) => fail(format_args!(
            "the interface {name} has fewer than {queues} queues left; ask for fewer"
        )),
        _ => fail(format_args!(
            "the interface {name} cannot be used as a tap: {}",
            describe(error)
        )),
    }
}

impl NetBackend for Tap {
    fn features(&self) -> u64 {
        // A tap with headers takes all of these from us.
        let host = feature::CSUM | feature::HOST_TSO4 | feature::HOST_TSO6 | feature::HOST_ECN;
        host | self.guest_features
    }

    fn queue_pairs(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    fn set_offloads(&mut self, guest: u64) {
        // Sets of offloads that lack what others need have been made valid by the device. If the
        // kernel refuses one all the same, nothing is left to the driver.
        if self.try_offloads(guest).is_err() {
            let _ = self.try_offloads(0);
        }
    }

    fn transmit(&mut self, pair: u16, packet: &Packet<'_>) {
        let Some(queue) = self.queues.get_mut(usize::from(pair)) else {
            return;
        };
        let Some((head, room)) = self.scratch.split_at_mut_checked(header::LEN) else {
            return;
        };
        head.copy_from_slice(&header::encode(&packet.header));
        let len = packet
            .data
            .copy_to(room.get_mut(..packet.len).unwrap_or_default());
        if let Some(bytes) = self.scratch.get(..header::LEN + len) {
            // A packet that the kernel refuses (interface down, queue full, malformed) is lost.
            let _ = queue.write(bytes);
        }
    }

    fn sources(&self) -> u16 {
        self.queue_pairs()
    }

    fn receive(&mut self, source: u16, frame: &mut [u8]) -> Option<Received> {
        let queue = self.queues.get_mut(usize::from(source))?;
        let mut head = [0; header::LEN];
        let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(frame)];
        // An error is that there is nothing there, or that the interface is down.
        let read = queue.read_vectored(&mut parts).ok()?;
        Some(Received {
            header: header::decode(head),
            len: read.checked_sub(header::LEN)?,
        })
    }

    fn host_fds(&self) -> Vec<RawFd> {
        self.queues.iter().map(AsRawFd::as_raw_fd).collect()
    }
}
