//! The block device (§5.2 of virtio 1.0).

use stickler_conformance::DeviceKind;
use stickler_conformance::device::block::status;
use stickler_conformance::features::block as feature;
use stickler_conformance::layout::Structure;
use stickler_guest_tests::in_process::Buffer;
use stickler_guest_tests::in_process::block::{SECTOR, kind};

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam, Job};
use crate::host::{DiskBooks, SECTORS, lock};

pub(crate) const ROWS: &[Row] = &[
    (
        "5.2.5.2-1",
        Seen::By("FLUSH is looked for in what is offered, and CONFIG_WCE"),
    ),
    (
        "5.2.5.2-2",
        Seen::By("writeback is read when features have been negotiated"),
    ),
    (
        "5.2.6",
        Seen::By("status is one of three, and data is what it should be"),
    ),
    ("5.2.6.2-1", Seen::By("a disk that is read-only is written")),
    (
        "5.2.6.2-2",
        Seen::By("the host's books say what is on persistent storage when a request comes back"),
    ),
    ("5.2.6.2-3", Seen::Permits),
];

const WRITEBACK: u32 = 32;

/// What is known of the disk, in this life.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockState {
    /// The host has been asked to fail.
    failing: bool,
    /// Writes that have come back and are not certain to be persistent.
    unflushed: Vec<(usize, Vec<u8>)>,
    /// Requests so far.
    count: u64,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    number: u64,
    kind: u32,
    at: usize,
    data: Vec<u8>,
    buffers: Vec<Buffer>,
    /// A write that has to be on persistent storage when it comes back.
    stable: bool,
    /// Others have touched the same sectors meanwhile.
    loose: bool,
    /// Of a flush: what it has to bring to persistent storage.
    flushes: Vec<(usize, Vec<u8>)>,
}

impl Request {
    fn meets(&self, at: usize, len: usize) -> bool {
        self.at < at + len && at < self.at + self.data.len()
    }
}

/// Features have been negotiated.
pub(crate) fn begin(exam: &mut Exam<'_>, offered: u64) {
    let flush = offered & feature::FLUSH != 0;
    let wce = offered & feature::CONFIG_WCE != 0;
    exam.court
        .rule("5.2.5.2-1", flush, || "FLUSH is not offered".to_owned());
    exam.court.strictly("5.2.5.2-1", flush || !wce, || {
        "CONFIG_WCE is offered, and FLUSH is not".to_owned()
    });
    if exam.has(feature::CONFIG_WCE) && !exam.has(feature::FLUSH) {
        let writeback = exam.d.read(Structure::Device, WRITEBACK, 1);
        exam.court.rule("5.2.5.2-2", writeback == 0, || {
            format!("writeback is {writeback} to begin with, and there is no FLUSH")
        });
    }
}

pub(crate) fn work(exam: &mut Exam<'_>, act: &Act) {
    {
        let mut disk = lock(&exam.host.disk);
        disk.slow = act.twist;
        disk.held = act.twist && act.hold;
        disk.failing = act.twist && act.number.is_multiple_of(5);
        exam.block.failing |= disk.failing;
    }
    match act.what / 8 % 8 {
        0 => set_writeback(exam, act),
        1 if exam.has(feature::FLUSH) => request(exam, act, kind::FLUSH),
        2..=4 => request(exam, act, kind::OUT),
        _ => request(exam, act, kind::IN),
    }
}

fn set_writeback(exam: &mut Exam<'_>, act: &Act) {
    if !exam.has(feature::CONFIG_WCE) {
        return;
    }
    // What is under way need be stable no more, or need not yet.
    for (job, _) in exam.jobs.values_mut() {
        if let Job::Block(request) = job {
            request.stable = false;
        }
    }
    exam.d
        .write(Structure::Device, WRITEBACK, 1, u64::from(act.number & 1));
}

fn request(exam: &mut Exam<'_>, act: &Act, kind: u32) {
    let capacity = exam
        .d
        .consistently(|d| d.read(Structure::Device, 0, 4) | d.read(Structure::Device, 4, 4) << 32);
    let capacity = capacity.min(SECTORS);
    let count = match kind {
        kind::FLUSH => 0,
        _ => u64::from(act.number % 4 + 1).min(capacity),
    };
    if kind != kind::FLUSH && count == 0 {
        return;
    }
    let sector = match count {
        0 => 0,
        count => u64::from(act.number / 4) % (capacity - count + 1),
    };
    let len = (count as usize) * SECTOR as usize;
    let at = sector as usize * SECTOR as usize;
    let writes = kind == kind::OUT;
    exam.block.count += 1;
    let number = exam.block.count;
    let data: Vec<u8> = (0..len as u64)
        .map(|i| ((number + i * 3) & 0x7f) as u8)
        .collect();
    let header = u128::from(kind) | u128::from(sector) << 64;
    let Some(buffers) = lay_out(exam, act, &header.to_le_bytes(), writes, &data) else {
        return;
    };
    let mut loose = false;
    for (job, _) in exam.jobs.values_mut() {
        if let Job::Block(other) = job
            && other.meets(at, len)
            && (writes || other.kind == kind::OUT)
        {
            other.loose = true;
            loose = true;
        }
    }
    let request = Request {
        number,
        kind,
        at,
        stable: writes && is_stable(exam),
        flushes: match kind {
            kind::FLUSH => exam.block.unflushed.clone(),
            _ => Vec::new(),
        },
        data,
        buffers: buffers.clone(),
        loose,
    };
    if writes {
        // What it writes over, nobody can expect to find any more.
        let meets = |(from, old): &(usize, Vec<u8>)| *from < at + len && at < from + old.len();
        exam.block.unflushed.retain(|write| !meets(write));
        for (job, _) in exam.jobs.values_mut() {
            if let Job::Block(flush) = job {
                flush.flushes.retain(|write| !meets(write));
            }
        }
    }
    exam.submit(0, &buffers, act, Job::Block(request));
}

/// The buffers of a request; `None` if the device does not take such.
fn lay_out(
    exam: &Exam<'_>,
    act: &Act,
    header: &[u8],
    writes: bool,
    data: &[u8],
) -> Option<Vec<Buffer>> {
    let limit = |has: u64, offset: u32| {
        if exam.has(has) {
            exam.d.read(Structure::Device, offset, 4) as usize
        } else {
            usize::MAX
        }
    };
    let longest = limit(feature::SIZE_MAX, 8).max(1);
    let most = limit(feature::SEG_MAX, 12).max(1);
    let len = data.len();
    if act.odd && len < longest && most >= 8 {
        // §2.4.4: cut anywhere.
        let (out, room) = if writes {
            ([header, data].concat(), 1)
        } else {
            (header.to_vec(), len + 1)
        };
        let mut buffers = exam.text(&out).cut(act.segments.into());
        buffers.extend(exam.room(room as u32).cut(act.segments.into()));
        return Some(buffers);
    }
    let mut buffers = vec![exam.text(header)];
    if len > 0 {
        let part = len
            .div_ceil(usize::from(act.segments).min(most))
            .min(longest);
        if len.div_ceil(part) > most {
            return None;
        }
        let whole = if writes {
            exam.text(data)
        } else {
            exam.room(len as u32)
        };
        for from in (0..len).step_by(part) {
            buffers.push(Buffer {
                addr: whole.addr + from as u64,
                len: part.min(len - from) as u32,
                writable: whole.writable,
            });
        }
    }
    buffers.push(exam.room(1));
    Some(buffers)
}

/// Whether a write that is made available now is a stable one when it comes back (§5.2.6.2).
fn is_stable(exam: &Exam<'_>) -> bool {
    let (flush, wce) = (exam.has(feature::FLUSH), exam.has(feature::CONFIG_WCE));
    let first = !flush && !wce && exam.offered & feature::FLUSH != 0;
    let second = wce && exam.d.read(Structure::Device, WRITEBACK, 1) == 0;
    first || second
}

/// A request has come back.
pub(crate) fn done(exam: &mut Exam<'_>, request: &Request, len: u32) -> bool {
    let court = exam.court.clone();
    let room: u32 = request
        .buffers
        .iter()
        .filter(|b| b.writable)
        .map(|b| b.len)
        .sum();
    if len < room {
        // §2.4.8.3: nothing can be said of what is beyond len, and that is where the status is.
        exam.block.forget(request);
        return true;
    }
    let bytes = exam.content(&request.buffers, len);
    let (status, read) = bytes.split_last().expect("there is a status");
    let known = matches!(*status, status::OK | status::IOERR | status::UNSUPP);
    court.rule("5.2.6", known, || format!("status is {status}"));
    let disk = lock(&exam.host.disk);
    let number = request.number;
    if request.kind == kind::OUT && exam.offered & feature::RO != 0 {
        let untouched = disk.data == DiskBooks::fresh();
        court.rule("5.2.6.2-1", *status == status::IOERR && untouched, || {
            format!("request {number}: a write to a disk that is read-only gives {status}")
        });
        return untouched;
    }
    if *status != status::OK {
        // For a disk without fault, only a latitude explains it.
        let explained = exam.block.failing || court.has_about(DeviceKind::Block);
        court.rule("5.2.6", explained, || {
            format!("request {number} fails: {status}")
        });
        return explained;
    }
    let range = request.at..request.at + request.data.len();
    let right = match request.kind {
        kind::IN => request.loose || read == &disk.data[range.clone()],
        kind::OUT => request.loose || request.data == disk.data[range.clone()],
        _ => true,
    };
    court.rule("5.2.6", right, || {
        format!("request {number}: the data is not what it should be")
    });
    if request.stable && !request.loose {
        let there = disk.persistent[range] == request.data;
        court.rule("5.2.6.2-2", there, || {
            format!("request {number}: a stable write is not on persistent storage")
        });
    }
    for (at, data) in &request.flushes {
        let there = disk.persistent[*at..at + data.len()] == data[..];
        court.rule("5.2.6.2-2", there, || {
            format!("request {number}: a flush leaves a write behind, at byte {at}")
        });
    }
    drop(disk);
    if request.kind == kind::OUT && !request.loose {
        exam.block
            .unflushed
            .push((request.at, request.data.clone()));
    }
    right
}

impl BlockState {
    /// Nobody knows what became of it.
    fn forget(&mut self, request: &Request) {
        let (at, len) = (request.at, request.data.len());
        self.unflushed
            .retain(|(from, old)| !(*from < at + len && at < from + old.len()));
    }
}
