//! Firmware of Debian's packages: it boots from plain devices and from devices with several latitudes, its drivers
//! violate what they are known to violate and nothing else, and where it is known not to cope, stickler sees it.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{Host, Test};

/// Firmware, and what is known of it.
struct Known {
    firmware: &'static str,
    arch: &'static str,
    /// What the check has as the program that was booted.
    program: &'static str,
    /// The requirements (MUST and MUST NOT) that it violates on plain devices.
    violates: &'static [&'static str],
    /// Latitudes with which it boots all the same.
    copes: &'static str,
    /// A latitude with which it does not, and the words by which stickler says so.
    fails: Option<(&'static str, &'static str)>,
}

/// What all of the transport's part copes with.
const TRANSPORT: &str =
    "any-revision,any-subsystem,long-capabilities,oversized-structures,capability-order";

const KNOWN: [Known; 7] = [
    Known {
        firmware: "ovmf",
        arch: "aarch64",
        program: "efi-program",
        violates: &["status.reset.wait"],
        copes: TRANSPORT,
        fails: None,
    },
    Known {
        firmware: "ovmf",
        arch: "x86_64",
        program: "efi-program",
        violates: &["status.reset.wait"],
        copes: TRANSPORT,
        fails: None,
    },
    Known {
        firmware: "ipxe",
        arch: "x86_64",
        program: "network-program",
        violates: &[],
        copes: TRANSPORT,
        fails: None,
    },
    Known {
        firmware: "u-boot",
        arch: "aarch64",
        program: "u-boot-script",
        violates: &["status.sequence.reset", "status.sequence.acknowledge"],
        copes: TRANSPORT,
        fails: Some(("transitional-id", "U-Boot stopped at its prompt")),
    },
    Known {
        firmware: "u-boot",
        arch: "riscv64",
        program: "u-boot-script",
        violates: &["status.sequence.reset", "status.sequence.acknowledge"],
        copes: TRANSPORT,
        fails: None,
    },
    Known {
        firmware: "u-boot",
        arch: "x86_64",
        program: "u-boot-script",
        violates: &[
            "status.sequence.reset",
            "status.sequence.acknowledge",
            "status.sequence.features-ok",
        ],
        copes: TRANSPORT,
        fails: None,
    },
    Known {
        firmware: "seabios",
        arch: "x86_64",
        program: "boot-sector",
        violates: &["status.reset.wait"],
        copes: TRANSPORT,
        fails: Some(("reserved-bar", "no bootable device")),
    },
];

/// All tests, the slowest first.
pub(crate) fn all() -> Vec<Test> {
    KNOWN
        .iter()
        .map(|known| {
            let name = format!("emulated-{}-{}", known.firmware, known.arch);
            let of_run = name.clone();
            Test {
                name,
                run: Box::new(move |host| judge(host, &of_run, known)),
            }
        })
        .collect()
}

fn judge(host: &Host, name: &str, known: &Known) -> Result<()> {
    let mut arguments = vec!["--firmware", known.firmware, "--arch", known.arch];
    // Under load a guest may be slow; one that gives up says so.
    arguments.extend(["--timeout", "4m", "--deny", "none"]);
    arguments.extend(["--latitude", "none", "--latitude", known.copes]);
    if let Some((latitude, _)) = known.fails {
        arguments.extend(["--latitude", latitude]);
    }
    let (code, report) = host.check(name, &arguments)?;
    for name in ["none", known.copes] {
        let failures = failures(&report, name)?;
        ensure!(failures.is_empty(), "with {name}: {}", failures.join("; "));
    }
    match known.fails {
        None => ensure!(code == Some(0), "exit code {code:?}"),
        Some((latitude, words)) => {
            let failures = failures(&report, latitude)?;
            ensure!(
                failures.iter().any(|failure| failure.contains(words)),
                "with {latitude} it should have failed ({words}), and did: {failures:?}"
            );
            ensure!(code == Some(3), "exit code {code:?}");
        }
    }
    violates(&report, known.violates)?;
    boots(host, name, known.program)
}

/// The failures of a run.
fn failures(report: &Value, run: &str) -> Result<Vec<String>> {
    let runs = report["runs"].as_array().into_iter().flatten();
    let Some(run) = runs.into_iter().find(|found| found["name"] == run) else {
        bail!("there is no run {run}");
    };
    let failures = run["failures"].as_array().into_iter().flatten();
    Ok(failures
        .filter_map(|failure| failure["message"].as_str().map(str::to_owned))
        .collect())
}

/// The drivers violated these requirements of levels that are absolute, and no others, and held many.
fn violates(report: &Value, known: &[&str]) -> Result<()> {
    let requirements = report["requirements"].as_array().into_iter().flatten();
    let with = |outcome: &str| {
        let rows = requirements.clone();
        let mut ids: Vec<&str> = rows
            .filter(|row| row["outcome"] == outcome)
            .filter(|row| matches!(row["level"].as_str(), Some("MUST" | "MUST NOT")))
            .filter_map(|row| row["id"].as_str())
            .collect();
        ids.sort_unstable();
        ids
    };
    let mut known = known.to_vec();
    known.sort_unstable();
    let violated = with("violated");
    ensure!(
        violated == known,
        "violated: {violated:?}, known: {known:?}"
    );
    let held = with("held").len();
    ensure!(held >= 20, "only {held} requirements held");
    Ok(())
}

/// The run with plain devices booted this program, and the data was right where there was a disk.
fn boots(host: &Host, name: &str, program: &str) -> Result<()> {
    let file = host.directory.join(name).join("0-none.json");
    let report: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let boot = &report["boot"];
    ensure!(boot["program"] == program, "{boot}");
    let data = if program == "network-program" {
        "not-compared"
    } else {
        "right"
    };
    ensure!(boot["data"] == data, "{boot}");
    Ok(())
}
