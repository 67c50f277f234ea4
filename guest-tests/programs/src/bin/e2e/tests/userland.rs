//! A full Debian on a disk: systemd, a login on the console, the network.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stickler_guest_programs::exercise::{TAP_GUEST, TAP_HOST};

use crate::peers::{self, Tap, Terminal};
use crate::stickler::Run;
use crate::suite::{Setting, Test};

/// How long Debian may take to boot in an emulated machine's virtual one.
const BOOT: Duration = Duration::from_secs(420);

/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(90);

pub(crate) fn all() -> Vec<Test> {
    [("bookworm", "6.1"), ("trixie", "6.12")]
        .into_iter()
        .map(|(suite, version)| {
            Test::new(format!("debian-{version}"), move |setting| {
                log_in(setting, suite)
            })
        })
        .collect()
}

fn log_in(setting: &Setting<'_>, suite: &str) -> Result<()> {
    let dir = setting.kernels.join(suite);
    let disk = setting.scratch.join("disk");
    copy_sparse(&setting.userland, &disk).context("cannot copy Debian's disk")?;
    let console = setting.scratch.join("terminal");
    let tap = Tap::make("userland", 1)?;
    let running = Run::new(setting.stickler, Duration::from_secs(600))
        .option("--kernel", "", &dir.join("vmlinuz"), "")
        .option("--initrd", "", &dir.join("loader"), "")
        .with([
            "--append",
            "quiet panic=-1 cryptomgr.notests systemd.show_status=0",
        ])
        .with(["--memory", "512M", "--cpus", "2"])
        .option("--disk", "", &disk, "")
        .with(["--net", "tap=userland"])
        .option("--console", "socket=", &console, "")
        .report_to(&setting.scratch.join("report.json"))
        .start()?;

    let mut seen = String::new();
    let session = Terminal::on(&console).and_then(|mut terminal| {
        let session = use_it(&mut terminal);
        seen = terminal.seen;
        session
    });
    if session.is_err() {
        running.interrupt();
    }
    let outcome = running.finish(&mut |_| {});
    if let Ok(outcome) = &outcome {
        seen += &outcome.text();
    }
    setting.keep_log(&seen)?;
    drop(tap);
    let outcome = outcome?;
    session.with_context(|| outcome.text())?;
    outcome.expect_code(0)?;
    outcome.expect_violations(&[])
}

/// Logs in at the console and looks at the system.
fn use_it(terminal: &mut Terminal) -> Result<()> {
    terminal.expect("login:", BOOT)?;
    terminal.type_line("root")?;
    terminal.expect("~#", COMMAND)?;
    // A shell that writes only the output of commands. The terminal may echo what is typed; so words to
    // wait for are typed in two pieces.
    terminal.type_line("stty -echo cols 200; echo be-''quiet; TERM=dumb PS1= exec sh")?;
    terminal.expect("be-quiet", COMMAND)?;
    terminal.type_line("systemctl is-system-running --wait; echo up-''now")?;
    terminal.expect("up-now", BOOT)?;
    peers::ping(TAP_GUEST).context("Debian does not answer to ping")?;
    let found = command(
        terminal,
        &format!("ping -c 2 -W 10 {TAP_HOST} >/dev/null && echo answers"),
    )?;
    ensure!(
        found.contains("answers"),
        "the host does not answer Debian: {found}"
    );

    let found = command(
        terminal,
        "findmnt -n -o SOURCE /; systemctl is-active getty.target",
    )?;
    ensure!(
        found.contains("/dev/vda"),
        "the root is not on the disk: {found}"
    );

    // No modules are installed on the disk: they come with the loader. lspci complains about that.
    let devices = command(
        terminal,
        "lspci -vvv 2>&1 | grep -v 'Unable to load libkmod resources'",
    )?;
    for needed in ["MSI-X", "VirtIO", "Host bridge"] {
        ensure!(
            devices.contains(needed),
            "lspci shows no {needed}:\n{devices}"
        );
    }
    for complaint in [
        "!!!",
        "pcilib:",
        "lspci:",
        "rev ff",
        "Unknown header",
        "<access denied>",
    ] {
        ensure!(!devices.contains(complaint), "lspci complains:\n{devices}");
    }
    let failed = command(terminal, "systemctl --failed --no-legend --plain")?;
    ensure!(
        failed.trim().is_empty(),
        "services of Debian's failed:\n{failed}"
    );
    terminal.type_line("poweroff")
}

/// Types a command and returns what it wrote.
fn command(terminal: &mut Terminal, line: &str) -> Result<String> {
    let from = terminal.seen.len();
    terminal.type_line(&format!("{line}; echo that-was-''all"))?;
    terminal.expect("that-was-all", COMMAND)?;
    Ok(terminal.seen[from..].replace("that-was-all", ""))
}

/// Copies a disk image, leaving out what is zero.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let mut from = File::open(from)?;
    let mut to = File::create(to)?;
    to.set_len(from.metadata()?.len())?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().all(|&byte| byte == 0) {
            to.seek(SeekFrom::Current(count.try_into()?))?;
        } else {
            to.write_all(&buffer[..count])?;
        }
    }
}
