//! The options, from which the parser, the help, the man page and the completions are made.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use stickler_conformance::Readings;
use stickler_conformance::latitude::Word;

use super::failure::Failure;
use super::features::FeatureOptions;
use super::guest::GuestKind;
use super::latitudes::Shown;
use super::names;
use super::values::{self, MonitorSpec, Size};
use crate::backends::console::ConsoleSpec;
use crate::backends::disk::DiskSpec;
use crate::backends::net::NetSpec;
use crate::confine::Confinement;
use crate::report::Deny;
use crate::report::output::ReportSpec;

/// The text on exit codes, which several helps share.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  the guest ended by itself and its drivers conformed
  1  a requirement of a level that --deny names was violated
  2  bad usage or input: nothing was run
  3  the guest failed: panic, crash, timeout, a complaint of its kernel, a
     device without a driver (--require-drivers), or it was interrupted
  4  stickler itself failed
  Where several apply, 4 comes before 1, and 1 before 3."
    };
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "stickler",
    bin_name = "stickler",
    version,
    about = "Boots a guest on virtio devices that follow the specification strictly, and judges its drivers",
    long_about = "\
stickler boots a Linux (or other) kernel under KVM, gives it a PCI bus with virtio 1.0 network, \
block, console and entropy devices, and watches what the guest's drivers do with them. At the end it \
reports, for every requirement of the virtio specification on drivers, whether it held, was violated \
(where, when, by which access), was not exercised, or cannot be observed by a device.",
    after_help = "`stickler run --help` shows all options and examples.",
    after_long_help = concat!(
        "\
Examples:
  stickler doctor
          See whether this host can run guests and, if not, what to do.
  stickler run --kernel /boot/vmlinuz --initrd /boot/initrd.img
          Boot the host's own kernel and watch its drivers; leave with Ctrl-A x.
  stickler requirements status
          List the requirements on how drivers use device status.
  stickler latitudes
          List the optional behaviour of stickler's devices.

",
        exit_codes!()
    ),
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a guest and judge its drivers
    #[command(long_about = RUN_ABOUT, after_long_help = RUN_EXAMPLES)]
    Run(Box<RunOptions>),
    /// Serve devices to a guest of QEMU or Cloud Hypervisor, and judge its drivers
    #[command(long_about = super::serve::ABOUT, after_long_help = super::serve::EXAMPLES)]
    Serve(Box<super::serve::ServeOptions>),
    /// Boot a kernel many times, each time on devices with other optional behaviour, and judge its
    /// drivers
    #[command(long_about = super::check::ABOUT, after_long_help = super::check::EXAMPLES)]
    Check(Box<super::check::CheckOptions>),
    /// Join the JSON reports of the shards of a check
    Merge(super::check::MergeOptions),
    /// Check whether this host can run guests, and say how to get what is missing
    Doctor,
    /// List the requirements that stickler judges, or explain one
    Requirements(RequirementsOptions),
    /// List the optional behaviour that devices can have, or explain one
    Latitudes(LatitudesOptions),
    /// Print the JSON Schema of the JSON report
    ReportSchema {
        /// Print the schema of `stickler check` instead of that of `stickler run`
        #[arg(long)]
        check: bool,
    },
    /// Remove a directory when standard input has ended
    #[command(name = crate::children::KEEPER, hide = true)]
    Keeper(super::keeper::KeeperOptions),
    /// Print the man page (roff)
    #[command(after_help = "Example: stickler man > stickler.1 && man ./stickler.1")]
    Man {
        /// Print the man page of this subcommand
        #[arg(value_name = "SUBCOMMAND")]
        of: Option<String>,
    },
    /// Print the completions for a shell
    #[command(
        after_help = "Example: stickler completions bash > ~/.local/share/bash-completion/completions/stickler"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const RUN_ABOUT: &str = "\
Boots a guest on virtio 1.0 devices and judges its drivers until it powers off, resets, panics, or is \
stopped. Then prints the report.

The guest's first serial port is connected to the terminal; `console=ttyS0` is added to its command \
line unless --append names a console. Ctrl-A x ends the run (Ctrl-A Ctrl-A sends a Ctrl-A). When the \
guest writes a line `@mark NAME` to a console, a step of this name begins; the report shows for every \
violation in which step it happened.";

const RUN_EXAMPLES: &str = concat!(
    "\
Examples:
  stickler run --kernel vmlinuz --initrd initrd.img --append 'quiet panic=-1'
          Network, console and entropy devices; report on the terminal.
  stickler run --kernel vmlinuz --disk root.img --append 'root=/dev/vda rw' --memory 1G --cpus 2
          Boot from a disk image.
  stickler run --kernel vmlinuz --initrd test.img --timeout 60s --report text --report json=out.json
          An unattended test: ends after at most one minute and writes the report to a file.
  stickler run --firmware u-boot --arch aarch64
          Judge the drivers of firmware, which QEMU runs.
  stickler run --kernel vmlinuz --initrd test.img --deny should --on-violation stop
          End the guest at the first violation of a requirement or a recommendation.

",
    exit_codes!()
);

/// `stickler run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Kernel to boot: a bzImage (/boot/vmlinuz-*) or an x86-64 ELF vmlinux; with --arch, one that QEMU boots
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "firmware",
        help_heading = "Guest"
    )]
    pub kernel: Option<PathBuf>,

    /// Initial RAM disk for the kernel
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub initrd: Option<PathBuf>,

    /// Text to add to the kernel's command line; may be given several times
    #[arg(
        long,
        value_name = "STRING",
        allow_hyphen_values = true,
        help_heading = "Guest"
    )]
    pub append: Vec<String>,

    /// Firmware, and the processor.
    #[command(flatten)]
    pub kind: GuestKind,

    /// Guest memory, at least 64M
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "256M",
        help_heading = "Guest"
    )]
    pub memory: Size,

    /// Number of virtual CPUs, 1 to 16
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = "Guest"
    )]
    pub cpus: u8,

    /// Time limit of the guest: 60s, 2m, 1m30s [default: none]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Guest")]
    pub timeout: Option<Duration>,

    /// What runs the guest: kvm (stickler's own machine), qemu, or qemu=PATH [default: kvm where it can run guests,
    /// else qemu]
    ///
    /// With qemu, QEMU (10.1 or newer) runs the guest in its emulation, which is slower and needs no KVM. It has the
    /// same devices, through vfio-user. Reports have no instruction pointers then. PATH is a qemu-system-x86_64, or a directory with one for
    /// each --arch.
    #[arg(long, value_name = "MONITOR", help_heading = "Guest")]
    pub monitor: Option<MonitorSpec>,

    /// Network card and its network: user (a small network that needs no privileges), tap=NAME (a tap
    /// interface of the host) or none [default: user]
    ///
    /// May be given several times. The card's address and number of queue pairs can be added:
    /// `user,mac=02:00:00:00:00:01,queues=2`. In the network `user`, the guest gets an address by DHCP,
    /// 10.0.2.2 answers ping, and port 7 there echoes TCP and UDP.
    #[arg(long, value_name = "NET[,OPTION]", help_heading = "Devices")]
    pub net: Vec<NetSpec>,

    /// Disk for the guest: a raw image or a block device; `,ro` makes it read-only
    ///
    /// May be given several times; the disks are vda, vdb, ... in this order.
    #[arg(long, value_name = "FILE[,ro]", help_heading = "Devices")]
    pub disk: Vec<DiskSpec>,

    /// What a port of the console is connected to: stdio, null, file=PATH or socket=PATH [default: the
    /// output of port 0 goes to standard output]
    ///
    /// The first one is port 0, the guest's hvc0; each further one adds a port (/dev/vport*). A name
    /// for the port can be added: `socket=agent.sock,name=org.example.agent`. With `stdio`, standard
    /// input goes to this port and not to the serial port; Ctrl-A x still ends the run. The guest's
    /// output is written to the file. On a socket, stickler listens for one client at a time.
    #[arg(long, value_name = "PORT[,name=NAME]", help_heading = "Devices")]
    pub console: Vec<ConsoleSpec>,

    /// Leave out the console device; firmware has one only if --console is given
    #[arg(long, conflicts_with = "console", help_heading = "Devices")]
    pub no_console: bool,

    /// Leave out the entropy device
    #[arg(long, help_heading = "Devices")]
    pub no_rng: bool,

    /// Optional behaviour of the devices (latitudes): names, seed=N, or none
    ///
    /// The specification leaves much to the device. A driver that was tested with one device only may
    /// depend on how that device behaves. `stickler latitudes` lists the latitudes; `NAME,NAME` selects
    /// some, and `NAME=CHOICE`, such as `tiny-queues=4`, says what would be drawn. `seed=N` draws a combination that the specification allows; the same N always draws the
    /// same combination. Details of a latitude, such as a size, are drawn from the seed too, or from
    /// the N of `variation=N`.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = names::latitude(Word::from_str),
        hide_possible_values = true,
        default_value = "none",
        help_heading = "Devices"
    )]
    pub latitude: Vec<Word>,

    /// Which features the devices offer.
    #[command(flatten)]
    pub features: FeatureOptions,

    /// Fail (exit code 3) if no driver took a device and all devices are plain
    ///
    /// A driver has taken a device when it has set DRIVER_OK. With latitudes, a driver may have reasons
    /// to give up on a device; where it may not, that is a violation.
    #[arg(long, help_heading = "Judging")]
    pub require_drivers: bool,

    /// How to judge, and where the reports go.
    #[command(flatten)]
    pub judging: Judging,

    /// Confinement.
    #[command(flatten)]
    pub confinement: ConfineOptions,
}

/// Options of `stickler run`, `stickler serve` and `stickler check`: how to judge, and where the reports go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Judging")]
pub struct Judging {
    /// Form of a report and where it goes: text, json, text=FILE or json=FILE [default: text]
    ///
    /// May be given several times. Without a file, the report goes to standard output. If JSON goes to
    /// standard output, everything else (the guest's output, a text report) goes to standard error. A
    /// file is not changed until the report is complete.
    #[arg(
        long,
        value_name = "FORM[=FILE]",
        value_parser = OsStringValueParser::new().try_map(ReportSpec::try_from)
    )]
    pub report: Vec<ReportSpec>,

    /// How to judge where the specification can be read in several ways
    ///
    /// 'lenient' by the most lenient reading of each requirement: an ambiguity is no violation. 'strict' by
    /// the strictest. NAME=READING chooses the reading of one requirement. Several are separated by commas:
    /// strict,status.sequence.driver=together. The report always shows for every reading whether the
    /// drivers satisfied it. `stickler requirements NAME` shows the readings of a requirement.
    #[arg(long, value_name = "HOW", default_value = "lenient")]
    pub reading: Readings,

    /// Judge proposals to the specification as if they were adopted
    ///
    /// A proposal is no requirement: drivers are observed, and judged only if asked for here.
    /// `stickler requirements --how proposed` lists the proposals.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub propose: Vec<String>,

    /// What to do at a violation
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnViolation::Report)]
    pub on_violation: OnViolation,

    /// Which violations make a run fail (exit code 1)
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Deny::Must)]
    pub deny: Deny,
}

/// What the process keeps while a guest runs.
#[derive(Args, Clone, Debug)]
pub struct ConfineOptions {
    /// What stickler takes from itself before a guest runs, so that a guest that breaks out gains little
    ///
    /// 'default': new privileges, capabilities, files but those of this run's reports, and system calls
    /// that a thread of its kind does not need, as far as this host's kernel can. 'strict': a host that
    /// cannot do all of it is refused. 'none': nothing, for debuggers. `stickler doctor` shows what this
    /// host can.
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value_t,
        help_heading = "Safety"
    )]
    pub confine: Confinement,
}

impl Judging {
    /// By which readings drivers are judged, and which proposals are.
    ///
    /// # Errors
    /// A proposal is none.
    pub fn readings(&self) -> Result<Readings, Failure> {
        let add = |readings: Readings, name: &String| readings.propose(name);
        let readings = self.propose.iter().try_fold(self.reading.clone(), add);
        readings.map_err(|error| Failure::Input(format!("--propose: {error}")))
    }
}

/// `--on-violation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnViolation {
    /// Report it and continue
    Report,
    /// End the guest at the first violation that --deny names (with --deny none: at any violation)
    Stop,
}

/// `stickler requirements`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stickler requirements
          One line for each.
  stickler requirements status.no-clear
          Explain one.
  stickler requirements 2.4.7.1
          Those of a section; 2.4.7.1-1 is its first normative statement.
  stickler requirements 'used ring'
          Those whose names or texts have these words.
  stickler requirements net --role driver --how asserted
          Those on drivers whose names begin with net and that rules decide.")]
pub struct RequirementsOptions {
    /// A requirement's name, the beginning of the names of several, a clause or section of the specification, or
    /// words of names and texts
    #[arg(
        value_name = "NAME",
        value_parser = names::requirement(StringValueParser::new()),
        hide_possible_values = true
    )]
    pub name: Option<String>,

    /// Only those of this version of the specification
    #[arg(long, value_enum)]
    pub spec: Option<SpecName>,

    /// Only those on drivers, or on devices
    #[arg(long, value_enum)]
    pub role: Option<RoleName>,

    /// Only those that are established in this way
    #[arg(long, value_enum)]
    pub how: Option<HowName>,

    /// Form of the output
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    pub format: ListFormat,
}

/// `stickler latitudes`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stickler latitudes
          One line for each.
  stickler latitudes second-instances
          Explain one.
  stickler latitudes seed=7
          List those that are drawn from a seed.
  stickler run --kernel vmlinuz --latitude second-instances,one-vector
          Run a guest on devices with two latitudes.")]
pub struct LatitudesOptions {
    /// A latitude's name, as `--latitude` takes it, or seed=N: the latitudes that are drawn from N
    #[arg(value_name = "NAME", value_parser = names::latitude(Shown::from_str), hide_possible_values = true)]
    pub name: Option<Shown>,

    /// Form of the output
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    pub format: ListFormat,
}

/// `--spec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpecName {
    /// Virtio 1.0, committee specification 04
    #[value(name = "1.0")]
    V1_0,
}

/// `--role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Judged
    Driver,
    /// Built
    Device,
}

/// `--how`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HowName {
    /// A rule decides it from what the driver does
    Asserted,
    /// The device first does something unusual that the specification allows
    Provoked,
    /// A requirement on devices that stickler's devices keep
    Built,
    /// No device can see it
    Unobservable,
    /// It is no requirement yet: somebody proposes it
    Proposed,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Text,
    /// For programs
    Json,
}
