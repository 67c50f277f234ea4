//! Many runs of one kernel: under the plain device, and under devices that make use of latitudes.
//!
//! * [`plan`]: which runs there are, and which of them are ours.
//! * [`guest`]: what the guests boot from.
//! * [`host`]: the far sides of their devices: disks, and who answers on consoles.
//! * [`run`]: one run, which is a process of its own, so that nothing that happens in it touches the
//!   others.
//! * [`verdict`]: whether a run failed, and how.
//! * [`shrink`]: the fewest latitudes with which it still fails.
//! * [`campaign`]: all runs, several at a time.
//! * [`progress`]: how far that is.

pub mod campaign;
pub mod guest;
pub mod host;
pub mod plan;
pub mod progress;
pub mod run;
pub mod shrink;
pub mod verdict;
