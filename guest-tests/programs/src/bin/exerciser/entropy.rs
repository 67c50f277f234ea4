//! The entropy device.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;

use anyhow::{Context, Result, ensure};

use crate::drivers::eventually;

const SIZE: usize = 4096;

/// Reads from the device twice: the bytes look random and are not the same.
pub(crate) fn exercise() -> Result<()> {
    eventually("the kernel to take the entropy device", || {
        let current = fs::read_to_string("/sys/class/misc/hw_random/rng_current")?;
        Ok(current.starts_with("virtio_rng").then_some(()))
    })?;
    let (first, second) = (read()?, read()?);
    ensure!(first != second, "the same random bytes came twice");
    for bytes in [first, second] {
        // Of 4096 random bytes, fewer than 240 different ones never happen.
        let different = bytes.iter().collect::<BTreeSet<_>>().len();
        ensure!(
            different >= 240,
            "only {different} different bytes among {SIZE}"
        );
    }
    Ok(())
}

fn read() -> Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    File::open("/dev/hwrng")
        .context("cannot open /dev/hwrng")?
        .read_exact(&mut bytes)
        .context("cannot read random bytes")?;
    Ok(bytes)
}
