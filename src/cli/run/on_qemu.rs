//! A run on QEMU: the devices are served to it.

use std::path::Path;

use super::of_firmware::FirmwareRun;
use super::{Ended, RunOptions, console, has_console, offers_what_was_asked, stop_at_violation};
use crate::children::ScratchDirectory;
use crate::cli::confine::{confine, directory_of};
use crate::cli::devices::{self, Devices, Judged, Terminal, input, raw_mode};
use crate::cli::failure::Failure;
use crate::cli::guest;
use crate::confine::{Access, ConfinedProcess};
use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::machine::command_line_on;
use crate::qemu::{BootSource, Guest, GuestConfig, Qemu, QemuEnd};
use crate::report::RunEnd;
use crate::serve::{DeviceServer, Until};
use crate::signals::EndingSignals;

/// The most bytes of a kernel's command line, those of x86.
const COMMAND_LINE: usize = 2047;

/// What the guest boots.
fn boot(options: &RunOptions, firmware: Option<&FirmwareRun>) -> Result<BootSource, Failure> {
    if let Some(firmware) = firmware {
        return Ok(BootSource::Firmware {
            firmware: firmware.firmware().clone(),
            watch: firmware.watch(),
        });
    }
    let port = options.kind.arch.serial_port();
    Ok(BootSource::Kernel {
        kernel: guest::kernel(options.kernel.as_ref())?.to_owned(),
        initrd: options.initrd.clone(),
        command_line: command_line_on(port, &options.append.join(" "), COMMAND_LINE)?,
    })
}

/// What QEMU is to run, besides the options.
pub(super) struct Booted<'a> {
    /// The program, if it was named.
    pub(super) path: Option<&'a Path>,
    /// The firmware, if there is no kernel.
    pub(super) firmware: Option<&'a FirmwareRun>,
}

/// Runs the guest.
pub(super) fn run(
    options: &RunOptions,
    Booted { path, firmware }: Booted<'_>,
    devices: Devices,
    journal: &Journal,
    judged: Judged,
    mut access: Access,
    signals: &EndingSignals,
) -> Result<Ended, Failure> {
    let qemu = Qemu::find(path, options.kind.arch).map_err(input)?;
    let terminal = Terminal::of(&options.console, &options.judging.report);
    let config = GuestConfig {
        arch: options.kind.arch,
        boot: boot(options, firmware)?,
        memory_bytes: options.memory.0,
        cpus: options.cpus,
        takes_input: !terminal.console_has_input,
        output_to_stderr: terminal.output_to_stderr,
    };
    let directory = ScratchDirectory::new("stickler-")
        .map_err(|error| Failure::Internal(format!("cannot make a directory: {error}")))?;
    let sockets = directory.path().join("devices");
    let mut server = DeviceServer::new(&sockets, devices.count())?;
    let stop = server.stop_handle();
    let scanner = server.output_scanner(journal.clone());
    let console = if !has_console(options) {
        None
    } else {
        Some(console(
            options,
            terminal,
            scanner.of_another_console(),
            stop.clone(),
        )?)
    };
    let served = devices.plug(console, &mut server, journal, judged)?;
    offers_what_was_asked(&served, options)?;
    stop_at_violation(&options.judging, journal, stop.clone());

    let raw = raw_mode()?;
    let guest = Guest::start(
        &qemu,
        &config,
        &server.sockets(),
        directory.path(),
        scanner,
        &stop,
    )
    .map_err(|error| Failure::Internal(format!("cannot start QEMU: {error}")))?;
    access.cleaned.push(directory_of(directory.path()));
    confine(&options.confinement, ConfinedProcess::Guest, &access)?;
    // QEMU says itself when the guest has ended.
    let until = Until {
        kept: true,
        timeout: options.timeout,
    };
    let (ended, complaints) = server.run(until, signals);
    let qemu_end = guest.end();
    drop(raw);
    let end = match (ended, qemu_end) {
        (Ok(GuestEnd::Disconnected), QemuEnd::NotBegun(said)) => {
            return Err(Failure::Input(format!(
                "QEMU cannot run this guest: {said}"
            )));
        }
        (Ok(GuestEnd::Disconnected), QemuEnd::Failed(said)) => {
            RunEnd::Error(format!("QEMU ended before the guest did: {said}"))
        }
        (Ok(_), _) if complaints > 0 => {
            RunEnd::Error("QEMU broke the protocol of its devices".to_owned())
        }
        (ended, _) => devices::end_of(ended),
    };
    Ok((end, served))
}
