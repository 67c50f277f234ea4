//! A host that is busy, and one whose disk fails.

use std::io;

use tempfile::NamedTempFile;

use super::tests::{MIB, image, wait, writable};
use super::*;

#[test]
fn what_the_kernel_would_not_take_is_tried_again() {
    let file = image(MIB);
    let Ok(mut disk) = DiskImage::open_with(&writable(file.path()), EngineKind::Ring) else {
        eprintln!("this host has no io_uring");
        return;
    };
    let ram = GuestRam::anonymous(1 << 20);
    for refusal in [libc::EAGAIN, libc::EBUSY, libc::ENOMEM] {
        if let Engine::Ring(ring) = &mut disk.engine {
            ring.refusals.extend([refusal, libc::EINTR, refusal]);
        }
        let submitted = disk.submit(&ram, 3, Operation::Flush);
        assert!(matches!(submitted, Submitted::Pending));
        for _ in 0..2 {
            disk.start();
            assert!(disk.is_stalled());
            assert!(disk.next_completion().is_none());
        }
        disk.start();
        assert!(!disk.is_stalled());
        assert!(wait(&mut disk).result.is_ok());
    }
}

/// An image that cannot be flushed: nothing flushes what is no file.
fn unflushable(file: &NamedTempFile, kind: EngineKind) -> Option<DiskImage> {
    let mut disk = DiskImage::open(&writable(file.path())).expect("it is an image");
    let image = ImageFiles {
        data: Arc::new(File::open(file.path()).expect("it is there")),
        sync: Arc::new(File::open("/dev/null").expect("it is everywhere")),
        durability: disk.durability.clone(),
    };
    disk.engine = Engine::new(&image, kind).ok()?;
    Some(disk)
}

#[test]
fn after_a_failed_flush_all_fail_at_once() {
    let ram = GuestRam::anonymous(1 << 20);
    for kind in [EngineKind::Ring, EngineKind::Pool] {
        let file = image(MIB);
        let Some(mut disk) = unflushable(&file, kind) else {
            eprintln!("this host has no io_uring");
            continue;
        };
        for token in 0..3 {
            let submitted = disk.submit(&ram, token, Operation::Flush);
            assert!(matches!(submitted, Submitted::Pending));
        }
        disk.start();
        for token in 0..3 {
            let completion = wait(&mut disk);
            assert_eq!(completion.token, token);
            assert!(completion.result.is_err());
        }
        // Also with a host that has recovered, and after a reset.
        let data = Arc::new(File::open(file.path()).expect("it is there"));
        let recovered = ImageFiles {
            sync: data.clone(),
            data,
            durability: disk.durability.clone(),
        };
        disk.engine = Engine::new(&recovered, kind).expect("as before");
        disk.cancel();
        let again: io::Result<()> = match disk.submit(&ram, 0, Operation::Flush) {
            Submitted::Done(result) => result,
            Submitted::Pending => wait(&mut disk).result,
        };
        assert!(again.is_err());
    }
}

#[test]
fn long_lists_of_segments_are_given_back() {
    const SECTORS: u64 = 2048;
    let ram = GuestRam::anonymous(1 << 20);
    for kind in [EngineKind::Ring, EngineKind::Pool] {
        let file = image(MIB);
        let Ok(mut disk) = DiskImage::open_with(&writable(file.path()), kind) else {
            eprintln!("this host has no io_uring");
            continue;
        };
        for count in [1, SECTORS] {
            let segment = Segment { addr: 0, len: 512 };
            let into = vec![segment; count as usize];
            for token in 0..4 {
                let read = Operation::Read {
                    offset: 0,
                    into: &into,
                };
                if let Submitted::Pending = disk.submit(&ram, token, read) {
                    disk.start();
                    wait(&mut disk).result.expect("it is there");
                }
            }
        }
        let spare = match &mut disk.engine {
            Engine::Ring(ring) => ring.spare_buffers(),
            Engine::Pool(pool) => pool.spare_buffers(),
        };
        assert!(spare.capacity() <= 512, "{}", spare.capacity());
    }
}
