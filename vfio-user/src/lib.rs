//! The server's side of vfio-user: a device lives in this process, and the monitor that runs the guest
//! is the client, which brings the guest's accesses and its memory.
//!
//! The protocol is described in `docs/interop/vfio-user.rst` of QEMU; "the protocol" in comments means that
//! text, and version 0.1 of it. This crate knows nothing of virtio, and a device nothing of sockets.
//!
//! * [`channel`]: messages on a socket, with their file descriptors.
//! * [`request`]: what a message asks for, after all that can be wrong with it was looked at.
//! * `version`: what client and server agree on.
//! * [`dma`]: which memory the client shares.
//! * [`interrupts`]: how the device interrupts the driver.
//! * [`session`]: answers the requests of one client, for a [`Device`].
//!
//! It is our own because a judge has to survive every client, and to serve the next one. The crate
//! `vfio_user` 0.1.7 panics where the version has no data, reads what belongs to a request that it refuses
//! as the next header, takes half a header for a whole one, serves a read of any length, and ends with its
//! first client. It takes one file descriptor a message.

#![forbid(unsafe_code)]

pub mod channel;
#[cfg(feature = "client")]
pub mod client;
pub mod dma;
pub mod interrupts;
pub mod request;
pub mod session;
mod version;
pub mod wire;

pub use channel::{Channel, ChannelError, Message, Payload, Received};
pub use dma::{DmaMapping, DmaTable};
pub use interrupts::Interrupts;
pub use session::{Device, Session};
