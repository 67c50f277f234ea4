//! Where structures and virtqueues' addresses are (§4.1.4 of virtio 1.0).

use stickler_conformance::layout::Structure;
use stickler_guest_tests::in_process::devices::SECTORS;
use stickler_guest_tests::in_process::driver::Capability;
use stickler_guest_tests::in_process::{Driver, Interrupts};

use super::transport::{first, is_virtio};
use crate::cases;
use crate::conforming::works;

cases! {
    capabilities_stand_in_the_order_at_hand: CAPABILITY_ORDER on Block,
        |d| {
            let list = d.capabilities();
            let types: Vec<_> = list.iter().filter(|c| is_virtio(c)).map(|c| c.cfg_type).collect();
            assert_eq!(types, [1, 3, 4, 2, 5], "another order");
            works(d);
        },
        Stops "another order";
    capabilities_follow_one_another: SCATTERED_CAPABILITIES on Block,
        |d| {
            let list = d.capabilities();
            let virtio: Vec<_> = list.into_iter().filter(is_virtio).collect();
            let follow = |pair: &[Capability]| pair[0].at + u16::from(pair[0].cap_len) == pair[1].at;
            assert!(virtio.windows(2).all(follow), "another place");
            works(d);
        },
        Stops "another place";
    all_capabilities_are_known: FOREIGN_CAPABILITIES on Entropy,
        |d| {
            let known = |c: &Capability| matches!(c.id, 0x01 | 0x05 | 0x09 | 0x10 | 0x11);
            assert!(d.capabilities().iter().all(known), "an unknown capability");
            works(d);
        },
        Stops "an unknown capability";
    the_last_capability_is_as_good_as_the_first: RESERVED_LAST on Entropy,
        |d| {
            let list = d.capabilities();
            let common = list.into_iter().rfind(|c| c.presents(Structure::Common));
            assert!(common.expect("it is there").bar < 6, "no such BAR");
            works(d);
        },
        Stops "no such BAR";
    all_bars_are_in_memory: IO_INSTANCES on Block,
        |d| {
            // It finds the last of each, and takes a port for an address.
            d.find(d.capabilities().into_iter().rev());
            works(d);
        },
        Stops "nothing at";
    one_bar_has_all_structures: SEPARATE_BARS on Block,
        |d| {
            let bar = first(d, Structure::Common).bar;
            assert_eq!(first(d, Structure::Notify).bar, bar, "another BAR");
            works(d);
        },
        Stops "another BAR";
    the_msix_table_has_a_bar_to_itself: ONE_BAR on Block,
        |d| {
            let table = d.config_read(d.msix.expect("MSI-X") + 4, 1) as u8 & 7;
            assert_ne!(first(d, Structure::Common).bar, table, "the table is in the way");
            works(d);
        },
        Stops "the table is in the way";
    the_table_is_below_4_gib: WIDE_BARS on Block,
        |d| {
            let table = d.config_read(d.msix.expect("MSI-X") + 4, 1) as u16 & 7;
            let low = d.config_read(0x10 + 4 * table, 4);
            assert_eq!(low & 0b110, 0, "half of an address");
            works(d);
        },
        Stops "half of an address";
    structures_are_in_a_64_bit_bar: NARROW_BARS on Block,
        |d| {
            let bar = u16::from(first(d, Structure::Common).bar);
            assert_eq!(d.config_read(0x10 + 4 * bar, 4) & 0b110, 0b100, "another BAR type");
            works(d);
        },
        Stops "another BAR type";
    three_bits_of_a_bar_are_no_address: PREFETCHABLE_BAR on Block,
        |d| {
            let device = d.structures.get_mut(&Structure::Device.cfg_type()).expect("it is there");
            let bar = d.rig.config_read(d.slot, 0x10 + 4 * u16::from(device.bar), 4);
            device.address |= u64::from(bar & 0b1000);
            assert_eq!(d.read(Structure::Device, 0, 4), SECTORS, "another capacity");
            works(d);
        },
        Stops "another capacity";
    structures_have_pages_of_their_own: PACKED_STRUCTURES on Block,
        |d| {
            let whole = |place: &stickler_guest_tests::in_process::driver::Place| {
                place.offset.is_multiple_of(4096)
            };
            assert!(d.structures.values().all(whole), "no page boundary");
            works(d);
        },
        Stops "no page boundary";
    structures_are_at_the_beginning: DISTANT_STRUCTURES on Block,
        |d| {
            assert!(d.structures.values().all(|p| p.offset < 0x8000), "not mapped");
            works(d);
        },
        Stops "not mapped";
    bars_are_where_they_are: RELOCATED_BARS on Block,
        |d| {
            assert_eq!(d.bar_address(0), 0x40_0000_0000, "another address");
            works(d);
        },
        Stops "another address";
    queues_have_different_addresses: ONE_NOTIFY_ADDRESS on Net, notified_every_4_bytes,
        Stops "the queue stands still";
    addresses_are_4_bytes_apart: CLOSE_NOTIFY_ADDRESSES on Net, notified_every_4_bytes,
        Stops "the queue stands still";
    addresses_are_close: DISTANT_NOTIFY_ADDRESSES on Net, notified_every_4_bytes,
        Stops "the queue stands still";
    the_offset_is_the_index: NOTIFY_OFFSETS on Net, notified_every_4_bytes,
        Stops "the queue stands still";
    each_queue_has_its_offset: SAME_NOTIFY_OFFSET on Net, notified_every_4_bytes,
        Stops "the queue stands still";
}

/// Notifies queue `n` 4 * `n` bytes behind the beginning.
fn notified_every_4_bytes(d: &mut Driver<'_>) {
    d.initialize(0, Interrupts::Msix);
    let packet = d.packet(&Default::default(), &[0; 60]);
    let queue = d.queue(1);
    let head = queue.chain(&[packet]);
    queue.expose(head);
    d.rig
        .mmio_write(d.place(Structure::Notify).address + 4, 2, 1);
    d.rig.run();
    assert_eq!(d.queue(1).take_used().len(), 1, "the queue stands still");
}
