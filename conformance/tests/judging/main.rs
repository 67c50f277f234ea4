//! Checks that each violation is found under its name, and nothing else.

#![allow(unreachable_pub, reason = "what the test's modules share")]

mod block;
mod clauses;
mod config;
mod console;
mod coping;
mod coping_vectors;
mod device_types;
mod entropy;
mod features;
mod initialization;
mod latitude;
mod net;
mod net_card;
mod net_checksum;
mod net_control;
mod net_pairs;
mod net_receive;
mod notify;
mod outside_reset;
mod parts;
mod play;
mod readings;
mod registers;
mod ring;
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
    ring::CASES,
    net::CASES,
    net_checksum::CASES,
    net_control::CASES,
    net_pairs::CASES,
    net_card::CASES,
    block::CASES,
    console::CASES,
    entropy::CASES,
];
