//! The help of `stickler check`.

/// The text on exit codes.
macro_rules! check_exit_codes {
    () => {
        "\
Exit codes:
  0  all guests passed and their drivers conformed
  1  a requirement of a level that --deny names was violated
  2  bad usage or input: nothing was run
  3  a guest failed, or the check was interrupted
  4  stickler itself failed
  Where several apply, 4 comes before 1, and 1 before 3."
    };
}

/// What it does.
pub(in crate::cli) const ABOUT: &str = "\
Boots a kernel once with plain devices, and once for each of several seeds with devices that have \
optional behaviour. In each guest a built-in program uses all devices heavily, compares all data, \
unbinds the drivers and binds them again. At the end there is one report. It shows the result for \
each requirement over all runs, which runs failed and how, and the command that repeats such a run.

A run fails when a requirement whose level --deny names is violated, when the guest reports that a \
step failed, when the guest panics, crashes or times out, or when the host finds wrong data on a disk.

Ctrl-C ends the running guests; the report then has the results so far.";

/// Examples.
pub(in crate::cli) const EXAMPLES: &str = concat!(
    "\
Examples:
  stickler check --kernel /boot/vmlinuz-6.12.9-amd64
          The host's own kernel, with its modules: plain devices and eight seeds.
  stickler check --kernel bzImage --modules drivers/ --runs 40 --shrink
          Forty seeds; for each run that fails, find the fewest latitudes with which it fails.
  stickler check --kernel bzImage --latitude seed=17 --latitude none
          Repeat a run that failed, and run the same with plain devices.
  stickler check --kernel bzImage --runs 400 --shard 3/8 --report json=shard-3.json
          One eighth of 400 runs, on one of eight machines; then `stickler merge shard-*.json`.
  stickler check --firmware u-boot --arch aarch64 --runs 40
          The drivers of firmware: does it boot from all of these devices, and is the data right?
  stickler check --kernel bzImage --initrd test.img -- /usr/bin/test --fast
          Run your own test instead of the built-in program.

",
    check_exit_codes!()
);
