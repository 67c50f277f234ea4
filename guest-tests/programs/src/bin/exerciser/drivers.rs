//! The drivers: that they are there, and that they can go and come back.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::network::Network;

/// Where a driver is bound to a device.
#[derive(Clone, Copy)]
pub(crate) enum Bus {
    /// The device types' drivers.
    Virtio,
    /// The transport's driver.
    Pci,
}

impl Bus {
    fn devices(self) -> &'static Path {
        Path::new(match self {
            Self::Virtio => "/sys/bus/virtio/devices",
            Self::Pci => "/sys/bus/pci/devices",
        })
    }
}

/// Waits for something that is to happen soon.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..600 {
        if let Some(found) = look()? {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("waited in vain for {what}")
}

/// Waits until every virtio device has a driver.
pub(crate) fn wait_for_all() -> Result<()> {
    eventually("the drivers of all devices", || {
        let devices = entries(Bus::Virtio.devices())?;
        let bound = devices.iter().all(|device| device.join("driver").exists());
        Ok((bound && !devices.is_empty()).then_some(()))
    })
}

/// Whether the driver of the first device of this type has negotiated a feature.
pub(crate) fn negotiated(device: u16, feature: usize) -> Result<bool> {
    for dir in entries(Bus::Virtio.devices())? {
        let id = fs::read_to_string(dir.join("device"))?;
        if u16::from_str_radix(id.trim().trim_start_matches("0x"), 16) == Ok(device) {
            // A digit for each bit, from bit 0 on.
            let features = fs::read_to_string(dir.join("features"))?;
            return Ok(features.as_bytes().get(feature) == Some(&b'1'));
        }
    }
    bail!("there is no virtio device of type {device}")
}

/// Takes the driver from every device and gives it back, while the network and entropy devices
/// are in use.
pub(crate) fn rebind(bus: Bus, network: &Network) -> Result<()> {
    let devices: Vec<PathBuf> = entries(bus.devices())?
        .into_iter()
        .filter(|device| match bus {
            Bus::Virtio => true,
            Bus::Pci => fs::read_to_string(device.join("vendor"))
                .is_ok_and(|vendor| vendor.trim() == "0x1af4"),
        })
        .collect();
    ensure!(!devices.is_empty(), "there is no device to unbind");
    for device in devices {
        let _traffic = network.keep_busy();
        let _readers = keep_reading_random_bytes();
        rebind_one(&device)?;
    }
    Ok(())
}

fn rebind_one(device: &Path) -> Result<()> {
    let name = device
        .file_name()
        .and_then(|name| name.to_str())
        .context("a device has a name")?;
    let driver =
        fs::canonicalize(device.join("driver")).with_context(|| format!("{name} has no driver"))?;
    fs::write(driver.join("unbind"), name)
        .with_context(|| format!("{} does not let go of {name}", driver.display()))?;
    ensure!(
        !device.join("driver").exists(),
        "{name} still has its driver"
    );
    fs::write(driver.join("bind"), name)
        .with_context(|| format!("{} does not take {name} again", driver.display()))?;
    wait_for_all()
}

/// Keeps the entropy device busy until the returned guard is dropped.
fn keep_reading_random_bytes() -> Reader {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while !stopped.load(Ordering::Relaxed) {
            let read = File::open("/dev/hwrng").and_then(|mut device| device.read(&mut bytes));
            if read.is_err() {
                // The device is away at this moment.
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    Reader(stop)
}

struct Reader(Arc<AtomicBool>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}
