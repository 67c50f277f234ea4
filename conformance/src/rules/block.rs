//! Requests of the block device (§5.2.6).

use super::Chapter;
use crate::event::{BlockRequest, Event};
use crate::features::block;
use crate::judge::Verdicts;
use crate::layout::DeviceKind;
use crate::protocol::block::kind;
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::net_receive::END;

    HEADER = "block.request.header", Driver Must ["5.2.6"], Asserted,
        "A request begins with 16 device-readable bytes: type, reserved, sector.";
    STATUS = "block.request.status", Driver Must ["5.2.6"], Asserted,
        "A request ends with a device-writable byte for the status.";
    TYPE = "block.request.type", Driver Should ["5.2.6"], Asserted,
        "A request is a read, a write, or a flush.";
    RESERVED = "block.request.reserved", Driver Should ["5.2.6"], Asserted,
        "The header's reserved field is 0.",
        readings [
            "any": "What is reserved means nothing and may hold anything: older devices took it for the request's priority.",
            "zero": "What is reserved is written as 0.",
        ];
    READ = "block.read.writable", Driver Must ["5.2.6"], Asserted,
        "The data of a read is device-writable.";
    WRITE = "block.write.readable", Driver Must ["5.2.6"], Asserted,
        "The data of a write is device-readable.";
    SECTORS = "block.request.whole-sectors", Driver Must ["5.2.6"], Asserted,
        "The data of a read or a write is a whole number of 512-byte sectors.";
    CAPACITY = "block.request.within-capacity", Driver MustNot ["5.2.6.1-1"], Asserted,
        "A read or a write does not reach beyond capacity.";
    SEGMENTS = "block.request.seg-max", Driver MustNot ["5.2.3"], Asserted,
        "With VIRTIO_BLK_F_SEG_MAX, the data of a request has no more than seg_max segments.";
    SEGMENT_SIZE = "block.request.size-max", Driver MustNot ["5.2.3"], Asserted,
        "With VIRTIO_BLK_F_SIZE_MAX, no segment of data is longer than size_max.";
    FLUSH_SECTOR = "block.flush.sector", Driver Must ["5.2.6.1-3"], Asserted,
        "sector of a flush is 0.";
    FLUSH_DATA = "block.flush.no-data", Driver ShouldNot ["5.2.6.1-4"], Asserted,
        "A flush has no data.";
    FLUSH_NEGOTIATED = "block.flush.negotiated", Driver ShouldNot ["5.2.3"], Asserted,
        "Flushes are sent only with VIRTIO_BLK_F_FLUSH.";
}

/// Nothing needs to be remembered.
pub(crate) struct Rules;

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules
    }

    /// Judges a request.
    #[inline]
    pub(super) fn request(
        &mut self,
        request: &BlockRequest,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let queue = Some(request.queue);
        verdicts.check(STATUS, request.has_status, queue, || {
            "a request without a device-writable byte".to_owned()
        });
        verdicts.check(HEADER, request.header.is_some(), queue, || {
            "a request with less than 16 device-readable bytes".to_owned()
        });
        let Some(header) = request.header else {
            return;
        };
        let known = matches!(
            header.kind,
            kind::IN | kind::OUT | kind::FLUSH | kind::GET_ID
        );
        verdicts.check(TYPE, known, queue, || {
            format!("a request of type {}", header.kind)
        });
        let zero = header.reserved == 0;
        verdicts.check_by(RESERVED, [true, zero], queue, || {
            format!("a request with {:#x} in reserved", header.reserved)
        });
        // Without a byte for the status one cannot say which bytes are data.
        if !request.has_status {
            return;
        }
        match header.kind {
            kind::IN => {
                verdicts.check(READ, request.readable == 0, queue, || {
                    format!(
                        "a read with {} device-readable bytes of data",
                        request.readable
                    )
                });
                transfer(request, header.sector, request.writable, verdicts);
            }
            kind::OUT => {
                verdicts.check(WRITE, request.writable == 0, queue, || {
                    format!(
                        "a write with {} device-writable bytes of data",
                        request.writable
                    )
                });
                transfer(request, header.sector, request.readable, verdicts);
            }
            kind::FLUSH => flush(request, header.sector, session, verdicts),
            _ => return,
        }
        if session.has(block::SEG_MAX) {
            let fits = request.segments <= request.seg_max;
            verdicts.check(SEGMENTS, fits, queue, || {
                format!(
                    "{} segments of data; seg_max is {}",
                    request.segments, request.seg_max
                )
            });
        }
        if session.has(block::SIZE_MAX) {
            let fits = request.longest_segment <= request.size_max;
            verdicts.check(SEGMENT_SIZE, fits, queue, || {
                format!(
                    "a segment of {} bytes; size_max is {}",
                    request.longest_segment, request.size_max
                )
            });
        }
    }
}

/// A read or a write of `len` bytes.
#[inline]
fn transfer(request: &BlockRequest, sector: u64, len: u64, verdicts: &mut Verdicts) {
    let queue = Some(request.queue);
    verdicts.check(SECTORS, len.is_multiple_of(512), queue, || {
        format!("{len} bytes of data at sector {sector}")
    });
    let end = sector.checked_add(len.div_ceil(512));
    let inside = end.is_some_and(|end| end <= request.capacity);
    verdicts.check(CAPACITY, inside, queue, || {
        format!(
            "{len} bytes of data at sector {sector}; the capacity is {} sectors",
            request.capacity
        )
    });
}

fn flush(request: &BlockRequest, sector: u64, session: &Session, verdicts: &mut Verdicts) {
    let queue = Some(request.queue);
    verdicts.check(FLUSH_SECTOR, sector == 0, queue, || {
        format!("a flush with sector {sector}")
    });
    let data = request.readable + request.writable;
    verdicts.check(FLUSH_DATA, data == 0, queue, || {
        format!("a flush with {data} bytes of data")
    });
    verdicts.check(FLUSH_NEGOTIATED, session.has(block::FLUSH), queue, || {
        "a flush without VIRTIO_BLK_F_FLUSH".to_owned()
    });
}

impl Chapter for Rules {
    fn see(&mut self, _event: &Event<'_>, _session: &Session, _verdicts: &mut Verdicts) {}
}
