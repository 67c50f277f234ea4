//! The console: port 0 as a terminal, and a named port.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;
use rustix::termios::{self, OptionalActions};
use stickler_guest_programs::exercise::PORT;
use stickler_guest_programs::pattern;

use crate::drivers::{eventually, negotiated};

const TERMINAL: &str = "/dev/hvc0";

/// The device type of a console, and its feature of having several ports.
const CONSOLE: u16 = 3;
const MULTIPORT: usize = 1;

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

    if !negotiated(CONSOLE, MULTIPORT)? {
        // Then there is one port.
        return Ok(());
    }
    // A port may go and come back: the one that was found need not be there any more.
    let port = eventually("the named console port", || {
        let Some(path) = port(PORT)? else {
            return Ok(None);
        };
        let opened = File::options().read(true).write(true).open(&path);
        match opened {
            Ok(port) => Ok(Some(port)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
        }
    })?;
    talk(port, 11, 256 << 10).context("the named port")
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || [Errno::NODEV, Errno::NXIO]
            .iter()
            .any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

/// Fills `buffer`. There is nobody at the other end now and then, which reads as an end.
fn read_all(port: &mut File, mut buffer: &mut [u8]) -> io::Result<()> {
    let mut nothing = 0;
    while !buffer.is_empty() {
        match port.read(buffer)? {
            0 if nothing == 1000 => return Err(ErrorKind::UnexpectedEof.into()),
            0 => {
                nothing += 1;
                thread::sleep(Duration::from_millis(10));
            }
            count => {
                nothing = 0;
                buffer = buffer.get_mut(count..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Sends `length` bytes and compares what comes back at the same time.
fn talk(port: File, seed: u64, length: usize) -> Result<()> {
    let data = pattern::bytes(seed, length);
    let expected = pattern::answer(&data);
    let mut sender = port.try_clone()?;
    let sending = thread::spawn(move || sender.write_all(&data));
    let mut found = vec![0; length];
    let mut receiver = port;
    read_all(&mut receiver, &mut found).context("no answer")?;
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
