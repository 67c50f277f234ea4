//! QEMU as the machine of a run: it runs the guest in its emulation, and its guest's virtio devices are ours,
//! through vfio-user ([`crate::serve`]).
//!
//! * [`arch`]: the processors of guests.
//! * [`program`]: which QEMU there is, and whether it will do.
//! * `command`: what it is told to be.
//! * `protocol`: how it says what happens to the guest (QMP).
//! * `lines`: the guest's serial port.

pub mod arch;
mod command;
mod lines;
pub mod program;
mod protocol;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::children;
use crate::end::GuestEnd;
use crate::firmware::{BootWatch, Firmware};
use crate::machine::{OutputScanner, StopHandle};
use crate::worker;
pub use arch::GuestArch;
pub(crate) use command::comma;
pub use program::{Qemu, QemuError};

/// The guest that QEMU runs.
pub struct GuestConfig {
    /// Its processor.
    pub arch: GuestArch,
    /// What it boots.
    pub boot: BootSource,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processors.
    pub cpus: u8,
    /// Standard input goes to the serial port.
    pub takes_input: bool,
    /// The serial port's output goes to standard error.
    pub output_to_stderr: bool,
}

/// What a guest boots.
pub enum BootSource {
    /// A kernel.
    Kernel {
        /// One that QEMU can load.
        kernel: PathBuf,
        /// An initrd or initramfs.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        command_line: String,
    },
    /// Firmware, which boots what is on a disk, or what a network sends.
    Firmware {
        /// The firmware.
        firmware: Firmware,
        /// What it says is seen here, and ends the guest when there is nothing to boot.
        watch: BootWatch,
    },
}

/// A guest that runs.
pub struct Guest {
    process: Arc<Process>,
    threads: Vec<JoinHandle<()>>,
    errors: JoinHandle<String>,
}

/// The QEMU that runs it.
pub(crate) struct Process {
    child: Mutex<Child>,
    /// The guest has begun to run.
    began: AtomicBool,
}

impl Process {
    fn status(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().ok().flatten()
    }
}

/// How QEMU has ended.
#[derive(Debug)]
pub enum QemuEnd {
    /// We have ended it.
    Stopped,
    /// By itself, before the guest ran: it could not run this guest. The last line that it said.
    NotBegun(String),
    /// By itself, and not because the guest has ended.
    Failed(String),
}

impl Guest {
    /// Starts QEMU, with a device behind each of `sockets`, which listen already. Ends the server with `stop` when the
    /// guest has ended. `directory` is for files of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        qemu: &Qemu,
        config: &GuestConfig,
        sockets: &[PathBuf],
        directory: &Path,
        scanner: OutputScanner,
        stop: &StopHandle,
    ) -> io::Result<Guest> {
        let monitor = directory.join("qmp");
        let mut command = command::of(qemu, config, sockets, directory, &monitor)?;
        command
            .stdin(if config.takes_input {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        children::end_with_us(&mut command);
        let mut child = command.spawn()?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Arc::new(Process {
            child: Mutex::new(child),
            began: false.into(),
        });
        let mut guest = Guest {
            process: process.clone(),
            threads: Vec::new(),
            errors: thread::spawn(move || last_line(errors)),
        };
        let mut unread = None;
        if let Some(output) = output {
            unread = Some(output.as_fd().try_clone_to_owned()?);
            let to_stderr = config.output_to_stderr;
            let mut see = seen_by(config, scanner, stop.clone());
            guest.threads.push(spawn("serial output", move || {
                lines::show_output(output, &mut see, to_stderr);
            })?);
        }
        if let Some(input) = input {
            let stop = stop.clone();
            // It ends with the process, when standard input does.
            spawn("serial input", move || lines::carry_input(input, &stop))?;
        }
        let stop = stop.clone();
        guest.threads.push(spawn("qemu", move || {
            let end = protocol::follow(&monitor, &process);
            // What the guest has said of its end comes first.
            if let Some(unread) = unread {
                lines::wait_until_read(&unread);
            }
            stop.stop(end);
        })?);
        Ok(guest)
    }

    /// Ends QEMU, if it has not ended by itself.
    pub fn end(self) -> QemuEnd {
        let ended = self.process.status();
        {
            let mut child = self
                .process
                .child
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        worker::join(self.threads, |_| {});
        let said = self.errors.join().unwrap_or_default();
        let began = self.process.began.load(Ordering::Acquire);
        match ended {
            None => QemuEnd::Stopped,
            Some(_) if !began => QemuEnd::NotBegun(said),
            Some(_) => QemuEnd::Failed(said),
        }
    }
}

/// What becomes of what the guest says.
fn seen_by(
    config: &GuestConfig,
    mut scanner: OutputScanner,
    stop: StopHandle,
) -> impl FnMut(&[u8]) + Send + 'static {
    let mut watch = match &config.boot {
        BootSource::Firmware { watch, .. } => Some(watch.clone()),
        BootSource::Kernel { .. } => None,
    };
    move |bytes| {
        scanner.feed(bytes);
        if let Some(why) = watch.as_mut().and_then(|watch| watch.feed(bytes)) {
            stop.stop(GuestEnd::GaveUp(why.to_owned()));
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Reads all that QEMU says of itself, and keeps the last line of it that is no warning.
fn last_line(stream: Option<impl Read>) -> String {
    /// Bytes that are kept.
    const MOST: usize = 64 << 10;
    let mut kept = Vec::new();
    let mut bytes = [0; 4096];
    if let Some(mut stream) = stream {
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            kept.extend(&bytes[..count]);
            let beyond = kept.len().saturating_sub(MOST);
            kept.drain(..beyond);
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let mut lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.contains("warning:"));
    let last = lines.next_back().unwrap_or("it said nothing");
    // It begins with its own name, which the reader knows.
    let names = GuestArch::ALL.map(|arch| format!("{}: ", arch.program()));
    let last = names
        .iter()
        .map(String::as_str)
        .chain(["qemu: "])
        .find_map(|name| last.split_once(name))
        .map_or(last, |(_, rest)| rest);
    last.chars().filter(|c| !c.is_control()).collect()
}
