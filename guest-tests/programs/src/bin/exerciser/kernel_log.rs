//! What the kernel says about the machine.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, ensure};

/// Warnings and worse.
const WARNING: u32 = 4;

/// How messages about the parts of the machine that are ours begin.
const OURS: [&str; 11] = [
    "pci",
    "virtio",
    "acpi:",
    "acpi error",
    "acpi warning",
    "acpi bios",
    "vda",
    "vdb",
    "irq ",
    "ioapic",
    "hvc",
];

/// No warning is about what we make.
pub(crate) fn check() -> Result<()> {
    let complaints: Vec<String> = warnings()?
        .into_iter()
        .filter(|line| {
            let line = line.to_lowercase();
            OURS.iter().any(|beginning| line.starts_with(beginning))
        })
        .collect();
    ensure!(
        complaints.is_empty(),
        "the kernel complains:\n{}",
        complaints.join("\n")
    );
    Ok(())
}

/// The messages of the kernel's log that are at least warnings.
fn warnings() -> Result<Vec<String>> {
    let mut log = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open("/dev/kmsg")
        .context("cannot open the kernel's log")?;
    let mut found = Vec::new();
    let mut record = vec![0; 8192];
    loop {
        let count = match log.read(&mut record) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
            // Overwritten before it was read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
            Err(error) => return Err(error).context("cannot read the kernel's log"),
        };
        // "priority,sequence,time,flags;text", with the level in the priority's lowest three bits.
        let text = String::from_utf8_lossy(&record[..count]);
        let Some((head, message)) = text.split_once(';') else {
            continue;
        };
        let priority: u32 = head
            .split(',')
            .next()
            .and_then(|priority| priority.parse().ok())
            .unwrap_or(0);
        if priority & 7 <= WARNING {
            let line = message.lines().next().unwrap_or_default();
            found.push(line.to_owned());
        }
    }
}
