//! Configuration of virtqueues (§2.4, §4.1.4.3, §4.1.5.1.3 of virtio 1.0).

use stickler_conformance::DeviceKind::{Console, Entropy, Net};
use stickler_conformance::event::{QueueArea, QueueEvent, QueueSetup, SplitSetup};
use stickler_conformance::features::{VERSION_1, net};
use stickler_conformance::layout::status::DRIVER_OK;

use crate::parts::{MAX_SIZE, setup};
use crate::play::Play;
use crate::table::{Case, case};

/// The content of the used ring's memory when the driver enables the queue.
fn used_ring(setup: &mut QueueSetup) -> &mut SplitSetup {
    setup.split.as_mut().expect("a split virtqueue")
}

pub const CASES: &[Case] = &[
    case("queue.exists", Entropy, |p| {
        p.negotiate(p.offered);
        p.write_enable(1, 1, None);
    }),
    case("queue.size.power-of-two", Entropy, |p| {
        p.negotiate(p.offered);
        p.write_size(0, 24);
    }),
    case("queue.size.at-most-offered", Entropy, |p| {
        p.negotiate(p.offered);
        p.write_size(0, 2 * MAX_SIZE);
    }),
    // What was read before the reset may have changed.
    case("queue.size.read", Entropy, |p| {
        p.negotiate(p.offered);
        p.configure(0);
        p.negotiate(p.offered);
        p.write_address(0, QueueArea::Descriptor, setup(0).descriptor);
        p.write_address(0, QueueArea::Driver, setup(0).driver);
        p.write_address(0, QueueArea::Device, setup(0).device);
        p.enable(setup(0), 0);
    }),
    case("queue.size.not-zero", Entropy, |p| {
        enable_with(p, |s| s.size = 0);
    }),
    case("queue.align.descriptor-table", Entropy, |p| {
        enable_with(p, |s| s.descriptor += 8);
    }),
    case("queue.align.available-ring", Entropy, |p| {
        enable_with(p, |s| s.driver += 1);
    }),
    case("queue.align.used-ring", Entropy, |p| {
        enable_with(p, |s| s.device += 2);
    }),
    case("queue.in-memory", Entropy, |p| {
        enable_with(p, |s| s.in_memory = false);
    }),
    case("queue.parts-apart", Entropy, |p| {
        enable_with(p, |s| s.driver = s.descriptor + 16 * u64::from(s.size) - 2);
    }),
    case("queue.queues-apart", Net, |p| {
        p.negotiate(p.offered);
        p.configure(0);
        p.configure(1);
        p.enable(setup(0), 0);
        let device = setup(0).device + 8;
        p.enable(QueueSetup { device, ..setup(1) }, 1);
    }),
    case("queue.used-flags-zero", Entropy, |p| {
        enable_with(p, |s| used_ring(s).used_flags = 1);
    }),
    case("queue.used-idx-zero", Entropy, |p| {
        enable_with(p, |s| used_ring(s).used_idx = 3);
    }),
    case("queue.enable.configured", Entropy, |p| {
        p.negotiate(p.offered);
        p.see(QueueEvent::SizeRead { queue: 0 });
        p.write_size(0, setup(0).size);
        p.write_address(0, QueueArea::Descriptor, setup(0).descriptor);
        p.write_address(0, QueueArea::Driver, setup(0).driver);
        p.enable(setup(0), 0);
        p.write_address(0, QueueArea::Device, setup(0).device);
    }),
    case("queue.enable.size-fixed", Entropy, |p| {
        p.boot();
        p.write_size(0, 8);
    }),
    case("queue.enable.address-fixed", Entropy, |p| {
        p.boot();
        p.write_address(0, QueueArea::Device, setup(0).device + 16);
    }),
    case("queue.enable.not-zero", Entropy, |p| {
        p.boot();
        let enabled = true;
        p.write_enable(
            0,
            0,
            Some(QueueSetup {
                enabled,
                ..setup(0)
            }),
        );
    }),
    case("queue.enable.value", Entropy, |p| {
        p.negotiate(p.offered);
        p.configure(0);
        p.write_enable(0, 0x101, Some(setup(0)));
    }),
    case("queue.enable.once", Entropy, |p| {
        p.boot();
        let enabled = true;
        p.enable(
            QueueSetup {
                enabled,
                ..setup(0)
            },
            0,
        );
    }),
    case("queue.enable.after-features-ok", Entropy, |p| {
        p.found_device();
        p.configure(0);
        p.enable(setup(0), 0);
    }),
    case("queue.enable.before-driver-ok", Entropy, |p| {
        p.negotiate(p.offered);
        p.configure(0);
        p.add_status(DRIVER_OK);
        p.enable(setup(0), 0);
    }),
    case("net.queue.negotiated", Net, |p| {
        p.boot_and_enable_2(VERSION_1 | net::MAC);
    }),
    case("net.queue.pairs-negotiated", Net, |p| {
        p.negotiate(VERSION_1 | net::MAC | net::CTRL_VQ);
        p.configure(3);
        p.enable(setup(3), 3);
    }),
    case("console.queue.negotiated", Console, |p| {
        p.boot_and_enable_2(VERSION_1);
    }),
];

fn enable_with(p: &mut Play, change: fn(&mut QueueSetup)) {
    p.negotiate(p.offered);
    p.configure(0);
    let mut setup = setup(0);
    change(&mut setup);
    p.enable(setup, 0);
}

impl Play {
    fn boot_and_enable_2(&mut self, accepted: u64) {
        self.negotiate(accepted);
        self.configure(2);
        self.enable(setup(2), 2);
    }
}

#[test]
fn zero_may_be_written_to_queue_size_and_to_queue_enable_of_a_disabled_queue() {
    let mut p = Play::new(Entropy);
    p.negotiate(p.offered);
    p.write_size(0, 0);
    p.write_enable(0, 0, Some(setup(0)));
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn an_enabled_queues_registers_may_be_written_with_what_they_hold() {
    let mut p = Play::new(Entropy);
    p.boot();
    p.write_size(0, setup(0).size);
    for address in [setup(0).descriptor; 2] {
        p.see(QueueEvent::AddressWritten {
            queue: 0,
            area: QueueArea::Descriptor,
            address,
        });
    }
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_queue_that_does_not_exist_has_no_size_to_write() {
    let mut p = Play::new(Entropy);
    p.negotiate(p.offered);
    p.see(QueueEvent::SizeWritten {
        queue: 7,
        value: 16,
        max: 0,
    });
    assert_eq!(p.found(), ["queue.exists"]);
}

#[test]
fn further_pairs_may_be_enabled_when_they_are_needed() {
    let mut p = Play::new(Net);
    p.boot_with(p.offered);
    p.configure(5);
    p.enable(setup(5), 5);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_reset_gives_the_rings_memory_back() {
    let mut p = Play::new(Net);
    p.boot();
    p.negotiate(p.offered);
    p.configure(1);
    p.enable(setup(0), 1);
    assert_eq!(p.messages(), [""; 0]);
}
