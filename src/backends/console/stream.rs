//! File descriptors to read from and to write to.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use stickler_devices::console::port::{Change, PortBackend, Size};

use super::{ConsoleError, ConsoleSpec, InputFilter, Stdio, cannot_wait, window};
use crate::paths;
use crate::say;

/// Typed bytes that wait for the guest at most, where input is read before the guest wants it; what
/// is typed beyond is lost, as on any terminal.
const TYPED_AHEAD: usize = 256 << 10;

/// Bytes of input that the filter sees at once, and how often in one go.
const TYPED_AT_ONCE: usize = 1024;
const TYPED_IN_A_ROW: u32 = 64;

/// How long the last output may wait for room, each time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes written at once to a descriptor that might block. A terminal or pipe that says it has room
/// has room for as many.
const CAUTIOUS: usize = 256;

/// A port with one descriptor for input and one for output.
pub(super) struct StreamPort {
    /// Readable when any of the others has something new.
    epoll: OwnedFd,
    input: Option<PortDescriptor>,
    output: PortOutput,
    filter: Option<InputFilter>,
    /// Input that the filter has passed on.
    typed: VecDeque<u8>,
    size: Option<Size>,
    /// Events were taken since the last call of `take_news`.
    news: bool,
    /// What output goes to, for messages.
    destination: String,
}

/// A descriptor, and whether using it might block.
struct PortDescriptor {
    fd: OwnedFd,
    blocking: bool,
}

enum PortOutput {
    Open(PortDescriptor),
    /// Output is lost: it cannot be written any more.
    Lost,
}

/// The data of epoll's events.
const INPUT: u64 = 0;
const OUTPUT: u64 = 1;
const WINDOW: u64 = 2;

impl StreamPort {
    pub(super) fn stdio(stdio: Stdio<'_>) -> io::Result<Self> {
        let input = stdio
            .input
            .map(|fd| PortDescriptor::new(fd, OFlags::RDONLY));
        let output = PortDescriptor::new(stdio.output, OFlags::WRONLY)?;
        let size = window::size(&output.fd);
        let port = StreamPort {
            filter: stdio.filter,
            size,
            ..StreamPort::new(input.transpose()?, output, "standard output".into())?
        };
        if size.is_some() {
            // Several consoles cannot share a terminal, so they cannot share its changes either.
            wait_for(&port.epoll, window::watch()?, WINDOW, epoll::EventFlags::IN)?;
        }
        Ok(port)
    }

    pub(super) fn file(spec: &ConsoleSpec, path: &Path) -> Result<Self, ConsoleError> {
        let fail = |e| ConsoleError::new(spec, describe(path, &e));
        let resolved = paths::resolve(path).map_err(fail)?;
        if std::fs::metadata(&resolved).is_ok_and(|m| m.file_type().is_block_device()) {
            return Err(ConsoleError::new(
                spec,
                "it is a block device; choose another path",
            ));
        }
        // NONBLOCK: a FIFO without a reader is an error, not a reason to wait.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW)
            .open(&resolved)
            .map_err(fail)?;
        if file.metadata().is_ok_and(|m| m.is_file()) {
            // It may be the disk of another guest. The lock is held as long as the file is open.
            if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                return Err(ConsoleError::new(
                    spec,
                    "it is in use by another run; choose another path",
                ));
            }
            file.set_len(0).map_err(fail)?;
        }
        let output = PortDescriptor {
            fd: file.into(),
            blocking: false,
        };
        StreamPort::new(None, output, path.display().to_string()).map_err(|e| cannot_wait(spec, &e))
    }

    fn new(
        input: Option<PortDescriptor>,
        output: PortDescriptor,
        destination: String,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        if let Some(input) = &input {
            wait_for(&epoll, &input.fd, INPUT, epoll::EventFlags::IN)?;
        }
        // Room is waited for when there is none.
        wait_for(&epoll, &output.fd, OUTPUT, epoll::EventFlags::empty())?;
        Ok(StreamPort {
            epoll,
            input,
            output: PortOutput::Open(output),
            filter: None,
            typed: VecDeque::new(),
            size: None,
            news: false,
            destination,
        })
    }

    #[cfg(test)]
    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Reads from the descriptor, if there is something to read.
    fn read_input(&mut self, into: &mut [u8]) -> usize {
        let Some(input) = &self.input else {
            return 0;
        };
        if input.blocking && !is_ready(&input.fd, PollFlags::IN) {
            return 0;
        }
        loop {
            match rustix::io::read(&input.fd, &mut *into) {
                Ok(count) if count > 0 => return count,
                Err(Errno::AGAIN) => return 0,
                Err(Errno::INTR) => {}
                // The end, or a terminal that has gone: no more input will come.
                Ok(_) | Err(_) => {
                    self.input = None;
                    return 0;
                }
            }
        }
    }

    /// Has the filter look at what was typed.
    fn filter_input(&mut self) {
        let mut bytes = [0; TYPED_AT_ONCE];
        for _ in 0..TYPED_IN_A_ROW {
            let count = self.read_input(&mut bytes);
            let (Some(filter), Some(typed @ [_, ..])) = (&mut self.filter, bytes.get(..count))
            else {
                return;
            };
            filter(typed, &mut self.typed);
            self.typed.truncate(TYPED_AHEAD);
        }
    }
}

impl PortBackend for StreamPort {
    fn fd(&self) -> Option<RawFd> {
        Some(self.epoll.as_raw_fd())
    }

    fn size(&self) -> Option<Size> {
        self.size
    }

    fn change(&mut self) -> Option<Change> {
        // Takes note of what epoll has to tell, so that the next event is a new one.
        let mut news = false;
        take_events(&self.epoll, |_, _| news = true);
        self.news |= news;
        if self.filter.is_some() {
            self.filter_input();
        }
        if self.size.is_none() || !window::may_have_changed() {
            return None;
        }
        let PortOutput::Open(output) = &self.output else {
            return None;
        };
        let size = window::size(&output.fd)?;
        self.size = Some(size);
        Some(Change::Resized(size))
    }

    fn take_activity(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        if self.filter.is_none() {
            return self.read_input(into);
        }
        let count = into.len().min(self.typed.len());
        for (to, from) in into.iter_mut().zip(self.typed.drain(..count)) {
            *to = from;
        }
        count
    }

    fn write(&mut self, from: &[u8]) -> usize {
        let PortOutput::Open(output) = &self.output else {
            return from.len();
        };
        let mut piece = from;
        if output.blocking {
            if !is_ready(&output.fd, PollFlags::OUT) {
                return self.wait_for_room();
            }
            piece = &from[..from.len().min(CAUTIOUS)];
        }
        loop {
            match rustix::io::write(&output.fd, piece) {
                Ok(count) if count == from.len() => return count,
                Ok(count) => {
                    // What is left may have to wait.
                    self.wait_for_room();
                    return count;
                }
                Err(Errno::AGAIN) => return self.wait_for_room(),
                Err(Errno::INTR) => {}
                Err(why) => {
                    say::output_is_lost(&self.destination, &io::Error::from(why));
                    self.output = PortOutput::Lost;
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

/// Writes all of `rest` to `port`, waiting for room for a moment. `epoll` is readable when there may
/// be some.
pub(super) fn write_out(port: &mut dyn PortBackend, epoll: &OwnedFd, rest: &[u8]) {
    let mut end = Instant::now() + PATIENCE;
    let mut rest = rest;
    while !rest.is_empty() {
        let taken = port.write(rest);
        rest = rest.get(taken..).unwrap_or_default();
        if taken > 0 {
            end = Instant::now() + PATIENCE;
        } else {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !is_ready_within(epoll, PollFlags::IN, left) {
                return;
            }
            while port.change().is_some() {}
        }
    }
}

impl StreamPort {
    /// Waits for room for output with epoll. Returns 0, the number of bytes written.
    fn wait_for_room(&self) -> usize {
        if let PortOutput::Open(output) = &self.output {
            let when = epoll::EventFlags::OUT | epoll::EventFlags::ONESHOT;
            // Regular files are not waited for, and never have no room.
            let _ = epoll::modify(
                &self.epoll,
                &output.fd,
                epoll::EventData::new_u64(OUTPUT),
                when,
            );
        }
        0
    }
}

impl PortDescriptor {
    /// A descriptor of our own for what is behind `fd`, which does not block if that can be had: not
    /// blocking is a property of the open file, and those that the shell gave us belong to others as
    /// well. Terminals and pipes can be opened anew.
    fn new(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        if let FileType::CharacterDevice | FileType::Fifo = kind {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) {
                let blocking = false;
                return Ok(PortDescriptor { fd, blocking });
            }
        }
        Ok(PortDescriptor {
            fd: fd.try_clone_to_owned()?,
            blocking: kind != FileType::RegularFile,
        })
    }
}

/// Adds `fd` to `epoll`, edge-triggered. A regular file cannot be waited for: it is always ready.
pub(super) fn wait_for(
    epoll: &OwnedFd,
    fd: impl AsFd,
    data: u64,
    events: epoll::EventFlags,
) -> io::Result<()> {
    let events = events | epoll::EventFlags::ET;
    match epoll::add(epoll, fd, epoll::EventData::new_u64(data), events) {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// Calls `note` with each event of `epoll`, without waiting.
pub(super) fn take_events(epoll: &OwnedFd, mut note: impl FnMut(u64, epoll::EventFlags)) {
    let mut events = Vec::with_capacity(8);
    if epoll::wait(
        epoll,
        rustix::buffer::spare_capacity(&mut events),
        Some(&Timespec::default()),
    )
    .is_ok()
    {
        for event in &events {
            note(event.data.u64(), event.flags);
        }
    }
}

/// Whether `fd` is ready now.
pub(super) fn is_ready(fd: impl AsFd, what: PollFlags) -> bool {
    is_ready_within(fd, what, Duration::ZERO)
}

/// Whether `fd` is or becomes ready within `time`.
fn is_ready_within(fd: impl AsFd, what: PollFlags, time: Duration) -> bool {
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), what)];
    matches!(poll(&mut fds, Some(&time)), Ok(1..))
}

/// The message for a path that cannot be opened or created.
pub(in crate::backends) fn describe(path: &Path, error: &io::Error) -> String {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match error.kind() {
        io::ErrorKind::NotFound if !directory.exists() => format!(
            "there is no directory {}; create it or choose another path",
            directory.display()
        ),
        io::ErrorKind::IsADirectory => "it is a directory; choose another path".into(),
        // A sentence of ours.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            format!("{error}; choose another path")
        }
        io::ErrorKind::PermissionDenied => {
            "there is no permission to write there; choose another path".into()
        }
        _ if error.raw_os_error() == Some(libc::ENXIO) => {
            "no program reads from this FIFO (or it is a socket); start the reader first".into()
        }
        _ => format!("it cannot be opened ({error}); choose another path"),
    }
}
