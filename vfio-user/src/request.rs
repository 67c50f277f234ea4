//! What a message asks for. A [`Request`] has passed every check that needs no knowledge of the device.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::channel::{Message, Payload};
use crate::wire::{Fields, MAX_DATA, bits, command};

/// A request of the client.
#[derive(Debug)]
pub enum Request {
    /// What both sides are to agree on.
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
        /// JSON, perhaps with a zero at its end; perhaps nothing.
        data: Vec<u8>,
    },
    /// The client shares memory.
    DmaMap(Map),
    /// It takes memory back.
    DmaUnmap(Unmap),
    /// What the device has.
    DeviceInfo,
    /// What region `index` is like.
    RegionInfo {
        /// The region.
        index: u32,
    },
    /// What interrupts of kind `index` are like.
    IrqInfo {
        /// The kind.
        index: u32,
    },
    /// How to interrupt.
    SetIrqs(SetIrqs),
    /// Read of 1 to [`MAX_DATA`] bytes.
    Read(Access),
    /// Write of 1 to [`MAX_DATA`] bytes.
    Write(Access, Vec<u8>),
    /// Reset of the device.
    Reset,
}

/// Memory that is shared.
#[derive(Debug)]
pub struct Map {
    /// The device may read it.
    pub readable: bool,
    /// The device may write it.
    pub writable: bool,
    /// Where in the file it is, bytes.
    pub offset: u64,
    /// Its address on the device's bus.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Without one, the memory can only be asked for in messages.
    pub file: Option<OwnedFd>,
}

/// Memory that is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// The flags as they came; the reply repeats them.
    pub flags: u32,
    /// Its address on the device's bus.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

impl Unmap {
    /// Whether all memory is taken back.
    pub fn is_of_all(&self) -> bool {
        self.flags & bits::DMA_UNMAP_ALL != 0
    }
}

/// An access to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where in the region, bytes.
    pub offset: u64,
    /// Which region.
    pub region: u32,
    /// Bytes.
    pub count: u32,
}

/// What is to be done to some interrupts of one kind.
#[derive(Debug)]
pub struct SetIrqs {
    /// Which kind.
    pub index: u32,
    /// The first of them.
    pub start: u32,
    /// How many.
    pub count: u32,
    /// What is to be done.
    pub action: IrqAction,
    /// To which of them, or what is to be signalled.
    pub data: IrqData,
}

/// What is to be done to interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqAction {
    /// Mask them.
    Mask,
    /// Unmask them.
    Unmask,
    /// Trigger them, or, with eventfds, say what is to be signalled.
    Trigger,
}

/// To which interrupts something is to be done.
#[derive(Debug)]
pub enum IrqData {
    /// To all of them.
    All,
    /// To those whose byte is not 0; there are as many as interrupts.
    Some(Vec<u8>),
    /// An eventfd for each of them, or none at all.
    EventFds(Vec<OwnedFd>),
}

impl Request {
    /// What `message` asks for.
    ///
    /// # Errors
    /// The number of the error with which the message is to be answered: EOPNOTSUPP for a command that there
    /// is not here, E2BIG for a message that is too long, EINVAL for one that makes no sense.
    pub fn parse(message: Message) -> Result<Request, Errno> {
        let Message {
            header,
            payload,
            mut fds,
        } = message;
        let known = matches!(
            header.command,
            command::VERSION..=command::DEVICE_GET_REGION_INFO
                | command::DEVICE_GET_IRQ_INFO..=command::REGION_WRITE
                | command::DEVICE_RESET
        );
        if !known {
            return Err(Errno::OPNOTSUPP);
        }
        let Payload::Bytes(payload) = payload else {
            return Err(Errno::TOOBIG);
        };
        let may_have = match header.command {
            command::DMA_MAP => 1,
            command::DEVICE_SET_IRQS => fds.len(),
            _ => 0,
        };
        if fds.len() > may_have {
            return Err(Errno::INVAL);
        }
        match header.command {
            command::VERSION => version(&payload),
            command::DMA_MAP => map(&payload, fds.pop()),
            command::DMA_UNMAP => unmap(&payload),
            command::DEVICE_GET_INFO => {
                reply_fits(&mut Fields::of(&payload), 16).map(|()| Request::DeviceInfo)
            }
            command::DEVICE_GET_REGION_INFO => {
                let index = index(&payload, 32)?;
                Ok(Request::RegionInfo { index })
            }
            command::DEVICE_GET_IRQ_INFO => {
                let index = index(&payload, 16)?;
                Ok(Request::IrqInfo { index })
            }
            command::DEVICE_SET_IRQS => set_irqs(&payload, fds),
            command::REGION_READ => {
                let (access, rest) = access(&payload)?;
                rest.is_empty()
                    .then_some(Request::Read(access))
                    .ok_or(Errno::INVAL)
            }
            command::REGION_WRITE => {
                let (access, data) = access(&payload)?;
                (data.len() == access.count as usize)
                    .then(|| Request::Write(access, data.to_vec()))
                    .ok_or(Errno::INVAL)
            }
            // Only this is left.
            _ => payload
                .is_empty()
                .then_some(Request::Reset)
                .ok_or(Errno::INVAL),
        }
    }
}

fn version(payload: &[u8]) -> Result<Request, Errno> {
    let mut fields = Fields::of(payload);
    Ok(Request::Version {
        major: fields.u16()?,
        minor: fields.u16()?,
        data: fields.rest().to_vec(),
    })
}

fn map(payload: &[u8], file: Option<OwnedFd>) -> Result<Request, Errno> {
    let mut fields = Fields::of(payload);
    let _argsz = fields.u32()?;
    let flags = fields.u32()?;
    let map = Map {
        readable: flags & bits::DMA_READ != 0,
        writable: flags & bits::DMA_WRITE != 0,
        offset: fields.u64()?,
        address: fields.u64()?,
        size: fields.u64()?,
        file,
    };
    if flags & !(bits::DMA_READ | bits::DMA_WRITE) != 0 || !fields.rest().is_empty() {
        return Err(Errno::INVAL);
    }
    Ok(Request::DmaMap(map))
}

fn unmap(payload: &[u8]) -> Result<Request, Errno> {
    let mut fields = Fields::of(payload);
    reply_fits(&mut fields, 24)?;
    let unmap = Unmap {
        flags: fields.u32()?,
        address: fields.u64()?,
        size: fields.u64()?,
    };
    let all = unmap.is_of_all();
    let odd = all && (unmap.address, unmap.size) != (0, 0);
    if odd || unmap.flags & !bits::DMA_UNMAP_ALL != 0 || !fields.rest().is_empty() {
        return Err(Errno::INVAL);
    }
    Ok(Request::DmaUnmap(unmap))
}

/// `argsz` is the room that the client has for the reply's payload.
fn reply_fits(fields: &mut Fields<'_>, len: u32) -> Result<(), Errno> {
    match fields.u32()? {
        argsz if argsz < len => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

fn index(payload: &[u8], reply: u32) -> Result<u32, Errno> {
    let mut fields = Fields::of(payload);
    reply_fits(&mut fields, reply)?;
    let _flags = fields.u32()?;
    fields.u32()
}

fn access(payload: &[u8]) -> Result<(Access, &[u8]), Errno> {
    let mut fields = Fields::of(payload);
    let access = Access {
        offset: fields.u64()?,
        region: fields.u32()?,
        count: fields.u32()?,
    };
    if !(1..=MAX_DATA).contains(&(access.count as usize)) {
        return Err(Errno::INVAL);
    }
    Ok((access, fields.rest()))
}

fn set_irqs(payload: &[u8], fds: Vec<OwnedFd>) -> Result<Request, Errno> {
    use bits::{SET_DATA_BOOL, SET_DATA_EVENTFD, SET_DATA_NONE, SET_MASK, SET_TRIGGER, SET_UNMASK};

    let mut fields = Fields::of(payload);
    let _argsz = fields.u32()?;
    let flags = fields.u32()?;
    let (index, start, count) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let bytes = fields.rest();
    // The flags of each set exclude each other.
    let kinds = SET_DATA_NONE | SET_DATA_BOOL | SET_DATA_EVENTFD;
    let action = match flags & !kinds {
        SET_MASK => IrqAction::Mask,
        SET_UNMASK => IrqAction::Unmask,
        SET_TRIGGER => IrqAction::Trigger,
        _ => return Err(Errno::INVAL),
    };
    let (mut wanted_bytes, mut wanted_fds) = (0, 0);
    let data = match flags & kinds {
        SET_DATA_NONE => IrqData::All,
        SET_DATA_BOOL => {
            wanted_bytes = count as usize;
            IrqData::Some(bytes.to_vec())
        }
        SET_DATA_EVENTFD => {
            wanted_fds = if fds.is_empty() { 0 } else { count as usize };
            IrqData::EventFds(Vec::new())
        }
        _ => return Err(Errno::INVAL),
    };
    if bytes.len() != wanted_bytes || fds.len() != wanted_fds {
        return Err(Errno::INVAL);
    }
    let data = match data {
        IrqData::EventFds(_) => IrqData::EventFds(fds),
        data => data,
    };
    Ok(Request::SetIrqs(SetIrqs {
        index,
        start,
        count,
        action,
        data,
    }))
}
