//! What the kernel says about the drivers of our devices.

use stickler_exerciser::kernel_log::messages;

use crate::failure::{Context, Result, ensure};

/// How a message begins that something in the kernel is broken.
const BROKEN: [&str; 7] = [
    "WARNING: ",
    "BUG: ",
    "Oops: ",
    "UBSAN: ",
    "KASAN: ",
    "general protection fault",
    "INFO: task ",
];

/// So many messages after the first belong to it.
const TRACE: usize = 60;

/// Names of what drives our devices, as they stand in a trace.
const OURS: [&str; 6] = ["virtio", "virtblk", "virtnet", "vring", "vp_", "hvc_"];

/// Nothing that drives our devices is broken.
pub(crate) fn check() -> Result {
    let messages = messages().context("cannot read the kernel's log")?;
    for (index, message) in messages.iter().enumerate() {
        let text = &message.text;
        // An interrupt that was switched off because no handler knew it.
        let lost = text.starts_with("irq ") && text.contains("nobody cared");
        let broken = BROKEN.iter().any(|beginning| text.contains(beginning)) && {
            let end = messages.len().min(index + TRACE);
            messages[index..end]
                .iter()
                .any(|message| OURS.iter().any(|name| message.text.contains(name)))
        };
        ensure(!lost && !broken, || {
            // Where it was is in the first line, or in one soon after it.
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
