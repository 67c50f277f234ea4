//! The demo: one guest, all devices, everything compared.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::stickler::Outcome;
use crate::tests::exercise::{Exercise, Kernel, Network};

/// So many requirements, at least, Linux's drivers put to the test.
const LEAST_HELD: usize = 60;

/// Runs the demo in `dir`: `vmlinuz` and `exerciser` are there, `console.log`, `report.txt` and
/// `report.json` come to be.
pub(crate) fn run(stickler: &Path, dir: &Path, emulated: bool) -> Result<()> {
    let outcome = match exercise(stickler, dir) {
        Err(error) if emulated => {
            println!("once more, for emulated processors can be to blame: {error:#}");
            exercise(stickler, dir)
        }
        result => result,
    }?;
    outcome
        .expect_violations(&[])
        .context("the guest's drivers do not conform")?;
    let held = outcome.requirements("held").len();
    ensure!(
        held >= LEAST_HELD,
        "only {held} requirements held, and {LEAST_HELD} should: not every device was judged"
    );
    Ok(())
}

fn exercise(stickler: &Path, dir: &Path) -> Result<Outcome> {
    let scratch = dir.join("scratch");
    fs::remove_dir_all(&scratch).ok();
    fs::create_dir_all(&scratch)?;
    let exercise = Exercise {
        kernel: Kernel::Image(dir.join("vmlinuz")),
        image: dir.join("exerciser"),
        cpus: 2,
        memory: "256M",
        append: String::new(),
        network: Network::User,
        timeout: Duration::from_secs(300),
    };
    let report = dir.join("report.json");
    let mut serial = String::new();
    let outcome = exercise.run(stickler, &scratch, &report, &mut |line| {
        if line.starts_with("@mark ") {
            println!("{line}");
        }
        serial.push_str(line);
        serial.push('\n');
    });
    fs::write(dir.join("console.log"), &serial)?;
    fs::remove_dir_all(&scratch).ok();
    outcome
}
