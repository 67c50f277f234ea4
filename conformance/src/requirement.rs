//! A requirement: one row of the catalogue.

use serde::{Deserialize, Serialize};

/// Whom the specification addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Role {
    /// The driver, which is judged.
    Driver,
    /// The device, which is built.
    Device,
}

impl Role {
    /// The role as the report spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Driver => "driver",
            Role::Device => "device",
        }
    }
}

/// How strongly the specification demands it (its key words are those of RFC 2119).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// An absolute demand.
    Must,
    /// An absolute prohibition.
    #[serde(rename = "MUST NOT")]
    MustNot,
    /// A recommendation.
    Should,
    /// A recommendation against.
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    /// A permission: its conforming use is never a violation.
    May,
}

impl Level {
    /// The level as the specification and the report spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
            Level::May => "MAY",
        }
    }

    /// Whether breaking it makes a driver non-conforming outright (MUST, MUST NOT).
    pub const fn is_absolute(self) -> bool {
        matches!(self, Level::Must | Level::MustNot)
    }
}

/// How it is established whether the requirement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// A rule decides it from events alone.
    Asserted,
    /// The device first does something unusual that the specification allows; named is the latitude.
    Provoked(&'static str),
    /// A device requirement: we implement it; named is what shows it.
    Built(&'static Built),
    /// No device can see it, and this is why.
    Unobservable(&'static str),
}

/// Where a device requirement is kept. Files are named from the root of the source tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Built {
    /// The file with the code that keeps it, where a comment cites each of its clauses.
    pub code: &'static str,
    /// The file of the test that fails without it.
    pub test_file: &'static str,
    /// That test's function.
    pub test: &'static str,
    /// What was chosen where the specification leaves a choice.
    pub choice: Option<&'static str>,
}

impl How {
    /// One word for lists.
    pub const fn name(self) -> &'static str {
        match self {
            How::Asserted => "asserted",
            How::Provoked(_) => "provoked",
            How::Built(_) => "built",
            How::Unobservable(_) => "unobservable",
        }
    }
}

/// One way to read a requirement whose text leaves room for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Stable name, unique within the requirement: `separate`.
    pub name: &'static str,
    /// What the requirement demands when it is read so.
    pub text: &'static str,
}

/// By which of a requirement's readings a driver is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Strictness {
    /// By the first: no driver is accused by an ambiguity.
    #[default]
    Lenient,
    /// By the last: the most that the text can be taken to demand.
    Strict,
}

impl Strictness {
    /// As reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Strictness::Lenient => "lenient",
            Strictness::Strict => "strict",
        }
    }

    /// Which of so many readings it picks.
    pub const fn pick(self, readings: usize) -> usize {
        match self {
            Strictness::Lenient => 0,
            Strictness::Strict => readings.saturating_sub(1),
        }
    }
}

/// No requirement has more readings than this.
pub const MAX_READINGS: usize = 3;

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// Stable name, from general to special: `status.no-clear`.
    pub name: &'static str,
    /// Whom it addresses.
    pub role: Role,
    /// How strong it is.
    pub level: Level,
    /// Where virtio 1.0 (cs04) says so. A row id is the section and the how-manieth normative
    /// statement in it (`2.1.1-2`); a bare section (`2.4.6`) cites descriptive text.
    pub clauses: &'static [&'static str],
    /// How it is established.
    pub how: How,
    /// The requirement in our own words.
    pub text: &'static str,
    /// The ways to read it, from the most lenient to the strictest; none where the text leaves no
    /// doubt, else at least two and at most [`MAX_READINGS`].
    pub readings: &'static [Reading],
}

/// Identifies a requirement: its place in the [catalogue](crate::catalogue).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Req(pub(crate) u16);

impl Req {
    /// The place in the catalogue, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The row itself.
    pub fn requirement(self) -> &'static Requirement {
        crate::catalogue::get(self)
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        self.requirement().name
    }
}

impl std::fmt::Display for Req {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Declares the requirements of one chapter beside the rules that judge them.
///
/// Each entry becomes a constant of type [`Req`]; the chapter becomes `CHAPTER`, a slice of rows, and
/// `END`, the catalogue index behind its last row, from which the next chapter counts on
/// (`after super::previous::END`). Where the text can be read in several ways, the entry ends with
/// `readings ["lenient": "…", "strict": "…"]`, and the rule says how each came out by
/// [`check_by`](crate::judge::Verdicts::check_by).
#[macro_export]
macro_rules! requirements {
    (
        after $start:expr;
        $(
            $id:ident = $name:literal, $role:ident $level:ident [$($clause:literal),+ $(,)?], $how:expr,
                $text:literal
                $(, readings [$($reading:literal: $demand:literal),+ $(,)?])?;
        )+
    ) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Place { $($id,)+ Count }
        $(
            #[doc = concat!("`", $name, "`: ", $text)]
            pub const $id: $crate::requirement::Req =
                $crate::requirement::Req($start + Place::$id as u16);
        )+
        /// The catalogue index behind this chapter's last requirement.
        pub const END: u16 = $start + Place::Count as u16;
        /// This chapter's requirements, in the order of their indices.
        pub static CHAPTER: &[$crate::requirement::Requirement] = {
            #[allow(unused_imports)]
            use $crate::requirement::How::{Asserted, Provoked, Unobservable};
            &[
                $($crate::requirement::Requirement {
                    name: $name,
                    role: $crate::requirement::Role::$role,
                    level: $crate::requirement::Level::$level,
                    clauses: &[$($clause),+],
                    how: $how,
                    text: $text,
                    readings: &[$($($crate::requirement::Reading {
                        name: $reading,
                        text: $demand,
                    }),+)?],
                },)+
            ]
        };
    };
}
