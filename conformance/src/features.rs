//! Feature bits (§2.2, §5, §6 of virtio 1.0), as masks of the 64-bit feature word.

mod named;

use crate::device::DeviceKind;
pub use crate::device::block::feature as block;
pub use crate::device::console::feature as console;
pub use crate::device::net::feature as net;
use crate::latitude::Draw;
pub use named::{FeatureLimits, NamedFeature, words};

/// Buffers may use indirect descriptors (§2.4.5.3).
pub const RING_INDIRECT_DESC: u64 = 1 << 28;
/// `used_event` and `avail_event` are in use (§2.4.7, §2.4.9).
pub const RING_EVENT_IDX: u64 = 1 << 29;
/// The device complies with version 1.0 (§6).
pub const VERSION_1: u64 = 1 << 32;

/// The names of the bits that are reserved for all device types (§6).
const RESERVED_NAMES: [(u64, &str); 3] = [
    (RING_INDIRECT_DESC, "RING_INDIRECT_DESC"),
    (RING_EVENT_IDX, "RING_EVENT_IDX"),
    (VERSION_1, "VERSION_1"),
];

/// Feature bits that no version of the specification assigns.
pub const UNKNOWN: u64 = 0x1f << 44;

/// The bits of `features` that require another bit which is not set (§2.2.1).
pub fn unmet(kind: DeviceKind, features: u64) -> u64 {
    let bits = kind.facts().features.iter();
    bits.filter(|bit| features & bit.mask != 0)
        .filter(|bit| bit.requires != 0 && features & bit.requires == 0)
        .fold(0, |unmet, bit| unmet | bit.mask)
}

/// Removes from `features` the bits that require another bit which is not set, until none is left
/// (§2.2.2).
pub fn complete(kind: DeviceKind, mut features: u64) -> u64 {
    loop {
        match unmet(kind, features) {
            0 => return features,
            unmet => features &= !unmet,
        }
    }
}

/// A subset of `offered` that a device of type `kind` may offer as well: in some draws it is empty, in
/// some it lacks only one feature and those that require it. The features `kept` are always in it.
pub fn subset(kind: DeviceKind, offered: u64, kept: u64, draw: &mut Draw) -> u64 {
    let bits: Vec<u64> = (0..64).map(|bit| 1 << bit).collect();
    let optional: Vec<u64> = bits
        .into_iter()
        .filter(|bit| offered & !kept & bit != 0)
        .collect();
    if optional.is_empty() {
        return offered;
    }
    let withheld = match draw.below(4) {
        0 => offered,
        1 => draw.of(&optional),
        _ => optional
            .iter()
            .filter(|_| draw.one_in(3))
            .fold(0, |all, bit| all | bit),
    };
    let mut features = offered & (kept | !withheld);
    for bit in kind.facts().features {
        if bit.companion != 0 && features & bit.companion == 0 {
            features &= !bit.mask;
        }
    }
    complete(kind, features)
}

/// The set bits by name, for messages: `VIRTIO_NET_F_CSUM|VIRTIO_F_VERSION_1`.
pub fn names(kind: DeviceKind, bits: u64) -> String {
    let facts = kind.facts();
    let name = |bit: u32| {
        let mask = 1_u64 << bit;
        let own = facts.features.iter().find(|own| own.mask == mask);
        let reserved = RESERVED_NAMES.iter().find(|(of, _)| *of == mask);
        match (own, reserved) {
            (Some(own), _) => format!("{}{}", facts.feature_prefix, own.name),
            (None, Some((_, name))) => format!("VIRTIO_F_{name}"),
            (None, None) => format!("bit {bit}"),
        }
    };
    let parts: Vec<String> = (0..64)
        .filter(|bit| bits >> bit & 1 != 0)
        .map(name)
        .collect();
    if parts.is_empty() {
        "no feature".to_owned()
    } else {
        parts.join("|")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_whole_and_every_bit_is_missing_from_some_and_in_some() {
        let every = |kind: DeviceKind, bits: u64, kept: u64| {
            let mut draw = Draw::new(3, 1);
            let (mut all, mut some) = (u64::MAX, 0);
            for _ in 0..1000 {
                let subset = subset(kind, bits, kept, &mut draw);
                assert_eq!(subset & !bits, 0);
                assert_eq!(subset & kept, kept);
                assert_eq!(unmet(kind, subset), 0);
                if kind == DeviceKind::Block {
                    assert!(subset & block::CONFIG_WCE == 0 || subset & block::FLUSH != 0);
                }
                all &= subset;
                some |= subset;
            }
            assert_eq!((all, some), (kept, bits));
        };
        every(DeviceKind::Net, DeviceKind::Net.features(), 0);
        every(DeviceKind::Block, DeviceKind::Block.features(), block::RO);
        every(DeviceKind::Console, DeviceKind::Console.features(), 0);
        every(DeviceKind::Entropy, 0, 0);
    }
}
