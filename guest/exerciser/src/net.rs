//! The network devices.

mod interface;
mod talk;

use std::fs;
use std::path::Path;

use crate::devices::{self, Kind, eventually};
use crate::doing;
use crate::failure::{Context, Result};
use interface::Interface;

/// Brings the interface up, talks to the host, gives the device commands, and talks again.
pub(crate) fn exercise() -> Result {
    use_again()?;
    commands()?;
    bring_up()?;
    talk::all().context("after the commands")
}

/// Brings the interface up and talks to the host.
pub(crate) fn use_again() -> Result {
    bring_up()?;
    talk::all()
}

/// Gives the interface its address and waits for its link.
pub(crate) fn bring_up() -> Result {
    Interface::new("lo").set(interface::UP, true)?;
    let interface = find()?;
    doing(format!("bringing {} up", interface.name));
    interface.set_address()?;
    interface.set(interface::UP, true)?;
    wait_for_link(&interface)
}

fn wait_for_link(interface: &Interface) -> Result {
    eventually(
        &format!("the link of {} to come up", interface.name),
        || {
            let path = format!("/sys/class/net/{}/carrier", interface.name);
            let carrier = fs::read_to_string(&path).context(format!("cannot read {path}"))?;
            Ok((carrier.trim() == "1").then_some(()))
        },
    )
}

/// The interface of the first network device.
fn find() -> Result<Interface> {
    eventually("the network interface", || {
        let devices = devices::of(Kind::Net)?;
        let device = devices.first().context("there is no network device")?;
        let Some(virtio) = device.virtio() else {
            return Ok(None);
        };
        let found = devices::entries(&virtio.join("net")).unwrap_or_default();
        Ok(found
            .first()
            .map(|path| Interface::new(devices::name(path)))
            .filter(|interface| Path::new("/sys/class/net").join(&interface.name).exists()))
    })
}

/// Feature bit of a device that the driver can tell its address (§5.1.3).
const CTRL_MAC_ADDR: usize = 23;

/// What makes the driver use the control queue: receive modes, addresses, VLANs.
fn commands() -> Result {
    let interface = find()?;
    for flag in [interface::PROMISCUOUS, interface::ALL_MULTICAST] {
        for on in [true, false] {
            doing(format!("setting flags of {}", interface.name));
            interface.set(flag, on)?;
        }
    }
    doing(format!("adding a VLAN to {}", interface.name));
    interface.vlan(5)?;
    let original = interface.hardware_address()?;
    let can_tell_address = devices::of(Kind::Net)?
        .first()
        .is_some_and(|device| device.has_feature(CTRL_MAC_ADDR));
    for address in [[2, 0, 0, 0, 0x76, 5], original] {
        doing(format!("changing the address of {}", interface.name));
        interface.set_hardware_address(address)?;
        let now = interface.hardware_address()?;
        if now != address {
            return Err(format!(
                "{} has the address {now:x?} instead of {address:x?}",
                interface.name
            ));
        }
        // Down and up, it forgets which address the host has, and asks with its own new one.
        interface.set(interface::UP, false)?;
        bring_up()?;
        if address != original && !can_tell_address {
            // What is sent there need not come (§5.1.6.5.2.1): to the device it is nobody's.
            continue;
        }
        talk::ping(8, 3).context(format!("with the address {address:x?}"))?;
    }
    Ok(())
}
