//! The block devices: a file system with data on the first, a read-only second.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use stickler_guest_programs::exercise::{
    FROM_HOST_SEED, FROM_HOST_SIZE, GUEST_FILE_SEED, GUEST_FILE_SIZE, GUEST_FILES, READ_ONLY_SEED,
    READ_ONLY_SIZE,
};
use stickler_guest_programs::pattern;

const DISK: &str = "/dev/vda";
const READ_ONLY_DISK: &str = "/dev/vdb";
const AT: &str = "/mnt";

/// Everything a file system needs of its disk, and what the disk says of itself.
pub(crate) fn exercise() -> Result<()> {
    device_id()?;
    read_only_disk()?;
    last_sector()?;

    mounted(|| {
        check_file("from-host", FROM_HOST_SEED, FROM_HOST_SIZE)?;
        write_files()
    })?;
    drop_caches()?;
    mounted(check_guest_files)?;
    write_cache()
}

/// Reads everything once more.
pub(crate) fn use_again() -> Result<()> {
    drop_caches()?;
    mounted(|| {
        check_file("from-host", FROM_HOST_SEED, FROM_HOST_SIZE)?;
        check_guest_files()
    })?;
    read_only_disk()
}

/// Writes the files from several threads at once, so that many requests are in flight.
fn write_files() -> Result<()> {
    let writers: Vec<_> = (0..GUEST_FILES)
        .map(|number| {
            thread::spawn(move || -> Result<()> {
                let data = pattern::bytes(GUEST_FILE_SEED + number, GUEST_FILE_SIZE);
                let mut file = File::create(guest_file(number))?;
                for (index, piece) in data.chunks(256 << 10).enumerate() {
                    file.write_all(piece)?;
                    // Some of it a piece at a time: each is a flush.
                    if number % 2 == 0 && index % 4 == 0 {
                        file.sync_data()?;
                    }
                }
                file.sync_all()?;
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer
            .join()
            .map_err(|_| anyhow!("a writer panicked"))?
            .context("cannot write a file")?;
    }
    rustix::fs::sync();
    Ok(())
}

fn check_guest_files() -> Result<()> {
    (0..GUEST_FILES).try_for_each(|number| {
        check_file(
            &format!("guest-{number}"),
            GUEST_FILE_SEED + number,
            GUEST_FILE_SIZE,
        )
    })
}

fn guest_file(number: u64) -> PathBuf {
    Path::new(AT).join(format!("guest-{number}"))
}

fn check_file(name: &str, seed: u64, size: usize) -> Result<()> {
    let found =
        fs::read(Path::new(AT).join(name)).with_context(|| format!("cannot read {name}"))?;
    pattern::compare(&found, &pattern::bytes(seed, size))
        .map_err(|difference| anyhow!("{name} has changed: {difference}"))
}

/// Does `work` with the first disk's file system mounted.
fn mounted(work: impl FnOnce() -> Result<()>) -> Result<()> {
    fs::create_dir_all(AT)?;
    rustix::mount::mount(DISK, AT, "ext4", MountFlags::empty(), None::<&CStr>)
        .context("cannot mount the disk")?;
    let done = work();
    let unmounted = rustix::mount::unmount(AT, UnmountFlags::empty());
    done?;
    unmounted.context("cannot unmount the disk")
}

fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")
}

/// The disk has a device ID string, or the device does not support the request for one.
fn device_id() -> Result<()> {
    match fs::read_to_string("/sys/block/vda/serial") {
        Ok(serial) => ensure!(
            !serial.trim().is_empty(),
            "the disk has no device ID string"
        ),
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
        Err(error) => return Err(error).context("cannot read the disk's device ID string"),
    }
    Ok(())
}

/// What lies at the very end can be read, or it fails and the disk can be used nevertheless.
fn last_sector() -> Result<()> {
    let mut disk = File::open(DISK)?;
    let mut sector = [0; 512];
    disk.seek(SeekFrom::End(-512))?;
    match disk.read_exact(&mut sector) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {}
        // It was the last one a moment ago.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error).context("reading the disk's last sector"),
    }
    disk.rewind()?;
    disk.read_exact(&mut sector)
        .context("cannot read the disk's first sector")
}

/// The second disk reads as it should and takes no writes.
fn read_only_disk() -> Result<()> {
    ensure!(
        attribute("vdb", "ro")? == "1",
        "the read-only disk is not read-only"
    );
    let expected = pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE);
    // The device may have more sectors than it was given.
    let mut found = vec![0; READ_ONLY_SIZE];
    File::open(READ_ONLY_DISK)?
        .read_exact(&mut found)
        .context("cannot read the read-only disk")?;
    pattern::compare(&found, &expected)
        .map_err(|difference| anyhow!("the read-only disk has changed: {difference}"))?;
    let written = File::options()
        .write(true)
        .open(READ_ONLY_DISK)
        .and_then(|mut disk| {
            disk.write_all(&[0; 512])?;
            disk.sync_all()
        });
    match written {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error).context("writing to the read-only disk"),
        Ok(()) => bail!("the read-only disk takes writes"),
    }
}

/// Switches the disk's write cache off and on again.
fn write_cache() -> Result<()> {
    let path = "/sys/block/vda/cache_type";
    for mode in ["write through", "write back"] {
        match fs::write(path, mode) {
            Ok(()) => ensure!(
                attribute("vda", "cache_type")? == mode,
                "the disk does not take the cache mode {mode:?}"
            ),
            // The device need not offer CONFIG_WCE.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(error).context("cannot change the cache mode"),
        }
        mounted(|| {
            let mut file = File::create(Path::new(AT).join("cache-mode"))?;
            file.write_all(mode.as_bytes())?;
            file.sync_all()?;
            Ok(())
        })?;
    }
    Ok(())
}

fn attribute(disk: &str, name: &str) -> Result<String> {
    let path = format!("/sys/block/{disk}/{name}");
    let value = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(value.trim().to_owned())
}
