//! Linux, whose drivers conform; and the judge says the same of the same guest, whatever runs it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Host, Test};

/// The suite of Debian with the kernel.
const SUITE: &str = "trixie";

/// What the guest does: one thing at a time, as in the run on KVM (`outcomes-on-kvm` of the end-to-end tests).
const QUIET: [&str; 4] = [
    "--cpus",
    "1",
    "--steps",
    "block,network,console,entropy,rebind-drivers,rebind-transport,rescan",
];

/// Requirements that cannot be exercised through vfio-user, or only there, each with the reason. There are none: the
/// monitor keeps the table of MSI-X vectors, and no requirement on virtio drivers is about it.
const NOT_THE_SAME: [&str; 0] = [];

/// The tests, if the directory of the end-to-end tests is known.
pub(crate) fn all(host: &Host) -> Vec<Test> {
    if host.end_to_end.is_none() {
        return Vec::new();
    }
    vec![Test {
        name: "emulated-linux-x86_64".to_owned(),
        run: Box::new(|host| {
            let end_to_end = host.end_to_end.as_deref().context("it is known")?;
            judge(host, end_to_end)
        }),
    }]
}

fn judge(host: &Host, end_to_end: &Path) -> Result<()> {
    let on_kvm = end_to_end.join("outcomes/kvm.json");
    let on_kvm = fs::read(on_kvm).context("there is no report of the run on KVM")?;
    let on_kvm: Value = serde_json::from_slice(&on_kvm).context("it is no JSON")?;
    let kernel = end_to_end.join("kernels").join(SUITE);
    let (image, modules) = (kernel.join("vmlinuz"), kernel.join("modules"));
    let mut arguments = vec![
        "--kernel",
        image.to_str().context("the path is UTF-8")?,
        "--modules",
        modules.to_str().context("the path is UTF-8")?,
    ];
    arguments.extend(["--latitude", "none"]);
    arguments.extend(QUIET);
    let (code, report) = host.check("emulated-linux-x86_64", &arguments)?;
    ensure!(code == Some(0), "exit code {code:?}: {}", report["runs"]);
    let differences = differences(&on_kvm, &report);
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

/// The requirements of which one report says something else than the other.
fn differences(on_kvm: &Value, on_qemu: &Value) -> Vec<String> {
    let rows = |report: &Value| -> Vec<(String, String)> {
        let rows = report["requirements"].as_array().into_iter().flatten();
        rows.filter_map(|row| {
            let text = |key: &str| row[key].as_str().map(str::to_owned);
            Some((text("id")?, text("outcome")?))
        })
        .collect()
    };
    let (kvm, qemu) = (rows(on_kvm), rows(on_qemu));
    let mut differences = Vec::new();
    if kvm.len() != qemu.len() || kvm.is_empty() {
        differences.push(format!(
            "{} requirements on KVM, {} through QEMU",
            kvm.len(),
            qemu.len()
        ));
    }
    for ((id, on_kvm), (other, on_qemu)) in kvm.iter().zip(&qemu) {
        if id != other || (on_kvm != on_qemu && !NOT_THE_SAME.contains(&id.as_str())) {
            differences.push(format!(
                "{id} is {on_kvm} on KVM, {other} {on_qemu} through QEMU"
            ));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_found() {
        let report = |rows: &[(&str, &str)]| {
            let rows: Vec<Value> = rows
                .iter()
                .map(|(id, outcome)| json!({ "id": id, "outcome": outcome }))
                .collect();
            json!({ "requirements": rows })
        };
        let one = report(&[("a.b", "held"), ("c.d", "held")]);
        assert!(differences(&one, &one).is_empty());
        let other = report(&[("a.b", "held"), ("c.d", "not-exercised")]);
        assert_eq!(differences(&one, &other).len(), 1);
        assert!(!differences(&one, &report(&[("a.b", "held")])).is_empty());
        assert!(!differences(&report(&[]), &report(&[])).is_empty());
    }
}
