//! Answers the requests of one client.

use rustix::io::Errno;

use crate::channel::Message;
use crate::dma::{DmaMapping, DmaTable};
use crate::interrupts::Interrupts;
use crate::request::{Access, Request};
use crate::version;
use crate::wire::{HEADER_LEN, Header, bits, flag, irq, region};

/// A PCI device that is served.
pub trait Device {
    /// Bytes of region `index`; 0 if there is none.
    fn region_len(&self, index: u32) -> u64;

    /// Reads `data.len()` bytes (which are 0) at `offset` of a region, as the guest or the client itself reads
    /// them; all of them lie in the region.
    ///
    /// # Errors
    /// The number of the error with which the client is answered, as for the others.
    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno>;

    /// Writes `data.len()` bytes at `offset` of a region.
    ///
    /// # Errors
    /// There is no such access.
    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno>;

    /// Whether the device can use memory that the client wants to share. `table` has all that it shares, with
    /// this.
    ///
    /// # Errors
    /// It cannot.
    fn can_map(&mut self, table: &DmaTable, mapping: &DmaMapping) -> Result<(), Errno>;

    /// The client shares other memory than before.
    fn memory_changed(&mut self, table: &DmaTable);

    /// The client resets the device.
    fn reset(&mut self);

    /// The interrupts of the device.
    fn interrupts(&self) -> &Interrupts;
}

/// What is known of one client.
#[derive(Debug, Default)]
pub struct Session {
    /// Version and capabilities have been agreed on.
    agreed: bool,
    memory: DmaTable,
}

/// How a request was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The reply to send; the client may have wanted none.
    pub reply: Option<Vec<u8>>,
    /// Why the request was refused, if it was.
    pub refused: Option<Errno>,
    /// The connection has to be closed after the reply: nothing can be agreed on.
    pub close: bool,
}

impl Session {
    /// A client that has just connected.
    pub fn new() -> Self {
        Session::default()
    }

    /// Does what `message` asks for.
    pub fn answer(&mut self, message: Message, device: &mut dyn Device) -> Answer {
        let header = message.header;
        let was_agreed = self.agreed;
        let result = Request::parse(message).and_then(|request| self.handle(request, device));
        let refused = result.as_ref().err().copied();
        let wanted = header.flags & flag::NO_REPLY == 0;
        Answer {
            reply: wanted.then(|| reply(header, result)),
            refused,
            close: refused.is_some() && !was_agreed,
        }
    }

    /// Returns the payload of the reply.
    fn handle(&mut self, request: Request, device: &mut dyn Device) -> Result<Vec<u8>, Errno> {
        match request {
            // Once, before all others.
            Request::Version { major, minor, data } if !self.agreed => {
                let reply = version::agree(major, minor, &data)?;
                self.agreed = true;
                Ok(reply)
            }
            Request::Version { .. } => Err(Errno::INVAL),
            _ if !self.agreed => Err(Errno::INVAL),
            Request::DmaMap(map) => {
                let (address, size) = (map.address, map.size);
                self.memory.map(map)?;
                let mapping = self.memory.get(address).ok_or(Errno::NOENT)?;
                if let Err(error) = device.can_map(&self.memory, mapping) {
                    self.memory.unmap(address, size)?;
                    return Err(error);
                }
                device.memory_changed(&self.memory);
                Ok(Vec::new())
            }
            Request::DmaUnmap(unmap) => {
                if unmap.is_of_all() {
                    self.memory.clear();
                } else {
                    self.memory.unmap(unmap.address, unmap.size)?;
                }
                device.memory_changed(&self.memory);
                Ok(Reply::of(24)
                    .u32(unmap.flags)
                    .u64(unmap.address)
                    .u64(unmap.size)
                    .0)
            }
            Request::DeviceInfo => Ok(Reply::of(16)
                .u32(bits::DEVICE_RESET | bits::DEVICE_PCI)
                .u32(region::COUNT)
                .u32(irq::COUNT)
                .0),
            Request::RegionInfo { index } if index < region::COUNT => {
                let len = device.region_len(index);
                let flags = match len {
                    0 => 0,
                    _ => bits::REGION_READ | bits::REGION_WRITE,
                };
                let (cap_offset, offset) = (0, 0);
                Ok(Reply::of(32)
                    .u32(flags)
                    .u32(index)
                    .u32(cap_offset)
                    .u64(len)
                    .u64(offset)
                    .0)
            }
            Request::IrqInfo { index } if index < irq::COUNT => {
                let count = device.interrupts().count(index);
                let flags = match (index, count) {
                    (_, 0) => 0,
                    (irq::INTX, _) => bits::IRQ_EVENTFD | bits::IRQ_MASKABLE | bits::IRQ_AUTOMASKED,
                    _ => bits::IRQ_EVENTFD,
                };
                Ok(Reply::of(16).u32(flags).u32(index).u32(count).0)
            }
            Request::RegionInfo { .. } | Request::IrqInfo { .. } => Err(Errno::INVAL),
            Request::SetIrqs(set) => device.interrupts().set(set).map(|()| Vec::new()),
            Request::Read(access) => {
                inside(&access, device)?;
                let mut reply = access_reply(&access);
                let at = reply.len();
                reply.resize(at + access.count as usize, 0);
                device.read(access.region, access.offset, &mut reply[at..])?;
                Ok(reply)
            }
            Request::Write(access, data) => {
                inside(&access, device)?;
                device.write(access.region, access.offset, &data)?;
                Ok(access_reply(&access))
            }
            Request::Reset => {
                device.reset();
                Ok(Vec::new())
            }
        }
    }
}

/// Whether all bytes of an access are in its region.
fn inside(access: &Access, device: &dyn Device) -> Result<(), Errno> {
    let len = match access.region {
        0..region::COUNT => device.region_len(access.region),
        _ => 0,
    };
    let end = access.offset.checked_add(access.count.into());
    match end {
        Some(end) if end <= len => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

fn access_reply(access: &Access) -> Vec<u8> {
    Reply(Vec::new())
        .u64(access.offset)
        .u32(access.region)
        .u32(access.count)
        .0
}

/// A reply with its header.
fn reply(to: Header, result: Result<Vec<u8>, Errno>) -> Vec<u8> {
    let (payload, error) = match result {
        Ok(payload) => (payload, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let header = Header {
        size: (HEADER_LEN + payload.len()) as u32,
        flags: flag::REPLY | error.map_or(0, |_| flag::ERROR),
        error: error.map_or(0, |error| error.raw_os_error() as u32),
        ..to
    };
    let mut reply = header.to_bytes().to_vec();
    reply.extend(payload);
    reply
}

/// A payload.
struct Reply(Vec<u8>);

impl Reply {
    /// One that begins with `argsz`, its own length.
    fn of(len: u32) -> Self {
        Reply(Vec::new()).u32(len)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }
}
