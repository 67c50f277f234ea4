//! Accesses arrive as the guest made them.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};
use stickler_conformance::layout::COMMON;
use stickler_conformance::{DeviceKind, Tallies};
use stickler_devices::pci::{Decoded, MsixTable, PciFunction, msix::Place};
use stickler_devices::virtio::{Progress, Wake};
use stickler_vfio_user::wire::{irq, region};

use super::super::*;
use super::{KEPT, Served};

/// A function that remembers how it was accessed.
struct Recording {
    accessed: Mutex<Vec<Accessed>>,
    kick: OwnedFd,
}

/// BAR (or configuration space), offset, bytes that were written or the number of those that were read.
type Accessed = (Option<u8>, u64, Result<Vec<u8>, usize>);

impl Recording {
    fn new() -> Self {
        Recording {
            accessed: Mutex::default(),
            kick: eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd"),
        }
    }

    fn note(&self, accessed: Accessed) {
        self.accessed.lock().expect("no panic").push(accessed);
    }

    fn take(&self) -> Vec<Accessed> {
        std::mem::take(&mut self.accessed.lock().expect("no panic"))
    }
}

impl PciFunction for Recording {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.note((None, offset.into(), Err(data.len())));
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.note((None, offset.into(), Ok(data.to_vec())));
    }

    fn decoded(&self) -> Vec<Decoded> {
        Vec::new()
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.note((Some(bar), offset, Err(data.len())));
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        self.note((Some(bar), offset, Ok(data.to_vec())));
    }
}

impl DetachedFunction for Recording {
    fn config_shown(&self, _offset: u16, _data: &mut [u8]) {}

    fn bar_len(&self, bar: u8) -> u64 {
        [4096, 0, 0, 0, 1 << 20, 0][usize::from(bar)]
    }

    fn msix_table(&self) -> Option<MsixTable> {
        Some(MsixTable {
            vectors: 2048,
            place: Place { bar: 4, offset: 0 },
        })
    }

    fn outside_reset(&self) {}
}

impl Serviced for Recording {
    fn id(&self) -> DeviceId {
        DeviceId {
            slot: 3,
            kind: DeviceKind::Block,
        }
    }

    fn kick_fd(&self) -> RawFd {
        self.kick.as_raw_fd()
    }

    fn host_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn is_live(&self) -> bool {
        false
    }

    fn service(&self, _wake: Wake) -> Progress {
        Progress::Done
    }

    fn memory_changed(&self, _ram: GuestRam) {}

    fn run_ended(&self, _by_guest: bool) {}

    fn was_taken(&self) -> bool {
        false
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

#[test]
fn every_width_at_every_field_arrives_as_it_was_made() {
    let recording = Arc::new(Recording::new());
    let served = Served::of(KEPT, |_, _, _| recording.clone());
    let mut client = served.client();
    assert_eq!(client.region_len(4).expect("told"), 1 << 20);
    assert_eq!(client.irq_info(irq::MSIX).expect("told").1, 2048);
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
    for field in COMMON {
        for at in field.offset..field.offset + u32::from(field.width) {
            for width in 1..=8_usize {
                let at = u64::from(at);
                client.read(0, at, width as u32).expect("inside");
                client.write(4, at, &bytes[..width]).expect("inside");
                client.post(0, at, &bytes[..width]).expect("sent");
                client.read(0, 4095, 1).expect("inside");
                let seen = [
                    (Some(0), at, Err(width)),
                    (Some(4), at, Ok(bytes[..width].to_vec())),
                    (Some(0), at, Ok(bytes[..width].to_vec())),
                    (Some(0), 4095, Err(1)),
                ];
                assert_eq!(recording.take(), seen);
            }
        }
    }
    // Configuration space is accessed in aligned pieces, as on any bus.
    client.config(0x3d, 2).expect("inside");
    client
        .write(region::CONFIG, 0x41, &[1, 2, 3])
        .expect("inside");
    let seen = [
        (None, 0x3d, Err(1)),
        (None, 0x3e, Err(1)),
        (None, 0x41, Ok(vec![1])),
        (None, 0x42, Ok(vec![2, 3])),
    ];
    assert_eq!(recording.take(), seen);
    served.end();
}
