//! Which files a run uses for what: none for two things, of which one writes to it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::backends::console::{ConsoleSpec, PortKind};
use crate::backends::disk::DiskSpec;
use crate::paths;
use crate::report::output::ReportSpec;

/// The files that are used, and what for.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<Claim>);

#[derive(Debug)]
struct Claim {
    identity: FileIdentity,
    what: String,
    writes: bool,
}

/// What makes two paths the same file.
#[derive(Debug, PartialEq, Eq)]
enum FileIdentity {
    /// Device and inode.
    File(u64, u64),
    /// The number of a block device.
    BlockDevice(u64),
    /// One that does not exist.
    New(PathBuf),
}

impl Claims {
    /// `path` is used as `what`.
    ///
    /// # Errors
    /// It is used for something else already, and one of them writes to it.
    pub(super) fn claim(&mut self, path: &Path, what: &str, writes: bool) -> Result<(), Failure> {
        let Some(identity) = identity(path) else {
            return Ok(());
        };
        let same = |other: &&Claim| other.identity == identity && (writes || other.writes);
        if let Some(other) = self.0.iter().find(same) {
            let path = path.display();
            return Err(Failure::Input(if other.what == what {
                format!("{path} is {what} twice: name another file for one of them")
            } else {
                format!(
                    "{path} is both {} and {what}: name another file for one of them",
                    other.what
                )
            }));
        }
        self.0.push(Claim {
            identity,
            what: what.to_owned(),
            writes,
        });
        Ok(())
    }

    /// The files of these reports.
    ///
    /// # Errors
    /// As those of [`claim`](Self::claim).
    pub(super) fn reports(&mut self, reports: &[ReportSpec]) -> Result<(), Failure> {
        let files = reports.iter().filter_map(|report| report.file.as_deref());
        files
            .into_iter()
            .try_for_each(|file| self.claim(file, "a report", true))
    }

    /// The images of these disks.
    ///
    /// # Errors
    /// As those of [`claim`](Self::claim).
    pub(super) fn disks(&mut self, disks: &[DiskSpec]) -> Result<(), Failure> {
        let mut disks = disks.iter();
        disks.try_for_each(|disk| self.claim(&disk.path, "a disk", !disk.read_only))
    }

    /// The files of these ports.
    ///
    /// # Errors
    /// As those of [`claim`](Self::claim).
    pub(super) fn consoles(&mut self, ports: &[ConsoleSpec]) -> Result<(), Failure> {
        for port in ports {
            if let PortKind::File(path) = &port.kind {
                self.claim(path, "the file of a console", true)?;
            }
        }
        Ok(())
    }
}

/// What is at `path`; `None` for what can be used by many: devices, pipes.
fn identity(path: &Path) -> Option<FileIdentity> {
    match fs::metadata(path) {
        Ok(file) if file.is_file() => Some(FileIdentity::File(file.dev(), file.ino())),
        Ok(file) if file.file_type().is_block_device() => {
            Some(FileIdentity::BlockDevice(file.rdev()))
        }
        Ok(_) => None,
        // Whoever opens it says what is wrong with it.
        Err(_) => paths::resolve(path).ok().map(FileIdentity::New),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_use_if_it_is_written_by_whatever_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::hard_link(at("file"), at("other-name")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for name in ["file", "other-name", "link", "./file"] {
            let mut claims = Claims::default();
            claims.claim(&at("file"), "a disk", false).unwrap();
            claims.claim(&at(name), "a disk", false).unwrap();
            let why = claims.claim(&at(name), "a report", true).unwrap_err();
            assert!(
                why.to_string().contains("is both a disk and a report"),
                "{why}"
            );
        }
        let mut claims = Claims::default();
        claims.claim(&at("new"), "a report", true).unwrap();
        assert!(claims.claim(&at("./new"), "a report", true).is_err());
        for _ in 0..2 {
            claims
                .claim(Path::new("/dev/null"), "a report", true)
                .unwrap();
        }
    }
}
