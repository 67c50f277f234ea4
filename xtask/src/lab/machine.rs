//! The emulated machine while it runs, and the messages between it and us.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stickler_guest_programs::link::{CHUNK, Message, PORT};
use stickler_guest_programs::tree::Receiver;
use tempfile::TempDir;

use super::emulator::Emulator;
use super::{Equipment, files, image};
use crate::process::last_lines;
use crate::workspace::Workspace;

/// How long the machine may take from its start to its first message. It is up in less than ten
/// seconds where nothing else runs.
const BOOT_TIME: Duration = Duration::from_secs(300);

/// How long a command may take to end once it was asked to.
const KILL_TIME: Duration = Duration::from_secs(20);

/// How long the machine may say nothing, not even that it runs, before it is taken for hung. On a
/// busy host the emulator may get no processor for a while.
const SILENCE: Duration = Duration::from_secs(120);

/// The first process needs no parameters. Without a reliable TSC the
/// machine falls back to a slow clock, on which the guests' clocks are unstable.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 mitigations=off quiet tsc=reliable \
                            transparent_hugepage=always";

/// How often the user has interrupted us.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// What to boot.
pub(crate) struct Boot<'a> {
    pub(crate) emulator: &'a Emulator,
    pub(crate) equipment: &'a Equipment,
    pub(crate) files: Option<PathBuf>,
    pub(crate) processors: u8,
    /// How long each command may take.
    pub(crate) timeout: Duration,
    pub(crate) workspace: &'a Workspace,
}

/// What to do with a command's output.
pub(crate) enum Output<'a> {
    /// Pass it through, and pass our standard input to the command.
    Pass,
    /// Call this with its standard output, and pass its standard error through.
    See(&'a mut dyn FnMut(&[u8])),
}

/// The machine, booted.
pub(crate) struct Lab {
    emulator: Child,
    host: Arc<Mutex<UnixStream>>,
    messages: mpsc::Receiver<io::Result<Message>>,
    files: Option<PathBuf>,
    /// How long each command may take.
    timeout: Duration,
    deadline: Instant,
    /// When the machine was last heard of.
    heard: Instant,
    /// How many interrupts were acted upon.
    interrupts: usize,
    dir: TempDir,
    last_console: PathBuf,
}

impl Lab {
    /// Boots the machine and waits until it is up.
    pub(crate) fn boot(boot: Boot<'_>) -> Result<Self> {
        handle_interrupts()?;
        let cache = boot.workspace.cache();
        fs::create_dir_all(&cache)?;
        remove_leftovers(&cache);
        let dir = tempfile::Builder::new()
            .prefix(&format!("run-{}-", std::process::id()))
            .tempdir_in(&cache)?;
        let initrd = dir.path().join("initrd");
        image::write(&initrd, boot.equipment)?;

        let (ours, theirs) = UnixStream::pair()?;
        let mut command = boot.emulator.command();
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-machine", "pc", "-accel", "tcg,thread=multi"])
            .args(["-cpu", "EPYC,+svm,+npt", "-m", "3072"])
            .args(["-smp", &boot.processors.to_string()])
            .args(["-nic", "none", "-display", "none", "-monitor", "none"])
            .arg("-serial")
            .arg(prefixed("file:", &dir.path().join("console")))
            .arg("-kernel")
            .arg(&boot.equipment.kernel.image)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", COMMAND_LINE])
            .args(["-device", "virtio-serial-pci"])
            .arg("-chardev")
            .arg(format!("socket,id=lab,fd={}", theirs.as_raw_fd()))
            .arg("-device")
            .arg(format!("virtserialport,chardev=lab,name={PORT}"))
            .args(["-device", "virtio-rng-pci"]);
        let mut shared = None;
        if let Some(files) = boot.files {
            let disk = dir.path().join("files");
            files::make_disk(&files, &disk)?;
            command
                .arg("-drive")
                .arg(prefixed(
                    "if=none,id=files,format=raw,cache=unsafe,file=",
                    &disk,
                ))
                .args(["-device", "virtio-blk-pci,drive=files"]);
            shared = Some(fs::canonicalize(files)?);
        }
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
        let emulator = command
            // In a process group of its own, so that only we receive the terminal's ^C.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.path().join("emulator"))?)
            .stderr(fs::File::create(dir.path().join("errors"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", boot.emulator))?;
        drop(theirs);

        let messages = receive(ours.try_clone()?);
        let mut lab = Self {
            emulator,
            host: Arc::new(Mutex::new(ours)),
            messages,
            files: shared,
            timeout: boot.timeout,
            deadline: Instant::now() + BOOT_TIME,
            heard: Instant::now() + BOOT_TIME,
            interrupts: INTERRUPTS.load(Ordering::Relaxed),
            dir,
            last_console: cache.join("console.log"),
        };
        match lab.next()? {
            Next::Message(Message::Ready(_)) => {}
            Next::Message(other) => bail!("the lab starts with an unexpected message: {other:?}"),
            Next::Late => bail!(
                "the machine has not come up in {} seconds{}",
                BOOT_TIME.as_secs(),
                lab.keep_console()
            ),
            Next::Interrupted => bail!("interrupted"),
        }
        Ok(lab)
    }

    /// Runs a command and returns its exit code.
    pub(crate) fn run(&mut self, command: &[OsString], mut output: Output<'_>) -> Result<u8> {
        let words = command.iter().cloned().map(OsString::into_vec).collect();
        self.send(&Message::Run(words))?;
        self.deadline = Instant::now() + self.timeout;
        match output {
            Output::Pass => forward_input(Arc::clone(&self.host)),
            Output::See(_) => self.send(&Message::InputEnd)?,
        }
        let mut ending: Option<&str> = None;
        loop {
            match self.next()? {
                Next::Message(Message::Exit(code)) => {
                    return match ending {
                        None => Ok(code),
                        Some("interrupted") => Ok(130),
                        Some(reason) => bail!("the command was ended: {reason}"),
                    };
                }
                Next::Message(Message::Output(bytes)) => match &mut output {
                    Output::Pass => write_all(&mut io::stdout(), &bytes)?,
                    Output::See(see) => see(&bytes),
                },
                Next::Message(Message::Error(bytes)) => write_all(&mut io::stderr(), &bytes)?,
                Next::Message(other) => bail!("the lab sent an unexpected message: {other:?}"),
                Next::Interrupted | Next::Late if ending.is_some() => {
                    bail!("the command cannot be ended{}", self.keep_console());
                }
                Next::Interrupted => {
                    ending = Some("interrupted");
                    self.kill()?;
                }
                Next::Late => {
                    ending = Some("its time has run out");
                    self.kill()?;
                }
            }
        }
    }

    /// Fetches the changed files and ends the machine.
    pub(crate) fn finish(mut self) -> Result<()> {
        let Some(files) = self.files.clone() else {
            return Ok(());
        };
        self.send(&Message::Collect)?;
        self.deadline = Instant::now() + BOOT_TIME;
        let mut receiver = Receiver::new(&files);
        let mut failed = None;
        loop {
            match self.next()? {
                Next::Message(Message::Failed(reason)) => {
                    failed = Some(String::from_utf8_lossy(&reason).into_owned());
                }
                Next::Message(message) => {
                    let ours = receiver
                        .receive(&message)
                        .with_context(|| format!("cannot write to {}", files.display()))?;
                    match message {
                        Message::Collected => break,
                        Message::Output(_) | Message::Error(_) | Message::Exit(_) => {}
                        other if !ours => bail!("the lab sent an unexpected message: {other:?}"),
                        _ => self.deadline = Instant::now() + BOOT_TIME,
                    }
                }
                Next::Interrupted => bail!("interrupted: not all changed files have come back"),
                Next::Late => bail!(
                    "the lab is silent: not all changed files have come back{}",
                    self.keep_console()
                ),
            }
        }
        match failed {
            None => Ok(()),
            Some(reason) => bail!("not all changed files have come back: {reason}"),
        }
    }

    fn kill(&mut self) -> Result<()> {
        self.deadline = Instant::now() + KILL_TIME;
        self.send(&Message::Kill)
    }

    fn send(&mut self, message: &Message) -> Result<()> {
        let sent = {
            let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            message.write_to(&mut *host)
        };
        sent.map_err(|_| self.ended())
    }

    /// Waits for the next message, the deadline or an interrupt.
    fn next(&mut self) -> Result<Next> {
        loop {
            let interrupts = INTERRUPTS.load(Ordering::Relaxed);
            if mem::replace(&mut self.interrupts, interrupts) != interrupts {
                return Ok(Next::Interrupted);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Late);
            }
            match self
                .messages
                .recv_timeout(left.min(Duration::from_millis(100)))
            {
                Ok(Ok(message)) => {
                    self.heard = Instant::now();
                    if message != Message::Alive {
                        return Ok(Next::Message(message));
                    }
                }
                Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(error).context("cannot read from the lab's machine");
                }
                Err(RecvTimeoutError::Timeout) if self.heard.elapsed() > SILENCE => {
                    return Err(self.hung());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.ended());
                }
            }
        }
    }

    fn ended(&mut self) -> anyhow::Error {
        let console = self.keep_console();
        // A machine whose processor has shut down ends its emulator without an error.
        let how = match self.emulator.try_wait() {
            Ok(Some(status)) => format!(" ({status})"),
            _ => String::new(),
        };
        Lost(format!("has ended{how}{console}")).into()
    }

    fn hung(&mut self) -> anyhow::Error {
        let console = self.keep_console();
        // Nothing can be asked of it any more, so it is not kept either.
        self.emulator.kill().ok();
        let seconds = SILENCE.as_secs();
        Lost(format!("has said nothing for {seconds} seconds{console}")).into()
    }

    /// Keeps the machine's console for the user to read, and returns its end as part of a message.
    fn keep_console(&self) -> String {
        // The emulator's last output may not have arrived yet.
        thread::sleep(Duration::from_millis(200));
        let read = |name: &str| {
            let bytes = fs::read(self.dir.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let errors: String = read("errors")
            .lines()
            .filter(|line| !line.contains("TCG doesn't support requested feature"))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = format!("{}{errors}", read("console"));
        if fs::write(&self.last_console, &text).is_err() || text.trim().is_empty() {
            return String::new();
        }
        format!(
            "; its console (all of it in {}) ends:\n{}",
            self.last_console.display(),
            last_lines(&text, 12)
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.emulator.kill().ok();
        self.emulator.wait().ok();
    }
}

/// The machine ended without being asked to, or hangs: which, and what [`Lab::keep_console`] returned.
#[derive(Debug)]
pub(super) struct Lost(pub(super) String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lab's machine {}", self.0)
    }
}

impl std::error::Error for Lost {}

enum Next {
    Message(Message),
    Late,
    Interrupted,
}

/// Removes files of runs that were killed.
fn remove_leftovers(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix("run-")?.split_once('-'))
            .map(|(process, _)| Path::new("/proc").join(process));
        if process.is_some_and(|process| !process.exists()) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Reads messages until the machine ends.
fn receive(socket: UnixStream) -> mpsc::Receiver<io::Result<Message>> {
    // Bounded: a command that writes faster than we pass its output on has to wait.
    let (sender, receiver) = mpsc::sync_channel(64);
    thread::spawn(move || {
        let mut input = BufReader::with_capacity(CHUNK, socket);
        loop {
            let message = Message::read_from(&mut input);
            let last = message.is_err();
            if sender.send(message).is_err() || last {
                return;
            }
        }
    });
    receiver
}

/// Passes our standard input on to the command.
fn forward_input(host: Arc<Mutex<UnixStream>>) {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.set(()).is_err() {
        return;
    }
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let message = match io::stdin().lock().read(&mut buffer) {
                Ok(count @ 1..) => Message::Input(buffer[..count].to_vec()),
                _ => Message::InputEnd,
            };
            let last = message == Message::InputEnd;
            let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
            if message.write_to(&mut *host).is_err() || last {
                return;
            }
        }
    });
}

/// Counts interrupts, for all labs that run.
fn handle_interrupts() -> Result<()> {
    static HANDLED: OnceLock<()> = OnceLock::new();
    if HANDLED.set(()).is_ok() {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle interrupts")?;
        thread::spawn(move || {
            for _ in signals.forever() {
                INTERRUPTS.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

fn write_all(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// An option of the emulator with a path in it; commas in the path are doubled.
fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut option = OsString::from(prefix).into_vec();
    for &byte in path.as_os_str().as_encoded_bytes() {
        option.push(byte);
        if byte == b',' {
            option.push(byte);
        }
    }
    OsString::from_vec(option)
}
