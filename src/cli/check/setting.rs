//! What all runs of a check have in common, from its options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use stickler_exerciser::{INTERRUPTS_PARAMETER, INTERRUPTS_RELAYED};

use super::{CheckOptions, Failure, GuestImage, MonitorSpec};
use crate::check::repeat::CommonOptions;
use crate::check::run::Setting;
use crate::confine::Confinement;
use crate::qemu::GuestArch;

/// What all runs have in common.
pub(super) fn of(
    options: &CheckOptions,
    monitor: &MonitorSpec,
    guest: GuestImage,
    scratch: PathBuf,
) -> Result<Setting, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Internal(format!("cannot find stickler itself: {error}")))?;
    let mut arguments: Vec<OsString> = Vec::new();
    for (option, value) in [
        ("--memory", options.memory.to_string()),
        ("--monitor", monitor.to_string()),
        ("--reading", options.judging.reading.to_string()),
        ("--on-violation", spelled(options.judging.on_violation)),
        ("--deny", spelled(options.judging.deny)),
    ] {
        arguments.extend([option.into(), value.into()]);
    }
    let confinement = options.confinement.confine;
    if confinement != Confinement::default() {
        arguments.extend(["--confine".into(), confinement.name().into()]);
    }
    if let Some(firmware) = &options.kind.firmware {
        arguments.extend(["--firmware".into(), firmware.to_string().into()]);
    }
    if options.kind.arch != GuestArch::default() {
        arguments.extend(["--arch".into(), options.kind.arch.name().into()]);
    }
    arguments.extend(options.devices.arguments());
    arguments.extend(options.features.arguments().map(OsString::from));
    for name in &options.judging.propose {
        arguments.extend(["--propose".into(), name.into()]);
    }
    Ok(Setting {
        program,
        kernel: options.kernel.clone().unwrap_or_default(),
        guest,
        common: common(options, &arguments),
        append: append(options, monitor),
        arguments,
        disks: options.devices.disk.is_empty(),
        consoles: options.devices.console.is_empty() && !options.devices.no_console,
        timeout: timeout(options),
        stress: options.stress,
        deny: options.judging.deny,
        // Firmware has drivers for what it boots from, and a few more.
        require_drivers: options.require_drivers && options.kind.firmware.is_none(),
        scratch,
        keep: options.keep.clone(),
    })
}

/// The time limit of each guest.
fn timeout(options: &CheckOptions) -> Duration {
    const OF_KERNELS: Duration = Duration::from_secs(300);
    const OF_FIRMWARE: Duration = Duration::from_secs(60);
    options.timeout.unwrap_or(match options.kind.firmware {
        None => OF_KERNELS,
        Some(_) => OF_FIRMWARE,
    })
}

/// Refuses what needs a program of stickler's own in a guest with another processor.
pub(super) fn for_own_programs(options: &CheckOptions) -> Result<(), Failure> {
    let arch = options.kind.arch;
    let is_system = options.initrd.is_some() && options.command.is_empty();
    if arch == GuestArch::default() || is_system {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "this stickler has its program for guests of {} only: for {arch}, give a system of your own that powers itself \
         off (--initrd, without a command)",
        GuestArch::default()
    )))
}

/// Refuses what firmware has no use for.
pub(super) fn for_kernels(options: &CheckOptions) -> Result<(), Failure> {
    let given = [
        ("--modules", options.modules.is_some()),
        ("--module", !options.module.is_empty()),
        ("--steps", options.steps.is_some()),
        ("--stress", options.stress.is_some()),
        ("a command", !options.command.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((what, _)) => Err(Failure::Input(format!(
            "{what} is for kernels and conflicts with --firmware: leave one of them out"
        ))),
    }
}

/// What is added to the kernel's command line.
fn append(options: &CheckOptions, monitor: &MonitorSpec) -> String {
    let mut words = options.append.clone();
    if let MonitorSpec::Qemu(_) = monitor {
        words.push(format!("{INTERRUPTS_PARAMETER}={INTERRUPTS_RELAYED}"));
    }
    words.join(" ")
}

/// The options without which a run of these would be another.
fn common(options: &CheckOptions, passed_on: &[OsString]) -> CommonOptions {
    let mut words: Vec<OsString> = Vec::new();
    let mut give = |option: &str, value: OsString| words.extend([option.into(), value]);
    if let Some(kernel) = &options.kernel {
        give("--kernel", kernel.clone().into());
    }
    for (option, file) in (options.modules.iter().map(|file| ("--modules", file)))
        .chain(options.module.iter().map(|file| ("--module", file)))
        .chain(options.initrd.iter().map(|file| ("--initrd", file)))
    {
        give(option, file.clone().into());
    }
    for append in &options.append {
        give("--append", append.into());
    }
    let times = [
        ("--stress", options.stress),
        ("--timeout", Some(timeout(options))),
    ];
    for (option, time) in times.iter().filter_map(|(o, time)| Some((o, (*time)?))) {
        give(option, format!("{}ms", time.as_millis()).into());
    }
    if !options.require_drivers {
        give("--require-drivers", "no".into());
    }
    words.extend_from_slice(passed_on);
    CommonOptions {
        options: words,
        command: options.command.clone(),
    }
}

/// A value as the command line spells it.
fn spelled(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or(String::new(), |value| value.get_name().to_owned())
}
