//! A Unix socket to which one client at a time can connect.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFlags, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use stickler_devices::console::port::{Change, PortBackend};

use super::stream::{is_ready, take_events, wait_for, write_out};
use super::{ConsoleError, ConsoleSpec, cannot_wait};
use crate::backends::socket::BoundSocket;
use crate::say;

/// A port that is open while a client is connected. Without a client, the guest's output is lost, so
/// that the guest's kernel does not wait for a reader of its messages.
pub(super) struct SocketPort {
    /// Readable when the listener or the client has something new.
    epoll: OwnedFd,
    socket: BoundSocket,
    client: Option<Client>,
    /// How long output waits for a client that does not read; `None` for ever.
    patience: Option<Duration>,
    /// Becomes readable when that is over.
    timer: OwnedFd,
    /// Events were taken since the last call of `take_news`.
    news: bool,
}

struct Client {
    stream: UnixStream,
    /// The client sends no more, and all it has sent was read.
    silent: bool,
    /// The client has closed its side and reads no more. There may still be input from it.
    hung_up: bool,
    /// Since when output waits for it.
    waits_since: Option<Instant>,
    /// It has not read for so long that output is lost until it does.
    is_given_up: bool,
}

/// The data of epoll's events.
const LISTENER: u64 = 0;
const CLIENT: u64 = 1;
const TIMER: u64 = 2;

impl SocketPort {
    /// Listens at `path`. Output waits for `patience` at most for a client that does not read, `None` for ever.
    pub(super) fn listen(
        spec: &ConsoleSpec,
        path: &Path,
        patience: Option<Duration>,
    ) -> Result<Self, ConsoleError> {
        let socket = BoundSocket::bind(path).map_err(|problem| ConsoleError::new(spec, problem))?;
        let set_up = || {
            let listener = socket.listener();
            listener.set_nonblocking(true)?;
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            wait_for(&epoll, listener, LISTENER, epoll::EventFlags::IN)?;
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            wait_for(&epoll, &timer, TIMER, epoll::EventFlags::IN)?;
            Ok((epoll, timer))
        };
        let (epoll, timer) = set_up().map_err(|e| cannot_wait(spec, &e))?;
        Ok(SocketPort {
            epoll,
            socket,
            client: None,
            patience,
            timer,
            news: false,
        })
    }

    #[cfg(test)]
    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Whether the client's time is over: it has gone, and either all it sent was read, or the next
    /// client is waiting.
    fn is_client_done(&self, client: &Client) -> bool {
        client.hung_up && (client.is_drained() || is_ready(self.socket.listener(), PollFlags::IN))
    }

    fn accept(&mut self) -> Option<Client> {
        let (stream, _) = self.socket.listener().accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        wait_for(&self.epoll, &stream, CLIENT, epoll::EventFlags::IN).ok()?;
        Some(Client {
            stream,
            silent: false,
            hung_up: false,
            waits_since: None,
            is_given_up: false,
        })
    }

    /// The client has no room for output. Returns whether the output is to wait for it.
    fn is_waited_for(&mut self) -> bool {
        let (Some(patience), Some(client)) = (self.patience, &mut self.client) else {
            return true;
        };
        if client.is_given_up {
            return false;
        }
        let now = Instant::now();
        let since = *client.waits_since.get_or_insert(now);
        let left = (since + patience).saturating_duration_since(now);
        if !left.is_zero() {
            let time = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(left).unwrap_or_default(),
            };
            // A timer with a valid time can be set.
            let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
            return true;
        }
        client.is_given_up = true;
        say::line(&format!(
            "the client of {} does not read: what the guest prints there is lost until it does",
            self.socket.path().display()
        ));
        false
    }

    /// Waits with epoll for the client to read more output, or stops to wait.
    fn wait_for_room(&self, wait: bool) {
        let Some(client) = &self.client else {
            return;
        };
        let mut events = epoll::EventFlags::IN | epoll::EventFlags::ET;
        events.set(epoll::EventFlags::OUT, wait);
        // It fails only for a descriptor that is not waited for, and ours is.
        let data = epoll::EventData::new_u64(CLIENT);
        let _ = epoll::modify(&self.epoll, &client.stream, data, events);
    }
}

impl Client {
    /// Whether nothing is left to read.
    fn is_drained(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.silent || !matches!(recv(&self.stream, &mut [0], flags), Ok((_, 1..)))
    }
}

impl PortBackend for SocketPort {
    fn fd(&self) -> Option<RawFd> {
        Some(self.epoll.as_raw_fd())
    }

    fn is_open(&self) -> bool {
        self.client.is_some()
    }

    fn change(&mut self) -> Option<Change> {
        let (mut hung_up, mut room, mut news) = (false, false, false);
        take_events(&self.epoll, |data, events| {
            news = true;
            if data == CLIENT {
                hung_up |= events.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
                room |= events.contains(epoll::EventFlags::OUT);
            }
        });
        self.news |= news;
        // It fails if its time is not over.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        if room {
            self.wait_for_room(false);
        }
        match &mut self.client {
            Some(client) => {
                client.hung_up |= hung_up;
                if let Some(client) = &self.client
                    && self.is_client_done(client)
                {
                    self.client = None;
                    return Some(Change::Closed);
                }
                None
            }
            None => {
                self.client = self.accept();
                self.client.as_ref().map(|_| Change::Opened)
            }
        }
    }

    fn take_activity(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let Some(client) = self.client.as_mut().filter(|c| !c.silent) else {
            return 0;
        };
        loop {
            match recv(&client.stream, &mut *into, RecvFlags::DONTWAIT) {
                Ok((_, count)) if count > 0 => return count,
                Err(Errno::AGAIN) => return 0,
                Err(Errno::INTR) => {}
                // It sends no more, but may still want to read.
                Ok(_) => {
                    client.silent = true;
                    return 0;
                }
                Err(_) => {
                    client.silent = true;
                    client.hung_up = true;
                    return 0;
                }
            }
        }
    }

    fn write(&mut self, from: &[u8]) -> usize {
        let Some(client) = self.client.as_mut().filter(|c| !c.hung_up) else {
            return from.len();
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match send(&client.stream, from, flags) {
                Ok(count) => {
                    client.waits_since = None;
                    client.is_given_up = false;
                    if count < from.len() {
                        self.wait_for_room(true);
                    }
                    return count;
                }
                Err(Errno::AGAIN) => {
                    self.wait_for_room(true);
                    return if self.is_waited_for() { 0 } else { from.len() };
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    client.hung_up = true;
                    return from.len();
                }
            }
        }
    }

    fn finish(&mut self, rest: &[u8]) {
        if let Ok(epoll) = self.epoll.try_clone() {
            write_out(self, &epoll, rest);
        }
    }
}
