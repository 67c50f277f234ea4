//! Whether each violation is found under its name, and whether nothing else is.

#![allow(unreachable_pub, reason = "what the test's modules share")]

mod clauses;
mod config;
mod features;
mod notify;
mod play;
mod registers;
mod setup;
mod status;
mod table;
mod vectors;

/// The cases, chapter by chapter.
const CASES: &[&[table::Case]] = &[
    status::CASES,
    features::CASES,
    config::CASES,
    registers::CASES,
    setup::CASES,
    vectors::CASES,
    notify::CASES,
];
