//! The device-specific configuration (§2.3, §4.1.3.2, §4.1.4.3.1 of virtio 1.0).

use stickler_conformance::DeviceKind;
use stickler_conformance::layout::{Structure, common};

use stickler_devices::console::port::{Change, Size};

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam};
use crate::host::lock;
use crate::rings::Phase;

pub(crate) const ROWS: &[Row] = &[
    (
        "2.3.2-1",
        Seen::By("all fields are read before FEATURES_OK, and are the same behind it"),
    ),
    (
        "4.1.3.2-1",
        Seen::By("the halves of capacity are read in either order"),
    ),
    (
        "4.1.4.3.1-6",
        Seen::By("what changed between two readings comes with another generation"),
    ),
];

/// What was read last, in this life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    last: Option<Reading>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    /// `config_generation` before any of it was read.
    generation: u8,
    fields: Vec<(&'static str, u64)>,
    /// FEATURES_OK was set.
    negotiated: bool,
}

/// Reads all there is, and compares it with what was read before.
pub(crate) fn look(exam: &mut Exam<'_>) {
    if !exam
        .d
        .structures
        .contains_key(&Structure::Device.cfg_type())
    {
        return;
    }
    let generation = |exam: &Exam<'_>| exam.d.common(common::CONFIG_GENERATION) as u8;
    let before = generation(exam);
    let fields = read(exam);
    let after = generation(exam);
    let reading = Reading {
        generation: before,
        fields,
        negotiated: exam.d.features != 0,
    };
    if let Some(last) = exam.config.last.take() {
        let changed = last.fields != reading.fields;
        exam.court
            .rule("4.1.4.3.1-6", !changed || after != last.generation, || {
                let (then, now) = (&last.fields, &reading.fields);
                format!("{then:x?} and then {now:x?}, under the same generation {after}")
            });
        if !last.negotiated && reading.negotiated && after == last.generation {
            exam.court.rule("2.3.2-1", !changed, || {
                let (then, now) = (&last.fields, &reading.fields);
                format!("{then:x?} before FEATURES_OK, {now:x?} behind it")
            });
        }
    }
    if exam.d.kind == DeviceKind::Block && before == after {
        let halves = |offsets: [u32; 2]| offsets.map(|at| exam.d.read(Structure::Device, at, 4));
        let ([low, high], [high_again, low_again]) = (halves([0, 4]), halves([4, 0]));
        let right = (low, high) == (low_again, high_again) || generation(exam) != after;
        exam.court.rule("4.1.3.2-1", right, || {
            format!("capacity is {low:#x}, {high:#x} and then {low_again:#x}, {high_again:#x}")
        });
    }
    exam.config.last = Some(reading);
}

/// Each field, in its own width; 64 bits as two halves.
fn read(exam: &Exam<'_>) -> Vec<(&'static str, u64)> {
    let d = &exam.d;
    let len = d.place(Structure::Device).len;
    let mut fields = Vec::new();
    for field in d.kind.config_fields() {
        for offset in (field.offset..field.offset + field.len()).step_by(field.width.into()) {
            if offset + u32::from(field.width) > len {
                continue;
            }
            let width = usize::from(field.width.min(4));
            let mut value = d.read(Structure::Device, offset, width);
            if field.width == 8 {
                value |= d.read(Structure::Device, offset + 4, 4) << 32;
            }
            // What the driver writes, it can change itself; emerg_wr cannot be read.
            if field.name != "emerg_wr" && field.name != "writeback" {
                fields.push((field.name, value));
            }
        }
    }
    fields
}

/// The host changes the configuration.
pub(crate) fn change(exam: &mut Exam<'_>, act: &Act) {
    exam.settle();
    look(exam);
    if exam.broken || exam.observer.phase() != Phase::Live {
        return;
    }
    match exam.d.kind {
        DeviceKind::Net => {
            if let Some(link) = &exam.host.link {
                link.set_up(!link.is_up());
                if act.twist {
                    link.announce();
                }
            }
        }
        DeviceKind::Console => {
            if let Some(port) = exam.host.ports.first() {
                let size = Size {
                    cols: act.number,
                    rows: act.number / 2,
                };
                lock(port).changes.push_back(Change::Resized(size));
            }
        }
        DeviceKind::Block | DeviceKind::Entropy => return,
    }
    let before = exam.config.last.clone();
    exam.observer.mark(exam.d.rig);
    exam.d.rig.run();
    exam.harvest();
    look(exam);
    let changed = before.map(|b| b.fields) != exam.config.last.clone().map(|l| l.fields);
    exam.observer.judge_change(&exam.d, changed);
    exam.settle();
}
