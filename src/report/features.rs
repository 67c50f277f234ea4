//! Which features the devices offered, and which the drivers accepted.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stickler_conformance::features::{self, NamedFeature};
use stickler_conformance::{DeviceId, DeviceKind};
use stickler_devices::virtio::DeviceFeatures;

use super::schema;

/// A device, the features that it offered, and those that its driver accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "features")]
pub struct ReportedFeatures {
    /// PCI device number on bus 0.
    #[schemars(range(max = 31))]
    pub slot: u8,
    /// The device type.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// The features that the device offered, by the names that --without and --offer take; 'version-1' and
    /// 'bit-N', which they do not take, are VIRTIO_F_VERSION_1 and bits that the specification does not assign.
    #[schemars(inner(regex(pattern = schema::FEATURE)), extend("uniqueItems" = true))]
    pub offered: Vec<String>,
    /// Those that the driver accepted when it last set FEATURES_OK and the device kept it; null if there was no
    /// such time.
    #[schemars(inner(regex(pattern = schema::FEATURE)))]
    pub accepted: Option<Vec<String>>,
}

impl ReportedFeatures {
    /// The features of `device`.
    pub fn new(device: DeviceId, features: DeviceFeatures) -> ReportedFeatures {
        let words = |bits| features::words(device.kind, bits);
        ReportedFeatures {
            slot: device.slot,
            kind: device.kind,
            offered: words(features.offered),
            accepted: features.accepted.map(words),
        }
    }
}

/// The lines about `devices`: of one run, or of several with the same devices.
pub(super) fn lines<'r>(devices: impl Iterator<Item = &'r ReportedFeatures>) -> String {
    /// For each feature: in how many runs it was offered, and in how many it was accepted.
    type Counts<'r> = BTreeMap<usize, (&'r str, u32, u32)>;
    let mut all: BTreeMap<(u8, DeviceKind), Counts<'r>> = BTreeMap::new();
    for device in devices {
        let counts = all.entry((device.slot, device.kind)).or_default();
        for name in &device.offered {
            let accepted = device
                .accepted
                .as_ref()
                .is_some_and(|all| all.contains(name));
            let count = counts.entry(order(name)).or_insert((name, 0, 0));
            count.1 += 1;
            count.2 += u32::from(accepted);
        }
    }
    let mut out = String::new();
    for ((slot, kind), counts) in all {
        let list = |wanted: fn(u32, u32) -> bool| {
            let names = counts
                .values()
                .filter(|(_, offered, accepted)| wanted(*offered, *accepted));
            names.map(|(name, ..)| *name).collect::<Vec<_>>().join(" ")
        };
        for (what, names) in [
            (
                "offered and accepted",
                list(|offered, accepted| offered == accepted),
            ),
            (
                "offered and accepted in some runs only",
                list(|offered, accepted| 0 < accepted && accepted < offered),
            ),
            (
                "offered and not accepted",
                list(|_, accepted| accepted == 0),
            ),
        ] {
            if !names.is_empty() {
                let _ = writeln!(out, "device {slot} ({}): {what}: {names}", kind.name());
            }
        }
    }
    out
}

/// The order of features in a list.
fn order(name: &str) -> usize {
    let mut named = NamedFeature::all().map(|feature| feature.to_string());
    let bit = name.strip_prefix("bit-").and_then(|bit| bit.parse().ok());
    let others = 1000 + bit.unwrap_or(0);
    named.position(|feature| feature == name).unwrap_or(others)
}

#[cfg(test)]
mod tests {
    use stickler_conformance::features::{RING_EVENT_IDX, VERSION_1, block};

    use super::*;

    fn disk(offered: u64, accepted: Option<u64>) -> ReportedFeatures {
        let device = DeviceId {
            slot: 2,
            kind: DeviceKind::Block,
        };
        ReportedFeatures::new(device, DeviceFeatures { offered, accepted })
    }

    #[test]
    fn each_feature_of_a_run_is_accepted_or_not() {
        let offered = block::FLUSH | block::SEG_MAX | RING_EVENT_IDX | VERSION_1 | 1 << 44;
        let one = disk(offered, Some(block::FLUSH | VERSION_1));
        assert_eq!(
            lines([&one].into_iter()),
            "device 2 (block): offered and accepted: block.flush version-1\n\
             device 2 (block): offered and not accepted: block.seg-max ring.event-idx bit-44\n"
        );
        let none = disk(VERSION_1, None);
        assert_eq!(
            lines([&none].into_iter()),
            "device 2 (block): offered and not accepted: version-1\n"
        );
        assert_eq!(none.accepted, None);
    }

    #[test]
    fn runs_are_counted_together() {
        let runs = [
            disk(block::FLUSH | VERSION_1, Some(VERSION_1)),
            disk(block::FLUSH | VERSION_1, Some(block::FLUSH | VERSION_1)),
            disk(VERSION_1, Some(VERSION_1)),
        ];
        assert_eq!(
            lines(runs.iter()),
            "device 2 (block): offered and accepted: version-1\n\
             device 2 (block): offered and accepted in some runs only: block.flush\n"
        );
    }
}
