//! The block device (§5.2 of virtio 1.0).

use super::Chapter;
use super::features::accept_offered;
use super::read_only::ReadOnlyFields;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::device::block::WRITEBACK as WRITEBACK_FIELD;
use crate::device::block::kind;
use crate::event::{BlockRequest, ControlEvent, DataEvent, FeatureEvent, RegisterEvent};
use crate::features::block;
use crate::judge::Verdicts;
use crate::layout::{Structure, status};
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter Block;

    HEADER = "block.request.header", Driver Must ["5.2.6"], Asserted,
        "A request begins with 16 device-readable bytes: type, reserved, sector.";
    STATUS = "block.request.status", Driver Must ["5.2.6"], Asserted,
        "A request ends with a device-writable byte for the status.";
    TYPE = "block.request.type", Driver Should ["5.2.6"], Asserted,
        "A request is a read, a write, or a flush.";
    RESERVED = "block.request.reserved", Driver Should ["5.2.6"], Asserted,
        "The header's reserved field is 0.",
        readings [
            "any": "The reserved field has no meaning and may have any value: older devices used it for the request's priority.",
            "zero": "The reserved field is written as 0.",
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
    WRITE_RO = "block.request.write-read-only", Driver ShouldNot ["5.2.3", "5.2.6"], Asserted,
        "No write is sent to a disk that is read-only.",
        readings [
            "may-fail": "A write may be sent, and fails.",
            "not-sent": "A driver that can see VIRTIO_BLK_F_RO sends none.",
        ];
    FLUSH_NEGOTIATED = "block.flush.negotiated", Driver ShouldNot ["5.2.3"], Asserted,
        "Flushes are sent only with VIRTIO_BLK_F_FLUSH.";
    BLOCK_READ_ONLY = "block.config.read-only", Driver ShouldNot ["5.2.4", "5.2.5"], Asserted,
        "The driver writes no field of a block device's configuration except writeback.";
    WRITEBACK_EARLY = "block.config.writeback-read-early", Driver MustNot ["5.2.5.1-4"], Asserted,
        "writeback is not read before FEATURES_OK has been set.";
    WRITEBACK_NEGOTIATED = "block.config.writeback-negotiated", Driver MustNot ["5.2.5"], Asserted,
        "writeback is written only if VIRTIO_BLK_F_CONFIG_WCE was negotiated.";
    WRITEBACK_VALUE = "block.config.writeback-value", Driver Must ["5.2.5"], Asserted,
        "The value written to writeback is 0 or 1.";
    WRITEBACK = "block.config.writeback-switch", Driver May ["5.2.6.1-5"], Asserted,
        "With VIRTIO_BLK_F_CONFIG_WCE, the driver may switch the cache mode through writeback.";
    CACHE_DEDUCED = "block.cache.deduce-writethrough", Driver May ["5.2.5.1-2"], Asserted,
        "Without VIRTIO_BLK_F_CONFIG_WCE and VIRTIO_BLK_F_FLUSH, the driver may assume a writethrough cache and never flush.";
    ACCEPT_RO = "block.features.ro", Driver Should ["5.2.6.1-2"], Asserted,
        "The driver accepts VIRTIO_BLK_F_RO if it is offered.";

    @unobservable {
        "block.config.writeback-no-reliance", Driver MustNot ["5.2.6.1-6"],
            "what a driver assumes to be on stable storage is not visible to the device",
            "After writing 0 to writeback, the driver does not assume that earlier writes are committed.";
        "block.cache.assume-writeback", Driver Should ["5.2.5.1-3"],
            "which cache a driver assumes is visible at most in when it flushes, which is its own choice",
            "With VIRTIO_BLK_F_FLUSH and without CONFIG_WCE, the driver assumes a writeback cache.";
        "block.features.flush", Driver ShouldNot ["5.2.5.1-1"],
            "a driver that sends no flush may be unable to send one, or may have had nothing to flush",
            "A driver that cannot send flush requests does not accept VIRTIO_BLK_F_FLUSH.";
    }
}

advice! {
    "block":
        "A request does not match the device: it exceeds the capacity or a limit, needs a feature that was not negotiated, or has a wrong layout.";
        "Compare sector and length with capacity, keep the length of data a multiple of 512 bytes, and put 16 bytes of header before the data and one device-writable status byte after it.";
    "block.request.reserved":
        "The header's reserved field is not 0: it was not cleared, or is used for the priority, as before virtio 1.0.";
        "Write 0 to reserved.";
}

/// The state of this chapter's rules.
pub(crate) struct BlockRules {
    read_only: ReadOnlyFields,
}

/// Judges a request.
#[inline]
fn judge(request: &BlockRequest, session: &Session, verdicts: &mut Verdicts) {
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
    if session.offered & block::RO != 0 {
        let reads = header.kind != kind::OUT;
        verdicts.check_by(WRITE_RO, [true, reads], queue, || {
            format!("a write at sector {} of a read-only disk", header.sector)
        });
    }
    let zero = header.reserved == 0;
    verdicts.check_by(RESERVED, [true, zero], queue, || {
        format!("a request with {:#x} in reserved", header.reserved)
    });
    // Without a status byte, it is unknown which bytes are data.
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

/// An access to the configuration: writeback (§5.2.5).
fn accessed(event: &RegisterEvent, session: &Session, verdicts: &mut Verdicts) {
    let features_ok = session.status & status::FEATURES_OK != 0;
    match event {
        RegisterEvent::Read(register) => {
            if register.structure == Structure::Device && register.covers(WRITEBACK_FIELD) {
                verdicts.check(WRITEBACK_EARLY, session.is_decided(), None, || {
                    format!(
                        "writeback read while device status is {}",
                        status::names(session.status)
                    )
                });
            }
        }
        RegisterEvent::Written(register) => {
            let Some(value) = register
                .byte(WRITEBACK_FIELD)
                .filter(|_| register.structure == Structure::Device)
            else {
                return;
            };
            let negotiated = session.has(block::CONFIG_WCE);
            // Before FEATURES_OK, the wrong time is reported instead.
            if features_ok {
                verdicts.check(WRITEBACK_NEGOTIATED, negotiated, None, || {
                    "writeback written without VIRTIO_BLK_F_CONFIG_WCE".to_owned()
                });
            }
            if verdicts.check(WRITEBACK_VALUE, value <= 1, None, || {
                format!("writeback written as {value}")
            }) && negotiated
            {
                verdicts.held(WRITEBACK);
            }
        }
    }
}

impl Chapter for BlockRules {
    fn new(_kind: DeviceKind) -> Self {
        BlockRules {
            read_only: ReadOnlyFields::new(BLOCK_READ_ONLY),
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        if session.kind != DeviceKind::Block {
            return;
        }
        match event {
            ControlEvent::Register(event) => {
                self.read_only.register(event, session, verdicts);
                accessed(event, session, verdicts);
            }
            ControlEvent::Status(event) => {
                self.read_only.status(*event, verdicts);
                const CACHE: u64 = block::CONFIG_WCE | block::FLUSH;
                if event.sets_driver_ok() && session.negotiated & CACHE == 0 {
                    verdicts.held(CACHE_DEDUCED);
                }
            }
            ControlEvent::Feature(FeatureEvent::Decided {
                offered, accepted, ..
            }) => accept_offered(ACCEPT_RO, block::RO, *offered, *accepted, session, verdicts),
            ControlEvent::Feature(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            DataEvent::BlockRequest(request) => judge(request, session, verdicts),
            DataEvent::Exposed(_)
            | DataEvent::AvailableRead(_)
            | DataEvent::Returned { .. }
            | DataEvent::NetTransmit(_) => {}
        }
    }
}
