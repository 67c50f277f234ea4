//! The exercise's disks, made and compared with e2fsprogs: with neither our code nor the guest's.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use stickler_guest_programs::exercise::{
    FROM_HOST, FROM_HOST_SEED, FROM_HOST_SIZE, GUEST_FILE_SEED, GUEST_FILE_SIZE, GUEST_FILES,
    READ_ONLY_SEED, READ_ONLY_SIZE,
};
use stickler_guest_programs::pattern;

/// Makes the disk with a file system and the host's file in it.
pub(crate) fn make(disk: &Path, scratch: &Path) -> Result<()> {
    let content = scratch.join("content");
    fs::create_dir_all(&content)?;
    fs::write(
        content.join(FROM_HOST),
        pattern::bytes(FROM_HOST_SEED, FROM_HOST_SIZE),
    )?;
    File::create(disk)?.set_len(64 << 20)?;
    tool(
        Command::new("mke2fs")
            // The logical blocks of a disk must not be larger than these to be mounted.
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-d"])
            .arg(&content)
            .arg(disk),
    )
}

/// Makes the read-only disk.
pub(crate) fn make_read_only(disk: &Path) -> Result<()> {
    Ok(fs::write(
        disk,
        pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE),
    )?)
}

/// Checks the file system that the guest has left and compares the files in it.
pub(crate) fn compare(disk: &Path, scratch: &Path) -> Result<()> {
    tool(Command::new("e2fsck").args(["-f", "-n"]).arg(disk))
        .context("the guest's file system is not clean")?;
    let from_host = (FROM_HOST.to_owned(), FROM_HOST_SEED, FROM_HOST_SIZE);
    let from_guest = (0..GUEST_FILES).map(|number| {
        (
            format!("guest-{number}"),
            GUEST_FILE_SEED + number,
            GUEST_FILE_SIZE,
        )
    });
    for (name, seed, size) in from_guest.chain([from_host]) {
        let copy = scratch.join("copy");
        fs::remove_file(&copy).ok();
        tool(
            Command::new("debugfs")
                .arg("-R")
                .arg(format!("dump /{name} {}", copy.display()))
                .arg(disk),
        )?;
        let found = fs::read(&copy).with_context(|| format!("the guest has left no {name}"))?;
        pattern::compare(&found, &pattern::bytes(seed, size))
            .map_err(|difference| anyhow!("the guest's {name} is wrong: {difference}"))?;
    }
    Ok(())
}

/// The read-only disk is as it was made.
pub(crate) fn compare_read_only(disk: &Path) -> Result<()> {
    pattern::compare(
        &fs::read(disk)?,
        &pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE),
    )
    .map_err(|difference| anyhow!("the read-only disk has been written: {difference}"))
}

/// Runs a program of e2fsprogs, which may be outside the path of users other than root.
fn tool(command: &mut Command) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}{}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
