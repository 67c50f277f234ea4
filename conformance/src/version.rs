//! The versions of the specification, and the same normative statements in each of them.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// A version of the virtio specification.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Version {
    /// Virtio 1.0, committee specification 04 (2016).
    #[default]
    #[serde(rename = "1.0")]
    V1_0,
    /// Virtio 1.1, committee specification 01 (2019).
    #[serde(rename = "1.1")]
    V1_1,
    /// Virtio 1.2, committee specification 01 (2022).
    #[serde(rename = "1.2")]
    V1_2,
    /// Virtio 1.3, working draft 01 (2023).
    #[serde(rename = "1.3")]
    V1_3,
    /// Virtio 1.4, committee specification 01 (2026).
    #[serde(rename = "1.4")]
    V1_4,
}

impl Version {
    /// All versions, in the order of their publication.
    pub const ALL: [Version; 5] = [
        Version::V1_0,
        Version::V1_1,
        Version::V1_2,
        Version::V1_3,
        Version::V1_4,
    ];

    /// The versions by which a driver can be judged: those whose requirements are all in the catalogue.
    pub const JUDGED: &[Version] = &[Version::V1_0];

    /// As written in text and reports: `1.0`.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V1_0 => "1.0",
            Version::V1_1 => "1.1",
            Version::V1_2 => "1.2",
            Version::V1_3 => "1.3",
            Version::V1_4 => "1.4",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Version::ALL
            .into_iter()
            .find(|version| version.name() == name)
            .ok_or_else(|| format!("there is no version '{name}' of virtio"))
    }
}

/// One line for each statement: its row id in each version (`-` if that version has no such statement),
/// target, role and level.
const STATEMENTS: &str = include_str!("../spec/statements.tsv");

/// A statement's row ids, by version.
type RowIds = [Option<&'static str>; Version::ALL.len()];

static ROWS: LazyLock<Vec<RowIds>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let mut cells = line.split('\t').map(|id| Some(id).filter(|id| *id != "-"));
        std::array::from_fn(|_| cells.next().flatten())
    };
    STATEMENTS.lines().skip(1).map(row).collect()
});

static PLACES: LazyLock<HashMap<(Version, &'static str), usize>> = LazyLock::new(|| {
    let ids = |(place, row): (usize, &RowIds)| {
        let ids = Version::ALL.into_iter().zip(*row);
        ids.filter_map(move |(version, id)| Some(((version, id?), place)))
            .collect::<Vec<_>>()
    };
    ROWS.iter().enumerate().flat_map(ids).collect()
});

/// The row id in version `to` of the statement whose row id in version `from` is `clause`. `None` if
/// `to` does not have the statement, or `clause` is no row id: descriptive text is not followed.
pub fn same_statement(clause: &'static str, from: Version, to: Version) -> Option<&'static str> {
    if from == to {
        return Some(clause);
    }
    let place = *PLACES.get(&(from, clause))?;
    ROWS[place][to as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for version in Version::ALL {
            assert_eq!(version.name().parse(), Ok(version));
            let json = serde_json::to_string(&version).unwrap();
            assert_eq!(json, format!("\"{version}\""));
        }
        assert!("0.9".parse::<Version>().is_err());
        assert!(Version::ALL.is_sorted());
    }

    #[test]
    fn a_statement_is_followed_from_version_to_version() {
        let follow = |clause, to| same_statement(clause, Version::V1_0, to);
        assert_eq!(follow("2.1.1-2", Version::V1_4), Some("2.1.1-2"));
        assert_eq!(follow("2.3.1-2", Version::V1_1), Some("2.4.1-2"));
        assert_eq!(follow("2.3.1-2", Version::V1_0), Some("2.3.1-2"));
        // Gone after 1.1.
        assert_eq!(follow("2.1.2-1", Version::V1_2), None);
        // Descriptive text.
        assert_eq!(follow("2.4", Version::V1_4), None);
        let back = same_statement("2.4.1-2", Version::V1_1, Version::V1_0);
        assert_eq!(back, Some("2.3.1-2"));
    }
}
