//! Device workers: one thread for each device, which waits for something to do and has it done.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;

use stickler_devices::virtio::{Progress, Serviced, TICK, Wake};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::control::Control;

/// Serves `device` until the run ends.
pub(super) fn serve(device: &dyn Serviced, control: &Control) -> io::Result<()> {
    let mut sources = Sources::new(device)?;
    sources.epoll.ctl(
        ControlOperation::Add,
        control.wake().as_fd().as_raw_fd(),
        EpollEvent::new(EventSet::IN, STOP),
    )?;
    let mut ticked = Instant::now();
    loop {
        sources.wait()?;
        if control.is_stopping() {
            return Ok(());
        }
        if ticked.elapsed() >= TICK {
            // However long it was: one is no more than one.
            ticked = Instant::now();
            let _ = device.service(Wake::Tick);
        }
        // One share of work for each that has some, in turn: none starves the others.
        for source in &mut sources.list {
            if source.pending {
                source.pending = device.service(source.wake) == Progress::More;
            }
        }
    }
}

/// The token under which the end of the run is waited for.
const STOP: u64 = u64::MAX;

struct Sources {
    epoll: Epoll,
    list: Vec<Source>,
    events: Vec<EpollEvent>,
}

struct Source {
    wake: Wake,
    pending: bool,
}

impl Sources {
    fn new(device: &dyn Serviced) -> io::Result<Self> {
        let mut sources = Sources {
            epoll: Epoll::new()?,
            list: Vec::new(),
            events: Vec::new(),
        };
        sources.add(device.kick_fd(), Wake::Kick)?;
        for (index, fd) in device.host_fds().into_iter().enumerate() {
            sources.add(fd, Wake::Host(index))?;
        }
        sources.events = vec![EpollEvent::default(); sources.list.len() + 1];
        Ok(sources)
    }

    fn add(&mut self, fd: RawFd, wake: Wake) -> io::Result<()> {
        let token = self.list.len() as u64;
        let added = self.epoll.ctl(
            ControlOperation::Add,
            fd,
            EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, token),
        );
        let always_ready = match added {
            Ok(()) => false,
            // A regular file cannot be waited for: it is always ready.
            Err(why) if why.raw_os_error() == Some(libc::EPERM) => true,
            Err(why) => return Err(why),
        };
        self.list.push(Source {
            wake,
            pending: always_ready,
        });
        Ok(())
    }

    /// Waits until there is something to do, or, if there is already, looks what has come to it.
    fn wait(&mut self) -> io::Result<()> {
        let busy = self.list.iter().any(|s| s.pending);
        let timeout = if busy { 0 } else { TICK.as_millis() as i32 };
        let count = match self.epoll.wait(timeout, &mut self.events) {
            Ok(count) => count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => 0,
            Err(why) => return Err(why),
        };
        for event in self.events.iter().take(count) {
            if let Some(source) = self.list.get_mut(event.data() as usize) {
                source.pending = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
