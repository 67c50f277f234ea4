//! Confinement: what the threads of a run have kept. That the rest of a run works with it, the other
//! tests show: all of them run with `--confine strict`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use stickler_guest_programs::exercise::END_PARAMETER;

use super::exercise::SUITE;
use crate::stickler::Run;
use crate::suite::Test;

/// The capabilities that the main thread may keep, DAC_OVERRIDE and FOWNER, as bits.
const OF_MAIN: u64 = 1 << 1 | 1 << 3;

pub(crate) fn all() -> Vec<Test> {
    vec![Test::new("confined-threads", |setting| {
        let dir = setting.kernels.join(SUITE);
        let running = Run::new(setting.stickler, Duration::from_secs(120))
            .option("--kernel", "", &dir.join("vmlinuz"), "")
            .option("--initrd", "", &dir.join("exerciser"), "")
            .with(["--append", &format!("{END_PARAMETER}=hang")])
            .with(["--cpus", "2"])
            .start()?;
        let process = running.id();
        let mut found = None;
        let outcome = running.finish(&mut |_| {
            // The guest runs.
            if found.is_none() {
                found = Some(statuses(process));
                rustix::process::kill_process(process, rustix::process::Signal::TERM).ok();
            }
        })?;
        setting.keep_log(&outcome.text())?;
        let found = found.context("the guest says nothing")??;
        for thread in ["stickler", "vcpu 0", "vcpu 1", "net 1", "serial output"] {
            ensure!(
                found.iter().any(|status| status["Name"] == thread),
                "there is no thread {thread}: {found:?}"
            );
        }
        for status in &found {
            confined(status).with_context(|| format!("{status:?}"))?;
        }
        Ok(())
    })]
}

type Status = BTreeMap<String, String>;

/// The status of each thread.
fn statuses(process: Pid) -> Result<Vec<Status>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()))?;
    tasks
        .map(|task| {
            let text = fs::read_to_string(task?.path().join("status"))?;
            let fields = text.lines().filter_map(|line| line.split_once(":\t"));
            Ok(fields
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect())
        })
        .collect()
}

fn confined(status: &Status) -> Result<()> {
    let field = |name: &str| status.get(name).with_context(|| format!("no {name}"));
    ensure!(field("NoNewPrivs")? == "1", "it can get privileges");
    ensure!(field("Seccomp")? == "2", "its system calls are free");
    let filters: u32 = field("Seccomp_filters")?.parse()?;
    let is_main = field("Tgid")? == field("Pid")?;
    ensure!(filters >= if is_main { 2 } else { 3 }, "it has no role");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let kept = u64::from_str_radix(field(set)?, 16)?;
        let allowed = if is_main { OF_MAIN } else { 0 };
        ensure!(kept & !allowed == 0, "{set} is {kept:#x}");
    }
    Ok(())
}
