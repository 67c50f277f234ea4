//! What the host must have, and its installation by apt where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::{self, Suite, cached};
use crate::process::{find_program, run};
use crate::workspace::Workspace;

/// A program the host must have and the package it is in.
const PROGRAMS: [(&str, &str); 5] = [
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("mke2fs", "e2fsprogs"),
    ("cc", "gcc"),
    ("ip", "iproute2"),
];

/// Makes sure that the tools are installed with which all else is made.
pub(crate) fn set_up_tools() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find_program(program).is_none())
        .map(|&(_, package)| package)
        .collect();
    if debian::keyring().is_err() {
        missing.push("debian-archive-keyring");
    }
    if !Path::new("/usr/lib/x86_64-linux-gnu/libc.a").exists()
        && !Path::new("/usr/lib64/libc.a").exists()
    {
        missing.push("libc6-dev");
    }
    install(&missing)
}

/// Makes sure that debootstrap is installed.
pub(crate) fn set_up_debootstrap() -> Result<()> {
    if find_program("debootstrap").is_none() {
        install(&["debootstrap"])?;
    }
    Ok(())
}

/// Installs `packages` with apt, by sudo where we are not root.
fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        bail!(
            "this system has no apt-get; install the programs and files of these Debian packages: {}",
            packages.join(", ")
        );
    }
    eprintln!("installing with apt: {}", packages.join(" "));
    let apt_get = || {
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("env")
        } else {
            let mut command = Command::new("sudo");
            command.arg("env");
            command
        };
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
            .stdout(std::io::stderr());
        command
    };
    run(apt_get().arg("update")).context("apt-get cannot fetch its package lists")?;
    run(apt_get()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages))
    .with_context(|| format!("apt-get cannot install {}", packages.join(", ")))
}

/// Debian's statically linked busybox, which is unpacked and not installed.
pub(crate) fn busybox(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.cache().join("busybox");
    cached(&dir, |dir| {
        Suite::open("trixie", &workspace.cache().join("apt"))?
            .unpack(&["busybox-static".to_owned()], dir)
    })?;
    ["usr/bin/busybox", "bin/busybox"]
        .iter()
        .map(|path| dir.join(path))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "no busybox in {}: delete that directory and try again",
                dir.display()
            )
        })
}
