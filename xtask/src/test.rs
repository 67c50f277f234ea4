//! `cargo xtask test`: everything that must pass before a change is merged.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::demo::kvm_is_usable;
use crate::gates;
use crate::guest;
use crate::kernel::Kernel;
use crate::lab::{self, Output};
use crate::lines::Lines;
use crate::progress::Progress;
use crate::userland;
use crate::workspace::Workspace;

/// The kernels of the guests: 5.10, 6.1, 6.12 and Debian's newest.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "trixie-backports"];

/// The most time the end-to-end tests may take together.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// Run every test: formatting, lints, documentation, unit and integration tests, and end-to-end tests
/// with real guests, in the lab where KVM is not usable.
#[derive(clap::Args)]
pub(crate) struct TestArguments {
    /// Only the end-to-end tests
    #[arg(long)]
    end_to_end: bool,

    /// Only the end-to-end tests with one of these words in their names
    names: Vec<OsString>,
}

pub(crate) fn command(arguments: &TestArguments, workspace: &Workspace) -> Result<ExitCode> {
    let left_out = if arguments.end_to_end || !arguments.names.is_empty() {
        Vec::new()
    } else {
        gates::pass(workspace)?
    };
    let code = end_to_end(&arguments.names, workspace)?;
    for gate in left_out {
        eprintln!("left out: {gate}");
    }
    Ok(code)
}

fn end_to_end(names: &[OsString], workspace: &Workspace) -> Result<ExitCode> {
    eprintln!("== end to end");
    let progress = Progress::new();
    let equipment = lab::equip(lab::DEFAULT_SUITE, lab::DEFAULT_SUITE, workspace, &progress)?;
    let dir = workspace.target().join("e2e");
    fs::create_dir_all(&dir)?;
    for suite in SUITES {
        progress.step(&format!("getting the kernel of Debian's {suite}"));
        let kernel = Kernel::of_suite(suite, workspace)?;
        prepare(&kernel, &dir.join("kernels").join(suite), &equipment)?;
    }
    progress.step("making a disk with Debian on it");
    let image = progress.suspended(|| userland::image(workspace))?;
    replace_by_link(&image, &dir.join("userland.img"))?;

    let mut words: Vec<OsString> = ["e2e", "test", "."].map(OsString::from).to_vec();
    words.extend(names.iter().cloned());
    // Only root can make taps.
    if rustix::process::geteuid().is_root() && kvm_is_usable(&equipment.programs) {
        progress.line("this host's KVM is usable: the tests run directly");
        progress.finish();
        let status = Command::new(equipment.programs.path("e2e"))
            .args(&words[1..])
            .arg("--stickler")
            .arg(equipment.programs.path("stickler"))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .status()
            .context("cannot start the end-to-end tests")?;
        return Ok(ExitCode::from(u8::from(!status.success())));
    }
    progress.line("the end-to-end tests run in the lab");
    progress.finish();
    let mut passed = Vec::new();
    for _ in 1..LABS {
        match in_lab(&words, &mut passed, &dir, &equipment, workspace) {
            Err(error) if lab::has_crashed(&error) => {
                eprintln!(
                    "{error:#}\nthe lab itself has crashed; the remaining tests run in another"
                );
            }
            result => return result,
        }
    }
    in_lab(&words, &mut passed, &dir, &equipment, workspace)
}

/// How many labs are booted at most if they crash. Each runs the tests that remain.
const LABS: usize = 6;

/// Runs the tests that have not `passed` yet, and adds those that pass.
fn in_lab(
    words: &[OsString],
    passed: &mut Vec<String>,
    dir: &Path,
    equipment: &lab::Equipment,
    workspace: &Workspace,
) -> Result<ExitCode> {
    let progress = Progress::new();
    let mut lab = lab::boot(
        equipment,
        Some(dir.to_owned()),
        lab::DEFAULT_PROCESSORS,
        TIMEOUT,
        workspace,
        &progress,
    )?;
    progress.finish();
    let mut words = words.to_vec();
    words.push("--emulated".into());
    for name in &*passed {
        words.extend(["--but".into(), name.into()]);
    }
    let mut lines = Lines::default();
    let run = lab.run(
        &words,
        Output::See(&mut |bytes| {
            lines.take(bytes, |line| {
                println!("{line}");
                passed.extend(passed_test(line));
            });
        }),
    );
    let collected = lab.finish();
    let code = run?;
    collected?;
    Ok(ExitCode::from(code))
}

/// The test that passed, if this line of the end-to-end tests reports one.
fn passed_test(line: &str) -> Option<String> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    result.starts_with("ok ").then(|| name.to_owned())
}

/// Puts a kernel, and the images that guests boot with it, into `dir`.
fn prepare(kernel: &Kernel, dir: &Path, equipment: &lab::Equipment) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::copy(&kernel.image, dir.join("vmlinuz"))?;
    let elf: PathBuf = dir.join("vmlinux");
    if !elf.exists() {
        let unfinished = dir.join("vmlinux.unfinished");
        fs::write(&unfinished, kernel.elf()?)?;
        fs::rename(&unfinished, &elf)?;
    }
    let modules = dir.join("modules");
    fs::create_dir_all(&modules)?;
    for module in kernel.modules(&guest::MODULES)? {
        fs::write(modules.join(format!("{}.ko", module.name)), &module.content)?;
    }
    guest::write_exerciser(
        &dir.join("exerciser"),
        kernel,
        &equipment.busybox,
        &equipment.programs,
    )?;
    for program in ["foreign", "rogue"] {
        guest::write_program(&dir.join(program), program, &equipment.programs)?;
    }
    fs::copy(equipment.programs.path("rogue"), dir.join("rogue-program"))?;
    guest::write_loader(&dir.join("loader"), kernel, &equipment.busybox)
}

/// Makes `to` another name of the file `from`.
fn replace_by_link(from: &Path, to: &Path) -> Result<()> {
    fs::remove_file(to).ok();
    fs::hard_link(from, to).with_context(|| format!("cannot link {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::passed_test;

    #[test]
    fn only_tests_that_passed_are_left_out() {
        let passed = |line| passed_test(line);
        assert_eq!(
            passed("test end-panic ... ok (5 s)"),
            Some("end-panic".into())
        );
        for other in [
            "test end-panic ... FAILED (7 s)",
            "test end-panic ... once more; it failed:",
            "    test end-panic ... ok (5 s)",
            "33 passed, 1 failed",
        ] {
            assert_eq!(passed(other), None, "{other}");
        }
    }
}
