//! Where reports go. All files are opened before the guest boots, so that no run is lost because its
//! report cannot be written. A file changes only when the report is complete.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::Errno;

use super::check::CheckReport;
use super::pending::PendingFile;
use super::{Report, json, text};
use crate::paths;
use crate::signals;

/// One `--report`: `text`, `json`, `text=FILE` or `json=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSpec {
    /// The form.
    pub format: Format,
    /// The file; `None` for standard output.
    pub file: Option<PathBuf>,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl TryFrom<OsString> for ReportSpec {
    type Error = &'static str;

    /// Reads a value of `--report`. A file name need not be UTF-8.
    fn try_from(spec: OsString) -> Result<Self, &'static str> {
        let bytes = spec.as_bytes();
        let (format, file) = match bytes.iter().position(|&b| b == b'=') {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        let format = match format {
            b"text" => Format::Text,
            b"json" => Format::Json,
            _ => return Err("a report is text, json, text=FILE or json=FILE"),
        };
        let file = match file {
            Some(b"") => return Err("the name of the file is missing after '='"),
            None | Some(b"-") => None,
            Some(file) => Some(PathBuf::from(OsStr::from_bytes(file))),
        };
        Ok(ReportSpec { format, file })
    }
}

/// A report cannot be written to its destination.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Its directory does not exist.
    #[error(
        "cannot write a report to {path}: there is no directory {directory}; create it, or name another file"
    )]
    NoDirectory {
        /// The report's file.
        path: String,
        /// Its directory.
        directory: String,
    },
    /// It is a directory.
    #[error("cannot write a report to {0}: it is a directory; name a file in it")]
    IsDirectory(String),
    /// It is something else that is no file, such as a block device.
    #[error("cannot write a report to {0}: it is neither a file nor a pipe; name another file")]
    NoFile(String),
    /// Another process has locked it.
    #[error(
        "cannot write a report to {0}: it is in use by another run, as a disk or for its report; name another file"
    )]
    InUse(String),
    /// Two reports have the same destination.
    #[error("two reports cannot go to {0}: name another file for one of them")]
    Twice(String),
    /// A system call failed, and the report was written to another file.
    #[error("cannot write a report to {path}: {cause}; it is in {kept} instead")]
    Kept {
        /// The report's file or stream.
        path: String,
        /// The error of the system.
        cause: io::Error,
        /// The file that has it.
        kept: String,
    },
    /// A system call failed.
    #[error("cannot write a report to {path}: {cause}")]
    Io {
        /// The report's file or stream.
        path: String,
        /// The error of the system.
        cause: io::Error,
    },
}

impl ReportError {
    /// Whether the reader of standard output closed it, which is no error of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, ReportError::Io { cause, .. } if cause.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The opened destinations of a run's reports.
#[derive(Debug)]
pub struct Outputs(Vec<ReportOutput>);

#[derive(Debug)]
struct ReportOutput {
    format: Format,
    sink: ReportSink,
}

#[derive(Debug)]
enum ReportSink {
    Stdout,
    Stderr,
    /// A file that becomes `path` when it is complete.
    Replace {
        pending: PendingFile,
        path: PathBuf,
        /// The file that is there now; it is locked.
        replaced: Option<File>,
    },
    /// A device, pipe or socket, which is written directly.
    Direct {
        file: File,
        path: PathBuf,
    },
}

impl Outputs {
    /// Directories in which files are made, replaced and removed when the reports are written.
    pub fn directories(&self) -> Vec<PathBuf> {
        let paths = self.0.iter().filter_map(|output| match &output.sink {
            ReportSink::Replace { path, .. } => Some(path),
            _ => None,
        });
        paths
            .filter_map(|path| Some(path.parent()?.to_owned()))
            // Where a report goes that cannot be written.
            .chain([std::env::temp_dir()])
            .collect()
    }

    /// Opens all destinations; without any, the report is text on standard output. If JSON goes to
    /// standard output, a text report without a file goes to standard error.
    pub fn open(specs: &[ReportSpec]) -> Result<Outputs, ReportError> {
        const DEFAULT: &[ReportSpec] = &[ReportSpec {
            format: Format::Text,
            file: None,
        }];
        let specs = if specs.is_empty() { DEFAULT } else { specs };
        let json = json_on_stdout(specs);
        let mut outputs: Vec<ReportOutput> = Vec::new();
        for spec in specs {
            let sink = match &spec.file {
                Some(file) => ReportSink::open(file)?,
                None if json && spec.format == Format::Text => ReportSink::Stderr,
                None => ReportSink::Stdout,
            };
            if outputs.iter().any(|other| other.sink.is_same(&sink)) {
                return Err(ReportError::Twice(sink.name()));
            }
            sink.lock()?;
            outputs.push(ReportOutput {
                format: spec.format,
                sink,
            });
        }
        Ok(Outputs(outputs))
    }

    /// Writes the report to all destinations, even if one fails. Returns what failed.
    pub fn write(self, report: &Report) -> Unwritten {
        self.write_as(|format, colour| match format {
            Format::Json => json::render(report),
            Format::Text => text::render(report, colour),
        })
    }

    /// Writes the report of a check, as [`write`](Self::write) does.
    pub fn write_check(self, check: &CheckReport) -> Unwritten {
        self.write_as(|format, colour| match format {
            Format::Json => check.to_json(),
            Format::Text => text::render_check(check, colour),
        })
    }

    fn write_as(self, render: impl Fn(Format, bool) -> String) -> Unwritten {
        let mut errors = Vec::new();
        let mut seen = false;
        for output in self.0 {
            let text = render(output.format, output.sink.wants_colour());
            let is_seen = output.format == Format::Text && output.sink.is_stream();
            let path = output.sink.name();
            match output.sink.write(&text) {
                Ok(()) => seen |= is_seen,
                Err(cause) => errors.push(unwritten(output.format, &text, path, cause)),
            }
        }
        let is_lost = errors.iter().any(|error| !error.is_broken_pipe());
        let text = (is_lost && !seen).then(|| render(Format::Text, false));
        Unwritten { errors, text }
    }
}

/// The reports that could not be written at the end of a run.
#[derive(Debug, Default)]
pub struct Unwritten {
    /// Why, for each.
    pub errors: Vec<ReportError>,
    /// The report as text, if the user has not seen it: nothing of a run that took hours is lost.
    pub text: Option<String>,
}

/// `text` could not be written to `path`. JSON has more than the text report, and is kept in another file if that can
/// be written.
fn unwritten(format: Format, text: &str, path: String, cause: io::Error) -> ReportError {
    let is_lost = cause.kind() != io::ErrorKind::BrokenPipe;
    match (format == Format::Json && is_lost).then(|| keep(text)) {
        Some(Ok(kept)) => ReportError::Kept {
            path,
            cause,
            kept: kept.display().to_string(),
        },
        _ => ReportError::Io { path, cause },
    }
}

/// Writes `json` to a new file in the directory for temporary files.
fn keep(json: &str) -> io::Result<PathBuf> {
    let mut file = tempfile::Builder::new()
        .prefix("stickler-report-")
        .suffix(".json")
        .tempfile()?;
    file.write_all(json.as_bytes())?;
    file.as_file().sync_all()?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path)
}

/// Whether JSON goes to standard output, which then contains nothing else.
pub fn json_on_stdout(specs: &[ReportSpec]) -> bool {
    specs
        .iter()
        .any(|spec| spec.format == Format::Json && spec.file.is_none())
}

/// Whether a text report goes to standard output or standard error, where the user sees it.
pub fn text_without_a_file(specs: &[ReportSpec]) -> bool {
    specs.is_empty()
        || specs
            .iter()
            .any(|spec| spec.format == Format::Text && spec.file.is_none())
}

impl ReportSink {
    fn open(file: &Path) -> Result<ReportSink, ReportError> {
        let name = || file.display().to_string();
        let io = |cause| ReportError::Io {
            path: name(),
            cause,
        };
        // Follow links, so that the file they lead to is replaced and not the link.
        let (path, metadata) = match paths::resolve(file) {
            Ok(path) => {
                let metadata = fs::metadata(&path).ok();
                (path, metadata)
            }
            // What is missing is named below.
            Err(why) if why.kind() == io::ErrorKind::NotFound => (file.to_owned(), None),
            Err(why) => return Err(io(why)),
        };
        let mut replaced = None;
        let permissions = match &metadata {
            Some(metadata) => {
                let kind = metadata.file_type();
                if kind.is_dir() {
                    return Err(ReportError::IsDirectory(name()));
                }
                if kind.is_fifo() {
                    let file = open_fifo(&path).map_err(io)?;
                    return Ok(ReportSink::Direct { file, path });
                }
                if kind.is_char_device() || kind.is_socket() {
                    let file = OpenOptions::new().write(true).open(&path).map_err(io)?;
                    return Ok(ReportSink::Direct { file, path });
                }
                if !kind.is_file() {
                    return Err(ReportError::NoFile(name()));
                }
                // A file that the user may not write is not replaced either.
                let file = OpenOptions::new().write(true).open(&path).map_err(io)?;
                replaced = Some(file);
                Some(metadata.permissions())
            }
            None => None,
        };
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(ReportError::IsDirectory(name())),
        };
        if path.file_name().is_none() || file.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(ReportError::IsDirectory(name()));
        }
        if !directory.is_dir() {
            return Err(ReportError::NoDirectory {
                path: name(),
                directory: directory.display().to_string(),
            });
        }
        let path = fs::canonicalize(directory)
            .map_err(io)?
            .join(path.file_name().unwrap_or_default());
        let pending = PendingFile::create_in(directory).map_err(io)?;
        if let Some(permissions) = permissions {
            pending.as_file().set_permissions(permissions).map_err(io)?;
        }
        Ok(ReportSink::Replace {
            pending,
            path,
            replaced,
        })
    }

    /// Keeps other runs from the file that is replaced.
    fn lock(&self) -> Result<(), ReportError> {
        if let ReportSink::Replace {
            replaced: Some(file),
            ..
        } = self
            && let Err(Errno::WOULDBLOCK) = flock(file, FlockOperation::NonBlockingLockExclusive)
        {
            return Err(ReportError::InUse(self.name()));
        }
        // Some file systems have no locks.
        Ok(())
    }

    fn is_same(&self, other: &ReportSink) -> bool {
        match (self, other) {
            (ReportSink::Stdout, ReportSink::Stdout) | (ReportSink::Stderr, ReportSink::Stderr) => {
                true
            }
            (
                ReportSink::Replace { path, replaced, .. },
                ReportSink::Replace {
                    path: other,
                    replaced: replaced_there,
                    ..
                },
            ) => {
                let inode = |file: &Option<File>| {
                    let metadata = file.as_ref()?.metadata().ok()?;
                    Some((metadata.dev(), metadata.ino()))
                };
                path == other
                    || inode(replaced).is_some() && inode(replaced) == inode(replaced_there)
            }
            _ => false,
        }
    }

    fn name(&self) -> String {
        match self {
            ReportSink::Stdout => "standard output".into(),
            ReportSink::Stderr => "standard error".into(),
            ReportSink::Replace { path, .. } | ReportSink::Direct { path, .. } => {
                path.display().to_string()
            }
        }
    }

    /// Whether the user sees what is written here.
    fn is_stream(&self) -> bool {
        matches!(self, ReportSink::Stdout | ReportSink::Stderr)
    }

    /// Whether this is a terminal whose user wants colours (`NO_COLOR`, `CLICOLOR`, `TERM`).
    fn wants_colour(&self) -> bool {
        let choice = match self {
            ReportSink::Stdout => anstream::AutoStream::choice(&io::stdout()),
            ReportSink::Stderr => anstream::AutoStream::choice(&io::stderr()),
            ReportSink::Replace { .. } | ReportSink::Direct { .. } => anstream::ColorChoice::Never,
        };
        choice != anstream::ColorChoice::Never
    }

    fn write(self, text: &str) -> io::Result<()> {
        match self {
            ReportSink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
            ReportSink::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            ReportSink::Direct { mut file, .. } => file.write_all(text.as_bytes()),
            ReportSink::Replace { pending, path, .. } => pending.complete(text.as_bytes(), &path),
        }
    }
}

/// Opens a FIFO when somebody reads from it. A signal that ends stickler ends the wait.
fn open_fifo(path: &Path) -> io::Result<File> {
    const PAUSE: Duration = Duration::from_millis(10);
    loop {
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        match opened {
            Err(why) if why.raw_os_error() == Some(libc::ENXIO) && !signals::one_has_come() => {
                thread::sleep(PAUSE);
            }
            Err(why) if why.raw_os_error() == Some(libc::ENXIO) => {
                return Err(io::Error::other("no program reads from this FIFO"));
            }
            Err(why) => return Err(why),
            Ok(file) => {
                let flags = fcntl_getfl(&file)?;
                fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
