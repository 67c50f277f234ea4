//! The device types: one file for each, with the facts that the specification defines (§5).
//!
//! A new device type is a file here and a line in `device_types!`; its requirements are a chapter of
//! [rules](crate::rules), and its behaviour a folder of the devices. Everything else asks
//! [`DeviceKind::facts`]. Sections are those of virtio 1.0.

use serde::{Deserialize, Serialize};

use crate::layout::Field;

pub mod block;
pub mod console;
pub mod entropy;
pub mod net;

macro_rules! device_types {
    ($($(#[doc = $doc:literal])+ $kind:ident = $module:ident;)+) => {
        /// The device types that stickler provides.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "lowercase")]
        pub enum DeviceKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl DeviceKind {
            /// All of them, in the order of their ids.
            pub const ALL: [DeviceKind; [$(stringify!($kind)),+].len()] = [$(DeviceKind::$kind),+];

            /// The facts that the specification defines about the type.
            pub const fn facts(self) -> &'static DeviceFacts {
                match self {
                    $(DeviceKind::$kind => &$module::FACTS,)+
                }
            }
        }
    };
}

device_types! {
    /// Network card (§5.1).
    Net = net;
    /// Block device (§5.2).
    Block = block;
    /// Console (§5.3).
    Console = console;
    /// Entropy source (§5.4).
    Entropy = entropy;
}

/// The facts that the specification defines about a device type.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFacts {
    /// Virtio device ID (§5).
    pub id: u16,
    /// Transitional PCI Device ID (§4.1.2.1).
    pub transitional_id: u16,
    /// PCI class code (class, subclass, interface), which some operating systems use to find the device;
    /// virtio does not define it.
    pub pci_class: u32,
    /// One word for reports and messages. JSON spells [`DeviceKind`] so.
    pub name: &'static str,
    /// The prefix of its feature bits' names in the specification.
    pub feature_prefix: &'static str,
    /// Its feature bits, by rising number.
    pub features: &'static [FeatureBit],
    /// The fields of its device-specific configuration, by rising offset.
    pub config: &'static [Field],
    /// The name of a virtqueue with the negotiated features: `receiveq1`.
    pub queue_name: fn(queue: u16, negotiated: u64) -> String,
    /// Whether a virtqueue may be enabled while the device is live, given the features that were
    /// negotiated.
    pub may_enable_later: fn(queue: u16, negotiated: u64) -> bool,
}

/// A feature bit of a device type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureBit {
    /// Its mask in the 64-bit feature word.
    pub mask: u64,
    /// Its name in the specification, without the type's prefix.
    pub name: &'static str,
    /// It requires one of these (§2.2.1); 0 if it requires none.
    pub requires: u64,
    /// It is useless without this feature, although the specification does not require it; 0 if there
    /// is none.
    pub companion: u64,
    /// It describes the device and cannot be left out: a device with this property always offers it.
    pub essential: bool,
    /// A driver should accept it if it is offered.
    pub recommended: bool,
}

impl FeatureBit {
    /// A feature that requires no other.
    const fn new(mask: u64, name: &'static str) -> Self {
        FeatureBit {
            mask,
            name,
            requires: 0,
            companion: 0,
            essential: false,
            recommended: false,
        }
    }

    /// It requires one of `any_of`.
    const fn requires(self, any_of: u64) -> Self {
        FeatureBit {
            requires: any_of,
            ..self
        }
    }

    /// It is useless without `other`.
    const fn with(self, other: u64) -> Self {
        FeatureBit {
            companion: other,
            ..self
        }
    }

    /// A driver should accept it.
    const fn recommended(self) -> Self {
        FeatureBit {
            recommended: true,
            ..self
        }
    }

    /// It describes the device.
    const fn essential(self) -> Self {
        FeatureBit {
            essential: true,
            ..self
        }
    }
}

impl DeviceKind {
    /// Virtio device ID (§5).
    pub const fn id(self) -> u16 {
        self.facts().id
    }

    /// One word for reports.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The fields of its device-specific configuration, by rising offset.
    pub const fn config_fields(self) -> &'static [Field] {
        self.facts().config
    }

    /// All feature bits of the type.
    pub fn features(self) -> u64 {
        let bits = self.facts().features.iter();
        bits.fold(0, |all, bit| all | bit.mask)
    }

    /// The feature bits that describe the device.
    pub fn essential_features(self) -> u64 {
        let bits = self.facts().features.iter().filter(|bit| bit.essential);
        bits.fold(0, |all, bit| all | bit.mask)
    }

    /// The feature bits that a driver should accept if they are offered.
    pub fn recommended_features(self) -> u64 {
        let bits = self.facts().features.iter().filter(|bit| bit.recommended);
        bits.fold(0, |all, bit| all | bit.mask)
    }

    /// The name of a virtqueue with the negotiated features.
    pub fn queue_name(self, queue: u16, negotiated: u64) -> String {
        (self.facts().queue_name)(queue, negotiated)
    }

    /// Zeroes the fields in `config` that depend on features which are not `offered`.
    pub fn clear_absent_fields(self, config: &mut [u8], offered: u64) {
        let absent = |field: &&Field| field.feature != 0 && offered & field.feature == 0;
        for field in self.config_fields().iter().filter(absent) {
            let (start, end) = (field.offset as usize, (field.offset + field.len()) as usize);
            if let Some(bytes) = config.get_mut(start..end) {
                bytes.fill(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_well_formed() {
        assert!(DeviceKind::ALL.map(DeviceKind::id).is_sorted());
        for kind in DeviceKind::ALL {
            let facts = kind.facts();
            // What reports write is what they are read back from.
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("{:?}", facts.name));
            let all = kind.features();
            for bit in facts.features {
                assert!(bit.mask.is_power_of_two(), "{bit:?}");
                assert_eq!((bit.requires | bit.companion) & !all, 0, "{bit:?}");
            }
            assert!(facts.features.is_sorted_by_key(|bit| bit.mask), "{kind:?}");
            let ends: Vec<_> = facts.config.iter().map(|f| f.offset + f.len()).collect();
            let starts = facts.config.iter().skip(1).map(|f| f.offset);
            assert!(
                starts.zip(ends).all(|(start, end)| start >= end),
                "{kind:?}"
            );
            for field in facts.config {
                assert_eq!(field.feature & !all, 0, "{field:?}");
            }
        }
    }

    #[test]
    fn queues_have_the_names_of_the_specification() {
        let net = |queue, features| DeviceKind::Net.queue_name(queue, features);
        let both = net::feature::MQ | net::feature::CTRL_VQ;
        assert_eq!(net(0, 0), "receiveq1");
        assert_eq!(net(3, net::feature::MQ), "transmitq2");
        assert_eq!(net(2, net::feature::CTRL_VQ), "controlq");
        assert_eq!(net(2, both), "receiveq2");
        let console = |queue| DeviceKind::Console.queue_name(queue, 0);
        assert_eq!(console(0), "receiveq(port0)");
        assert_eq!(console(2), "control receiveq");
        assert_eq!(console(5), "transmitq(port1)");
        assert_eq!(DeviceKind::Block.queue_name(0, 0), "requestq");
        assert_eq!(DeviceKind::Entropy.queue_name(1, 0), "queue 1");
    }
}
