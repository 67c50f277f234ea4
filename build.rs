//! Compiles the exerciser, which `stickler check` boots, so that it can be built into stickler.
//!
//! The exerciser needs nothing but the standard library, so `rustc` alone does it, in seconds, without
//! another cargo that would wait for the locks of the one that runs us. It is linked static: a guest
//! has no libraries.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "guest/exerciser/src";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SOURCE}");
    let out = PathBuf::from(variable("OUT_DIR"));
    let library = out.join("libstickler_exerciser.rlib");
    rustc(
        "lib.rs",
        "stickler_exerciser",
        &library,
        &["--crate-type".into(), "rlib".into()],
    );
    let mut with_library = OsString::from("stickler_exerciser=");
    with_library.push(&library);
    rustc(
        "main.rs",
        "exerciser",
        &out.join("exerciser"),
        &["--extern".into(), with_library],
    );
}

fn rustc(source: &str, name: &str, to: &Path, more: &[OsString]) {
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition", "2024", "--crate-name", name])
        .arg("--target")
        .arg(variable("TARGET"))
        .args(["-C", "opt-level=s", "-C", "strip=symbols"])
        .args(["-C", "target-feature=+crt-static"])
        // Lints are for whoever works on it, who has clippy.
        .args(["--cap-lints", "allow"])
        .args(more)
        .arg("-o")
        .arg(to)
        .arg(Path::new(SOURCE).join(source));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!(
            "the exerciser does not build ({status}); it is linked static, for which the static C \
             library has to be there (Debian: libc6-dev, Fedora: glibc-static)"
        ),
        Err(error) => panic!("cannot run rustc: {error}"),
    }
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts"))
}
