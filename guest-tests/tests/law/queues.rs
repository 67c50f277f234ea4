//! Queues as the common configuration structure has them (§4.1.4.3), and notifications (§4.1.4.4).
//! Citations are of virtio 1.0.

use stickler_conformance::layout::{NO_VECTOR, Structure, common};

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam};

pub(crate) const ROWS: &[Row] = &[
    (
        "4.1.4.3",
        Seen::By("queue_size is 0 or a power of two to 32768"),
    ),
    (
        "4.1.4.3.1-8",
        Seen::By("queue_enable of every queue is read after each reset"),
    ),
    (
        "4.1.4.3.1-9",
        Seen::By("queue_size is read for queues from num_queues on"),
    ),
    (
        "4.1.4.4.1-4",
        Seen::By("length is compared with the address of each queue"),
    ),
    (
        "4.1.4.4.1-5",
        Seen::By("length is compared with queue_notify_off and the multiplier of each queue"),
    ),
    (
        "2.4.9.2-5",
        Seen::By("queues are notified for nothing, and go on working"),
    ),
    (
        "4.1.5.1.2.1-7",
        Seen::By("all vectors are read after each reset"),
    ),
];

/// Looks at all queues of a device that has just been reset.
pub(crate) fn look_after_reset(exam: &mut Exam<'_>) {
    let (d, court) = (&exam.d, &exam.court);
    let count = d.num_queues();
    let notify = d.place(Structure::Notify);
    for index in 0..count {
        let size = d.select_queue(index);
        let lawful = size == 0 || size.is_power_of_two() && size <= 32768;
        court.rule("4.1.4.3", lawful, || {
            format!("queue {index} has size {size}")
        });
        let enabled = d.common(common::QUEUE_ENABLE);
        court.rule("4.1.4.3.1-8", enabled == 0, || {
            format!("queue {index}: queue_enable is {enabled} after a reset")
        });
        let vector = d.common(common::QUEUE_MSIX_VECTOR);
        court.rule("4.1.5.1.2.1-7", vector == u32::from(NO_VECTOR), || {
            format!("queue {index}: queue_msix_vector is {vector:#x} after a reset")
        });
        if size == 0 {
            continue;
        }
        let off = d.common(common::QUEUE_NOTIFY_OFF);
        let end = u64::from(off) * u64::from(d.multiplier) + 2;
        for row in ["4.1.4.4.1-4", "4.1.4.4.1-5"] {
            court.rule(row, end <= u64::from(notify.len) && notify.len >= 2, || {
                format!(
                    "queue {index} is notified up to {end:#x}; length is {:#x}",
                    notify.len
                )
            });
        }
    }
    for index in [count, count.wrapping_add(1), 0x7fff, 0xffff] {
        if index >= count {
            let size = d.select_queue(index);
            court.rule("4.1.4.3.1-9", size == 0, || {
                format!("queue {index} of {count} has size {size}")
            });
        }
    }
    let vector = d.common(common::MSIX_CONFIG);
    court.rule("4.1.5.1.2.1-7", vector == u32::from(NO_VECTOR), || {
        format!("msix_config is {vector:#x} after a reset")
    });
}

/// §2.4.9.2: notifies the device of queues on which there need not be anything.
pub(crate) fn notify_for_nothing(exam: &mut Exam<'_>, act: &Act) {
    let queues: Vec<u16> = exam.d.queues.keys().copied().collect();
    for index in queues.iter().cycle().take(usize::from(act.segments)) {
        exam.d.notify(*index);
    }
    exam.d.rig.run();
    exam.harvest();
    exam.spurious = true;
}
