//! What a serial port makes of a log, and what is no complaint.

use proptest::prelude::*;

use super::logs::*;
use super::*;

/// All logs, one after the other.
fn all_logs() -> [&'static str; 17] {
    [
        OOPS,
        PANIC,
        FOREIGN_WARNING,
        REFCOUNT,
        NEW_REFCOUNT,
        SLUB,
        SOFT_LOCKUP,
        HUNG_TASK,
        RCU_STALL,
        NOBODY_CARED,
        NET_WATCHDOG,
        NEW_NET_WATCHDOG,
        KASAN,
        UBSAN,
        LOCKDEP,
        BUG,
        PROTECTION_FAULT,
    ]
}

/// The log with each line changed.
fn changed(log: &str, change: impl Fn(KernelLine<'_>) -> String) -> String {
    let lines = log.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => change(KernelLine::read(line)),
    });
    lines.collect()
}

#[test]
fn prefixes_and_ends_of_lines_change_nothing() {
    for log in all_logs() {
        let plain = one(log);
        let stamp = |line: &KernelLine<'_>| line.stamp.unwrap_or_default().to_owned();
        let forms = [
            log.replace('\n', "\r\n"),
            log.replace('\n', "\0"),
            changed(log, |line| format!("{}\n", line.text)),
            changed(log, |line| {
                format!("[{:>12}][  T71] {}\r\n", stamp(&line), line.text)
            }),
            changed(log, |line| format!("<4>[{}] {}\n", stamp(&line), line.text)),
            changed(log, |line| {
                format!(
                    "Jan  1 00:00:02 guest kernel: [{}] {}\n",
                    stamp(&line),
                    line.text
                )
            }),
            changed(log, |line| {
                format!("kern  :warn  : [{}] {}\n", stamp(&line), line.text)
            }),
        ];
        for form in forms {
            assert_eq!(one(&form), plain, "{form}");
        }
    }
}

#[test]
fn what_programs_write_in_between_is_not_part_of_it() {
    for log in all_logs() {
        let plain = one(log);
        // The kernel does not wait for the end of a program's line.
        let noisy = log.replace('\n', "\n@mark network\nReceived 64 bytes\nlogin: ");
        assert_eq!(one(&noisy), plain, "{noisy}");
    }
    let plain = changed(OOPS, |line| format!("{}\n", line.text));
    let marked = plain.replace(
        "Call Trace:\n",
        "@mark network\nexercise: failed: a: b\nCall Trace:\n",
    );
    assert_eq!(one(&marked), one(OOPS));
}

#[test]
fn other_lines_of_the_kernel_in_a_trace_are_left_out() {
    let noisy = OOPS.replace(
        "[   12.103001]  remove_vqs",
        "[   12.103000] random: crng init done\n[   12.103001]  remove_vqs",
    );
    assert_eq!(one(&noisy), one(OOPS));
}

#[test]
fn processors_that_complain_at_the_same_time_are_told_apart_by_the_caller() {
    let with = |log: &str, caller: &str| -> Vec<String> {
        log.lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let line = KernelLine::read(line);
                format!(
                    "[{}][{caller:>6}] {}\n",
                    line.stamp.unwrap_or_default(),
                    line.text
                )
            })
            .collect()
    };
    let (first, second) = (with(OOPS, "T71"), with(REFCOUNT, "C1"));
    let longest = first.len().max(second.len());
    let mixed: String = (0..longest)
        .flat_map(|at| [first.get(at), second.get(at)].into_iter().flatten())
        .map(String::as_str)
        .collect();
    assert_eq!(read(&mixed), [one(OOPS), one(REFCOUNT)]);
}

#[test]
fn what_is_cut_is_told_as_far_as_it_came() {
    let cut = &OOPS[..OOPS.find("Modules linked in").unwrap()];
    let complaint = one(cut);
    assert_eq!(complaint.kind, ComplaintKind::Oops);
    assert_eq!(complaint.drivers, ["virtio_console", "virtio"]);
    // The guest is reset in the middle of a line, and the next kernel begins.
    let cut = &OOPS[..OOPS.find("virtcons_remove").unwrap()];
    let next = format!("{cut}\0[    0.000000] Linux version 6.12.9 (me@here)\n{REFCOUNT}");
    let kinds: Vec<_> = read(&next).iter().map(|complaint| complaint.kind).collect();
    assert_eq!(kinds, [ComplaintKind::Oops, ComplaintKind::Refcount]);
}

#[test]
fn what_the_kernel_splits_is_put_together_again() {
    let log = "\
exercise: pas[   12.000001] a: b
[   12.000002] c
sed
login: [   12.000003] d
@mark x
@mark [1] of [2.x]
";
    let mut splicer = LineSplicer::default();
    let lines: Vec<_> = log
        .lines()
        .map(|line| splicer.line(line).into_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "[   12.000001] a: b",
            "[   12.000002] c",
            "exercise: passed",
            "login: [   12.000003] d",
            "@mark x",
            "@mark [1] of [2.x]"
        ]
    );
}

#[test]
fn talk_of_complaints_and_other_messages_are_none() {
    for line in [
        "grep 'Kernel panic - not syncing: x' log",
        "echo Oops: 0002 [#1] SMP",
        "[    1.0] Modules linked in: virtio_net virtio_blk",
        "[    1.0] Spectre V2 : WARNING: Unprivileged eBPF is enabled",
        "[    1.0] WARNING: the 8021q module is old",
        "[    1.0] traps: prog[12] general protection fault ip:55 sp:7f error:0 in prog[55]",
        "[    1.0] prog[12]: segfault at 0 ip 0000 sp 0000 error 4 in prog[55]",
        "[    1.0] rcu: Preemptible hierarchical RCU implementation.",
        "[    1.0] INFO: lockdep is turned off.",
        "[    1.0] irq 9: something else",
        "[    1.0] BUGs are counted",
        "[    1.0] ---[ end trace 0000000000000000 ]---",
        "[    1.0]  virtnet_poll+0x10/0x20 [virtio_net]",
        "[    1.0] Call Trace:",
        "[    1.0] virtio_net: Unknown symbol net_failover_create (err -2)",
        "=============================================================================",
        "",
    ] {
        assert_eq!(read(line), [], "{line}");
    }
}

#[test]
fn memory_that_is_shown_at_length_does_not_hide_the_trace() {
    let dump: String = (0..256)
        .map(|at| format!("[    7.000014] Object   ffff9d4003c{at:05x}: 6b 6b 6b 6b  kkkk\n"))
        .collect();
    let long = SLUB.replace(
        "[    7.000015] Padding",
        &format!("{dump}[    7.000015] Padding"),
    );
    let complaint = one(&long);
    assert!(complaint.lines.len() < LINES, "{}", complaint.lines.len());
    assert!(complaint.lines.last().unwrap().starts_with("FIX"));
}

proptest! {
    /// Whatever a guest writes, the reader ends each complaint after a bounded number of lines.
    #[test]
    fn any_lines_are_survived(lines in prop::collection::vec(
        prop_oneof![
            any::<String>(),
            prop::sample::select(all_logs().iter().flat_map(|log| log.lines()).collect::<Vec<_>>())
                .prop_map(str::to_owned),
            "\\[ *[0-9]{1,3}\\.[0-9]{6}\\](\\[ *[TC][0-9]\\])? (BUG: |WARNING: CPU: | f\\+0x1/0x2 \\[m\\]|Oops: 0000 \\[#1\\])",
        ],
        0..80,
    )) {
        let log = lines.join("\n");
        for complaint in read(&log) {
            prop_assert!(!complaint.lines.is_empty());
            prop_assert!(complaint.lines.len() <= 1000);
            prop_assert!(!complaint.ends_kernel() || complaint.fails());
        }
    }
}
