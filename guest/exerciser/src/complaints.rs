//! What the kernel logs about the parts of the machine that stickler provides.

use stickler_exerciser::KERNEL_LOG_PARAMETER;
use stickler_exerciser::kernel_log::messages;

use crate::failure::{Context, Result, ensure};
use crate::machine::parameter;

/// How messages about the parts of the machine begin that stickler provides.
const PARTS: [&str; 11] = [
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

/// If the kernel's command line asks for that, no warning is about a part of the machine that stickler provides.
/// What the kernel says of broken drivers the host reads by itself.
pub(crate) fn check() -> Result {
    if parameter(KERNEL_LOG_PARAMETER).as_deref() != Some("strict") {
        return Ok(());
    }
    let messages = messages().context("cannot read the kernel's log")?;
    let complaints: Vec<&str> = messages
        .iter()
        .filter(|message| message.is_warning())
        .map(|message| message.text.as_str())
        .filter(|text| {
            let text = text.to_lowercase();
            PARTS.iter().any(|beginning| text.starts_with(beginning))
        })
        .collect();
    ensure(complaints.is_empty(), || {
        format!("the kernel complains: {}", complaints.join("; "))
    })
}

/// The latest warnings, which may say why something failed.
pub(crate) fn latest_warnings() -> Vec<String> {
    let mut warnings: Vec<String> = messages()
        .unwrap_or_default()
        .into_iter()
        .filter(|message| message.is_warning())
        .map(|message| message.text)
        .collect();
    warnings.drain(..warnings.len().saturating_sub(8));
    warnings
}
