//! A program that is run instead of the exercise.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use stickler_exerciser::{COMMAND, PATH, PROGRAMS};

use crate::failure::{Context, Result, ensure};

/// Runs it, and fails unless its exit code is 0.
pub(crate) fn run() -> Result {
    let words = fs::read(COMMAND).context("cannot read the command")?;
    let mut words = words
        .split(|&byte| byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()));
    let program = words.next().context("there is no command")?;
    let mut arguments: Vec<OsString> = words.collect();
    // The last word ends with a null byte, too.
    arguments.pop();
    let status = Command::new(&program)
        .args(arguments)
        .env("PATH", format!("{PROGRAMS}:{PATH}"))
        .current_dir("/")
        .stdin(Stdio::null())
        .status()
        .context(format!("cannot run {}", program.display()))?;
    ensure(status.success(), || format!("{status}"))
}
