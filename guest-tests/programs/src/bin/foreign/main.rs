//! The first process of a guest whose virtio drivers are not Linux's but those of the crate
//! `virtio-drivers`, with its own PCI transport and queues, on devices without a driver of the kernel.
//!
//! What the crate leaves to its host is here: the way to configuration space and to the BARs
//! ([`bus`]), and memory the device can reach ([`dma`]).

mod block;
mod bus;
mod console;
mod dma;
mod entropy;
mod network;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use stickler_guest_programs::exercise::GuestLine;
use stickler_guest_programs::machine;
use stickler_guest_programs::serial::{mark, say};
use virtio_drivers::transport::{DeviceType, pci::PciTransport};

use crate::bus::Bus;

fn main() -> ExitCode {
    if !machine::is_first_process() {
        eprintln!("foreign can only run as the first process of a guest");
        return ExitCode::from(2);
    }
    match exercise() {
        Ok(()) => {
            say(&GuestLine::Passed.to_string());
            machine::power_off();
        }
        Err(error) => say(&format!("exercise: failed: {error:#}")),
    }
    ExitCode::FAILURE
}

/// Uses each device twice: the second time after the driver has gone, and reset the device.
fn exercise() -> Result<()> {
    machine::mount_file_systems()?;
    dma::set_up()?;
    let mut bus = Bus::scan()?;
    let functions = bus.virtio_functions();
    for kind in [
        DeviceType::Block,
        DeviceType::Network,
        DeviceType::Console,
        DeviceType::EntropySource,
    ] {
        ensure!(
            functions.iter().any(|&(_, found)| found == kind),
            "there is no {kind:?} device"
        );
    }
    for round in ["first", "second"] {
        for &(function, kind) in &functions {
            mark(&format!("{kind:?}-{}-{round}", function.device).to_lowercase());
            let transport = bus
                .transport(function)
                .with_context(|| format!("no transport for {function}"))?;
            use_device(kind, transport).with_context(|| format!("{kind:?} at {function}"))?;
        }
    }
    mark("power-off");
    Ok(())
}

fn use_device(kind: DeviceType, transport: PciTransport) -> Result<()> {
    match kind {
        DeviceType::Block => block::exercise(transport),
        DeviceType::Network => network::exercise(transport),
        DeviceType::Console => console::exercise(transport),
        DeviceType::EntropySource => entropy::exercise(transport),
        _ => Ok(()),
    }
}
