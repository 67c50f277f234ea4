//! The ioctls of tap interfaces: all unsafe code for them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use libc::{c_int, c_short, c_uint, c_ulong};

/// Bytes of an interface's name, with the zero behind it.
const NAME_SIZE: usize = libc::IFNAMSIZ;

/// `struct ifreq`, as far as TUNSETIFF looks at it.
#[repr(C)]
struct Request {
    name: [u8; NAME_SIZE],
    flags: c_short,
    /// The kernel copies the whole structure, which is 40 bytes long.
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// The offloads that packets from the kernel may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offloads {
    /// Partial checksums.
    pub(super) checksum: bool,
    /// TCP packets over IPv4 that are to be segmented.
    pub(super) tso4: bool,
    /// The same over IPv6.
    pub(super) tso6: bool,
    /// The same with ECN.
    pub(super) ecn: bool,
}

/// Makes a freshly opened `/dev/net/tun` a queue of the tap interface `name`, with headers before the
/// packets.
pub(super) fn attach(file: &File, name: &str, multi_queue: bool) -> io::Result<()> {
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut request = Request {
        name: [0; NAME_SIZE],
        flags: flags as c_short,
        rest: [0; 22],
    };
    // One byte is left for the zero.
    for (to, from) in request
        .name
        .iter_mut()
        .take(NAME_SIZE - 1)
        .zip(name.bytes())
    {
        *to = from;
    }
    // SAFETY: the file descriptor is open, and TUNSETIFF reads and writes a `struct ifreq`, which
    // `request` is as large as.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as c_ulong, &mut request) };
    check(result)
}

/// Sets how many bytes of header stand before each packet.
pub(super) fn set_header_size(file: &File, size: usize) -> io::Result<()> {
    let size = c_int::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the file descriptor is open, and TUNSETVNETHDRSZ reads an int, which `size` is.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ as c_ulong, &size) };
    check(result)
}

/// Sets the offloads that packets from the kernel may use.
pub(super) fn set_offloads(file: &File, offloads: Offloads) -> io::Result<()> {
    let bits = [
        (offloads.checksum, libc::TUN_F_CSUM),
        (offloads.tso4, libc::TUN_F_TSO4),
        (offloads.tso6, libc::TUN_F_TSO6),
        (offloads.ecn, libc::TUN_F_TSO_ECN),
    ];
    let bits = bits
        .iter()
        .filter(|(on, _)| *on)
        .fold(0 as c_uint, |bits, (_, bit)| bits | *bit as c_uint);
    // SAFETY: the file descriptor is open, and TUNSETOFFLOAD takes its argument by value.
    let result = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            libc::TUNSETOFFLOAD as c_ulong,
            c_ulong::from(bits),
        )
    };
    check(result)
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
