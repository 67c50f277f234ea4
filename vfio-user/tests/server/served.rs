//! A device that remembers what was done to it, served on a thread.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use stickler_vfio_user::client::Client;
use stickler_vfio_user::wire::region;
use stickler_vfio_user::{
    Channel, ChannelError, Device, DmaMapping, DmaTable, Interrupts, Received, Session,
};

/// Memory at this address the device cannot use.
pub(crate) const UNUSABLE: u64 = 0xdead_0000_0000;

/// What was done to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Read(u32, u64, usize),
    Written(u32, u64, Vec<u8>),
    /// Address, size, offset, and whether there is a file, of all that is shared.
    Memory(Vec<(u64, u64, u64, bool)>),
    Reset,
}

/// A server of one device and one client.
pub(crate) struct Served {
    pub(crate) interrupts: Arc<Interrupts>,
    state: Arc<Mutex<State>>,
    thread: JoinHandle<Result<(), ChannelError>>,
}

#[derive(Default)]
struct State {
    done: Vec<Done>,
    files: HashSet<i32>,
}

struct Recording {
    interrupts: Arc<Interrupts>,
    state: Arc<Mutex<State>>,
}

impl Recording {
    fn record(&self, done: Done) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done.push(done);
    }
}

impl Device for Recording {
    fn region_len(&self, index: u32) -> u64 {
        match index {
            0 => 8192,
            region::CONFIG => 4096,
            _ => 0,
        }
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        self.record(Done::Read(region, offset, data.len()));
        for (at, byte) in data.iter_mut().enumerate() {
            *byte = (offset as usize + at) as u8;
        }
        Ok(())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.record(Done::Written(region, offset, data.to_vec()));
        Ok(())
    }

    fn can_map(&mut self, _table: &DmaTable, mapping: &DmaMapping) -> Result<(), Errno> {
        match mapping.address {
            UNUSABLE => Err(Errno::NODEV),
            _ => Ok(()),
        }
    }

    fn memory_changed(&mut self, table: &DmaTable) {
        let shared = |m: &DmaMapping| (m.address, m.size, m.offset, m.file.is_some());
        self.record(Done::Memory(table.iter().map(shared).collect()));
        let files = table.iter().filter_map(|m| m.file.as_ref());
        let files = files.map(|file| file.as_raw_fd()).collect();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.files = files;
    }

    fn reset(&mut self) {
        self.record(Done::Reset);
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}

/// Serves a device with 3 vectors to a client that has agreed on nothing yet.
pub(crate) fn serve() -> (Served, Client) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let interrupts = Arc::new(Interrupts::new(3));
    let state = Arc::new(Mutex::new(State::default()));
    let mut device = Recording {
        interrupts: interrupts.clone(),
        state: state.clone(),
    };
    let thread = thread::spawn(move || answer_all(ours, &mut device));
    let client = Client::on(theirs).expect("a client");
    let served = Served {
        interrupts,
        state,
        thread,
    };
    (served, client)
}

/// Answers a client until it has gone.
pub(crate) fn answer_all(socket: UnixStream, device: &mut dyn Device) -> Result<(), ChannelError> {
    let mut channel = Channel::new(socket).expect("it can be made non-blocking");
    let mut session = Session::new();
    loop {
        let wanted = match channel.is_sending() {
            true => PollFlags::OUT,
            false => PollFlags::IN,
        };
        poll(
            &mut [PollFd::from_borrowed_fd(channel.as_fd(), wanted)],
            None,
        )
        .expect("poll");
        if channel.is_sending() {
            channel.send()?;
            continue;
        }
        match channel.receive()? {
            Received::Message(message) => {
                let answer = session.answer(message, device);
                if let Some(reply) = answer.reply {
                    channel.reply(reply)?;
                }
                if answer.close {
                    return Ok(());
                }
            }
            Received::Nothing => {}
            Received::Closed => return Ok(()),
        }
    }
}

impl Served {
    /// What was done to the device since the last call.
    pub(crate) fn take_done(&self) -> Vec<Done> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.done)
    }

    /// How many descriptors are kept for the files of the memory.
    pub(crate) fn distinct_files(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.files.len()
    }

    /// How it ended.
    pub(crate) fn end(self) -> Result<(), ChannelError> {
        self.thread.join().expect("the server does not panic")
    }
}
