//! The tests of the virtqueue code under Miri, which finds undefined behaviour in its unsafe parts.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::Passage;
use crate::process::run;
use crate::workspace::Workspace;

const TOOLCHAIN: &str = "nightly";

/// The package and the tests with unsafe code on guest memory.
const TESTS: [&str; 4] = ["--package", "stickler-devices", "--lib", "virtio::queue"];

/// Tests that have a ring's index wrap around, which takes Miri many minutes.
const SLOW: &str = "queue::tests::notifications::";

pub(super) fn gate(workspace: &Workspace) -> Result<Passage> {
    let has_miri = Command::new("rustup")
        .args(["run", TOOLCHAIN, "cargo", "miri", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_miri {
        return Ok(Passage::LeftOut(format!(
            "the toolchain {TOOLCHAIN} has no Miri; `rustup toolchain install {TOOLCHAIN} \
             --component miri,rust-src` installs it"
        )));
    }
    run(workspace
        .cargo_of(TOOLCHAIN)
        .args(["miri", "test", "--locked"])
        .args(TESTS)
        .arg("--target-dir")
        .arg(workspace.target().join("miri"))
        .args(["--", "--skip", SLOW])
        // Random tests keep their seeds in files. Guest memory is never given back under Miri.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks")
        // Miri is some hundred times slower.
        .env("PROPTEST_CASES", "4"))?;
    Ok(Passage::Passed)
}
