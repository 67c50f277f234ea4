//! The PCI function and its interrupts (§4.1 of virtio 1.0).

use stickler_conformance::features::console;
use stickler_conformance::layout::{NO_VECTOR, Structure, common};
use stickler_guest_tests::in_process::block::kind;
use stickler_guest_tests::in_process::driver::Capability;
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;
use crate::conforming::works;

cases! {
    the_revision_is_that_of_the_device_at_hand: ANY_REVISION on Entropy,
        |d| {
            assert_eq!(d.config_read(8, 1), 1, "an unknown revision");
            works(d);
        },
        Stops "an unknown revision";
    the_subsystem_is_that_of_the_device_at_hand: ANY_SUBSYSTEM on Entropy,
        |d| {
            assert_eq!(d.config_read(0x2c, 2), 0x1af4, "an unknown subsystem");
            works(d);
        },
        Stops "an unknown subsystem";
    modern_devices_have_modern_ids: TRANSITIONAL_ID on Block,
        |d| {
            assert!(d.config_read(2, 2) >= 0x1040, "a legacy device");
            works(d);
        },
        Stops "a legacy device";
    all_cfg_types_are_known: RESERVED_CFG_TYPE on Entropy,
        |d| {
            let known = |c: &Capability| !is_virtio(c) || (1..=5).contains(&c.cfg_type);
            assert!(d.capabilities().iter().all(known), "an unknown cfg_type");
            works(d);
        },
        Stops "an unknown cfg_type";
    all_bars_exist: RESERVED_BAR on Entropy,
        |d| {
            let common = first(d, Structure::Common);
            assert!(common.bar < 6, "no such BAR");
            works(d);
        },
        Stops "no such BAR";
    cap_len_is_what_the_fields_need: LONG_CAPABILITIES on Entropy,
        |d| {
            let known = |c: &Capability| !is_virtio(c) || c.cap_len == needed(c);
            d.find(d.capabilities().into_iter().filter(known));
            assert!(d.structures.contains_key(&1), "no common configuration");
            works(d);
        },
        Stops "no common configuration";
    any_instance_will_do: SECOND_INSTANCES on Block,
        |d| {
            // The last of each type is found first.
            d.find(d.capabilities().into_iter().rev());
            works(d);
        },
        Breaks "pci.capability.first-instance";
    structures_are_as_large_as_they_have_to_be: OVERSIZED_STRUCTURES on Block,
        |d| {
            assert_eq!(d.place(Structure::Common).len, common::LEN, "another structure");
            works(d);
        },
        Stops "another structure";
    there_is_a_vector_for_each_queue: ONE_VECTOR on Block,
        |d| {
            assert!(d.vectors() > d.num_queues(), "too few vectors");
            works(d);
        },
        Stops "too few vectors";
    there_are_no_more_vectors_than_i_have_room_for: MOST_VECTORS on Block,
        |d| {
            assert!(d.vectors() <= 64, "too many vectors");
            works(d);
        },
        Stops "too many vectors";
    a_vector_that_is_written_is_mapped: REFUSED_VECTORS on Net, |d| interrupted_without_looking(d, true),
        Stops "no interrupt";
    there_is_msix: NO_MSIX on Entropy,
        |d| {
            assert!(d.msix.is_some(), "no MSI-X");
            works(d);
        },
        Stops "no MSI-X";
    there_are_as_many_vectors_as_i_know: SOME_VECTORS on Entropy,
        |d| {
            assert_eq!(d.vectors(), 2, "another number of vectors");
            works(d);
        },
        Stops "another number of vectors";
    msix_that_is_there_works: NO_VECTOR_MAPS on Net, |d| interrupted_without_looking(d, false),
        Stops "no interrupt";
    there_are_no_queues_but_mine: MORE_QUEUES on Console,
        |d| {
            d.negotiate(console::MULTIPORT);
            let ports = d.read(Structure::Device, 4, 4) as u16;
            assert_eq!(d.num_queues(), 2 * (ports + 1), "another number of queues");
            works(d);
        },
        Stops "another number of queues";
    an_interrupt_has_one_cause: SHARED_INTERRUPTS on Block, |d| handles(d, |isr| if isr == 3 { 2 } else { isr }),
        Stops "the device returns nothing", copes with |d| handles(d, |isr| isr);
    an_interrupt_for_a_queue_is_nothing_else: SHARED_INTERRUPTS on Block,
        |d| handles(d, |isr| isr & 1),
        Misses "interrupt.shared", copes with |d| handles(d, |isr| isr);
}

/// Whether it is one of virtio, as far as its id tells.
pub(super) fn is_virtio(capability: &Capability) -> bool {
    capability.id == 0x09
}

/// `cap_len` of a capability of virtio without spare bytes.
fn needed(capability: &Capability) -> u8 {
    let more = capability.presents(Structure::Notify) || capability.presents(Structure::PciCfg);
    if more { 20 } else { 16 }
}

/// The first capability that presents `structure`.
pub(super) fn first(d: &Driver<'_>, structure: Structure) -> Capability {
    let list = d.capabilities();
    let found = list.into_iter().find(|c| c.presents(structure));
    found.expect("there is one")
}

/// Maps queue 1 to a vector of its own, and before that other events to others, if there are to be
/// several, without looking whether that is possible; and waits for an interrupt.
fn interrupted_without_looking(d: &mut Driver<'_>, several: bool) {
    let vector = 2;
    d.negotiate(0);
    d.enable_msix();
    // It maps the queue by itself.
    d.interrupts = Interrupts::Intx;
    d.set_up_queues(64);
    // It reads what it has written, as it has been told, and does not look at it.
    let map = |field, vector| {
        d.set_common(field, vector);
        let _ = d.common(field);
    };
    if several {
        map(common::MSIX_CONFIG, 0);
        d.select_queue(0);
        map(common::QUEUE_MSIX_VECTOR, 1);
    }
    d.select_queue(1);
    map(common::QUEUE_MSIX_VECTOR, vector);
    d.go();
    d.rig.interrupts.take_messages();
    d.transmit(1, &Default::default(), &[0; 60]);
    let messages = d.rig.interrupts.take_messages();
    assert!(messages.contains(&vector), "no interrupt");
}

/// Reads a disk without MSI-X, and after each interrupt handles the causes that `causes` makes of ISR
/// status: bit 0 for the queue, bit 1 for the configuration.
fn handles(d: &mut Driver<'_>, causes: fn(u64) -> u64) {
    d.negotiate(0);
    d.disable_msix();
    d.interrupts = Interrupts::Intx;
    d.set_up_queues(64);
    d.set_common(common::MSIX_CONFIG, u32::from(NO_VECTOR));
    d.go();
    let at = d.rig.allocate(512);
    let request = d.block_request(kind::IN, 7, &[Buffer::writable(at, 512)]);
    for _ in 0..80 {
        d.submit(0, &request);
        let mut returned = false;
        for _ in 0..2000 {
            let causes = causes(d.read(Structure::Isr, 0, 1));
            if causes & 2 != 0 {
                d.consistently(|d| d.read(Structure::Device, 0, 4));
            }
            if causes & 1 != 0 && !d.queue(0).take_used().is_empty() {
                returned = true;
                break;
            }
            d.rig.run();
        }
        assert!(returned, "the device returns nothing");
    }
}
