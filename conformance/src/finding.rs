//! Findings: violations, reported as data.

use crate::device::DeviceKind;
use crate::requirement::{Level, Req};

/// The device of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId {
    /// PCI slot (device number) on bus 0.
    pub slot: u8,
    /// Device type.
    pub kind: DeviceKind,
}

/// A requirement was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which requirement.
    pub requirement: Req,
    /// Its level in the version by which the driver is judged.
    pub level: Level,
    /// On which device.
    pub device: DeviceId,
    /// On which virtqueue, where it concerns one.
    pub queue: Option<u16>,
    /// What the driver did, with all values that show why it is wrong; one sentence.
    pub message: String,
}

/// Records findings. The recorder adds the time, the mark and the guest instruction: this crate has no
/// clock and no vCPU.
pub trait Recorder {
    /// A violation was found.
    fn record(&mut self, finding: Finding);
}

impl Recorder for Vec<Finding> {
    fn record(&mut self, finding: Finding) {
        self.push(finding);
    }
}
