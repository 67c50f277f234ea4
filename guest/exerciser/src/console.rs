//! The console: port 0 as a terminal, and a named port.
//!
//! Citations are of virtio 1.0.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use stickler_exerciser::{PORT, pattern};

use crate::devices::{self, Kind, eventually};
use crate::doing;
use crate::failure::{Context, Result};
use crate::machine::has_latitude;
use crate::sys::{self, Request};

const TERMINAL: &str = "/dev/hvc0";

/// VIRTIO_CONSOLE_F_MULTIPORT: the console has several ports (§5.3.3).
const MULTIPORT: usize = 1;

/// If nothing has happened for so long, nothing more will.
const SETTLED: Duration = Duration::from_millis(300);

/// How long the host may be disconnected from a port.
const AWAY: Duration = Duration::from_secs(10);

const TICK: Duration = Duration::from_millis(10);

/// How long to wait where the console has no driver at the moment, or no room.
const NO_DRIVER: Duration = Duration::from_millis(2);

/// As [`exercise`], where the host may still have answers for a kernel that is gone.
pub(crate) fn exercise_after_another() -> Result {
    let terminal = open_terminal()?;
    make_raw(&terminal)?;
    drain(&terminal)?;
    if has_ports()? {
        drain(&open_named()?)?;
    }
    exercise()
}

/// Sends data through both ports and compares the answers.
pub(crate) fn exercise() -> Result {
    let terminal = open_terminal()?;
    make_raw(&terminal)?;
    if has_latitude("early-input") {
        // What the host has sent before anybody opened the terminal.
        drain(&terminal)?;
    }
    // A small size, for the driver of a terminal sends 16 bytes at a time.
    talk(terminal, "hvc0", 10, 1 << 10)?;

    if !has_ports()? {
        return Ok(());
    }
    let name = format!("port {PORT}");
    let attempts = if has_latitude("ports-come-and-go") {
        4
    } else {
        1
    };
    let mut result = Ok(());
    for attempt in 1..=attempts {
        let port = open_named()?;
        if attempt > 1 {
            // The port was removed in use, as it may be. What was in flight then is lost.
            drain(&port)?;
        }
        result = [(11, 1), (12, 100), (13, 5000), (14, 64 << 10)]
            .into_iter()
            .try_for_each(|(seed, length)| {
                let port = port.try_clone().context("cannot use a port twice")?;
                talk(port, &name, seed, length)
            });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Opens the terminal. Its file can be there before the driver has filled the queues and takes it into use.
fn open_terminal() -> Result<File> {
    eventually("the console hvc0", || {
        let terminal = File::options().read(true).write(true).open(TERMINAL);
        Ok(terminal.ok())
    })
}

/// Whether the console has ports that are no terminals.
fn has_ports() -> Result<bool> {
    let consoles = devices::of(Kind::Console)?;
    Ok(consoles.iter().any(|device| device.has_feature(MULTIPORT)))
}

/// Opens the named port after it has existed for a while.
fn open_named() -> Result<File> {
    eventually("the named console port", || {
        let Some(path) = port(PORT)? else {
            return Ok(None);
        };
        thread::sleep(SETTLED);
        Ok((port(PORT)? == Some(path.clone()))
            .then(|| open(&path).ok())
            .flatten())
    })
}

/// Reads and drops input until no more comes.
fn drain(mut port: &File) -> Result {
    sys::set_waiting(port, false).context("cannot change the flags of a port")?;
    let mut buffer = [0; 4096];
    let mut since = Instant::now();
    while since.elapsed() < SETTLED {
        match port.read(&mut buffer) {
            Ok(1..) => since = Instant::now(),
            _ => thread::sleep(TICK),
        }
    }
    sys::set_waiting(port, true).context("cannot change the flags of a port")
}

/// Writes to the terminal and reads from it until `stop` returns true, also while there is none.
pub(crate) fn keep_terminal_in_use(stop: impl Fn() -> bool) {
    while !stop() {
        // Raw, or the terminal would send back what the host answers, which the host would answer.
        let terminal = open_at_once(Path::new(TERMINAL)).filter(|file| make_raw(file).is_ok());
        match terminal {
            Some(terminal) => keep_in_use(&terminal, &stop),
            None => thread::sleep(NO_DRIVER),
        }
    }
}

/// Writes to all ports and reads from them until `stop` returns true, also while there are none.
pub(crate) fn keep_ports_in_use(stop: impl Fn() -> bool) {
    while !stop() {
        let files: Vec<File> = all_ports()
            .iter()
            .filter_map(|path| open_at_once(path))
            .collect();
        if files.is_empty() {
            thread::sleep(NO_DRIVER);
        }
        for file in files {
            keep_in_use(&file, &stop);
        }
    }
}

/// Some writes to a port, with what the host has answered read in between.
fn keep_in_use(mut port: &File, stop: impl Fn() -> bool) {
    const WRITES: usize = 200;
    let data = [b'x'; 300];
    let mut answer = [0; 4096];
    for _ in 0..WRITES {
        if stop() {
            return;
        }
        match port.write(&data) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(NO_DRIVER),
            // Its driver is gone.
            Err(_) => return,
        }
        let _ = port.read(&mut answer);
    }
}

/// Drops what the host has answered and nobody has read.
pub(crate) fn settle() -> Result {
    for path in all_ports().into_iter().chain([PathBuf::from(TERMINAL)]) {
        let Some(file) = open_at_once(&path) else {
            continue;
        };
        if path == Path::new(TERMINAL) {
            make_raw(&file)?;
        }
        doing(format!("reading what is left in {}", path.display()));
        drain(&file)?;
    }
    Ok(())
}

/// Calls `look` so often, with the terminal, to which something is written in between.
pub(crate) fn while_in_use(times: usize, pause: Duration, mut look: impl FnMut(&File)) {
    let Some(terminal) = open_at_once(Path::new(TERMINAL)).filter(|file| make_raw(file).is_ok())
    else {
        return;
    };
    for _ in 0..times {
        // Where nothing can be written, the look is worth as much.
        let _ = (&terminal).write(b"look\n");
        let _ = (&terminal).read(&mut [0; 64]);
        thread::sleep(pause);
        look(&terminal);
    }
    let _ = drain(&terminal);
}

/// Opens a port that never waits, if it is there.
fn open_at_once(path: &Path) -> Option<File> {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(sys::NONBLOCK)
        .open(path)
        .ok()
}

fn open(path: &Path) -> Result<File> {
    doing(format!("opening {}", path.display()));
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .context(format!("cannot open {}", path.display()))
}

/// Has the terminal pass all bytes unchanged.
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
        .context("cannot read the modes of hvc0")?;
    modes[..OUTPUT + 4].fill(0);
    modes[LOCAL..LOCAL + 4].fill(0);
    modes[CHARACTERS + TIME] = 0;
    modes[CHARACTERS + MIN] = 1;
    sys::control(terminal, Request::SetTerminalModes, &mut modes)
        .context("cannot set the modes of hvc0")
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
    let mut waited = Duration::ZERO;
    while count < length {
        doing(format!(
            "waiting for {name}: {count} of {length} bytes have come"
        ));
        match receiver.read(&mut found[count..]) {
            // The host is not connected to the port; it may connect later.
            Ok(0) if waited < AWAY => {
                waited += TICK;
                thread::sleep(TICK);
            }
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

/// The device files of all ports that are no terminals.
fn all_ports() -> Vec<PathBuf> {
    let ports = devices::entries(Path::new("/sys/class/virtio-ports")).unwrap_or_default();
    ports
        .iter()
        .map(|entry| Path::new("/dev").join(devices::name(entry)))
        .filter(|path| path.exists())
        .collect()
}
