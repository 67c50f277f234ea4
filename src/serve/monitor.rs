//! What to add to a monitor's command line, so that its guest gets the devices.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The value of QEMU's `-device` for one device.
pub struct QemuDevice(Value);

impl QemuDevice {
    /// The device behind this socket.
    pub fn new(socket: &Path) -> QemuDevice {
        QemuDevice(json!({
            "driver": "vfio-user-pci",
            "socket": { "type": "unix", "path": absolute(socket) },
            // What the device did is seen before the guest goes on.
            "x-no-posted-writes": true,
        }))
    }

    /// Sets another property.
    pub(crate) fn set(&mut self, property: &str, value: Value) {
        self.0[property] = value;
    }
}

/// The options of QEMU for a guest of `memory` bytes, each with its value.
pub fn qemu_options(devices: impl Iterator<Item = QemuDevice>, memory: u64) -> Vec<[String; 2]> {
    let memory = format!("memory-backend-memfd,id=stickler,size={memory},share=on");
    let mut options = vec![
        ["-object".to_owned(), memory],
        ["-machine".to_owned(), "memory-backend=stickler".to_owned()],
    ];
    options.extend(devices.map(|device| ["-device".to_owned(), device.0.to_string()]));
    options
}

/// What the user reads: what to add for QEMU and for Cloud Hypervisor.
pub fn instructions(sockets: &[PathBuf]) -> String {
    let mut text = String::from("Add to the command line of QEMU 10.1 or newer:\n\n");
    let example = 512 << 20;
    let devices = sockets.iter().map(|socket| QemuDevice::new(socket));
    for [option, value] in qemu_options(devices, example) {
        let _ = writeln!(text, "    {option} {}", quoted(&value));
    }
    text.push_str(
        "\nwith the size of `-m`; or of Cloud Hypervisor:\n\n    --memory size=512M,shared=on",
    );
    if !sockets.is_empty() {
        text.push_str(" --user-device");
    }
    for socket in sockets {
        let _ = write!(text, " {}", quoted(&format!("socket={}", absolute(socket))));
    }
    text.push('\n');
    text
}

fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_are_named_for_both_monitors() {
        let sockets = [
            PathBuf::from("/tmp/a b/1-net.sock"),
            "/tmp/2-block.sock".into(),
        ];
        insta::assert_snapshot!(instructions(&sockets));
    }

    #[test]
    fn a_shell_reads_a_word_as_it_was() {
        assert_eq!(quoted("a=b,c"), "a=b,c");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
