//! The kernel's log.

use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;

const O_NONBLOCK: i32 = 0o4000;

/// Warnings and worse.
const WARNING: u32 = 4;

/// A message of the kernel's log.
pub struct Message {
    /// From 0, an emergency, to 7, for debugging only.
    pub level: u32,
    /// Its first line.
    pub text: String,
}

impl Message {
    /// Whether it is a warning, or worse.
    pub fn is_warning(&self) -> bool {
        self.level <= WARNING
    }
}

/// All messages that are still in the log.
pub fn messages() -> Result<Vec<Message>> {
    let mut log = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open("/dev/kmsg")?;
    let mut found = Vec::new();
    let mut record = vec![0; 8192];
    loop {
        let count = match log.read(&mut record) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(found),
            // Overwritten before it was read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
            Err(error) => return Err(error),
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
