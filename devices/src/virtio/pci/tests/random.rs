//! Whatever a driver does, the device stays what it is.

use super::*;

/// A small generator of numbers that look random (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Any value, those near a limit more often.
    fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(17),
            1 => 0u64.wrapping_sub(self.below(17)),
            2 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

/// One access of any kind; then perhaps the worker's turn.
fn step(rig: &Rig, numbers: &mut Numbers, structures: &[u64]) {
    let mut data = numbers.value().to_le_bytes();
    let data = &mut data[..numbers.below(8) as usize + 1];
    match numbers.below(8) {
        // Configuration space; the BARs stay where they are.
        0 => {
            let offset = [0, 4, 0x28, 0x3c, 0x40][numbers.below(5) as usize] + numbers.below(4);
            rig.bus
                .mmio_write(ECAM + (u64::from(SLOT) << 15) + offset, data);
        }
        1 => {
            let offset = 0x40 + numbers.below(0xc8);
            rig.bus
                .mmio_write(ECAM + (u64::from(SLOT) << 15) + offset, data);
        }
        2 => {
            rig.bus
                .mmio_read(ECAM + (u64::from(SLOT) << 15) + numbers.below(0x1000), data);
        }
        3 => {
            let at = structures[numbers.below(structures.len() as u64) as usize];
            rig.bus.mmio_read(at + numbers.below(0x48), data);
        }
        // A sensible beginning, so that what follows meets a live device too.
        4 if numbers.below(16) == 0 => {
            wake_up(rig);
            rig.set(reg::DEVICE_STATUS, 0);
            rig.accept(features::VERSION_1 | numbers.value() & OFFERED);
            rig.enable_queue(0);
            rig.set(reg::DEVICE_STATUS, READY.into());
            rig.offer(0, numbers.below(20) as u16);
            rig.notify(0);
        }
        5 => {
            let at = numbers.below(0x4_0000);
            rig.write_memory(at, data);
        }
        _ => {
            let at = structures[numbers.below(structures.len() as u64) as usize];
            rig.bus.mmio_write(at + numbers.below(0x48), data);
        }
    }
    match numbers.below(8) {
        0 => {
            let _ = rig.function.service(Wake::Kick);
        }
        1 => {
            let _ = rig.function.service(Wake::Host(numbers.below(4) as usize));
        }
        _ => {}
    }
}

/// D0, memory space and bus mastering.
fn wake_up(rig: &Rig) {
    rig.config_write(rig.capabilities(1)[0] + 4, 2, 0);
    rig.config_write(4, 2, 0x6);
}

#[test]
fn no_sequence_of_accesses_does_harm() {
    use Structure::{Common, Device, Isr, Notify};
    let mut reached = std::collections::BTreeSet::new();
    for seed in 1..=8 {
        let rig = Rig::new();
        let mut structures: Vec<u64> = [Common, Isr, Device, Notify]
            .into_iter()
            .map(|structure| rig.address(structure))
            .collect();
        structures.push(rig.bar_address(2));
        let mut numbers = Numbers(seed);
        for _ in 0..5_000 {
            step(&rig, &mut numbers, &structures);
            rig.knobs.lock().unwrap().calls.clear();
        }
        // The group and the event in it; events of the data path have no group.
        let kind = |event: &String| {
            let words: Vec<&str> = event.split(['(', ')', ' ', '{']).take(2).collect();
            words.join("(")
        };
        reached.extend(rig.events().iter().map(kind));
        // And afterwards a driver that behaves is served: D0, enabled, and as after power-on.
        wake_up(&rig);
        rig.config_write(rig.msix() + 2, 2, 0);
        for queue in [0, 2] {
            for address in ring_addresses(queue) {
                rig.write_memory(address, &[0; 512]);
            }
        }
        rig.set(reg::DEVICE_STATUS, 0);
        rig.bring_up();
        rig.offer(2, 1);
        rig.notify(2);
        rig.work();
        assert_eq!(rig.used_idx(2), 1, "seed {seed}");
        assert!(rig.pin());
    }
    // The accesses led everywhere, not only to where nothing happens.
    for kind in [
        "Exposed(Buffer",
        "Status(NeedsReset",
        "Pci(WindowAccessed",
        "Pci(IsrRead",
        "Notification(Sent",
    ] {
        assert!(
            reached.contains(kind),
            "{kind} was not reached: {reached:?}"
        );
    }
}
