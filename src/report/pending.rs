//! A file that takes the place of another, or appears, only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile};

/// As for any new file, before the umask.
const MODE: u32 = 0o666;

const PREFIX: &str = ".stickler-report-";

/// A file that has no name yet. Nothing is left of it however the process ends, unless the file system knows no such
/// files: then it has a name of its own.
#[derive(Debug)]
pub(super) enum PendingFile {
    Unnamed { file: File, directory: PathBuf },
    Named(NamedTempFile),
}

impl PendingFile {
    /// A new file, which can be written, and which is to be in `directory`.
    pub(super) fn create_in(directory: &Path) -> io::Result<PendingFile> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match open(directory, flags, Mode::from_raw_mode(MODE)) {
            Ok(file) => Ok(PendingFile::Unnamed {
                file: file.into(),
                directory: directory.to_owned(),
            }),
            // What kernels and file systems say that cannot do it.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                named(directory).map(PendingFile::Named)
            }
            Err(why) => Err(why.into()),
        }
    }

    pub(super) fn as_file(&self) -> &File {
        match self {
            PendingFile::Unnamed { file, .. } => file,
            PendingFile::Named(file) => file.as_file(),
        }
    }

    /// Writes `content` to persistent storage, and gives the file its name, which may be another file's until then.
    pub(super) fn complete(self, content: &[u8], path: &Path) -> io::Result<()> {
        self.as_file().write_all(content)?;
        self.as_file().sync_all()?;
        match self {
            PendingFile::Named(file) => persist(file, path),
            PendingFile::Unnamed { file, directory } => match link(&file, path) {
                Ok(()) => Ok(()),
                Err(Errno::EXIST) => replace(&file, &directory, path),
                // Without /proc it cannot be named.
                Err(_) => copy(file, &directory, path),
            },
        }
    }
}

/// Gives `file` the name `path`, which is nobody's.
fn link(file: &File, path: &Path) -> Result<(), Errno> {
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, itself, CWD, path, AtFlags::SYMLINK_FOLLOW)
}

/// Gives `file` the name of another file: by way of a name in between, since links replace nothing.
fn replace(file: &File, directory: &Path, path: &Path) -> io::Result<()> {
    let between = Builder::new()
        .prefix(PREFIX)
        .make_in(directory, |between| Ok(link(file, between)?))?;
    fs::rename(between.path(), path)?;
    // There is nothing at this name any more that could be removed.
    let _ = between.into_temp_path().keep();
    Ok(())
}

fn copy(mut file: File, directory: &Path, path: &Path) -> io::Result<()> {
    let mut copy = named(directory)?;
    copy.as_file()
        .set_permissions(file.metadata()?.permissions())?;
    file.rewind()?;
    io::copy(&mut file, &mut copy)?;
    copy.as_file().sync_all()?;
    persist(copy, path)
}

fn named(directory: &Path) -> io::Result<NamedTempFile> {
    Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)
}

fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn each_way_makes_and_replaces_a_file_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (directory, path) = (directory.path(), directory.path().join("report"));
        for content in ["new", "replaced"] {
            let file = PendingFile::create_in(directory).unwrap();
            assert!(!names(directory).iter().any(|name| name != "report"));
            file.complete(content.as_bytes(), &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let file = PendingFile::Named(named(directory).unwrap());
        file.complete(b"by name", &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "by name");
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(b"copied").unwrap();
        copy(source, directory, &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "copied");
        assert_eq!(names(directory), ["report"]);
    }
}
