//! The block devices: the first takes writes, and has a pattern or a file system on it; the second is
//! read-only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use stickler_exerciser::{
    DISK_SEED, DISK_SIZE, GuestLine, LEFT_SEED, READ_ONLY_SEED, READ_ONLY_SIZE, pattern,
};

use crate::devices::{self, Kind, eventually};
use crate::doing;
use crate::failure::{Context, Result, ensure};
use crate::file_system;
use crate::machine::{has_latitude, say};

/// Past the page cache, in pieces as large as the device takes them.
const O_DIRECT: i32 = 0o40000;

/// Where what is read and written past the page cache has to lie in memory.
const ALIGNMENT: usize = 4096;

/// The least and the most that is read and written at once.
const SIZES: [usize; 9] = [
    4096,
    8192,
    12 << 10,
    32 << 10,
    64 << 10,
    68 << 10,
    128 << 10,
    512 << 10,
    1 << 20,
];

/// How long to wait where a disk has no driver at the moment.
const NO_DRIVER: Duration = Duration::from_millis(2);

/// Threads that read and write at once, each in its own part of the disk.
const THREADS: usize = 4;

/// Uses both disks in all ways.
pub(crate) fn exercise() -> Result {
    read_only_disk()?;
    let disk = Disk::first()?;
    // Where the device does not support the request there is nothing to read; it is made all the same.
    let serial = disk.attribute("serial");
    if !has_latitude("refused-id") {
        ensure(!serial?.is_empty(), || {
            format!("{} has no device ID string", disk.name)
        })?;
    }
    if file_system::is_expected() {
        disk.ends()?;
        file_system::exercise(&disk.name)?;
        return disk.write_cache(|mode| {
            file_system::write_synced(&disk.name, "cache-mode", mode.as_bytes())
        });
    }
    disk.compare_all(DISK_SEED, "as the host has made it")?;
    if !disk.takes_writes()? {
        return Ok(());
    }
    use_first(&disk)?;
    if has_latitude("failing-sectors") {
        disk.failing_sectors()?;
    }
    disk.write_cache(|_| {
        write_and_compare(&disk.open(true, O_DIRECT)?, 64 << 10, 0, 5000).context(&disk.name)?;
        disk.flush()
    })
}

/// Uses both disks once more.
pub(crate) fn use_again() -> Result {
    read_only_disk()?;
    let disk = Disk::first()?;
    if file_system::is_expected() {
        file_system::use_again(&disk.name)
    } else if disk.takes_writes()? {
        use_first(&disk)
    } else {
        Ok(())
    }
}

fn use_first(disk: &Disk) -> Result {
    disk.direct_sizes()?;
    disk.in_parallel()?;
    disk.buffered()
}

/// Leaves on the first disk what the host expects to find there.
pub(crate) fn leave() -> Result {
    if file_system::is_expected() {
        // The files are there, and unmounting has written them back.
        return Ok(());
    }
    let disk = Disk::first()?;
    if !disk.takes_writes()? {
        say(&GuestLine::Unwritten);
        return disk.compare_all(DISK_SEED, "as the host has made it");
    }
    doing("writing the whole disk");
    disk.buffered_file()?
        .write_all_at(&pattern::bytes(LEFT_SEED, DISK_SIZE), 0)
        .context("cannot write the whole disk")?;
    disk.flush()?;
    file_system::drop_caches()?;
    disk.compare_all(LEFT_SEED, "as it was written")
}

/// A disk that stickler provides.
struct Disk {
    /// The kernel's name for it, such as `vda`.
    name: String,
}

impl Disk {
    /// The disk of the `number`th block device.
    fn find(number: usize) -> Result<Self> {
        eventually(&format!("the disk of block device {number}"), || {
            let devices = devices::of(Kind::Block)?;
            let device = devices
                .get(number)
                .context(format!("there is no block device {number}"))?;
            let Some(virtio) = device.virtio() else {
                return Ok(None);
            };
            let found = devices::entries(&virtio.join("block"));
            let name = found.ok().and_then(|disks| {
                let disk = disks.first()?;
                Some(devices::name(disk).to_owned())
            });
            Ok(name
                .filter(|name| PathBuf::from(format!("/dev/{name}")).exists())
                .map(|name| Self { name }))
        })
    }

    fn first() -> Result<Self> {
        Self::find(0)
    }

    /// The disk of the `number`th block device, if it has a driver now.
    fn present(number: usize) -> Option<Self> {
        let devices = devices::of(Kind::Block).unwrap_or_default();
        let disks = devices::entries(&devices.get(number)?.virtio()?.join("block")).ok()?;
        let name = devices::name(disks.first()?).to_owned();
        Some(Self { name })
    }

    /// The first disk past the page cache, if it has a driver now and takes writes.
    fn to_write() -> Option<File> {
        let disk = Self::present(0)?;
        let takes_writes = disk.takes_writes().is_ok_and(|takes| takes);
        takes_writes
            .then(|| disk.open(true, O_DIRECT).ok())
            .flatten()
    }

    fn attribute(&self, name: &str) -> Result<String> {
        let path = format!("/sys/block/{}/{name}", self.name);
        let value = fs::read_to_string(&path).context(format!("cannot read {path}"))?;
        Ok(value.trim().to_owned())
    }

    fn takes_writes(&self) -> Result<bool> {
        Ok(self.attribute("ro")? == "0")
    }

    fn open(&self, write: bool, flags: i32) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(format!("/dev/{}", self.name))
            .context(format!("cannot open /dev/{}", self.name))
    }

    fn buffered_file(&self) -> Result<File> {
        self.open(true, 0)
    }

    /// Has the device write its cache to its medium.
    fn flush(&self) -> Result {
        doing(format!("flushing {}", self.name));
        self.buffered_file()?
            .sync_all()
            .context(format!("cannot flush {}", self.name))
    }

    /// Compares the whole first disk with a pattern.
    fn compare_all(&self, seed: u64, what: &str) -> Result {
        doing(format!("reading all of {}", self.name));
        let mut found = vec![0; DISK_SIZE];
        self.open(false, 0)?
            .read_exact_at(&mut found, 0)
            .context(format!("cannot read all of {}", self.name))?;
        pattern::compare(&found, &pattern::bytes(seed, DISK_SIZE))
            .map_err(|how| format!("{} is not {what}: {how}", self.name))
    }

    /// The smallest unit that the kernel reads and writes.
    fn sector(&self) -> Result<usize> {
        self.attribute("queue/logical_block_size")?
            .parse()
            .context("logical_block_size")
    }

    /// Requests of many sizes at many places, one at a time.
    fn direct_sizes(&self) -> Result {
        let file = self.open(true, O_DIRECT)?;
        let sector = self.sector()?;
        for (index, size) in SIZES.into_iter().enumerate() {
            let size = size.next_multiple_of(sector);
            let at = (index * 516 * 1024).min(DISK_SIZE - size);
            let at = at - at % ALIGNMENT.max(sector);
            write_and_compare(&file, size, at, 1000 + index as u64).context(&self.name)?;
        }
        // The device's smallest.
        let last = DISK_SIZE - sector;
        for at in [0, sector, 7 * sector, last] {
            write_and_compare(&file, sector, at, 2000 + at as u64).context(&self.name)?;
        }
        Ok(())
    }

    /// Several threads at once, so that many requests are in flight.
    fn in_parallel(&self) -> Result {
        doing(format!("using {} in parallel", self.name));
        const PART: usize = DISK_SIZE / THREADS;
        let sector = self.sector()?;
        let threads: Vec<_> = (0..THREADS)
            .map(|number| -> Result<_> {
                let file = self.open(true, O_DIRECT)?;
                Ok(thread::spawn(move || -> Result {
                    for (index, size) in [4096usize, 64 << 10, 256 << 10, 8192, 1 << 20]
                        .into_iter()
                        .enumerate()
                    {
                        let size = size.next_multiple_of(sector);
                        let seed = (3000 + 10 * number + index) as u64;
                        for at in (0..PART).step_by(size.max(PART / 8)) {
                            let at = number * PART + at;
                            write_and_compare(&file, size, at, seed + at as u64)?;
                        }
                        if index % 2 == number % 2 {
                            file.sync_data().context("cannot flush")?;
                        }
                    }
                    Ok(())
                }))
            })
            .collect::<Result<_>>()?;
        for thread in threads {
            thread
                .join()
                .map_err(|_| "a thread panicked".to_owned())?
                .context(format!("{}, {THREADS} threads at once", self.name))?;
        }
        Ok(())
    }

    /// Through the page cache, which makes requests of its own.
    fn buffered(&self) -> Result {
        const SIZE: usize = 2 << 20;
        const AT: u64 = 1 << 20;
        doing(format!("writing {} through the page cache", self.name));
        let data = pattern::bytes(4000, SIZE);
        let file = self.buffered_file()?;
        for (index, piece) in data.chunks(100_000).enumerate() {
            file.write_all_at(piece, AT + (index * 100_000) as u64)
                .context(format!("cannot write {}", self.name))?;
        }
        file.sync_all()
            .context(format!("cannot flush {}", self.name))?;
        drop(file);
        file_system::drop_caches()?;
        doing(format!("reading {} through the page cache", self.name));
        let mut found = vec![0; SIZE];
        self.open(false, 0)?
            .read_exact_at(&mut found, AT)
            .context(format!("cannot read {}", self.name))?;
        pattern::compare(&found, &data).map_err(|how| {
            format!(
                "{} gives back what was written through the page cache at {AT} wrong: {how}",
                self.name
            )
        })
    }

    /// Reads sectors behind those that the host fills, which fail, and then sectors that can be read.
    fn failing_sectors(&self) -> Result {
        doing(format!(
            "reading sectors of {} that cannot be read",
            self.name
        ));
        let file = self.open(false, O_DIRECT)?;
        let mut buffer = Aligned::new(ALIGNMENT.max(self.sector()?));
        let read = file.read_at(buffer.bytes(), DISK_SIZE as u64);
        ensure(!matches!(read, Ok(1..)), || {
            format!("sectors of {} that cannot be read were read", self.name)
        })?;
        file.read_exact_at(buffer.bytes(), 0)
            .context(format!("{} after a request that failed", self.name))
    }

    /// Reads the last sector and the first one.
    fn ends(&self) -> Result {
        doing(format!("reading both ends of {}", self.name));
        let mut sector = [0; 512];
        let mut disk = self.open(false, 0)?;
        for (end, what) in [(SeekFrom::End(-512), "last"), (SeekFrom::Start(0), "first")] {
            disk.seek(end)
                .and_then(|_| disk.read_exact(&mut sector))
                .context(format!("cannot read the {what} sector of {}", self.name))?;
        }
        Ok(())
    }

    /// Switches the disk's write cache off and on again, and calls `write` in each mode.
    fn write_cache(&self, write: impl Fn(&str) -> Result) -> Result {
        let path = format!("/sys/block/{}/cache_type", self.name);
        for mode in ["write through", "write back"] {
            doing(format!("switching the cache of {} to {mode}", self.name));
            match fs::write(&path, mode) {
                Ok(()) => {}
                // The device need not offer CONFIG_WCE.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
                Err(error) => return Err(error).context("cannot change the cache mode"),
            }
            let now = self.attribute("cache_type")?;
            ensure(now == mode, || {
                format!("the cache of {} is {now:?} instead of {mode:?}", self.name)
            })?;
            write(mode)?;
        }
        Ok(())
    }
}

/// The second disk reads as it should and takes no writes.
fn read_only_disk() -> Result {
    let disk = Disk::find(1)?;
    ensure(!disk.takes_writes()?, || {
        format!("the read-only disk {} is not read-only", disk.name)
    })?;
    let file = disk.open(false, O_DIRECT)?;
    let expected = pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE);
    let mut buffer = Aligned::new(128 << 10);
    for (index, expected) in expected.chunks(128 << 10).enumerate() {
        let at = index * (128 << 10);
        doing(format!("reading 128 KiB at {at} of {}", disk.name));
        file.read_exact_at(buffer.bytes(), at as u64)
            .context(format!("cannot read 128 KiB at {at} of {}", disk.name))?;
        pattern::compare(buffer.bytes(), expected).map_err(|how| {
            format!(
                "128 KiB at {at} of the read-only disk {} are wrong: {how}",
                disk.name
            )
        })?;
    }
    let written = disk
        .open(true, 0)
        .and_then(|file| file.write_all_at(&[0; 512], 0).context(""))
        .is_ok();
    ensure(!written, || {
        format!("the read-only disk {} takes writes", disk.name)
    })
}

/// Writes `size` bytes at `at` past the page cache, reads them back, and compares.
fn write_and_compare(file: &File, size: usize, at: usize, seed: u64) -> Result {
    let place = format!("{size} bytes at {at}");
    let data = pattern::bytes(seed, size);
    let mut buffer = Aligned::new(size);
    buffer.bytes().copy_from_slice(&data);
    doing(format!("writing {place}"));
    file.write_all_at(buffer.bytes(), at as u64)
        .context(format!("cannot write {place}"))?;
    buffer.bytes().fill(0);
    doing(format!("reading {place}"));
    file.read_exact_at(buffer.bytes(), at as u64)
        .context(format!("cannot read {place}"))?;
    pattern::compare(buffer.bytes(), &data).map_err(|how| format!("{place} come back wrong: {how}"))
}

/// Memory with the alignment that direct I/O needs.
struct Aligned {
    memory: Vec<u8>,
    size: usize,
}

impl Aligned {
    fn new(size: usize) -> Self {
        Self {
            memory: vec![0; size + ALIGNMENT],
            size,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let at = self.memory.as_ptr().align_offset(ALIGNMENT);
        &mut self.memory[at..at + self.size]
    }
}

/// Reads from both disks past the page cache until `stop` returns true; failures are ignored.
pub(crate) fn keep_reading(stop: impl Fn() -> bool) {
    let mut buffer = Aligned::new(64 << 10);
    let mut at = 0;
    while !stop() {
        let read = [0, 1].into_iter().any(|number| {
            Disk::present(number).is_some_and(|disk| {
                disk.open(false, O_DIRECT).is_ok_and(|file| {
                    (0..8).all(|_| {
                        at = (at + buffer.size) % READ_ONLY_SIZE;
                        file.read_at(buffer.bytes(), at as u64).is_ok()
                    })
                })
            })
        });
        if !read {
            thread::sleep(NO_DRIVER);
        }
    }
}

/// Writes to a part of the first disk past the page cache and compares what it reads back, until `stop`
/// returns true. Where a request fails, the disk has no driver at the moment.
pub(crate) fn keep_writing(stop: impl Fn() -> bool) -> Result {
    const AT: usize = 1 << 20;
    const PIECES: usize = 16;
    if file_system::is_expected() {
        return Ok(());
    }
    let mut buffer = Aligned::new(64 << 10);
    for seed in 5000.. {
        if stop() {
            break;
        }
        let at = AT + seed % PIECES * buffer.size;
        let data = pattern::bytes(seed as u64, buffer.size);
        buffer.bytes().copy_from_slice(&data);
        let done = Disk::to_write().is_some_and(|file| {
            file.write_all_at(buffer.bytes(), at as u64).is_ok() && {
                buffer.bytes().fill(0);
                file.read_exact_at(buffer.bytes(), at as u64).is_ok()
            }
        });
        if done {
            pattern::compare(buffer.bytes(), &data).map_err(|how| {
                format!("64 KiB at {at} of the first disk come back wrong while drivers come and go: {how}")
            })?;
        } else {
            thread::sleep(NO_DRIVER);
        }
    }
    Ok(())
}

/// Writes to the first disk what it contains after [`leave`], until `stop` returns true: however the guest
/// ends meanwhile, the disk contains what it should.
pub(crate) fn keep_rewriting(stop: impl Fn() -> bool) {
    if file_system::is_expected() {
        return;
    }
    let left = pattern::bytes(LEFT_SEED, DISK_SIZE);
    let mut buffer = Aligned::new(64 << 10);
    for at in (0..DISK_SIZE).step_by(buffer.size).cycle() {
        if stop() {
            break;
        }
        let size = buffer.size;
        buffer.bytes().copy_from_slice(&left[at..at + size]);
        let written = Disk::to_write()
            .is_some_and(|file| file.write_all_at(buffer.bytes(), at as u64).is_ok());
        if !written {
            thread::sleep(NO_DRIVER);
        }
    }
}
