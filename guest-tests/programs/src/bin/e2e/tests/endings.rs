//! How guests end, and what stickler reports of that.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stickler_guest_programs::exercise::END_PARAMETER;

use super::exercise::SUITE;
use crate::stickler::{Outcome, Run};
use crate::suite::{Setting, Test};

pub(crate) fn all() -> Vec<Test> {
    vec![
        Test::new("end-power-off", |setting| {
            let outcome = end(setting, "power-off", "", 120)?;
            outcome.expect_code(0)?;
            told(&outcome, "power-off")
        }),
        Test::new("end-panic", |setting| {
            let outcome = end(setting, "panic", "panic=-1", 120)?;
            outcome.expect_code(3)?;
            told(&outcome, "panic")?;
            let message = outcome
                .report
                .as_ref()
                .and_then(|report| report["guest"]["message"].as_str())
                .context("the report has no panic message")?;
            ensure!(
                message.contains("Attempted to kill init"),
                "the panic message is {message:?}"
            );
            let complaint = &outcome.report.as_ref().context("no report")?["complaints"][0];
            ensure!(
                complaint["kind"] == "panic" && complaint["process"] == "init (1)",
                "the panic is not quoted: {complaint}"
            );
            let trace = complaint["trace"].as_array().map_or(0, Vec::len);
            ensure!(trace > 2, "the panic has no call trace: {complaint}");
            Ok(())
        }),
        Test::new("end-reset-acpi", |setting| {
            let outcome = end(setting, "reset", "reboot=acpi", 120)?;
            outcome.expect_code(0)?;
            told(&outcome, "reset")
        }),
        Test::new("end-reset-keyboard-controller", |setting| {
            let outcome = end(setting, "reset", "reboot=k", 120)?;
            outcome.expect_code(0)?;
            told(&outcome, "reset")
        }),
        Test::new("end-triple-fault", |setting| {
            let outcome = end(setting, "reset", "reboot=t", 120)?;
            outcome.expect_code(3)?;
            told(&outcome, "triple-fault")
        }),
        Test::new("end-timeout", |setting| {
            let outcome = end(setting, "hang", "sysrq_always_enabled", 20)?;
            outcome.expect_code(3)?;
            told(&outcome, "timeout")?;
            let standing = &outcome.report.as_ref().context("no report")?["standing"];
            let processors = standing["processors"].as_array().map_or(0, Vec::len);
            ensure!(processors == 1, "where is the processor? {standing}");
            let answer = standing["answer"].to_string();
            ensure!(
                answer.contains("NMI backtrace for cpu 0") && answer.contains("+0x"),
                "the guest did not say where it stands: {standing}"
            );
            Ok(())
        }),
    ]
}

/// Boots a guest that ends in the way `how` right after its start.
fn end(setting: &Setting<'_>, how: &str, append: &str, seconds: u64) -> Result<Outcome> {
    let dir = setting.kernels.join(SUITE);
    let outcome = Run::new(setting.stickler, Duration::from_secs(seconds))
        .option("--kernel", "", &dir.join("vmlinuz"), "")
        .option("--initrd", "", &dir.join("exerciser"), "")
        .with(["--append", &format!("quiet {END_PARAMETER}={how} {append}")])
        .report_to(&setting.scratch.join("report.json"))
        .finish()?;
    setting.keep_log(&outcome.text())?;
    Ok(outcome)
}

/// Fails unless the report says that the guest ended in this way.
fn told(outcome: &Outcome, end: &str) -> Result<()> {
    let report = outcome
        .report
        .as_ref()
        .with_context(|| format!("there is no report\n{}", outcome.text()))?;
    ensure!(
        report["guest"]["end"] == end,
        "the report says that the guest ended with {} instead of {end:?}",
        report["guest"]["end"]
    );
    Ok(())
}
