//! What stickler reports of a guest that breaks rules: reports, `--deny`, `--on-violation`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::exercise::SUITE;
use crate::stickler::{Outcome, Run};
use crate::suite::{Setting, Test};

/// What the guest violates, a recommendation first, then a prohibition.
const WEAK: &str = "status.undefined-bits";
const STRONG: &str = "status.no-clear";

pub(crate) fn all() -> Vec<Test> {
    vec![
        Test::new("verdict-violation", |setting| {
            let outcome = rogue(setting, &[])?;
            outcome.expect_code(1)?;
            ended(&outcome, "power-off", &[WEAK, STRONG])?;
            let finding = finding(&outcome, STRONG)?;
            ensure!(
                finding["device"]["slot"] == 1
                    && finding["device"]["type"] == "net"
                    && finding["mark"] == "prohibition"
                    && finding["rip"].is_string(),
                "the finding is not complete: {finding}"
            );
            ensure!(
                self::finding(&outcome, WEAK)?["mark"] == "recommendation",
                "the marks are wrong"
            );
            let output = &outcome.output;
            ensure!(
                output.contains("\nVIOLATED ") && output.contains("\nviolated "),
                "the text report does not show the violations:\n{output}"
            );
            Ok(())
        }),
        Test::new("verdict-deny-none", |setting| {
            let outcome = rogue(setting, &["--deny=none"])?;
            outcome.expect_code(0)?;
            ended(&outcome, "power-off", &[WEAK, STRONG])
        }),
        Test::new("verdict-stop", |setting| {
            let outcome = rogue(setting, &["--on-violation=stop"])?;
            outcome.expect_code(1)?;
            ended(&outcome, "violation", &[WEAK, STRONG])
        }),
        Test::new("verdict-stop-at-recommendation", |setting| {
            let outcome = rogue(setting, &["--on-violation=stop", "--deny=should"])?;
            outcome.expect_code(1)?;
            ended(&outcome, "violation", &[WEAK])
        }),
        Test::new("verdict-json-on-standard-output", |setting| {
            let outcome = run(setting).with(["--report", "json"]).finish()?;
            setting.keep_log(&outcome.text())?;
            outcome.expect_code(1)?;
            let report: Value = serde_json::from_str(&outcome.output)
                .context("there is more than the report on standard output")?;
            ensure!(report["spec"] == "1.0", "that is no report");
            ensure!(
                outcome.errors.contains("@mark prohibition"),
                "the guest's output is lost"
            );
            Ok(())
        }),
    ]
}

fn run<'a>(setting: &'a Setting<'_>) -> Run<'a> {
    let dir = setting.kernels.join(SUITE);
    Run::new(setting.stickler, Duration::from_secs(120))
        .option("--kernel", "", &dir.join("vmlinuz"), "")
        .option("--initrd", "", &dir.join("rogue"), "")
        .with(["--append", "quiet panic=-1"])
}

fn rogue(setting: &Setting<'_>, arguments: &[&str]) -> Result<Outcome> {
    let outcome = run(setting)
        .with(arguments)
        .with(["--report", "text"])
        .report_to(&setting.scratch.join("report.json"))
        .finish()?;
    setting.keep_log(&outcome.text())?;
    Ok(outcome)
}

/// The guest ended so, and exactly these requirements were violated.
fn ended(outcome: &Outcome, end: &str, violated: &[&str]) -> Result<()> {
    let report = outcome.report.as_ref().context("there is no report")?;
    ensure!(
        report["guest"]["end"] == end,
        "the guest ended with {} instead of {end:?}",
        report["guest"]["end"]
    );
    let mut found = outcome.requirements("violated");
    found.sort_unstable();
    let mut violated = violated.to_vec();
    violated.sort_unstable();
    ensure!(
        found == violated,
        "violated are {found:?} instead of {violated:?}"
    );
    Ok(())
}

fn finding<'a>(outcome: &'a Outcome, requirement: &str) -> Result<&'a Value> {
    outcome
        .report
        .as_ref()
        .and_then(|report| report["findings"].as_array())
        .into_iter()
        .flatten()
        .find(|finding| finding["requirement"] == requirement)
        .with_context(|| format!("{requirement} was not found"))
}
