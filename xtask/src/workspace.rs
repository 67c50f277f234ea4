//! The workspace: where things are, and how its programs are built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The target of the programs that run in the lab and in guests; they are linked statically, because neither
/// has libraries.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The workspace's directories.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is a directory of the workspace")?
            .to_owned();
        ensure!(
            cfg!(target_arch = "x86_64") && cfg!(target_os = "linux"),
            "stickler and its lab need Linux on x86-64"
        );
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => std::path::absolute(dir)?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The directory with the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where `cargo install --root` may put tools for this workspace alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The directory for downloads and other files that are made once.
    pub(crate) fn cache(&self) -> PathBuf {
        self.target.join("lab")
    }

    /// Cargo, in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo of another toolchain of rustup's, in the workspace.
    pub(crate) fn cargo_of(&self, toolchain: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", toolchain, "cargo"]);
        // The cargo that runs us has set these for its own toolchain.
        command.env_remove("CARGO").env_remove("RUSTC");
        command.current_dir(&self.root);
        command
    }

    /// Builds the programs that run in the lab and in guests.
    pub(crate) fn build_programs(&self) -> Result<Programs> {
        let mut cargo = self.cargo();
        cargo
            .args(["build", "--release", "--locked", "--target", TARGET])
            .args(["--package", "stickler", "--bins"])
            .args(["--package", "stickler-exerciser"])
            .args(["--package", "stickler-guest-programs"])
            .arg("--config")
            .arg(format!(
                "target.{TARGET}.rustflags=[\"-C\", \"target-feature=+crt-static\"]"
            ))
            .args(["--config", "profile.release.strip=\"debuginfo\""]);
        let output = cargo
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .context("cannot start cargo")?;
        ensure!(
            output.status.success(),
            "the programs for the lab do not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Programs(self.target.join(TARGET).join("release")))
    }
}

/// The directory with the programs that run in the lab and in guests.
pub(crate) struct Programs(PathBuf);

impl Programs {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
