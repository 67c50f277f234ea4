//! The workspace builds with the oldest Rust that `rust-version` in Cargo.toml promises.
//!
//! clippy's `incompatible_msrv` finds functions of the standard library that are younger, but neither
//! younger syntax nor a dependency that asks for more; only the old compiler itself does.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::Passage;
use crate::process::{output_of, run};
use crate::workspace::Workspace;

/// `rust-version` of the workspace: major and minor version.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

pub(super) fn gate(workspace: &Workspace) -> Result<Passage> {
    let Some(toolchain) = installed() else {
        return Ok(Passage::LeftOut(format!(
            "no Rust {MINIMUM} is installed; `rustup toolchain install {MINIMUM} --profile minimal` \
             installs it"
        )));
    };
    eprintln!("with the toolchain {toolchain}");
    run(workspace
        .cargo_of(&toolchain)
        .args(["check", "--workspace", "--all-targets", "--locked"])
        // A directory of its own: two compilers in one would rebuild everything in turn.
        .arg("--target-dir")
        .arg(workspace.target().join("minimum-rust")))?;
    Ok(Passage::Passed)
}

/// The name of an installed toolchain of the minimum version.
fn installed() -> Option<String> {
    let listing = output_of(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|toolchain| is_minimum(toolchain))
        .map(str::to_owned)
}

/// Whether the compiler of `toolchain` has the minimum version, by what it says itself: a toolchain
/// that is linked may have any name.
fn is_minimum(toolchain: &str) -> bool {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--version"])
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        output.status.success() && is_version(&String::from_utf8_lossy(&output.stdout), MINIMUM)
    })
}

/// Whether `rustc --version` printed `version`, of which the patch level may be missing.
fn is_version(printed: &str, version: &str) -> bool {
    printed
        .strip_prefix("rustc ")
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.strip_prefix(version))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn a_patch_release_has_the_minor_version() {
        let printed = "rustc 1.91.1 (ed61e7d7e 2025-11-07)\n";
        assert!(is_version(printed, "1.91"));
        assert!(is_version(printed, "1.91.1"));
        for other in ["1.9", "1.91.0", "1.92", "1.91.11"] {
            assert!(!is_version(printed, other), "{other}");
        }
        assert!(!is_version("rustc 1.91.1-nightly", "1.91.1"));
        assert!(!is_version("", "1.91"));
    }
}
