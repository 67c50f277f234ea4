//! The console: port 0 as a terminal, and a named port.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::termios::{self, OptionalActions};
use stickler_guest_programs::exercise::PORT;
use stickler_guest_programs::pattern;

use crate::drivers::eventually;

const TERMINAL: &str = "/dev/hvc0";

/// Sends data through both ports and compares the answers.
pub(crate) fn exercise() -> Result<()> {
    let terminal = eventually("the console hvc0", || {
        Ok(Path::new(TERMINAL).exists().then_some(()))
    })
    .and_then(|()| {
        File::options()
            .read(true)
            .write(true)
            .open(TERMINAL)
            .context("cannot open hvc0")
    })?;
    let mut modes = termios::tcgetattr(&terminal)?;
    modes.make_raw();
    termios::tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    // A terminal's driver gives its device 16 bytes at a time.
    talk(terminal, 10, 4 << 10).context("hvc0")?;

    let path = eventually("the named console port", || port(PORT))?;
    let port = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    talk(port, 11, 256 << 10).context("the named port")
}

/// Sends `length` bytes and compares what comes back at the same time.
fn talk(port: File, seed: u64, length: usize) -> Result<()> {
    let data = pattern::bytes(seed, length);
    let expected = pattern::answer(&data);
    let mut sender = port.try_clone()?;
    let sending = thread::spawn(move || sender.write_all(&data));
    let mut found = vec![0; length];
    let mut receiver = port;
    receiver.read_exact(&mut found).context("no answer")?;
    sending
        .join()
        .map_err(|_| anyhow!("the sender panicked"))?
        .context("cannot send")?;
    pattern::compare(&found, &expected)
        .map_err(|difference| anyhow!("the answer is wrong: {difference}"))
}

/// The device file of the port with this name.
fn port(name: &str) -> Result<Option<PathBuf>> {
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else {
        return Ok(None);
    };
    for entry in ports {
        let entry = entry?;
        let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if found.trim() == name {
            let device = Path::new("/dev").join(entry.file_name());
            if !device.exists() {
                bail!("the port {name} has no device file");
            }
            return Ok(Some(device));
        }
    }
    Ok(None)
}
