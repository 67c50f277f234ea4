//! `stickler run`: from options to a machine with devices, from its end to reports and an exit code.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use stickler_conformance::Judge;
use stickler_conformance::judge::Tallies;
use stickler_devices::block::Block;
use stickler_devices::entropy::Entropy;
use stickler_devices::interrupt::InterruptController;
use stickler_devices::memory::GuestRam;
use stickler_devices::net::{Net, NetBackend};
use stickler_devices::virtio::pci::VirtioPci;
use stickler_devices::virtio::{Serviced, VirtioDevice};

use super::args::{OnViolation, Run};
use super::failure::{self, Exit, Failure};
use crate::backends::disk::DiskImage;
use crate::backends::entropy::HostEntropy;
use crate::backends::net::{NetKind, NetSpec};
use crate::journal::Journal;
use crate::machine::{self, Config, GuestEnd, Machine, SerialConfig};
use crate::report::output::{self, Outputs};
use crate::report::{End, Report};

/// Slots on the bus besides the host bridge's.
const SLOTS: usize = 31;

/// Runs a guest as the options say, from boot to report.
pub fn run(options: Run) -> Result<Exit, Failure> {
    // All that can be found wrong is found before anything runs.
    let outputs = Outputs::open(&options.report).map_err(input)?;
    readable("kernel", &options.kernel)?;
    if let Some(initrd) = &options.initrd {
        readable("initrd", initrd)?;
    }
    let devices = Devices::open(&options)?;

    let journal = Journal::new();
    let mut machine = Machine::new(config(&options), journal.clone())?;
    let served = devices.plug(&mut machine, &journal)?;
    if options.on_violation == OnViolation::Stop {
        let deny = options.deny;
        let handle = machine.stop_handle();
        journal.stop_at_violation(
            move |level| deny.stops(level),
            move || handle.stop(GuestEnd::Violation),
        );
    }

    let end = match machine.run() {
        Ok(end) => End::Guest(end),
        Err(error) => End::Error(error.to_string()),
    };

    let mut tallies = Tallies::default();
    for device in &served {
        if let Some(counted) = device.tallies() {
            tallies.merge(&counted);
        }
    }
    let ids = served.iter().map(|device| device.id()).collect();
    let report = Report::new(end, ids, &tallies, &journal);
    let written = write(outputs, &report);
    Ok(exit(&report, &options).worst(written))
}

fn config(options: &Run) -> Config {
    let mut config = Config::new(&options.kernel);
    config.initrd.clone_from(&options.initrd);
    config.append = options.append.join(" ");
    config.memory_bytes = options.memory.0;
    config.cpus = options.cpus;
    config.timeout = options.timeout;
    config.serial = serial(options);
    config
}

/// The serial port is on the terminal; JSON on standard output pushes its output to standard error.
fn serial(options: &Run) -> SerialConfig {
    if output::json_on_stdout(&options.report) {
        SerialConfig::StdinStderr
    } else {
        SerialConfig::Stdio
    }
}

/// The devices of a run, with their back ends open, in the order of their slots.
struct Devices {
    nets: Vec<(NetSpec, Box<dyn NetBackend>)>,
    disks: Vec<DiskImage>,
    rng: bool,
}

impl Devices {
    fn open(options: &Run) -> Result<Devices, Failure> {
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
            rng: !options.no_rng,
        };
        match devices.count() {
            count if count > SLOTS => Err(Failure::Input(format!(
                "{count} devices do not fit on the PCI bus: it has {SLOTS} slots; leave some out"
            ))),
            _ => Ok(devices),
        }
    }

    fn count(&self) -> usize {
        self.nets.len() + self.disks.len() + usize::from(self.rng)
    }

    /// Puts the devices into their slots, from 1 on, each with a judge of its driver.
    fn plug(
        self,
        machine: &mut Machine,
        journal: &Journal,
    ) -> Result<Vec<Arc<dyn Serviced>>, Failure> {
        let mut slots = Slots {
            ram: machine.ram(),
            interrupts: machine.interrupts(),
            machine,
            journal,
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
        if self.rng {
            slots.plug(Entropy::new(HostEntropy))?;
        }
        Ok(slots.served)
    }
}

/// The networks asked for; one in userspace unless the user says otherwise.
fn nets_of(asked: &[NetSpec]) -> Result<Vec<NetSpec>, Failure> {
    match asked {
        [] => Ok(vec![NetSpec::default()]),
        [_, _, ..] if asked.iter().any(|spec| spec.kind == NetKind::None) => Err(Failure::Input(
            "--net none does not go with another --net: leave one of them out".into(),
        )),
        asked => Ok(asked.to_vec()),
    }
}

/// The bus as it fills up.
struct Slots<'a> {
    machine: &'a mut Machine,
    journal: &'a Journal,
    ram: GuestRam,
    interrupts: Arc<dyn InterruptController>,
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
        let function = VirtioPci::new(
            device,
            slot,
            self.ram.clone(),
            self.interrupts.clone(),
            |id, offered| Judge::new(id, offered, self.journal.recorder()),
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

/// Writes all reports; tells of those that cannot be written.
fn write(outputs: Outputs, report: &Report) -> Exit {
    let mut exit = Exit::Conforming;
    for error in outputs.write(report) {
        // A reader who has seen enough of standard output may go.
        if !error.is_broken_pipe() {
            failure::say(&error);
            exit = Exit::Internal;
        }
    }
    exit
}

fn exit(report: &Report, options: &Run) -> Exit {
    let end = match &report.end {
        End::Guest(GuestEnd::PowerOff | GuestEnd::Reset | GuestEnd::Violation) => Exit::Conforming,
        End::Guest(
            GuestEnd::Panic(_) | GuestEnd::TripleFault | GuestEnd::Timeout | GuestEnd::Interrupted,
        ) => Exit::GuestFailed,
        End::Error(message) => {
            failure::say(&Failure::Internal(message.clone()));
            Exit::Internal
        }
    };
    let verdict = if report.violates(|level| options.deny.counts(level)) {
        Exit::Violation
    } else {
        Exit::Conforming
    };
    end.worst(verdict)
}

/// Finds files that are not there before KVM is asked for anything.
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
