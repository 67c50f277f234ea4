//! The bodies of the fuzz targets, with bytes of their own: from the seeds in `fuzz/seeds`, and at random.
//!
//! PROPTEST_CASES in the environment says how many random inputs there are to be for each.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stickler_guest_tests::hostile::{Body, TARGETS};

/// Unless something else is asked for.
const CASES: u32 = 150;

/// Runs a body with the seeds of its target, whole and cut, and with random bytes.
fn run(name: &str) {
    let (_, body): &(&str, Body) = TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .expect("a target");
    body(&[]);
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(name);
    for seed in fs::read_dir(seeds).into_iter().flatten() {
        let bytes = fs::read(seed.expect("a seed").path()).expect("a seed");
        body(&bytes);
        body(&bytes[..bytes.len() / 2]);
    }
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    // The bytes are shown as they are: libFuzzer makes them smaller, if somebody wants that.
    config.failure_persistence = None;
    config.max_shrink_iters = 0;
    TestRunner::new(config)
        .run(&vec(any::<u8>(), 0..3000), |bytes| {
            body(&bytes);
            Ok(())
        })
        .expect("nothing goes wrong");
}

#[test]
fn a_device_survives_any_moves() {
    run("moves");
}

#[test]
fn a_live_device_survives_any_moves() {
    run("rings");
}

#[test]
fn a_live_device_survives_another_processor() {
    run("scribbled");
}

#[test]
fn the_network_survives_any_packets() {
    run("frames");
}

#[test]
fn any_bytes_may_be_given_for_a_kernel() {
    run("kernels");
}

#[test]
fn any_bytes_may_be_given_for_a_module() {
    run("modules");
}

#[test]
fn any_bytes_may_be_given_for_a_report() {
    run("reports");
}

#[test]
fn a_client_may_send_anything() {
    run("vfio_user");
}

#[test]
fn every_target_is_run_here() {
    let source = include_str!("hostile.rs");
    for (name, _) in TARGETS {
        assert!(source.contains(&format!("run(\"{name}\")")), "{name}");
    }
}
