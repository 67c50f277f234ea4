//! `stickler check` and `stickler merge`: from options to runs, and from runs to one report.

mod files;
mod help;
mod setting;

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args};

pub(super) use help::{ABOUT, EXAMPLES};

use super::args::{ConfineOptions, Judging};
use super::confine::confine;
use super::failure::{self, Exit, Failure};
use super::features::FeatureOptions;
use super::given::GivenDevices;
use super::guest::{self, GuestKind};
use super::monitor;
use super::names;
use super::run::readable;
use super::values::{self, MonitorSpec, Size};
use files::{own_files, written_in};
use stickler_conformance::Version;
use stickler_conformance::latitude::{SeedProperties, covering_seeds};

use crate::check::campaign;
use crate::check::exercise::{self, ChosenStep, ExerciseChoice};
use crate::check::guest::{GuestImage, GuestOptions, Load};
use crate::check::plan::{Choice, Shard, plan, plan_of_firmware};
use crate::check::progress::Progress;
use crate::children::ScratchDirectory;
use crate::confine::{Access, ConfinedProcess};
use crate::qemu::Qemu;
use crate::report::Deny;
use crate::report::check::{CheckReport, CheckedKernel, FailureKind, vet};
use crate::report::output::{self, Outputs, ReportSpec};
use crate::say;

/// The default number of seeds, besides the run with plain devices.
const RUNS: u64 = 8;

/// `stickler check`.
#[derive(Debug, Args)]
pub struct CheckOptions {
    /// Kernel to boot: a bzImage (/boot/vmlinuz-*) or an x86-64 ELF vmlinux
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "firmware",
        help_heading = "Guest"
    )]
    pub kernel: Option<PathBuf>,

    /// Firmware, and the processor.
    #[command(flatten)]
    pub kind: GuestKind,

    /// The kernel's modules: a directory such as /lib/modules/VERSION, of which the virtio drivers
    /// are loaded, or one with .ko files, which are all loaded
    ///
    /// They may be compressed (.xz, .gz, .zst). Without this option, the modules are those of
    /// /lib/modules/VERSION if this host has the kernel installed; otherwise the drivers have to be
    /// built into the kernel.
    #[arg(long, value_name = "DIR", help_heading = "Guest")]
    pub modules: Option<PathBuf>,

    /// A module to load instead of the one of the same name, or besides the others; may be given several times
    #[arg(long, value_name = "FILE.ko", help_heading = "Guest")]
    pub module: Vec<PathBuf>,

    /// A system of your own instead of the built-in program: an initial RAM disk
    ///
    /// A run passes when the guest powers itself off. With a COMMAND, stickler's own first process
    /// loads the modules and runs the command in this system.
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

    /// Memory of each guest, at least 64M; drivers that fill the largest queues need hundreds of MiB
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1G",
        help_heading = "Guest"
    )]
    pub memory: Size,

    /// Virtual CPUs of each guest, 1 to 16 [default: 1 in half of the runs, 2 in the others]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = "Guest"
    )]
    pub cpus: Option<u8>,

    /// Steps of the built-in program, and how it ends, instead of those drawn for each run
    ///
    /// Steps: block, network, console, entropy, rebind-drivers, rebind-transport, rescan, stress,
    /// stress-consoles, freeze, processors, view. Ends: power-off, power-off-under-load,
    /// reboot-under-load, kexec.
    #[arg(
        long,
        value_name = "NAME,NAME",
        value_delimiter = ',',
        help_heading = "Guest"
    )]
    pub steps: Option<Vec<ChosenStep>>,

    /// For how long drivers come and go in each of the steps stress and stress-consoles [default: 3s]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::duration,
        help_heading = "Guest"
    )]
    pub stress: Option<Duration>,

    /// What runs the guests: kvm (stickler's own machine), qemu, or qemu=PATH; see `stickler run --help`
    #[arg(long, value_name = "MONITOR", help_heading = "Guest")]
    pub monitor: Option<MonitorSpec>,

    /// Time limit of each guest; each step of the built-in program may take a third of it [default: 5m; 1m for firmware]
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = values::duration,
        help_heading = "Guest"
    )]
    pub timeout: Option<Duration>,

    /// Which features the devices offer.
    #[command(flatten)]
    pub features: FeatureOptions,

    /// Devices of a guest of the user's.
    #[command(flatten)]
    pub devices: GivenDevices,

    /// Run with these latitudes, in the form of `stickler run --latitude`; may be given several times
    ///
    /// With the word `alone=TYPE` (net, block, console or entropy), the guest has no other devices. The words
    /// freed-memory-zeroed, freed-memory-kept and freed-memory-checked say what becomes of memory that it frees.
    #[arg(
        long,
        value_name = "NAME,NAME",
        value_parser = names::latitude(Choice::from_str),
        hide_possible_values = true,
        help_heading = "Runs"
    )]
    pub latitude: Vec<Choice>,

    /// Number of seeds; latitudes are drawn from each seed for one run [default: 8; 0 with --latitude]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = values::count,
        help_heading = "Runs"
    )]
    pub runs: Option<u64>,

    /// The seeds are chosen from this one and those that follow it
    ///
    /// They are chosen so that few have all latitudes: each is in one of 24 runs, and in two of 40. What a seed
    /// draws does not depend on the others: `stickler latitudes seed=N` shows it.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = values::count,
        default_value_t = 1,
        help_heading = "Runs"
    )]
    pub first_seed: u64,

    /// Number of guests that run at the same time [default: as many as this host has processors for]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = values::count_from_1,
        help_heading = "Runs"
    )]
    pub jobs: Option<NonZeroUsize>,

    /// Do only part I of M parts of the runs; `stickler merge` joins the JSON reports
    #[arg(
        long,
        value_name = "I/M",
        default_value = "1/1",
        hide_default_value = true,
        help_heading = "Runs"
    )]
    pub shard: Shard,

    /// For each run that fails, find the fewest latitudes with which it still fails
    #[arg(long, help_heading = "Runs")]
    pub shrink: bool,

    /// Directory in which to keep the JSON report and the guest's output of each run
    #[arg(long, value_name = "DIR", help_heading = "Runs")]
    pub keep: Option<PathBuf>,

    /// Whether a run fails (exit code 3) if no driver took a device and all devices are plain: yes or no
    ///
    /// A driver has taken a device when it has set DRIVER_OK. With latitudes, a driver may have reasons
    /// to give up on a device; where it may not, that is a violation.
    #[arg(
        long,
        value_name = "WHETHER",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        default_value = "yes",
        help_heading = "Judging"
    )]
    pub require_drivers: bool,

    /// How to judge, and where the reports go.
    #[command(flatten)]
    pub judging: Judging,

    /// Confinement.
    #[command(flatten)]
    pub confinement: ConfineOptions,

    /// Program to run in the guests instead of the built-in one, with its arguments; a run passes when
    /// the program's exit code is 0
    ///
    /// It is a statically linked program of this host or, with --initrd, a program in that system.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// `stickler merge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  stickler merge shard-*.json --report text --report json=all.json")]
pub struct MergeOptions {
    /// The JSON reports of the shards of one check
    #[arg(required = true, value_name = "REPORT.json")]
    pub files: Vec<PathBuf>,

    /// Form of a report and where it goes: text, json, text=FILE or json=FILE [default: text]
    #[arg(
        long,
        value_name = "FORM[=FILE]",
        value_parser = OsStringValueParser::new().try_map(ReportSpec::try_from)
    )]
    pub report: Vec<ReportSpec>,
}

/// Runs a kernel many times and reports on all of them together.
pub fn check(options: CheckOptions) -> Result<Exit, Failure> {
    // Before anything is opened, and until the reports are written.
    let signals = failure::catch_signals()?;
    // Errors in the input are found before anything runs.
    let readings = options.judging.readings()?;
    options.features.limits()?;
    let own = options.initrd.is_some() || !options.command.is_empty();
    if !own && !options.devices.is_empty() {
        return Err(input(
            "--net, --disk, --console, --no-console and --no-rng are for a guest of your own: give a command or --initrd, or leave them out",
        ));
    }
    let outputs = Outputs::open(&options.judging.report).map_err(input)?;
    if let Some(kernel) = &options.kernel {
        readable("kernel", kernel)?;
    }
    own_files(&options)?;
    let scratch = ScratchDirectory::new("stickler-check-")
        .map_err(|error| input(format!("cannot make a temporary directory: {error}")))?;
    let guest = match &options.kind.firmware {
        Some(_) => {
            setting::for_kernels(&options)?;
            GuestImage::of_firmware()
        }
        None => {
            setting::for_own_programs(&options)?;
            GuestImage::create(
                &GuestOptions {
                    kernel: guest::kernel(options.kernel.as_ref())?,
                    modules: options.modules.as_deref(),
                    module: &options.module,
                    initrd: options.initrd.as_deref(),
                    command: &options.command,
                },
                scratch.path(),
            )
            .map_err(input)?
        }
    };
    if let Some(keep) = &options.keep {
        fs::create_dir_all(keep)
            .map_err(|error| input(format!("cannot make {}: {error}", keep.display())))?;
    }
    let monitor = monitor::choose(options.monitor.as_ref(), &options.kind)?;
    let firmware = match &monitor {
        MonitorSpec::Kvm => {
            monitor::usable_kvm()?;
            None
        }
        MonitorSpec::Qemu(path) => {
            Qemu::find(path.as_deref(), options.kind.arch).map_err(input)?;
            options.kind.find(path.as_deref())?
        }
    };

    let default = if options.latitude.is_empty() { RUNS } else { 0 };
    let seeds = usize::try_from(options.runs.unwrap_or(default)).unwrap_or(usize::MAX);
    // Of firmware nothing is drawn but latitudes.
    let properties: fn(u64) -> SeedProperties = match firmware {
        Some(_) => |_| SeedProperties::default(),
        None => exercise::properties,
    };
    let seeds = covering_seeds(options.first_seed, properties).take(seeds);
    let exercise = ExerciseChoice {
        steps: options.steps.clone(),
        processors: options.cpus,
        no_kexec: guest.load == Load::Exercise && guest.initrd_of_kexec.is_none(),
    };
    if exercise.is_impossible() {
        return Err(input(format!(
            "--steps kexec needs a bzImage, which {} is not: a running kernel takes no other form",
            guest::kernel(options.kernel.as_ref())?.display()
        )));
    }
    let planned = match guest.load {
        Load::Firmware => {
            plan_of_firmware(&options.latitude, seeds, options.cpus).map_err(Failure::Input)?
        }
        load => plan(&options.latitude, seeds, &exercise, load == Load::Exercise),
    };
    let mut report = CheckReport::new(
        Version::default(),
        &readings,
        options.judging.deny,
        CheckedKernel {
            file: match &firmware {
                Some(firmware) => firmware.file().display().to_string(),
                None => guest::kernel(options.kernel.as_ref())?
                    .display()
                    .to_string(),
            },
            release: guest.release.clone(),
        },
        planned.len(),
    );
    let runs = options.shard.of(planned);
    let most = options.cpus.unwrap_or(1);
    let jobs = match options.jobs {
        Some(jobs) => jobs.get(),
        None if options.devices.are_exclusive() => 1,
        None => jobs(most).get(),
    };
    let setting = setting::of(&options, &monitor, guest, scratch.path().to_owned())?;
    confine(
        &options.confinement,
        ConfinedProcess::Campaign,
        &Access {
            written: written_in(&options, &outputs),
            cleaned: Vec::new(),
        },
    )?;

    let stop = || signals.have_come();
    let progress = Progress::new(runs.len());
    let all = campaign::run_all(
        &setting,
        runs,
        jobs,
        options.shrink,
        &mut report,
        &progress,
        &stop,
    );
    progress.finish();
    all.map_err(Failure::Input)?;
    if !output::text_without_a_file(&options.judging.report) {
        say_failures(&report);
    }
    let written = write(outputs, &report);
    let end = if stop() {
        Exit::GuestFailed
    } else {
        Exit::Conforming
    };
    Ok(exit(&report, options.judging.deny)
        .worst(end)
        .worst(written))
}

/// As many guests at the same time as this host has processors for.
fn jobs(cpus: u8) -> NonZeroUsize {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(processors / usize::from(cpus)).unwrap_or(NonZeroUsize::MIN)
}

/// Joins reports of checks.
pub fn merge(options: MergeOptions) -> Result<Exit, Failure> {
    let outputs = Outputs::open(&options.report).map_err(input)?;
    let mut reports = Vec::new();
    for file in &options.files {
        let name = file.display().to_string();
        let text = fs::read_to_string(file)
            .map_err(|error| input(format!("cannot read {name}: {error}")))?;
        let report = vet::read(&name, &text).map_err(input)?;
        reports.push((name, report));
    }
    let whole = CheckReport::merge(reports).map_err(input)?;
    let whole = whole.ok_or_else(|| input("there is no report to merge"))?;
    if !output::text_without_a_file(&options.report) {
        say_failures(&whole);
    }
    let written = write(outputs, &whole);
    Ok(exit(&whole, whole.deny).worst(written))
}

/// The exit code for all runs together.
fn exit(report: &CheckReport, deny: Deny) -> Exit {
    let mut exit = Exit::Conforming;
    if report.violates(|level| deny.counts(level)) {
        exit = exit.worst(Exit::Violation);
    }
    for (kind, means) in [
        (FailureKind::Violation, Exit::Violation),
        (FailureKind::Step, Exit::GuestFailed),
        (FailureKind::Guest, Exit::GuestFailed),
        (FailureKind::Timeout, Exit::GuestFailed),
        (FailureKind::Complaint, Exit::GuestFailed),
        (FailureKind::Data, Exit::GuestFailed),
        (FailureKind::Stickler, Exit::Internal),
    ] {
        if report.has_failure(kind) {
            exit = exit.worst(means);
        }
    }
    exit
}

/// Says on standard error what failed, one line each: the report that says so goes elsewhere.
fn say_failures(report: &CheckReport) {
    for run in &report.runs {
        for failure in &run.failures {
            let (name, how) = (&run.name, failure.how.words());
            say::line(&format!("{name}: {how}: {}", failure.message));
        }
    }
}

/// Writes the report to all its destinations; prints a message for each that cannot be written.
fn write(outputs: Outputs, report: &CheckReport) -> Exit {
    failure::say_unwritten(outputs.write_check(report))
}

fn input(error: impl ToString) -> Failure {
    Failure::Input(error.to_string())
}
