//! A driver that breaks rules: first a recommendation, then a prohibition. It reaches the common
//! configuration through the PCI configuration access capability (§4.1.4.7 of virtio 1.0), for which
//! configuration space is enough.
//!
//! It is the first process of a guest, or a program for `stickler check -- PROGRAM`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use stickler_guest_programs::machine;
use stickler_guest_programs::serial::{mark, say};

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
/// A bit of device status without a meaning (§2.1).
const UNDEFINED: u8 = 16;

/// `cfg_type` of the common configuration and of the PCI configuration access capability (§4.1.4).
const COMMON: u8 = 1;
const PCI_CFG: u8 = 5;

/// Where `device_status` is in the common configuration (§4.1.4.3).
const DEVICE_STATUS: u32 = 20;

fn main() -> ExitCode {
    let first = machine::is_first_process();
    let done = match first {
        true => machine::mount_file_systems().and_then(|()| misbehave()),
        false => misbehave(),
    };
    match done {
        Ok(()) if first => machine::power_off(),
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => say(&format!("rogue: {error:#}")),
    }
    ExitCode::FAILURE
}

/// Misbehaves towards the first virtio device on the bus.
fn misbehave() -> Result<()> {
    let device = first_device()?;
    let unbind = device.join("driver/unbind");
    if unbind.exists() {
        let name = device.file_name().context("a device has a name")?;
        fs::write(&unbind, name.as_encoded_bytes()).context("cannot unbind the driver")?;
    }
    let config = File::options()
        .read(true)
        .write(true)
        .open(device.join("config"))?;
    let window = Window::find(&config)?;
    window.write_status(0)?;
    ensure!(window.read_status()? == 0, "the device does not reset");
    window.write_status(ACKNOWLEDGE)?;
    mark("recommendation");
    window.write_status(ACKNOWLEDGE | UNDEFINED)?;
    mark("prohibition");
    window.write_status(ACKNOWLEDGE | DRIVER)?;
    window.write_status(ACKNOWLEDGE)?;
    mark("done");
    Ok(())
}

fn first_device() -> Result<PathBuf> {
    let mut devices: Vec<PathBuf> = fs::read_dir("/sys/bus/pci/devices")?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    devices.sort();
    devices
        .into_iter()
        .find(|device| vendor(device).is_some_and(|vendor| vendor.trim() == "0x1af4"))
        .context("there is no virtio device")
}

fn vendor(device: &Path) -> Option<String> {
    fs::read_to_string(device.join("vendor")).ok()
}

/// Access to `device_status` through configuration space.
struct Window<'a> {
    config: &'a File,
    /// Where the PCI configuration access capability is.
    at: u64,
    /// BAR of the common configuration, and its offset there.
    bar: u8,
    offset: u32,
}

impl<'a> Window<'a> {
    fn find(config: &'a File) -> Result<Self> {
        let mut space = [0; 256];
        config.read_exact_at(&mut space, 0)?;
        let capability = |cfg_type: u8| {
            let mut at = usize::from(space[0x34]);
            // There are at most 48 capabilities.
            for _ in 0..48 {
                if at == 0 || at + 16 > space.len() {
                    return None;
                }
                if space[at] == 9 && space[at + 3] == cfg_type {
                    return Some(at);
                }
                at = usize::from(space[at + 1]);
            }
            None
        };
        let common = capability(COMMON).context("there is no common configuration")?;
        let window = capability(PCI_CFG).context("there is no PCI configuration access")?;
        let offset = [
            space[common + 8],
            space[common + 9],
            space[common + 10],
            space[common + 11],
        ];
        Ok(Window {
            config,
            at: window as u64,
            bar: space[common + 4],
            offset: u32::from_le_bytes(offset) + DEVICE_STATUS,
        })
    }

    /// Points the window to `device_status`.
    fn address(&self) -> Result<()> {
        self.config.write_all_at(&[self.bar], self.at + 4)?;
        self.config
            .write_all_at(&self.offset.to_le_bytes(), self.at + 8)?;
        self.config
            .write_all_at(&1u32.to_le_bytes(), self.at + 12)?;
        Ok(())
    }

    fn read_status(&self) -> Result<u8> {
        self.address()?;
        let mut status = [0];
        self.config.read_exact_at(&mut status, self.at + 16)?;
        Ok(status[0])
    }

    fn write_status(&self, status: u8) -> Result<()> {
        self.address()?;
        self.config.write_all_at(&[status], self.at + 16)?;
        Ok(())
    }
}
