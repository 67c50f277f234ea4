//! The naive drivers, by what the latitudes they fail at are about.
//!
//! A further latitude is one entry in a table of `cases!` and one small function: what a driver does
//! that was tested against the plain device only.

mod block;
mod console;
mod device;
mod entropy;
mod layout;
mod net;
mod net_received;
mod slow;
mod transport;
mod virtqueue;

use crate::Case;

/// All cases, file by file.
const CASES: &[&[Case]] = &[
    transport::CASES,
    layout::CASES,
    device::CASES,
    virtqueue::CASES,
    slow::CASES,
    net::CASES,
    net_received::CASES,
    block::CASES,
    console::CASES,
    entropy::CASES,
];

/// All of them.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().flat_map(|file| file.iter())
}
