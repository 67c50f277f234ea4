//! The requirements of the virtio specification, and the rules that judge whether a driver satisfies
//! them.
//!
//! This crate is pure: [`event::Event`]s go in, [`finding::Finding`]s and counts come out. It does not
//! depend on KVM, files, threads, clocks or guest memory types, so that a rule can be tested with a
//! hand-written list of events, and a recorded run can be judged again.
//!
//! * [`version`]: the versions of the specification.
//! * [`requirement`]: the type of a requirement; [`catalogue`]: all requirements.
//! * [`event`]: what a driver did, in the specification's terms, without a judgement.
//! * [`session`]: the state of the device and its driver, derived from the events so far.
//! * [`rules`]: one file for each chapter; each declares its requirements and judges events against them.
//! * `obligation`: what a driver owes, with a deadline; [`tolerance`]: all figures of stickler's own.
//! * `built`: the requirements on devices.
//! * [`latitude`]: behaviour that the specification leaves to devices.
//! * [`device`]: the facts and constants of each device type; [`layout`], [`features`]: those of all
//!   types.
//! * [`packet`]: the headers of packets.
//! * [`advice`]: what a violation looks like, and how to fix the driver.
//! * [`judge`]: passes each event to the rules; [`tally`]: the counts.

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
mod nearest;
mod obligation;
pub mod packet;
pub mod readings;
pub mod requirement;
pub mod rules;
pub mod session;
pub mod tally;
pub mod tolerance;
pub mod version;

pub use device::DeviceKind;
pub use event::Event;
pub use finding::{DeviceId, Finding, Recorder};
pub use judge::{Judge, Unjudged, Witness};
pub use latitude::{Latitude, Latitudes};
pub use nearest::nearest;
pub use readings::Readings;
pub use requirement::{Req, Requirement};
pub use tally::{Outcome, Tallies, Tally};
pub use version::Version;
