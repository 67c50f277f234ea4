//! Each sort of complaint is found, whole, and laid to the drivers in its trace.

use super::logs::*;
use super::*;

/// The complaint's kind, process and drivers, and whether the run fails for it.
fn summary(complaint: &Complaint) -> (ComplaintKind, &str, Vec<&str>, bool) {
    (
        complaint.kind,
        complaint.process.as_deref().unwrap_or("none"),
        complaint.drivers.iter().map(String::as_str).collect(),
        complaint.fails(),
    )
}

/// The lines of a log that belong to the complaint: from the line with `first` to that with `last`, without
/// prefixes.
fn lines(log: &str, first: &str, last: &str) -> Vec<String> {
    let texts: Vec<&str> = log
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| KernelLine::read(line).text)
        .collect();
    let at = |text: &str| texts.iter().position(|line| line.contains(text)).unwrap();
    texts[at(first)..=at(last)]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

#[test]
fn each_kind_is_told_with_process_and_drivers() {
    use ComplaintKind::*;
    let init = "init (71)";
    let worker = "kworker/1:0 (12)";
    let swapper = "swapper/0 (0)";
    for (log, kind, process, drivers, fails) in [
        (OOPS, Oops, init, vec!["virtio_console", "virtio"], true),
        (PANIC, Panic, "none", vec![], true),
        (FOREIGN_WARNING, Warning, "swapper/0 (1)", vec![], false),
        (REFCOUNT, Refcount, worker, vec![], true),
        (NEW_REFCOUNT, Refcount, worker, vec![], true),
        (SLUB, Slub, "init (90)", vec!["virtio_console"], true),
        (
            SOFT_LOCKUP,
            SoftLockup,
            "init (1)",
            vec!["virtio_ring", "virtio_net"],
            true,
        ),
        (HUNG_TASK, HungTask, "init (1)", vec!["virtio_rng"], true),
        (
            RCU_STALL,
            RcuStall,
            init,
            vec!["virtio_pci", "virtio_ring"],
            true,
        ),
        (
            NOBODY_CARED,
            UnhandledInterrupt,
            swapper,
            vec!["virtio_pci"],
            true,
        ),
        (NET_WATCHDOG, NetWatchdog, swapper, vec!["virtio_net"], true),
        (
            NEW_NET_WATCHDOG,
            NetWatchdog,
            "none",
            vec!["virtio_net"],
            true,
        ),
        (KASAN, Kasan, init, vec!["virtio_net"], true),
        (UBSAN, Ubsan, init, vec!["virtio_net"], true),
        (LOCKDEP, Lockdep, init, vec!["virtio_net"], true),
        (BUG, Bug, init, vec!["virtio_ring", "virtio_blk"], true),
        (
            PROTECTION_FAULT,
            GeneralProtectionFault,
            init,
            vec!["virtio_ring"],
            true,
        ),
    ] {
        let complaint = one(log);
        assert_eq!(
            summary(&complaint),
            (kind, process, drivers, fails),
            "{log}"
        );
    }
}

#[test]
fn each_is_quoted_whole() {
    for (log, first, last) in [
        (OOPS, "BUG: kernel", "---[ end trace"),
        (PANIC, "Kernel panic", "---[ end"),
        (FOREIGN_WARNING, "cut here", "---[ end trace"),
        (NEW_REFCOUNT, "cut here", "---[ end trace"),
        (SLUB, "BUG kmalloc", "FIX kmalloc"),
        (SOFT_LOCKUP, "soft lockup", "</TASK>"),
        (HUNG_TASK, "INFO: task", "</TASK>"),
        (RCU_STALL, "rcu: INFO", "kthread starved"),
        (NOBODY_CARED, "nobody cared", "Disabling IRQ"),
        (NET_WATCHDOG, "cut here", "---[ end trace"),
        (NEW_NET_WATCHDOG, "NETDEV WATCHDOG", "NETDEV WATCHDOG"),
        (LOCKDEP, "WARNING: possible", "</TASK>"),
        (BUG, "cut here", "---[ end trace"),
    ] {
        let complaint = one(log);
        let mut expected = lines(log, first, last);
        if log == SOFT_LOCKUP {
            // After the interrupt's stack comes the task's.
            expected = lines(log, first, "virtnet_set_rx_mode");
            expected.extend(lines(log, "do_syscall_64", "do_syscall_64"));
            expected.push(" </TASK>".to_owned());
        }
        assert_eq!(complaint.lines, expected);
    }
    let kasan = one(KASAN).lines;
    assert!(kasan.last().unwrap().starts_with("====="), "{kasan:#?}");
    assert!(one(UBSAN).lines.last().unwrap().starts_with("====="));
}

#[test]
fn title_instruction_and_trace_are_told() {
    let oops = one(OOPS);
    assert_eq!(
        oops.title,
        "BUG: kernel NULL pointer dereference, address: 0000000000000008"
    );
    assert_eq!(
        oops.rip.as_deref(),
        Some("free_buf+0x1a/0x110 [virtio_console]")
    );
    assert_eq!(
        oops.trace[..3],
        [
            "remove_vqs [virtio_console]",
            "virtcons_remove [virtio_console]",
            "virtio_dev_remove [virtio]"
        ]
    );
    for log in [REFCOUNT, NEW_REFCOUNT] {
        assert_eq!(one(log).title, "refcount_t: underflow; use-after-free.");
    }
    assert_eq!(
        one(FOREIGN_WARNING).rip.as_deref(),
        Some("ext4_fill_super+0x11/0x22 [ext4]")
    );
    assert_eq!(one(KASAN).rip.as_deref(), Some("skb_put"));
}

#[test]
fn a_driver_that_was_interrupted_has_no_part_in_what_the_handler_does() {
    let warning = "\
[    3.0] ------------[ cut here ]------------
[    3.0] WARNING: CPU: 0 PID: 1 at kernel/time/timer.c:1 run_timers+0x11/0x22
[    3.0] CPU: 0 PID: 1 Comm: init Not tainted 6.12.9 #1
[    3.0] Call Trace:
[    3.0]  <IRQ>
[    3.0]  __run_timers+0x1/0x2
[    3.0]  </IRQ>
[    3.0]  <TASK>
[    3.0]  virtqueue_add_split+0x5d/0x640 [virtio_ring]
[    3.0]  </TASK>
[    3.0] ---[ end trace 0000000000000000 ]---
";
    let complaint = one(warning);
    assert!(complaint.drivers.is_empty() && !complaint.fails());
    let in_handler = warning.replace("__run_timers+0x1/0x2", "virtnet_poll+0x1/0x2 [virtio_net]");
    assert_eq!(one(&in_handler).drivers, ["virtio_net"]);
    // Frames that may be left from an earlier call do not count.
    let stale = warning.replace("__run_timers", "? virtnet_poll");
    assert_eq!(one(&stale).drivers, ["virtio_ring"]);
}

#[test]
fn drivers_that_are_built_in_are_known_by_their_functions() {
    let built_in = |log: &str| -> String {
        let modules = [" [virtio_console]", " [virtio]", " [virtio_net]"];
        modules
            .iter()
            .fold(log.to_owned(), |log, module| log.replace(module, ""))
    };
    let drivers = |log: &str| one(&built_in(log)).drivers;
    assert_eq!(drivers(OOPS), ["virtio_console", "virtio"]);
    let part = OOPS
        .replace("remove_vqs", "f")
        .replace("virtcons_remove", "g");
    let part = part
        .replace("free_buf", "free_buf.isra.0")
        .replace("virtio_dev_remove", "h");
    assert_eq!(drivers(&part), ["virtio_console"]);
    // A function of a module of another name is that module's.
    let other = part.replace("free_buf.isra.0+0x1a/0x110", "free_buf+0x1a/0x110 [other]");
    assert!(drivers(&other).is_empty());
}

#[test]
fn an_oops_and_the_panic_that_follows_are_two() {
    let all = read(&format!("{OOPS}{PANIC}"));
    let kinds: Vec<_> = all.iter().map(|complaint| complaint.kind).collect();
    assert_eq!(kinds, [ComplaintKind::Oops, ComplaintKind::Panic]);
    assert_eq!(all[1].title, "Kernel panic - not syncing: Fatal exception");
}

#[test]
fn with_a_warning_at_its_end_a_report_of_slub_is_one() {
    let newer = SLUB.replace(
        "[    7.000016] CPU: 0",
        "[    7.000016] ------------[ cut here ]------------
[    7.000016] WARNING: CPU: 0 PID: 90 at mm/slub.c:1135 slab_err+0xa0/0xb0
[    7.000016] CPU: 0",
    );
    let complaint = one(&newer);
    assert_eq!(complaint.kind, ComplaintKind::Slub);
    assert!(complaint.title.starts_with("BUG kmalloc-512"));
}

#[test]
fn a_hung_task_whose_trace_is_not_shown_ends_with_its_message() {
    let log = HUNG_TASK.lines().take(3).collect::<Vec<_>>().join("\n");
    let log = format!("{log}\n[  243.0] random: crng init done\n[  243.1] virtio_net: x\n");
    let complaint = one(&log);
    assert_eq!(complaint.lines.len(), 3);
    assert!(!complaint.fails());
}
