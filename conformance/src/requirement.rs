//! A requirement: one row of the catalogue.

use serde::{Deserialize, Serialize};

use crate::latitude::Latitude;
use crate::rules::ChapterId;
use crate::version::{Version, same_statement};

/// The side to which a requirement applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The driver, which is judged.
    Driver,
    /// The device, which is built.
    Device,
}

impl Role {
    /// The role as reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Driver => "driver",
            Role::Device => "device",
        }
    }
}

/// The level of a requirement (the key words are those of RFC 2119).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// An absolute demand.
    #[serde(rename = "MUST")]
    Must,
    /// An absolute prohibition.
    #[serde(rename = "MUST NOT")]
    MustNot,
    /// A recommendation.
    #[serde(rename = "SHOULD")]
    Should,
    /// A recommendation not to do something.
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    /// A permission: its conforming use is never a violation.
    #[serde(rename = "MAY")]
    May,
}

impl Level {
    /// The level as the specification and reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
            Level::May => "MAY",
        }
    }

    /// Whether a driver that violates it does not conform (MUST, MUST NOT).
    pub const fn is_absolute(self) -> bool {
        matches!(self, Level::Must | Level::MustNot)
    }
}

/// How stickler finds out whether the requirement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// A rule decides from events alone.
    Asserted,
    /// The device first does something unusual that the specification allows: this latitude.
    Provoked(Latitude),
    /// A requirement on devices, which stickler's devices satisfy.
    Built {
        /// stickler's choice, if the specification leaves one.
        choice: Option<&'static str>,
    },
    /// No device can observe it, for this reason.
    Unobservable(&'static str),
    /// It is no requirement of the specification: somebody proposes it, in this place. What drivers do is
    /// counted for each of its readings, and judged only if asked for.
    Proposed(&'static str),
}

impl How {
    /// One word for lists.
    pub const fn name(self) -> &'static str {
        match self {
            How::Asserted => "asserted",
            How::Provoked(_) => "provoked",
            How::Built { .. } => "built",
            How::Unobservable(_) => "unobservable",
            How::Proposed(_) => "proposed",
        }
    }
}

/// One of several ways to read a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Stable name, unique within the requirement: `separate`.
    pub name: &'static str,
    /// What the requirement demands by this reading.
    pub text: &'static str,
}

/// The reading by which a driver is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// The first: no driver is accused because of an ambiguity.
    #[default]
    Lenient,
    /// The last: the strictest demand that the text allows.
    Strict,
}

impl Strictness {
    /// All of them.
    pub const ALL: [Strictness; 2] = [Strictness::Lenient, Strictness::Strict];

    /// As reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Strictness::Lenient => "lenient",
            Strictness::Strict => "strict",
        }
    }

    /// The index of the reading that it selects, of `readings` readings.
    pub const fn pick(self, readings: usize) -> usize {
        match self {
            Strictness::Lenient => 0,
            Strictness::Strict => readings.saturating_sub(1),
        }
    }
}

/// No requirement has more readings than this.
pub const MAX_READINGS: usize = 3;

/// A requirement's level and clauses from one version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The first version that says so.
    pub since: Version,
    /// The requirement's level.
    pub level: Level,
    /// The clauses of that version. A row id is a section and the number of the normative statement
    /// in it (`2.1.1-2`); a bare section (`2.4.6`) cites descriptive text.
    pub clauses: &'static [&'static str],
}

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// Stable name, from general to special: `status.no-clear`. It is the same in every version.
    pub name: &'static str,
    /// The side to which it applies.
    pub role: Role,
    /// Its editions, by rising version; at least one.
    pub editions: &'static [Edition],
    /// The first version that does not have the requirement any more.
    pub until: Option<Version>,
    /// How stickler finds out whether it holds.
    pub how: How,
    /// The requirement in stickler's words.
    pub text: &'static str,
    /// The ways to read it, from the most lenient to the strictest: none if the text is unambiguous,
    /// otherwise from two to [`MAX_READINGS`].
    pub readings: &'static [Reading],
}

impl Requirement {
    /// The edition of `version`; `None` if `version` does not have the requirement.
    pub fn edition(&self, version: Version) -> Option<&'static Edition> {
        if self.until.is_some_and(|until| version >= until) {
            return None;
        }
        let up_to = |edition: &&Edition| edition.since <= version;
        self.editions.iter().rfind(up_to)
    }

    /// Whether `version` has the requirement.
    pub fn is_in(&self, version: Version) -> bool {
        self.edition(version).is_some()
    }

    /// Its level in `version`; MAY if `version` does not have it.
    pub fn level(&self, version: Version) -> Level {
        self.edition(version)
            .map_or(Level::May, |edition| edition.level)
    }

    /// Its clauses in `version`: those of the edition, followed to `version` if the statement is the
    /// same. Clauses that cannot be followed are left out.
    pub fn clauses(&self, version: Version) -> Vec<&'static str> {
        let Some(edition) = self.edition(version) else {
            return Vec::new();
        };
        let followed = |clause: &&'static str| same_statement(clause, edition.since, version);
        edition.clauses.iter().filter_map(followed).collect()
    }
}

/// Identifies a requirement: its chapter and its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Req {
    chapter: ChapterId,
    row: u8,
}

impl Req {
    pub(crate) const fn new(chapter: ChapterId, row: u8) -> Self {
        Req { chapter, row }
    }

    /// The chapter in which it is declared.
    pub const fn chapter(self) -> ChapterId {
        self.chapter
    }

    /// The place in the [catalogue](crate::catalogue), from 0.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.chapter.first_index() + self.row as usize
    }

    /// The row itself.
    pub fn requirement(self) -> &'static Requirement {
        &self.chapter.requirements()[usize::from(self.row)]
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
/// Each entry becomes a constant of type [`Req`]; the chapter becomes `REQUIREMENTS`, a slice of rows.
/// The clauses are those of virtio 1.0 unless `since V1_2` comes before them. `from V1_3 Should
/// ["…"]` gives level and clauses of a later version; `until V1_4` names the first version without the
/// requirement. A requirement that no rule judges is an unused constant, for which the compiler warns.
/// Requirements that no device can observe follow the others, without a constant and with the reason. If
/// the text can be read in several ways, the entry ends with `readings ["lenient": "…", "strict": "…"]`,
/// and the rule reports the verdict of each reading by
/// [`check_by`](crate::judge::Verdicts::check_by). An entry that ends with `obligation READINGS` has the readings of
/// an [obligation](crate::obligation).
macro_rules! requirements {
    (
        chapter $chapter:ident;
        $(
            $id:ident = $name:literal, $role:ident $level:ident
                $(since $since:ident)? [$($clause:literal),+ $(,)?]
                $(from $from:ident $from_level:ident [$($from_clause:literal),+])*
                $(until $until:ident)?, $how:expr,
                $text:literal
                $(, readings [$($reading:literal: $demand:literal),+ $(,)?])?
                $(, obligation $obligation:ident)?;
        )+
        $(@unobservable {$(
            $hidden:literal, $hidden_role:ident $hidden_level:ident
                [$($hidden_clause:literal),+ $(,)?],
                $why:literal,
                $hidden_text:literal;
        )+})?
    ) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Row { $($id,)+ }
        /// The chapter of these requirements.
        pub(crate) const CHAPTER: $crate::rules::ChapterId = $crate::rules::ChapterId::$chapter;
        $(
            #[doc = concat!("`", $name, "`: ", $text)]
            pub(crate) const $id: $crate::requirement::Req =
                $crate::requirement::Req::new(CHAPTER, Row::$id as u8);
        )+
        /// This chapter's requirements, in the order of their indices.
        pub(crate) static REQUIREMENTS: &[$crate::requirement::Requirement] = {
            #[allow(unused_imports)]
            use $crate::requirement::{Edition, How::{Asserted, Proposed, Provoked, Unobservable}, Level};
            #[allow(unused_imports)]
            use $crate::{latitude::Latitude, version::Version};
            &[
                $($crate::requirement::Requirement {
                    name: $name,
                    role: $crate::requirement::Role::$role,
                    editions: &[
                        Edition {
                            since: $crate::requirement::requirements!(@since $($since)?),
                            level: Level::$level,
                            clauses: &[$($clause),+],
                        },
                        $(Edition {
                            since: Version::$from,
                            level: Level::$from_level,
                            clauses: &[$($from_clause),+],
                        },)*
                    ],
                    until: $crate::requirement::requirements!(@until $($until)?),
                    how: $how,
                    text: $text,
                    readings: $crate::requirement::requirements!(
                        @readings [$($($reading: $demand),+)?] $($obligation)?
                    ),
                },)+
                $($($crate::requirement::Requirement {
                    name: $hidden,
                    role: $crate::requirement::Role::$hidden_role,
                    editions: &[Edition {
                        since: Version::V1_0,
                        level: Level::$hidden_level,
                        clauses: &[$($hidden_clause),+],
                    }],
                    until: None,
                    how: Unobservable($why),
                    text: $hidden_text,
                    readings: &[],
                },)+)?
            ]
        };
    };
    (@since) => { $crate::version::Version::V1_0 };
    (@since $version:ident) => { $crate::version::Version::$version };
    (@readings [$($reading:literal: $demand:literal),*]) => {
        &[$($crate::requirement::Reading { name: $reading, text: $demand }),*]
    };
    (@readings [] $readings:ident) => { $crate::obligation::$readings };
    (@until) => { None };
    (@until $version:ident) => { Some($crate::version::Version::$version) };
}
pub(crate) use requirements;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_requirement_demands_depends_on_the_version() {
        let requirement = Requirement {
            name: "a.b",
            role: Role::Driver,
            editions: &[
                Edition {
                    since: Version::V1_1,
                    level: Level::Should,
                    clauses: &["2.4.1-2", "2.4"],
                },
                Edition {
                    since: Version::V1_3,
                    level: Level::Must,
                    clauses: &["2.5.1-3"],
                },
            ],
            until: Some(Version::V1_4),
            how: How::Asserted,
            text: "",
            readings: &[],
        };
        let at = |version| (requirement.level(version), requirement.clauses(version));
        assert!(!requirement.is_in(Version::V1_0));
        assert_eq!(at(Version::V1_1), (Level::Should, vec!["2.4.1-2", "2.4"]));
        // The statement has another number there; where the descriptive text is, is not known.
        assert_eq!(at(Version::V1_2), (Level::Should, vec!["2.5.1-2"]));
        assert_eq!(at(Version::V1_3), (Level::Must, vec!["2.5.1-3"]));
        assert!(!requirement.is_in(Version::V1_4));
        assert_eq!(at(Version::V1_4), (Level::May, vec![]));
    }
}
