//! What a buffer costs on its way through a device: judged, unjudged, and through the plain
//! virtio-queue + vm-memory loop, side by side in one run on one core.
//!
//! `cargo bench` prints nanoseconds for one packet or one request; what counts is the ratio of
//! `judged` to `plain` in the same run.

mod block;
mod driver;
mod net;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, net::transmit, block::read);
criterion_main!(benches);
