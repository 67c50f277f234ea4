//! A client of vfio-user that sends anything.

use std::fs::File;
use std::os::fd::OwnedFd;

use arbitrary::{Result, Unstructured};
use stickler_vfio_user::wire::{HEADER_LEN, Header, flag, region};
use stickler_vfio_user::{Device, DmaMapping, DmaTable, Interrupts, Message, Payload, Session};

/// What its system's error numbers are.
type Errno = rustix::io::Errno;

/// Bytes of the device's one BAR.
const BAR: u64 = 8192;

/// The most that a client may share with a device of this kind, in regions.
const MOST_REGIONS: usize = 1 << 16;

/// Answers messages made of the bytes, and checks that what the device sees is what it may see.
pub fn vfio_user(bytes: &[u8]) {
    let _ = serve(&mut Unstructured::new(bytes));
}

fn serve(input: &mut Unstructured<'_>) -> Result<()> {
    let mut device = Checking {
        interrupts: Interrupts::new(3),
        memory: Vec::new(),
    };
    let mut session = Session::new();
    while !input.is_empty() {
        let message = message(input)?;
        let (id, wanted) = (
            message.header.id,
            message.header.flags & flag::NO_REPLY == 0,
        );
        let answer = session.answer(message, &mut device);
        assert_eq!(answer.reply.is_some(), wanted);
        let Some(reply) = answer.reply else { continue };
        let (head, _) = reply.split_first_chunk::<HEADER_LEN>().expect("a header");
        let header = Header::from_bytes(head);
        assert_eq!(header.id, id);
        assert_eq!(header.size as usize, reply.len());
        if answer.close {
            break;
        }
    }
    Ok(())
}

fn message(input: &mut Unstructured<'_>) -> Result<Message> {
    let payload = if input.ratio(1, 32)? {
        Payload::TooLong
    } else {
        let len = input.int_in_range(0..=64)?;
        Payload::Bytes((0..len).map(|_| byte(input)).collect::<Result<_>>()?)
    };
    let len = match &payload {
        Payload::Bytes(bytes) => bytes.len(),
        Payload::TooLong => 2 << 20,
    };
    let fds = match input.int_in_range(0..=7)? {
        0 => 3,
        1..=2 => 1,
        _ => 0,
    };
    Ok(Message {
        header: Header {
            id: input.arbitrary()?,
            command: input.int_in_range(0..=20)?,
            size: (HEADER_LEN + len) as u32,
            flags: *input.choose(&[0, 0, 0, flag::NO_REPLY, 1, u32::MAX])?,
            error: 0,
        },
        payload,
        fds: (0..fds).map(|_| descriptor()).collect(),
    })
}

/// Mostly small numbers, which fields are made of.
fn byte(input: &mut Unstructured<'_>) -> Result<u8> {
    Ok(match input.int_in_range(0..=3)? {
        0 | 1 => 0,
        2 => input.int_in_range(0..=32)?,
        _ => input.arbitrary()?,
    })
}

/// A file that can be anything to the session, memory too.
fn descriptor() -> OwnedFd {
    File::open("/dev/zero").expect("/dev/zero").into()
}

/// A device that sees to it that accesses are within what there is.
struct Checking {
    interrupts: Interrupts,
    memory: Vec<(u64, u64)>,
}

impl Checking {
    fn check(&self, index: u32, offset: u64, len: usize) {
        let end = offset.checked_add(len as u64).expect("no overflow");
        assert!(end <= self.region_len(index), "{index} {offset:#x} {len}");
    }
}

impl Device for Checking {
    fn region_len(&self, index: u32) -> u64 {
        match index {
            0 => BAR,
            region::CONFIG => 4096,
            _ => 0,
        }
    }

    fn read(
        &mut self,
        region: u32,
        offset: u64,
        data: &mut [u8],
    ) -> std::result::Result<(), Errno> {
        self.check(region, offset, data.len());
        Ok(())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> std::result::Result<(), Errno> {
        self.check(region, offset, data.len());
        Ok(())
    }

    fn can_map(&mut self, _: &DmaTable, mapping: &DmaMapping) -> std::result::Result<(), Errno> {
        assert!(mapping.address.checked_add(mapping.size - 1).is_some());
        Ok(())
    }

    fn memory_changed(&mut self, table: &DmaTable) {
        self.memory = table.iter().map(|one| (one.address, one.size)).collect();
        self.memory.sort_unstable();
        assert!(self.memory.len() <= MOST_REGIONS);
        for pair in self.memory.windows(2) {
            let [(address, size), (next, _)] = pair else {
                continue;
            };
            assert!(address + size <= *next, "regions overlap: {pair:x?}");
        }
    }

    fn reset(&mut self) {}

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
