//! What threads are for.

use std::cell::Cell;
use std::io;

use super::{FILTERS, privileges};

/// What a thread is for, which decides what system calls it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The main thread: waits, ends the others, writes reports.
    Main,
    /// Runs a virtual processor, and the devices when the guest accesses them.
    Vcpu,
    /// Serves a device: its queues and its back end.
    Device,
    /// Reads and writes a disk for a device.
    Disk,
    /// Carries bytes between the user's terminal and the guest.
    Terminal,
    /// Serves a vfio-user client, which gives memory and interrupts, and accesses a device.
    Client,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 6] = [
        Role::Main,
        Role::Vcpu,
        Role::Device,
        Role::Disk,
        Role::Terminal,
        Role::Client,
    ];

    /// Its name, as in messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::Main => "main",
            Role::Vcpu => "vcpu",
            Role::Device => "device",
            Role::Disk => "disk",
            Role::Terminal => "terminal",
            Role::Client => "client",
        }
    }

    /// The role that this thread has taken.
    pub fn of_this_thread() -> Role {
        TAKEN.get().unwrap_or(Role::Main)
    }

    /// Takes the role on this thread, for good. Does nothing where the process is not confined, or not
    /// yet: a thread that was started before may call this again.
    ///
    /// # Errors
    ///
    /// The host refuses it.
    pub fn take(self) -> io::Result<()> {
        if TAKEN.get().is_some() {
            return Ok(());
        }
        let Some(filters) = FILTERS.get() else {
            return Ok(());
        };
        privileges::drop_all_of_thread()?;
        TAKEN.set(Some(self));
        filters.apply_to_thread(self)
    }
}

thread_local! {
    static TAKEN: Cell<Option<Role>> = const { Cell::new(None) };
}
