//! All latitudes, in one table per device type and part of the specification. Citations are of virtio
//! 1.0.
//!
//! Two latitudes are left out on purpose:
//!
//! * A virtqueue that is missing between others of its device type. §4.1.4.3 provides for unavailable
//!   virtqueues; but the device types define which virtqueues exist: those of all max_virtqueue_pairs
//!   pairs (§5.1.2, §5.1.5) and of all max_nr_ports ports (§5.3.2, §5.3.5). A device that counts a pair
//!   or a port and has no virtqueues for it contradicts itself, and a driver that gives up on it does
//!   nothing wrong. With `more-queues`, some virtqueues that no device type has are missing.
//! * A len below what was written where a request succeeds. §2.4.8.2 permits it, but a driver may rely
//!   on nothing beyond len (§2.4.8.3), neither data nor status: the device would be of no use. For
//!   requests that fail there is `unknown-len`.

use super::LatitudeEntry;
use crate::device::DeviceKind;

pub(crate) mod block;
pub(crate) mod console;
pub(crate) mod device;
pub(crate) mod entropy;
pub(crate) mod net;
pub(crate) mod transport;
pub(crate) mod virtqueue;

macro_rules! latitude_tables {
    ($($(#[doc = $doc:literal])+ $table:ident = $module:ident, $name:literal, $kind:expr;)+) => {
        /// The part of the specification or the device type that a latitude belongs to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LatitudeTable {
            $($(#[doc = $doc])+ $table,)+
        }

        /// The number of entries of each table.
        const LENS: [usize; LatitudeTable::ALL.len()] = [$($module::ENTRIES.len()),+];

        impl LatitudeTable {
            /// All of them, in the order of the specification.
            pub const ALL: &[LatitudeTable] = &[$(LatitudeTable::$table),+];

            /// The heading it is listed under.
            pub const fn name(self) -> &'static str {
                match self {
                    $(LatitudeTable::$table => $name,)+
                }
            }

            /// Its entries.
            pub const fn entries(self) -> &'static [LatitudeEntry] {
                match self {
                    $(LatitudeTable::$table => $module::ENTRIES,)+
                }
            }

            /// The device type of its latitudes; `None` if they apply to all.
            pub const fn kind(self) -> Option<DeviceKind> {
                match self {
                    $(LatitudeTable::$table => $kind,)+
                }
            }
        }
    };
}

latitude_tables! {
    /// The PCI function and the virtio-pci transport (§4.1).
    Transport = transport, "transport", None;
    /// Feature bits, status and configuration (§2.1 to §2.3).
    Device = device, "device", None;
    /// Virtqueues and interrupts (§2.4).
    Virtqueue = virtqueue, "virtqueue", None;
    /// The network device (§5.1).
    Net = net, "net", Some(DeviceKind::Net);
    /// The block device (§5.2).
    Block = block, "block", Some(DeviceKind::Block);
    /// The console device (§5.3).
    Console = console, "console", Some(DeviceKind::Console);
    /// The entropy device (§5.4).
    Entropy = entropy, "entropy", Some(DeviceKind::Entropy);
}

impl LatitudeTable {
    /// The index of its first entry among all latitudes.
    pub(super) const fn first_index(self) -> usize {
        let (mut first, mut table) = (0, 0);
        while table < self as usize {
            first += LENS[table];
            table += 1;
        }
        first
    }

    /// The number of latitudes in all tables.
    pub(super) const fn end() -> usize {
        let (mut end, mut table) = (0, 0);
        while table < LENS.len() {
            end += LENS[table];
            table += 1;
        }
        end
    }

    /// Whether its latitudes are visible in the configuration, so that they may be the reason why a
    /// driver gives up before the device is live.
    pub(crate) const fn shows_in_configuration(self) -> bool {
        matches!(self, LatitudeTable::Block)
    }
}

/// Declares the latitudes of a table and, as a chapter, the requirements that they provoke.
macro_rules! latitudes {
    (
        table $table:ident, chapter $chapter:ident;
        $(
            $id:ident = $name:literal [$($clause:literal),+ $(,)?] {
                does: $does:literal,
                fails: $fails:literal,
                $(excludes: [$($other:ident: $why:literal),+ $(,)?],)?
                $(may_end_use: $may_end_use:literal,)?
                $(choices: $choices:expr,)?
                shows: $shows:ident,
                $(unless: [$($unless:path),+ $(,)?],)?
                provokes: [$(
                    $req:ident = $requirement:literal, $level:ident [$($by:literal),+ $(,)?],
                        $text:literal;
                )*]
            }
        )+
    ) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Entry { $($id,)+ }

        impl $crate::latitude::Latitude {
            $(
                #[doc = concat!("`", $name, "`: ", $does, ".")]
                pub const $id: Self = Self::new(
                    $crate::latitude::LatitudeTable::$table,
                    Entry::$id as u8,
                );
            )+
        }

        $crate::requirement::requirements! {
            chapter $chapter;
            $($(
                $req = $requirement, Driver $level [$($by),+], Provoked(Latitude::$id),
                    $text;
            )*)+
        }

        /// No advice is specific to these.
        pub(crate) static ADVICE: &[$crate::advice::Advice] = &[];

        /// This table's latitudes, in the order of their rows.
        pub(crate) static ENTRIES: &[$crate::latitude::LatitudeEntry] = &[
            $($crate::latitude::LatitudeEntry {
                name: $name,
                clauses: &[$($clause),+],
                does: $does,
                fails: $fails,
                excludes: &[$($(($crate::latitude::Latitude::$other, $why)),+)?],
                may_end_use: false $(|| $may_end_use)?,
                choices: {
                    #[allow(unused_imports)]
                    use $crate::latitude::LatitudeChoices::{Feature, Of};
                    const ALL: &[$crate::latitude::LatitudeChoices] =
                        &[$crate::latitude::LatitudeChoices::Unnamed $(, $choices)?];
                    ALL[ALL.len() - 1]
                },
                shows: $crate::latitude::Shows::$shows,
                provokes: &[$($req),*],
                unless: &[$($($unless),+)?],
            },)+
        ];
    };
}
use latitudes;
