//! A host that hangs. None of these tests ends if anything waits for it.

use std::sync::PoisonError;

use tempfile::NamedTempFile;

use super::tests::{MIB, image, writable};
use super::*;

const SEGMENT: Segment = Segment {
    addr: 0x1000,
    len: 512,
};

/// A read that is not done on the spot.
fn read(disk: &mut DiskImage, ram: &GuestRam) {
    let read = Operation::Read {
        offset: 0,
        into: &[SEGMENT],
    };
    let submitted = disk.submit(ram, 3, read);
    assert!(matches!(submitted, Submitted::Pending), "{submitted:?}");
    disk.start();
}

fn disk(file: &NamedTempFile, engine: EngineKind) -> Option<DiskImage> {
    let mut disk = DiskImage::open_with(&writable(file.path()), engine).ok()?;
    match &mut disk.engine {
        Engine::Ring(ring) => ring.reads_now = false,
        Engine::Pool(pool) => pool.reads_now = false,
    }
    Some(disk)
}

#[test]
fn what_hangs_in_a_thread_is_left_to_it() {
    let ram = GuestRam::anonymous(1 << 20);
    let file = image(MIB);
    let mut disk = disk(&file, EngineKind::Pool).expect("threads are everywhere");
    let Engine::Pool(pool) = &disk.engine else {
        panic!("it is a pool");
    };
    let host = pool.host();
    let hangs = host.lock().unwrap_or_else(PoisonError::into_inner);
    read(&mut disk, &ram);
    if let Engine::Pool(pool) = &disk.engine {
        pool.wait_until_running();
    }
    disk.cancel();
    assert!(!disk.is_quiet());
    assert!(disk.next_completion().is_none());
    drop(hangs);
    while !disk.is_quiet() {
        std::thread::yield_now();
    }
    assert!(disk.next_completion().is_none());
    // It works again.
    read(&mut disk, &ram);
    while disk.next_completion().is_none() {
        std::thread::yield_now();
    }
    let hangs = host.lock().unwrap_or_else(PoisonError::into_inner);
    read(&mut disk, &ram);
    if let Engine::Pool(pool) = &disk.engine {
        pool.wait_until_running();
    }
    drop(disk);
    // What hangs may still write.
    let again = DiskImage::open(&writable(file.path()));
    let why = again.err().map(|why| why.to_string()).unwrap_or_default();
    assert!(
        why.contains("is already a disk of a running guest"),
        "{why}"
    );
    drop(hangs);
}

#[test]
fn what_hangs_in_the_kernel_is_left_to_it() {
    let ram = GuestRam::anonymous(1 << 20);
    let file = image(MIB);
    let Some(mut disk) = disk(&file, EngineKind::Ring) else {
        eprintln!("this host has no io_uring");
        return;
    };
    read(&mut disk, &ram);
    if let Engine::Ring(ring) = &mut disk.engine {
        // One that never ends.
        ring.outstanding += 1;
    }
    disk.cancel();
    assert!(!disk.is_quiet());
    assert!(disk.next_completion().is_none());
    if let Engine::Ring(ring) = &mut disk.engine {
        ring.outstanding -= 1;
    }
    assert!(disk.is_quiet());
    read(&mut disk, &ram);
    while disk.next_completion().is_none() {
        std::thread::yield_now();
    }
    if let Engine::Ring(ring) = &mut disk.engine {
        ring.outstanding += 1;
    }
    drop(disk);
}
