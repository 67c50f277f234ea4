//! The emulator that is the lab's machine: the system's own if it is new enough, else one from Debian's
//! archive, which is unpacked beside our other downloads and not installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::{Suite, cached};
use crate::process::{find_program, output_of};
use crate::workspace::Workspace;

/// The oldest version that the lab uses. Before QEMU 10 the XSAVE of nested guests is wrong; with 10.0 the
/// kernel that runs the guests, or a guest, crashed about once in fifty boots. With 11.1 that still
/// happens now and then.
const OLDEST: u32 = 11;

/// The suite whose backports have a version that is new enough.
const BASE: &str = "trixie";

const PROGRAM: &str = "qemu-system-x86_64";

/// An emulator that can be the lab's machine.
pub(crate) enum Emulator {
    /// Installed on this system.
    System(PathBuf),
    /// Unpacked into this directory, with all libraries it needs.
    Unpacked(PathBuf),
}

impl Emulator {
    /// Finds one, or downloads one.
    pub(crate) fn set_up(workspace: &Workspace) -> Result<Self> {
        if let Some(path) = find_program(PROGRAM)
            && version_of(&mut Command::new(&path)).is_some_and(|version| version >= OLDEST)
        {
            return Ok(Emulator::System(path));
        }
        let root = workspace.cache().join("emulator");
        cached(&root, |root| {
            Suite::open_backports(BASE, &workspace.cache().join("apt"))?
                .unpack_whole(&["qemu-system-x86"], root)
        })
        .context("cannot download the lab's emulator")?;
        let emulator = Emulator::Unpacked(root.clone());
        version_of(&mut emulator.command()).with_context(|| {
            format!(
                "the emulator in {} does not start: delete that directory and try again",
                root.display()
            )
        })?;
        Ok(emulator)
    }

    /// A command that starts it, to which arguments can be added.
    pub(crate) fn command(&self) -> Command {
        match self {
            Emulator::System(path) => Command::new(path),
            Emulator::Unpacked(root) => {
                let usr = root.join("usr");
                let libraries = usr.join("lib/x86_64-linux-gnu");
                // The libraries need the loader that they come with, not the host's.
                let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
                command
                    .arg("--library-path")
                    .arg(&libraries)
                    .arg(usr.join("bin").join(PROGRAM));
                for firmware in ["qemu", "seabios"] {
                    command.arg("-L").arg(usr.join("share").join(firmware));
                }
                command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
                command
            }
        }
    }
}

impl std::fmt::Display for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: &Path = match self {
            Emulator::System(path) | Emulator::Unpacked(path) => path,
        };
        path.display().fmt(f)
    }
}

/// The major version of the emulator that `command` starts, if it can be started.
fn version_of(command: &mut Command) -> Option<u32> {
    let text = output_of(command.arg(OsString::from("--version"))).ok()?;
    major(&text)
}

/// The first number behind the word "version".
fn major(text: &str) -> Option<u32> {
    let version = text
        .split_whitespace()
        .skip_while(|&word| word != "version")
        .nth(1)?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn a_version_starts_with_its_major_number() {
        let debian = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)";
        assert_eq!(major(debian), Some(11));
        assert_eq!(major("QEMU emulator version 7.2.17"), Some(7));
        assert_eq!(major("what"), None);
    }
}
