//! The entropy device (§5.4 of virtio 1.0).

use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;

cases! {
    a_buffer_comes_back_full: ONE_BYTE on Entropy, takes_the_whole_buffer,
        Stops "not random", copes with collects;
    bytes_come_all_at_once: SHORT_READS on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            for _ in 0..10 {
                assert_eq!(ask(d).1, ROOM, "too few bytes");
            }
        },
        Stops "too few bytes", copes with collects;
}

/// Bytes that a driver wants.
const ROOM: u32 = 64;

/// Gives the device a buffer of zeros; gives its bytes, and how many of them it is said to have
/// written.
fn ask(d: &mut Driver<'_>) -> (Vec<u8>, u32) {
    let at = d.rig.allocate(u64::from(ROOM));
    d.rig.write_bytes(at, &[0; ROOM as usize]);
    d.submit(0, &[Buffer::writable(at, ROOM)]);
    let len = d.wait_used(0)[0].1;
    (d.rig.read_bytes(at, ROOM as usize), len)
}

/// Goes by the size of the buffer.
fn takes_the_whole_buffer(d: &mut Driver<'_>) {
    d.initialize(0, Interrupts::Msix);
    let (bytes, _) = ask(d);
    assert!(bytes.iter().any(|byte| *byte != 0));
    // Of random bytes, so many are never zero.
    assert!(bytes[1..].iter().any(|byte| *byte != 0), "not random");
}

/// Goes by the length, and asks for what is missing.
fn collects(d: &mut Driver<'_>) {
    d.initialize(0, Interrupts::Msix);
    for _ in 0..4 {
        let mut random: Vec<u8> = Vec::new();
        while random.len() < ROOM as usize {
            let (bytes, len) = ask(d);
            let (written, rest) = bytes.split_at(len as usize);
            assert!(!written.is_empty(), "§5.4.6.2");
            assert!(rest.iter().all(|byte| *byte == 0), "more than was said");
            random.extend(written);
        }
        assert!(random.iter().filter(|byte| **byte != 0).count() > 32);
    }
    d.reset();
}
