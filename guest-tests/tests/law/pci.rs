//! The function on the bus: identity, capabilities, MSI-X (§4.1 of virtio 1.0).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use stickler_conformance::layout::{NO_VECTOR, Structure, common};
use stickler_guest_tests::in_process::Driver;

use crate::court::{Court, Row, Seen};
use crate::exam::{Act, Exam};

pub(crate) const ROWS: &[Row] = &[
    (
        "4.1.1-1",
        Seen::By("header, BARs as sizing shows them, and the list of capabilities"),
    ),
    ("4.1.2.1-1", Seen::By("the vendor ID")),
    (
        "4.1.2.1-2",
        Seen::By("the device ID, which is one of two for each type"),
    ),
    ("4.1.2.1-3", Seen::Permits),
    ("4.1.2.1-4", Seen::By("the device ID")),
    ("4.1.2.1-5", Seen::By("the revision ID")),
    ("4.1.2.1-6", Seen::By("the subsystem device ID")),
    (
        "4.1.4",
        Seen::By("each structure lies in its BAR, and has what is defined"),
    ),
    (
        "4.1.4.2-1",
        Seen::By("cap_len covers what its type has, and reaches into no other capability"),
    ),
    ("4.1.4.2-2", Seen::Permits),
    (
        "4.1.4.2-3",
        Seen::Not("which of several structures is the best one is the device's own opinion"),
    ),
    (
        "4.1.4.3.1-1",
        Seen::By("offset of the common configuration"),
    ),
    (
        "4.1.4.3.1-2",
        Seen::By("the list is searched for a common configuration"),
    ),
    (
        "4.1.4.4.1-1",
        Seen::By("the list is searched for a notification structure"),
    ),
    (
        "4.1.4.4.1-2",
        Seen::By("offset of the notification structure"),
    ),
    ("4.1.4.4.1-3", Seen::By("notify_off_multiplier")),
    (
        "4.1.4.5.1-1",
        Seen::By("the list is searched for ISR status"),
    ),
    (
        "4.1.4.6.1-1",
        Seen::By("offset of the device-specific configuration"),
    ),
    (
        "4.1.4.7.1-1",
        Seen::By("the list is searched for the window"),
    ),
    (
        "4.1.4.7.1-2",
        Seen::By("registers are written through the window, and read directly"),
    ),
    (
        "4.1.4.7.1-3",
        Seen::By("registers are read through the window, and directly"),
    ),
    ("4.1.5.1.2.1-1", Seen::By("Table Size")),
    (
        "4.1.5.1.2.1-2",
        Seen::By("the last vector that Table Size tells of has its place in the table's BAR"),
    ),
    (
        "4.1.5.1.2.1-3",
        Seen::Not("what benefits a system's performance is the device's guess"),
    ),
    (
        "4.1.5.1.2.1-4",
        Seen::By("to a vector that one event, alone, is mapped to, all others can be"),
    ),
    ("4.1.5.1.2.1-5", Seen::By("each event is unmapped")),
    ("4.1.5.1.2.1-6", Seen::By("vectors are read back")),
    (
        "4.1.5.1.2.1-8",
        Seen::By("each event, alone, is mapped to the first vectors and the last ones"),
    ),
    (
        "4.1.5.1.2.1-9",
        Seen::By("where a vector is not mapped, it reads back as NO_VECTOR and as nothing else"),
    ),
];

const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u32 = 1 << 4;
const HEADER_TYPE: u16 = 0x0e;
const INTERRUPT_PIN: u16 = 0x3d;
const VENDOR_SPECIFIC: u8 = 0x09;

/// A BAR as sizing shows it.
#[derive(Clone, Copy, Debug, Default)]
struct Bar {
    len: u64,
}

/// Looks at configuration space. The device has not been touched yet.
pub(crate) fn look(exam: &mut Exam<'_>) {
    let (d, court) = (&exam.d, &exam.court);
    look_at_identity(d, court);
    let bars = size_bars(d, court);
    let list = walk(d, court);
    look_at_structures(d, court, &bars, &list);
    look_at_msix(d, court, &bars);
}

fn look_at_identity(d: &Driver<'_>, court: &Court) {
    let read = |offset, width| d.config_read(offset, width);
    let (vendor, device) = (read(0, 2), read(2, 2));
    court.rule("4.1.2.1-1", vendor == 0x1af4, || {
        format!("vendor ID {vendor:#x}")
    });
    let id = u32::from(d.kind.id());
    let transitional = [0, 0x1000, 0x1001, 0x1003, 0x1005][id as usize];
    let known = device == 0x1040 + id || device == transitional;
    court.rule("4.1.2.1-2", known, || format!("device ID {device:#x}"));
    // What follows is for non-transitional devices, and those with the other ID may look like one.
    if device == transitional {
        return;
    }
    let in_range = (0x1040..=0x107f).contains(&device);
    court.rule("4.1.2.1-4", in_range, || format!("device ID {device:#x}"));
    let (revision, subsystem) = (read(8, 1), read(0x2e, 2));
    court.rule("4.1.2.1-5", revision >= 1, || {
        format!("revision ID {revision}")
    });
    court.rule("4.1.2.1-6", subsystem >= 0x40, || {
        format!("subsystem device ID {subsystem:#x}")
    });
}

/// Sizes the BARs, as a driver's bus does, with decoding off.
fn size_bars(d: &Driver<'_>, court: &Court) -> [Bar; 6] {
    let mut bars = [Bar::default(); 6];
    let kind = d.config_read(HEADER_TYPE, 1) & 0x7f;
    court.rule("4.1.1-1", kind == 0, || format!("header type {kind:#x}"));
    let pin = d.config_read(INTERRUPT_PIN, 1);
    court.rule("4.1.1-1", pin <= 4, || format!("interrupt pin {pin}"));
    let command = d.config_read(4, 2);
    d.config_write(4, 2, command & !3);
    let size = |register: u16| {
        let was = d.config_read(register, 4);
        d.config_write(register, 4, u32::MAX);
        let mask = d.config_read(register, 4);
        d.config_write(register, 4, was);
        (was, mask)
    };
    let mut index = 0;
    while index < 6 {
        let register = 0x10 + 4 * index as u16;
        let (was, low) = size(register);
        // §4.1.4: BARs may be of I/O space, too.
        let io = was & 1 != 0;
        let wide = !io && was & 7 == 4;
        let flags = if io { 3 } else { 0xf };
        court.rule("4.1.1-1", low & flags == was & flags, || {
            format!("BAR {index} is {was:#x}, and {low:#x} to sizing")
        });
        let mut mask = u64::from(low & !flags) | 0xffff_ffff_0000_0000;
        if wide {
            let (_, high) = size(register + 4);
            mask = u64::from(high) << 32 | u64::from(low & !flags);
        }
        if low & !flags != 0 {
            let len = mask.wrapping_neg();
            let base = match io {
                true => u64::from(was & !flags),
                false => d.bar_address(index),
            };
            let lawful = len.is_power_of_two() && base.is_multiple_of(len) && base != 0;
            court.rule("4.1.1-1", lawful, || {
                format!("BAR {index} has {len:#x} bytes at {base:#x}")
            });
            bars[usize::from(index)].len = len;
        }
        index += if wide { 2 } else { 1 };
    }
    d.config_write(4, 2, command);
    bars
}

/// Walks the list of capabilities: ID and place of each.
fn walk(d: &Driver<'_>, court: &Court) -> Vec<(u8, u16)> {
    let has_list = d.config_read(STATUS, 2) & STATUS_CAPABILITIES != 0;
    court.rule("4.1.1-1", has_list, || {
        "there is no list of capabilities".to_owned()
    });
    let (mut list, mut seen) = (Vec::new(), BTreeSet::new());
    // The two lower bits are reserved, and masked.
    let mut at = d.config_read(0x34, 1) as u16 & 0xfc;
    while at != 0 {
        let lawful = (0x40..=0xfc).contains(&at) && seen.insert(at);
        court.rule("4.1.1-1", lawful, || {
            format!("a capability at {at:#x}, after {seen:x?}")
        });
        if !lawful {
            break;
        }
        list.push((d.config_read(at, 1) as u8, at));
        at = d.config_read(at + 1, 1) as u16 & 0xfc;
    }
    list
}

/// A virtio structure PCI capability.
struct Cap {
    at: u16,
    len: u16,
    cfg_type: u8,
    bar: u8,
    offset: u32,
    length: u32,
}

fn look_at_structures(d: &Driver<'_>, court: &Court, bars: &[Bar; 6], list: &[(u8, u16)]) {
    let caps = list.iter().filter(|(id, _)| *id == VENDOR_SPECIFIC);
    let caps: Vec<Cap> = (caps.map(|(_, at)| Cap {
        at: *at,
        len: d.config_read(at + 2, 1) as u16,
        cfg_type: d.config_read(at + 3, 1) as u8,
        bar: d.config_read(at + 4, 1) as u8,
        offset: d.config_read(at + 8, 4),
        length: d.config_read(at + 12, 4),
    }))
    .collect();
    for (row, structure) in [
        ("4.1.4.3.1-2", Structure::Common),
        ("4.1.4.4.1-1", Structure::Notify),
        ("4.1.4.5.1-1", Structure::Isr),
        ("4.1.4.7.1-1", Structure::PciCfg),
    ] {
        let usable = |cap: &Cap| structure == Structure::PciCfg || cap.bar <= 5;
        let there = caps
            .iter()
            .any(|cap| cap.cfg_type == structure.cfg_type() && usable(cap));
        court.rule(row, there, || {
            format!("there is no capability for {}", structure.name())
        });
    }
    for cap in &caps {
        let at = cap.at;
        let needed = match cap.cfg_type {
            // Notification structure and window have four bytes more.
            2 | 5 => 20,
            1 | 3 | 4 => 16,
            // What is not of virtio 1.0 has its vendor's layout.
            _ => 3,
        };
        let end = at + cap.len;
        let apart = end <= 256 && (list.iter()).all(|(_, other)| *other <= at || *other >= end);
        court.rule("4.1.4.2-1", cap.len >= needed && apart, || {
            format!("the capability at {at:#x} has cap_len {}", cap.len)
        });
        // Reserved values: what there is to ignore need not be anywhere.
        if !(1..=4).contains(&cap.cfg_type) || cap.bar > 5 {
            continue;
        }
        let (row, alignment) = match cap.cfg_type {
            1 => ("4.1.4.3.1-1", 4),
            2 => ("4.1.4.4.1-2", 2),
            4 => ("4.1.4.6.1-1", 4),
            _ => ("4.1.4", 1),
        };
        court.rule(row, cap.offset.is_multiple_of(alignment), || {
            format!(
                "the structure of the capability at {at:#x} is at {:#x}",
                cap.offset
            )
        });
        let end = u64::from(cap.offset) + u64::from(cap.length);
        let room = bars[usize::from(cap.bar)].len;
        let defined = match cap.cfg_type {
            1 => common::LEN,
            2 => 2,
            _ => 1,
        };
        court.rule("4.1.4", end <= room && cap.length >= defined, || {
            format!("the structure of the capability at {at:#x} ends at {end:#x} of {room:#x}")
        });
        if cap.cfg_type == 2 {
            let multiplier = d.config_read(at + 16, 4);
            // §4.1.4.4.1: an even power of two is read as one that is even.
            let lawful = multiplier == 0 || multiplier.is_power_of_two() && multiplier > 1;
            court.rule("4.1.4.4.1-3", lawful, || {
                format!("notify_off_multiplier is {multiplier}")
            });
        }
    }
}

fn look_at_msix(d: &Driver<'_>, court: &Court, bars: &[Bar; 6]) {
    let Some(at) = d.msix else { return };
    let vectors = u32::from(d.vectors());
    court.rule("4.1.5.1.2.1-1", (2..=0x800).contains(&vectors), || {
        format!("there are {vectors} vectors")
    });
    let part = |register: u16, len: u32| -> (u8, Range<u64>) {
        let value = d.config_read(at + register, 4);
        let start = u64::from(value & !7);
        ((value & 7) as u8, start..start + u64::from(len))
    };
    let table = part(4, 16 * vectors);
    let pending = part(8, vectors.div_ceil(64) * 8);
    for (bar, range) in [&table, &pending] {
        let room = bars.get(usize::from(*bar)).map_or(0, |bar| bar.len);
        court.rule("4.1.5.1.2.1-2", range.end <= room, || {
            format!("{vectors} vectors take {range:x?} of BAR {bar}, which has {room:#x} bytes")
        });
    }
    let meet = |a: &(u8, Range<u64>), b: &(u8, Range<u64>)| {
        a.0 == b.0 && a.1.start < b.1.end && b.1.start < a.1.end
    };
    let structures = d.structures.values().map(|place| {
        let start = u64::from(place.offset);
        (place.bar, start..start + u64::from(place.len))
    });
    let apart = !meet(&table, &pending)
        && structures
            .into_iter()
            .all(|s| !meet(&s, &table) && !meet(&s, &pending));
    court.rule("4.1.1-1", apart, || {
        format!("table {table:x?} and pending bits {pending:x?} meet something")
    });
}

// ---- MSI-X vectors (§4.1.5.1.2)

/// Enables MSI-X, and maps and unmaps each event, alone. Where nothing can be mapped at all, MSI-X is
/// disabled again (§4.1.5.1.2.2). Gives whether it is enabled.
pub(crate) fn map(exam: &mut Exam<'_>) -> bool {
    exam.d.enable_msix();
    let last = exam.d.vectors() - 1;
    let vectors = BTreeSet::from([0, 1.min(last), last / 2, last]);
    let mut first = BTreeMap::new();
    let mut queues = exam.d.usable_queues();
    let behind = queues.split_off(queues.len().min(3));
    queues.extend(behind.last());
    for queue in std::iter::once(None).chain(queues.into_iter().map(Some)) {
        let field = match queue {
            None => common::MSIX_CONFIG,
            Some(queue) if exam.d.select_queue(queue) == 0 => continue,
            Some(_) => common::QUEUE_MSIX_VECTOR,
        };
        for vector in &vectors {
            let mapped = map_one(exam, field, *vector) == *vector;
            exam.court.rule("4.1.5.1.2.1-8", mapped, || {
                format!("queue {queue:?} (none: configuration) cannot be mapped to {vector}")
            });
            // A mapping may fail, but not for one event where it succeeds for another.
            let same = *first.entry(*vector).or_insert(mapped) == mapped;
            exam.court.rule("4.1.5.1.2.1-4", same, || {
                format!("queue {queue:?} (none: configuration) is another event to {vector}")
            });
        }
        let unmapped = map_one(exam, field, NO_VECTOR);
        exam.court.rule("4.1.5.1.2.1-5", unmapped == NO_VECTOR, || {
            format!("queue {queue:?} (none: configuration) stays mapped to {unmapped}")
        });
    }
    // What is mapped to nothing by the driver's own choice can be, if need be.
    let usable = first.get(&0) == Some(&true);
    if !usable {
        exam.d.disable_msix();
    }
    usable
}

/// Maps changes of the configuration; gives the vector to which they are mapped.
pub(crate) fn map_config(exam: &Exam<'_>, vector: u16) -> u16 {
    map_one(exam, common::MSIX_CONFIG, vector)
}

fn map_one(exam: &Exam<'_>, field: u32, vector: u16) -> u16 {
    exam.d.set_common(field, vector.into());
    let mapped = exam.d.common(field) as u16;
    // What was refused must not look like another vector, nor what was mapped.
    for (row, right) in [
        ("4.1.5.1.2.1-6", mapped == vector),
        ("4.1.5.1.2.1-9", mapped == NO_VECTOR),
    ] {
        if right || mapped != vector && mapped != NO_VECTOR {
            exam.court.rule(row, right, || {
                format!("{vector:#x} was written, and {mapped:#x} is read")
            });
        }
    }
    mapped
}

// ---- The window (§4.1.4.7)

/// Reads and writes registers through the PCI configuration access capability.
pub(crate) fn look_through_window(exam: &mut Exam<'_>, act: &Act) {
    let d = &exam.d;
    let aim = |structure: Structure, offset: u32, width: u32| {
        let place = d.place(structure);
        d.config_write(d.window + 4, 1, place.bar.into());
        d.config_write(d.window + 8, 4, place.offset + offset);
        d.config_write(d.window + 12, 4, width);
    };
    for (offset, width) in [
        (common::DEVICE_STATUS, 1),
        (common::NUM_QUEUES, 2),
        (common::DEVICE_FEATURE, 4),
    ] {
        aim(Structure::Common, offset, width);
        let seen = d.config_read(d.window + 16, width as usize);
        let direct = d.read(Structure::Common, offset, width as usize) as u32;
        exam.court.rule("4.1.4.7.1-3", seen == direct, || {
            format!("offset {offset:#x} is {direct:#x}, and {seen:#x} through the window")
        });
    }
    let select = u32::from(act.number & 1);
    aim(Structure::Common, common::DEVICE_FEATURE_SELECT, 4);
    d.config_write(d.window + 16, 4, select);
    let written = d.common(common::DEVICE_FEATURE_SELECT);
    exam.court.rule("4.1.4.7.1-2", written == select, || {
        format!("{select} was written through the window, and {written} is read")
    });
}
