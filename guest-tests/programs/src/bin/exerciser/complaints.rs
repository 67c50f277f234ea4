//! What the kernel says about the machine.

use anyhow::{Context, Result, ensure};
use stickler_exerciser::kernel_log::messages;

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
    let complaints: Vec<String> = messages()
        .context("cannot read the kernel's log")?
        .into_iter()
        .filter(|message| message.is_warning())
        .map(|message| message.text)
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
