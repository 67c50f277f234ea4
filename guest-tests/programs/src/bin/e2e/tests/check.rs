//! Many runs of one kernel.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;
use stickler_guest_programs::exercise::END_PARAMETER;

use super::exercise::SUITE;
use crate::stickler::{Outcome, Run};
use crate::suite::{Setting, Test};

/// What the rogue guest violates.
const VIOLATED: &str = "status.no-clear";

/// So many requirements, at least, the built-in guest puts to the test.
const LEAST_HELD: usize = 60;

pub(crate) fn all() -> Vec<Test> {
    vec![
        Test::new("check-shards", |setting| {
            let shards = ["1/2", "2/2"].map(|shard| {
                let report = setting.scratch.join(shard.replace('/', "-"));
                (shard, report)
            });
            for (shard, report) in &shards {
                let outcome = check(setting)
                    .option("--modules", "", &modules(setting), "")
                    .with([
                        "--latitude",
                        "none",
                        "--latitude",
                        "one-vector,capability-order",
                    ])
                    .with(["--shard", shard])
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
                .with(["--latitude", "none", "--latitude", "one-vector", "--shrink"])
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
            // It has nothing to do with the latitude.
            let shrunk = runs(&outcome).last().map(|run| &run["shrunk"]);
            ensure!(shrunk.is_some_and(|words| words == "none"), "{shrunk:?}");
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
                    .option("--modules", "", &modules(setting), "")
                    .option("--initrd", "", &image(setting), "")
                    .with(["--latitude", "none", "--", program])
                    .finish()?;
                setting.keep_log(&outcome.text())?;
                outcome.expect_code(code)?;
            }
            Ok(())
        }),
    ]
}

fn check<'a>(setting: &'a Setting<'_>) -> Run<'a> {
    let kernel = setting.kernels.join(SUITE).join("vmlinuz");
    let timeout = Duration::from_secs(300);
    Run::check(setting.stickler, timeout, 4 * timeout).option("--kernel", "", &kernel, "")
}

/// A guest that soon breaks rules and then powers itself off.
fn rogue<'a>(setting: &'a Setting<'_>) -> Run<'a> {
    check(setting)
        .option("--initrd", "", &image(setting), "")
        .with(["--append", &format!("{END_PARAMETER}=rogue")])
        .report_to(&setting.scratch.join("report"))
}

fn image(setting: &Setting<'_>) -> PathBuf {
    setting.kernels.join(SUITE).join("exerciser")
}

fn modules(setting: &Setting<'_>) -> PathBuf {
    setting.kernels.join(SUITE).join("modules")
}

/// The runs in the report.
fn runs(outcome: &Outcome) -> &[Value] {
    outcome
        .report
        .as_ref()
        .and_then(|report| report["runs"].as_array())
        .map_or(&[], Vec::as_slice)
}
