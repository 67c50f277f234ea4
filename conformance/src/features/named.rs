//! Features by the names that users have for them: `net.mrg-rxbuf`, `ring.event-idx`. The specification's own
//! names, such as VIRTIO_NET_F_MRG_RXBUF, are understood, too.
//!
//! Citations are of virtio 1.0.

use std::fmt;
use std::str::FromStr;

use super::{RING_EVENT_IDX, RING_INDIRECT_DESC, VERSION_1, complete};
use crate::device::{DeviceKind, FeatureBit};
use crate::nearest::nearest;

/// The features of all device types that can be left out (§6).
const RING: [(u64, &str); 2] = [
    (RING_INDIRECT_DESC, "INDIRECT_DESC"),
    (RING_EVENT_IDX, "EVENT_IDX"),
];

/// The first part of their names.
const RING_GROUP: &str = "ring";

/// A feature that a device may offer or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NamedFeature {
    /// The device type that it belongs to; `None` if it belongs to all.
    kind: Option<DeviceKind>,
    mask: u64,
    /// Its name in the specification, without a prefix.
    name: &'static str,
}

impl NamedFeature {
    /// All of them: those of the device types, and then those of all types.
    pub fn all() -> impl Iterator<Item = NamedFeature> {
        let own = DeviceKind::ALL.into_iter().flat_map(|kind| {
            let bits = kind.facts().features.iter();
            bits.map(move |bit| NamedFeature {
                kind: Some(kind),
                mask: bit.mask,
                name: bit.name,
            })
        });
        own.chain(RING.into_iter().map(|(mask, name)| NamedFeature {
            kind: None,
            mask,
            name,
        }))
    }

    /// The device type that it belongs to; `None` if it belongs to all.
    pub fn kind(self) -> Option<DeviceKind> {
        self.kind
    }

    /// Its mask in the 64-bit feature word.
    pub fn mask(self) -> u64 {
        self.mask
    }

    /// What is known of it, if it belongs to a device type.
    fn bit(self) -> Option<&'static FeatureBit> {
        let mut bits = self.kind?.facts().features.iter();
        bits.find(|bit| bit.mask == self.mask)
    }

    /// Its whole name in the specification.
    fn in_specification(self) -> String {
        match self.kind {
            Some(kind) => format!("{}{}", kind.facts().feature_prefix, self.name),
            None => format!("VIRTIO_F_RING_{}", self.name),
        }
    }
}

impl fmt::Display for NamedFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.kind.map_or(RING_GROUP, |kind| kind.facts().name);
        let name = self.name.to_ascii_lowercase().replace('_', "-");
        write!(f, "{group}.{name}")
    }
}

impl fmt::Debug for NamedFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NamedFeature {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let is = |feature: &NamedFeature| {
            feature.to_string() == word || feature.in_specification() == word
        };
        if let Some(feature) = NamedFeature::all().find(is) {
            return Ok(feature);
        }
        let names: Vec<String> = NamedFeature::all().map(|f| f.to_string()).collect();
        Err(match nearest(word, names.iter().map(String::as_str)) {
            Some(near) => format!("there is no feature '{word}'; did you mean '{near}'?"),
            None => format!(
                "there is no feature '{word}'; the features are {}",
                names.join(", ")
            ),
        })
    }
}

/// The set bits of a device of type `kind` by name: `net.mac`, `ring.event-idx`, `version-1`, `bit-44`.
pub fn words(kind: DeviceKind, bits: u64) -> Vec<String> {
    let word = |mask: u64| {
        let mut named = NamedFeature::all().filter(|f| f.kind.is_none_or(|of| of == kind));
        match named.find(|feature| feature.mask == mask) {
            Some(feature) => feature.to_string(),
            None if mask == VERSION_1 => "version-1".to_owned(),
            None => format!("bit-{}", mask.trailing_zeros()),
        }
    };
    let set = (0..u64::BITS).map(|bit| 1 << bit);
    set.filter(|mask| bits & mask != 0).map(word).collect()
}

/// The features that devices may offer, by device type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureLimits {
    allowed: [u64; DeviceKind::ALL.len()],
}

impl Default for FeatureLimits {
    fn default() -> Self {
        FeatureLimits {
            allowed: [u64::MAX; DeviceKind::ALL.len()],
        }
    }
}

impl FeatureLimits {
    /// Devices do not offer the features `without`. Of a device type's own features, and of those of all types,
    /// they offer those in `offer` only, if any of them is there.
    ///
    /// # Errors
    /// A sentence for the user if that cannot be.
    pub fn new(without: &[NamedFeature], offer: &[NamedFeature]) -> Result<Self, String> {
        if let Some(both) = without.iter().find(|feature| offer.contains(feature)) {
            return Err(format!(
                "'{both}' is in both --without and --offer: leave it out of one of them"
            ));
        }
        let essential = |feature: &&NamedFeature| feature.bit().is_some_and(|bit| bit.essential);
        if let Some(feature) = without.iter().find(essential) {
            return Err(format!(
                "'{feature}' says what the device is, and a device that is so always offers it: use another device instead"
            ));
        }
        let mut limits = FeatureLimits::default();
        for (kind, allowed) in DeviceKind::ALL.into_iter().zip(&mut limits.allowed) {
            for group in [Some(kind), None] {
                let of = |features: &[NamedFeature]| {
                    let in_group = features.iter().filter(|f| f.kind == group);
                    in_group.fold(0, |all, feature| all | feature.mask)
                };
                if of(offer) != 0 {
                    *allowed &= of(offer) | !group_mask(group);
                }
                *allowed &= !of(without);
            }
            for feature in offer.iter().filter(|f| f.kind == Some(kind)) {
                let requires = feature.bit().map_or(0, |bit| bit.requires);
                if requires != 0 && *allowed & requires == 0 {
                    let one = words(kind, requires).join("' or '");
                    return Err(format!("'{feature}' requires '{one}': offer that, too"));
                }
            }
        }
        Ok(limits)
    }

    /// What a device of type `kind` offers that could offer `features`: nothing without what it requires (§2.2.2),
    /// nor what is useless without another feature that is missing.
    pub fn apply(self, kind: DeviceKind, features: u64) -> u64 {
        let at = DeviceKind::ALL.iter().position(|of| *of == kind);
        let allowed = at.map_or(u64::MAX, |at| self.allowed[at]);
        if allowed == u64::MAX {
            return features;
        }
        let kept = features & (allowed | kind.essential_features() | VERSION_1);
        let useless = |bit: &&FeatureBit| bit.companion != 0 && kept & bit.companion == 0;
        let useless = kind.facts().features.iter().filter(useless);
        complete(kind, useless.fold(kept, |kept, bit| kept & !bit.mask))
    }
}

/// All features of a group.
fn group_mask(group: Option<DeviceKind>) -> u64 {
    match group {
        Some(kind) => kind.features(),
        None => RING.iter().fold(0, |all, (mask, _)| all | mask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{block, net, unmet};

    fn parsed(words: &str) -> Vec<NamedFeature> {
        let words = words.split(',').filter(|word| !word.is_empty());
        words.map(|word| word.parse().unwrap()).collect()
    }

    fn limits(without: &str, offer: &str) -> Result<FeatureLimits, String> {
        FeatureLimits::new(&parsed(without), &parsed(offer))
    }

    const RINGS: u64 = RING_INDIRECT_DESC | RING_EVENT_IDX | VERSION_1;
    const NET: DeviceKind = DeviceKind::Net;

    #[test]
    fn each_feature_has_a_name_and_is_found_by_it() {
        for feature in NamedFeature::all() {
            assert_eq!(feature.to_string().parse(), Ok(feature));
            assert_eq!(feature.in_specification().parse(), Ok(feature));
            let kind = feature.kind.unwrap_or(DeviceKind::Entropy);
            assert_eq!(words(kind, feature.mask), [feature.to_string()]);
        }
        assert_eq!(
            words(NET, net::MRG_RXBUF | RINGS | 1 << 44),
            [
                "net.mrg-rxbuf",
                "ring.indirect-desc",
                "ring.event-idx",
                "version-1",
                "bit-44"
            ]
        );
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_right_one() {
        let error = |word: &str| word.parse::<NamedFeature>().unwrap_err();
        assert!(error("net.mrg_rxbuf").contains("did you mean 'net.mrg-rxbuf'?"));
        assert!(error("ring-event-idx").contains("did you mean 'ring.event-idx'?"));
        assert!(error("zzz").contains("net.csum, "));
        assert!(error("").contains("there is no feature ''"));
    }

    #[test]
    fn what_is_left_out_takes_with_it_what_requires_it() {
        let all = NET.features() | RINGS;
        let without = |words: &str| limits(words, "").unwrap().apply(NET, all);
        assert_eq!(without(""), all);
        assert_eq!(without("net.mrg-rxbuf"), all & !net::MRG_RXBUF);
        let left = without("net.ctrl-vq");
        for gone in [
            net::CTRL_RX,
            net::MQ,
            net::CTRL_GUEST_OFFLOADS,
            net::GUEST_ANNOUNCE,
        ] {
            assert_eq!(left & gone, 0);
        }
        assert_eq!(unmet(NET, left), 0);
        assert_eq!(left & RINGS, RINGS);
        let other = limits("net.ctrl-vq", "").unwrap();
        let block = DeviceKind::Block.features() | RINGS;
        assert_eq!(other.apply(DeviceKind::Block, block), block);
        let ring = limits("ring.event-idx", "").unwrap();
        assert_eq!(
            ring.apply(DeviceKind::Block, block),
            block & !RING_EVENT_IDX
        );
        assert_eq!(ring.apply(NET, all), all & !RING_EVENT_IDX);
    }

    #[test]
    fn what_is_offered_of_a_group_is_all_of_it() {
        let all = NET.features() | RINGS;
        let only = limits("", "net.mac,net.status").unwrap();
        assert_eq!(only.apply(NET, all), net::MAC | net::STATUS | RINGS);
        // A device offers nothing that it does not have, and always what it is.
        assert_eq!(only.apply(NET, net::MAC | VERSION_1), net::MAC | VERSION_1);
        let flush = limits("", "block.flush,ring.event-idx").unwrap();
        let block = DeviceKind::Block.features() | RINGS;
        assert_eq!(
            flush.apply(DeviceKind::Block, block),
            block::FLUSH | block::RO | RING_EVENT_IDX | VERSION_1
        );
        assert_eq!(flush.apply(NET, all), all & !RING_INDIRECT_DESC);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_sentence() {
        for (without, offer, says) in [
            ("net.mac", "net.mac", "both --without and --offer"),
            ("block.ro", "", "'block.ro' says what the device is"),
            ("", "net.guest-tso4", "requires 'net.guest-csum': offer"),
            ("net.csum", "net.host-tso4,net.mac", "requires 'net.csum'"),
            (
                "",
                "net.guest-ecn,net.guest-csum",
                "'net.guest-tso4' or 'net.guest-tso6'",
            ),
        ] {
            let error = limits(without, offer).unwrap_err();
            assert!(error.contains(says), "{without}, {offer}: {error}");
        }
    }
}
