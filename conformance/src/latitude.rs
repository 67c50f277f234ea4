//! Latitudes: what the specification leaves to the device, and drivers tested against one device
//! come to assume. Each provoked requirement names the one that provokes it.

use std::str::FromStr;

macro_rules! latitudes {
    ($($(#[doc = $doc:literal])+ $id:ident = $name:literal, $text:literal;)+) => {
        /// A freedom that a device can make use of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Latitude {
            $($(#[doc = $doc])+ $id,)+
        }

        impl Latitude {
            /// All of them.
            pub const ALL: &[Latitude] = &[$(Latitude::$id),+];

            /// Its name on the command line and in the catalogue.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Latitude::$id => $name,)+
                }
            }

            /// What the device does.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Latitude::$id => $text,)+
                }
            }
        }
    };
}

latitudes! {
    /// §4.1.2.1, §4.1.2.2
    AnyRevision = "any-revision",
        "PCI Revision ID is 0x5a";
    /// §4.1.2.1, §4.1.2.2
    AnySubsystem = "any-subsystem",
        "PCI Subsystem Vendor ID and Subsystem Device ID are those of nobody";
    /// §4.1.2.1: either ID is allowed.
    TransitionalId = "transitional-id",
        "the device has the Transitional PCI Device ID";
    /// §4.1.4.1
    ReservedCfgType = "reserved-cfg-type",
        "a capability with a reserved cfg_type comes before the others";
    /// §4.1.4.1
    ReservedBar = "reserved-bar",
        "a capability of the common configuration in BAR 6 comes before the true one";
    /// §4.1.4.1
    LongCapabilities = "long-capabilities",
        "cap_len of each virtio capability is larger than its fields need";
    /// §4.1.4.1, §4.1.4.2
    SecondInstances = "second-instances",
        "common and device-specific configuration are presented a second time, elsewhere";
    /// §2.3.1, §4.1.4.1
    OversizedStructures = "oversized-structures",
        "each structure has a length of 64 KiB or more";
    /// §4.1.5.1.2.1
    OneVector = "one-vector",
        "the MSI-X table has one entry";
    /// §4.1.5.1.2.1
    MostVectors = "most-vectors",
        "the MSI-X table has 0x800 entries";
    /// §4.1.5.1.2.1: mapping may fail.
    RefusedVectors = "refused-vectors",
        "no event can be mapped to an MSI-X vector above 1";
    /// §2.2.2
    RefusedFeatures = "refused-features",
        "FEATURES_OK never stays set";
    /// §2.2, §6
    FewFeatures = "few-features",
        "neither indirect descriptors nor event indices are offered";
    /// §2.4.7.1
    SpuriousInterrupts = "spurious-interrupts",
        "now and then a virtqueue interrupts without having used a buffer";
    /// §4.1.4.5, §4.1.5.4.2
    SharedInterrupts = "shared-interrupts",
        "there is no MSI-X, and ISR status now and then has both bits set at once";
    /// §5.1.6.5.4
    Announce = "announce",
        "a network device asks the driver to announce itself as soon as it is live";
}

impl FromStr for Latitude {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Latitude::ALL
            .iter()
            .copied()
            .find(|latitude| latitude.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Latitude::ALL.iter().map(|l| l.name()).collect();
                format!("there is no such latitude; there are {}", names.join(", "))
            })
    }
}

/// Which latitudes a device makes use of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latitudes(u32);

impl Latitudes {
    /// Whether `latitude` is among them.
    pub const fn has(self, latitude: Latitude) -> bool {
        self.0 & 1 << latitude as u32 != 0
    }

    /// These and `latitude`.
    #[must_use]
    pub const fn with(self, latitude: Latitude) -> Self {
        Latitudes(self.0 | 1 << latitude as u32)
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Latitude> {
        Latitude::ALL
            .iter()
            .copied()
            .filter(move |latitude| self.has(*latitude))
    }
}

impl FromIterator<Latitude> for Latitudes {
    fn from_iter<I: IntoIterator<Item = Latitude>>(latitudes: I) -> Self {
        latitudes
            .into_iter()
            .fold(Latitudes::default(), Latitudes::with)
    }
}
