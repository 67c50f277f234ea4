//! Licences, sources and duplicates of the dependencies, by cargo-deny; `deny.toml` says what is allowed.
//!
//! Advisories are not checked: their database is on the network, and a test that fails because of what
//! was published last night says nothing of the change it tests.

use std::process::Command;

use anyhow::Result;

use super::Passage;
use crate::process::{find_program, run};
use crate::workspace::Workspace;

pub(super) fn gate(workspace: &Workspace) -> Result<Passage> {
    let own = workspace.tools().join("bin/cargo-deny");
    let Some(program) = Some(own)
        .filter(|file| file.is_file())
        .or_else(|| find_program("cargo-deny"))
    else {
        return Ok(Passage::LeftOut(
            "cargo-deny is not installed; `cargo install cargo-deny --locked` installs it, in some \
             minutes"
                .to_owned(),
        ));
    };
    run(Command::new(program)
        .current_dir(workspace.root())
        .args(["--offline", "--locked", "--workspace", "check"])
        .args(["--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    Ok(Passage::Passed)
}
