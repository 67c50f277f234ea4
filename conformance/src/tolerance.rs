//! Figures that the specification does not have.
//!
//! Where a rule cannot know whether a driver is slow or does not do something, or whether what it sees is the
//! driver's doing, it tolerates a number of times or a time. Each such figure is a [`Tolerance`], and a
//! reading: the lenient one has it, and the strict one is without. `docs/readings.md` explains each.

/// A figure of the lenient reading of some requirements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// What is tolerated.
    pub figure: u32,
    /// The names of the readings that have it: the first ones of their requirements.
    pub readings: &'static [&'static str],
}

/// All of them.
pub const ALL: &[Tolerance] = &[
    crate::obligation::PATIENCE,
    crate::rules::notify::UNDER_WAY,
    crate::rules::net::card::OWN,
    crate::rules::net::receive::IN_A_ROW,
];
