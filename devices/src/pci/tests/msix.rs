//! MSI-X: what the host is told, and when.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::Plain;
use crate::interrupt::{InterruptSink, MsiMessage};
use crate::pci::config::{ConfigSpace, capability, command};
use crate::pci::msix::{Msix, Place};

/// A vector that was signalled, and its message.
type Signalled = (u16, Option<(u64, u32)>);

/// A host that sends the message of a vector that is signalled.
#[derive(Default)]
struct Messages {
    keeps_masks: bool,
    routes: Mutex<BTreeMap<u16, MsiMessage>>,
    sent: Mutex<Vec<Signalled>>,
}

impl Messages {
    fn take(&self) -> Vec<Signalled> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

impl InterruptSink for Messages {
    fn route(&self, device: u8, vector: u16, message: Option<MsiMessage>) {
        assert_eq!(device, MSIX_SLOT);
        let mut routes = self.routes.lock().unwrap();
        let before = match message {
            Some(message) => routes.insert(vector, message),
            None => routes.remove(&vector),
        };
        assert_ne!(before, message, "only changes are told");
    }

    fn signal(&self, device: u8, vector: u16) {
        assert_eq!(device, MSIX_SLOT);
        let routes = self.routes.lock().unwrap();
        let message = routes.get(&vector).map(|m| (m.address, m.data));
        self.sent.lock().unwrap().push((vector, message));
    }

    fn set_pin(&self, _device: u8, _asserted: bool) {
        panic!("MSI-X does not touch the pin");
    }

    fn keeps_masks(&self) -> bool {
        self.keeps_masks
    }
}

/// The slot of the function whose MSI-X is tested.
const MSIX_SLOT: u8 = 5;

/// MSI-X with 3 vectors, and the configuration space that controls it.
fn msix() -> (Msix, ConfigSpace, u16) {
    let mut config = Plain::new().config.lock().unwrap().clone();
    let table = Place { bar: 1, offset: 0 };
    let pending = Place {
        bar: 1,
        offset: 0x800,
    };
    let (body, writable) = Msix::capability(3, table, pending);
    let at = config
        .add_capability(capability::MSI_X, &body, &writable)
        .unwrap();
    (Msix::new(3, at, MSIX_SLOT), config, u16::from(at))
}

#[test]
fn msix_capability_tells_table_and_pending_bits() {
    let (_, mut config, at) = msix();
    config.write(at, &[0xff; 12]);
    let mut data = [0; 12];
    config.read(at, &mut data);
    assert_eq!(data[0], 0x11);
    assert_eq!(data[2..4], 0xc002u16.to_le_bytes());
    assert_eq!(data[4..8], 1u32.to_le_bytes());
    assert_eq!(data[8..], 0x801u32.to_le_bytes());
}

#[test]
fn msix_waits_for_every_mask_to_go() {
    let (mut msix, mut config, at) = msix();
    let to = Messages::default();
    let pending = |msix: &Msix| {
        let mut data = [0; 8];
        msix.read_pending(0, &mut data);
        u64::from_le_bytes(data)
    };
    msix.write_table(16, &0xfee0_1007u64.to_le_bytes(), &to);
    msix.write_table(24, &0x41u32.to_le_bytes(), &to);

    // Not enabled: nothing happens and nothing is remembered.
    msix.request(1, &to);
    assert_eq!(pending(&msix), 0);

    // Enabled, but masked by vector, by function and by the command register.
    config.write(at + 2, &0xc000u16.to_le_bytes());
    msix.refresh(&config, &to);
    assert!(msix.enabled());
    msix.request(1, &to);
    msix.request(1, &to);
    msix.request(3, &to);
    msix.request(0xffff, &to);
    assert_eq!(pending(&msix), 0b10);
    msix.write_table(28, &0u32.to_le_bytes(), &to);
    assert_eq!(pending(&msix), 0b10);
    config.write(at + 2, &0x8000u16.to_le_bytes());
    msix.refresh(&config, &to);
    assert_eq!(pending(&msix), 0b10);
    assert_eq!(to.take(), []);
    config.write(4, &command::BUS_MASTER.to_le_bytes());
    msix.refresh(&config, &to);
    assert_eq!(
        to.take(),
        [(1, Some((0xfee0_1004, 0x41)))],
        "once, however often requested"
    );
    assert_eq!(pending(&msix), 0);

    // Nothing in the way.
    msix.request(1, &to);
    assert_eq!(to.take(), [(1, Some((0xfee0_1004, 0x41)))]);

    // Delivered on unmask of the vector.
    msix.write_table(28, &1u32.to_le_bytes(), &to);
    msix.request(1, &to);
    assert_eq!(to.take(), []);
    msix.write_table(28, &[0], &to);
    assert_eq!(to.take(), [(1, Some((0xfee0_1004, 0x41)))]);

    // What is cleared does not come.
    msix.write_table(28, &[1], &to);
    msix.request(1, &to);
    msix.clear_pending();
    msix.write_table(28, &[0], &to);
    assert_eq!(to.take(), []);
}

#[test]
fn a_host_that_keeps_the_masks_gets_every_vector() {
    let (mut msix, mut config, at) = msix();
    let to = Messages {
        keeps_masks: true,
        ..Messages::default()
    };
    // Nothing is sent before MSI-X is enabled and the function may send.
    msix.request(2, &to);
    config.write(at + 2, &0x8000u16.to_le_bytes());
    msix.refresh(&config, &to);
    msix.request(2, &to);
    assert_eq!(to.take(), []);
    config.write(4, &command::BUS_MASTER.to_le_bytes());
    msix.refresh(&config, &to);
    assert_eq!(to.take(), [(2, None)]);
    // The device's own table has all vectors masked, and no messages.
    msix.request(0, &to);
    msix.request(3, &to);
    assert_eq!(to.take(), [(0, None)]);
}

#[test]
fn the_host_knows_the_message_of_each_vector_that_can_be_signalled() {
    let (mut msix, mut config, at) = msix();
    let to = Messages::default();
    let data = |vector| Some(to.routes.lock().unwrap().get(&vector)?.data);
    msix.write_table(8, &0x41u64.to_le_bytes(), &to);
    assert_eq!(data(0), None);
    config.write(at + 2, &0x8000u16.to_le_bytes());
    msix.refresh(&config, &to);
    assert_eq!((data(0), data(1)), (Some(0x41), None));
    msix.write_table(8, &0x42u32.to_le_bytes(), &to);
    assert_eq!(data(0), Some(0x42));
    for (control, known) in [(0xc000_u16, None), (0x8000, Some(0x42)), (0, None)] {
        config.write(at + 2, &control.to_le_bytes());
        msix.refresh(&config, &to);
        assert_eq!(data(0), known);
    }
}

#[test]
fn msix_table_keeps_reserved_bits_0() {
    let (mut msix, _, _) = msix();
    let to = Messages::default();
    for offset in (0..64).step_by(8) {
        msix.write_table(offset, &[0xff; 8], &to);
    }
    let mut entry = [0; 16];
    msix.read_table(32, &mut entry[..8]);
    msix.read_table(40, &mut entry[8..]);
    assert_eq!(entry[..4], 0xffff_fffcu32.to_le_bytes());
    assert_eq!(entry[12..], 1u32.to_le_bytes());
    // Behind the last entry there is nothing.
    msix.read_table(48, &mut entry[..8]);
    assert_eq!(entry[..8], [0; 8]);
}
