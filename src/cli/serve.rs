//! `stickler serve`: devices for the guest of another monitor.

mod marks;

use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stickler_conformance::latitude::Word;
use stickler_conformance::{Latitudes, latitude};
use stickler_devices::interrupt::InterruptSink;
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::DetachedFunction;
use stickler_devices::virtio::Serviced;

use super::args::{ConfineOptions, Judging};
use super::claims::Claims;
use super::confine::{confine, directory_of, socket_directories};
use super::devices::{self, DeviceSpecs, Devices, Host, Judged, Terminal, input, raw_mode};
use super::failure::{self, Exit, Failure};
use super::features::FeatureOptions;
use super::run::stop_at_violation;
use super::values;
use marks::MarkSource;

use crate::backends::console::ConsoleSpec;
use crate::backends::disk::DiskSpec;
use crate::backends::net::{NetKind, NetSpec};
use crate::confine::{Access, ConfinedProcess};
use crate::end::GuestEnd;
use crate::journal::Journal;
use crate::report::output::Outputs;
use crate::report::{Report, RunEnd};
use crate::serve::{DeviceServer, ServeError, Until, monitor};

pub(super) const ABOUT: &str = "\
Serves virtio 1.0 devices through vfio-user to a guest that QEMU (10.1 or newer) or Cloud Hypervisor \
runs, and judges its drivers: firmware and operating systems of any architecture, with or without KVM. \
Each device has a socket; what to add to the command line of the monitor is printed. Ends with the report \
when the monitor has gone, or at Ctrl-C or SIGTERM.

A monitor that breaks the protocol is reported on standard error, and never blamed on a driver. A device that \
the monitor resets, or that another monitor takes over, is a fresh one; the report is about all its drivers.";

pub(super) const EXAMPLES: &str = "\
Examples:
  stickler serve --socket /tmp/devices --disk disk.img --net user --rng
          Three devices: /tmp/devices/1-net.sock, 2-block.sock and 3-entropy.sock.
  stickler serve --socket disk.sock --disk boot.img --latitude small-segments --report json=out.json
          One device; does this firmware cope?

Exit codes:
  0  the drivers conformed
  1  a requirement of a level that --deny names was violated
  2  bad usage or input: nothing was served
  3  a monitor broke the protocol, the guest panicked, or --timeout was over
  4  stickler itself failed
  Where several apply, 4 comes before 1, and 1 before 3.";

/// `stickler serve`.
#[derive(Debug, Args)]
pub struct ServeOptions {
    /// Where the sockets are: a directory with one for each device, or the socket of a single device
    ///
    /// The directory is made if there is none.
    #[arg(long, value_name = "PATH", help_heading = "Serving")]
    pub socket: PathBuf,

    /// Go on when all monitors have gone, until Ctrl-C or SIGTERM
    #[arg(long, help_heading = "Serving")]
    pub keep: bool,

    /// Time limit: 60s, 2m, 1m30s [default: none]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Serving")]
    pub timeout: Option<Duration>,

    /// Where the output of the guest's serial port comes from: a named pipe to which the monitor writes it, or - for
    /// standard input
    ///
    /// Its lines `@mark NAME` are marks, as in `stickler run`, and a panic of the guest's kernel is recognized.
    #[arg(long, value_name = "FIFO|-", help_heading = "Serving")]
    pub marks: Option<MarkSource>,

    /// Network card and its network: user or tap=NAME; see `stickler run --help`
    #[arg(long, value_name = "NET[,OPTION]", help_heading = "Devices")]
    pub net: Vec<NetSpec>,

    /// Disk: a raw image or a block device; `,ro` makes it read-only
    #[arg(long, value_name = "FILE[,ro]", help_heading = "Devices")]
    pub disk: Vec<DiskSpec>,

    /// Console with a port that is connected to stdio, null, file=PATH or socket=PATH; further ones are
    /// further ports
    #[arg(long, value_name = "PORT[,name=NAME]", help_heading = "Devices")]
    pub console: Vec<ConsoleSpec>,

    /// Entropy device
    #[arg(long, help_heading = "Devices")]
    pub rng: bool,

    /// Optional behaviour of the devices (latitudes): names, seed=N, or none; see `stickler run --help`
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = Word::from_str,
        default_value = "none",
        help_heading = "Devices"
    )]
    pub latitude: Vec<Word>,

    /// Which features devices offer.
    #[command(flatten)]
    pub features: FeatureOptions,

    /// How to judge, and where the reports go.
    #[command(flatten)]
    pub judging: Judging,

    /// Confinement.
    #[command(flatten)]
    pub confinement: ConfineOptions,
}

/// Serves devices as the options say, from the sockets to the report.
pub fn serve(options: ServeOptions) -> Result<Exit, Failure> {
    // Before anything is opened, and until the reports are written.
    let signals = failure::catch_signals()?;
    // Errors in the input are found before anything is served.
    let readings = options.judging.readings()?;
    let count = device_count(&options)?;
    let outputs = Outputs::open(&options.judging.report).map_err(input)?;
    let mut claims = Claims::default();
    claims.reports(&options.judging.report)?;
    claims.disks(&options.disk)?;
    claims.consoles(&options.console)?;
    let latitudes = Latitudes::from_words(&options.latitude).map_err(Failure::Input)?;
    let devices = Devices::open(&DeviceSpecs {
        nets: &options.net,
        served: &[],
        disks: &options.disk,
        console: !options.console.is_empty(),
        rng: options.rng,
        latitudes,
        features: options.features.limits()?,
    })?;

    let journal = Journal::new();
    let mut server = DeviceServer::new(&options.socket, count)?;
    let terminal = Terminal::of(&options.console, &options.judging.report);
    let console = match options.console.as_slice() {
        [] => None,
        specs => {
            let handle = server.stop_handle();
            let leave = move || handle.stop(GuestEnd::Interrupted);
            let scanner = server.output_scanner(journal.clone());
            Some(devices::console(specs, terminal, scanner, leave)?)
        }
    };
    let judged = Judged {
        readings: readings.clone(),
        processors: None,
    };
    let served = devices.plug(console, &mut server, &journal, judged)?;
    stop_at_violation(&options.judging, &journal, server.stop_handle());

    if let Some(source) = &options.marks {
        if *source == MarkSource::Stdin && terminal.console_has_input {
            return Err(Failure::Input(
                "--marks - and --console stdio both read standard input: use a named pipe for one of them".into(),
            ));
        }
        source.read(server.output_scanner(journal.clone()))?;
    }
    let instructions = monitor::instructions(&server.sockets());
    // Not being able to read it is no reason not to serve.
    let _ = writeln!(io::stderr(), "{instructions}");
    let raw = if terminal.console_has_input {
        raw_mode()?
    } else {
        None
    };
    confine(
        &options.confinement,
        ConfinedProcess::Guest,
        &Access {
            written: outputs.directories(),
            cleaned: [directory_of(&options.socket), options.socket.clone()]
                .into_iter()
                .chain(socket_directories(&options.console))
                .collect(),
        },
    )?;
    let until = Until {
        kept: options.keep,
        timeout: options.timeout,
    };
    let (ended, complaints) = server.run(until, &signals);
    drop(raw);
    let end = devices::end_of(ended);
    // A monitor may go before a driver has come.
    let report = devices::report(end, served, readings, &journal, false)
        .with_latitudes(latitudes, latitude::seed(&options.latitude));
    let written = failure::say_unwritten(outputs.write(&report));
    drop(signals);
    Ok(exit(&report, complaints, &options).worst(written))
}

/// How many devices the options name.
fn device_count(options: &ServeOptions) -> Result<usize, Failure> {
    if options.net.iter().any(|spec| spec.kind == NetKind::None) {
        return Err(Failure::Input(
            "--net none is no device to serve: leave it out".into(),
        ));
    }
    let count = options.net.len()
        + options.disk.len()
        + usize::from(!options.console.is_empty())
        + usize::from(options.rng);
    if count == 0 {
        return Err(Failure::Input(
            "there is no device to serve: add --disk, --net, --console or --rng".into(),
        ));
    }
    Ok(count)
}

fn exit(report: &Report, complaints: u64, options: &ServeOptions) -> Exit {
    let end = match &report.end {
        RunEnd::Error(message) => {
            failure::say(&Failure::Internal(message.clone()));
            Exit::Internal
        }
        RunEnd::Guest(
            GuestEnd::Panic(_) | GuestEnd::TripleFault | GuestEnd::StrayJump(_) | GuestEnd::Timeout,
        ) => Exit::GuestFailed,
        // A signal is the usual way to end a server.
        RunEnd::Guest(_) if complaints > 0 => Exit::GuestFailed,
        RunEnd::Guest(_) => Exit::Conforming,
    };
    let verdict = if report.violates(|level| options.judging.deny.counts(level)) {
        Exit::Violation
    } else {
        Exit::Conforming
    };
    end.worst(verdict)
}

impl Host for DeviceServer {
    fn surroundings(&mut self, _slot: u8) -> (GuestRam, Arc<dyn InterruptSink>) {
        DeviceServer::surroundings(self)
    }

    fn add<F>(&mut self, _slot: u8, function: Arc<F>) -> Result<(), Failure>
    where
        F: DetachedFunction + Serviced + 'static,
    {
        Ok(DeviceServer::add(self, function.clone(), function)?)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        Failure::Input(error.to_string())
    }
}
