//! Input that cannot be run: exit code 2 and one sentence that says what to do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::exercise::SUITE;
use crate::stickler::Run;
use crate::suite::{Setting, Test};

pub(crate) fn all() -> Vec<Test> {
    vec![
        Test::new("input-no-kernel", |setting| {
            refused(
                setting,
                setting.scratch.join("nothing-there"),
                &[],
                "nothing-there",
            )
        }),
        Test::new("input-not-a-kernel", |setting| {
            let file = setting.scratch.join("poem");
            fs::write(
                &file,
                "no kernel but a text that goes on for a while\n".repeat(1000),
            )?;
            refused(setting, file, &[], "poem")
        }),
        Test::new("input-program-as-kernel", |setting| {
            let program = setting.kernels.join(SUITE).join("rogue-program");
            refused(setting, program, &[], "is a program and not a kernel")
        }),
        Test::new("input-script-as-command", |setting| {
            let script = setting.scratch.join("script");
            fs::write(&script, "#!/bin/sh\ntrue\n")?;
            let limit = Duration::from_secs(60);
            let outcome = Run::check(setting.stickler, limit, limit)
                .option("--kernel", "", &kernel(setting), "")
                .with(["--".into(), script.into_os_string()])
                .finish()?;
            outcome.expect_code(2)?;
            ensure!(
                outcome.errors.contains("is a script for /bin/sh"),
                "the message says something else:\n{}",
                outcome.errors
            );
            Ok(())
        }),
        Test::new("input-truncated-kernel", |setting| {
            let file = setting.scratch.join("half");
            let whole = fs::read(kernel(setting))?;
            fs::write(&file, &whole[..whole.len() / 2])?;
            refused(setting, file, &[], "half")
        }),
        Test::new("input-truncated-elf", |setting| {
            let file = setting.scratch.join("half-elf");
            let whole = fs::read(kernel(setting).with_file_name("vmlinux"))?;
            fs::write(&file, &whole[..whole.len() / 2])?;
            refused(setting, file, &[], "half-elf")
        }),
        Test::new("input-initrd-too-large", |setting| {
            let file = setting.scratch.join("huge");
            fs::File::create(&file)?.set_len(200 << 20)?;
            let initrd = format!("--initrd={}", file.display());
            refused(
                setting,
                kernel(setting),
                &[&initrd, "--memory=128M"],
                "memory",
            )
        }),
        Test::new("input-no-initrd", |setting| {
            refused(
                setting,
                kernel(setting),
                &["--initrd=/nowhere/initrd"],
                "/nowhere/initrd",
            )
        }),
        Test::new("input-no-disk", |setting| {
            refused(
                setting,
                kernel(setting),
                &["--disk=/nowhere/disk"],
                "/nowhere/disk",
            )
        }),
        Test::new("input-no-tap", |setting| {
            refused(
                setting,
                kernel(setting),
                &["--net=tap=notthere"],
                "notthere",
            )
        }),
        Test::new("input-too-little-memory", |setting| {
            refused(setting, kernel(setting), &["--memory=16M"], "64")
        }),
        Test::new("input-too-many-cpus", |setting| {
            refused(setting, kernel(setting), &["--cpus=17"], "17")
        }),
    ]
}

fn kernel(setting: &Setting<'_>) -> PathBuf {
    setting.kernels.join(SUITE).join("vmlinuz")
}

/// Such a run ends with exit code 2, and the message has `word` in it and no backtrace.
fn refused(setting: &Setting<'_>, kernel: PathBuf, arguments: &[&str], word: &str) -> Result<()> {
    let outcome = Run::new(setting.stickler, Duration::from_secs(60))
        .option("--kernel", "", &kernel, "")
        .with(arguments)
        .finish()?;
    outcome.expect_code(2)?;
    ensure!(
        outcome.errors.contains(word),
        "the message does not say {word:?}:\n{}",
        outcome.errors
    );
    for mark in ["panicked", "backtrace", "Os {"] {
        ensure!(
            !outcome.errors.contains(mark),
            "that is no message for a person:\n{}",
            outcome.errors
        );
    }
    Ok(())
}
