//! Which features the devices offered, and which the drivers accepted.
//!
//! Citations are of virtio 1.0.

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
    /// What its device-specific configuration contained while it was live: the values of the fields by their
    /// names, as decimal numbers, and a MAC address as 02:00:00:00:00:01. Each content is listed once. Absent if
    /// there were too many, and in the report of a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configurations: Option<Vec<BTreeMap<String, String>>>,
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
            configurations: None,
        }
    }

    /// The same, with the contents of its configuration, as bytes.
    #[must_use]
    pub fn with_configurations(self, contents: Option<Vec<Vec<u8>>>) -> ReportedFeatures {
        let kind = self.kind;
        ReportedFeatures {
            configurations: contents.map(|contents| {
                let contents = contents.iter();
                contents.map(|content| values(kind, content)).collect()
            }),
            ..self
        }
    }
}

/// The same devices, in short, for a report about many runs.
#[must_use]
pub fn without_configurations(devices: &[ReportedFeatures]) -> Vec<ReportedFeatures> {
    let short = |device: &ReportedFeatures| device.clone().with_configurations(None);
    devices.iter().map(short).collect()
}

/// The fields of a configuration of `kind`, little-endian (§2.3), which the device may have in part.
fn values(kind: DeviceKind, content: &[u8]) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for field in kind.config_fields() {
        let at = field.offset as usize;
        let Some(bytes) = content.get(at..at + field.len() as usize) else {
            continue;
        };
        let value = if field.count > 1 {
            let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            parts.join(":")
        } else {
            let number = bytes.iter().rev();
            let number = number.fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
            number.to_string()
        };
        values.insert(field.name.to_owned(), value);
    }
    values
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
impl ReportedFeatures {
    /// A disk that offers flushes and more, all of which its driver accepts, or all but `flushes`.
    pub(super) fn of_disk(flushes: bool) -> ReportedFeatures {
        use stickler_conformance::features::{VERSION_1, block};
        let device = DeviceId {
            slot: 2,
            kind: DeviceKind::Block,
        };
        let offered = block::FLUSH | block::SEG_MAX | VERSION_1;
        let less = if flushes { 0 } else { block::FLUSH };
        let accepted = Some(offered & !less);
        ReportedFeatures::new(device, DeviceFeatures { offered, accepted })
    }
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
    fn fields_of_a_configuration_are_told_by_their_names() {
        let device = disk(VERSION_1, None);
        let mut content = vec![0; 24];
        content[..8].copy_from_slice(&8192_u64.to_le_bytes());
        content[20..].copy_from_slice(&4096_u32.to_le_bytes());
        let device = device.with_configurations(Some(vec![content]));
        let told = &device.configurations.unwrap()[0];
        assert_eq!(told["capacity"], "8192");
        assert_eq!(told["blk_size"], "4096");
        assert!(!told.contains_key("writeback"), "it is not there");
        let address = values(DeviceKind::Net, &[2, 0, 0, 0, 0, 0xa1]);
        assert_eq!(address["mac"], "02:00:00:00:00:a1");
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
