//! The first process of the lab's machine: runs what `cargo xtask lab` sends it and reports back.

use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, WaitOptions};
use stickler_guest_programs::link::{CHUNK, HEARTBEAT, Message, PORT};
use stickler_guest_programs::machine;
use stickler_guest_programs::tree::Snapshot;

const FILES: &str = "/files";

/// Settings with which the kernel does not move memory. Guests get huge pages as they first touch their memory,
/// which makes them quicker. But to gather small pages into huge ones afterwards, or to compact
/// memory, the kernel takes pages away under running guests; doing that, khugepaged was seen to stand
/// still for minutes, and guests with it.
const STAY: [(&str, &str); 2] = [
    (
        "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
        "4294967295",
    ),
    ("/proc/sys/vm/compaction_proactiveness", "0"),
];

fn main() -> ExitCode {
    if !machine::is_first_process() {
        eprintln!("lab-init can only run as the first process of the lab's machine");
        return ExitCode::from(2);
    }
    if let Err(error) = serve() {
        eprintln!("lab: {error:#}");
    }
    machine::power_off();
    ExitCode::FAILURE
}

/// Sets the machine up and does what the host asks until it disconnects.
fn serve() -> Result<()> {
    machine::mount_file_systems()?;
    for (setting, value) in STAY {
        // A kernel without the setting does not move memory either.
        fs::write(setting, value).ok();
    }
    machine::load_modules()?;
    rustix::system::sethostname(b"lab")?;
    Command::new("ip")
        .env("PATH", machine::PATH)
        .args(["link", "set", "lo", "up"])
        .status()
        .context("cannot run ip")?;
    mount_files()?;
    let snapshot = Snapshot::take(Path::new(FILES))?;

    let port = find_port()?;
    let mut input = File::options()
        .read(true)
        .write(true)
        .open(&port)
        .with_context(|| format!("cannot open {}", port.display()))?;
    let host = Host(Arc::new(Mutex::new(input.try_clone()?)));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    host.send(&Message::Ready(release.trim().into()))?;
    say_that_we_live(host.clone());

    let mut job: Option<Job> = None;
    loop {
        match Message::read_from(&mut input) {
            Ok(Message::Run(words)) => match Job::start(words, &host) {
                Ok(started) => job = Some(started),
                Err(error) => {
                    host.send(&Message::Error(format!("lab: {error:#}\n").into()))?;
                    host.send(&Message::Exit(127))?;
                }
            },
            Ok(Message::Input(bytes)) => {
                if let Some(input) = job.as_ref().and_then(|job| job.input.as_ref()) {
                    input.send(bytes).ok();
                }
            }
            Ok(Message::InputEnd) => {
                if let Some(job) = &mut job {
                    job.input = None;
                }
            }
            Ok(Message::Kill) => {
                if let Some(job) = &job {
                    job.kill();
                }
            }
            Ok(Message::Collect) => {
                let sent = snapshot.send_changes(|message| host.send(&message));
                if let Err(error) = sent {
                    host.send(&Message::Failed(error.to_string().into()))?;
                }
                host.send(&Message::Collected)?;
            }
            Ok(other) => bail!("the host sent what only the machine sends: {other:?}"),
            // The host has closed its end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).context("cannot read from the host"),
        }
    }
}

/// Tells the host at regular intervals that this machine still runs.
fn say_that_we_live(host: Host) {
    thread::spawn(move || {
        while host.send(&Message::Alive).is_ok() {
            thread::sleep(HEARTBEAT);
        }
    });
}

/// Mounts the disk with the shared directory, if there is one.
fn mount_files() -> Result<()> {
    fs::create_dir_all(FILES)?;
    if Path::new("/dev/vda").exists() {
        rustix::mount::mount(
            "/dev/vda",
            FILES,
            "ext4",
            MountFlags::NOATIME,
            None::<&CStr>,
        )
        .context("cannot mount the disk with the shared directory")?;
        // No file of the shared directory: mke2fs makes it.
        fs::remove_dir(Path::new(FILES).join("lost+found")).ok();
    }
    Ok(())
}

/// The device file of the port to the host, which may take a moment to appear.
fn find_port() -> Result<PathBuf> {
    for _ in 0..100 {
        if let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") {
            for entry in ports {
                let entry = entry?;
                let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
                if name.trim() == PORT {
                    return Ok(Path::new("/dev").join(entry.file_name()));
                }
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("the port to the host is missing")
}

/// The way to the host, shared by all that talk to it.
#[derive(Clone)]
struct Host(Arc<Mutex<File>>);

impl Host {
    fn send(&self, message: &Message) -> io::Result<()> {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        message.write_to(&mut *port)
    }
}

/// The program that runs for the host.
struct Job {
    group: Pid,
    input: Option<mpsc::Sender<Vec<u8>>>,
}

impl Job {
    fn start(words: Vec<Vec<u8>>, host: &Host) -> Result<Self> {
        let mut words = words.into_iter().map(OsString::from_vec);
        let program = words.next().context("no command was given")?;
        let mut child = Command::new(&program)
            .args(words)
            .current_dir(FILES)
            .env("PATH", machine::PATH)
            .env("HOME", "/root")
            .env("TERM", "linux")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let group = Pid::from_child(&child);
        let input = feed(&mut child);
        let host = host.clone();
        thread::spawn(move || wait(child, &host));
        Ok(Self {
            group,
            input: Some(input),
        })
    }

    /// Ends the program and all it started.
    fn kill(&self) {
        rustix::process::kill_process_group(self.group, Signal::TERM).ok();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(3));
            end_all();
        });
    }
}

/// Kills every process but this one: all of them are the program's, in process groups of their own
/// too. The kernel's threads are not touched by signals.
fn end_all() {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|&pid| pid != rustix::process::getpid());
    for pid in others {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
}

/// Passes what the host sends on to the program's standard input.
fn feed(child: &mut Child) -> mpsc::Sender<Vec<u8>> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let stdin = child.stdin.take();
    thread::spawn(move || {
        let Some(mut stdin) = stdin else { return };
        for bytes in receiver {
            if stdin.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    sender
}

/// Passes on what the program writes until it has ended, then says how.
fn wait(mut child: Child, host: &Host) {
    let child_id = Pid::from_child(&child);
    let output = child
        .stdout
        .take()
        .map(|pipe| pass_on(pipe, host.clone(), Message::Output));
    let error = child
        .stderr
        .take()
        .map(|pipe| pass_on(pipe, host.clone(), Message::Error));
    let code = reap_until(child_id);
    // What the program left running may hold its output open for ever.
    end_all();
    for thread in [output, error].into_iter().flatten() {
        thread.join().ok();
    }
    host.send(&Message::Exit(code)).ok();
}

fn pass_on(
    mut pipe: impl Read + Send + 'static,
    host: Host,
    message: fn(Vec<u8>) -> Message,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            if host.send(&message(buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    })
}

/// Waits for every process that ends, as the first process must, until `child` has.
fn reap_until(child: Pid) -> u8 {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => {
                let code = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => continue,
                };
                return u8::try_from(code).unwrap_or(u8::MAX);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return u8::MAX,
        }
    }
}
