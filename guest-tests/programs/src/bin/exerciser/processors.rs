//! The machine as such: its processors and its memory.

use std::fs;
use std::thread;

use anyhow::{Context, Result, ensure};
use stickler_guest_programs::exercise::{CPUS_PARAMETER, MEMORY_PARAMETER};
use stickler_guest_programs::machine::kernel_parameter;

/// As many processors run, and as much memory is there, as the command line says there should be.
pub(crate) fn check() -> Result<()> {
    if let Some(expected) = kernel_parameter(CPUS_PARAMETER)? {
        let expected: usize = expected.parse().context(CPUS_PARAMETER)?;
        let found = thread::available_parallelism()?.get();
        ensure!(
            found == expected,
            "{found} processors run instead of {expected}"
        );
    }
    if let Some(expected) = kernel_parameter(MEMORY_PARAMETER)? {
        let expected: u64 = expected.parse().context(MEMORY_PARAMETER)?;
        let text = fs::read_to_string("/proc/meminfo")?;
        let found: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|value| value.split_whitespace().next())
            .context("no MemTotal in /proc/meminfo")?
            .parse()?;
        ensure!(
            found >> 10 >= expected,
            "the guest has {} MiB of memory instead of {expected}",
            found >> 10
        );
    }
    Ok(())
}
