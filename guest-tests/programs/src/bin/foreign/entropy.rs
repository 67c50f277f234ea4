//! The entropy device.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::pci::PciTransport;

use crate::dma::Memory;

const SIZE: usize = 4096;

/// Asks twice: the bytes look random and are not the same.
pub(crate) fn exercise(transport: PciTransport) -> Result<()> {
    let mut device = VirtIORng::<Memory, _>::new(transport)?;
    let first = random_bytes(&mut device)?;
    let second = random_bytes(&mut device)?;
    ensure!(first != second, "the same random bytes came twice");
    Ok(())
}

fn random_bytes(device: &mut VirtIORng<Memory, PciTransport>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        let count = device.request_entropy(&mut bytes[filled..])?;
        ensure!(
            (1..=SIZE - filled).contains(&count),
            "{count} bytes came into room for {}",
            SIZE - filled
        );
        filled += count;
    }
    // Of 4096 random bytes, fewer than 240 different ones never happen.
    let different = bytes.iter().collect::<BTreeSet<_>>().len();
    ensure!(
        different >= 240,
        "only {different} different bytes among {SIZE}"
    );
    Ok(bytes)
}
