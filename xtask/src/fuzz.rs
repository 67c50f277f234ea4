//! `cargo xtask fuzz`: libFuzzer on what guests, clients and users may send.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail, ensure};

use crate::process::find_program;
use crate::workspace::Workspace;

const TOOLCHAIN: &str = "nightly";

/// Fuzz stickler with libFuzzer and AddressSanitizer. Needs a nightly toolchain and cargo-fuzz.
///
/// What was found to reach further is kept in target/fuzz/corpus, and what went wrong in
/// target/fuzz/artifacts, from where `cargo xtask fuzz TARGET --input FILE` runs it again.
#[derive(clap::Args)]
pub(crate) struct FuzzArguments {
    /// What to fuzz: the name of a file in fuzz/fuzz_targets, without its ending
    target: String,

    /// How long
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u32,

    /// Run this input once instead
    #[arg(long, value_name = "FILE", conflicts_with = "minutes")]
    input: Option<PathBuf>,
}

pub(crate) fn command(arguments: &FuzzArguments, workspace: &Workspace) -> Result<ExitCode> {
    let targets = targets(workspace)?;
    ensure!(
        targets.contains(&arguments.target),
        "there is no fuzz target {}; there are {}",
        arguments.target,
        targets.join(", ")
    );
    // A path of the user's is one from where the user is.
    let input = arguments
        .input
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    let has_nightly = Command::new("rustup")
        .args(["run", TOOLCHAIN, "rustc", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    ensure!(
        has_nightly,
        "fuzzing needs a nightly toolchain: `rustup toolchain install {TOOLCHAIN} --profile minimal`"
    );
    let own = workspace.tools().join("bin/cargo-fuzz");
    let Some(program) = Some(own)
        .filter(|file| file.is_file())
        .or_else(|| find_program("cargo-fuzz"))
    else {
        bail!(
            "cargo-fuzz is not installed; `cargo install cargo-fuzz --locked` installs it, in a minute"
        );
    };

    let dir = workspace.target().join("fuzz");
    let corpus = dir.join("corpus").join(&arguments.target);
    let artifacts = dir.join("artifacts").join(&arguments.target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(program);
    command
        .args(["fuzz", "run", &arguments.target])
        .current_dir(workspace.root())
        .env("RUSTUP_TOOLCHAIN", TOOLCHAIN)
        .arg("--target-dir")
        .arg(&dir);
    match input {
        Some(input) => command.arg(input),
        None => {
            command.arg(&corpus);
            let seeds = workspace.root().join("fuzz/seeds").join(&arguments.target);
            if seeds.is_dir() {
                command.arg(seeds);
            }
            command
                .arg("--")
                .arg(format!(
                    "-max_total_time={}",
                    u64::from(arguments.minutes) * 60
                ))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                // Longer than the longest input of all targets that means something.
                .arg("-max_len=16384")
                // A guest of eight bytes does nothing: inputs are long from the first on.
                .arg("-len_control=0")
                .arg("-timeout=60")
        }
    };
    let status = command.status()?;
    Ok(ExitCode::from(u8::from(!status.success())))
}

/// The names of all targets.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace.root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .and_then(|name| name.to_str())
                .map(str::to_owned),
        );
    }
    names.sort();
    Ok(names)
}
