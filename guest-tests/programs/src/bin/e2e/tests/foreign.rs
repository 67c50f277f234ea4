//! Drivers that are not Linux's: those of the crate `virtio-drivers`, in a guest's userspace.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use stickler_guest_programs::foreign::{DISK_SEED, DISK_SIZE};
use stickler_guest_programs::pattern;

use crate::stickler::Run;
use crate::suite::{Setting, Test};
use crate::{disks, peers};

/// The suite whose kernel runs the program. It has its virtio drivers in modules, which are left out.
const SUITE: &str = "bookworm";

/// What these drivers violate, by name. `docs/findings` says for each by what, and why it is true.
const FINDINGS: [&str; 4] = [
    "config.width.8-bit",
    "notify.not-before-avail-event",
    "status.features-ok.re-read",
    "status.reset.wait",
];

/// Requirements that must have held: some of the transport, the queues, and each device type.
const EXERCISED: [&str; 9] = [
    "queue.enable.configured",
    "notify.after-driver-ok",
    "indirect.negotiated",
    "net.tx.header",
    "net.rx.writable",
    "block.request.header",
    "block.flush.negotiated",
    "console.transmit.readable",
    "entropy.buffer.writable",
];

pub(crate) fn all() -> Vec<Test> {
    vec![Test::new("foreign-virtio-drivers", check)]
}

fn check(setting: &Setting<'_>) -> Result<()> {
    let path = |name: &str| setting.scratch.join(name);
    File::create(path("disk"))?.set_len(DISK_SIZE as u64)?;
    disks::make_read_only(&path("read-only-disk"))?;
    peers::answer_on(&path("terminal"));
    let dir = setting.kernels.join(SUITE);
    let outcome = Run::new(setting.stickler, Duration::from_secs(240))
        .option("--kernel", "", &dir.join("vmlinuz"), "")
        .option("--initrd", "", &dir.join("foreign"), "")
        .with(["--append", "quiet panic=-1 cryptomgr.notests"])
        .with(["--memory", "256M", "--cpus", "2"])
        .option("--disk", "", &path("disk"), "")
        .option("--disk", "", &path("read-only-disk"), ",ro")
        .with(["--net", "user"])
        .option("--console", "socket=", &path("terminal"), "")
        .report_to(&path("report.json"))
        .finish()?;
    setting.keep_log(&format!(
        "{}\n{:#}",
        outcome.text(),
        outcome.report.clone().unwrap_or_default()
    ))?;
    outcome.expect_code(1)?;
    ensure!(
        outcome.passed(),
        "the guest does not say that it passed\n{}",
        outcome.text()
    );
    pattern::compare(
        &fs::read(path("disk")).context("the disk is gone")?,
        &pattern::bytes(DISK_SEED, DISK_SIZE),
    )
    .map_err(|difference| anyhow!("the disk from outside: {difference}"))?;
    disks::compare_read_only(&path("read-only-disk"))?;

    let mut violated = outcome.requirements("violated");
    violated.sort_unstable();
    // A violation that is gone is to be noticed, too.
    ensure!(
        violated == FINDINGS,
        "violated: {violated:?} instead of {FINDINGS:?}"
    );
    let held = outcome.requirements("held");
    for requirement in EXERCISED {
        ensure!(held.contains(&requirement), "{requirement} has not held");
    }
    Ok(())
}
