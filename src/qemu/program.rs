//! Which QEMU there is, and whether it will do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::arch::GuestArch;

/// The first version with vfio-user.
const FIRST: (u32, u32) = (10, 1);

/// A QEMU with vfio-user.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    is_systems: bool,
}

/// Why there is none: one sentence, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It cannot be started.
    #[error(
        "cannot start QEMU ({program}): {why}; install {package}, or name another with --monitor qemu=PATH"
    )]
    NotThere {
        /// What was tried.
        program: String,
        /// Why not.
        why: String,
        /// Debian's package.
        package: &'static str,
    },
    /// It is for other guests.
    #[error(
        "{program} is no QEMU for {arch}; name another with --monitor qemu=PATH, or the directory with all of them"
    )]
    OtherArch {
        /// The program.
        program: String,
        /// The guest's processor.
        arch: GuestArch,
    },
    /// It does not say which version it is.
    #[error("{0} is no QEMU: it does not say its version; name another with --monitor qemu=PATH")]
    Other(String),
    /// It is too old.
    #[error(
        "{program} is QEMU {major}.{minor}, and vfio-user needs 10.1 or newer: Debian 13 has one in \
         trixie-backports; name another with --monitor qemu=PATH"
    )]
    Old {
        /// The program.
        program: String,
        /// Its version.
        major: u32,
        /// … behind the point.
        minor: u32,
    },
    /// It was built without.
    #[error("{0} was built without vfio-user-pci; name another QEMU with --monitor qemu=PATH")]
    Without(String),
}

impl Qemu {
    /// The one for guests of `arch` at `path`, which may be a directory, or the one of the system.
    ///
    /// # Errors
    /// There is none that will do.
    pub fn find(path: Option<&Path>, arch: GuestArch) -> Result<Qemu, QemuError> {
        let program = match path {
            Some(path) if path.is_dir() => path.join(arch.program()),
            Some(path) => path.to_owned(),
            None => arch.program().into(),
        };
        let name = program.display().to_string();
        let qemu = Qemu {
            program,
            is_systems: path.is_none(),
        };
        let version = qemu
            .ask(&["--version"])
            .map_err(|why| QemuError::NotThere {
                program: name.clone(),
                why: match why.kind() {
                    std::io::ErrorKind::NotFound => "there is no such program".to_owned(),
                    _ => why.to_string(),
                },
                package: arch.package(),
            })?;
        match version_in(&version.0) {
            None => return Err(QemuError::Other(name)),
            Some((major, minor)) if (major, minor) < FIRST => {
                return Err(QemuError::Old {
                    program: name,
                    major,
                    minor,
                });
            }
            Some(_) => {}
        }
        match qemu.ask(&["-device", "vfio-user-pci,help"]) {
            Ok((_, true)) => {}
            _ => return Err(QemuError::Without(name)),
        }
        match qemu.ask(&["-cpu", "help"]) {
            Ok((processors, _)) if processors.contains(arch.sign()) => Ok(qemu),
            _ => Err(QemuError::OtherArch {
                program: name,
                arch,
            }),
        }
    }

    /// Its program, if the user named it.
    pub fn named(&self) -> Option<&Path> {
        (!self.is_systems).then_some(&self.program)
    }

    /// A command that starts it.
    pub(super) fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// What it prints, and whether it succeeded.
    fn ask(&self, arguments: &[&str]) -> std::io::Result<(String, bool)> {
        let output = self
            .command()
            .args(arguments.iter().map(OsString::from))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((text, output.status.success()))
    }
}

/// The first two numbers behind the word "version".
fn version_in(text: &str) -> Option<(u32, u32)> {
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that prints this, and succeeds with `-device` or does not.
    fn program(directory: &Path, says: &str, has_device: bool) -> PathBuf {
        let path = directory.join("qemu");
        let code = i32::from(!has_device);
        let script = format!(
            "#!/bin/sh\ncase $1 in -device) exit {code};; -cpu) echo qemu64; exit;; esac\necho '{says}'\n"
        );
        std::fs::write(&path, script).expect("there is room");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it is ours");
        path
    }

    #[test]
    fn a_qemu_that_will_not_do_is_named_with_the_reason() {
        let directory = tempfile::tempdir().expect("a directory");
        let debian = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)";
        for (says, has_device, words) in [
            (debian, true, None),
            ("QEMU emulator version 10.1.0", true, None),
            (debian, false, Some("without vfio-user-pci")),
            (
                "QEMU emulator version 10.0.2",
                true,
                Some("is QEMU 10.0, and"),
            ),
            (
                "QEMU emulator version 7.2.0",
                true,
                Some("trixie-backports"),
            ),
            ("hello", true, Some("is no QEMU")),
        ] {
            let path = program(directory.path(), says, has_device);
            let error = Qemu::find(Some(&path), GuestArch::X86_64)
                .err()
                .map(|e| e.to_string());
            match (words, error) {
                (None, None) => {}
                (Some(words), Some(error)) => assert!(error.contains(words), "{error}"),
                (words, error) => panic!("{says}: {words:?}, {error:?}"),
            }
        }
        let missing = Qemu::find(Some(&directory.path().join("missing")), GuestArch::X86_64);
        let error = missing.expect_err("it is not there").to_string();
        assert!(error.contains("there is no such program"), "{error}");
        // The one that is there is for other guests; in a directory there may be one for each.
        let path = program(directory.path(), debian, true);
        let other = Qemu::find(Some(&path), GuestArch::Riscv64).expect_err("it is for x86-64");
        assert!(other.to_string().contains("no QEMU for riscv64"), "{other}");
        let all = directory.path().join("qemu-system-x86_64");
        std::fs::rename(path, &all).expect("it is ours");
        let found = Qemu::find(Some(directory.path()), GuestArch::X86_64).expect("it is there");
        assert_eq!(found.named(), Some(all.as_path()));
        let other = Qemu::find(Some(directory.path()), GuestArch::Aarch64).expect_err("it is not");
        assert!(other.to_string().contains("qemu-system-arm"), "{other}");
    }
}
