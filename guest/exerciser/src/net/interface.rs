//! A network interface, and the requests that the kernel takes for it.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};

use stickler_exerciser::MASK;

use crate::failure::{Context, Result};
use crate::sys::{self, Request};

/// Flags of an interface.
pub(super) const UP: u16 = 0x1;
pub(super) const PROMISCUOUS: u16 = 0x100;
pub(super) const ALL_MULTICAST: u16 = 0x200;

/// Offset of the value in a request, after the name.
const VALUE: usize = 16;

/// An interface by its name.
pub(super) struct Interface {
    pub(super) name: String,
}

impl Interface {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Switches a flag on or off.
    pub(super) fn set(&self, flag: u16, on: bool) -> Result {
        let answer = self.ask(Request::Flags, &[])?;
        let flags = u16::from_le_bytes([answer[VALUE], answer[VALUE + 1]]);
        let flags = if on { flags | flag } else { flags & !flag };
        self.ask(Request::SetFlags, &flags.to_le_bytes())?;
        Ok(())
    }

    /// Gives it an address of a network with [`MASK`].
    pub(super) fn set_address(&self, address: Ipv4Addr) -> Result {
        for (request, address) in [(Request::SetAddress, address), (Request::SetMask, MASK)] {
            // struct sockaddr_in: family AF_INET, port, address.
            let mut value = [0; 16];
            value[0] = 2;
            value[4..8].copy_from_slice(&address.octets());
            self.ask(request, &value)?;
        }
        Ok(())
    }

    pub(super) fn hardware_address(&self) -> Result<[u8; 6]> {
        let answer = self.ask(Request::HardwareAddress, &[])?;
        let mut address = [0; 6];
        address.copy_from_slice(&answer[VALUE + 2..VALUE + 8]);
        Ok(address)
    }

    pub(super) fn set_hardware_address(&self, address: [u8; 6]) -> Result {
        // struct sockaddr: family ARPHRD_ETHER, address.
        let mut value = [1, 0, 0, 0, 0, 0, 0, 0];
        value[2..].copy_from_slice(&address);
        self.ask(Request::SetHardwareAddress, &value)?;
        Ok(())
    }

    /// Adds a VLAN and removes it, if the kernel has them.
    pub(super) fn vlan(&self, number: u16) -> Result {
        if fs::metadata("/proc/net/vlan").is_err() {
            return Ok(());
        }
        // struct vlan_ioctl_args: command, name, and either a number or another name.
        const ADD: u8 = 0;
        const REMOVE: u8 = 1;
        let socket = socket()?;
        for (command, name) in [
            (ADD, self.name.clone()),
            (REMOVE, format!("{}.{number}", self.name)),
        ] {
            let mut argument = [0; 64];
            argument[0] = command;
            argument[4..4 + name.len()].copy_from_slice(name.as_bytes());
            argument[28..30].copy_from_slice(&number.to_le_bytes());
            sys::control(&socket, Request::Vlan, &mut argument)
                .context(format!("{} takes no VLAN", self.name))?;
        }
        Ok(())
    }

    fn ask(&self, request: Request, value: &[u8]) -> Result<[u8; 64]> {
        let mut argument = [0; 64];
        argument[..self.name.len()].copy_from_slice(self.name.as_bytes());
        argument[VALUE..VALUE + value.len()].copy_from_slice(value);
        sys::control(&socket()?, request, &mut argument)
            .context(format!("{} refuses a request", self.name))?;
        Ok(argument)
    }
}

/// A socket to make requests about interfaces with; any will do.
fn socket() -> Result<UdpSocket> {
    UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")
}
