//! Many runs of one kernel: with plain devices, and with devices that have latitudes.
//!
//! * [`plan`]: which runs there are, and which of them are in this shard.
//! * [`exercise`]: what the guest of a run does, and on how many processors.
//! * [`meetings`]: which latitudes and steps have to meet in one run.
//! * [`guest`]: what the guests boot.
//! * [`program`]: whether the guest can run a program of this host.
//! * [`host`]: the host's side of their devices: disks, and programs that answer on consoles.
//! * [`run`]: one run, which is a process of its own, so that nothing that happens in it touches the
//!   others.
//! * [`verdict`]: whether a run failed, and how.
//! * [`view`]: what the guest's kernel shows of the devices, compared with what they told.
//! * [`repeat`]: the command that repeats a run.
//! * [`known`]: what the runs have shown.
//! * [`shrink`]: the fewest latitudes with which it still fails.
//! * [`campaign`]: all runs, several at a time.
//! * [`progress`]: the progress on standard error.

pub mod campaign;
pub mod exercise;
pub mod guest;
pub mod host;
pub mod known;
pub mod meetings;
pub mod plan;
pub mod program;
pub mod progress;
pub mod repeat;
pub mod run;
pub mod shrink;
mod stream;
pub mod verdict;
pub mod view;
