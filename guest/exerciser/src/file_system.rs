//! A file system on the first disk: a file that the host has put there, and files for the host.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use stickler_exerciser::{
    DISK_PARAMETER, FROM_HOST, FROM_HOST_SEED, FROM_HOST_SIZE, GUEST_FILE_SEED, GUEST_FILE_SIZE,
    GUEST_FILES, pattern,
};

use crate::doing;
use crate::failure::{Context, Result};
use crate::machine::parameter;
use crate::sys;

const AT: &str = "/mnt";
const MOUNT_POINT: &CStr = c"/mnt";

/// Whether the first disk has a file system.
pub(crate) fn is_expected() -> bool {
    parameter(DISK_PARAMETER).as_deref() == Some("file-system")
}

/// Reads the host's file, and writes files, which are then read from the disk again.
pub(crate) fn exercise(disk: &str) -> Result {
    mounted(disk, || {
        check_file(FROM_HOST, FROM_HOST_SEED, FROM_HOST_SIZE)?;
        write_files()
    })?;
    use_again(disk)
}

/// Reads all files from the disk.
pub(crate) fn use_again(disk: &str) -> Result {
    drop_caches()?;
    mounted(disk, || {
        check_file(FROM_HOST, FROM_HOST_SEED, FROM_HOST_SIZE)?;
        (0..GUEST_FILES).try_for_each(|number| {
            check_file(
                &format!("guest-{number}"),
                GUEST_FILE_SEED + number,
                GUEST_FILE_SIZE,
            )
        })
    })
}

/// Writes a file with `content` and has it written back.
pub(crate) fn write_synced(disk: &str, name: &str, content: &[u8]) -> Result {
    mounted(disk, || {
        let path = Path::new(AT).join(name);
        doing(format!("writing {}", path.display()));
        let mut file = File::create(&path).context(format!("cannot create {}", path.display()))?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .context(format!("cannot write {}", path.display()))
    })
}

/// Writes the files from several threads at once, so that many requests are in flight.
fn write_files() -> Result {
    doing(format!("writing {GUEST_FILES} files at once"));
    let writers: Vec<_> = (0..GUEST_FILES)
        .map(|number| {
            thread::spawn(move || {
                write_file(number).context(format!("cannot write guest-{number}"))
            })
        })
        .collect();
    for writer in writers {
        writer
            .join()
            .map_err(|_| "a writer panicked".to_owned())??;
    }
    sys::write_back();
    Ok(())
}

fn write_file(number: u64) -> std::io::Result<()> {
    let data = pattern::bytes(GUEST_FILE_SEED + number, GUEST_FILE_SIZE);
    let mut file = File::create(guest_file(number))?;
    for (index, piece) in data.chunks(256 << 10).enumerate() {
        file.write_all(piece)?;
        // Half of the files are written back in between: each time is a flush.
        if number.is_multiple_of(2) && index.is_multiple_of(4) {
            file.sync_data()?;
        }
    }
    file.sync_all()
}

fn guest_file(number: u64) -> PathBuf {
    Path::new(AT).join(format!("guest-{number}"))
}

fn check_file(name: &str, seed: u64, size: usize) -> Result {
    doing(format!("reading the file {name}"));
    let found = fs::read(Path::new(AT).join(name)).context(format!("cannot read {name}"))?;
    pattern::compare(&found, &pattern::bytes(seed, size))
        .map_err(|how| format!("the file {name} is wrong: {how}"))
}

/// Does `work` while the disk's file system is mounted.
fn mounted(disk: &str, work: impl FnOnce() -> Result) -> Result {
    fs::create_dir_all(AT).context(format!("cannot make {AT}"))?;
    let device = format!("/dev/{disk}");
    let source = CString::new(device.as_str()).context("the disk's name")?;
    doing(format!("mounting {device}"));
    sys::mount_at(&source, c"ext4", MOUNT_POINT).context(format!("cannot mount {device}"))?;
    let done = work();
    doing(format!("unmounting {device}"));
    let unmounted = sys::unmount(MOUNT_POINT).context(format!("cannot unmount {device}"));
    done.and(unmounted)
}

/// Has later reads come from the disk.
pub(crate) fn drop_caches() -> Result {
    sys::write_back();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")
}
