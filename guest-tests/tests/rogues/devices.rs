//! The devices that are driven.

use stickler::backends::disk::{DiskImage, DiskSpec};
use stickler::backends::entropy::HostEntropy;
use stickler::backends::net::user::UserNet;
use stickler_conformance::DeviceKind;
use stickler_devices::block::Block;
use stickler_devices::console::port::PortBackend;
use stickler_devices::console::{Console, PortConfig};
use stickler_devices::entropy::Entropy;
use stickler_devices::net::Net;
use stickler_guest_tests::in_process::Rig;

/// Where they are.
pub(crate) const SLOT: u8 = 3;

/// Sectors of the disk.
pub(crate) const SECTORS: u64 = 256;

/// Adds a device of type `kind`, with all it can do, in `slot`.
pub(crate) fn add(rig: &mut Rig, slot: u8, kind: DeviceKind) {
    match kind {
        DeviceKind::Net => {
            let (net, _link) = Net::new(UserNet::new(2).expect("a network"), [2, 0, 0, 0, 0, slot])
                .expect("a card");
            rig.add(slot, net);
        }
        DeviceKind::Block => {
            let image = tempfile::NamedTempFile::new().expect("a temporary file");
            image.as_file().set_len(SECTORS * 512).expect("room");
            let spec = DiskSpec {
                path: image.path().to_owned(),
                read_only: false,
            };
            rig.add(slot, Block::new(DiskImage::open(&spec).expect("an image")));
        }
        DeviceKind::Console => rig.add(slot, console()),
        DeviceKind::Entropy => rig.add(slot, Entropy::new(HostEntropy)),
    }
}

/// Two ports, the second with a name; what the guest prints comes back as input.
fn console() -> Console {
    let port = |name: Option<&str>| PortConfig {
        backend: Box::new(Echo::default()),
        name: name.map(str::to_owned),
    };
    Console::new(port(None), vec![port(Some("echo"))]).expect("good ports")
}

#[derive(Default)]
struct Echo(std::collections::VecDeque<u8>);

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
