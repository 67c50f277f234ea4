//! Latitudes: behaviour that the specification leaves to the device, and about which drivers often make
//! assumptions. Each provoked requirement names the latitude that provokes it.
//!
//! * [`table`]: all latitudes; each has one entry.
//! * [`set`]: the latitudes that a device uses.
//! * [`mod@seed`]: a set that is drawn from a number.
//! * [`word`]: a set as the user selects it.
//! * [`draw`]: pseudo-random numbers for the details of a latitude.

mod cover;
mod draw;
mod seed;
mod set;
mod table;
mod word;

use std::fmt;
use std::str::FromStr;

use crate::device::DeviceKind;
use crate::features::NamedFeature;
use crate::nearest;
use crate::requirement::Req;

pub use cover::{SeedProperties, covering_seeds};
pub use draw::Draw;
pub use set::Latitudes;
pub use table::LatitudeTable;
pub(crate) use table::{block, console, device, entropy, net, transport, virtqueue};
pub use word::{Word, seed};

/// Behaviour that the specification leaves to the device: its table and its row there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Latitude {
    table: LatitudeTable,
    row: u8,
}

/// The properties of a latitude.
#[derive(Clone, Copy, Debug)]
pub struct LatitudeEntry {
    /// Its name on the command line and in the catalogue.
    pub name: &'static str,
    /// The clauses of virtio 1.0 that allow it: row ids, or sections if their descriptive text allows it.
    /// Those that begin with `PCI` are of PCI Local Bus 3.0.
    pub clauses: &'static [&'static str],
    /// What the device does.
    pub does: &'static str,
    /// How a driver that does not cope fails.
    pub fails: &'static str,
    /// The latitudes that a device cannot use together with this one, and why. A pair is listed at one
    /// of the two.
    pub(crate) excludes: &'static [(Latitude, &'static str)],
    /// Whether a conforming driver may respond by giving up on the device.
    pub may_end_use: bool,
    /// What the latitude is drawn from, where users may name it instead: `tiny-queues=4`.
    pub choices: LatitudeChoices,
    /// When a driver has shown that it copes.
    pub shows: Shows,
    /// The requirements that it provokes and that the table's rule judges as [`shows`](Self::shows)
    /// says. A requirement with a rule of its own is declared with that rule, as
    /// [`Provoked`](crate::requirement::How::Provoked) by this latitude.
    pub provokes: &'static [Req],
    /// The requirements that no driver violates which copes: where one of them is violated, those that
    /// are provoked do not count as held.
    pub(crate) unless: &'static [Req],
}

/// What a latitude is drawn from that users may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatitudeChoices {
    /// Nothing that has a name.
    Unnamed,
    /// One of these, which are numbers except where a word is plainer.
    Of(&'static [&'static str]),
    /// A feature, by its [name](crate::features::NamedFeature).
    Feature,
}

impl LatitudeChoices {
    /// Their names, in the order of their numbers.
    pub fn names(self) -> Vec<String> {
        match self {
            LatitudeChoices::Unnamed => Vec::new(),
            LatitudeChoices::Of(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            LatitudeChoices::Feature => NamedFeature::all().map(|f| f.to_string()).collect(),
        }
    }
}

/// When a driver has shown that it copes with a latitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// When the driver sets DRIVER_OK.
    Live,
    /// When the driver has set DRIVER_OK and notified virtqueues of the live device several times.
    Works,
    /// When the driver notifies a virtqueue, of new buffers, at an address that it does not have on a
    /// usual device.
    Notified,
    /// When the driver has notified virtqueues of the live device several times.
    Worked,
    /// When the device has used the latitude, the driver has learned of it and goes on.
    Used,
    /// When the driver does what only a driver does that knows of the latitude.
    Answered,
    /// A rule of its own decides.
    ByRule,
}

impl Latitude {
    pub(crate) const fn new(table: LatitudeTable, row: u8) -> Self {
        Latitude { table, row }
    }

    /// All of them, table by table.
    pub fn all() -> impl Iterator<Item = Latitude> + Clone {
        LatitudeTable::ALL.iter().flat_map(|table| {
            let rows = 0..table.entries().len() as u8;
            rows.map(|row| Latitude::new(*table, row))
        })
    }

    /// The number of latitudes.
    pub const COUNT: usize = LatitudeTable::end();

    /// The index among all latitudes, from 0.
    pub const fn index(self) -> usize {
        self.table.first_index() + self.row as usize
    }

    /// Its properties.
    pub fn entry(self) -> &'static LatitudeEntry {
        &self.table.entries()[usize::from(self.row)]
    }

    /// Its name on the command line and in the catalogue.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The table that has it.
    pub const fn table(self) -> LatitudeTable {
        self.table
    }

    /// The device type to which it applies; `None` if it applies to all.
    pub const fn kind(self) -> Option<DeviceKind> {
        self.table.kind()
    }

    /// Whether a device of type `kind` can use it.
    pub fn applies_to(self, kind: DeviceKind) -> bool {
        self.kind().is_none_or(|of| of == kind)
    }

    /// Why a device cannot use both; `None` if it can.
    pub fn excludes(self, other: Latitude) -> Option<&'static str> {
        let stated = |by: Latitude, of: Latitude| {
            let pairs = by.entry().excludes.iter();
            pairs.copied().find(|(excluded, _)| *excluded == of)
        };
        stated(self, other)
            .or_else(|| stated(other, self))
            .map(|(_, why)| why)
    }

    /// Whether a conforming driver may respond by giving up on the device.
    pub fn may_end_use(self) -> bool {
        self.entry().may_end_use
    }
}

impl fmt::Debug for Latitude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
        Latitude::all()
            .find(|latitude| latitude.name() == name)
            .ok_or_else(
                || match nearest(name, Latitude::all().map(Latitude::name)) {
                    Some(near) => format!("there is no latitude '{name}'; did you mean '{near}'?"),
                    None => {
                        format!(
                            "there is no latitude '{name}'; 'stickler latitudes' lists all of them"
                        )
                    }
                },
            )
    }
}

/// A number that depends only on the name, and not on the index, which changes when latitudes are added.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_indices_agree() {
        let mut names = HashSet::new();
        for (index, latitude) in Latitude::all().enumerate() {
            assert_eq!(latitude.index(), index, "{latitude}");
            assert!(names.insert(latitude.name()), "{latitude} is listed twice");
            assert_eq!(latitude.name().parse(), Ok(latitude));
        }
        assert_eq!(names.len(), Latitude::COUNT);
    }

    #[test]
    fn a_pair_that_conflicts_stands_once() {
        for one in Latitude::all() {
            assert_eq!(one.excludes(one), None, "{one}");
            for (other, _) in one.entry().excludes {
                let back = other.entry().excludes.iter();
                assert!(
                    back.map(|(of, _)| of).all(|of| *of != one),
                    "{one}, {other}"
                );
                assert_eq!(one.excludes(*other), other.excludes(one));
            }
        }
    }

    #[test]
    fn what_a_table_rule_judges_is_provoked_by_its_latitude() {
        use crate::requirement::How;
        for latitude in Latitude::all() {
            for requirement in latitude.entry().provokes {
                let how = requirement.requirement().how;
                assert_eq!(how, How::Provoked(latitude), "{requirement}");
            }
        }
    }
}
