//! Guest memory that comes and goes while a device is live.

use std::sync::Arc;

use vm_memory::GuestRegionMmap;

use super::*;

impl Rig {
    fn change_memory(&mut self, ram: GuestRam) {
        self.ram = ram.clone();
        self.core.memory_changed(ram, &mut self.transport);
    }

    /// Takes a region away. Returns it.
    fn remove(&mut self, index: usize) -> Arc<GuestRegionMmap> {
        let (start, len) = REGIONS[index];
        let (ram, region) = self
            .ram
            .without_region(start, len as u64)
            .expect("it is there");
        self.change_memory(ram);
        region
    }

    /// Puts a fresh region to where one was.
    fn restore(&mut self, index: usize) {
        let (start, len) = REGIONS[index];
        let region = GuestRegionMmap::from_range(GuestAddress(start), len, None);
        let region = Arc::new(region.expect("small"));
        let ram = self.ram.with_region(region).expect("it is not there");
        self.change_memory(ram);
    }

    fn needs_reset(&mut self) -> bool {
        self.status() & status::DEVICE_NEEDS_RESET != 0
    }
}

#[test]
fn a_device_whose_rings_are_gone_lets_go_of_them_and_needs_a_reset() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.send(0, 1);
    rig.work();
    rig.transport.calls.clear();
    let region = rig.remove(1);
    assert!(rig.needs_reset());
    assert_eq!(
        rig.transport.calls,
        [Call::Interrupt(Interrupt::Configuration)]
    );
    // Nobody else keeps the memory mapped.
    assert_eq!(Arc::strong_count(&region), 1);
    // The other queue is not served any more.
    rig.send(0, 2);
    rig.work();
    assert_eq!(rig.used_idx(0), 1);
    // After a reset the queue that is still in memory can be used.
    rig.restore(1);
    rig.put(rings(0)[1] + 2, &[0; 2]);
    rig.put(rings(0)[2] + 2, &[0; 2]);
    rig.bring_up();
    rig.send(0, 1);
    rig.work();
    assert_eq!(rig.used_idx(0), 1);
}

#[test]
fn a_device_goes_on_while_its_rings_are_in_memory() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.send(0, 1);
    rig.work();
    // No ring is there, and no buffer in use.
    let region = rig.remove(2);
    assert!(!rig.needs_reset());
    assert_eq!(Arc::strong_count(&region), 1);
    rig.restore(2);
    rig.send(0, 2);
    rig.work();
    assert_eq!(rig.used_idx(0), 2);
    assert!(!rig.needs_reset());
}

#[test]
fn a_buffer_in_memory_that_is_gone_is_no_buffer() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.send(1, 1);
    // It vanishes before the device has taken it.
    rig.remove(2);
    rig.work();
    assert!(rig.needs_reset());
    assert_eq!(rig.used_idx(1), 0);
}

#[test]
fn rings_that_move_are_followed() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.send(1, 1);
    rig.work();
    // Other memory, at the same address, with the same content, in one step.
    let (start, len) = REGIONS[1];
    let mut content = vec![0; len];
    let slice = rig.ram.slice(start, len).expect("in memory");
    slice.copy_to(&mut content);
    let (without, old) = rig
        .ram
        .without_region(start, len as u64)
        .expect("it is there");
    let new = GuestRegionMmap::from_range(GuestAddress(start), len, None);
    let ram = without.with_region(Arc::new(new.expect("small")));
    let ram = ram.expect("nothing is there");
    ram.slice(start, len)
        .expect("in memory")
        .copy_from(&content);
    rig.change_memory(ram);
    assert!(!rig.needs_reset());
    assert_eq!((rig.used_idx(1), Arc::strong_count(&old)), (1, 1));
    rig.send(1, 2);
    rig.work();
    assert_eq!(rig.used_idx(1), 2);
}

#[test]
fn memory_may_change_before_a_queue_is_used() {
    let mut rig = Rig::new();
    let region = rig.remove(1);
    rig.set_status(0);
    rig.write(CoreRegister::DriverFeaturesSelect, 1);
    rig.write(CoreRegister::DriverFeatures, features::VERSION_1 >> 32);
    rig.set_status(DRIVER_OK & !status::DRIVER_OK);
    rig.enable_queue(1);
    assert_eq!(Arc::strong_count(&region), 1);
    rig.restore(1);
    rig.set_status(DRIVER_OK);
    assert!(!rig.needs_reset());
    rig.send(1, 1);
    rig.work();
    assert_eq!(rig.used_idx(1), 1);
}
