//! What the guest's kernel shows of the devices, compared with what the devices told.
//!
//! Whether a driver uses what it reads no device sees: a size that is read right and set with rows and columns
//! swapped keeps every requirement.
//!
//! Citations are of virtio 1.0.

use std::collections::BTreeMap;

use stickler_conformance::DeviceKind;
use stickler_exerciser::{GuestView, Kind, Step};

use crate::report::check::{FailureKind, RunFailure};
use crate::report::features::ReportedFeatures;

/// VIRTIO_NET_S_LINK_UP in status of a network device (§5.1.4 of virtio 1.0).
const LINK_UP: u64 = 1;

/// One failure for each property that the guest shows and its device never told. `devices` are in the order of their
/// slots, as the guest counts them.
pub fn differences(devices: &[ReportedFeatures], views: &[GuestView]) -> Vec<RunFailure> {
    let mut failures: Vec<RunFailure> = Vec::new();
    for view in views {
        let mut of_kind = devices.iter().filter(|device| is(device, view.kind));
        let Some(device) = of_kind.nth(view.number) else {
            continue;
        };
        // Of a device that told too much, nobody knows.
        let Some(told) = &device.configurations else {
            continue;
        };
        let told: Vec<String> = told
            .iter()
            .filter_map(|configuration| property(configuration, &view.property))
            .collect();
        if told.is_empty() || told.iter().any(|told| agrees(view, told)) {
            continue;
        }
        let message = format!(
            "{} of the {} device in slot {} is {} for the guest's kernel; the device told {}",
            view.property,
            view.kind,
            device.slot,
            view.value,
            told.join(", ")
        );
        if failures.iter().all(|failure| failure.message != message) {
            failures.push(RunFailure {
                how: FailureKind::Step,
                requirement: None,
                step: Some(Step::View.name().to_owned()),
                message,
                not_held: Vec::new(),
            });
        }
    }
    failures
}

fn is(device: &ReportedFeatures, kind: Kind) -> bool {
    let of = match kind {
        Kind::Net => DeviceKind::Net,
        Kind::Block => DeviceKind::Block,
        Kind::Console => DeviceKind::Console,
        Kind::Entropy => DeviceKind::Entropy,
    };
    device.kind == of
}

/// Whether the guest's value follows from the one that was told.
fn agrees(view: &GuestView, told: &str) -> bool {
    match view.property.as_str() {
        // A driver uses as many as it has processors, at most.
        "max_virtqueue_pairs" => {
            let [used, most] = [view.value.parse::<u16>(), told.parse()];
            matches!((used, most), (Ok(used), Ok(most)) if (1..=most).contains(&used))
        }
        _ => view.value == told,
    }
}

/// The value that a driver takes from a configuration for this property, as the guest says it.
fn property(configuration: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let field = |name: &str| configuration.get(name).cloned();
    match name {
        "size" => Some(format!("{}x{}", field("cols")?, field("rows")?)),
        "link" => {
            let status: u64 = field("status")?.parse().ok()?;
            Some((status & LINK_UP).to_string())
        }
        field_name => field(field_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(sizes: &[(&str, &str)]) -> ReportedFeatures {
        let told = sizes.iter().map(|(cols, rows)| {
            let fields = [("cols", cols), ("rows", rows)];
            fields.map(|(name, value)| (name.to_owned(), value.to_string()))
        });
        ReportedFeatures {
            slot: 4,
            kind: DeviceKind::Console,
            offered: Vec::new(),
            accepted: None,
            configurations: Some(told.map(BTreeMap::from).collect()),
        }
    }

    fn seen(kind: Kind, property: &str, value: &str) -> GuestView {
        GuestView {
            kind,
            number: 0,
            property: property.to_owned(),
            value: value.to_owned(),
        }
    }

    fn compare(device: ReportedFeatures, view: GuestView) -> Vec<String> {
        let failures = differences(&[device], &[view.clone(), view]);
        failures
            .into_iter()
            .map(|failure| failure.message)
            .collect()
    }

    #[test]
    fn a_size_that_was_told_at_some_time_is_right_and_a_swapped_one_is_not() {
        let device = || console(&[("80", "25"), ("100", "30")]);
        for right in ["80x25", "100x30"] {
            assert!(compare(device(), seen(Kind::Console, "size", right)).is_empty());
        }
        assert_eq!(
            compare(device(), seen(Kind::Console, "size", "30x100")),
            [
                "size of the console device in slot 4 is 30x100 for the guest's kernel; the device \
              told 80x25, 100x30"
            ]
        );
        // Columns of the one with rows of the other were never told.
        assert_eq!(
            compare(device(), seen(Kind::Console, "size", "80x30")).len(),
            1
        );
    }

    #[test]
    fn the_link_is_a_bit_of_status() {
        let card = |status: &str| ReportedFeatures {
            kind: DeviceKind::Net,
            configurations: Some(vec![BTreeMap::from([(
                "status".to_owned(),
                status.to_owned(),
            )])]),
            ..console(&[])
        };
        for (status, carrier, right) in [("1", "1", true), ("3", "1", true), ("0", "1", false)] {
            let found = compare(card(status), seen(Kind::Net, "link", carrier));
            assert_eq!(found.is_empty(), right, "{found:?}");
        }
    }

    #[test]
    fn a_guest_uses_no_more_queues_than_there_are() {
        let card = || ReportedFeatures {
            kind: DeviceKind::Net,
            configurations: Some(vec![BTreeMap::from([(
                "max_virtqueue_pairs".to_owned(),
                "4".to_owned(),
            )])]),
            ..console(&[])
        };
        for (used, right) in [("1", true), ("4", true), ("5", false), ("0", false)] {
            let found = compare(card(), seen(Kind::Net, "max_virtqueue_pairs", used));
            assert_eq!(found.is_empty(), right, "{used}: {found:?}");
        }
    }

    #[test]
    fn what_was_not_remembered_accuses_nobody() {
        let forgotten = ReportedFeatures {
            configurations: None,
            ..console(&[])
        };
        for device in [forgotten, console(&[])] {
            assert!(compare(device.clone(), seen(Kind::Console, "size", "1x1")).is_empty());
            assert!(compare(device, seen(Kind::Net, "mac", "x")).is_empty());
        }
    }
}
