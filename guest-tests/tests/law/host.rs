//! What stands behind the devices: hosts that do as they are told, at once, and keep books.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_devices::block::Block;
use stickler_devices::block::disk::{
    Completion, Disk, ID_LEN, Operation, Properties, Segment, Submitted,
};
use stickler_devices::console::port::{Change, PortBackend, Size};
use stickler_devices::console::{Console, PortConfig};
use stickler_devices::entropy::{Entropy, Source};
use stickler_devices::memory::GuestRam;
use stickler_devices::net::{LinkHandle, Net, NetBackend, Packet, Received};
use stickler_guest_tests::in_process::Rig;

/// Where the device is.
pub(crate) const SLOT: u8 = 3;

/// The card's address.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, SLOT];

/// Sectors of the disk.
pub(crate) const SECTORS: u64 = 64;
const SECTOR: usize = 512;

/// A device with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A network card with two pairs of queues.
    Net,
    /// A disk.
    Block,
    /// A disk that cannot be written.
    ReadOnlyBlock,
    /// A console with two ports.
    Console,
    /// A console with one.
    PlainConsole,
    /// An entropy source.
    Entropy,
}

impl Device {
    pub(crate) const ALL: [Device; 6] = [
        Device::Net,
        Device::Block,
        Device::ReadOnlyBlock,
        Device::Console,
        Device::PlainConsole,
        Device::Entropy,
    ];

    /// Puts it into its slot, and gives its host.
    pub(crate) fn add(self, rig: &mut Rig) -> Host {
        let mut host = Host::default();
        match self {
            Device::Net => {
                let (net, link) = Net::new(Network(host.net.clone()), MAC).expect("a card");
                rig.add(SLOT, net);
                host.link = Some(link);
            }
            Device::Block | Device::ReadOnlyBlock => {
                let read_only = self == Device::ReadOnlyBlock;
                *lock(&host.disk) = DiskBooks::new(read_only);
                rig.add(SLOT, Block::new(Platter(host.disk.clone(), null())));
            }
            Device::Console | Device::PlainConsole => {
                let ports = if self == Device::Console { 2 } else { 1 };
                let mut configs: Vec<PortConfig> = (0..ports).map(|_| host.add_port()).collect();
                let first = configs.remove(0);
                rig.add(SLOT, Console::new(first, configs).expect("good ports"));
            }
            Device::Entropy => rig.add(SLOT, Entropy::new(Bytes(host.entropy.clone()))),
        }
        host
    }
}

/// The books of all hosts; those of the device there is matter.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) net: Arc<Mutex<NetBooks>>,
    pub(crate) link: Option<LinkHandle>,
    pub(crate) disk: Arc<Mutex<DiskBooks>>,
    pub(crate) ports: Vec<Arc<Mutex<PortBooks>>>,
    pub(crate) entropy: Arc<Mutex<EntropyBooks>>,
}

impl Host {
    fn add_port(&mut self) -> PortConfig {
        let id = self.ports.len();
        let books = Arc::new(Mutex::new(PortBooks {
            open: true,
            ..PortBooks::default()
        }));
        self.ports.push(books.clone());
        PortConfig {
            backend: Box::new(Far(books, null())),
            name: (id > 0).then(|| format!("port{id}")),
        }
    }
}

/// Locks someone's books.
pub(crate) fn lock<T>(books: &Mutex<T>) -> MutexGuard<'_, T> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A descriptor for those who must have one: hosts are asked whether or not it is readable.
fn null() -> File {
    File::open("/dev/null").expect("there is /dev/null")
}

// ---- Network

/// What a network has to send, and what it got.
#[derive(Debug, Default)]
pub(crate) struct NetBooks {
    pub(crate) incoming: VecDeque<(NetHeader, Vec<u8>)>,
    pub(crate) sent: Vec<(u16, NetHeader, Vec<u8>)>,
}

struct Network(Arc<Mutex<NetBooks>>);

impl NetBackend for Network {
    fn features(&self) -> u64 {
        feature::CSUM
            | feature::HOST_TSO4
            | feature::HOST_TSO6
            | feature::HOST_ECN
            | feature::GUEST_CSUM
            | feature::GUEST_TSO4
            | feature::GUEST_TSO6
            | feature::GUEST_ECN
    }

    fn queue_pairs(&self) -> u16 {
        2
    }

    fn transmit(&mut self, pair: u16, packet: &Packet<'_>) {
        let sent = (pair, packet.header, packet.to_vec());
        lock(&self.0).sent.push(sent);
    }

    fn receive(&mut self, _source: u16, frame: &mut [u8]) -> Option<Received> {
        let (header, packet) = lock(&self.0).incoming.pop_front()?;
        frame[..packet.len()].copy_from_slice(&packet);
        Some(Received {
            header,
            len: packet.len(),
        })
    }
}

// ---- Disk

/// What is on a disk.
#[derive(Debug, Default)]
pub(crate) struct DiskBooks {
    /// What a read gives.
    pub(crate) data: Vec<u8>,
    /// What would be there after a power failure.
    pub(crate) persistent: Vec<u8>,
    pub(crate) read_only: bool,
    /// Operations take their time, and complete in another order.
    pub(crate) slow: bool,
    /// … and they do not even complete.
    pub(crate) held: bool,
    /// Operations fail.
    pub(crate) failing: bool,
    pending: Vec<(u16, Job)>,
}

#[derive(Debug)]
enum Job {
    Read(GuestRam, u64, Vec<Segment>),
    Write(u64, Vec<u8>, bool),
    Flush,
    Fail,
}

impl DiskBooks {
    fn new(read_only: bool) -> Self {
        let data = DiskBooks::fresh();
        DiskBooks {
            persistent: data.clone(),
            data,
            read_only,
            ..DiskBooks::default()
        }
    }

    /// What is on a disk that nobody has written to. No byte is that which unwritten memory has.
    pub(crate) fn fresh() -> Vec<u8> {
        let bytes = 0..SECTORS as usize * SECTOR;
        bytes.map(|i| (i / SECTOR + i % 64) as u8 & 0x7f).collect()
    }

    fn perform(&mut self, job: &Job) -> io::Result<()> {
        match job {
            Job::Read(ram, offset, into) => {
                let mut at = *offset as usize;
                for segment in into {
                    let slice = ram.slice(segment.addr, segment.len as usize);
                    let end = at + segment.len as usize;
                    slice.expect("in memory").copy_from(&self.data[at..end]);
                    at = end;
                }
            }
            Job::Write(offset, data, stable) => {
                let range = *offset as usize..*offset as usize + data.len();
                self.data[range.clone()].copy_from_slice(data);
                if *stable {
                    self.persistent[range].copy_from_slice(data);
                }
            }
            Job::Flush => self.persistent.clone_from(&self.data),
            Job::Fail => return Err(io::Error::other("asked for")),
        }
        Ok(())
    }
}

struct Platter(Arc<Mutex<DiskBooks>>, File);

impl Disk for Platter {
    fn properties(&self) -> Properties {
        Properties {
            capacity: SECTORS,
            read_only: lock(&self.0).read_only,
            physical_block: 512,
            id: [b'x'; ID_LEN],
        }
    }

    fn completion_fd(&self) -> RawFd {
        self.1.as_raw_fd()
    }

    fn submit(&mut self, ram: &GuestRam, token: u16, operation: Operation<'_>) -> Submitted {
        let mut books = lock(&self.0);
        let job = match operation {
            _ if books.failing => Job::Fail,
            Operation::Read { offset, into } => Job::Read(ram.clone(), offset, into.to_vec()),
            Operation::Write {
                offset,
                from,
                stable,
            } => {
                let mut data = Vec::new();
                for segment in from {
                    let slice = ram.slice(segment.addr, segment.len as usize);
                    let mut bytes = vec![0; segment.len as usize];
                    slice.expect("in memory").copy_to(&mut bytes[..]);
                    data.extend(bytes);
                }
                Job::Write(offset, data, stable)
            }
            Operation::Flush => Job::Flush,
        };
        if books.slow {
            books.pending.push((token, job));
            Submitted::Pending
        } else {
            Submitted::Done(books.perform(&job))
        }
    }

    fn start(&mut self) {}

    fn acknowledge(&mut self) {}

    fn next_completion(&mut self) -> Option<Completion> {
        let mut books = lock(&self.0);
        if books.held {
            return None;
        }
        // The last first.
        let (token, job) = books.pending.pop()?;
        let result = books.perform(&job);
        Some(Completion { token, result })
    }

    fn cancel(&mut self) {
        lock(&self.0).pending.clear();
    }

    fn is_quiet(&mut self) -> bool {
        lock(&self.0).pending.is_empty()
    }
}

// ---- Console

/// What is at the far end of a port.
#[derive(Debug, Default)]
pub(crate) struct PortBooks {
    pub(crate) input: VecDeque<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) open: bool,
    pub(crate) size: Option<Size>,
}

struct Far(Arc<Mutex<PortBooks>>, File);

impl PortBackend for Far {
    fn fd(&self) -> Option<RawFd> {
        Some(self.1.as_raw_fd())
    }

    fn is_open(&self) -> bool {
        lock(&self.0).open
    }

    fn size(&self) -> Option<Size> {
        lock(&self.0).size
    }

    fn change(&mut self) -> Option<Change> {
        let mut books = lock(&self.0);
        let change = books.changes.pop_front()?;
        match change {
            Change::Opened => books.open = true,
            Change::Closed => books.open = false,
            Change::Resized(size) => books.size = Some(size),
        }
        Some(change)
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut books = lock(&self.0);
        let count = into.len().min(books.input.len());
        for (to, from) in into.iter_mut().zip(books.input.drain(..count)) {
            *to = from;
        }
        count
    }

    fn write(&mut self, from: &[u8]) -> usize {
        lock(&self.0).output.extend(from);
        from.len()
    }
}

// ---- Entropy

/// Where random bytes come from: they count up, so that it can be told what has come.
#[derive(Debug, Default)]
pub(crate) struct EntropyBooks {
    pub(crate) given: u64,
    /// There are none to be had.
    pub(crate) dry: bool,
}

/// The `index`th byte.
pub(crate) fn entropy_byte(index: u64) -> u8 {
    (index % 127) as u8
}

struct Bytes(Arc<Mutex<EntropyBooks>>);

impl Source for Bytes {
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut books = lock(&self.0);
        if books.dry {
            return Err(io::Error::other("asked for"));
        }
        for byte in into {
            *byte = entropy_byte(books.given);
            books.given += 1;
        }
        Ok(())
    }
}
