//! The initial RAM file system of the lab's machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Equipment;
use crate::guest::{self, add_busybox};
use crate::process::{find_program, output_of};
use stickler_guest_image::cpio::Archive;
use stickler_guest_programs::machine::MODULES_LIST;

/// What the lab's machine needs of its kernel: KVM, the disk and the port to the host, and what
/// commands may need: taps, bridges, loop devices.
const MODULES: [&str; 9] = [
    "kvm-amd",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "tun",
    "bridge",
    "loop",
    "vhost_net",
];

/// Programs of the host that the lab has too, if the host has them.
const HOST_PROGRAMS: [&str; 5] = ["mke2fs", "e2fsck", "debugfs", "ip", "strace"];

/// Writes the image to `path`.
pub(super) fn write(path: &Path, equipment: &Equipment) -> Result<()> {
    let Equipment {
        kernel,
        guest_kernel,
        busybox,
        programs,
    } = equipment;
    let mut archive = Archive::create(path)?;
    archive.copy("/init", &programs.path("lab-init"))?;
    for program in ["stickler", "e2e"] {
        archive.copy(&format!("/usr/bin/{program}"), &programs.path(program))?;
    }
    archive.copy("/boot/vmlinuz", &guest_kernel.image)?;
    let exerciser = path.with_file_name("exerciser");
    guest::write_exerciser(&exerciser, guest_kernel, busybox, programs)?;
    archive.copy("/boot/exerciser", &exerciser)?;
    for module in guest_kernel.modules(&guest::MODULES)? {
        let path = format!("/boot/modules/{}.ko", module.name);
        archive.file(&path, 0o644, &module.content)?;
    }
    kernel.add_modules(&MODULES, MODULES_LIST, &mut archive)?;
    add_busybox(&mut archive, busybox)?;
    let mut libraries = BTreeSet::new();
    for name in HOST_PROGRAMS {
        if let Some(program) = find_program(name) {
            archive.copy(&format!("/usr/local/bin/{name}"), &program)?;
            libraries.extend(libraries_of(&program)?);
        }
    }
    for library in libraries {
        archive.copy(&library, Path::new(&library))?;
    }

    archive.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("/etc/group", 0o644, b"root:x:0:\nkvm:x:104:\n")?;
    archive.file("/etc/hosts", 0o644, b"127.0.0.1 localhost lab\n")?;
    archive.directory("/root")?;
    archive.directory("/files")?;
    archive.finish()?;
    Ok(())
}

/// The shared libraries that a program of the host needs, with its loader.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let listing = output_of(Command::new("ldd").arg(program))?;
    Ok(listing
        .lines()
        .filter_map(|line| {
            let line = line.split_once("=>").map_or(line, |(_, path)| path);
            let path = line.split_whitespace().next()?;
            path.starts_with('/').then(|| path.to_owned())
        })
        .collect())
}
