//! Latitudes: what the specification leaves to the device, and drivers tested against one device
//! come to assume. Each provoked requirement names the one that provokes it.

use std::fmt;
use std::str::FromStr;

/// What a latitude is about; no more than the heading it is listed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum About {
    /// The PCI function and the virtio-pci transport (§4.1).
    Transport,
    /// Feature bits, status and configuration (§2.1 to §2.3).
    Device,
    /// Virtqueues and interrupts (§2.4).
    Virtqueue,
    /// The network device (§5.1).
    Net,
    /// The block device (§5.2).
    Block,
    /// The console device (§5.3).
    Console,
    /// The entropy device (§5.4).
    Entropy,
}

impl About {
    /// All of them, in the order of the specification.
    pub const ALL: [About; 7] = [
        About::Transport,
        About::Device,
        About::Virtqueue,
        About::Net,
        About::Block,
        About::Console,
        About::Entropy,
    ];

    /// The heading.
    pub const fn name(self) -> &'static str {
        match self {
            About::Transport => "transport",
            About::Device => "device",
            About::Virtqueue => "virtqueue",
            About::Net => "net",
            About::Block => "block",
            About::Console => "console",
            About::Entropy => "entropy",
        }
    }
}

macro_rules! latitudes {
    ($(
        $id:ident = $name:literal, $about:ident [$($clause:literal),+ $(,)?],
            $text:literal,
            fails: $fails:literal;
    )+) => {
        /// A freedom that a device can make use of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Latitude {
            $(#[doc = concat!("`", $name, "`: ", $text)] $id,)+
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

            /// What it is about.
            pub const fn about(self) -> About {
                match self {
                    $(Latitude::$id => About::$about,)+
                }
            }

            /// The clauses of virtio 1.0 that grant it: row ids, or sections where it is their
            /// descriptive text that does. Those that begin with `PCI` are of PCI Local Bus 3.0.
            pub const fn clauses(self) -> &'static [&'static str] {
                match self {
                    $(Latitude::$id => &[$($clause),+],)+
                }
            }

            /// What the device does.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Latitude::$id => $text,)+
                }
            }

            /// What a driver that does not cope looks like.
            pub const fn fails(self) -> &'static str {
                match self {
                    $(Latitude::$id => $fails,)+
                }
            }
        }
    };
}

latitudes! {
    AnyRevision = "any-revision", Transport ["4.1.2.1", "4.1.2.2"],
        "PCI Revision ID is 0x5a",
        fails: "The driver does not take the device.";
    AnySubsystem = "any-subsystem", Transport ["4.1.2.1", "4.1.2.2"],
        "PCI Subsystem Vendor ID and Subsystem Device ID are those of nobody",
        fails: "The driver does not take the device.";
    TransitionalId = "transitional-id", Transport ["4.1.2.1"],
        "the device has the Transitional PCI Device ID",
        fails: "The driver does not take the device, or looks for the legacy interface.";
    ReservedCfgType = "reserved-cfg-type", Transport ["4.1.4.1"],
        "a capability with a reserved cfg_type comes before the others",
        fails: "The driver takes the capability for one it knows, or gives up on the device.";
    ReservedBar = "reserved-bar", Transport ["4.1.4.1"],
        "a capability of the common configuration in BAR 6 comes before the true one",
        fails: "The driver looks for the structure in a BAR that does not exist, and gives up.";
    LongCapabilities = "long-capabilities", Transport ["4.1.4.1"],
        "cap_len of each virtio capability is larger than its fields need",
        fails: "The driver wants cap_len to be what it knows, and does not find the structures.";
    SecondInstances = "second-instances", Transport ["4.1.4.1", "4.1.4.2"],
        "common and device-specific configuration are presented a second time, elsewhere",
        fails: "The driver uses the instance it finds last.";
    OversizedStructures = "oversized-structures", Transport ["2.3.1", "4.1.4.1"],
        "each structure has a length of 64 KiB or more",
        fails: "The driver wants lengths to be what it knows, and gives up on the device.";
    OneVector = "one-vector", Transport ["4.1.5.1.2.1"],
        "the MSI-X table has one entry",
        fails: "The driver wants a vector for each virtqueue, and gives up or loses interrupts.";
    MostVectors = "most-vectors", Transport ["4.1.5.1.2.1"],
        "the MSI-X table has 0x800 entries",
        fails: "The driver gives up, or asks for more vectors than it can get.";
    RefusedVectors = "refused-vectors", Transport ["4.1.5.1.2.1"],
        "no event can be mapped to an MSI-X vector above 1",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.";
    RefusedFeatures = "refused-features", Device ["2.2.2"],
        "FEATURES_OK never stays set",
        fails: "The driver goes on as if FEATURES_OK were set, or leaves without FAILED.";
    FewFeatures = "few-features", Device ["2.2", "6"],
        "neither indirect descriptors nor event indices are offered",
        fails: "The driver gives up, or uses what was not offered.";
    SpuriousInterrupts = "spurious-interrupts", Virtqueue ["2.4.7.1"],
        "now and then a virtqueue interrupts without having used a buffer",
        fails: "The driver takes a buffer from the used ring that is not there, or turns the interrupt off.";
    SharedInterrupts = "shared-interrupts", Transport ["4.1.4.5", "4.1.5.4.2"],
        "there is no MSI-X, and ISR status now and then has both bits set at once",
        fails: "The driver sees to one of the two causes only: a virtqueue stands still, or a change of the configuration goes unnoticed.";
    Announce = "announce", Net ["5.1.6.5.4"],
        "a network device asks the driver to announce itself as soon as it is live",
        fails: "The driver never acknowledges, or does so without having announced itself.";
}

/// Pairs of which a device can make use of one only, with the reason.
const EXCLUSIVE: &[(Latitude, Latitude, &str)] = {
    use Latitude::*;
    &[
        (OneVector, MostVectors, "there is one MSI-X table"),
        (SharedInterrupts, OneVector, "one of them is without MSI-X"),
        (
            SharedInterrupts,
            MostVectors,
            "one of them is without MSI-X",
        ),
        (
            SharedInterrupts,
            RefusedVectors,
            "one of them is without MSI-X",
        ),
    ]
};

/// Those with which a conforming driver may well give up on the device, so that nothing else is
/// provoked besides.
const GIVING_UP: &[Latitude] = &[Latitude::RefusedFeatures];

impl Latitude {
    /// Why a device cannot make use of both, if it cannot.
    pub fn excludes(self, other: Latitude) -> Option<&'static str> {
        EXCLUSIVE
            .iter()
            .find(|(one, two, _)| (*one, *two) == (self, other) || (*two, *one) == (self, other))
            .map(|(_, _, why)| *why)
    }

    /// Whether a conforming driver may answer it by giving up on the device.
    pub fn may_end_use(self) -> bool {
        GIVING_UP.contains(&self)
    }
}

impl fmt::Display for Latitude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Latitude {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Latitude::ALL
            .iter()
            .copied()
            .find(|latitude| latitude.name() == name)
            .ok_or_else(|| {
                format!("there is no latitude '{name}'; 'stickler latitudes' lists those there are")
            })
    }
}

/// One word of `--latitude`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `none`: a plain device.
    None,
    /// `seed=N`: a lawful combination, drawn from N, with the variation N.
    Seed(u64),
    /// `variation=N`: what a latitude leaves open (a size, a moment) is drawn from N.
    Variation(u64),
    /// `NAME`: this one.
    One(Latitude),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            digits
                .parse()
                .map_err(|_| format!("'{digits}' is not a number from 0 to {}", u64::MAX))
        };
        if word == "none" {
            Ok(Word::None)
        } else if let Some(digits) = word.strip_prefix("seed=") {
            number(digits).map(Word::Seed)
        } else if let Some(digits) = word.strip_prefix("variation=") {
            number(digits).map(Word::Variation)
        } else {
            word.parse().map(Word::One)
        }
    }
}

/// The seed among the words of `--latitude`; the last one, as with what is drawn from it.
pub fn seed(words: &[Word]) -> Option<u64> {
    words.iter().rev().find_map(|word| match word {
        Word::Seed(seed) => Some(*seed),
        _ => None,
    })
}

/// Which latitudes a device makes use of, and from what it draws that which they leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latitudes {
    set: u128,
    variation: u64,
}

const _: () = assert!(Latitude::ALL.len() <= 128);

impl Latitudes {
    /// What the words of `--latitude` ask for together. Fails with a sentence for the user where
    /// they contradict each other.
    pub fn from_words(words: &[Word]) -> Result<Self, String> {
        let mut latitudes = Latitudes::default();
        for word in words {
            latitudes = match *word {
                Word::None if words.len() > 1 => {
                    return Err("'none' does not go with other latitudes: leave it out".into());
                }
                Word::None => latitudes,
                Word::Seed(seed) => Latitudes {
                    set: latitudes.set | Latitudes::draw(seed).set,
                    variation: seed,
                },
                Word::Variation(variation) => latitudes.varied(variation),
                Word::One(latitude) => latitudes.with(latitude),
            };
        }
        match latitudes.contradiction() {
            None => Ok(latitudes),
            Some((one, two, why)) => Err(format!(
                "'{one}' and '{two}' do not go together, for {why}: leave one of them out"
            )),
        }
    }

    /// A lawful combination: the same for the same seed.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed, 0);
        let mut order = Latitude::ALL.to_vec();
        draw.shuffle(&mut order);
        let mut drawn = Latitudes::default().varied(seed);
        for latitude in order {
            let among = if latitude.may_end_use() { 16 } else { 4 };
            let fits = drawn.iter().all(|other| other.excludes(latitude).is_none());
            if draw.one_in(among) && fits {
                drawn = drawn.with(latitude);
            }
        }
        drawn
    }

    /// Whether `latitude` is among them.
    #[inline]
    pub const fn has(self, latitude: Latitude) -> bool {
        self.set & 1 << latitude as u32 != 0
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.set == 0
    }

    /// These and `latitude`.
    #[must_use]
    pub const fn with(self, latitude: Latitude) -> Self {
        Latitudes {
            set: self.set | 1 << latitude as u32,
            ..self
        }
    }

    /// These without `latitude`.
    #[must_use]
    pub const fn without(self, latitude: Latitude) -> Self {
        Latitudes {
            set: self.set & !(1 << latitude as u32),
            ..self
        }
    }

    /// These, with what they leave open drawn from `variation`.
    #[must_use]
    pub const fn varied(self, variation: u64) -> Self {
        Latitudes { variation, ..self }
    }

    /// From what is drawn that which they leave open.
    pub const fn variation(self) -> u64 {
        self.variation
    }

    /// Numbers for what `latitude` leaves open on the device in `slot`: the same for the same
    /// variation, whichever other latitudes there are.
    pub fn numbers(self, latitude: Latitude, slot: u8) -> Draw {
        // Of the name: the place among the others changes with time.
        let name = latitude.name().bytes().fold(u64::from(slot), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Draw::new(self.variation, name)
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.set.count_ones()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Latitude> + Clone {
        Latitude::ALL
            .iter()
            .copied()
            .filter(move |latitude| self.has(*latitude))
    }

    /// Two that do not go together, and why.
    pub fn contradiction(self) -> Option<(Latitude, Latitude, &'static str)> {
        EXCLUSIVE
            .iter()
            .find(|(one, two, _)| self.has(*one) && self.has(*two))
            .copied()
    }
}

/// As `--latitude` takes it: `variation=7,any-revision,one-vector`, or `none`.
impl fmt::Display for Latitudes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        if self.variation != 0 {
            write!(f, "variation={}", self.variation)?;
            separator = ",";
        }
        for latitude in self.iter() {
            write!(f, "{separator}{latitude}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromIterator<Latitude> for Latitudes {
    fn from_iter<I: IntoIterator<Item = Latitude>>(latitudes: I) -> Self {
        latitudes
            .into_iter()
            .fold(Latitudes::default(), Latitudes::with)
    }
}

/// Numbers that look random and are the same each time: SplitMix64, which is public, small, and as
/// good as this needs. A library's generator may change with its version, and seeds in bug reports
/// would lose their meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// Starts from a seed; `stream` tells apart what is drawn from the same seed.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Draw(seed ^ stream.rotate_left(32))
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product: all but even, which is good enough here.
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }

    /// True once in so many times.
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, which are some.
    pub const fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Puts `items` into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_a_choice_and_a_choice_makes_words() {
        let choice = |text: &str| {
            let words: Result<Vec<Word>, _> = text.split(',').map(str::parse).collect();
            words.and_then(|words| Latitudes::from_words(&words))
        };
        assert_eq!(choice("none"), Ok(Latitudes::default()));
        let some = choice("any-revision,variation=7").unwrap();
        assert_eq!(some.to_string(), "variation=7,any-revision");
        assert_eq!(choice(&some.to_string()), Ok(some));
        let drawn = Latitudes::draw(5);
        assert_eq!(choice("seed=5"), Ok(drawn));
        assert_eq!(choice(&drawn.to_string()), Ok(drawn));
        for wrong in [
            "none,any-revision",
            "one-vector,most-vectors",
            "seed=x",
            "no-such",
        ] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_latitude_is_drawn_by_one_of_forty_seeds() {
        let drawn = (1..=40).map(Latitudes::draw);
        let set = drawn.fold(0, |set, latitudes| {
            assert_eq!(latitudes.contradiction(), None);
            set | latitudes.set
        });
        for latitude in Latitude::ALL {
            assert!(set & 1 << *latitude as u32 != 0, "{latitude}");
        }
    }

    #[test]
    fn what_is_drawn_for_a_latitude_does_not_depend_on_the_others() {
        let one = Latitudes::default().with(Latitude::OneVector).varied(9);
        let two = one.with(Latitude::AnyRevision);
        assert_eq!(
            one.numbers(Latitude::OneVector, 3),
            two.numbers(Latitude::OneVector, 3)
        );
        assert_ne!(
            one.numbers(Latitude::OneVector, 3),
            one.numbers(Latitude::OneVector, 4)
        );
    }
}
