//! The console: port 0 as a terminal, and a named port.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use stickler_exerciser::{PORT, pattern};

use crate::devices::{self, Kind, eventually};
use crate::doing;
use crate::failure::{Context, Result};
use crate::sys::{self, Request};

const TERMINAL: &str = "/dev/hvc0";

/// Feature bit of a console with several ports (§5.3.3).
const MULTIPORT: usize = 1;

/// Sends data through both ports and compares the answers.
pub(crate) fn exercise() -> Result {
    let terminal = eventually("the console hvc0", || {
        Ok(Path::new(TERMINAL).exists().then_some(()))
    })
    .and_then(|()| open(Path::new(TERMINAL)))?;
    make_raw(&terminal)?;
    // A terminal's driver gives its device 16 bytes at a time.
    talk(terminal, "hvc0", 10, 2 << 10)?;

    if !devices::of(Kind::Console)?
        .iter()
        .any(|device| device.has_feature(MULTIPORT))
    {
        return Ok(());
    }
    let path = eventually("the named console port", || port(PORT))?;
    for (seed, length) in [(11, 1), (12, 100), (13, 5000), (14, 200 << 10)] {
        let name = format!("port {PORT}");
        talk(open(&path)?, &name, seed, length)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    doing(format!("opening {}", path.display()));
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .context(format!("cannot open {}", path.display()))
}

/// Switches off what a terminal makes of what passes it.
fn make_raw(terminal: &File) -> Result {
    // struct termios: four words of flags (input, output, control, local), the line discipline, and
    // the special characters.
    const OUTPUT: usize = 4;
    const LOCAL: usize = 12;
    const CHARACTERS: usize = 17;
    const TIME: usize = 5;
    const MIN: usize = 6;
    let mut modes = [0; 64];
    sys::control(terminal, Request::TerminalModes, &mut modes)
        .context("hvc0 does not tell its modes")?;
    modes[..OUTPUT + 4].fill(0);
    modes[LOCAL..LOCAL + 4].fill(0);
    modes[CHARACTERS + TIME] = 0;
    modes[CHARACTERS + MIN] = 1;
    sys::control(terminal, Request::SetTerminalModes, &mut modes)
        .context("hvc0 does not take its modes")
}

/// Sends `length` bytes and compares what comes back at the same time.
fn talk(port: File, name: &str, seed: u64, length: usize) -> Result {
    doing(format!("sending {length} bytes to {name} for an answer"));
    let data = pattern::bytes(seed, length);
    let expected = pattern::answer(&data);
    let mut sender = port.try_clone().context("cannot use a port twice")?;
    let sending = thread::spawn(move || sender.write_all(&data));
    let mut found = vec![0; length];
    let mut receiver = port;
    let mut count = 0;
    while count < length {
        doing(format!(
            "waiting for {name}: {count} of {length} bytes have come"
        ));
        match receiver.read(&mut found[count..]) {
            Ok(0) => return Err(format!("{name} ends after {count} of {length} bytes")),
            Ok(more) => count += more,
            Err(error) => {
                return Err(format!("{name} after {count} of {length} bytes: {error}"));
            }
        }
    }
    sending
        .join()
        .map_err(|_| "the sender panicked".to_owned())?
        .context(format!("cannot send to {name}"))?;
    pattern::compare(&found, &expected)
        .map_err(|how| format!("what comes back from {name} is wrong: {how}"))
}

/// The device file of the port with this name.
fn port(name: &str) -> Result<Option<PathBuf>> {
    let Ok(ports) = devices::entries(Path::new("/sys/class/virtio-ports")) else {
        return Ok(None);
    };
    Ok(ports.into_iter().find_map(|entry| {
        let found = fs::read_to_string(entry.join("name")).unwrap_or_default();
        let device = Path::new("/dev").join(devices::name(&entry));
        (found.trim() == name && device.exists()).then_some(device)
    }))
}
