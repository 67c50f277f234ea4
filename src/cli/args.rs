//! The options, from which the parser, the help, the man page and the completions are made.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use stickler_conformance::latitude::{Latitude, Word};
use stickler_conformance::requirement::Strictness;

use super::values::{self, Size};
use crate::backends::console::ConsoleSpec;
use crate::backends::disk::DiskSpec;
use crate::backends::net::NetSpec;
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
  3  the guest failed: panic, triple fault, timeout, or it was interrupted
  4  stickler itself failed
  Where several apply, 4 comes before 1, and 1 before 3."
    };
}

/// The same for many runs.
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

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "stickler",
    bin_name = "stickler",
    version,
    about = "Boots a guest on virtio devices that keep strictly to the specification, and judges its drivers",
    long_about = "\
stickler boots a Linux (or other) kernel under KVM, gives it a PCI bus with virtio 1.0 network, \
block, console and entropy devices, and watches what the guest's drivers do with them. At the end it \
says, for every requirement the virtio specification puts on drivers, whether it held, was violated \
(where, when, by which access), was never put to the test, or cannot be seen by any device.",
    after_help = "`stickler run --help` shows all options and examples.",
    after_long_help = concat!(
        "\
Examples:
  stickler doctor
          See whether this host can run guests, and what to do where it cannot.
  stickler run --kernel /boot/vmlinuz --initrd /boot/initrd.img
          Boot the host's own kernel and watch its drivers; leave with Ctrl-A x.
  stickler requirements status
          What the specification demands of how drivers handle device status.
  stickler latitudes
          What stickler's devices can do otherwise than the devices drivers are used to.

",
        exit_codes!()
    ),
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What stickler can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a guest and judge its drivers
    #[command(long_about = RUN_ABOUT, after_long_help = RUN_EXAMPLES)]
    Run(Box<RunOptions>),
    /// Boot a kernel many times, on devices that differ as the specification lets them, and judge its
    /// drivers
    #[command(long_about = CHECK_ABOUT, after_long_help = CHECK_EXAMPLES)]
    Check(Box<super::check::CheckOptions>),
    /// Join the JSON reports of the shards of a check
    Merge(super::check::MergeOptions),
    /// Say what this host offers for running guests, and what to do about what is missing
    Doctor,
    /// List the requirements that are judged, or explain some
    Requirements(RequirementsOptions),
    /// List what devices can make use of that the specification leaves to them, or explain one
    Latitudes(LatitudesOptions),
    /// Print the JSON Schema of the JSON report
    ReportSchema {
        /// Of `stickler check`, instead of that of `stickler run`
        #[arg(long)]
        check: bool,
    },
    /// Print the man page (roff)
    #[command(after_help = "Example: stickler man > stickler.1 && man ./stickler.1")]
    Man {
        /// Of this subcommand, instead of stickler as a whole
        #[arg(value_name = "SUBCOMMAND")]
        of: Option<String>,
    },
    /// Print the completions for a shell
    #[command(
        after_help = "Example: stickler completions bash > ~/.local/share/bash-completion/completions/stickler"
    )]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

const RUN_ABOUT: &str = "\
Boots a guest on virtio 1.0 devices and judges its drivers until it powers off, resets, panics, or is \
stopped. Then prints the report.

The guest's first serial port is connected to the terminal; `console=ttyS0` is added to its command \
line unless --append names a console. Ctrl-A x leaves the guest (Ctrl-A Ctrl-A sends a Ctrl-A). A \
line `@mark NAME` on a console puts NAME on the run's timeline, and every violation says under which \
mark it happened.";

const RUN_EXAMPLES: &str = concat!(
    "\
Examples:
  stickler run --kernel vmlinuz --initrd initrd.img --append 'quiet panic=-1'
          Network, console and entropy devices; report on the terminal.
  stickler run --kernel vmlinuz --disk root.img --append 'root=/dev/vda rw' --memory 1G --cpus 2
          Boot from a disk image.
  stickler run --kernel vmlinuz --initrd test.img --timeout 60s --report text --report json=out.json
          An unattended test: ends after a minute at the latest, keeps the report in a file.
  stickler run --kernel vmlinuz --initrd test.img --deny should --on-violation stop
          End the guest at the first violation, recommendations included.

",
    exit_codes!()
);

const CHECK_ABOUT: &str = "\
Boots a kernel once with plain devices and once for each of many seeds, with devices that make use of \
what the specification leaves to them. In each guest a built-in program drives all devices hard, \
compares all data, takes the drivers away and gives them back. Ends with one report: what became of \
each requirement over all runs, and which runs failed, how, and with which --latitude that can be \
had again.

A run fails when a requirement is violated that --deny names, when the guest says that something did \
not work, when it panics, crashes or runs out of its time, or when data differ that the host compares.

Ctrl-C ends the guests that run and reports on what was found until then.";

const CHECK_EXAMPLES: &str = concat!(
    "\
Examples:
  stickler check --kernel /boot/vmlinuz-6.12.9-amd64
          The host's own kernel, with its modules: plain devices and eight seeds.
  stickler check --kernel bzImage --modules drivers/ --runs 40 --shrink
          Forty seeds; for those that fail, the fewest latitudes that make them fail.
  stickler check --kernel bzImage --latitude seed=17 --latitude none
          What failed, once more, and the same with plain devices.
  stickler check --kernel bzImage --runs 400 --shard 3/8 --report json=shard-3.json
          An eighth of 400 runs, for one machine of eight; then `stickler merge shard-*.json`.
  stickler check --kernel bzImage --initrd test.img -- /usr/bin/test --fast
          Your own test instead of the exercise.

",
    check_exit_codes!()
);

/// `stickler run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Kernel to boot: a bzImage (/boot/vmlinuz-*) or an x86-64 ELF vmlinux
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub kernel: PathBuf,

    /// Initial RAM disk for the kernel
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    pub initrd: Option<PathBuf>,

    /// More for the kernel's command line; may be given several times
    #[arg(
        long,
        value_name = "STRING",
        allow_hyphen_values = true,
        help_heading = "Guest"
    )]
    pub append: Vec<String>,

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
        value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = "Guest"
    )]
    pub cpus: u8,

    /// End the guest after this long: 60s, 2m, 1m30s; without it the guest may run for ever
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Guest")]
    pub timeout: Option<Duration>,

    /// Network card and what it is connected to: user (a small network without privileges), tap=NAME
    /// (a tap interface of the host) or none [default: user]
    ///
    /// May be given several times. The card's address and queue pairs can be added:
    /// `user,mac=02:00:00:00:00:01,queues=2`. The userspace network leases an address by DHCP,
    /// answers ping at 10.0.2.2, and echoes TCP and UDP there on port 7.
    #[arg(long, value_name = "NET[,OPTION]", help_heading = "Devices")]
    pub net: Vec<NetSpec>,

    /// Disk for the guest: a raw image or a block device; `,ro` makes it read-only
    ///
    /// May be given several times; the disks are vda, vdb, ... in this order.
    #[arg(long, value_name = "FILE[,ro]", help_heading = "Devices")]
    pub disk: Vec<DiskSpec>,

    /// What stands behind a port of the console: stdio, null, file=PATH or socket=PATH [default: the
    /// output of port 0 goes to standard output]
    ///
    /// The first one is port 0, the guest's hvc0, the others are further ports (/dev/vport*). A name
    /// for the port can be added: `socket=agent.sock,name=org.example.agent`. `stdio` takes standard
    /// input away from the serial port; leave with Ctrl-A x all the same. A file gets the guest's
    /// output; on a socket stickler listens for one client at a time.
    #[arg(long, value_name = "PORT[,name=NAME]", help_heading = "Devices")]
    pub console: Vec<ConsoleSpec>,

    /// Leave out the entropy device
    #[arg(long, help_heading = "Devices")]
    pub no_rng: bool,

    /// What the devices make use of that the specification leaves to them: names, seed=N, none
    ///
    /// Drivers tested against one device come to assume that device. `stickler latitudes` lists what
    /// there is, and `NAME,NAME` has the devices make use of just these. `seed=N` draws a lawful
    /// combination: the same one each time. What a latitude leaves open, such as a size, is drawn
    /// from the seed too, or from N of `variation=N`.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = Word::from_str,
        default_value = "none",
        help_heading = "Devices"
    )]
    pub latitude: Vec<Word>,

    /// What to do at a violation
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t = OnViolation::Report,
        help_heading = "Judging"
    )]
    pub on_violation: OnViolation,

    /// How to judge, and where to say so.
    #[command(flatten)]
    pub judging: Judging,
}

/// What `stickler run` and `stickler check` have in common: how to judge, and where to say so.
#[derive(Debug, Args)]
#[command(next_help_heading = "Judging")]
pub struct Judging {
    /// Where a report goes and in which form: text, json, text=FILE or json=FILE [default: text]
    ///
    /// May be given several times. Without a file, the report goes to standard output. JSON on
    /// standard output has it for itself: what else would go there (a guest's output, a text report)
    /// goes to standard error. A file is replaced when the report is complete, and not before.
    #[arg(
        long,
        value_name = "FORM[=FILE]",
        value_parser = OsStringValueParser::new().try_map(ReportSpec::try_from)
    )]
    pub report: Vec<ReportSpec>,

    /// How to judge where the specification can be read in several ways
    ///
    /// The report says of every reading whether the drivers satisfied it, whichever one judges;
    /// `stickler requirements NAME` shows what the readings are.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ReadingName::Lenient)]
    pub reading: ReadingName,

    /// Which violations make a run fail (exit code 1)
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Deny::Must)]
    pub deny: Deny,
}

/// `--on-violation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnViolation {
    /// Note it and go on
    Report,
    /// End the guest at the first violation that --deny names (with --deny none: at the first of any)
    Stop,
}

/// `--reading`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReadingName {
    /// By the most lenient reading: no driver is accused by an ambiguity
    Lenient,
    /// By the strictest reading
    Strict,
}

impl From<ReadingName> for Strictness {
    fn from(name: ReadingName) -> Strictness {
        match name {
            ReadingName::Lenient => Strictness::Lenient,
            ReadingName::Strict => Strictness::Strict,
        }
    }
}

/// `stickler requirements`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stickler requirements
          One line for each.
  stickler requirements status.no-clear
          Explain one.
  stickler requirements net --role driver --how asserted
          Those whose names begin with net, of drivers, that rules decide.")]
pub struct RequirementsOptions {
    /// A requirement's name, or the beginning of several
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Only those of this version of the specification
    #[arg(long, value_enum)]
    pub spec: Option<SpecName>,

    /// Only those on drivers, or on devices
    #[arg(long, value_enum)]
    pub role: Option<RoleName>,

    /// Only those established so
    #[arg(long, value_enum)]
    pub how: Option<HowName>,

    /// In which form
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
  stickler run --kernel vmlinuz --latitude second-instances,one-vector
          Run a guest on devices that make use of two.")]
pub struct LatitudesOptions {
    /// A latitude's name, as `--latitude` takes it
    #[arg(value_name = "NAME", value_parser = Latitude::from_str)]
    pub name: Option<Latitude>,

    /// In which form
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
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Text,
    /// For programs
    Json,
}
