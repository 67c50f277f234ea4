//! Device workers: one thread for each device, which waits for work and has the device do it.
//!
//! A worker knows no machine. It needs a device and a file descriptor that says when to stop.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stickler_devices::virtio::{Progress, Serviced, TICK, Wake};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// Serves `device` on this thread until `stop` is readable. `stop` has to stay readable from then on.
///
/// # Errors
///
/// The host cannot wait for the device's file descriptors.
pub fn serve(device: &dyn Serviced, stop: BorrowedFd<'_>) -> io::Result<()> {
    let mut sources = Sources::new(device, stop)?;
    let mut ticked = Instant::now();
    let mut told = ticked;
    while sources.wait(device.alarm())? == Waited::ForWork {
        if device.keeps_time() {
            let now = Instant::now();
            let _ = device.service(Wake::Elapsed(now - told));
            told = now;
        }
        if ticked.elapsed() >= TICK {
            // One tick is enough, however much time has passed.
            ticked = Instant::now();
            let _ = device.service(Wake::Tick);
        }
        // One share of work for each source that has some, in turn: no source starves the others.
        for source in &mut sources.list {
            if source.pending {
                source.pending = device.service(source.wake) == Progress::More;
            }
        }
    }
    Ok(())
}

/// Waits for threads to end, but not for one that hangs. Calls `urge` with those that have not ended, again and again.
/// Panics have been caught inside.
pub fn join(threads: Vec<JoinHandle<()>>, mut urge: impl FnMut(&JoinHandle<()>)) {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    while begun.elapsed() < PATIENCE && threads.iter().any(|thread| !thread.is_finished()) {
        threads
            .iter()
            .filter(|thread| !thread.is_finished())
            .for_each(&mut urge);
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    for thread in threads.into_iter().filter(JoinHandle::is_finished) {
        let _ = thread.join();
    }
}

/// How long a thread may take to end. One that hangs with the host may never end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The epoll token of the file descriptor that says when to stop.
const STOP: u64 = u64::MAX;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// There may be work.
    ForWork,
    /// The worker is to stop.
    ForStop,
}

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
    fn new(device: &dyn Serviced, stop: BorrowedFd<'_>) -> io::Result<Self> {
        let mut sources = Sources {
            epoll: Epoll::new()?,
            list: Vec::new(),
            events: Vec::new(),
        };
        sources.add(device.kick_fd(), Wake::Kick)?;
        for (index, fd) in device.host_fds().into_iter().enumerate() {
            sources.add(fd, Wake::Host(index))?;
        }
        // Level-triggered, and with room for every event: no wait overlooks it.
        sources.epoll.ctl(
            ControlOperation::Add,
            stop.as_raw_fd(),
            EpollEvent::new(EventSet::IN, STOP),
        )?;
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

    /// Waits for work, and no longer than for `alarm`. Returns at once if there is work already.
    fn wait(&mut self, alarm: Option<Duration>) -> io::Result<Waited> {
        let busy = self.list.iter().any(|s| s.pending);
        let longest = alarm.map_or(TICK, |alarm| alarm.min(TICK));
        // Rounded up: what is due by then is due.
        let timeout = if busy {
            0
        } else {
            longest.as_millis() as i32 + 1
        };
        let count = match self.epoll.wait(timeout, &mut self.events) {
            Ok(count) => count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => 0,
            Err(why) => return Err(why),
        };
        for event in self.events.iter().take(count) {
            if event.data() == STOP {
                return Ok(Waited::ForStop);
            }
            if let Some(source) = self.list.get_mut(event.data() as usize) {
                source.pending = true;
            }
        }
        Ok(Waited::ForWork)
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
