//! `stickler run`: from options to a machine with devices, and from its end to reports and an exit code.

mod of_firmware;
mod on_qemu;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use stickler_conformance::features::NamedFeature;
use stickler_conformance::{Latitude, Latitudes, latitude};
use stickler_devices::console::Console;
use stickler_devices::interrupt::InterruptSink;
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::DetachedFunction;
use stickler_devices::virtio::Serviced;

use super::args::{Judging, OnViolation, RunOptions};
use super::claims::Claims;
use super::confine::{confine, socket_directories};
use super::devices::{self, DeviceSpecs, Devices, Host, Judged, Terminal, input, raw_mode};
use super::failure::{self, Exit, Failure};
use super::values::MonitorSpec;
use super::{guest, monitor};
use crate::backends::console::{ConsoleSpec, PortKind};
use crate::backends::net::{NetKind, NetSpec};
use crate::confine::{Access, ConfinedProcess};
use crate::end::GuestEnd;
use crate::firmware::{FirmwareSpec, served_files};
use crate::journal::Journal;
use crate::machine::{self, Config, Machine, OutputScanner, SerialConfig, StopHandle};
use crate::report::output::{self, Outputs};
use crate::report::{Report, RunEnd};
use crate::say;
use crate::signals::EndingSignals;
use of_firmware::FirmwareRun;

/// Runs a guest as the options say, from boot to report.
pub fn run(options: RunOptions) -> Result<Exit, Failure> {
    // Before anything is opened, and until the reports are written.
    let signals = failure::catch_signals()?;
    // Errors in the input are found before anything runs.
    let readings = options.judging.readings()?;
    let outputs = Outputs::open(&options.judging.report).map_err(input)?;
    let firmware = match &options.kind.firmware {
        None => {
            readable("kernel", guest::kernel(options.kernel.as_ref())?)?;
            None
        }
        Some(_) => {
            let Some(MonitorSpec::Qemu(path)) = options.kind.monitor(options.monitor.as_ref())?
            else {
                return Err(Failure::Internal("firmware needs QEMU".into()));
            };
            let firmware = options.kind.find(path.as_deref())?;
            firmware
                .map(|firmware| FirmwareRun::prepare(firmware, &options.disk))
                .transpose()?
        }
    };
    if let Some(initrd) = &options.initrd {
        readable("initrd", initrd)?;
    }
    own_files(&options)?;
    let latitudes = Latitudes::from_words(&options.latitude).map_err(Failure::Input)?;
    let devices = Devices::open(&DeviceSpecs {
        nets: &nets_of(&options.net)?,
        served: &firmware
            .iter()
            .flat_map(|_| served_files())
            .collect::<Vec<_>>(),
        disks: &match &firmware {
            Some(firmware) => firmware.disks(&options.disk),
            None => options.disk.clone(),
        },
        console: has_console(&options),
        rng: has_entropy(&options),
        latitudes,
        features: options.features.limits()?,
    })?;

    let journal = Journal::new();
    let judged = Judged {
        readings: readings.clone(),
        processors: Some(options.cpus.into()),
    };
    let access = Access {
        written: outputs.directories(),
        cleaned: socket_directories(&options.console),
    };
    let (end, served) = match &monitor::choose(options.monitor.as_ref(), &options.kind)? {
        MonitorSpec::Kvm => on_kvm(&options, devices, &journal, judged, &access, &signals)?,
        MonitorSpec::Qemu(path) => on_qemu::run(
            &options,
            on_qemu::Booted {
                path: path.as_deref(),
                firmware: firmware.as_ref(),
            },
            devices,
            &journal,
            judged,
            access,
            &signals,
        )?,
    };

    let report = devices::report(end, served, readings, &journal, options.require_drivers)
        .with_latitudes(latitudes, latitude::seed(&options.latitude));
    let boot = firmware.map(|firmware| firmware.report(&report.end, latitudes));
    let report = report.with_boot(boot.transpose()?);
    if !output::text_without_a_file(&options.judging.report) {
        for failed in report.failures() {
            say::line(&failed.message);
        }
    }
    let written = failure::say_unwritten(outputs.write(&report));
    drop(signals);
    Ok(exit(&report, &options).worst(written))
}

/// Finds a file that is used twice before anything is written to it.
fn own_files(options: &RunOptions) -> Result<(), Failure> {
    let mut claims = Claims::default();
    if let Some(kernel) = &options.kernel {
        claims.claim(kernel, "the kernel", false)?;
    }
    if let Some(initrd) = &options.initrd {
        claims.claim(initrd, "the initrd", false)?;
    }
    claims.reports(&options.judging.report)?;
    claims.disks(&options.disk)?;
    claims.consoles(&options.console)
}

/// A run that has ended, and its devices.
type Ended = (RunEnd, Vec<Arc<dyn Serviced>>);

/// Runs the guest on our own machine.
fn on_kvm(
    options: &RunOptions,
    devices: Devices,
    journal: &Journal,
    judged: Judged,
    access: &Access,
    signals: &EndingSignals,
) -> Result<Ended, Failure> {
    let terminal = Terminal::of(&options.console, &options.judging.report);
    let mut machine = Machine::new(config(options, terminal)?, journal.clone())?;
    let console = if !has_console(options) {
        None
    } else {
        Some(console(
            options,
            terminal,
            machine.output_scanner(),
            machine.stop_handle(),
        )?)
    };
    let served = devices.plug(console, &mut machine, journal, judged)?;
    offers_what_was_asked(&served, options)?;
    stop_at_violation(&options.judging, journal, machine.stop_handle());

    // If the input belongs to the serial port, the machine does this.
    let raw = if terminal.console_has_input {
        raw_mode()?
    } else {
        None
    };
    confine(&options.confinement, ConfinedProcess::Guest, access)?;
    let ended = machine.run(signals);
    drop(raw);
    Ok((devices::end_of(ended), served))
}

/// With `--on-violation stop`, ends the guest at the first violation that counts.
pub(super) fn stop_at_violation(judging: &Judging, journal: &Journal, handle: StopHandle) {
    if judging.on_violation == OnViolation::Stop {
        let deny = judging.deny;
        journal.stop_at_violation(
            move |level| deny.stops(level),
            move || handle.stop(GuestEnd::Violation),
        );
    }
}

/// Refuses a run in which no device can offer a feature that the user asked for.
fn offers_what_was_asked(
    served: &[Arc<dyn Serviced>],
    options: &RunOptions,
) -> Result<(), Failure> {
    let latitudes = Latitudes::from_words(&options.latitude).map_err(Failure::Input)?;
    let subsets = [Latitude::FEATURE_SUBSET, Latitude::FEW_FEATURES];
    if subsets.into_iter().any(|latitude| latitudes.has(latitude)) {
        return Ok(());
    }
    let offers = |feature: &NamedFeature| {
        served.iter().any(|device| {
            let of_kind = feature.kind().is_none_or(|kind| kind == device.id().kind);
            of_kind && device.features().offered & feature.mask() != 0
        })
    };
    match options
        .features
        .offer
        .iter()
        .find(|feature| !offers(feature))
    {
        None => Ok(()),
        Some(feature) => Err(Failure::Input(format!(
            "no device of this run can offer '{feature}': leave it out of --offer, or choose devices that can"
        ))),
    }
}

fn config(options: &RunOptions, terminal: Terminal) -> Result<Config, Failure> {
    let mut config = Config::new(guest::kernel(options.kernel.as_ref())?);
    config.initrd.clone_from(&options.initrd);
    config.append = options.append.join(" ");
    config.memory_bytes = options.memory.0;
    config.cpus = options.cpus;
    // Where nobody asked for it, it has been tried.
    config.trust_kvm = options.monitor.is_none();
    config.timeout = options.timeout;
    config.serial = match (terminal.console_has_input, terminal.output_to_stderr) {
        (false, false) => SerialConfig::Stdio,
        (false, true) => SerialConfig::StdinStderr,
        (true, false) => SerialConfig::Output,
        (true, true) => SerialConfig::Stderr,
    };
    Ok(config)
}

/// Makes the console. By default, the output of port 0 goes to standard output, and the input goes to
/// the serial port.
fn console(
    options: &RunOptions,
    terminal: Terminal,
    scanner: OutputScanner,
    handle: StopHandle,
) -> Result<Console, Failure> {
    const DEFAULT: &[ConsoleSpec] = &[ConsoleSpec {
        kind: PortKind::Stdio,
        name: None,
    }];
    let specs = match options.console.as_slice() {
        [] => DEFAULT,
        specs => specs,
    };
    let leave = move || handle.stop(GuestEnd::Interrupted);
    devices::console(specs, terminal, scanner, leave)
}

/// Whether there is a console. Firmware would use it instead of the serial port.
fn has_console(options: &RunOptions) -> bool {
    !options.no_console && (options.kind.firmware.is_none() || !options.console.is_empty())
}

/// Whether there is an entropy device: for firmware, where it has a driver for one.
fn has_entropy(options: &RunOptions) -> bool {
    let wanted = |firmware: &FirmwareSpec| firmware.has_entropy(options.kind.arch);
    !options.no_rng && options.kind.firmware.as_ref().is_none_or(wanted)
}

/// The networks that the user asked for; by default one in userspace.
fn nets_of(asked: &[NetSpec]) -> Result<Vec<NetSpec>, Failure> {
    match asked {
        [] => Ok(vec![NetSpec::default()]),
        [_, _, ..] if asked.iter().any(|spec| spec.kind == NetKind::None) => Err(Failure::Input(
            "--net none conflicts with another --net: leave one of them out".into(),
        )),
        asked => Ok(asked.to_vec()),
    }
}

impl Host for Machine {
    fn surroundings(&mut self, _slot: u8) -> (GuestRam, Arc<dyn InterruptSink>) {
        (self.ram(), self.interrupts())
    }

    fn add<F>(&mut self, slot: u8, function: Arc<F>) -> Result<(), Failure>
    where
        F: DetachedFunction + Serviced + 'static,
    {
        self.add_device(slot, function.clone(), function)?;
        Ok(())
    }
}

fn exit(report: &Report, options: &RunOptions) -> Exit {
    let end = match &report.end {
        RunEnd::Error(message) => {
            failure::say(&Failure::Internal(message.clone()));
            Exit::Internal
        }
        RunEnd::Guest(_) if report.failures().is_empty() => Exit::Conforming,
        RunEnd::Guest(_) => Exit::GuestFailed,
    };
    let verdict = if report.violates(|level| options.judging.deny.counts(level)) {
        Exit::Violation
    } else {
        Exit::Conforming
    };
    end.worst(verdict)
}

/// Finds a missing file before KVM is used.
pub(super) fn readable(what: &'static str, path: &Path) -> Result<(), Failure> {
    let opened = match fs::metadata(path) {
        // To open one would wait for a writer.
        Ok(metadata) if metadata.file_type().is_fifo() => Err(io::Error::other("it is a pipe")),
        Ok(_) => File::open(path).map(drop),
        Err(why) => Err(why),
    };
    opened.map_err(|why| {
        machine::Error::Unreadable {
            what,
            path: path.to_owned(),
            why,
        }
        .into()
    })
}

impl From<machine::Error> for Failure {
    fn from(error: machine::Error) -> Failure {
        if error.is_users() {
            Failure::Input(error.to_string())
        } else {
            Failure::Internal(error.to_string())
        }
    }
}
