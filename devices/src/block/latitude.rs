//! What a block device does otherwise where it makes use of latitudes (§5.2.4 to §5.2.6 of virtio
//! 1.0).

use stickler_conformance::event::{LatitudeEvent, ShownLatitude, Told};
use stickler_conformance::features::block as feature;
use stickler_conformance::latitude::Draw;
use stickler_conformance::{Latitude, Latitudes, Witness};

use super::config::Shape;
use super::disk::{Operation, Properties, SECTOR, Segment};
use crate::memory::GuestRam;

/// Latitudes that show in the configuration.
const IN_CONFIG: [Latitude; 6] = [
    Latitude::READ_ONLY,
    Latitude::FEW_SEGMENTS,
    Latitude::SMALL_SEGMENTS,
    Latitude::BLOCK_SIZES,
    Latitude::LARGE_BLOCKS,
    Latitude::WRITETHROUGH,
];

/// Sectors that fail, behind those of the disk.
const FAILING: u64 = 128;

/// Sectors by which the capacity grows.
const GROWTH: u64 = 256;

/// Requests between two changes of the capacity, at least and at most.
const BETWEEN: (u64, u64) = (16, 256);

/// What the device is free to do, and does.
pub(super) struct BlockLatitudes {
    latitudes: Latitudes,
    /// Sectors of the disk.
    disk: u64,
    /// Sectors there are at most, now or later.
    pub(super) reach: u64,
    extra: Extra,
    changes: Option<Changes>,
}

/// What there is behind the sectors of the disk.
enum Extra {
    Nothing,
    Failing,
    /// Sectors in memory.
    Memory(Vec<u8>),
}

/// A capacity that changes.
struct Changes {
    draw: Draw,
    /// The capacity when it is small.
    small: u64,
    grown: bool,
    /// Requests until the next change.
    left: u64,
}

/// What has been done of an operation.
pub(super) enum Served {
    /// Nothing: it is all on the disk.
    Nothing,
    /// All of it.
    All,
    /// It failed.
    Failed,
    /// What is not on the disk; these segments are left.
    Rest(Vec<Segment>),
}

impl BlockLatitudes {
    /// None at all.
    pub(super) fn none(disk: &Properties) -> Self {
        BlockLatitudes::new(Latitudes::default(), 0, disk)
    }

    pub(super) fn new(latitudes: Latitudes, slot: u8, disk: &Properties) -> Self {
        let (failing, changes) = (
            latitudes.has(Latitude::FAILING_SECTORS),
            latitudes.has(Latitude::CAPACITY_CHANGES),
        );
        let small = disk.capacity + if failing { FAILING } else { 0 };
        let changes = changes.then(|| {
            let mut draw = latitudes.numbers(Latitude::CAPACITY_CHANGES, slot);
            let left = between(&mut draw);
            Changes {
                draw,
                small,
                grown: false,
                left,
            }
        });
        let reach = small + changes.as_ref().map_or(0, |_| GROWTH);
        BlockLatitudes {
            latitudes,
            disk: disk.capacity,
            reach,
            extra: match &changes {
                _ if failing => Extra::Failing,
                Some(_) => Extra::Memory(vec![0; (GROWTH * SECTOR) as usize]),
                None => Extra::Nothing,
            },
            changes,
        }
    }

    /// Changes what the configuration is after a reset.
    pub(super) fn form(&self, latitudes: Latitudes, slot: u8, shape: &mut Shape) {
        let draw = |latitude| {
            latitudes
                .has(latitude)
                .then(|| latitudes.numbers(latitude, slot))
        };
        shape.capacity = self.changes.as_ref().map_or(self.reach, |c| c.small);
        if let Some(mut draw) = draw(Latitude::FEW_SEGMENTS) {
            let most = latitudes.number(Latitude::FEW_SEGMENTS, &mut draw) as u32;
            shape.seg_max = shape.seg_max.min(most);
            shape.size_max = draw.of(&[4096, 8192, 65536]);
        }
        if let Some(mut draw) = draw(Latitude::SMALL_SEGMENTS) {
            shape.size_max = latitudes.number(Latitude::SMALL_SEGMENTS, &mut draw) as u32;
        }
        if let Some(mut draw) = draw(Latitude::BLOCK_SIZES) {
            // The disk has whole blocks: drivers do not use what is behind the last one.
            let whole = |size: &u32| self.disk.is_multiple_of(u64::from(*size) / SECTOR);
            let sizes: Vec<u32> = [1024, 2048, 4096].into_iter().filter(whole).collect();
            let named = latitudes.named_number(Latitude::BLOCK_SIZES);
            let named = sizes.iter().find(|size| Some(u64::from(**size)) == named);
            if !sizes.is_empty() {
                let drawn = draw.of(&sizes);
                shape.blk_size = named.copied().unwrap_or(drawn);
            }
            shape.physical_block_exp = draw.below(9) as u8;
            shape.alignment_offset = draw.below(1 << shape.physical_block_exp) as u8;
            shape.min_io_size = draw.below(1 << 10) as u16;
            shape.opt_io_size = draw.below(1 << 16) as u32;
            let (cylinders, heads) = (1 + draw.below(65535), 1 + draw.below(255));
            shape.geometry = (cylinders as u16, heads as u8, 1 + draw.below(255) as u8);
        }
        if let Some(mut draw) = draw(Latitude::LARGE_BLOCKS) {
            shape.blk_size = latitudes.number(Latitude::LARGE_BLOCKS, &mut draw) as u32;
        }
        if latitudes.has(Latitude::WRITETHROUGH) {
            shape.writeback = 0;
        }
        if latitudes.has(Latitude::READ_ONLY) {
            shape.features |= feature::RO;
        }
    }

    /// The driver has set DRIVER_OK, with these features.
    pub(super) fn activate<W: Witness>(&self, negotiated: u64, witness: &mut W) {
        for latitude in IN_CONFIG {
            // A driver that has not accepted RO does not know.
            let unknown = latitude == Latitude::READ_ONLY && negotiated & feature::RO == 0;
            if self.latitudes.has(latitude) && !unknown {
                witness.see(&LatitudeEvent::Shown(latitude).into());
            }
        }
    }

    /// The capacity is again what it is after a reset.
    pub(super) fn reset(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.grown = false;
        }
    }

    /// A request is about to be served: the new capacity, if it changes now.
    #[inline]
    pub(super) fn changed_capacity<W: Witness>(&mut self, witness: &mut W) -> Option<u64> {
        let changes = self.changes.as_mut()?;
        changes.left = changes.left.saturating_sub(1);
        if changes.left > 0 {
            return None;
        }
        changes.left = between(&mut changes.draw);
        changes.grown = !changes.grown;
        let shown = ShownLatitude {
            latitude: Latitude::CAPACITY_CHANGES,
            told: Some(Told::Configuration),
            next: None,
        };
        witness.see(&LatitudeEvent::ShownAt(shown).into());
        Some(changes.small + if changes.grown { GROWTH } else { 0 })
    }

    /// Whether a request for the device id string is not supported.
    pub(super) fn refuses_id<W: Witness>(&self, witness: &mut W) -> bool {
        let refuses = self.latitudes.has(Latitude::REFUSED_ID);
        if refuses {
            witness.see(&LatitudeEvent::Shown(Latitude::REFUSED_ID).into());
        }
        refuses
    }

    /// Whether all writes fail (§5.2.6.2).
    pub(super) fn is_read_only(&self) -> bool {
        self.latitudes.has(Latitude::READ_ONLY)
    }

    /// Whether the device does not know what it has written of a request that failed (§2.4.8.2).
    pub(super) fn loses_count(&self) -> bool {
        self.latitudes.has(Latitude::UNKNOWN_LEN)
    }

    /// Serves of an operation, which lies within [`reach`](Self::reach), what is not on the disk.
    #[inline]
    pub(super) fn serve<W: Witness>(
        &mut self,
        ram: &GuestRam,
        operation: &Operation<'_>,
        witness: &mut W,
    ) -> Served {
        match self.extra {
            Extra::Nothing => Served::Nothing,
            _ => self.serve_extra(ram, operation, witness),
        }
    }

    fn serve_extra<W: Witness>(
        &mut self,
        ram: &GuestRam,
        operation: &Operation<'_>,
        witness: &mut W,
    ) -> Served {
        let (offset, segments, write) = match *operation {
            Operation::Read { offset, into } => (offset, into, false),
            Operation::Write { offset, from, .. } => (offset, from, true),
            Operation::Flush => return Served::Nothing,
        };
        let end = self.disk * SECTOR;
        let inside = end.saturating_sub(offset);
        let (inside_segments, outside) = split(segments, inside);
        if outside.is_empty() {
            return Served::Nothing;
        }
        let Extra::Memory(memory) = &mut self.extra else {
            witness.see(&LatitudeEvent::Shown(Latitude::FAILING_SECTORS).into());
            return Served::Failed;
        };
        let mut at = offset.saturating_sub(end) as usize;
        for segment in &outside {
            let len = segment.len as usize;
            let (Some(slice), Some(bytes)) =
                (ram.slice(segment.addr, len), memory.get_mut(at..at + len))
            else {
                return Served::Failed;
            };
            if write {
                slice.copy_to(bytes);
            } else {
                slice.copy_from(bytes);
            }
            at += len;
        }
        if inside_segments.is_empty() {
            Served::All
        } else {
            Served::Rest(inside_segments)
        }
    }
}

fn between(draw: &mut Draw) -> u64 {
    let (least, most) = BETWEEN;
    least + draw.below(most - least)
}

/// The first `at` bytes of `segments`, and the rest.
fn split(segments: &[Segment], at: u64) -> (Vec<Segment>, Vec<Segment>) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut left = at;
    for segment in segments {
        let len = u64::from(segment.len).min(left) as u32;
        left -= u64::from(len);
        if len > 0 {
            first.push(Segment { len, ..*segment });
        }
        if len < segment.len {
            rest.push(Segment {
                addr: segment.addr.wrapping_add(u64::from(len)),
                len: segment.len - len,
            });
        }
    }
    (first, rest)
}
