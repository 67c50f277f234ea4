//! The driver's side of virtqueues (§2.4), for tests and benchmarks. Bare citations are of virtio 1.0.
//!
//! * [`SplitLayout`]: where the parts of a split virtqueue are, and each field in them.
//! * [`Virtqueue`]: a split virtqueue as its driver keeps it, in guest memory.
//!
//! The types of descriptors and used elements are those of the crate `virtio-queue`. Its
//! `mock::MockSplitQueue` does not serve: its rings do not wrap around, the parts of a queue always
//! follow each other, `flags` and the event fields cannot be reached, and chains have buffers of its
//! own. A driver that does wrong needs to reach each field.
//!
//! This crate does not know `stickler-devices`, so that the unit tests of that crate can use it.

#![forbid(unsafe_code)]

mod layout;
mod queue;

pub use layout::{SplitLayout, descriptor_at};
pub use queue::{Buffer, Virtqueue, get, put, put_descriptor};
