//! QEMU for all processors of guests, and firmware, from Debian's archive. They are unpacked beside our other downloads
//! and not installed: `stickler --monitor qemu=DIRECTORY` takes the directory with the programs that start them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::debian::{Suite, cached};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The suite whose backports have a QEMU with vfio-user.
const BASE: &str = "trixie";

/// QEMU for each processor, and the firmware that is judged.
const PACKAGES: [&str; 10] = [
    "qemu-system-x86",
    "qemu-system-arm",
    "qemu-system-riscv",
    "seabios",
    "ovmf",
    "qemu-efi-aarch64",
    "qemu-efi-riscv64",
    "u-boot-qemu",
    "opensbi",
    "ipxe-qemu",
];

const ARCHITECTURES: [&str; 3] = ["x86_64", "aarch64", "riscv64"];

/// Gets them, and returns the directory with the programs.
pub(crate) fn set_up(workspace: &Workspace, progress: &Progress) -> Result<PathBuf> {
    progress.step("getting QEMU and firmware for all processors");
    let root = workspace.cache().join("emulators");
    cached(&root, |root| {
        Suite::open_backports(BASE, &workspace.cache().join("apt"))?.unpack_whole(&PACKAGES, root)
    })
    .context("cannot download QEMU and firmware")?;
    // Firmware is looked for beside QEMU: in `usr`.
    let programs = root.join("usr/stickler");
    fs::create_dir_all(&programs)?;
    for arch in ARCHITECTURES {
        let path = programs.join(format!("qemu-system-{arch}"));
        fs::write(&path, wrapper(&root.join("usr"), arch))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(programs)
}

/// A program that starts QEMU with the libraries and the loader that it came with, not the host's.
fn wrapper(usr: &Path, arch: &str) -> String {
    let usr = quoted(usr);
    format!(
        "#!/bin/sh\n\
         usr={usr}\n\
         libraries=$usr/lib/x86_64-linux-gnu\n\
         export QEMU_MODULE_DIR=\"$libraries/qemu\"\n\
         exec \"$libraries/ld-linux-x86-64.so.2\" --library-path \"$libraries\" \\\n\
         \x20   \"$usr/bin/qemu-system-{arch}\" -L \"$usr/share/qemu\" -L \"$usr/share/seabios\" \\\n\
         \x20   -L \"$usr/lib/ipxe/qemu\" \"$@\"\n"
    )
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The script is one that a shell reads, whatever the path.
    #[test]
    fn the_wrapper_passes_on_what_it_is_given() {
        let directory = tempfile::Builder::new()
            .prefix("it's a ")
            .tempdir()
            .unwrap();
        let usr = directory.path().join("usr");
        let libraries = usr.join("lib/x86_64-linux-gnu");
        fs::create_dir_all(&libraries).unwrap();
        // The loader is played by a program that shows its arguments.
        let loader = libraries.join("ld-linux-x86-64.so.2");
        fs::write(&loader, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        fs::set_permissions(&loader, fs::Permissions::from_mode(0o755)).unwrap();
        let script = directory.path().join("script");
        fs::write(&script, wrapper(&usr, "riscv64")).unwrap();
        let output = Command::new("sh")
            .arg(&script)
            .args(["-append", "a b"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "--library-path", "{said}");
        assert!(lines.contains(&usr.join("bin/qemu-system-riscv64").to_str().unwrap()));
        assert_eq!(lines[lines.len() - 2..], ["-append", "a b"]);
    }
}
