//! Requests of every kind in every layout, compared with a model.
//!
//! Citations are of virtio 1.0.

use proptest::prelude::*;

use super::rig::{Buffer, DATA, ID, Rig};
use stickler_conformance::device::block::{kind, status};

const CAPACITY: u64 = 8;

/// Where the device-readable and the device-writable bytes lie in memory, back to back.
const READABLE: u64 = DATA;
const WRITABLE: u64 = DATA + 0x1_0000;

/// What a driver may expect of a request.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    used_len: u32,
    writable: Vec<u8>,
    disk: Vec<u8>,
}

/// The model: the request as two strings of bytes, nothing of descriptors.
fn model(disk: &[u8], read_only: bool, readable: &[u8], before: &[u8]) -> Expected {
    let mut e = Expected {
        used_len: before.len() as u32,
        writable: vec![0; before.len()],
        disk: disk.to_vec(),
    };
    let Some((state, data_in)) = e.writable.split_last_mut() else {
        return e;
    };
    if readable.len() < 16 {
        e.writable.copy_from_slice(before);
        *e.writable.last_mut().unwrap() = status::IOERR;
        e.used_len = 0;
        return e;
    }
    let (header, data_out) = readable.split_at(16);
    let sector = u64::from_le_bytes(header[8..].try_into().unwrap());
    let range = |len: usize| {
        let start = u128::from(sector) * 512;
        let end = start + len as u128;
        let fits = len.is_multiple_of(512) && end <= disk.len() as u128;
        fits.then_some(start as usize..end as usize)
    };
    *state = match u32::from_le_bytes(header[..4].try_into().unwrap()) {
        kind::IN => match range(data_in.len()) {
            Some(range) => {
                data_in.copy_from_slice(&disk[range]);
                status::OK
            }
            None => status::IOERR,
        },
        kind::OUT => match range(data_out.len()) {
            Some(range) if !read_only => {
                e.disk[range].copy_from_slice(data_out);
                status::OK
            }
            _ => status::IOERR,
        },
        kind::FLUSH => status::OK,
        kind::GET_ID => {
            let n = data_in.len().min(ID.len());
            data_in[..n].copy_from_slice(&ID[..n]);
            status::OK
        }
        _ => status::UNSUPP,
    };
    e
}

/// `len` bytes from `start`, cut at `cuts`.
fn cut(start: u64, len: usize, cuts: &[usize], write: bool) -> Vec<Buffer> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (len + 1)).collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|w| (start + w[0] as u64, (w[1] - w[0]) as u32, write))
        .collect()
}

/// What comes of the request that consists of these bytes, cut into these buffers.
fn outcome(
    rig: &mut Rig,
    readable: &[u8],
    before: &[u8],
    buffers: &[Buffer],
    later: bool,
) -> Expected {
    rig.write(READABLE, readable);
    rig.write(WRITABLE, before);
    rig.disk().later = later;
    let head = rig.offer(buffers);
    let _ = rig.notify();
    let waiting = rig.disk().waiting();
    for asked in &waiting {
        rig.disk().release(asked);
        let _ = rig.host_ready();
    }
    let used = rig.used();
    assert_eq!(used.len(), 1);
    assert_eq!(used[0].0, u32::from(head));
    let disk = rig.disk().data.clone();
    Expected {
        used_len: used[0].1,
        writable: rig.read(WRITABLE, before.len()),
        disk,
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut h = kind.to_le_bytes().to_vec();
    h.extend([0x77; 4]);
    h.extend(sector.to_le_bytes());
    h
}

/// §2.4.4.1: header, data and status cut at every byte.
#[test]
fn every_place_to_cut() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    let before = [0xbb; 513];
    for request in [kind::IN, kind::OUT] {
        let mut readable = header(request, 3);
        let writable = if request == kind::OUT {
            readable.extend([0xc3; 512]);
            1
        } else {
            513
        };
        for r in 0..=readable.len() {
            // Cut the writable part along with the readable one, at another place.
            let mut buffers = cut(READABLE, readable.len(), &[r], false);
            buffers.extend(cut(WRITABLE, writable, &[r * 7], true));
            let disk = rig.disk().data.clone();
            let expected = model(&disk, false, &readable, &before[..writable]);
            assert_eq!(expected.writable.last(), Some(&status::OK));
            let found = outcome(&mut rig, &readable, &before[..writable], &buffers, false);
            assert_eq!(found, expected, "cut at {r}");
        }
    }
    for w in 0..=513 {
        let readable = header(kind::IN, 5);
        let mut buffers = cut(READABLE, 16, &[], false);
        buffers.extend(cut(WRITABLE, 513, &[w], true));
        let disk = rig.disk().data.clone();
        let expected = model(&disk, false, &readable, &before);
        let found = outcome(&mut rig, &readable, &before, &buffers, false);
        assert_eq!(found, expected, "cut at {w}");
    }
}

fn kinds() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => Just(kind::IN),
        3 => Just(kind::OUT),
        1 => Just(kind::FLUSH),
        1 => Just(kind::GET_ID),
        1 => any::<u32>(),
    ]
}

fn sectors() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..=CAPACITY + 1,
        // Where sums and products overflow.
        1 => u64::MAX - 4..=u64::MAX,
        1 => u64::MAX / 512 - 2..=u64::MAX / 512 + 2,
        1 => any::<u64>(),
    ]
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => (0..5usize).prop_map(|n| n * 512),
        1 => 0..100usize,
        1 => 500..1100usize,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_layout_is_the_same_request(
        kind in kinds(),
        sector in sectors(),
        data_out in lengths(),
        data_in in lengths(),
        header_len in prop_oneof![9 => Just(16usize), 1 => 0..16usize],
        has_status in prop_oneof![9 => Just(true), 1 => Just(false)],
        read_only in any::<bool>(),
        later in any::<bool>(),
        cuts_out in prop::collection::vec(any::<usize>(), 0..6),
        cuts_in in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let mut rig = Rig::new(CAPACITY, 32, read_only);
        let mut readable = header(kind, sector);
        readable.truncate(header_len);
        if header_len == 16 {
            readable.extend((0..data_out).map(|i| i as u8 ^ 0x5a));
        }
        let before = vec![0xbb; if has_status { data_in + 1 } else { 0 }];
        let mut buffers = cut(READABLE, readable.len(), &cuts_out, false);
        if has_status {
            buffers.extend(cut(WRITABLE, before.len(), &cuts_in, true));
        }
        let disk = rig.disk().data.clone();
        let expected = model(&disk, read_only, &readable, &before);
        let found = outcome(&mut rig, &readable, &before, &buffers, later);
        prop_assert_eq!(found, expected);

        let told = rig.seen.0[0];
        prop_assert_eq!(told.header.is_some(), header_len == 16);
        prop_assert_eq!(told.has_status, has_status);
        prop_assert_eq!(told.readable, readable.len().saturating_sub(16) as u64);
        prop_assert_eq!(told.writable, before.len().saturating_sub(1) as u64);
        if let Some(h) = told.header {
            prop_assert_eq!((h.kind, h.reserved, h.sector), (kind, 0x7777_7777, sector));
        }
    }

    /// A driver that writes rubbish gets every chain back, or a device that needs a reset.
    #[test]
    fn rubbish_is_survived(
        buffers in prop::collection::vec(
            (any::<u16>(), prop_oneof![4 => 0..2000u32, 1 => any::<u32>()], any::<bool>()),
            1..8,
        ),
        memory in prop::collection::vec(any::<u8>(), 4096),
    ) {
        let mut rig = Rig::new(CAPACITY, 16, false);
        for page in 0..16 {
            rig.write(DATA + 4096 * page, &memory);
        }
        let buffers: Vec<Buffer> = buffers
            .into_iter()
            .map(|(at, len, write)| (DATA + u64::from(at), len, write))
            .collect();
        rig.offer(&buffers);
        let _ = rig.notify();
        prop_assert!(rig.signals.needs_reset || rig.used().len() == 1);
    }
}
