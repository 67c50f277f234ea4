//! What the judge says must not depend on what runs the guest: a run here, on KVM, leaves its report for the tests in
//! emulation, which judge the same guest through QEMU and compare.

use std::fs;

use anyhow::{Context, Result};

use super::check;
use super::exercise::SUITE;
use crate::suite::{Setting, Test};

/// The directory of the report, beside that of the kernels.
const DIRECTORY: &str = "outcomes";

pub(crate) fn all() -> Vec<Test> {
    vec![Test::new("outcomes-on-kvm", judge)]
}

fn judge(setting: &Setting<'_>) -> Result<()> {
    let directory = setting.kernels.with_file_name(DIRECTORY);
    fs::create_dir_all(&directory).context("cannot make a directory")?;
    let outcome = check::of_suite(setting, SUITE)
        .option("--modules", "", &check::modules(setting, SUITE), "")
        .with(["--latitude", "none"])
        .with(check::QUIET)
        .report_to(&directory.join("kvm.json"))
        .finish()?;
    setting.keep_log(&outcome.text())?;
    outcome.expect_code(0)?;
    outcome.expect_violations(&[])
}
