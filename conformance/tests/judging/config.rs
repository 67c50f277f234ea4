//! The device-specific configuration (§2.3, §4.1.3, §5 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Console, Net};
use stickler_conformance::features::{block, console};
use stickler_conformance::layout::Structure::Device;
use stickler_conformance::layout::status::ACKNOWLEDGE;

use crate::play::Play;
use crate::table::{Case, case, may};

pub const CASES: &[Case] = &[
    // A 16-bit read over two 8-bit fields.
    case("config.width.8-bit", Block, |p| {
        p.boot();
        p.read(Device, p.field("geometry.heads").offset, 2);
    }),
    case("config.width.16-bit", Net, |p| {
        p.boot();
        p.read(Device, p.field("status").offset, 1);
    }),
    case("config.width.32-bit", Block, |p| {
        p.boot();
        p.read(Device, p.field("blk_size").offset, 2);
    }),
    case("config.width.64-bit", Block, |p| {
        p.boot();
        p.read_generation();
        p.read(Device, 0, 8);
        p.read_generation();
    }),
    may("config.width.halves", Block, |p| {
        p.boot();
        p.read(Device, 4, 4);
    }),
    case("config.optional.offered", Block, |p| {
        *p = Play::offering(Block, block::FLUSH);
        p.boot();
        p.read(Device, p.field("seg_max").offset, 4);
    }),
    case("config.optional.checked", Console, |p| {
        p.write(Device, p.field("emerg_wr").offset, 4, b'!'.into());
    }),
    may("config.early-read", Block, |p| {
        p.found_device();
        p.read_features();
        p.read_config(|f| f.name != "writeback");
    }),
    case("config.no-early-write", Block, |p| {
        p.found_device();
        p.read_features();
        p.write(Device, p.field("writeback").offset, 1, 0);
    }),
    case("config.generation", Block, |p| {
        p.boot();
        p.read_generation();
        p.read_field(p.field("capacity"));
        p.reset();
    }),
    case("net.config.read-only", Net, |p| {
        p.boot();
        p.write(Device, 0, 1, 2);
    }),
    case("block.config.read-only", Block, |p| {
        p.boot();
        p.write(Device, p.field("size_max").offset, 4, 512);
    }),
    case("console.config.read-only", Console, |p| {
        p.boot();
        p.write(Device, p.field("cols").offset, 2, 80);
    }),
    case("block.config.writeback-read-early", Block, |p| {
        p.found_device();
        p.read_features();
        p.read_field(p.field("writeback"));
    })
    .keep(|p| {
        p.boot();
        p.read_field(p.field("writeback"));
    }),
    case("block.config.writeback-negotiated", Block, |p| {
        p.boot_with(p.offered & !block::CONFIG_WCE);
        write_through(p, 0);
    })
    .keep(switch),
    case("block.config.writeback-value", Block, |p| {
        p.boot();
        write_through(p, 2);
    })
    .keep(switch),
    may("block.config.writeback-switch", Block, switch),
];

fn write_through(p: &mut Play, value: u64) {
    p.write(Device, p.field("writeback").offset, 1, value);
}

fn switch(p: &mut Play) {
    p.boot();
    write_through(p, 0);
    write_through(p, 1);
}

#[test]
fn a_console_can_be_written_to_in_an_emergency_at_any_time() {
    let mut p = Play::new(Console);
    p.read_features();
    p.write(Device, p.field("emerg_wr").offset, 4, b'!'.into());
    p.reset();
    p.add_status(ACKNOWLEDGE);
    p.write(Device, p.field("emerg_wr").offset, 4, b'!'.into());
    p.boot_with(p.offered & !console::EMERG_WRITE);
    p.write(Device, p.field("emerg_wr").offset, 4, b'!'.into());
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn mac_exists_without_its_feature() {
    let mut p = Play::offering(Net, 0);
    p.boot();
    p.read_generation();
    p.read_field(p.field("mac"));
    p.read_generation();
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_wide_field_needs_a_generation_before_as_well() {
    let mut p = Play::new(Block);
    p.found_device();
    p.read_field(p.field("capacity"));
    p.read_generation();
    assert_eq!(p.found(), ["config.generation"]);
}

#[test]
fn reading_past_the_known_fields_is_no_violation() {
    let mut p = Play::new(Block);
    p.boot();
    p.read(Device, 0x40, 4);
    assert_eq!(p.messages(), [""; 0]);
}
