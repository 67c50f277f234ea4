//! Unbinds drivers from their devices and binds them again.

use std::fs;
use std::path::Path;

use crate::busy::Busy;
use crate::devices::{self, Device, Kind, eventually};
use crate::doing;
use crate::failure::{Context, Result, ensure};

/// What is removed and brought back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    /// The device type's driver.
    Virtio,
    /// The transport's driver.
    Pci,
    /// The device itself, which is then found by a rescan.
    Rescan,
}

/// Removes the driver of every device, or the device itself, and brings it back, while the network, the
/// entropy device and the disks are in use.
pub(crate) fn rebind(bus: Bus, giving_up: bool) -> Result {
    for device in devices::all()? {
        let busy = Busy::devices();
        rebind_device(bus, &device, giving_up)?;
        busy.end()?;
    }
    Ok(())
}

/// Removes the driver of one device, or the device itself, and brings it back. Does nothing with a device that
/// its driver gave up on, where `giving_up` allows that.
pub(crate) fn rebind_device(bus: Bus, device: &Device, giving_up: bool) -> Result {
    if !device.is_driven() || (giving_up && device.is_given_up()) {
        return Ok(());
    }
    let kind = device.kind();
    let again = match bus {
        Bus::Virtio => {
            let virtio = device.virtio().context("the device is gone")?;
            rebind_one(&virtio, device)
        }
        Bus::Pci => rebind_one(&device.function, device),
        Bus::Rescan => remove_and_find(device),
    };
    if giving_up && device.is_given_up() {
        return Ok(());
    }
    again?;
    eventually(&format!("the drivers of {}", device.describe()), || {
        Ok((device.is_driven() || giving_up && device.is_given_up()).then_some(()))
    })?;
    if kind == Some(Kind::Net) && !(giving_up && device.is_given_up()) {
        // The interface is a new one, which is down.
        crate::net::bring_up()?;
    }
    Ok(())
}

fn rebind_one(at: &Path, device: &Device) -> Result {
    let name = devices::name(at);
    let what = device.describe();
    let driver = fs::canonicalize(at.join("driver")).context(format!("{name} has no driver"))?;
    doing(format!("unbinding the driver from {what}"));
    fs::write(driver.join("unbind"), name)
        .context(format!("cannot unbind {} from {what}", driver.display()))?;
    ensure(!at.join("driver").exists(), || {
        format!("{what} still has its driver")
    })?;
    doing(format!("binding the driver to {what}"));
    fs::write(driver.join("bind"), name)
        .context(format!("cannot bind {} to {what} again", driver.display()))
}

fn remove_and_find(device: &Device) -> Result {
    let what = device.describe();
    doing(format!("removing {what}"));
    fs::write(device.function.join("remove"), "1").context(format!("cannot remove {what}"))?;
    ensure(!device.function.exists(), || {
        format!("{what} is still there")
    })?;
    doing(format!("looking for {what} again"));
    fs::write("/sys/bus/pci/rescan", "1").context("cannot look for devices")?;
    eventually(&format!("{what} to be found again"), || {
        Ok(device.function.exists().then_some(()))
    })
}
