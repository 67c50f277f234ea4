//! The devices for a monitor in another process, which has the guest: QEMU or Cloud Hypervisor, through
//! vfio-user.
//!
//! A [`DeviceServer`] is a host of devices as the KVM machine is one. Each device has a socket; the monitor connects to
//! it, shares the guest's memory, and hands over the guest's accesses with the width and the address that the driver
//! used. A client that goes away ends a life of the device, and another may come.
//!
//! * `connection`: serves the clients of one socket.
//! * `function`: what a client finds, and which accesses are not its guest's.
//! * `memory`: the memory that a client shares.
//! * `clients`, `complaints`: who is there, and what is wrong with them.
//! * [`monitor`]: what to tell a monitor.

mod clients;
mod complaints;
mod connection;
mod function;
mod memory;
pub mod monitor;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use stickler_conformance::DeviceId;
use stickler_devices::interrupt::InterruptSink;
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::DetachedFunction;
use stickler_devices::virtio::Serviced;
use vm_memory::GuestMemoryMmap;

use crate::backends::socket::BoundSocket;
use crate::confine::Role;
use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::machine::control::Control;
use crate::machine::{Error, OutputScanner, PanicNote, StopHandle};
use crate::signals::EndingSignals;
use crate::worker;
use clients::Clients;
use complaints::Complaints;
use connection::Counter;
use function::{ClientInterrupts, ServedFunction};

/// Why a server cannot be: one sentence for the user.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve at {}: {problem}", path.display())]
pub struct ServeError {
    path: PathBuf,
    problem: String,
}

/// When a server ends by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// It goes on when all clients have gone.
    pub kept: bool,
    /// How long it may serve; `None` for no limit.
    pub timeout: Option<Duration>,
}

/// Devices that are served.
pub struct DeviceServer {
    counters: Vec<Counter>,
    devices: Vec<Arc<dyn Serviced>>,
    /// Of the device that is to be added.
    interrupts: Arc<ClientInterrupts>,
    panic: PanicNote,
    control: Arc<Control>,
    clients: Arc<Clients>,
    // Dropped after the sockets, which are in it.
    place: SocketPlace,
}

/// Where the sockets are.
#[derive(Debug)]
enum SocketPlace {
    /// One device's.
    Path(PathBuf),
    /// One for each device. A directory that was made for them is removed in the end.
    Directory { path: PathBuf, is_ours: bool },
}

impl DeviceServer {
    /// A server of `count` devices at `path`: a directory with a socket for each of them, which is made if there
    /// is none, or, for a single device, a socket, unless a directory is there.
    ///
    /// # Errors
    /// The directory cannot be made, or the host has no means for a server.
    pub fn new(path: &Path, count: usize) -> Result<DeviceServer, ServeError> {
        let fail = |error: &dyn std::fmt::Display| ServeError {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        let place = if count == 1 && !path.is_dir() {
            SocketPlace::Path(path.to_owned())
        } else {
            let is_ours = match fs::create_dir(path) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                    false
                }
                Err(error) => return Err(fail(&no_directory(path, &error))),
            };
            SocketPlace::Directory {
                path: path.to_owned(),
                is_ours,
            }
        };
        let panic = PanicNote::default();
        Ok(DeviceServer {
            place,
            counters: Vec::new(),
            devices: Vec::new(),
            interrupts: Arc::default(),
            control: Arc::new(Control::new(panic.clone()).map_err(|e| fail(&e))?),
            panic,
            clients: Arc::new(Clients::new().map_err(|e| fail(&e))?),
        })
    }

    /// What the next device gets: memory, of which there is none until a client shares some, and where its
    /// interrupts go.
    pub fn surroundings(&mut self) -> (GuestRam, Arc<dyn InterruptSink>) {
        self.interrupts = Arc::default();
        let ram = GuestRam::new(GuestMemoryMmap::new());
        (ram, self.interrupts.clone())
    }

    /// Takes over the device that was made with the last [`surroundings`](Self::surroundings), and listens at its
    /// socket.
    ///
    /// # Errors
    /// It cannot listen there.
    pub fn add(
        &mut self,
        function: Arc<dyn DetachedFunction>,
        device: Arc<dyn Serviced>,
    ) -> Result<(), ServeError> {
        let path = self.place.socket_of(device.id());
        let socket = BoundSocket::bind(&path).map_err(|problem| ServeError {
            path: path.clone(),
            problem,
        })?;
        let vectors = function.msix_table().map_or(0, |table| table.vectors);
        let complaints = Complaints::about(&path);
        self.counters.push(Counter {
            socket,
            function: ServedFunction::new(
                function,
                device.clone(),
                self.interrupts.of(vectors),
                complaints.clone(),
            ),
            complaints,
        });
        self.devices.push(device);
        Ok(())
    }

    /// The paths of the sockets, by slot.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let paths = self.counters.iter().map(|counter| counter.socket.path());
        paths.map(Path::to_owned).collect()
    }

    /// A scanner for the output of a console of the guest.
    pub fn output_scanner(&self, journal: Journal) -> OutputScanner {
        OutputScanner::new(journal, self.panic.clone())
    }

    /// Ends the server from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.control.clone())
    }

    /// Serves until it is to end, as it is when one of `signals` has come. When this returns, no client has access to the devices any more. Returns how it
    /// ended, and how much was wrong with clients.
    ///
    /// # Errors
    /// The host has failed.
    pub fn run(self, until: Until, signals: &EndingSignals) -> (Result<GuestEnd, Error>, u64) {
        let complaints: Vec<Complaints> = self
            .counters
            .iter()
            .map(|counter| counter.complaints.clone())
            .collect();
        let end = self.serve(until, signals);
        (end, complaints.iter().map(Complaints::count).sum())
    }

    fn serve(self, until: Until, signals: &EndingSignals) -> Result<GuestEnd, Error> {
        let deadline = until.timeout.map(|timeout| Instant::now() + timeout);
        let mut threads = Vec::new();
        let started = start(
            &self.control,
            &self.clients,
            self.counters,
            self.devices,
            &mut threads,
        );
        match started {
            Ok(()) => wait(&self.control, &self.clients, signals, until.kept, deadline),
            Err(error) => self.control.fail(error),
        }
        worker::join(threads, |_| {});
        drop(self.place);
        // Every way out of `wait` has set it.
        let end = self.control.take_ending();
        end.unwrap_or(Ok(GuestEnd::Interrupted))
    }
}

impl SocketPlace {
    fn socket_of(&self, id: DeviceId) -> PathBuf {
        match self {
            SocketPlace::Path(path) => path.clone(),
            SocketPlace::Directory { path, .. } => {
                path.join(format!("{}-{}.sock", id.slot, id.kind.name()))
            }
        }
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        if let SocketPlace::Directory {
            path,
            is_ours: true,
        } = self
        {
            // It stays if somebody has put something else there.
            let _ = fs::remove_dir(path);
        }
    }
}

/// Starts a thread for each socket and one for each device.
fn start(
    control: &Arc<Control>,
    clients: &Arc<Clients>,
    counters: Vec<Counter>,
    devices: Vec<Arc<dyn Serviced>>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), Error> {
    for (mut counter, device) in counters.into_iter().zip(devices) {
        let name = format!("{} {}", device.id().kind.name(), device.id().slot);
        let stop = control.clone();
        threads.push(spawn(control, name.clone(), Role::Device, move || {
            worker::serve(device.as_ref(), stop.wake().as_fd())
                .map_err(Error::host("serve a device"))
        })?);
        let (stop, clients) = (control.clone(), clients.clone());
        threads.push(spawn(
            control,
            format!("client {name}"),
            Role::Client,
            move || {
                counter
                    .serve(&clients, stop.wake().as_fd())
                    .map_err(Error::host("serve a client"))
            },
        )?);
    }
    Ok(())
}

/// Starts a thread; if it fails or panics, the server ends.
fn spawn(
    control: &Arc<Control>,
    name: String,
    role: Role,
    body: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let control = control.clone();
    let in_role = move || {
        role.take().map_err(Error::host("confine a thread"))?;
        body()
    };
    thread::Builder::new()
        .name(name.clone())
        .spawn(move || match catch_unwind(AssertUnwindSafe(in_role)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => control.fail(error),
            Err(_) => control.fail(Error::Panicked {
                thread: name,
                // The panic hook has said more.
                message: "panicked".to_owned(),
            }),
        })
        .map_err(Error::host("start a thread"))
}

/// Waits until the server is to end.
fn wait(
    control: &Control,
    clients: &Clients,
    signals: &EndingSignals,
    kept: bool,
    deadline: Option<Instant>,
) {
    while !control.is_stopping() {
        if !kept && clients.all_have_gone() {
            control.end(GuestEnd::Disconnected);
            return;
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            control.end(GuestEnd::Timeout);
            return;
        }
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [
            PollFd::new(control.wake(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.received(), PollFlags::IN),
            PollFd::new(clients, PollFlags::IN),
        ];
        // Nobody asks who is there if that is no matter.
        let watched = if kept { 2 } else { 3 };
        match poll(&mut fds[..watched], timeout.as_ref()) {
            Ok(_) if fds[1].revents().is_empty() => {}
            Ok(_) => control.end(GuestEnd::Interrupted),
            Err(Errno::INTR) => {}
            Err(why) => control.fail(Error::Host {
                what: "wait for clients",
                why: why.into(),
            }),
        }
    }
}

/// Why a directory cannot be made, and what to do.
fn no_directory(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "it is no directory, and several devices need one; choose another path".to_owned()
        }
        io::ErrorKind::NotFound => match path.parent() {
            Some(parent) => format!(
                "there is no directory {}; create it or choose another path",
                parent.display()
            ),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}
