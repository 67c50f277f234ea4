//! The PCI bus as the kernel shows it below `/sys`: configuration space, and the BARs mapped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::mm::{MapFlags, ProtFlags};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};

use crate::dma::Memory;

const DEVICES: &str = "/sys/bus/pci/devices";

/// `IORESOURCE_MEM` among the flags of a resource.
const MEMORY: u64 = 0x200;

/// The first bus.
pub(crate) struct Bus(PciRoot<Configuration>);

impl Bus {
    /// Unbinds the kernel's drivers from the virtio functions, and maps the functions' memory BARs.
    pub(crate) fn scan() -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(DEVICES).with_context(|| format!("cannot read {DEVICES}"))? {
            let device = entry?.path();
            let Some(address) = device
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(Address::parse)
            else {
                continue;
            };
            let config = File::options()
                .read(true)
                .write(true)
                .open(device.join("config"))?;
            files.insert(address, config);
            if fs::read_to_string(device.join("vendor"))?.trim() == "0x1af4" {
                unbind(&device)?;
                map_bars(&device)
                    .with_context(|| format!("cannot map the BARs of {}", device.display()))?;
            }
        }
        Ok(Self(PciRoot::new(Configuration(Arc::new(files)))))
    }

    /// The virtio functions the crate finds, and of what type each is.
    pub(crate) fn virtio_functions(&self) -> Vec<(DeviceFunction, DeviceType)> {
        self.0
            .enumerate_bus(0)
            .filter_map(|(function, info)| Some((function, virtio_device_type(&info)?)))
            .collect()
    }

    /// The crate's transport to a function, which may now reach memory and be reached.
    pub(crate) fn transport(&mut self, function: DeviceFunction) -> Result<PciTransport> {
        let (_, command) = self.0.get_status_command(function);
        self.0.set_command(
            function,
            command | Command::MEMORY_SPACE | Command::BUS_MASTER,
        );
        Ok(PciTransport::new::<Memory, _>(&mut self.0, function)?)
    }
}

/// Device and function number on the first bus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Address(u8, u8);

impl Address {
    /// From a name such as `0000:00:01.0`.
    fn parse(name: &str) -> Option<Self> {
        let (device, function) = name.strip_prefix("0000:00:")?.split_once('.')?;
        Some(Self(
            u8::from_str_radix(device, 16).ok()?,
            function.parse().ok()?,
        ))
    }
}

/// The files with the functions' configuration spaces.
struct Configuration(Arc<BTreeMap<Address, File>>);

impl Configuration {
    fn file(&self, function: DeviceFunction) -> Option<&File> {
        if function.bus != 0 {
            return None;
        }
        self.0.get(&Address(function.device, function.function))
    }
}

impl ConfigurationAccess for Configuration {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        // Reads outside the file return ones, as from a function that does not exist.
        let mut bytes = [0xff; 4];
        if let Some(file) = self.file(function) {
            file.read_exact_at(&mut bytes, offset.into())
                .expect("root can read configuration space");
        }
        u32::from_le_bytes(bytes)
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        if let Some(file) = self.file(function) {
            file.write_all_at(&data.to_le_bytes(), offset.into())
                .expect("root can write configuration space");
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn unbind(device: &Path) -> Result<()> {
    let unbind = device.join("driver/unbind");
    if unbind.exists() {
        let name = device.file_name().context("a device has a name")?;
        fs::write(&unbind, name.as_encoded_bytes()).context("cannot unbind the kernel's driver")?;
    }
    Ok(())
}

/// A BAR's place in physical memory, and where it is mapped.
struct Window {
    physical: u64,
    length: usize,
    mapped: usize,
}

/// The mapped BARs. They stay mapped to the end.
static WINDOWS: Mutex<Vec<Window>> = Mutex::new(Vec::new());

fn map_bars(device: &Path) -> Result<()> {
    let resources = fs::read_to_string(device.join("resource"))?;
    for (index, line) in resources.lines().take(6).enumerate() {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16))
            .collect::<Result<_, _>>()?;
        let [first, last, flags] = numbers[..] else {
            continue;
        };
        if flags & MEMORY == 0 {
            continue;
        }
        let length = usize::try_from(last - first + 1)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(device.join(format!("resource{index}")))?;
        // SAFETY: A new mapping, wherever there is room, overlaps no other memory.
        let mapped = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }?;
        windows().push(Window {
            physical: first,
            length,
            mapped: mapped.expose_provenance(),
        });
    }
    Ok(())
}

/// Where the stretch of a BAR is mapped.
pub(crate) fn mapped(physical: u64, length: usize) -> Option<NonNull<u8>> {
    windows().iter().find_map(|window| {
        let offset = usize::try_from(physical.checked_sub(window.physical)?).ok()?;
        let fits = offset.checked_add(length)? <= window.length;
        fits.then(|| ptr::with_exposed_provenance_mut(window.mapped + offset))
            .and_then(NonNull::new)
    })
}

fn windows() -> std::sync::MutexGuard<'static, Vec<Window>> {
    WINDOWS.lock().unwrap_or_else(PoisonError::into_inner)
}
