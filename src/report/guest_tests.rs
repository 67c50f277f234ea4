//! What is reported of the guest's own kernel.

use serde_json::json;
use stickler_conformance::requirement::Level;
use stickler_conformance::{DeviceKind, Finding, Judge, Recorder, Witness};

use super::tests::valid_json;
use super::*;
use crate::complaints::tests::logs;
use crate::journal::VcpuPosition;
use crate::machine::{OutputScanner, PanicNote};

const NET: DeviceId = DeviceId {
    slot: 1,
    kind: DeviceKind::Net,
};

/// The report of a guest that wrote `output` and ended so.
fn report_of(end: GuestEnd, output: &str) -> Report {
    let journal = Journal::new();
    OutputScanner::new(journal.clone(), PanicNote::default()).feed(output.as_bytes());
    report_with(end, &journal)
}

/// The report with times that do not vary.
fn report_with(end: GuestEnd, journal: &Journal) -> Report {
    let judge = Judge::new(NET, 1 << 32, journal.recorder());
    let tallies = judge.tallies().unwrap();
    let mut report = Report::new(RunEnd::Guest(end), vec![NET], &tallies, journal);
    report.duration = Duration::from_secs(60);
    for (at, complaint) in (0..).zip(&mut report.complaints) {
        complaint.time_us = 12_000_000 + 1_000_000 * at;
    }
    for next in &mut report.next_kernels {
        next.time_us = 15_000_000;
    }
    report
}

/// The text without the table of requirements.
fn text_of(report: &Report) -> String {
    let short = Report {
        rows: Vec::new(),
        ..report.clone()
    };
    text::render(&short, false)
}

#[test]
fn failures_stand_first_and_are_quoted_whole() {
    let output = format!(
        "@mark rebind-drivers\n{}{}{}{}",
        logs::OOPS,
        logs::REFCOUNT,
        logs::FOREIGN_WARNING,
        logs::PANIC
    );
    let report = report_of(GuestEnd::Panic("Fatal exception".to_owned()), &output);
    insta::assert_snapshot!(text_of(&report));
    let json = valid_json(&report);
    let complaint = serde_json::to_string_pretty(&json["complaints"][1]).unwrap();
    insta::assert_snapshot!(complaint);
    let fails: Vec<_> = json["complaints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|complaint| {
            (
                complaint["kind"].as_str().unwrap(),
                complaint["fails"].as_bool(),
            )
        })
        .collect();
    assert_eq!(
        fails,
        [
            ("oops", Some(true)),
            ("refcount", Some(true)),
            ("warning", Some(false)),
            ("panic", Some(true))
        ]
    );
    assert_eq!(report.failures().len(), 4);
}

#[test]
fn a_run_that_ended_well_fails_for_a_damaged_reference_count_and_for_no_foreign_warning() {
    let good = report_of(GuestEnd::PowerOff, logs::FOREIGN_WARNING);
    assert!(good.failures().is_empty());
    assert!(text_of(&good).contains("\nthe guest's kernel complained (WARNING) at 12.000 s: "));
    let bad = report_of(GuestEnd::PowerOff, logs::REFCOUNT);
    let message = &bad.failures()[0].message;
    assert!(
        message.ends_with(": refcount_t: underflow; use-after-free."),
        "{message}"
    );
}

#[test]
fn a_guest_whose_time_was_over_stands_somewhere() {
    let journal = Journal::new();
    let mut scanner = OutputScanner::new(journal.clone(), PanicNote::default());
    scanner.feed(b"@mark network\n");
    scanner.feed(logs::SOFT_LOCKUP.as_bytes());
    let silent = report_with(GuestEnd::Timeout, &journal);
    let why = silent.standing.as_ref().unwrap().why_no_trace().unwrap();
    assert!(why.contains("sysrq_always_enabled"), "{why}");
    journal.ask();
    scanner.feed(
        b"[   60.000001] sysrq: Show backtrace of all active CPUs
[   60.000002] NMI backtrace for cpu 0
[   60.000003] RIP: 0010:virtqueue_get_buf_ctx_split+0x31/0x130 [virtio_ring]
[   60.000004] Call Trace:
[   60.000005]  <TASK>
[   60.000006]  virtnet_send_command_reply+0xf4/0x170 [virtio_net]
",
    );
    for number in [1, 0] {
        journal.stands(VcpuPosition {
            number,
            rip: 0xffff_ffff_c012_3456,
            halted: number == 1,
        });
    }
    let report = report_with(GuestEnd::Timeout, &journal);
    insta::assert_snapshot!(text_of(&report));
    let json = valid_json(&report);
    assert_eq!(
        json["standing"]["processors"][1],
        json!({"number": 1, "rip": "0xffffffffc0123456", "halted": true})
    );
    assert_eq!(json["standing"]["answer"].as_array().unwrap().len(), 6);
    // A guest that ended by itself stands nowhere.
    assert!(valid_json(&report_with(GuestEnd::PowerOff, &journal))["standing"].is_null());
}

#[test]
fn a_finding_says_that_another_kernel_came_while_the_device_was_live() {
    let mut journal = Journal::new();
    let (requirement, _) = catalogue::iter().next().unwrap();
    let finding = |device| Finding {
        requirement,
        level: Level::Must,
        device,
        queue: None,
        message: "wrote it".to_owned(),
    };
    let other = DeviceId {
        slot: 9,
        kind: DeviceKind::Entropy,
    };
    journal.record(finding(NET));
    std::thread::sleep(Duration::from_millis(2));
    journal.mark("kexec");
    journal.record(finding(NET));
    journal.record(finding(other));
    journal.next_kernel(NextKernel {
        live: (1..=4).map(|slot| DeviceId { slot, ..NET }).collect(),
        slot: 1,
        bar: 0,
        time_us: u64::try_from(journal.elapsed().as_micros()).unwrap(),
    });
    journal.record(finding(NET));
    std::thread::sleep(Duration::from_millis(2));
    journal.mark("second life");
    journal.record(finding(NET));
    let report = report_with(GuestEnd::PowerOff, &journal);
    const NOTE: &str = "slots 1 to 4 were live when the next kernel came (first write: 0xffffffff to BAR 0 of slot 1, \
                        which asks for its size)";
    let has_note: Vec<bool> = report
        .findings
        .iter()
        .map(|recorded| recorded.finding.message == format!("wrote it; {NOTE}"))
        .collect();
    assert_eq!(has_note, [false, true, false, true, false]);
    assert_eq!(report.failures()[0].message, format!("at 15.000 s: {NOTE}"));
    let json = valid_json(&report);
    assert_eq!(
        json["next_kernels"][0]["live"][3],
        json!({"slot": 4, "type": "net"})
    );
    let live = |slots: &[u8]| NextKernel {
        live: slots
            .iter()
            .map(|slot| DeviceId { slot: *slot, ..NET })
            .collect(),
        slot: slots[0],
        bar: 0,
        time_us: 0,
    };
    assert!(live(&[3]).message().starts_with("slot 3 was live"));
    assert!(
        live(&[1, 2, 4])
            .message()
            .starts_with("slots 1, 2, 4 were live")
    );
}

#[test]
fn a_driver_that_is_required_and_missing_is_a_failure() {
    let report = report_of(GuestEnd::PowerOff, "");
    let missing = |required| report.clone().with_untaken(vec![NET], required);
    assert!(missing(false).failures().is_empty());
    assert!(text_of(&missing(false)).contains("\nno driver took device 1 (net)\n"));
    let text = text_of(&missing(true));
    assert!(
        text.contains("\nFAILED no driver took device 1 (net)\n"),
        "{text}"
    );
    assert_eq!(text.matches("no driver took").count(), 1);
}

#[test]
fn what_firmware_did_is_said_at_the_top() {
    use crate::firmware::verdict::{BootFailure, BootFailureKind, BootReport, DataState};
    let failure = |how, step: Option<&str>, message: &str| BootFailure {
        how,
        step: step.map(str::to_owned),
        message: message.to_owned(),
    };
    let report = report_of(GuestEnd::GaveUp("it stopped at its prompt".to_owned()), "");
    let report = report.with_boot(Some(BootReport {
        firmware: "u-boot".to_owned(),
        arch: "aarch64".to_owned(),
        file: "/usr/lib/u-boot/qemu_arm64/u-boot.bin".to_owned(),
        program: None,
        data: DataState::Untouched,
        failures: vec![failure(
            BootFailureKind::Boot,
            None,
            "the firmware booted no program",
        )],
        excused: vec![failure(
            BootFailureKind::Step,
            Some("write"),
            "U-Boot could not write",
        )],
    }));
    insta::assert_snapshot!(text_of(&report));
    let json = valid_json(&report);
    assert_eq!(json["guest"]["end"], "gave-up");
    assert_eq!(json["boot"]["data"], "untouched");
    assert_eq!(report.failures().len(), 1);
}
