//! ISR status, the interrupt pin and MSI-X (§4.1.4.5, §4.1.5.1.2, §4.1.5.3, §4.1.5.4 of virtio 1.0).

use stickler_conformance::layout::NO_VECTOR;
use stickler_conformance::{Latitude, Latitudes};

use super::*;

fn use_buffer(rig: &Rig, queue: u16, count: u16) {
    rig.offer(queue, count);
    rig.notify(queue);
    rig.work();
}

fn change_config(rig: &Rig) {
    rig.knobs.lock().unwrap().config = Some(vec![0x33; 12]);
    rig.host_ready();
}

#[test]
fn used_buffers_assert_the_pin_until_isr_is_read() {
    let rig = Rig::new();
    rig.bring_up();
    assert!(!rig.interrupt_status());
    use_buffer(&rig, 0, 1);
    assert!(rig.pin());
    assert!(rig.interrupt_status());
    use_buffer(&rig, 2, 1);
    assert!(rig.pin());
    rig.events();
    assert_eq!(rig.read(Structure::Isr, 0, 1), 1);
    assert_eq!(
        rig.events(),
        [
            "Register(Read(Register { structure: Isr, offset: 0, width: 1, value: 1 }))",
            "Pci(IsrRead { value: 1, msix_enabled: false })",
        ]
    );
    assert!(!rig.pin());
    assert!(!rig.interrupt_status());
    assert_eq!(rig.read(Structure::Isr, 0, 1), 0);
    assert_eq!(rig.messages(), []);
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let rig = Rig::new();
    rig.bring_up();
    rig.write_memory(ring_addresses(0)[1], &[1, 0]);
    use_buffer(&rig, 0, 1);
    assert_eq!(rig.used_idx(0), 1);
    assert!(!rig.pin());
}

#[test]
fn interrupt_disable_gates_the_pin_and_not_the_status() {
    let rig = Rig::new();
    rig.bring_up();
    rig.config_write(4, 2, 0x406);
    use_buffer(&rig, 0, 1);
    assert!(!rig.pin());
    assert!(rig.interrupt_status());
    rig.config_write(4, 2, 0x006);
    assert!(rig.pin());
    rig.config_write(4, 2, 0x406);
    assert!(!rig.pin());
    rig.config_write(4, 2, 0x006);
    // A reset takes it away as well.
    rig.set(reg::DEVICE_STATUS, 0);
    assert!(!rig.pin());
    assert!(!rig.interrupt_status());
}

#[test]
fn isr_status_cannot_be_written() {
    let rig = Rig::new();
    rig.write(Structure::Isr, 0, 1, 3);
    assert!(!rig.pin());
    assert_eq!(rig.read(Structure::Isr, 0, 1), 0);
}

#[test]
fn configuration_changes_interrupt_after_driver_ok_only() {
    let rig = Rig::new();
    rig.read(Structure::Device, 0, 1);
    change_config(&rig);
    assert_eq!(rig.get(reg::CONFIG_GENERATION), 1);
    assert!(!rig.pin());
    assert_eq!(rig.read(Structure::Isr, 0, 1), 0);
    rig.bring_up();
    change_config(&rig);
    assert!(rig.pin());
    use_buffer(&rig, 0, 1);
    assert_eq!(rig.read(Structure::Isr, 0, 1), 3, "both in one");
}

#[test]
fn needs_reset_is_told_to_the_driver_after_driver_ok_only() {
    let rig = Rig::new();
    rig.knobs.lock().unwrap().needs_reset = true;
    rig.host_ready();
    assert_eq!(rig.events(), ["Status(NeedsReset)"]);
    assert_eq!(rig.status(), status::DEVICE_NEEDS_RESET);
    assert!(!rig.pin());
    rig.bring_up();
    rig.knobs.lock().unwrap().needs_reset = true;
    rig.host_ready();
    assert_eq!(rig.status(), READY | status::DEVICE_NEEDS_RESET);
    assert!(rig.pin());
    assert_eq!(rig.read(Structure::Isr, 0, 1), 2);
}

#[test]
fn vectors_map_and_unmap() {
    let rig = Rig::new();
    rig.set(reg::QUEUE_SELECT, 2);
    for register in [reg::MSIX_CONFIG, reg::QUEUE_MSIX_VECTOR] {
        assert_eq!(rig.get(register), 0xffff);
        for (written, mapped) in [
            (3, 3),
            (0, 0),
            (4, 0xffff),
            (1, 1),
            (0x7ff, 0xffff),
            (2, 2),
            (0xffff, 0xffff),
        ] {
            rig.set(register, written);
            assert_eq!(rig.get(register), mapped);
        }
    }
    rig.events();
    rig.set(reg::QUEUE_MSIX_VECTOR, 9);
    rig.get(reg::QUEUE_MSIX_VECTOR);
    assert_eq!(
        rig.meanings(),
        [
            "Pci(VectorWritten { queue: Some(2), value: 9, vectors: 4, enabled: false })",
            "Pci(VectorRead { queue: Some(2), value: 65535 })",
        ]
    );
}

#[test]
fn each_event_comes_by_its_vector() {
    let rig = Rig::new();
    rig.enable_msix();
    rig.bring_up();
    use_buffer(&rig, 0, 1);
    change_config(&rig);
    assert_eq!(rig.messages(), [], "nothing is mapped");
    for (queue, vector) in [(0, 1), (2, 2)] {
        rig.set(reg::QUEUE_SELECT, queue);
        rig.set(reg::QUEUE_MSIX_VECTOR, vector);
    }
    rig.set(reg::MSIX_CONFIG, 0);
    use_buffer(&rig, 0, 2);
    assert_eq!(rig.messages(), [(0xfee0_0000, 0x41)]);
    use_buffer(&rig, 2, 1);
    assert_eq!(rig.messages(), [(0xfee0_0000, 0x42)]);
    change_config(&rig);
    assert_eq!(rig.messages(), [(0xfee0_0000, 0x40)]);
    assert!(!rig.pin());
    assert!(!rig.interrupt_status());
    // Only the configuration bit is set with MSI-X.
    rig.events();
    assert_eq!(rig.read(Structure::Isr, 0, 1), 2);
    assert!(
        rig.events()
            .contains(&"Pci(IsrRead { value: 2, msix_enabled: true })".into())
    );
}

#[test]
fn masked_vectors_wait_and_show_as_pending() {
    let rig = Rig::new();
    rig.enable_msix();
    rig.bring_up();
    rig.set(reg::QUEUE_SELECT, 0);
    rig.set(reg::QUEUE_MSIX_VECTOR, 1);
    let table = rig.bar_address(2);
    let offset = rig.config_read(rig.msix() + 8, 4);
    let pending = || {
        let mut data = [0; 8];
        let at = rig.bar_address(offset & 7) + u64::from(offset & !7);
        assert!(rig.bus.mmio_write(at, &[0xff; 8]), "which does nothing");
        assert!(rig.bus.mmio_read(at, &mut data));
        u64::from_le_bytes(data)
    };
    assert!(rig.bus.mmio_write(table + 16 + 12, &1u32.to_le_bytes()));
    use_buffer(&rig, 0, 1);
    assert_eq!((rig.messages(), pending()), (vec![], 0b10));
    assert!(rig.bus.mmio_write(table + 16 + 12, &0u32.to_le_bytes()));
    assert_eq!((rig.messages(), pending()), (vec![(0xfee0_0000, 0x41)], 0));

    let control = rig.msix() + 2;
    rig.config_write(control, 2, 0xc000);
    use_buffer(&rig, 0, 2);
    assert_eq!((rig.messages(), pending()), (vec![], 0b10));
    rig.config_write(control, 2, 0x8000);
    assert_eq!((rig.messages(), pending()), (vec![(0xfee0_0000, 0x41)], 0));

    // A reset takes back what is pending.
    rig.config_write(control, 2, 0xc000);
    use_buffer(&rig, 0, 3);
    rig.set(reg::DEVICE_STATUS, 0);
    rig.config_write(control, 2, 0x8000);
    assert_eq!((rig.messages(), pending()), (vec![], 0));
}

#[test]
fn msix_takes_over_from_the_pin() {
    let rig = Rig::new();
    rig.bring_up();
    use_buffer(&rig, 0, 1);
    assert!(rig.pin());
    rig.enable_msix();
    assert!(!rig.pin());
    assert!(!rig.interrupt_status());
    rig.config_write(rig.msix() + 2, 2, 0);
    assert!(rig.pin());
    assert!(rig.interrupt_status());
}

fn making_use_of(latitude: Latitude) -> Rig {
    Rig::with(&Options {
        latitudes: Latitudes::default().with(latitude),
        ..Options::default()
    })
}

/// Maps an event (a queue, or configuration changes) to `vector`; returns to what it is mapped then.
fn map(rig: &Rig, queue: Option<u16>, vector: u16) -> u16 {
    let field = match queue {
        None => reg::MSIX_CONFIG,
        Some(queue) => {
            rig.write(Structure::Common, reg::QUEUE_SELECT, 2, queue.into());
            reg::QUEUE_MSIX_VECTOR
        }
    };
    rig.write(Structure::Common, field, 2, vector.into());
    rig.read(Structure::Common, field, 2) as u16
}

#[test]
fn a_vector_is_refused_for_want_of_resources_and_for_nothing_else() {
    let rig = making_use_of(Latitude::REFUSED_VECTORS);
    // Whichever they are, there are two.
    assert_eq!(map(&rig, None, 2), 2);
    assert_eq!(map(&rig, Some(0), 1), 1);
    assert_eq!(map(&rig, Some(2), 0), NO_VECTOR);
    assert_eq!(map(&rig, Some(2), 2), 2);
    // One who moves on leaves its own behind, if nobody else needs it.
    assert_eq!(map(&rig, Some(0), 0), 0);
    assert_eq!(map(&rig, None, 1), NO_VECTOR);
    assert_eq!(map(&rig, Some(2), NO_VECTOR), NO_VECTOR);
    assert_eq!(map(&rig, None, 1), 1);
}

#[test]
fn where_no_vector_can_be_mapped_it_can_in_the_next_life() {
    let rig = making_use_of(Latitude::NO_VECTOR_MAPS);
    for life in 0..4 {
        let expected = if life % 2 == 0 { NO_VECTOR } else { 1 };
        // An initialization that comes to nothing is no life.
        for _ in 0..2 {
            rig.write(Structure::Common, reg::DEVICE_STATUS, 1, 0);
            assert_eq!(map(&rig, Some(0), 1), expected, "life {life}");
        }
        rig.bring_up();
    }
}
