//! `cargo xtask test`: everything that must pass before a change is merged.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::demo::kvm_is_usable;
use crate::emulated;
use crate::gates;
use crate::guest;
use crate::kernel::Kernel;
use crate::lab;
use crate::progress::Progress;
use crate::userland;
use crate::workspace::{Programs, Workspace};

/// The kernels of the guests: 5.10, 6.1, 6.12 and Debian's newest.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "trixie-backports"];

/// The most time one end-to-end test may take, a second try included.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The most labs side by side. Each takes up to three GiB of memory.
const MOST_LABS: usize = 2;

/// Run every test: formatting, lints, documentation, unit and integration tests, and end-to-end tests
/// with real guests, in the lab where KVM is not usable.
#[derive(clap::Args)]
pub(crate) struct TestArguments {
    /// Only the end-to-end tests
    #[arg(long)]
    end_to_end: bool,

    /// Only the end-to-end tests with one of these words in their names
    names: Vec<OsString>,
}

pub(crate) fn command(arguments: &TestArguments, workspace: &Workspace) -> Result<ExitCode> {
    let left_out = if arguments.end_to_end || !arguments.names.is_empty() {
        Vec::new()
    } else {
        gates::pass(workspace)?
    };
    let code = if emulated::alone(&arguments.names) {
        ExitCode::SUCCESS
    } else {
        let others = arguments
            .names
            .iter()
            .filter(|name| !emulated::is_of_group(name));
        end_to_end(&others.cloned().collect::<Vec<_>>(), workspace)?
    };
    let programs = workspace.build_programs()?;
    let passed = emulated::test(&arguments.names, &programs, workspace, &Progress::new())?;
    let code = if passed { code } else { ExitCode::FAILURE };
    for gate in left_out {
        eprintln!("left out: {gate}");
    }
    Ok(code)
}

fn end_to_end(names: &[OsString], workspace: &Workspace) -> Result<ExitCode> {
    eprintln!("== end to end");
    let progress = Progress::new();
    let equipment = lab::equip(lab::DEFAULT_SUITE, lab::DEFAULT_SUITE, workspace, &progress)?;
    let dir = workspace.target().join("e2e");
    fs::create_dir_all(&dir)?;
    for suite in SUITES {
        progress.step(&format!("getting the kernel of Debian's {suite}"));
        let kernel = Kernel::of_suite(suite, workspace)?;
        prepare(&kernel, &dir.join("kernels").join(suite), &equipment)?;
    }
    progress.step("making a disk with Debian on it");
    let image = progress.suspended(|| userland::image(workspace))?;
    replace_by_link(&image, &dir.join("userland.img"))?;

    // Only root can make taps.
    if rustix::process::geteuid().is_root() && kvm_is_usable(&equipment.programs) {
        progress.line("this host's KVM is usable: the tests run directly");
        progress.finish();
        let status = e2e(&equipment.programs)
            .args(["test", "."])
            .args(names)
            .current_dir(&dir)
            .status()
            .context("cannot start the end-to-end tests")?;
        return Ok(ExitCode::from(u8::from(!status.success())));
    }
    let passed = in_labs(names, &dir, &equipment, workspace, &progress)?;
    Ok(ExitCode::from(u8::from(!passed)))
}

/// A command of the end-to-end tests' program, run on this host.
fn e2e(programs: &Programs) -> Command {
    let mut command = Command::new(programs.path("e2e"));
    command
        .arg("--stickler")
        .arg(programs.path("stickler"))
        .stdin(Stdio::null());
    command
}

/// Runs the tests in labs, and returns whether all passed.
///
/// A lab with one processor is the stable one, so there is one lab for each processor of this host, up to
/// [`MOST_LABS`].
fn in_labs(
    names: &[OsString],
    dir: &Path,
    equipment: &lab::Equipment,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<bool> {
    let list = e2e(&equipment.programs).arg("list").args(names).output()?;
    let tests: Vec<&str> = str::from_utf8(&list.stdout)?.lines().collect();
    ensure!(!tests.is_empty(), "no end-to-end test has such a name");
    let count = thread::available_parallelism().map_or(1, usize::from);
    let count = count.min(MOST_LABS).min(tests.len());
    progress.line(&format!(
        "{} end-to-end tests run in the lab, {count} at a time",
        tests.len()
    ));
    let emulator = lab::emulator(workspace, progress)?;
    progress.finish();
    let boot = || {
        let files = Some(dir.to_owned());
        lab::boot_with(&emulator, equipment, files, 1, TIMEOUT, workspace)
    };
    let commands = tests.iter().map(|name| {
        ["e2e", "--emulated", "one", ".", name]
            .map(OsString::from)
            .into()
    });
    lab::share(commands.collect(), count, &boot, &|output| {
        print!("{output}")
    })
}

/// Puts a kernel, and the images that guests boot with it, into `dir`.
fn prepare(kernel: &Kernel, dir: &Path, equipment: &lab::Equipment) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::copy(&kernel.image, dir.join("vmlinuz"))?;
    let elf: PathBuf = dir.join("vmlinux");
    if !elf.exists() {
        let unfinished = dir.join("vmlinux.unfinished");
        fs::write(&unfinished, kernel.elf()?)?;
        fs::rename(&unfinished, &elf)?;
    }
    let modules = dir.join("modules");
    fs::create_dir_all(&modules)?;
    for module in kernel.modules(&guest::MODULES)? {
        fs::write(modules.join(format!("{}.ko", module.name)), &module.content)?;
    }
    guest::write_exerciser(
        &dir.join("exerciser"),
        kernel,
        &equipment.busybox,
        &equipment.programs,
    )?;
    for program in ["foreign", "rogue"] {
        guest::write_program(&dir.join(program), program, &equipment.programs)?;
    }
    fs::copy(equipment.programs.path("rogue"), dir.join("rogue-program"))?;
    guest::write_loader(&dir.join("loader"), kernel, &equipment.busybox)
}

/// Makes `to` another name of the file `from`.
fn replace_by_link(from: &Path, to: &Path) -> Result<()> {
    fs::remove_file(to).ok();
    fs::hard_link(from, to).with_context(|| format!("cannot link {}", to.display()))
}
