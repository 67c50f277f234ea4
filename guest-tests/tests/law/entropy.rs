//! The entropy device (§5.4 of virtio 1.0).

use stickler_guest_tests::in_process::Buffer;

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam, Job};
use crate::host::{entropy_byte, lock};

pub(crate) const ROWS: &[Row] = &[(
    "5.4.6.2-1",
    Seen::By("what comes back has a byte at least, and the source's bytes"),
)];

pub(crate) fn work(exam: &mut Exam<'_>, act: &Act) {
    let dry = act.twist && act.number.is_multiple_of(16);
    lock(&exam.host.entropy).dry = dry;
    let buffers = exam
        .room(u32::from(act.number) % 5000 + 1)
        .cut(act.segments.into());
    let there = exam.submit(0, &buffers, act, Job::Random(buffers.clone()));
    if !dry || !there || exam.broken {
        return;
    }
    exam.settle();
    // §2.1.2: only a reset gets it going again.
    exam.court.rule("2.1.2-3", exam.broken, || {
        "the source has run dry, and DEVICE_NEEDS_RESET is not set".to_owned()
    });
    lock(&exam.host.entropy).dry = false;
}

/// A buffer has come back.
pub(crate) fn done(exam: &Exam<'_>, buffers: &[Buffer], len: u32) -> bool {
    let bytes = exam.content(buffers, len);
    // Its bytes count up; which was the first does not matter.
    let next = |byte: u8| entropy_byte(u64::from(byte) + 1);
    let random = bytes.windows(2).all(|pair| pair[1] == next(pair[0]));
    exam.court.rule("5.4.6.2-1", len >= 1 && random, || {
        format!("len is {len}, and the bytes are {bytes:x?}")
    });
    random
}
