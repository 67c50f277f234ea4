//! From a value of `--disk` to an open and locked image.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{FlockOperation, flock, ioctl_blkpbszget};
use rustix::io::Errno;
use stickler_devices::block::disk::{ID_LEN, Properties, SECTOR};

/// `FILE[,ro]`: a value of `--disk`. Only a `,ro` at the very end is an option: other commas belong
/// to the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// The image: a raw file or a block device.
    pub path: PathBuf,
    /// Whether the guest may only read it.
    pub read_only: bool,
}

impl From<OsString> for DiskSpec {
    fn from(text: OsString) -> Self {
        let bytes = text.as_bytes();
        match bytes.strip_suffix(b",ro") {
            Some(path) => DiskSpec {
                path: OsStr::from_bytes(path).into(),
                read_only: true,
            },
            None => DiskSpec {
                path: text.into(),
                read_only: false,
            },
        }
    }
}

impl FromStr for DiskSpec {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(OsString::from(text).into())
    }
}

/// Why an image cannot be used, and what to do about it: one sentence.
#[derive(Debug)]
pub struct OpenError(String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    fn new(spec: &DiskSpec, problem: impl fmt::Display) -> Self {
        OpenError(format!("disk {}: {problem}", spec.path.display()))
    }

    /// The engine cannot be started.
    pub(super) fn no_engine(spec: &DiskSpec, error: &io::Error) -> Self {
        let cause = describe(error);
        Self::new(
            spec,
            format_args!(
                "this host cannot start the input and output of the disk ({cause}); free some resources"
            ),
        )
    }
}

/// An open image.
pub(super) struct Opened {
    pub(super) file: File,
    /// The same, opened once more.
    pub(super) sync: File,
    /// Holds the lock. Another open file than `file`, which a ring may keep for a while after the
    /// process has ended.
    pub(super) lock: File,
    pub(super) properties: Properties,
}

/// Opens and locks an image and finds its properties.
pub(super) fn open(spec: &DiskSpec) -> Result<Opened, OpenError> {
    let fail = |problem: fmt::Arguments<'_>| Err(OpenError::new(spec, problem));
    // Before it is opened: to open something that is not an image could block or do harm.
    match std::fs::metadata(&spec.path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return fail(format_args!(
                "there is no such file; `truncate -s 1G FILE` creates an empty image"
            ));
        }
        Err(e) => return fail(format_args!("cannot be examined: {}", describe(&e))),
        Ok(m) if m.is_dir() => {
            return fail(format_args!(
                "is a directory; give an image file or a block device"
            ));
        }
        Ok(m) if !m.is_file() && !m.file_type().is_block_device() => {
            return fail(format_args!(
                "is neither a file nor a block device; give one of these"
            ));
        }
        Ok(_) => {}
    }
    let lock = lock(spec)?;
    let metadata = lock.metadata().map_err(|e| cannot_open(spec, &e))?;
    // Of a block device: nobody else, such as this host's own file system, has it exclusively or gets it so.
    let exclusive = !spec.read_only && metadata.file_type().is_block_device();
    let mut file = OpenOptions::new()
        .read(true)
        .write(!spec.read_only)
        .custom_flags(if exclusive { libc::O_EXCL } else { 0 })
        .open(&spec.path)
        .map_err(|e| cannot_open(spec, &e))?;
    // The end is the size of a file and of a block device alike.
    let size = file
        .metadata()
        .and_then(|m| Ok((m, file.seek(SeekFrom::End(0))?)));
    let (metadata, size) = match size {
        Ok(found) => found,
        Err(e) => return fail(format_args!("its size cannot be found: {}", describe(&e))),
    };
    if size == 0 {
        return fail(format_args!(
            "is empty; `truncate -s 1G FILE` gives it a size"
        ));
    }
    if !size.is_multiple_of(SECTOR) {
        return fail(format_args!(
            "has {size} bytes, and a disk consists of sectors of {SECTOR}; \
             `truncate -s %{SECTOR} FILE` fills it up with zeros"
        ));
    }
    let properties = Properties {
        capacity: size / SECTOR,
        read_only: spec.read_only,
        physical_block: physical_block(&file, &metadata),
        id: id(&spec.path),
    };
    let sync = File::open(&spec.path).map_err(|e| cannot_open(spec, &e))?;
    Ok(Opened {
        file,
        sync,
        lock,
        properties,
    })
}

pub(super) fn cannot_open(spec: &DiskSpec, error: &io::Error) -> OpenError {
    use io::ErrorKind::{ExecutableFileBusy, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    let cause = describe(error);
    match error.kind() {
        PermissionDenied | ReadOnlyFilesystem | ExecutableFileBusy if !spec.read_only => {
            let path = spec.path.display();
            OpenError::new(
                spec,
                format_args!(
                    "cannot be opened for writing ({cause}); \
                     give it as {path},ro or change its permissions"
                ),
            )
        }
        ResourceBusy => OpenError::new(
            spec,
            "is in use by this host, mounted perhaps; unmount it, or give it with ,ro",
        ),
        PermissionDenied => OpenError::new(
            spec,
            format_args!("cannot be read ({cause}); change its permissions"),
        ),
        _ => OpenError::new(spec, format_args!("cannot be opened: {cause}")),
    }
}

/// One writer, or any number of readers. The lock is released when the process ends.
fn lock(spec: &DiskSpec) -> Result<File, OpenError> {
    let file = File::open(&spec.path).map_err(|e| cannot_open(spec, &e))?;
    let operation = if spec.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match flock(&file, operation) {
        Err(Errno::WOULDBLOCK) if spec.read_only => Err(OpenError::new(
            spec,
            "is in use by a running guest, which writes to it; wait for its end or use a copy",
        )),
        Err(Errno::WOULDBLOCK) => Err(OpenError::new(
            spec,
            "is already a disk of a running guest; wait for its end, use a copy, \
             or give it with ,ro to all who use it",
        )),
        // Some file systems have no locks; images on them are used without.
        _ => Ok(file),
    }
}

/// The size of the host's physical block, if it is plausible; otherwise 4 KiB, the most common size.
fn physical_block(file: &File, metadata: &Metadata) -> u32 {
    const COMMON: u32 = 4096;
    let said = if metadata.file_type().is_block_device() {
        ioctl_blkpbszget(file).unwrap_or(COMMON)
    } else {
        u32::try_from(metadata.blksize()).unwrap_or(COMMON)
    };
    if said.is_power_of_two() && (512..=64 << 10).contains(&said) {
        said
    } else {
        COMMON
    }
}

/// The file's name as device ID string: guests show it, and name the disk after it. Characters other
/// than ASCII letters, digits, `.` and `-` are replaced by `_`.
fn id(path: &Path) -> [u8; ID_LEN] {
    let mut id = [0; ID_LEN];
    let name = path.file_name().unwrap_or_default().as_bytes();
    for (to, &from) in id.iter_mut().zip(name) {
        *to = match from {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => from,
            _ => b'_',
        };
    }
    id
}

/// The error without its number, which means nothing to most users.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}
