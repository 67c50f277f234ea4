//! What the host must have: found out, and asked of apt where it is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::{self, Suite, cached};
use crate::process::{find_program, output_of, run};
use crate::workspace::Workspace;

/// Older emulators break nested guests: their XSAVE is wrong.
const OLDEST_QEMU: u32 = 10;

const QEMU: &str = "qemu-system-x86_64";

/// A program the host must have and the package it is in.
const PROGRAMS: [(&str, &str); 5] = [
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("mke2fs", "e2fsprogs"),
    ("cc", "gcc"),
    ("ip", "iproute2"),
];

/// Makes sure that everything but the emulator is here.
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
    install(&missing, &[])
}

/// Makes sure that debootstrap is here.
pub(crate) fn set_up_debootstrap() -> Result<()> {
    if find_program("debootstrap").is_none() {
        install(&["debootstrap"], &[])?;
    }
    Ok(())
}

/// Makes sure that an emulator is here that can run the lab.
pub(crate) fn set_up_qemu(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(qemu) = good_qemu()? {
        return Ok(qemu);
    }
    if candidate_version("qemu-system-x86").is_some_and(|version| version >= OLDEST_QEMU) {
        install(&["qemu-system-x86"], &[])?;
    } else {
        install_backport(workspace)?;
    }
    good_qemu()?.with_context(|| {
        format!(
            "the lab needs {QEMU} {OLDEST_QEMU} or newer, and apt has none: install one by hand"
        )
    })
}

/// The emulator on the path, if it is new enough.
fn good_qemu() -> Result<Option<PathBuf>> {
    let Some(path) = find_program(QEMU) else {
        return Ok(None);
    };
    let text = output_of(Command::new(&path).arg("--version"))?;
    let version = text
        .split_whitespace()
        .skip_while(|&word| word != "version")
        .nth(1)
        .and_then(major);
    Ok(version
        .is_some_and(|version| version >= OLDEST_QEMU)
        .then_some(path))
}

/// The first number of a version, an epoch left aside.
fn major(version: &str) -> Option<u32> {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

/// The version apt would install.
fn candidate_version(package: &str) -> Option<u32> {
    let text = output_of(Command::new("apt-cache").args(["policy", package])).ok()?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .and_then(major)
}

/// Installs the emulator from the distribution's backports. They are a source for these calls
/// only: the system's sources stay as they are.
fn install_backport(workspace: &Workspace) -> Result<()> {
    let codename = debian::os_release("VERSION_CODENAME").unwrap_or_default();
    if debian::os_release("ID").as_deref() != Some("debian") || codename.is_empty() {
        bail!(
            "the lab needs {QEMU} {OLDEST_QEMU} or newer, and this system's packages are older: \
             install one by hand"
        );
    }
    let suite = format!("{codename}-backports");
    let dir = workspace.cache().join("apt").join("host");
    let sources = dir.join("sources.list.d");
    fs::remove_dir_all(&sources).ok();
    fs::create_dir_all(&sources)?;
    fs::create_dir_all(dir.join("lists/partial"))?;
    // The system's own sources beside ours: the packages that the backport needs are there.
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        for entry in entries {
            let path = entry?.path();
            if let Some(name) = path.file_name() {
                fs::copy(&path, sources.join(name)).ok();
            }
        }
    }
    fs::write(
        sources.join("stickler-backports.list"),
        format!(
            "deb [arch=amd64 signed-by={}] {} {suite} main\n",
            debian::keyring()?.display(),
            debian::mirror()?
        ),
    )?;
    let options = [
        format!("Dir::Etc::SourceParts={}", sources.display()),
        format!("Dir::State::Lists={}", dir.join("lists").display()),
        "APT::Sandbox::User=".to_owned(),
    ];
    let mut options: Vec<&str> = options.iter().flat_map(|o| ["-o", o.as_str()]).collect();
    options.extend(["--target-release", &suite]);
    install(&["qemu-system-x86"], &options)
}

/// Asks apt for `packages`, with sudo where we are not root.
fn install(packages: &[&str], options: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        bail!(
            "this system has no apt-get; install what these Debian packages have: {}",
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
            .args(options)
            .stdout(std::io::stderr());
        command
    };
    run(apt_get().arg("update")).context("apt-get cannot fetch its package lists")?;
    run(apt_get()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages))
    .with_context(|| format!("apt-get cannot install {}", packages.join(", ")))
}

/// Busybox linked static, from Debian, without installing it.
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

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn a_version_starts_with_its_major_number() {
        assert_eq!(major("10.0.2"), Some(10));
        assert_eq!(major("1:7.2+dfsg-7+deb12u18"), Some(7));
        assert_eq!(major("1:11.1.0+ds-1~bpo13+1"), Some(11));
        assert_eq!(major("(none)"), None);
    }
}
