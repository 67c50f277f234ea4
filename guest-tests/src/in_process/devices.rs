//! The devices that are driven.
//!
//! Citations are of virtio 1.0.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use stickler::backends::disk::{DiskImage, DiskSpec};
use stickler::backends::entropy::HostEntropy;
use stickler::backends::net::user::UserNet;
use stickler_conformance::features::{RING_EVENT_IDX, block, console, net};
use stickler_conformance::{DeviceKind, Judge};
use stickler_devices::block::Block;
use stickler_devices::console::port::PortBackend;
use stickler_devices::console::{Console, PortConfig};
use stickler_devices::entropy::Entropy;
use stickler_devices::net::{LinkHandle, Net};
use stickler_devices::virtio::{Io, Progress, VirtioDevice};

use super::rig::Rig;
use super::tcp::Peer;

/// Where they are.
pub const SLOT: u8 = 3;

/// Sectors of the disk.
pub const SECTORS: u64 = 8192;

/// A device that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A network card with two pairs of queues.
    Net,
    /// A network card that does not say which address it has.
    NamelessNet,
    /// A network card with [`Peer`] behind it.
    Peer,
    /// A disk.
    Block,
    /// A disk that cannot be written.
    ReadOnlyBlock,
    /// A console with two ports, the second with a name; what is printed comes back as input.
    Console,
    /// A console with one port only.
    PlainConsole,
    /// An entropy source.
    Entropy,
    /// An entropy source that does not keep FEATURES_OK for a driver that accepts
    /// VIRTIO_F_RING_EVENT_IDX, as §2.2.2 allows.
    FussyEntropy,
}

impl Device {
    /// One of each type.
    pub const TYPES: [Device; 4] = [Device::Net, Device::Block, Device::Console, Device::Entropy];

    /// Puts it into its slot.
    pub fn add(self, rig: &mut Rig) {
        match self {
            Device::Net => drop(add_net(rig)),
            Device::NamelessNet => {
                let network = UserNet::new(2, &[]).expect("a network");
                let (net, _) = Net::new(network, [2, 0, 0, 0, 0, SLOT]).expect("a card");
                rig.add(SLOT, Nameless(net));
            }
            Device::Peer => {
                let (net, _) = Net::new(Peer::default(), [2, 0, 0, 0, 0, SLOT]).expect("a card");
                rig.add(SLOT, net);
            }
            Device::Block | Device::ReadOnlyBlock => {
                let image = tempfile::NamedTempFile::new().expect("a temporary file");
                image.as_file().set_len(SECTORS * 512).expect("room");
                let spec = DiskSpec {
                    path: image.path().to_owned(),
                    read_only: self == Device::ReadOnlyBlock,
                };
                rig.add(SLOT, Block::new(DiskImage::open(&spec).expect("an image")));
            }
            Device::Console => {
                let further = vec![echo(Some("echo"))];
                rig.add(SLOT, Console::new(echo(None), further).expect("good ports"));
            }
            Device::PlainConsole => {
                rig.add(SLOT, Console::new(echo(None), vec![]).expect("a good port"));
            }
            Device::Entropy => rig.add(SLOT, Entropy::new(HostEntropy)),
            Device::FussyEntropy => rig.add(SLOT, Fussy(Entropy::new(HostEntropy))),
        }
    }

    /// What a driver accepts that does as little as one can.
    pub fn plain_features(self) -> u64 {
        match self {
            Device::Net | Device::Peer => net::MAC,
            Device::Block => block::FLUSH,
            Device::ReadOnlyBlock => block::RO,
            Device::Console => console::MULTIPORT,
            Device::NamelessNet | Device::PlainConsole | Device::Entropy | Device::FussyEntropy => {
                0
            }
        }
    }
}

/// Adds [`Device::Net`] and gives the handle of its link.
pub fn add_net(rig: &mut Rig) -> LinkHandle {
    let network = UserNet::new(2, &[]).expect("a network");
    let (net, link) = Net::new(network, [2, 0, 0, 0, 0, SLOT]).expect("a card");
    rig.add(SLOT, net);
    link
}

fn echo(name: Option<&str>) -> PortConfig {
    PortConfig {
        backend: Box::new(Echo::default()),
        name: name.map(str::to_owned),
    }
}

#[derive(Default)]
struct Echo(VecDeque<u8>);

impl PortBackend for Echo {
    fn read(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.0.len());
        for (to, from) in into.iter_mut().zip(self.0.drain(..count)) {
            *to = from;
        }
        count
    }

    fn write(&mut self, from: &[u8]) -> usize {
        self.0.extend(from);
        from.len()
    }
}

/// See [`Device::FussyEntropy`].
struct Fussy(Entropy<HostEntropy>);

impl VirtioDevice<Judge> for Fussy {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        VirtioDevice::<Judge>::queue_sizes(&self.0)
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn accepts(&self, features: u64) -> bool {
        features & RING_EVENT_IDX == 0
    }

    fn activate(&mut self, io: &mut Io<'_, Judge>) {
        self.0.activate(io);
    }

    fn reset(&mut self) {
        VirtioDevice::<Judge>::reset(&mut self.0);
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, Judge>) -> Progress {
        self.0.notified(queue, io)
    }
}

/// See [`Device::NamelessNet`].
struct Nameless(Net<UserNet>);

impl VirtioDevice<Judge> for Nameless {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Net
    }

    fn features(&self) -> u64 {
        VirtioDevice::<Judge>::features(&self.0) & !net::MAC
    }

    fn queue_sizes(&self) -> &[u16] {
        VirtioDevice::<Judge>::queue_sizes(&self.0)
    }

    fn config(&self) -> &[u8] {
        VirtioDevice::<Judge>::config(&self.0)
    }

    fn accepts(&self, features: u64) -> bool {
        VirtioDevice::<Judge>::accepts(&self.0, features)
    }

    fn negotiated(&mut self, features: u64) {
        VirtioDevice::<Judge>::negotiated(&mut self.0, features);
    }

    fn activate(&mut self, io: &mut Io<'_, Judge>) {
        self.0.activate(io);
    }

    fn reset(&mut self) {
        VirtioDevice::<Judge>::reset(&mut self.0);
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, Judge>) -> Progress {
        self.0.notified(queue, io)
    }

    fn tick(&mut self, io: &mut Io<'_, Judge>) {
        self.0.tick(io);
    }

    fn host_fds(&self) -> Vec<RawFd> {
        VirtioDevice::<Judge>::host_fds(&self.0)
    }

    fn host_ready(&mut self, index: usize, io: &mut Io<'_, Judge>) -> Progress {
        self.0.host_ready(index, io)
    }
}
