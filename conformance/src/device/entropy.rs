//! The entropy device (§5.4 of virtio 1.0).

use super::DeviceFacts;

/// The facts that the specification defines about it.
pub(super) static FACTS: DeviceFacts = DeviceFacts {
    id: 4,
    transitional_id: 0x1005,
    // Base system peripheral, other.
    pci_class: 0x08_8000,
    name: "entropy",
    feature_prefix: "",
    features: &[],
    config: &[],
    queue_name: |queue, _| match queue {
        REQUESTQ => "requestq".to_owned(),
        other => format!("queue {other}"),
    },
    may_enable_later: |_, _| false,
};

/// The only virtqueue (§5.4.2).
pub const REQUESTQ: u16 = 0;
