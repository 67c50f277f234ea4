use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Advice, fadvise};
use tempfile::NamedTempFile;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::*;

pub(super) const MIB: u64 = 1 << 20;
const RAM: usize = 32 << 20;

/// An image of `len` bytes whose every 8 bytes are their own offset.
pub(super) fn image(len: u64) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..len / 8).flat_map(|i| (8 * i).to_le_bytes()).collect();
    file.write_all(&bytes).unwrap();
    file.as_file().sync_all().unwrap();
    file
}

pub(super) fn writable(path: &Path) -> DiskSpec {
    DiskSpec {
        path: path.into(),
        read_only: false,
    }
}

pub(super) fn read_only(path: &Path) -> DiskSpec {
    DiskSpec {
        path: path.into(),
        read_only: true,
    }
}

/// Runs a test with each engine. A host without io_uring has only one.
fn with_engines(len: u64, test: impl Fn(&mut DiskImage, &Path)) {
    for kind in [EngineKind::Ring, EngineKind::Pool] {
        let file = image(len);
        match DiskImage::open_with(&writable(file.path()), kind) {
            Ok(mut disk) => {
                assert_eq!(disk.engine(), kind);
                test(&mut disk, file.path());
            }
            Err(_) if kind == EngineKind::Ring => {
                eprintln!("this host has no io_uring");
            }
            Err(e) => panic!("{e}"),
        }
    }
}

/// Does an operation and waits for its end.
fn run(disk: &mut DiskImage, ram: &GuestRam, operation: Operation<'_>) -> io::Result<()> {
    match disk.submit(ram, 3, operation) {
        Submitted::Done(result) => result,
        Submitted::Pending => {
            disk.start();
            let completion = wait(disk);
            assert_eq!(completion.token, 3);
            completion.result
        }
    }
}

/// As where the file system cannot say what would block.
fn reads_block(disk: &mut DiskImage) {
    match &mut disk.engine {
        Engine::Ring(ring) => ring.reads_now = false,
        Engine::Pool(pool) => pool.reads_now = false,
    }
}

/// Waits as a worker does: for the descriptor.
pub(super) fn wait(disk: &mut DiskImage) -> Completion {
    loop {
        if let Some(completion) = disk.next_completion() {
            return completion;
        }
        // SAFETY: the descriptor is open as long as `disk` lives.
        let fd = unsafe { BorrowedFd::borrow_raw(disk.completion_fd()) };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_ne!(poll(&mut fds, Some(&patience)).unwrap(), 0, "no completion");
        disk.acknowledge();
    }
}

fn segments(list: &[(u64, u32)]) -> Vec<Segment> {
    list.iter()
        .map(|&(addr, len)| Segment { addr, len })
        .collect()
}

/// The 8 bytes of guest memory at `addr`.
fn word(ram: &GuestRam, addr: u64) -> u64 {
    ram.inner().read_obj(GuestAddress(addr)).unwrap()
}

#[test]
fn reads_go_to_the_segments_in_order() {
    with_engines(MIB, |disk, _| {
        let ram = GuestRam::anonymous(RAM);
        let into = segments(&[(0x5000, 512), (0x1001, 24), (0x9000, 488)]);
        let offset = 4096;
        run(
            disk,
            &ram,
            Operation::Read {
                offset,
                into: &into,
            },
        )
        .unwrap();
        assert_eq!(word(&ram, 0x5000), 4096);
        assert_eq!(word(&ram, 0x5000 + 504), 4600);
        assert_eq!(word(&ram, 0x1001), 4608);
        assert_eq!(word(&ram, 0x1001 + 16), 4624);
        assert_eq!(word(&ram, 0x1001 + 24), 0);
        assert_eq!(word(&ram, 0x9000), 4632);
        assert_eq!(word(&ram, 0x9000 + 480), 5112);
        assert_eq!(word(&ram, 0x9000 + 488), 0);
    });
}

#[test]
fn reads_that_would_block_complete_later() {
    with_engines(MIB, |disk, _| {
        let ram = GuestRam::anonymous(RAM);
        reads_block(disk);
        let into = segments(&[(0x5000, 4096)]);
        let operation = Operation::Read {
            offset: 8192,
            into: &into,
        };
        assert!(matches!(
            disk.submit(&ram, 7, operation),
            Submitted::Pending
        ));
        disk.start();
        let completion = wait(disk);
        assert_eq!(completion.token, 7);
        completion.result.unwrap();
        assert_eq!(word(&ram, 0x5000), 8192);
        assert!(disk.next_completion().is_none());
    });
}

#[test]
fn transfers_larger_than_a_window_arrive_whole() {
    with_engines(16 * MIB, |disk, path| {
        let ram = GuestRam::anonymous(RAM);
        // One segment larger than a window, small ones around it, and more in number than the
        // kernel takes at once.
        let mut list = vec![(0x1000, 512), (MIB, 9 << 20)];
        list.extend((0..1500).map(|i| (12 * MIB + 1024 * i, 512)));
        let list = segments(&list);
        let bytes: u64 = list.iter().map(|s| u64::from(s.len)).sum();
        let operation = Operation::Read {
            offset: 512,
            into: &list,
        };
        run(disk, &ram, operation).unwrap();
        assert_eq!(word(&ram, 0x1000), 512);
        for at in [0, 4 * MIB - 8, 4 * MIB, 9 * MIB - 8] {
            assert_eq!(word(&ram, MIB + at), 1024 + at);
        }
        for i in [0, 1023, 1024, 1499] {
            let at = word(&ram, 12 * MIB + 1024 * i);
            assert_eq!(at, 1024 + 9 * MIB + 512 * i);
        }
        for stable in [false, true] {
            let operation = Operation::Write {
                offset: 0,
                from: &list,
                stable,
            };
            run(disk, &ram, operation).unwrap();
        }
        let now = std::fs::read(path).unwrap();
        let end = bytes as usize;
        for at in (0..end).step_by(8) {
            assert_eq!(now[at..at + 8], (at as u64 + 512).to_le_bytes());
        }
        assert_eq!(now[end..end + 8], bytes.to_le_bytes());
        assert_eq!(now.len() as u64, 16 * MIB);
    });
}

#[test]
fn writes_and_flushes_reach_the_file() {
    with_engines(MIB, |disk, path| {
        let ram = GuestRam::anonymous(RAM);
        ram.inner()
            .write_slice(&[0xa5; 1024], GuestAddress(0x3000))
            .unwrap();
        let from = segments(&[(0x3000, 100), (0x3064, 412)]);
        for stable in [false, true] {
            let operation = Operation::Write {
                offset: 512 + 512 * u64::from(stable),
                from: &from,
                stable,
            };
            run(disk, &ram, operation).unwrap();
        }
        run(disk, &ram, Operation::Flush).unwrap();
        let now = std::fs::read(path).unwrap();
        assert_eq!(now[504..512], 504u64.to_le_bytes());
        assert!(now[512..1536].iter().all(|&b| b == 0xa5));
        assert_eq!(now[1536..1544], 1536u64.to_le_bytes());
    });
}

#[test]
fn many_operations_are_in_flight_at_once() {
    with_engines(MIB, |disk, _| {
        let ram = GuestRam::anonymous(RAM);
        reads_block(disk);
        // More than the ring has entries.
        for token in 0..1000u16 {
            let at = u64::from(token);
            let into = segments(&[(MIB + 512 * at, 512)]);
            let operation = Operation::Read {
                offset: 512 * at,
                into: &into,
            };
            assert!(matches!(
                disk.submit(&ram, token, operation),
                Submitted::Pending
            ));
        }
        disk.start();
        let mut tokens: Vec<u16> = (0..1000)
            .map(|_| {
                let completion = wait(disk);
                completion.result.unwrap();
                completion.token
            })
            .collect();
        tokens.sort_unstable();
        assert!(tokens.into_iter().eq(0..1000));
        for at in 0..1000 {
            assert_eq!(word(&ram, MIB + 512 * at), 512 * at);
        }
        assert!(disk.next_completion().is_none());
    });
}

/// As a device and its worker go about it: what is complete is taken at once, and after that only a
/// new edge is waited for.
#[test]
fn no_completion_is_missed_by_one_who_waits_for_edges() {
    with_engines(4 * MIB, |disk, path| {
        let ram = GuestRam::anonymous(RAM);
        let epoll = Epoll::new().unwrap();
        epoll
            .ctl(
                ControlOperation::Add,
                disk.completion_fd(),
                EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, 0),
            )
            .unwrap();
        let cached = File::open(path).unwrap();
        let mut events = [EpollEvent::default()];
        for round in 0..200u64 {
            // Out of the page cache, as far as it is clean.
            fadvise(&cached, 0, None, Advice::DontNeed).unwrap();
            let count = 1 + round % 20;
            let mut pending = 0;
            for i in 0..count {
                let at = (round * 7919 + i * 104_729) % 900 * 4096;
                let list = segments(&[(MIB * i, 2048), (MIB * i + 4096, 6144)]);
                let operation = match (round + i) % 5 {
                    0 => Operation::Flush,
                    1 => Operation::Write {
                        offset: at,
                        from: &list,
                        stable: round % 16 == 0,
                    },
                    _ => Operation::Read {
                        offset: at,
                        into: &list,
                    },
                };
                match disk.submit(&ram, i as u16, operation) {
                    Submitted::Done(result) => result.unwrap(),
                    Submitted::Pending => pending += 1,
                }
            }
            disk.start();
            loop {
                while let Some(completion) = disk.next_completion() {
                    completion.result.unwrap();
                    pending -= 1;
                }
                if pending == 0 {
                    break;
                }
                match epoll.wait(60_000, &mut events) {
                    Ok(n) => assert_ne!(n, 0, "round {round}: {pending} never completed"),
                    Err(e) => assert_eq!(e.kind(), io::ErrorKind::Interrupted),
                }
                disk.acknowledge();
            }
        }
    });
}

#[test]
fn after_cancel_memory_is_left_alone_and_nothing_is_reported() {
    with_engines(16 * MIB, |disk, _| {
        let ram = GuestRam::anonymous(RAM);
        reads_block(disk);
        for round in 0..4 {
            for token in 0..100 {
                let into = segments(&[(4096, 15 << 20)]);
                let operation = Operation::Read {
                    offset: MIB,
                    into: &into,
                };
                let submitted = disk.submit(&ram, token, operation);
                assert!(matches!(submitted, Submitted::Pending));
            }
            // Half of the rounds before anything has begun.
            if round % 2 == 0 {
                disk.start();
            }
            disk.cancel();
            ram.inner()
                .write_slice(&vec![0xee; 15 << 20], GuestAddress(4096))
                .unwrap();
            let mut now = vec![0; 15 << 20];
            ram.inner()
                .read_slice(&mut now, GuestAddress(4096))
                .unwrap();
            assert!(now == vec![0xee; 15 << 20], "written after cancel");
            assert!(disk.next_completion().is_none());
            // And the disk goes on working.
            let into = segments(&[(4096, 512)]);
            let operation = Operation::Read {
                offset: MIB,
                into: &into,
            };
            run(disk, &ram, operation).unwrap();
            assert_eq!(word(&ram, 4096), MIB);
        }
    });
}

#[test]
fn a_disk_that_goes_away_with_operations_in_flight_waits_for_them() {
    with_engines(16 * MIB, |disk, _| {
        let other = DiskImage::open_with(&writable(image(4096).path()), disk.engine()).unwrap();
        let mut disk = std::mem::replace(disk, other);
        let ram = GuestRam::anonymous(RAM);
        reads_block(&mut disk);
        for token in 0..50 {
            let into = segments(&[(4096, 15 << 20)]);
            let operation = Operation::Read {
                offset: MIB,
                into: &into,
            };
            let submitted = disk.submit(&ram, token, operation);
            assert!(matches!(submitted, Submitted::Pending));
        }
        disk.start();
        drop(disk);
        ram.inner()
            .write_slice(&vec![0xee; 15 << 20], GuestAddress(4096))
            .unwrap();
        let mut now = vec![0; 15 << 20];
        ram.inner()
            .read_slice(&mut now, GuestAddress(4096))
            .unwrap();
        assert!(now == vec![0xee; 15 << 20], "written after drop");
    });
}

#[test]
fn an_image_that_has_shrunk_fails_reads_beyond_its_end() {
    with_engines(MIB, |disk, path| {
        let ram = GuestRam::anonymous(RAM);
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(8192)
            .unwrap();
        let into = segments(&[(0x1000, 8192)]);
        let operation = Operation::Read {
            offset: 4096,
            into: &into,
        };
        let error = run(disk, &ram, operation).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_read_only_image_cannot_be_written() {
    for kind in [EngineKind::Ring, EngineKind::Pool] {
        let file = image(4096);
        let Ok(mut disk) = DiskImage::open_with(&read_only(file.path()), kind) else {
            assert_eq!(kind, EngineKind::Ring, "threads are always there");
            continue;
        };
        assert!(disk.properties().read_only);
        let ram = GuestRam::anonymous(RAM);
        let from = segments(&[(0x1000, 512)]);
        let operation = Operation::Write {
            offset: 0,
            from: &from,
            stable: false,
        };
        assert!(run(&mut disk, &ram, operation).is_err());
        run(&mut disk, &ram, Operation::Flush).unwrap();
    }
}

#[test]
fn segments_outside_memory_are_refused() {
    with_engines(MIB, |disk, _| {
        let ram = GuestRam::anonymous(RAM);
        let into = segments(&[(0x1000, 256), (RAM as u64 - 8, 256)]);
        let operation = Operation::Read {
            offset: 0,
            into: &into,
        };
        let error = run(disk, &ram, operation).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}
