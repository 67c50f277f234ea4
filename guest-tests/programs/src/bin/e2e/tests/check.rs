//! Many runs of one kernel.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::exercise::SUITE;
use crate::stickler::{Outcome, Run};
use crate::suite::{Setting, Test};

/// What the rogue guest violates.
const VIOLATED: &str = "status.no-clear";

/// The least number of requirements that hold with the built-in guest.
const LEAST_HELD: usize = 60;

/// The latitudes that Linux's drivers cope with, in two sets, without those that the exercise does not show.
const COPED_WITH: [&str; 2] = [
    "variation=1,transitional-id,any-revision,reserved-cfg-type,reserved-bar,long-capabilities,\
     second-instances,capability-order,scattered-capabilities,separate-bars,\
     notify-offsets,some-vectors,live-at-arrival,slow-reset,unknown-features,\
     unsettled-configuration,out-of-order,one-by-one,fickle-suppression,announce,split-packets,\
     failing-sectors,unknown-len,refused-id,ports-come-and-go,one-byte",
    "variation=2,any-subsystem,reserved-last,foreign-capabilities,one-bar,wide-bars,\
     one-notify-address,no-msix,more-queues,few-features,spurious-interrupts,bursts,\
     writes-beyond-len,unknown-flags,odd-hdr-len,early-packets,large-packets,checksum-states,\
     capacity-changes,few-segments,block-sizes,ports-open-and-close,size-changes",
];

pub(crate) fn all() -> Vec<Test> {
    let mut tests = runs_of_one_kernel();
    tests.extend(
        [("bookworm", "6.1"), ("trixie", "6.12")].map(|(suite, version)| {
            Test::new(format!("check-latitudes-{version}"), move |setting| {
                cope(setting, suite)
            })
        }),
    );
    tests
}

/// What Linux violates when a queue is full (finding 024). When that is, depends on how much time devices get beside
/// the guest.
const OF_A_FULL_QUEUE: [&str; 2] = ["notify.not-before-avail-event", "notify.not-when-flags-1"];

/// The suite's drivers cope with everything in [`COPED_WITH`], and all that those latitudes provoke has
/// held.
fn cope(setting: &Setting<'_>, suite: &str) -> Result<()> {
    let latitudes = COPED_WITH.map(|words| ["--latitude", words]).concat();
    let outcome = of_suite(setting, suite)
        .option("--modules", "", &modules(setting, suite), "")
        .with(latitudes)
        // Two guests side by side are what makes an emulated host crash.
        .with(["--jobs", "1"])
        .with(QUIET)
        .report_to(&setting.scratch.join("report"))
        .finish()?;
    setting.keep_log(&outcome.text())?;
    outcome.expect_code(0)?;
    outcome.expect_no_violations_but(&OF_A_FULL_QUEUE)?;
    let held = outcome.requirements("held");
    let untested: Vec<String> = provoked(setting)?
        .into_iter()
        .filter(|id| !held.contains(&id.as_str()))
        .collect();
    ensure!(untested.is_empty(), "not put to the test: {untested:?}");
    Ok(())
}

/// The requirements that the latitudes of [`COPED_WITH`] provoke.
fn provoked(setting: &Setting<'_>) -> Result<Vec<String>> {
    let output = Command::new(setting.stickler)
        .args(["latitudes", "--format", "json"])
        .output()
        .context("cannot run stickler")?;
    let latitudes: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let used = |name: &str| {
        COPED_WITH
            .iter()
            .any(|words| words.split(',').any(|word| word == name))
    };
    let provoked: Vec<String> = latitudes
        .iter()
        .filter(|latitude| latitude["name"].as_str().is_some_and(used))
        .filter_map(|latitude| latitude["provokes"].as_array())
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    ensure!(!provoked.is_empty(), "stickler lists no latitudes");
    Ok(provoked)
}

fn runs_of_one_kernel() -> Vec<Test> {
    vec![
        Test::new("check-shards", |setting| {
            let shards = ["1/2", "2/2"].map(|shard| {
                let report = setting.scratch.join(shard.replace('/', "-"));
                (shard, report)
            });
            for (shard, report) in &shards {
                let outcome = check(setting)
                    .option("--modules", "", &modules(setting, SUITE), "")
                    .with([
                        "--latitude",
                        "none",
                        "--latitude",
                        "one-vector,capability-order",
                    ])
                    .with(["--shard", shard])
                    .with(QUIET)
                    .report_to(report)
                    .finish()?;
                setting.keep_log(&outcome.text())?;
                outcome.expect_code(0)?;
                ensure!(runs(&outcome).len() == 1, "{:?}", runs(&outcome));
            }
            let [(_, first), (_, second)] = &shards;
            let outcome = Run::merge(setting.stickler)
                .with([second, first])
                .report_to(&setting.scratch.join("whole"))
                .finish()?;
            outcome.expect_code(0)?;
            let names: Vec<&Value> = runs(&outcome).iter().map(|run| &run["name"]).collect();
            ensure!(
                names == ["none", "one-vector,capability-order"],
                "{names:?}"
            );
            let held = outcome.requirements("held").len();
            ensure!(held >= LEAST_HELD, "only {held} requirements held");
            Ok(())
        }),
        Test::new("check-rogue", |setting| {
            let outcome = rogue(setting)
                // One that a driver shows to cope with later than the rogue gives up.
                .with(["--latitude", "none", "--latitude", "one-by-one", "--shrink"])
                .finish()?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(1)?;
            outcome.expect_violations(&[VIOLATED, "status.undefined-bits"])?;
            for run in runs(&outcome) {
                let failure = &run["failures"][0];
                ensure!(
                    failure["how"] == "violation"
                        && failure["step"] == "prohibition"
                        && failure["message"]
                            .as_str()
                            .is_some_and(|message| message.starts_with(VIOLATED)),
                    "{run}"
                );
            }
            // The failure does not depend on the latitude.
            let shrunk = runs(&outcome).last().map(|run| &run["shrunk"]);
            ensure!(shrunk.is_some_and(|words| words == "none"), "{shrunk:?}");
            Ok(())
        }),
        Test::new("check-shrink", |setting| {
            // virtio_blk of 6.1 makes segments of a page, whatever size_max is.
            let suite = "bookworm";
            let outcome = of_suite(setting, suite)
                .option("--modules", "", &modules(setting, suite), "")
                .with(["--latitude", "one-bar,small-segments", "--shrink"])
                .with(["--jobs", "1"])
                .with(QUIET)
                .report_to(&setting.scratch.join("report"))
                .finish()?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(1)?;
            outcome.expect_violations(&["block.request.size-max"])?;
            let shrunk = runs(&outcome).first().map(|run| &run["shrunk"]);
            ensure!(
                shrunk.is_some_and(|words| words == "small-segments"),
                "{shrunk:?}"
            );
            Ok(())
        }),
        Test::new("check-under-load", |setting| {
            // Not stress-consoles and freeze, which this kernel fails: findings 012 and 013.
            let outcome = check(setting)
                .option("--modules", "", &modules(setting, SUITE), "")
                .with(["--latitude", "none", "--cpus", "2"])
                .with(["--steps", "block,network,console,entropy"])
                .with(["--steps", "stress,processors,view,kexec"])
                .report_to(&setting.scratch.join("report"))
                .finish()?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(0)
        }),
        Test::new("check-freeze", |setting| {
            let outcome = check(setting)
                .option("--modules", "", &modules(setting, SUITE), "")
                .with(["--latitude", "none", "--cpus", "1"])
                .with(["--steps", "block,network,entropy,freeze"])
                .report_to(&setting.scratch.join("report"))
                .finish()?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(1)?;
            // What else is due is owed for a time, which may be too short here.
            let violated = outcome.requirements("violated");
            ensure!(
                violated.contains(&"console.control.device-ready"),
                "{violated:?}"
            );
            let steps = |run: &Value| -> Vec<String> {
                let failures = run["failures"].as_array().cloned().unwrap_or_default();
                let of_steps = failures.iter().filter(|failure| failure["how"] == "step");
                of_steps
                    .map(|failure| failure["step"].to_string())
                    .collect()
            };
            let failed: Vec<String> = runs(&outcome).iter().flat_map(steps).collect();
            ensure!(failed.is_empty(), "failed: {failed:?}");
            Ok(())
        }),
        Test::new("check-interrupted", |setting| {
            let mut running = rogue(setting)
                .with(["--runs", "90", "--jobs", "1"])
                .start()?;
            running.wait_for_error("none: FAILED")?;
            running.interrupt();
            let outcome = running.finish(&mut |_| {})?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(1)?;
            let done = runs(&outcome).len();
            ensure!((1..90).contains(&done), "{done} runs");
            outcome.expect_violations(&[VIOLATED, "status.undefined-bits"])
        }),
        Test::new("check-command", |setting| {
            for (program, code) in [("/bin/true", 0), ("/bin/false", 3)] {
                let outcome = check(setting)
                    .option("--modules", "", &modules(setting, SUITE), "")
                    .option("--initrd", "", &image(setting), "")
                    .with(["--latitude", "none", "--", program])
                    .finish()?;
                setting.keep_log(&outcome.text())?;
                outcome.expect_code(code)?;
            }
            Ok(())
        }),
        Test::new("check-program-of-the-host", |setting| {
            let program = setting.kernels.join(SUITE).join("rogue-program");
            let outcome = check(setting)
                .option("--modules", "", &modules(setting, SUITE), "")
                .with(["--latitude", "none"])
                .report_to(&setting.scratch.join("report"))
                .with(["--".into(), program.into_os_string()])
                .finish()?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(1)?;
            outcome.expect_violations(&[VIOLATED, "status.undefined-bits"])?;
            let run = runs(&outcome).first().context("there is no run")?;
            ensure!(run["failures"][0]["step"] == "prohibition", "{run}");
            Ok(())
        }),
    ]
}

fn check<'a>(setting: &'a Setting<'_>) -> Run<'a> {
    of_suite(setting, SUITE)
}

pub(super) fn of_suite<'a>(setting: &'a Setting<'_>, suite: &str) -> Run<'a> {
    let kernel = setting.kernels.join(suite).join("vmlinuz");
    let timeout = Duration::from_secs(300);
    Run::check(setting.stickler, timeout, 4 * timeout).option("--kernel", "", &kernel, "")
}

/// Options for a guest in which one thing at a time happens.
pub(super) const QUIET: [&str; 4] = [
    "--cpus",
    "1",
    "--steps",
    "block,network,console,entropy,rebind-drivers,rebind-transport,rescan",
];

/// A guest that soon breaks rules and then powers itself off.
fn rogue<'a>(setting: &'a Setting<'_>) -> Run<'a> {
    check(setting)
        .option(
            "--initrd",
            "",
            &setting.kernels.join(SUITE).join("rogue"),
            "",
        )
        .report_to(&setting.scratch.join("report"))
}

fn image(setting: &Setting<'_>) -> PathBuf {
    setting.kernels.join(SUITE).join("exerciser")
}

pub(super) fn modules(setting: &Setting<'_>, suite: &str) -> PathBuf {
    setting.kernels.join(suite).join("modules")
}

/// The runs in the report.
fn runs(outcome: &Outcome) -> &[Value] {
    outcome
        .report
        .as_ref()
        .and_then(|report| report["runs"].as_array())
        .map_or(&[], Vec::as_slice)
}
