//! The workspace: where things are, and how its programs are built.

use std::ffi::OsString;
use std::fs;
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
        // Cargo tells the programs that it runs where their package is. Without it, the workspace is the one that
        // we were started in. The place where we were compiled may be another copy of it.
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => PathBuf::from(package),
            None => std::env::current_dir().context("cannot find the current directory")?,
        };
        let root = root_above(&start)?;
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

/// The root of the workspace that `start` is in.
fn root_above(start: &Path) -> Result<PathBuf> {
    let is_root = |directory: &&Path| {
        let manifest = fs::read_to_string(directory.join("Cargo.toml"));
        manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
            && directory.join("xtask/Cargo.toml").is_file()
    };
    let root = start.ancestors().find(is_root).with_context(|| {
        format!(
            "{} is not in a checkout of stickler: start `cargo xtask` in one",
            start.display()
        )
    })?;
    Ok(root.to_owned())
}

/// The directory with the programs that run in the lab and in guests.
pub(crate) struct Programs(PathBuf);

impl Programs {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copied or moved checkout is its own workspace, whatever was compiled where.
    #[test]
    fn the_root_is_that_of_the_checkout_one_is_in() {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        let inner = copy.join("xtask/src/gates");
        fs::create_dir_all(&inner).unwrap();
        fs::write(copy.join("Cargo.toml"), "# c\n[workspace]\nmembers = []\n").unwrap();
        fs::write(copy.join("xtask/Cargo.toml"), "[package]\n").unwrap();
        for start in [&copy, &copy.join("xtask"), &inner] {
            assert_eq!(root_above(start).unwrap(), copy);
        }
        let error = root_above(directory.path()).unwrap_err().to_string();
        assert!(error.contains("cargo xtask"), "{error}");
        // Another project's workspace around the checkout is not taken for it.
        fs::write(directory.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        assert_eq!(root_above(&inner).unwrap(), copy);
        assert!(root_above(directory.path()).is_err());
    }

    #[test]
    fn these_tests_are_in_a_checkout() {
        let root = Workspace::find().unwrap();
        assert!(root.root().join("src/main.rs").is_file());
    }
}
