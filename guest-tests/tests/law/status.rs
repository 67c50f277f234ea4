//! Device status (§2.1), reset (§4.1.4.3.1), and feature bits (§2.2, §6). Citations are of virtio 1.0.

use stickler_conformance::features;
use stickler_conformance::layout::{common, status};

use crate::court::{Row, Seen};
use crate::exam::Exam;
use crate::rings::Phase;

pub(crate) const ROWS: &[Row] = &[
    (
        "2.1",
        Seen::By("the bits that were set read as set, and no others but DEVICE_NEEDS_RESET"),
    ),
    (
        "2.1.2-1",
        Seen::By("device_status reads 0 after a reset, and goes on to"),
    ),
    (
        "2.1.2-3",
        Seen::By("a source of entropy that has run dry leaves nothing to go on with"),
    ),
    (
        "2.2.2-1",
        Seen::By("what is offered is checked for what it requires"),
    ),
    (
        "2.2.2-2",
        Seen::By("random valid subsets are accepted, which are those that the driver may make"),
    ),
    (
        "4.1.4.3.1-3",
        Seen::By("device_feature is read twice for several selects"),
    ),
    (
        "4.1.4.3.1-4",
        Seen::By("driver_feature is read back for each select"),
    ),
    ("4.1.4.3.1-5", Seen::Permits),
    (
        "4.1.4.3.1-7",
        Seen::By("0 is written to device_status, and it reads 0 sooner or later"),
    ),
    ("6.2-1", Seen::By("VERSION_1 is looked for")),
    ("6.2-2", Seen::Permits),
];

/// How often a driver reads device status, and lets time pass, until a reset is done.
const PATIENCE: u32 = 4096;

/// Resets the device and waits until that is done.
pub(crate) fn reset(exam: &mut Exam<'_>) {
    let d = &mut exam.d;
    d.set_common(common::DEVICE_STATUS, 0);
    let done = (0..PATIENCE).any(|_| {
        let done = d.status() == 0;
        if !done {
            d.rig.run();
        }
        done
    });
    exam.court.rule("4.1.4.3.1-7", done, || {
        format!("device_status is {:#x} long after a reset", d.status())
    });
    d.rig.run();
    let after = d.status();
    exam.court.rule("2.1.2-1", after == 0, || {
        format!("device_status is {after:#x} after a reset")
    });
    d.features = 0;
    d.queues.clear();
    exam.jobs.clear();
    exam.broken = false;
    exam.status = 0;
    exam.net = Default::default();
    exam.block = Default::default();
    exam.console = Default::default();
    exam.config = Default::default();
}

/// Looks at device status while the device lives.
pub(crate) fn look(exam: &mut Exam<'_>) {
    if exam.observer.phase() != Phase::Live {
        return;
    }
    let now = exam.d.status();
    let (ours, theirs) = (exam.status, status::DEVICE_NEEDS_RESET);
    exam.court.rule("2.1", now & !theirs == ours, || {
        format!("device_status is {now:#x}; {ours:#x} was set")
    });
    if now & theirs == 0 {
        exam.observer.mark(exam.d.rig);
    } else if !exam.broken {
        exam.broken = true;
        // Where nothing is mapped, nothing can be told.
        if let Some(told) = exam.observer.told_of_change(&exam.d) {
            exam.court.rule("2.1.2-4", told, || {
                "DEVICE_NEEDS_RESET was set, and the driver was not told".to_owned()
            });
        }
    }
}

/// The features the device offers, looked at.
pub(crate) fn offered(exam: &mut Exam<'_>) -> u64 {
    let d = &exam.d;
    let read = |select: u32| {
        d.set_common(common::DEVICE_FEATURE_SELECT, select);
        d.common(common::DEVICE_FEATURE)
    };
    let selects = [0, 1, 2, 3, 0x8000_0000, u32::MAX];
    let first = selects.map(read);
    let second = selects.map(read);
    exam.court.rule("4.1.4.3.1-3", first == second, || {
        format!("device_feature shows {first:x?} and then {second:x?}")
    });
    let offered = u64::from(first[1]) << 32 | u64::from(first[0]);
    let unmet = features::unmet(d.kind, offered);
    exam.court.rule("2.2.2-1", unmet == 0, || {
        let names = features::names(d.kind, unmet);
        format!("{names} is offered without what it requires")
    });
    let is_there = offered & features::VERSION_1 != 0;
    exam.court.rule("6.2-1", is_there, || {
        format!("what is offered, {offered:#x}, is without VERSION_1")
    });
    offered
}

/// Accepts `features`, a valid subset of what is offered. Gives whether the device goes along.
pub(crate) fn negotiate(exam: &mut Exam<'_>, features: u64) -> bool {
    let d = &mut exam.d;
    d.accept(features);
    let shown = [0, 1].map(|select| {
        d.set_common(common::DRIVER_FEATURE_SELECT, select);
        u64::from(d.common(common::DRIVER_FEATURE))
    });
    let shown = shown[1] << 32 | shown[0];
    exam.court.rule("4.1.4.3.1-4", shown == features, || {
        format!("driver_feature shows {shown:#x}; {features:#x} was written")
    });
    let kept = d.features_ok();
    let names = || features::names(d.kind, features);
    exam.court.rule("2.2.2-2", kept, || {
        format!("FEATURES_OK does not stay set for {}", names())
    });
    exam.status = status::ACKNOWLEDGE | status::DRIVER;
    if kept {
        exam.status |= status::FEATURES_OK;
    }
    kept
}
