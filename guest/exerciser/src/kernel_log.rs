//! What the kernel says.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::failure::{Context, Result, ensure};

const O_NONBLOCK: i32 = 0o4000;

/// Warnings and worse.
const WARNING: u32 = 4;

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
    let messages = messages()?;
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
        .filter(|message| message.level <= WARNING)
        .map(|message| message.text)
        .collect();
    warnings.drain(..warnings.len().saturating_sub(8));
    warnings
}

struct Message {
    level: u32,
    text: String,
}

fn messages() -> Result<Vec<Message>> {
    let mut log = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
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
        let Some((head, text)) = text.split_once(';') else {
            continue;
        };
        let priority: u32 = head
            .split(',')
            .next()
            .and_then(|priority| priority.parse().ok())
            .unwrap_or(0);
        found.push(Message {
            level: priority & 7,
            text: text.lines().next().unwrap_or_default().to_owned(),
        });
    }
}
