//! How QEMU says what happens to the guest: QMP, a line of JSON for each message.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::Process;
use crate::end::GuestEnd;

/// The most bytes of a message that are read.
const LINE: u64 = 1 << 20;

/// What QEMU is told: that QMP may begin, and that the guest may run. It answers when the guest does.
const COMMANDS: [&str; 2] = ["qmp_capabilities", "cont"];

/// Lets the guest run, and waits until it has ended. [`GuestEnd::Disconnected`]: QEMU itself has ended.
pub(super) fn follow(path: &Path, process: &Process) -> GuestEnd {
    converse(path, process)
        .ok()
        .flatten()
        .unwrap_or(GuestEnd::Disconnected)
}

fn converse(path: &Path, process: &Process) -> io::Result<Option<GuestEnd>> {
    let Some(mut stream) = connect(path, process) else {
        return Ok(None);
    };
    let mut reader = BufReader::new(stream.try_clone()?);
    for command in COMMANDS {
        writeln!(stream, "{}", json!({ "execute": command }))?;
    }
    let mut returned = 0;
    loop {
        let mut line = Vec::new();
        let count = io::Read::take(&mut reader, LINE).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        returned += usize::from(message.get("return").is_some());
        if returned == COMMANDS.len() {
            process.began.store(true, Ordering::Release);
        }
        if let Some(end) = end_in(&message) {
            return Ok(Some(end));
        }
    }
}

/// Connects as soon as QEMU listens. `None`: it has ended.
fn connect(path: &Path, process: &Process) -> Option<UnixStream> {
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        if let Ok(stream) = UnixStream::connect(path) {
            return Some(stream);
        }
        if process.status().is_some() {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// How the guest has ended, if this message says so.
fn end_in(message: &Value) -> Option<GuestEnd> {
    if message["event"] != "SHUTDOWN" {
        return None;
    }
    Some(match message["data"]["reason"].as_str() {
        Some("guest-shutdown") => GuestEnd::PowerOff,
        // A triple fault is the same to QEMU.
        Some("guest-reset") => GuestEnd::Reset,
        Some("guest-panic") => GuestEnd::Panic(String::new()),
        _ => GuestEnd::Interrupted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_what_qemu_calls_the_reason() {
        let end = |text: &str| end_in(&serde_json::from_str(text).expect("JSON"));
        let shutdown = |reason: &str| {
            end(&format!(
                r#"{{"timestamp": {{"seconds": 1}}, "event": "SHUTDOWN", "data": {{"guest": true, "reason": "{reason}"}}}}"#
            ))
        };
        assert_eq!(shutdown("guest-shutdown"), Some(GuestEnd::PowerOff));
        assert_eq!(shutdown("guest-reset"), Some(GuestEnd::Reset));
        assert_eq!(shutdown("host-signal"), Some(GuestEnd::Interrupted));
        assert_eq!(end(r#"{"event": "RESUME"}"#), None);
        assert_eq!(end(r#"{"return": {}}"#), None);
        assert_eq!(end("[]"), None);
    }
}
