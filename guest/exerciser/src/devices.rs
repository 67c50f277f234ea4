//! The devices as the kernel lists them, and whether they have drivers.
//!
//! Citations are of virtio 1.0.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use stickler_exerciser::Kind;

use crate::failure::{Context, Result};

const PCI: &str = "/sys/bus/pci/devices";

/// Bits of device status after which a driver needs to do nothing but reset the device (§2.1).
const DEVICE_NEEDS_RESET: u64 = 64;
const FAILED: u64 = 128;

/// A virtio device, by its function on the PCI bus.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// The directory of its PCI function.
    pub(crate) function: PathBuf,
}

impl Device {
    /// The function's name: `0000:00:01.0`.
    pub(crate) fn name(&self) -> &str {
        name(&self.function)
    }

    /// The directory of the virtio device that the transport's driver has made for it.
    pub(crate) fn virtio(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.function).ok()?;
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                name(path)
                    .strip_prefix("virtio")
                    .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
            })
    }

    /// Its type: as the transport's driver says, else by its PCI Device ID.
    pub(crate) fn kind(&self) -> Option<Kind> {
        if let Some(id) = self.virtio().and_then(|dir| number(&dir.join("device"))) {
            return Kind::of(id);
        }
        match number(&self.function.join("device"))? {
            0x1000 => Some(Kind::Net),
            0x1001 => Some(Kind::Block),
            0x1003 => Some(Kind::Console),
            0x1005 => Some(Kind::Entropy),
            id => Kind::of(id.checked_sub(0x1040)?),
        }
    }

    /// Whether both its transport and the device itself have drivers.
    pub(crate) fn is_driven(&self) -> bool {
        self.function.join("driver").exists()
            && self
                .virtio()
                .is_some_and(|virtio| virtio.join("driver").exists())
    }

    /// Whether the driver has set FAILED, or the device DEVICE_NEEDS_RESET.
    pub(crate) fn is_given_up(&self) -> bool {
        self.status()
            .is_some_and(|status| status & (FAILED | DEVICE_NEEDS_RESET) != 0)
    }

    /// Device status.
    fn status(&self) -> Option<u64> {
        number(&self.virtio()?.join("status"))
    }

    /// Whether this feature was negotiated.
    pub(crate) fn has_feature(&self, bit: usize) -> bool {
        self.virtio()
            .and_then(|virtio| fs::read_to_string(virtio.join("features")).ok())
            .is_some_and(|bits| bits.as_bytes().get(bit) == Some(&b'1'))
    }

    /// What it is, where it is and what state it is in, in words.
    pub(crate) fn describe(&self) -> String {
        match self.kind() {
            Some(kind) => format!("{kind} {}", self.state()),
            None => format!("device {}", self.state()),
        }
    }

    /// Where it is and what state it is in, in words.
    pub(crate) fn state(&self) -> String {
        let name = self.name();
        match (self.function.join("driver").exists(), self.status()) {
            (false, _) => format!("at {name}: its transport has no driver"),
            (true, None) => format!("at {name}: its transport's driver has made no device"),
            (true, Some(status)) if self.is_driven() => {
                format!("at {name}: device status {status:#04x}")
            }
            (true, Some(status)) => format!("at {name}: no driver, device status {status:#04x}"),
        }
    }
}

/// All virtio devices, in the order of their slots.
pub(crate) fn all() -> Result<Vec<Device>> {
    let mut found: Vec<Device> = entries(Path::new(PCI))?
        .into_iter()
        .filter(|function| number(&function.join("vendor")) == Some(0x1af4))
        .map(|function| Device { function })
        .collect();
    found.sort_by(|a, b| a.function.cmp(&b.function));
    Ok(found)
}

/// Those of this kind.
pub(crate) fn of(kind: Kind) -> Result<Vec<Device>> {
    Ok(all()?
        .into_iter()
        .filter(|device| device.kind() == Some(kind))
        .collect())
}

/// Waits until every device has its driver, or until its driver gave up, where `giving_up` allows that.
pub(crate) fn wait_for_drivers(giving_up: bool) -> Result {
    let undriven = || -> Result<Vec<Device>> {
        Ok(all()?
            .into_iter()
            .filter(|device| !(device.is_driven() || giving_up && device.is_given_up()))
            .collect())
    };
    let waited = eventually("the drivers of all devices", || {
        Ok(undriven()?.is_empty().then_some(()))
    });
    if waited.is_err() {
        let words: Vec<String> = undriven()?.iter().map(Device::describe).collect();
        return Err(words.join("; "));
    }
    Ok(())
}

/// How long [`eventually`] waits.
const SOON: Duration = Duration::from_secs(30);

/// Waits until `look` returns something, which should be soon.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begin.elapsed() > SOON {
            return Err(format!(
                "timed out after {} s while waiting for {what}",
                SOON.as_secs()
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The paths in a directory, sorted.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).context(format!("cannot read {}", dir.display()))? {
        found.push(entry.context("cannot read a directory")?.path());
    }
    found.sort();
    Ok(found)
}

/// A file's name.
pub(crate) fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// A number in a file, as the kernel writes them: `0x1af4`, `17`.
fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
