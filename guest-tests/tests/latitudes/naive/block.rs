//! The block device (§5.2 of virtio 1.0).

use stickler_conformance::device::block::status;
use stickler_conformance::features::block;
use stickler_conformance::layout::Structure;
use stickler_guest_tests::in_process::block::{SECTOR, kind};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;

cases! {
    fields_are_there: FEATURE_SUBSET on Block,
        |d| {
            d.initialize(u64::MAX, Interrupts::Msix);
            for (offset, width) in [(8, 4), (12, 4), (16, 2), (20, 4), (24, 1), (32, 1)] {
                d.read(Structure::Device, offset, width);
            }
        },
        Breaks "config.optional.offered", copes with reads_what_is_there;
    a_disk_can_be_read: FAILING_SECTORS on Block,
        |d| {
            d.initialize(block::FLUSH, Interrupts::Msix);
            let last = capacity(d) - 1;
            assert_eq!(read(d, last, 1).0, 0, "a broken disk");
        },
        Stops "a broken disk", copes with lives_with_failures;
    a_failed_request_has_its_len: UNKNOWN_LEN on ReadOnlyBlock,
        |d| {
            d.initialize(block::RO, Interrupts::Msix);
            assert_eq!(fails(d), 1, "no status");
        },
        Stops "no status",
        copes with |d| {
            d.initialize(block::RO, Interrupts::Msix);
            for _ in 0..3 {
                // It takes the request for failed, and what is in its buffers for nothing.
                assert_eq!(fails(d), 0);
                d.read_sector(7);
            }
            d.reset();
        };
    a_disk_can_be_written: READ_ONLY on Block,
        |d| {
            d.initialize(block::FLUSH, Interrupts::Msix);
            assert_eq!(write(d, 7, &[1; 512]), 0, "it takes no writes");
        },
        Stops "it takes no writes";
    a_disk_has_one_size: CAPACITY_CHANGES on Block,
        |d| {
            d.initialize(block::FLUSH, Interrupts::Msix);
            let known = capacity(d);
            for _ in 0..600 {
                d.read_sector(7);
                // What its user may want.
                assert!(capacity(d) <= known, "beyond the end");
            }
        },
        Stops "beyond the end", copes with follows_the_capacity;
    a_disk_has_a_name: REFUSED_ID on Block,
        |d| {
            d.initialize(block::FLUSH, Interrupts::Msix);
            assert_eq!(device_id(d).0, 0, "no device id");
        },
        Stops "no device id",
        copes with |d| {
            d.initialize(block::FLUSH, Interrupts::Msix);
            let (status, id) = device_id(d);
            assert_eq!((status, id), (status::UNSUPP, vec![0; 20]));
            d.write_and_read_back(7, 0x77);
            d.reset();
        };
    four_segments_are_not_many: FEW_SEGMENTS on Block,
        |d| {
            d.initialize(block::SEG_MAX | block::SIZE_MAX, Interrupts::Msix);
            let at = d.rig.allocate(8 * u64::from(SECTOR));
            let data: Vec<_> = (0..8)
                .map(|i| Buffer::writable(at + i * u64::from(SECTOR), SECTOR))
                .collect();
            assert_eq!(d.block_do(kind::IN, 0, &data), 0);
        },
        Breaks "block.request.seg-max", copes with keeps_to_the_limits;
    a_page_is_a_segment: SMALL_SEGMENTS on Block,
        |d| {
            d.initialize(block::SEG_MAX | block::SIZE_MAX, Interrupts::Msix);
            assert_eq!(read(d, 0, 8).0, 0);
        },
        Breaks "block.request.size-max", copes with keeps_to_the_limits;
    a_sector_is_a_block: BLOCK_SIZES on Block,
        |d| {
            d.initialize(block::BLK_SIZE, Interrupts::Msix);
            let size = d.read(Structure::Device, 20, 4) as u32;
            writes_blocks(d, size, 1);
        },
        Stops "another block's data", copes with counts_in_sectors;
    a_block_fits_into_a_page: LARGE_BLOCKS on Block,
        |d| {
            d.initialize(block::BLK_SIZE, Interrupts::Msix);
            assert!(d.read(Structure::Device, 20, 4) <= 4096, "too large a block");
        },
        Stops "too large a block", copes with counts_in_sectors;
    the_cache_is_a_writeback_cache: WRITETHROUGH on Block,
        |d| {
            d.initialize(block::FLUSH | block::CONFIG_WCE, Interrupts::Msix);
            assert_eq!(d.read(Structure::Device, 32, 1), 1, "no cache");
        },
        Stops "no cache", copes with sets_the_cache_mode;
}

fn capacity(d: &Driver<'_>) -> u64 {
    d.consistently(|d| d.read(Structure::Device, 0, 4) | d.read(Structure::Device, 4, 4) << 32)
}

/// Reads sectors into one buffer. Gives status and data.
fn read(d: &mut Driver<'_>, sector: u64, sectors: u32) -> (u8, Vec<u8>) {
    let len = sectors * SECTOR;
    let at = d.rig.allocate(u64::from(len));
    let status = d.block_do(kind::IN, sector, &[Buffer::writable(at, len)]);
    (status, d.rig.read_bytes(at, len as usize))
}

/// Writes sectors from one buffer. Gives the status.
fn write(d: &mut Driver<'_>, sector: u64, data: &[u8]) -> u8 {
    let at = d.rig.allocate(data.len() as u64);
    d.rig.write_bytes(at, data);
    let data = Buffer::readable(at, data.len() as u32);
    d.block_do(kind::OUT, sector, &[data])
}

/// Writes to a disk that is read-only; gives len of what comes back.
fn fails(d: &mut Driver<'_>) -> u32 {
    let at = d.rig.allocate(u64::from(SECTOR));
    let request = d.block_request(kind::OUT, 7, &[Buffer::readable(at, SECTOR)]);
    d.submit(0, &request);
    d.wait_used(0)[0].1
}

/// Asks for the device id string (§5.2.6 (1.2)). Gives status and string.
fn device_id(d: &mut Driver<'_>) -> (u8, Vec<u8>) {
    let at = d.rig.allocate(20);
    let status = d.block_do(kind::GET_ID, 0, &[Buffer::writable(at, 20)]);
    (status, d.rig.read_bytes(at, 20))
}

/// Reads the fields whose features are offered, and no others.
fn reads_what_is_there(d: &mut Driver<'_>) {
    d.initialize(u64::MAX, Interrupts::Msix);
    for field in d.kind.config_fields() {
        if field.feature == 0 || d.features & field.feature != 0 {
            d.consistently(|d| {
                for at in (0..field.len()).step_by(4) {
                    d.read(
                        Structure::Device,
                        field.offset + at,
                        field.width.min(4).into(),
                    );
                }
            });
        }
    }
    for _ in 0..4 {
        d.exercise();
    }
    d.reset();
}

/// What lies at the end of the disk fails, and what lies before does not.
fn lives_with_failures(d: &mut Driver<'_>) {
    d.initialize(block::FLUSH, Interrupts::Msix);
    let end = capacity(d);
    for _ in 0..3 {
        assert_eq!(read(d, end - 1, 1).0, 1);
        assert_eq!(write(d, end - 8, &[1; 4096]), 1);
        d.write_and_read_back(7, 0x5a);
        // The last one before, and one that reaches beyond it.
        let last = stickler_guest_tests::in_process::devices::SECTORS - 1;
        d.write_and_read_back(last, 0xa5);
        assert_eq!(read(d, last, 2).0, 1);
    }
    d.reset();
}

/// Looks at capacity before it uses the end of the disk, and finds there what it wrote, as long as it
/// is there.
fn follows_the_capacity(d: &mut Driver<'_>) {
    d.initialize(block::FLUSH, Interrupts::Msix);
    let small = capacity(d);
    assert_eq!(write(d, small - 2, &[0x11; 1024]), 0);
    let mut grown = None;
    for _ in 0..600 {
        let now = capacity(d);
        if now > small && grown.is_none() {
            // Across the old end, and at the new one.
            assert_eq!(write(d, small - 1, &[0x22; 1024]), 0);
            assert_eq!(write(d, now - 1, &[0x33; 512]), 0);
            grown = Some(now);
        } else if let Some(end) = grown {
            assert_eq!(
                read(d, small - 2, 2),
                (0, [[0x11; 512], [0x22; 512]].concat())
            );
            if now == end {
                assert_eq!(read(d, small, 1), (0, vec![0x22; 512]));
                assert_eq!(read(d, end - 1, 1), (0, vec![0x33; 512]));
            }
        }
        d.read_sector(7);
    }
    assert!(grown.is_some());
    d.reset();
}

/// Makes requests of as many segments as there may be, as large as they may be.
fn keeps_to_the_limits(d: &mut Driver<'_>) {
    d.initialize(block::SEG_MAX | block::SIZE_MAX, Interrupts::Msix);
    let size_max = d.read(Structure::Device, 8, 4) as u32;
    let seg_max = (d.read(Structure::Device, 12, 4) as u32).min(8);
    let data: Vec<u8> = (0..16 * 4096_u32).map(|i| (i / 100) as u8).collect();
    for (kind, seed) in [(kind::OUT, &data[..]), (kind::IN, &[][..])] {
        let at = d.rig.allocate(data.len() as u64);
        d.rig.write_bytes(at, seed);
        let segment = size_max.min(4096);
        let request = u64::from(segment * seg_max);
        let len = data.len() as u64;
        for start in (0..len).step_by(request as usize) {
            let end = len.min(start + request);
            let segments: Vec<_> = (start..end)
                .step_by(segment as usize)
                .map(|from| {
                    let len = (end - from).min(u64::from(segment)) as u32;
                    match kind {
                        kind::OUT => Buffer::readable(at + from, len),
                        _ => Buffer::writable(at + from, len),
                    }
                })
                .collect();
            assert_eq!(
                d.block_do(kind, 64 + start / u64::from(SECTOR), &segments),
                0
            );
        }
        assert_eq!(d.rig.read_bytes(at, data.len()), data);
    }
    d.reset();
}

/// Writes some blocks, each with its number, and reads them again; a block begins `sectors` sectors
/// after the one before.
fn writes_blocks(d: &mut Driver<'_>, size: u32, sectors: u64) {
    for block in 0..4 {
        assert_eq!(
            write(d, block * sectors, &vec![block as u8; size as usize]),
            0
        );
    }
    for block in 0..4 {
        let found = read(d, block * sectors, size / SECTOR);
        let written = (0, vec![block as u8; size as usize]);
        assert!(found == written, "another block's data");
    }
}

fn counts_in_sectors(d: &mut Driver<'_>) {
    d.initialize(
        block::BLK_SIZE | block::TOPOLOGY | block::GEOMETRY,
        Interrupts::Msix,
    );
    let size = d.read(Structure::Device, 20, 4) as u32;
    writes_blocks(d, size, u64::from(size / SECTOR));
    // Nor does it have to be a block.
    d.write_and_read_back(7, 0x5a);
    d.reset();
}

/// Finds out which mode the cache is in, and sets the one that it wants.
fn sets_the_cache_mode(d: &mut Driver<'_>) {
    d.initialize(block::FLUSH | block::CONFIG_WCE, Interrupts::Msix);
    assert_eq!(d.read(Structure::Device, 32, 1), 0);
    for mode in [1, 0] {
        d.write(Structure::Device, 32, 1, mode);
        assert_eq!(d.read(Structure::Device, 32, 1), mode);
        d.write_and_read_back(7, 0x40 + mode as u8);
    }
    d.reset();
}
