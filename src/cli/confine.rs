//! From options to the confinement of a command's process.

use std::path::{Path, PathBuf};

use super::args::ConfineOptions;
use super::failure::Failure;
use crate::backends::console::{ConsoleSpec, PortKind};
use crate::confine::{Access, ConfineError, ConfinedProcess};
use crate::say;

/// Confines this process as the options say, and tells what this host cannot do.
///
/// # Errors
///
/// The host cannot do what the options ask for.
pub(super) fn confine(
    options: &ConfineOptions,
    process: ConfinedProcess,
    access: &Access,
) -> Result<(), Failure> {
    let missing = options.confine.apply(process, access)?;
    for sentence in missing {
        say::line(&sentence);
    }
    Ok(())
}

/// The directories of the consoles' sockets, which are removed at the end.
pub(super) fn socket_directories(consoles: &[ConsoleSpec]) -> Vec<PathBuf> {
    let sockets = consoles.iter().filter_map(|spec| match &spec.kind {
        PortKind::Socket(path) => Some(directory_of(path)),
        PortKind::Stdio | PortKind::Null | PortKind::File(_) => None,
    });
    sockets.collect()
}

/// The directory in which `path` stands.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl From<ConfineError> for Failure {
    fn from(error: ConfineError) -> Failure {
        match error {
            ConfineError::Unsupported(_) => Failure::Input(error.to_string()),
            ConfineError::Host { .. } => Failure::Internal(error.to_string()),
        }
    }
}
