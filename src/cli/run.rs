//! `stickler run`: from options to a machine with devices, and from its end to reports and an exit code.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use stickler_conformance::features::{FeatureLimits, NamedFeature};
use stickler_conformance::latitude;
use stickler_conformance::{Judge, Latitude, Latitudes, Readings, Tallies, Version};
use stickler_devices::block::Block;
use stickler_devices::console::Console;
use stickler_devices::entropy::Entropy;
use stickler_devices::interrupt::InterruptSink;
use stickler_devices::memory::GuestRam;
use stickler_devices::net::{Net, NetBackend};
use stickler_devices::virtio::pci::{Options, VirtioPci};
use stickler_devices::virtio::{Serviced, VirtioDevice};

use super::args::{OnViolation, RunOptions};
use super::failure::{self, Exit, Failure};
use crate::backends::console::{self, ConsoleSpec, InputFilter, PortKind, Stdio};
use crate::backends::disk::DiskImage;
use crate::backends::entropy::HostEntropy;
use crate::backends::net::{NetKind, NetSpec};
use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::machine::terminal::{EscapeFilter, RawMode};
use crate::machine::{self, Config, Machine, SerialConfig, StopHandle};
use crate::report::features::ReportedFeatures;
use crate::report::output::{self, Outputs};
use crate::report::{Report, RunEnd};

/// Slots on the bus besides the host bridge's.
const SLOTS: usize = 31;

/// Runs a guest as the options say, from boot to report.
pub fn run(options: RunOptions) -> Result<Exit, Failure> {
    // Errors in the input are found before anything runs.
    let readings = options.judging.readings()?;
    let outputs = Outputs::open(&options.judging.report).map_err(input)?;
    readable("kernel", &options.kernel)?;
    if let Some(initrd) = &options.initrd {
        readable("initrd", initrd)?;
    }
    let devices = Devices::open(&options)?;
    let latitudes = devices.latitudes;

    let journal = Journal::new();
    let terminal = Terminal::of(&options);
    let mut machine = Machine::new(config(&options, terminal), journal.clone())?;
    let console = if options.no_console {
        None
    } else {
        Some(console(&options, terminal, &machine)?)
    };
    let judged = Judged {
        readings: readings.clone(),
        processors: options.cpus.into(),
    };
    let served = devices.plug(console, &mut machine, &journal, judged)?;
    offers_what_was_asked(&served, &options.features.offer, latitudes)?;
    if options.judging.on_violation == OnViolation::Stop {
        let deny = options.judging.deny;
        let handle = machine.stop_handle();
        journal.stop_at_violation(
            move |level| deny.stops(level),
            move || handle.stop(GuestEnd::Violation),
        );
    }

    // If the input belongs to the serial port, the machine does this.
    let raw = if terminal.console_has_input {
        RawMode::enter().map_err(|error| {
            Failure::Internal(format!("cannot switch the terminal to raw mode: {error}"))
        })?
    } else {
        None
    };
    let ended = machine.run();
    drop(raw);
    let end = match ended {
        Ok(end) => RunEnd::Guest(end),
        Err(error) => RunEnd::Error(error.to_string()),
    };

    let mut tallies = Tallies::new(Version::default(), readings);
    for device in &served {
        device.run_ended(end.is_by_guest());
        if let Some(counted) = device.tallies() {
            tallies.merge(&counted);
        }
    }
    let ids = served.iter().map(|device| device.id()).collect();
    let untaken = served.iter().filter(|device| !device.was_taken());
    let untaken = untaken.map(|device| device.id()).collect();
    let features = served.iter().map(|device| {
        ReportedFeatures::new(device.id(), device.features())
            .with_configurations(device.configurations())
    });
    let features: Vec<_> = features.collect();
    // The console's last output comes before the report.
    drop(served);
    let report = Report::new(end, ids, &tallies, &journal)
        .with_latitudes(latitudes, latitude::seed(&options.latitude))
        .with_untaken(untaken, options.require_drivers)
        .with_features(features);
    if !output::text_without_a_file(&options.judging.report) {
        for failed in report.failures() {
            failure::say_line(&failed.message);
        }
    }
    let written = failure::say_unwritten(outputs.write(&report));
    Ok(exit(&report, &options).worst(written))
}

/// Refuses a run in which no device can offer a feature that the user asked for.
fn offers_what_was_asked(
    served: &[Arc<dyn Serviced>],
    offer: &[NamedFeature],
    latitudes: Latitudes,
) -> Result<(), Failure> {
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
    match offer.iter().find(|feature| !offers(feature)) {
        None => Ok(()),
        Some(feature) => Err(Failure::Input(format!(
            "no device of this run can offer '{feature}': leave it out of --offer, or choose devices that can"
        ))),
    }
}

fn config(options: &RunOptions, terminal: Terminal) -> Config {
    let mut config = Config::new(&options.kernel);
    config.initrd.clone_from(&options.initrd);
    config.append = options.append.join(" ");
    config.memory_bytes = options.memory.0;
    config.cpus = options.cpus;
    config.timeout = options.timeout;
    config.serial = match (terminal.console_has_input, terminal.output_to_stderr) {
        (false, false) => SerialConfig::Stdio,
        (false, true) => SerialConfig::StdinStderr,
        (true, false) => SerialConfig::Output,
        (true, true) => SerialConfig::Stderr,
    };
    config
}

/// How serial port and console share standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terminal {
    /// What the user types goes to the console and not to the serial port.
    console_has_input: bool,
    /// The guest's output goes to standard error, because JSON goes to standard output.
    output_to_stderr: bool,
}

impl Terminal {
    fn of(options: &RunOptions) -> Terminal {
        Terminal {
            console_has_input: options
                .console
                .iter()
                .any(|spec| spec.kind == PortKind::Stdio),
            output_to_stderr: output::json_on_stdout(&options.judging.report),
        }
    }
}

/// Makes the console. By default, the output of port 0 goes to standard output, and the input goes to
/// the serial port.
fn console(
    options: &RunOptions,
    terminal: Terminal,
    machine: &Machine,
) -> Result<Console, Failure> {
    const DEFAULT: &[ConsoleSpec] = &[ConsoleSpec {
        kind: PortKind::Stdio,
        name: None,
    }];
    let specs = match options.console.as_slice() {
        [] => DEFAULT,
        specs => specs,
    };
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let stdio = Stdio {
        input: terminal.console_has_input.then(|| stdin.as_fd()),
        output: if terminal.output_to_stderr {
            stderr.as_fd()
        } else {
            stdout.as_fd()
        },
        filter: (terminal.console_has_input && stdin.is_terminal())
            .then(|| escape_filter(machine.stop_handle())),
    };
    let mut console = console::open(specs, stdio).map_err(input)?;
    let mut scanner = machine.output_scanner();
    console.tap(Box::new(move |bytes| scanner.feed(bytes)));
    Ok(console)
}

/// Ends the run when the user types Ctrl-A x.
fn escape_filter(handle: StopHandle) -> InputFilter {
    let mut escape = EscapeFilter::default();
    Box::new(move |typed, input| {
        if escape.feed(typed, input) {
            handle.stop(GuestEnd::Interrupted);
        }
    })
}

/// The devices of a run, with their back ends open, in the order of their slots; the console comes
/// between disks and entropy device.
struct Devices {
    nets: Vec<(NetSpec, Box<dyn NetBackend>)>,
    disks: Vec<DiskImage>,
    console: bool,
    rng: bool,
    latitudes: Latitudes,
    features: FeatureLimits,
}

impl Devices {
    fn open(options: &RunOptions) -> Result<Devices, Failure> {
        let mut nets = Vec::new();
        for spec in nets_of(&options.net)? {
            if let Some(backend) = spec.open().map_err(input)? {
                nets.push((spec, backend));
            }
        }
        let disks = options
            .disk
            .iter()
            .map(DiskImage::open)
            .collect::<Result<Vec<_>, _>>()
            .map_err(input)?;
        let devices = Devices {
            nets,
            disks,
            console: !options.no_console,
            rng: !options.no_rng,
            latitudes: Latitudes::from_words(&options.latitude).map_err(Failure::Input)?,
            features: options.features.limits()?,
        };
        match devices.count() {
            count if count > SLOTS => Err(Failure::Input(format!(
                "{count} devices do not fit on the PCI bus: it has {SLOTS} slots; leave some out"
            ))),
            _ => Ok(devices),
        }
    }

    fn count(&self) -> usize {
        self.nets.len() + self.disks.len() + usize::from(self.console) + usize::from(self.rng)
    }

    /// Puts the devices into their slots, from 1 on, each with a judge of its driver.
    fn plug(
        self,
        console: Option<Console>,
        machine: &mut Machine,
        journal: &Journal,
        judged: Judged,
    ) -> Result<Vec<Arc<dyn Serviced>>, Failure> {
        let mut slots = Slots {
            ram: machine.ram(),
            interrupts: machine.interrupts(),
            machine,
            journal,
            judged,
            options: Options {
                latitudes: self.latitudes,
                features: self.features,
                ..Options::default()
            },
            served: Vec::new(),
        };
        for (spec, backend) in self.nets {
            let mac = spec.mac(slots.next());
            let (net, _link) = Net::new(backend, mac).map_err(|error| {
                Failure::Internal(format!("cannot make a network card: {error}"))
            })?;
            slots.plug(net)?;
        }
        for disk in self.disks {
            slots.plug(Block::new(disk))?;
        }
        if let Some(console) = console {
            slots.plug(console)?;
        }
        if self.rng {
            slots.plug(Entropy::new(HostEntropy))?;
        }
        Ok(slots.served)
    }
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

/// How drivers are judged.
struct Judged {
    readings: Readings,
    /// The guest's processors.
    processors: u16,
}

/// The PCI bus while devices are added.
struct Slots<'a> {
    machine: &'a mut Machine,
    journal: &'a Journal,
    judged: Judged,
    options: Options,
    ram: GuestRam,
    interrupts: Arc<dyn InterruptSink>,
    served: Vec<Arc<dyn Serviced>>,
}

impl Slots<'_> {
    /// The next free slot. Slot 0 is the host bridge's, and there are at most [`SLOTS`] devices.
    fn next(&self) -> u8 {
        self.served.len() as u8 + 1
    }

    /// Puts a device into the next slot.
    fn plug<D: VirtioDevice<Judge>>(&mut self, device: D) -> Result<(), Failure> {
        let slot = self.next();
        let function = VirtioPci::with_options(
            device,
            slot,
            self.ram.clone(),
            self.interrupts.clone(),
            &self.options,
            |id, offered| {
                Judge::new(id, offered, self.journal.recorder())
                    .by(Version::default(), self.judged.readings.clone())
                    .on_processors(self.judged.processors)
            },
        )
        .map_err(|error| {
            Failure::Internal(format!("cannot make the device in slot {slot}: {error}"))
        })?;
        self.machine
            .add_device(slot, function.clone(), function.clone())?;
        self.served.push(function);
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
fn readable(what: &'static str, path: &Path) -> Result<(), Failure> {
    match File::open(path) {
        Ok(_) => Ok(()),
        Err(why) => Err(machine::Error::Unreadable {
            what,
            path: path.to_owned(),
            why,
        }
        .into()),
    }
}

fn input(error: impl std::error::Error) -> Failure {
    Failure::Input(error.to_string())
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
