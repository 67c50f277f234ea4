//! The devices of a run, from options to functions that a host serves, and from their counts to the report.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use stickler_conformance::features::FeatureLimits;
use stickler_conformance::{Judge, Latitudes, Readings, Tallies, Version};
use stickler_devices::block::Block;
use stickler_devices::console::Console;
use stickler_devices::entropy::Entropy;
use stickler_devices::interrupt::InterruptSink;
use stickler_devices::memory::GuestRam;
use stickler_devices::net::{Net, NetBackend};
use stickler_devices::pci::DetachedFunction;
use stickler_devices::virtio::pci::{Options, VirtioPci};
use stickler_devices::virtio::{Serviced, VirtioDevice};

use super::failure::Failure;
use crate::backends::console::{self, ConsoleSpec, InputFilter, PortKind, Stdio};
use crate::backends::disk::{DiskImage, DiskSpec};
use crate::backends::entropy::HostEntropy;
use crate::backends::net::NetSpec;
use crate::backends::net::user::ServedFile;
use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::machine::terminal::{EscapeFilter, RawMode};
use crate::machine::{self, OutputScanner};
use crate::report::features::ReportedFeatures;
use crate::report::output::{self, ReportSpec};
use crate::report::{Report, RunEnd};

/// Slots on the bus besides the host bridge's.
const SLOTS: usize = 31;

/// How long a device may take to answer at the end of a run.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever has the guest: where devices reach its memory and interrupt it, and who brings its accesses.
pub(super) trait Host {
    /// The memory and the interrupts of the device that will be in `slot`.
    fn surroundings(&mut self, slot: u8) -> (GuestRam, Arc<dyn InterruptSink>);

    /// Takes over a device, for `slot`.
    ///
    /// # Errors
    /// There is no such slot, or no means for another device.
    fn add<F>(&mut self, slot: u8, function: Arc<F>) -> Result<(), Failure>
    where
        F: DetachedFunction + Serviced + 'static;
}

/// Which devices there are to be.
pub(super) struct DeviceSpecs<'a> {
    pub(super) nets: &'a [NetSpec],
    /// What the network `user` sends by TFTP.
    pub(super) served: &'a [ServedFile],
    pub(super) disks: &'a [DiskSpec],
    pub(super) console: bool,
    pub(super) rng: bool,
    pub(super) latitudes: Latitudes,
    pub(super) features: FeatureLimits,
}

/// How drivers are judged.
pub(super) struct Judged {
    pub(super) readings: Readings,
    /// The guest's processors, if that is known.
    pub(super) processors: Option<u16>,
}

/// The devices of a run, with their back ends open, in the order of their slots; the console comes
/// between disks and entropy device.
pub(super) struct Devices {
    nets: Vec<(NetSpec, Box<dyn NetBackend>)>,
    disks: Vec<DiskImage>,
    console: bool,
    rng: bool,
    latitudes: Latitudes,
    features: FeatureLimits,
}

impl Devices {
    pub(super) fn open(specs: &DeviceSpecs<'_>) -> Result<Devices, Failure> {
        let mut nets = Vec::new();
        for spec in specs.nets {
            if let Some(backend) = spec.open(specs.served).map_err(input)? {
                nets.push((spec.clone(), backend));
            }
        }
        let disks = specs
            .disks
            .iter()
            .map(DiskImage::open)
            .collect::<Result<Vec<_>, _>>()
            .map_err(input)?;
        let devices = Devices {
            nets,
            disks,
            console: specs.console,
            rng: specs.rng,
            latitudes: specs.latitudes,
            features: specs.features,
        };
        match devices.count() {
            count if count > SLOTS => Err(Failure::Input(format!(
                "{count} devices do not fit on the PCI bus: it has {SLOTS} slots; leave some out"
            ))),
            _ => Ok(devices),
        }
    }

    /// How many devices there are.
    pub(super) fn count(&self) -> usize {
        self.nets.len() + self.disks.len() + usize::from(self.console) + usize::from(self.rng)
    }

    /// Puts the devices into their slots, from 1 on, each with a judge of its driver.
    pub(super) fn plug(
        self,
        console: Option<Console>,
        host: &mut impl Host,
        journal: &Journal,
        judged: Judged,
    ) -> Result<Vec<Arc<dyn Serviced>>, Failure> {
        let mut slots = Slots {
            host,
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

/// A host while devices are added.
struct Slots<'a, H> {
    host: &'a mut H,
    journal: &'a Journal,
    judged: Judged,
    options: Options,
    served: Vec<Arc<dyn Serviced>>,
}

impl<H: Host> Slots<'_, H> {
    /// The next free slot. Slot 0 is the host bridge's, and there are at most [`SLOTS`] devices.
    fn next(&self) -> u8 {
        self.served.len() as u8 + 1
    }

    /// Puts a device into the next slot.
    fn plug<D: VirtioDevice<Judge>>(&mut self, device: D) -> Result<(), Failure> {
        let slot = self.next();
        let (ram, interrupts) = self.host.surroundings(slot);
        let function = VirtioPci::with_options(
            device,
            slot,
            ram,
            interrupts,
            &self.options,
            |id, offered| {
                let judge = Judge::new(id, offered, self.journal.recorder())
                    .by(Version::default(), self.judged.readings.clone());
                match self.judged.processors {
                    Some(processors) => judge.on_processors(processors),
                    None => judge,
                }
            },
        )
        .map_err(|error| {
            Failure::Internal(format!("cannot make the device in slot {slot}: {error}"))
        })?;
        self.host.add(slot, function.clone())?;
        self.served.push(function);
        Ok(())
    }
}

/// How serial port and console share standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    /// What the user types goes to the console and not to the serial port.
    pub(super) console_has_input: bool,
    /// The guest's output goes to standard error, because JSON goes to standard output.
    pub(super) output_to_stderr: bool,
}

impl Terminal {
    pub(super) fn of(console: &[ConsoleSpec], report: &[ReportSpec]) -> Terminal {
        Terminal {
            console_has_input: console.iter().any(|spec| spec.kind == PortKind::Stdio),
            output_to_stderr: output::json_on_stdout(report),
        }
    }
}

/// Makes the console of these ports. `leave` is called when the user types Ctrl-A x.
pub(super) fn console(
    specs: &[ConsoleSpec],
    terminal: Terminal,
    mut scanner: OutputScanner,
    leave: impl Fn() + Send + 'static,
) -> Result<Console, Failure> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let stdio = Stdio {
        input: terminal.console_has_input.then(|| stdin.as_fd()),
        output: if terminal.output_to_stderr {
            stderr.as_fd()
        } else {
            stdout.as_fd()
        },
        filter: (terminal.console_has_input && stdin.is_terminal()).then(|| escape_filter(leave)),
    };
    let mut console = console::open(specs, stdio).map_err(input)?;
    console.tap(Box::new(move |bytes| scanner.feed(bytes)));
    Ok(console)
}

/// Ends the run when the user types Ctrl-A x.
fn escape_filter(leave: impl Fn() + Send + 'static) -> InputFilter {
    let mut escape = EscapeFilter::default();
    Box::new(move |typed, input| {
        if escape.feed(typed, input) {
            leave();
        }
    })
}

/// The report of a run that has ended: no driver can access the devices any more.
pub(super) fn report(
    end: RunEnd,
    served: Vec<Arc<dyn Serviced>>,
    readings: Readings,
    journal: &Journal,
    require_drivers: bool,
) -> Report {
    let mut tallies = Tallies::new(Version::default(), readings);
    let ids = served.iter().map(|device| device.id()).collect();
    // One that hangs with the host is left alone: it may never let go of its lock.
    let (served, hung): (Vec<_>, Vec<_>) = served
        .into_iter()
        .partition(|device| device.answers_within(PATIENCE));
    let end = match hung.first() {
        Some(device) => RunEnd::Error(format!(
            "the {} device in slot {} hangs with this host: what it has counted is not in the report",
            device.id().kind.name(),
            device.id().slot
        )),
        None => end,
    };
    // Whatever is in it, nobody waits for that.
    std::mem::forget(hung);
    for device in &served {
        device.run_ended(end.is_by_guest());
        if let Some(counted) = device.tallies() {
            tallies.merge(&counted);
        }
    }
    let untaken = served.iter().filter(|device| !device.was_taken());
    let untaken = untaken.map(|device| device.id()).collect();
    let features = served.iter().map(|device| {
        ReportedFeatures::new(device.id(), device.features())
            .with_configurations(device.configurations())
    });
    let features = features.collect();
    // The console's last output comes before the report.
    drop(served);
    Report::new(end, ids, &tallies, journal)
        .with_untaken(untaken, require_drivers)
        .with_features(features)
}

/// How a run ended, from what its host says.
pub(super) fn end_of(ended: Result<GuestEnd, machine::Error>) -> RunEnd {
    match ended {
        Ok(end) => RunEnd::Guest(end),
        Err(error) => RunEnd::Error(error.to_string()),
    }
}

/// Switches the terminal to raw mode, if standard input is one.
pub(super) fn raw_mode() -> Result<Option<RawMode>, Failure> {
    RawMode::enter().map_err(|error| {
        Failure::Internal(format!("cannot switch the terminal to raw mode: {error}"))
    })
}

/// What the user gave is unsuitable.
pub(super) fn input(error: impl std::error::Error) -> Failure {
    Failure::Input(error.to_string())
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
