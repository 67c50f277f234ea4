//! What the virtio specification demands, and whether a driver keeps to it.
//!
//! This crate is pure: [`event::Event`]s go in, [`finding::Finding`]s and counts come out. It knows
//! nothing of KVM, files, threads, clocks or guest memory types, so that a rule is tested with a
//! hand-written list of events and a recorded run can be judged again.
//!
//! * [`version`]: the versions of the specification.
//! * [`requirement`]: what a requirement is; [`catalogue`]: all of them.
//! * [`event`]: what a driver did, in the specification's terms; never what was wrong with it.
//! * [`session`]: what the events so far say about the state of the device and its driver.
//! * [`rules`]: one file a chapter; each declares its requirements and judges events against them.
//! * `built`: what the specification demands of devices.
//! * [`latitude`]: what it leaves to devices.
//! * [`device`]: what it fixes of each device type, and the numbers that driver and device exchange;
//!   [`layout`], [`features`]: of all.
//! * [`packet`]: the headers of packets.
//! * [`advice`]: what a violation looks like, and how a driver is mended.
//! * [`judge`]: hands each event to the rules; [`tally`]: what is counted.

#![forbid(unsafe_code)]

pub mod advice;
mod built;
pub mod catalogue;
pub mod device;
pub mod event;
pub mod features;
pub mod finding;
pub mod judge;
pub mod latitude;
pub mod layout;
pub mod packet;
pub mod requirement;
pub mod rules;
pub mod session;
pub mod tally;
pub mod version;

pub use device::DeviceKind;
pub use event::Event;
pub use finding::{DeviceId, Finding, Recorder};
pub use judge::{Judge, Unjudged, Witness};
pub use latitude::{Latitude, Latitudes};
pub use requirement::{Req, Requirement};
pub use tally::{Outcome, Tallies, Tally};
pub use version::Version;
