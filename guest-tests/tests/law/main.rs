//! The law: whatever latitudes a device makes use of, it keeps all requirements on devices.
//!
//! A driver that does what drivers may do, in any order, examines real devices: the capabilities, each
//! register, rings, memory, interrupts, and what comes to the hosts behind the devices. Each chapter
//! says which rows it looks at and how ([`court::Seen`]); `unlawful` shows that it would see it.
//!
//! PROPTEST_CASES in the environment says how many combinations of latitudes there are to be.

mod block;
mod config;
mod console;
mod court;
mod entropy;
mod exam;
mod filter;
mod host;
mod interrupts;
mod lives;
mod net;
mod pci;
mod queues;
mod rings;
mod status;
mod unlawful;

use std::collections::BTreeMap;
use std::rc::Rc;

use court::{Court, LEVELS, Row, Seen};
use exam::{Exam, Life};
use host::Device;
use proptest::collection::vec;
use proptest::prelude::*;
use stickler_conformance::latitude::{Draw, Word};
use stickler_conformance::requirement::Level;
use stickler_conformance::{Latitude, Latitudes};
use stickler_guest_tests::in_process::Rig;

/// Unless something else is asked for.
const CASES: u32 = 64;

/// Every chapter's rows.
const CHAPTERS: &[&[Row]] = &[
    status::ROWS,
    config::ROWS,
    exam::ROWS,
    rings::ROWS,
    interrupts::ROWS,
    pci::ROWS,
    queues::ROWS,
    net::ROWS,
    filter::ROWS,
    block::ROWS,
    console::ROWS,
    entropy::ROWS,
];

/// Examines a device that makes use of `latitudes`, over these lives.
fn examine(device: Device, latitudes: Latitudes, lives: &[Life]) -> Rc<Court> {
    let court = Rc::new(Court::new(latitudes));
    let mut rig = Rig::new();
    rig.passes_time = true;
    rig.options.latitudes = latitudes;
    let host = device.add(&mut rig);
    let mut exam = Exam::begin(&rig, &host, &court, |_| None);
    for life in lives {
        exam.live(life);
    }
    status::reset(&mut exam);
    court
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_combination_of_latitudes_breaks_the_law(
        seed in any::<u64>(),
        device in prop::sample::select(Device::ALL.to_vec()),
        lives in vec(lives::any(), 1..4),
    ) {
        let latitudes = Latitudes::draw(seed);
        let court = examine(device, latitudes, &lives);
        prop_assert_eq!(court.breaches(), vec![], "seed={} ({})", seed, latitudes);
    }
}

/// A combination that is drawn is one that there can be.
#[test]
fn whatever_is_drawn_can_be_made() {
    let mut draw = Draw::new(1, 2);
    for _ in 0..cases(2000) {
        let mut rig = Rig::new();
        rig.passes_time = true;
        rig.options.latitudes = Latitudes::draw(draw.bits());
        let device = draw.of(&Device::ALL);
        device.add(&mut rig);
    }
}

/// Configuration space has room for the capabilities of any latitudes that go together: all sets are made.
#[test]
fn whatever_takes_room_in_configuration_space_can_be_made() {
    let latitudes = [
        Latitude::RESERVED_CFG_TYPE,
        Latitude::RESERVED_BAR,
        Latitude::RESERVED_LAST,
        Latitude::LONG_CAPABILITIES,
        Latitude::SECOND_INSTANCES,
        Latitude::IO_INSTANCES,
        Latitude::FOREIGN_CAPABILITIES,
        Latitude::SCATTERED_CAPABILITIES,
        Latitude::SEPARATE_BARS,
    ];
    let mut made = 0;
    for set in 0_u32..1 << latitudes.len() {
        let chosen = (0..latitudes.len()).filter(|place| set >> place & 1 == 1);
        let words: Vec<Word> = chosen.map(|place| Word::One(latitudes[place])).collect();
        let Ok(latitudes) = Latitudes::from_words(&words) else {
            continue;
        };
        made += 1;
        for device in Device::ALL {
            let mut rig = Rig::new();
            rig.options.latitudes = latitudes;
            device.add(&mut rig);
        }
    }
    assert!(made > 100, "{made} sets");
}

/// How many cases the environment asks for, else so many.
fn cases(otherwise: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// The same lives for every device of a kind, many of them.
fn drawn(seed: u64) -> Vec<Life> {
    (0..4).map(|n| lives::drawn(4 * seed + n)).collect()
}

#[test]
fn no_latitude_alone_breaks_the_law() {
    let mut breaches = Vec::new();
    for latitude in Latitude::all() {
        for (seed, device) in (0..).zip(Device::ALL) {
            let latitudes = Latitudes::default().with(latitude).varied(seed);
            let found = examine(device, latitudes, &drawn(seed)).breaches();
            breaches.extend(found.into_iter().map(|breach| (latitude, device, breach)));
        }
    }
    assert_eq!(breaches, vec![]);
}

/// All pairs where the environment says how many cases there are to be; else some of them.
#[test]
fn no_pair_of_latitudes_breaks_the_law() {
    let all = std::env::var_os("PROPTEST_CASES").is_some();
    let ones = Latitude::all().enumerate();
    let pairs =
        ones.flat_map(|(index, one)| Latitude::all().take(index).map(move |two| [one, two]));
    let mut breaches = Vec::new();
    for (seed, pair) in (0..).zip(pairs).step_by(if all { 1 } else { 29 }) {
        let latitudes: Latitudes = pair.into_iter().collect();
        if latitudes.conflict().is_none() {
            let device = Device::ALL[seed as usize % Device::ALL.len()];
            let found = examine(device, latitudes.varied(seed), &drawn(seed)).breaches();
            breaches.extend(found.into_iter().map(|breach| (pair, device, seed, breach)));
        }
    }
    assert_eq!(breaches, vec![]);
}

/// Each row that binds devices has its place in one chapter, and each that a driver can see is seen.
#[test]
fn every_row_is_looked_at() {
    let rows: Vec<&Row> = CHAPTERS.iter().copied().flatten().collect();
    let table: BTreeMap<&str, Seen> = rows.iter().map(|(row, seen)| (*row, *seen)).collect();
    assert_eq!(table.len(), rows.len(), "a row stands twice");
    let missing: Vec<_> = LEVELS
        .keys()
        .filter(|row| !table.contains_key(*row))
        .collect();
    assert_eq!(missing, [&""; 0]);
    // What stands in no catalogue is a section.
    let odd = |row: &&str| row.contains('-') && !LEVELS.contains_key(row);
    assert_eq!(
        table
            .keys()
            .copied()
            .filter(|row| odd(row))
            .collect::<Vec<_>>(),
        [""; 0]
    );

    let all = Court::default();
    for device in Device::ALL {
        for seed in 0..60 {
            let latitudes = match seed % 2 {
                0 => Latitudes::default(),
                _ => Latitudes::draw(seed),
            };
            let court = examine(device, latitudes, &drawn(seed));
            assert_eq!(court.breaches(), vec![], "{device:?} {seed} {latitudes}");
            all.join(&court);
        }
    }
    for (row, seen) in table {
        let held = all.held(row);
        match seen {
            Seen::By(how) => assert!(held > 0, "{row} is never seen: {how}"),
            Seen::Permits => assert_eq!(LEVELS[row], Level::May, "{row} binds"),
            Seen::Not(why) => assert!(held == 0 && !why.is_empty(), "{row} is seen"),
        }
    }
    for row in all.rows() {
        assert!(
            rows.iter().any(|(known, _)| *known == row),
            "{row} is in no chapter"
        );
    }
}
