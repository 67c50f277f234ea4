//! Block devices: one to write on, and one that is read-only.

use anyhow::{Context, Result, anyhow, ensure};
use stickler_guest_programs::exercise::{READ_ONLY_SEED, READ_ONLY_SIZE};
use stickler_guest_programs::foreign::{DISK_SEED, DISK_SIZE};
use stickler_guest_programs::pattern;
use virtio_drivers::device::blk::{BlkReq, BlkResp, SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::pci::PciTransport;

use crate::dma::Memory;

type Device = VirtIOBlk<Memory, PciTransport>;

/// Bytes of a large request.
const LARGE: usize = 64 << 10;

/// Requests that are in flight at the same time.
const IN_FLIGHT: usize = 8;

/// Reads a read-only disk, writes and reads another.
pub(crate) fn exercise(transport: PciTransport) -> Result<()> {
    let mut device = Device::new(transport)?;
    device.device_id(&mut [0; 20]).context("no device id")?;
    if device.readonly() {
        let content = pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE);
        return read(&mut device, &content[..LARGE * 2]);
    }
    ensure!(
        device.capacity() == (DISK_SIZE / SECTOR_SIZE) as u64,
        "the disk has {} sectors",
        device.capacity()
    );
    let content = pattern::bytes(DISK_SEED, DISK_SIZE);
    write(&mut device, &content)?;
    device.flush().context("cannot flush")?;
    read(&mut device, &content)?;
    read_many(&mut device, &content)
}

/// Writes small requests to the first half of the disk, large ones to the second.
fn write(device: &mut Device, content: &[u8]) -> Result<()> {
    let (small, large) = content.split_at(LARGE);
    for (block, bytes) in small.chunks(SECTOR_SIZE).enumerate() {
        device.write_blocks(block, bytes)?;
    }
    for (number, bytes) in large.chunks(LARGE).enumerate() {
        device.write_blocks((number + 1) * LARGE / SECTOR_SIZE, bytes)?;
    }
    Ok(())
}

fn read(device: &mut Device, content: &[u8]) -> Result<()> {
    let mut found = vec![0; content.len()];
    for (number, bytes) in found.chunks_mut(LARGE).enumerate() {
        device.read_blocks(number * LARGE / SECTOR_SIZE, bytes)?;
    }
    same(&found, content)
}

/// Has several requests in flight, and takes them back in the order the device chooses.
fn read_many(device: &mut Device, content: &[u8]) -> Result<()> {
    struct Flight {
        token: u16,
        at: usize,
        request: BlkReq,
        buffer: Vec<u8>,
        response: BlkResp,
    }
    let mut flights: Vec<Box<Flight>> = Vec::new();
    let (mut begun, mut done) = (0, 0);
    let blocks = LARGE / SECTOR_SIZE;
    while done < blocks {
        while begun < blocks && flights.len() < IN_FLIGHT {
            let mut flight = Box::new(Flight {
                token: 0,
                at: begun,
                request: BlkReq::default(),
                buffer: vec![0; SECTOR_SIZE],
                response: BlkResp::default(),
            });
            // SAFETY: The parts of the request are neither moved nor accessed until
            // `complete_read_blocks`.
            flight.token = unsafe {
                device.read_blocks_nb(
                    flight.at,
                    &mut flight.request,
                    &mut flight.buffer,
                    &mut flight.response,
                )
            }?;
            flights.push(flight);
            begun += 1;
        }
        let Some(token) = device.peek_used() else {
            std::thread::yield_now();
            continue;
        };
        let index = flights
            .iter()
            .position(|flight| flight.token == token)
            .context("the device returns a request that is not in flight")?;
        let mut flight = flights.swap_remove(index);
        // SAFETY: These are the buffers of the request with this token.
        unsafe {
            device.complete_read_blocks(
                token,
                &flight.request,
                &mut flight.buffer,
                &mut flight.response,
            )
        }?;
        let start = flight.at * SECTOR_SIZE;
        same(&flight.buffer, &content[start..start + SECTOR_SIZE])?;
        done += 1;
    }
    Ok(())
}

fn same(found: &[u8], expected: &[u8]) -> Result<()> {
    pattern::compare(found, expected)
        .map_err(|difference| anyhow!("the disk has other data: {difference}"))
}
