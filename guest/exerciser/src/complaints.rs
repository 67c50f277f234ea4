//! What the kernel logs about stickler's devices and their drivers.

use stickler_exerciser::KERNEL_LOG_PARAMETER;
use stickler_exerciser::kernel_log::{Message, messages};

use crate::failure::{Context, Result, ensure};
use crate::machine::parameter;

/// How a message begins which says that something in the kernel is broken.
const BROKEN: [&str; 7] = [
    "WARNING: ",
    "BUG: ",
    "Oops: ",
    "UBSAN: ",
    "KASAN: ",
    "general protection fault",
    "INFO: task ",
];

/// How many messages after the first belong to it.
const TRACE: usize = 60;

/// Names of the functions that drive stickler's devices, as they stand in a trace.
const DRIVERS: [&str; 6] = ["virtio", "virtblk", "virtnet", "vring", "vp_", "hvc_"];

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

/// No driver of stickler's devices is broken, and, if the kernel's command line asks for that, no warning is
/// about a part of the machine that stickler provides.
pub(crate) fn check() -> Result {
    let messages = messages().context("cannot read the kernel's log")?;
    broken_drivers(&messages)?;
    if parameter(KERNEL_LOG_PARAMETER).as_deref() == Some("strict") {
        warnings(&messages)?;
    }
    Ok(())
}

fn broken_drivers(messages: &[Message]) -> Result {
    for (index, message) in messages.iter().enumerate() {
        let text = &message.text;
        // An interrupt that was switched off because no handler took it.
        let lost = text.starts_with("irq ") && text.contains("nobody cared");
        let broken = BROKEN.iter().any(|beginning| text.contains(beginning)) && {
            let end = messages.len().min(index + TRACE);
            messages[index..end]
                .iter()
                .any(|message| DRIVERS.iter().any(|name| message.text.contains(name)))
        };
        ensure(!lost && !broken, || {
            // The first line says where it was, or one soon after it does.
            let place = messages[index + 1..]
                .iter()
                .take(TRACE)
                .find(|message| message.text.starts_with("RIP: "))
                .map_or("", |message| message.text.as_str());
            format!("the kernel complains: {text} {place}")
        })?;
    }
    Ok(())
}

fn warnings(messages: &[Message]) -> Result {
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
