//! The network devices.
//!
//! Citations are of virtio 1.0.

mod interface;
mod talk;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use stickler_exerciser::{
    GUEST, HOST, NETWORK_DHCP, NETWORK_PARAMETER, NETWORK_TAP, PATH, TAP_GUEST, TAP_HOST,
};

use crate::devices::{self, Kind, eventually};
use crate::doing;
use crate::failure::{Context, Result, ensure};
use crate::machine::parameter;
use interface::Interface;

/// How the guest gets its address, and which host it talks to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// A fixed address in stickler's own network.
    Fixed,
    /// An address from stickler's own network by DHCP.
    Dhcp,
    /// A fixed address in the network of a tap.
    Tap,
}

impl Network {
    /// The one that the kernel's command line names.
    pub(crate) fn chosen() -> Result<Self> {
        match parameter(NETWORK_PARAMETER).as_deref() {
            None => Ok(Self::Fixed),
            Some(NETWORK_DHCP) => Ok(Self::Dhcp),
            Some(NETWORK_TAP) => Ok(Self::Tap),
            Some(other) => Err(format!("unknown network {other:?}")),
        }
    }

    /// The host's address.
    pub(crate) fn host(self) -> Ipv4Addr {
        match self {
            Self::Fixed | Self::Dhcp => HOST,
            Self::Tap => TAP_HOST,
        }
    }

    /// The guest's address, if it is known.
    fn guest(self) -> Option<Ipv4Addr> {
        match self {
            Self::Fixed => Some(GUEST),
            Self::Dhcp => None,
            Self::Tap => Some(TAP_GUEST),
        }
    }
}

/// Brings the interface up, talks to the host, gives the device commands, and talks again.
pub(crate) fn exercise() -> Result {
    let network = Network::chosen()?;
    bring_up()?;
    talk::all(network)?;
    talk::much(network)?;
    commands()?;
    bring_up()?;
    talk::all(network).context("after the commands")
}

/// Brings the interface up and talks to the host.
pub(crate) fn use_again() -> Result {
    bring_up()?;
    talk::all(Network::chosen()?)
}

/// Gives the interface its address and waits for its link.
pub(crate) fn bring_up() -> Result {
    Interface::new("lo").set(interface::UP, true)?;
    let interface = find()?;
    doing(format!("bringing {} up", interface.name));
    let address = Network::chosen()?.guest();
    if let Some(address) = address {
        interface.set_address(address)?;
    }
    interface.set(interface::UP, true)?;
    wait_for_link(&interface)?;
    match address {
        Some(_) => Ok(()),
        None => ask_for_address(&interface),
    }
}

/// Gets an address by DHCP. The client is busybox's, which comes with the image: one of our own would
/// share mistakes with the server.
fn ask_for_address(interface: &Interface) -> Result {
    doing(format!("asking for an address for {}", interface.name));
    let output = Command::new("udhcpc")
        .args([
            "-i",
            &interface.name,
            "-n",
            "-q",
            "-f",
            "-t",
            "10",
            "-T",
            "2",
        ])
        .args(["-s", "/etc/udhcpc.sh"])
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()
        .context("cannot run udhcpc")?;
    ensure(output.status.success(), || {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("no answer from DHCP: {}", said.trim())
    })
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

/// VIRTIO_NET_F_CTRL_MAC_ADDR: the driver can set the device's address (§5.1.3).
const CTRL_MAC_ADDR: usize = 23;

/// What makes the driver use the control queue: receive modes, addresses, VLANs.
fn commands() -> Result {
    let network = Network::chosen()?;
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
    let can_set_address = devices::of(Kind::Net)?
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
        // Brought down and up, the guest asks for the host's address again, with its own new one.
        interface.set(interface::UP, false)?;
        bring_up()?;
        if address != original && !can_set_address {
            // The device may drop what is sent there (§5.1.6.5.2.1): it does not know the address.
            continue;
        }
        talk::ping(network, 8, 3).context(format!("with the address {address:x?}"))?;
    }
    Ok(())
}
