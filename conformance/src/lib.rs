//! What the virtio specification demands, and whether a driver keeps to it.
//!
//! This crate is pure: [`event::Event`]s go in, [`finding::Finding`]s and counts come out. It knows
//! nothing of KVM, files, threads, clocks or guest memory types, so that a rule is tested with a
//! hand-written list of events and a recorded run can be judged again.
//!
//! * [`requirement`]: what a requirement is; [`catalogue`]: all of them.
//! * [`event`]: what a driver did, in the specification's terms; never what was wrong with it.
//! * [`session`]: what the events so far say about the state of the device and its driver.
//! * [`rules`]: one file a chapter; each declares its requirements and judges events against them.
//! * `built`: what the specification demands of devices, and where ours keep it.
//! * [`advice`]: what a violation looks like, and how a driver is mended.
//! * [`packet`]: the headers and checksums of packets; [`protocol`]: the numbers in them and in requests.
//! * [`judge`]: hands each event to the rules and keeps the counts.

#![forbid(unsafe_code)]

pub mod advice;
mod built;
pub mod catalogue;
pub mod event;
pub mod features;
pub mod finding;
pub mod judge;
pub mod latitude;
pub mod layout;
pub mod packet;
pub mod protocol;
pub mod requirement;
pub mod rules;
pub mod session;

pub use event::Event;
pub use finding::{DeviceId, Finding, Recorder};
pub use judge::{Judge, Outcome, Tallies, Tally, Unjudged, Witness};
pub use latitude::{Latitude, Latitudes};
pub use layout::DeviceKind;
pub use requirement::{Req, Requirement};
