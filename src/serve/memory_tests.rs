//! Memory as clients share it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use stickler_vfio_user::request::Map;

use super::*;

const PAGE: u64 = 4096;

fn file(pages: u64) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(pages * PAGE).expect("sparse");
    file
}

/// `pages` pages from page `offset` of the file on, at page `address`.
fn piece(file: Option<&File>, offset: u64, address: u64, pages: u64) -> Map {
    Map {
        readable: true,
        writable: true,
        offset: offset * PAGE,
        address: address * PAGE,
        size: pages * PAGE,
        file: file.map(|file| file.try_clone().expect("a descriptor").into()),
    }
}

fn table(pieces: Vec<Map>) -> DmaTable {
    let mut table = DmaTable::default();
    for piece in pieces {
        table.map(piece).expect("it is free");
    }
    table
}

#[test]
fn pieces_that_adjoin_are_one_and_holes_are_no_memory() {
    let (first, second) = (file(8), file(8));
    let table = table(vec![
        piece(Some(&first), 4, 16, 2),
        piece(Some(&second), 0, 18, 1),
        piece(Some(&first), 0, 20, 1),
        piece(None, 0, 21, 1),
    ]);
    let ram = map(&table).expect("small");
    for (page, pages, there) in [
        (16, 3, true),
        (17, 2, true),
        (16, 4, false),
        (15, 1, false),
        (19, 1, false),
        (20, 1, true),
        (20, 2, false),
        (21, 1, false),
    ] {
        let found = ram.contains(page * PAGE, pages * PAGE);
        assert_eq!(found, there, "{pages} pages from {page}");
    }
    // Across the two files, in one go.
    let at = 18 * PAGE - 2;
    ram.slice(at, 4)
        .expect("memory")
        .copy_from(&[1_u8, 2, 3, 4]);
    let mut bytes = [0; 2];
    first
        .read_exact_at(&mut bytes, 6 * PAGE - 2)
        .expect("it is there");
    assert_eq!(bytes, [1, 2]);
    second.read_exact_at(&mut bytes, 0).expect("it is there");
    assert_eq!(bytes, [3, 4]);
}

#[test]
fn what_the_device_must_not_write_stays_as_it_is_for_others() {
    let rom = file(2);
    rom.write_all_at(b"ROM", 0).expect("there is room");
    let mut piece = piece(Some(&rom), 0, 16, 2);
    piece.writable = false;
    let ram = map(&table(vec![piece])).expect("small");
    let slice = ram.slice(16 * PAGE, 3).expect("memory");
    let mut bytes = [0_u8; 3];
    slice.copy_to(&mut bytes);
    assert_eq!(&bytes, b"ROM");
    slice.copy_from(b"RAM");
    rom.read_exact_at(&mut bytes, 0).expect("it is there");
    assert_eq!(&bytes, b"ROM");
}

#[test]
fn what_cannot_be_read_is_no_memory() {
    let file = file(1);
    let mut piece = piece(Some(&file), 0, 16, 1);
    piece.readable = false;
    let ram = map(&table(vec![piece])).expect("small");
    assert!(!ram.contains(16 * PAGE, 1));
    let nothing = map(&DmaTable::default()).expect("nothing to do");
    assert!(!nothing.contains(0, 1));
}

#[test]
fn memory_stays_for_those_who_still_use_it() {
    let file = file(1);
    let ram = map(&table(vec![piece(Some(&file), 0, 16, 1)])).expect("small");
    let user = ram.clone();
    drop(ram);
    user.slice(16 * PAGE, 1).expect("memory").copy_from(&[7_u8]);
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).expect("it is there");
    assert_eq!(byte, [7]);
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let check_alone = |map: Map| {
        let address = map.address;
        let table = table(vec![map]);
        check(&table, table.get(address).expect("it is there"))
    };
    let short = file(2);
    assert_eq!(check_alone(piece(Some(&short), 0, 16, 2)), Ok(()));
    assert_eq!(check_alone(piece(None, 0, 16, 1 << 50)), Ok(()));
    for (offset, pages) in [(0, 3), (1, 2), (2, 1), (1 << 40, 1)] {
        let piece = piece(Some(&short), offset, 16, pages);
        assert_eq!(check_alone(piece), Err(Errno::INVAL));
    }
    // A file that says it is larger than any memory.
    let absurd = file(1);
    absurd.set_len(1 << 43).expect("sparse");
    assert_eq!(check_alone(piece(Some(&absurd), 0, 16, 1)), Ok(()));
    let halves = table(vec![
        piece(Some(&absurd), 0, 0, 1 << 31),
        piece(Some(&absurd), 0, 1 << 32, 1 << 31),
        piece(Some(&absurd), 0, 1 << 33, 1),
    ]);
    let last = halves.get((1 << 33) * PAGE).expect("it is there");
    assert_eq!(check(&halves, last), Err(Errno::NOMEM));
    // No file at all.
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let mut pipe = piece(None, 0, 16, 1);
    pipe.file = Some(reader.into());
    assert_eq!(check_alone(pipe), Err(Errno::NODEV));
    // Memory may be mapped for reading only.
    let path = tempfile::NamedTempFile::new().expect("a file");
    path.as_file().set_len(PAGE).expect("sparse");
    let read_only = File::open(path.path()).expect("readable");
    assert_eq!(
        check_alone(piece(Some(&read_only), 0, 16, 1)),
        Err(Errno::ACCESS)
    );
}

#[test]
fn memory_goes_at_the_next_access_and_comes_at_once() {
    let file = file(8);
    let mut shared = SharedMemory::default();
    let all = || table(vec![piece(Some(&file), 0, 16, 4)]);
    shared.share(&all());
    let ram = shared.settle().expect("small").expect("there is more");
    assert!(ram.contains(16 * PAGE, 4 * PAGE));
    assert!(shared.update().expect("nothing to do").is_none());
    // Taken away and given back in two pieces, with no access between.
    shared.share(&DmaTable::default());
    assert!(shared.settle().expect("nothing to do").is_none());
    let pieces = || {
        table(vec![
            piece(Some(&file), 0, 16, 1),
            piece(Some(&file), 1, 17, 3),
            piece(Some(&file), 4, 32, 1),
        ])
    };
    shared.share(&pieces());
    let ram = shared
        .settle()
        .expect("small")
        .expect("it was cut otherwise");
    assert!(ram.contains(16 * PAGE, 4 * PAGE) && ram.contains(32 * PAGE, PAGE));
    // A part of it is gone.
    shared.share(&all());
    assert!(shared.settle().expect("nothing to do").is_none());
    let ram = shared.update().expect("small").expect("it is gone");
    assert!(!ram.contains(32 * PAGE, 1));
}
