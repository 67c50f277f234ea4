//! The console: port 0, the only one that the crate supports.

use anyhow::{Result, anyhow, ensure};
use stickler_guest_programs::pattern;
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::transport::pci::PciTransport;

use crate::dma::Memory;

/// Bytes that are sent in one buffer.
const CHUNK: usize = 100;

/// How many such buffers are sent.
const CHUNKS: usize = 20;

/// Sends data and compares what the far side answers.
pub(crate) fn exercise(transport: PciTransport) -> Result<()> {
    let mut device = VirtIOConsole::<Memory, _>::new(transport)?;
    ensure!(
        device.size()?.is_some(),
        "the console does not tell its size"
    );
    let data = pattern::bytes(20, CHUNK * CHUNKS);
    for chunk in data.chunks(CHUNK) {
        device.send_bytes(chunk)?;
        expect_answer(&mut device, chunk)?;
    }
    device.send(b'.')?;
    expect_answer(&mut device, b".")?;
    device.emergency_write(b'!')?;
    expect_answer(&mut device, b"!")
}

fn expect_answer(device: &mut VirtIOConsole<Memory, PciTransport>, sent: &[u8]) -> Result<()> {
    let mut found = Vec::new();
    while found.len() < sent.len() {
        match device.recv(true)? {
            Some(byte) => found.push(byte),
            None => std::thread::yield_now(),
        }
    }
    pattern::compare(&found, &pattern::answer(sent))
        .map_err(|difference| anyhow!("the answer is wrong: {difference}"))
}
