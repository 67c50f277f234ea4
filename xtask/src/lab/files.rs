//! The disk that takes the shared directory into the lab.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{find_program, run_quietly};

/// Room for files that the command makes, in bytes; the image is sparse.
const SPARE: u64 = 8 << 30;

/// Makes the ext4 image `image` with the content of `dir`.
pub(super) fn make_disk(dir: &Path, image: &Path) -> Result<()> {
    let size =
        SPARE + size_of(dir).with_context(|| format!("cannot read {}", dir.display()))? * 5 / 4;
    fs::File::create(image)?.set_len(size)?;
    let mke2fs = find_program("mke2fs").context("mke2fs is missing: install e2fsprogs")?;
    run_quietly(
        Command::new(mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-I", "256"])
            .args([
                "-O",
                "^has_journal",
                "-E",
                "lazy_itable_init=1,root_owner=0:0",
            ])
            .arg("-d")
            .arg(dir)
            .arg(image),
    )
    .with_context(|| format!("cannot make a disk of {}", dir.display()))
}

/// The space that the files below `dir` take, and a block for each.
fn size_of(dir: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = fs::symlink_metadata(entry.path())?;
        size += metadata.blocks() * 512 + 4096;
        if metadata.is_dir() {
            size += size_of(&entry.path())?;
        }
    }
    Ok(size)
}
