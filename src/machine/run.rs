//! Running a guest to its end: starting the threads, waiting, stopping them.

use std::any::Any;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use kvm_ioctls::VcpuFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stickler_devices::memory::GuestRam;
use stickler_devices::virtio::Serviced;
use vmm_sys_util::signal::Killable;

use super::control::Control;
use super::ports::Ports;
use super::serial::{self, SerialPort};
use super::terminal::RawMode;
use super::vcpu::{self, Surroundings};
use super::{Error, kick, question};
use crate::confine::Role;
use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::signals::EndingSignals;
use crate::worker;

/// What a run is made of.
pub(super) struct Parts<'a> {
    pub(super) vcpus: Vec<VcpuFd>,
    pub(super) ram: GuestRam,
    pub(super) devices: Vec<Arc<dyn Serviced>>,
    pub(super) ports: Ports,
    pub(super) control: Arc<Control>,
    pub(super) timeout: Option<Duration>,
    /// Whether standard input belongs to the serial port.
    pub(super) takes_input: bool,
    pub(super) journal: Journal,
    pub(super) signals: &'a EndingSignals,
}

pub(super) fn to_the_end(parts: Parts<'_>) -> Result<GuestEnd, Error> {
    let control = parts.control;
    kick::install()?;
    let terminal = if parts.takes_input {
        RawMode::enter().map_err(Error::host("switch the terminal to raw mode"))?
    } else {
        None
    };
    let is_terminal = terminal.is_some();

    let deadline = parts.timeout.map(|t| Instant::now() + t);
    let mut threads = Threads {
        control: control.clone(),
        vcpus: Vec::new(),
        others: Vec::new(),
        journal: parts.journal.clone(),
    };
    let port = parts.ports.serial.clone();
    let started = threads.start(
        parts.vcpus,
        parts.ram,
        parts.devices,
        parts.ports,
        parts.takes_input.then_some(is_terminal),
    );
    match started {
        Ok(()) => wait(&control, parts.signals, deadline, &port, &parts.journal),
        Err(why) => control.fail(why),
    }
    threads.stop();
    drop(terminal);
    // Every way out of `wait` has set it.
    control.take_ending().unwrap_or(Ok(GuestEnd::Interrupted))
}

/// Waits until the run is to end.
fn wait(
    control: &Control,
    signals: &EndingSignals,
    deadline: Option<Instant>,
    port: &SerialPort,
    journal: &Journal,
) {
    while !control.is_stopping() {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            control.time_is_over();
            if !control.has_panicked() {
                question::ask(port, journal, control, signals);
            }
            control.end(GuestEnd::Timeout);
            return;
        }
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [
            PollFd::new(control.wake(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.received(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if fds[1].revents().is_empty() => {}
            Ok(_) => control.end(GuestEnd::Interrupted),
            Err(rustix::io::Errno::INTR) => {}
            Err(why) => control.fail(Error::Host {
                what: "wait for the guest",
                why: why.into(),
            }),
        }
    }
}

struct Threads {
    control: Arc<Control>,
    vcpus: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    journal: Journal,
}

impl Threads {
    fn start(
        &mut self,
        vcpus: Vec<VcpuFd>,
        ram: GuestRam,
        devices: Vec<Arc<dyn Serviced>>,
        ports: Ports,
        input: Option<bool>,
    ) -> Result<(), Error> {
        for device in devices {
            let id = device.id();
            let name = format!("{} {}", id.kind.name(), id.slot);
            let control = self.control.clone();
            let thread = self.spawn(name, Role::Device, move || {
                worker::serve(device.as_ref(), control.wake().as_fd())
                    .map_err(Error::host("serve a device"))
            })?;
            self.others.push(thread);
        }
        let port = ports.serial.clone();
        let control = self.control.clone();
        let thread = self.spawn("serial output".to_owned(), Role::Device, move || {
            serial::finish_sending(&port, &control).map_err(Error::host("wait for the serial port"))
        })?;
        self.others.push(thread);
        if let Some(is_terminal) = input {
            let port = ports.serial.clone();
            let control = self.control.clone();
            let thread = self.spawn("serial input".to_owned(), Role::Terminal, move || {
                serial::carry_input(&port, &control, io::stdin(), is_terminal)
                    .map_err(Error::host("read standard input"))
            })?;
            self.others.push(thread);
        }
        let around = Arc::new(Surroundings {
            ports,
            control: self.control.clone(),
            journal: self.journal.clone(),
            ram,
        });
        for (index, vcpu) in (0..).zip(vcpus) {
            let around = around.clone();
            let thread = self.spawn(format!("vcpu {index}"), Role::Vcpu, move || {
                vcpu::run(vcpu, index, &around)
            })?;
            self.vcpus.push(thread);
        }
        Ok(())
    }

    /// Starts a thread; if it fails or panics, the run ends.
    fn spawn(
        &self,
        name: String,
        role: Role,
        body: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let control = self.control.clone();
        let in_role = move || {
            role.take().map_err(Error::host("confine a thread"))?;
            body()
        };
        thread::Builder::new()
            .name(name.clone())
            .spawn(move || match catch_unwind(AssertUnwindSafe(in_role)) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => control.fail(why),
                Err(panic) => control.fail(Error::Panicked {
                    thread: name,
                    message: message(panic.as_ref()),
                }),
            })
            .map_err(|why: io::Error| Error::Host {
                what: "start a thread",
                why,
            })
    }

    /// Waits for all threads to end. Signals the vCPUs' threads to leave the guest. Does not wait for a
    /// thread that hangs.
    fn stop(self) {
        let vcpus: Vec<ThreadId> = self.vcpus.iter().map(|vcpu| vcpu.thread().id()).collect();
        let threads = self.vcpus.into_iter().chain(self.others).collect();
        // Repeatedly: a thread that is just about to enter the guest does not notice the signal.
        worker::join(threads, |thread| {
            if vcpus.contains(&thread.thread().id()) {
                // It has not been joined, so its handle is valid.
                let _ = thread.kill(kick::signal());
            }
        });
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "panicked".to_owned())
}
