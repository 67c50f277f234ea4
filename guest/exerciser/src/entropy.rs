//! The entropy device.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;

use crate::devices::eventually;
use crate::doing;
use crate::failure::{Context, Result, ensure};

const SIZE: usize = 1024;

/// Reads from the device twice: the bytes look random and are not the same.
pub(crate) fn exercise() -> Result {
    eventually("the kernel to take the entropy device", || {
        let current = fs::read_to_string("/sys/class/misc/hw_random/rng_current")
            .context("the kernel has no hw_random")?;
        Ok(current.starts_with("virtio_rng").then_some(()))
    })?;
    let (first, second) = (read()?, read()?);
    ensure(first != second, || {
        "the same random bytes came twice".to_owned()
    })?;
    for bytes in [first, second] {
        // Of 1024 random bytes, fewer than 200 different ones never happen.
        let different = bytes.iter().collect::<BTreeSet<_>>().len();
        ensure(different >= 200, || {
            format!("only {different} different bytes among {SIZE} random ones")
        })?;
    }
    Ok(())
}

fn read() -> Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    let mut device = File::open("/dev/hwrng").context("cannot open /dev/hwrng")?;
    let mut count = 0;
    while count < SIZE {
        doing(format!("reading random bytes: {count} of {SIZE} have come"));
        let more = device
            .read(&mut bytes[count..])
            .context(format!("cannot read random bytes after {count} of {SIZE}"))?;
        ensure(more > 0, || {
            format!("random bytes end after {count} of {SIZE}")
        })?;
        count += more;
    }
    Ok(bytes)
}
