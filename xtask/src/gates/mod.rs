//! The gates of `cargo xtask test` that need no guest: what cargo, its tools and the project's own rules
//! check.
//!
//! A gate whose tool is missing is left out, and the run says so at its end: a gate that is silently
//! skipped looks like one that passed.

mod dependencies;
mod minimum_rust;
mod miri;
pub(crate) mod rules;

use anyhow::{Context, Result};

use crate::process::run;
use crate::workspace::Workspace;

/// How a gate ended that did not fail.
pub(crate) enum Passage {
    /// All that it checks is as it should be.
    Passed,
    /// It did not run, for this reason.
    LeftOut(String),
}

/// A gate that did not run.
pub(crate) struct LeftOut {
    gate: &'static str,
    reason: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.gate, self.reason)
    }
}

type Gate = fn(&Workspace) -> Result<Passage>;

/// All gates; the quick ones come first.
const GATES: [(&str, Gate); 8] = [
    ("formatting", formatting),
    ("project rules", rules::gate),
    ("lints", lints),
    ("documentation", documentation),
    ("tests", tests),
    ("minimum Rust version", minimum_rust::gate),
    ("dependencies", dependencies::gate),
    ("Miri", miri::gate),
];

/// Runs all gates and returns those that were left out.
///
/// # Errors
/// Returns an error if a gate fails; those behind it do not run.
pub(crate) fn pass(workspace: &Workspace) -> Result<Vec<LeftOut>> {
    let mut left_out = Vec::new();
    for (gate, check) in GATES {
        eprintln!("== {gate}");
        match check(workspace).with_context(|| format!("{gate} failed"))? {
            Passage::Passed => {}
            Passage::LeftOut(reason) => {
                let skipped = LeftOut { gate, reason };
                eprintln!("left out: {skipped}");
                left_out.push(skipped);
            }
        }
    }
    Ok(left_out)
}

fn formatting(workspace: &Workspace) -> Result<Passage> {
    run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Passage::Passed)
}

fn lints(workspace: &Workspace) -> Result<Passage> {
    run(workspace
        .cargo()
        .args(["clippy", "--workspace", "--all-targets", "--locked"])
        .args(["--", "--deny", "warnings"]))?;
    Ok(Passage::Passed)
}

/// rustdoc, of private items too, since those who change the code read about them; so links to private
/// items lead somewhere.
fn documentation(workspace: &Workspace) -> Result<Passage> {
    run(workspace
        .cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .arg("--document-private-items")
        .env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private_intra_doc_links",
        ))?;
    Ok(Passage::Passed)
}

fn tests(workspace: &Workspace) -> Result<Passage> {
    run(workspace.cargo().args(["test", "--workspace", "--locked"]))?;
    Ok(Passage::Passed)
}
