//! How a complaint begins, and what it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;

/// What the kernel complains of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "complaint-kind")]
pub enum ComplaintKind {
    /// The kernel panicked.
    Panic,
    /// An access to memory that is not there, or another exception in the kernel.
    Oops,
    /// An access to an address that no processor can form.
    GeneralProtectionFault,
    /// A condition without which the kernel cannot continue (`BUG`).
    Bug,
    /// Another complaint that begins with `BUG:`.
    OtherBug,
    /// A condition that should not be (`WARN`).
    Warning,
    /// A reference count that went below zero or too high: use after free.
    Refcount,
    /// SLUB found an object overwritten, freed twice, or left behind.
    Slub,
    /// KASAN or KFENCE found an access to memory that is not the accessor's.
    Kasan,
    /// UBSAN found undefined behaviour.
    Ubsan,
    /// Locks were taken in an order, or in a context, that can deadlock.
    Lockdep,
    /// A processor did not schedule for a long time.
    SoftLockup,
    /// A processor took no interrupts for a long time.
    HardLockup,
    /// A task waited for a long time and could not be interrupted.
    HungTask,
    /// A processor did not let a grace period of RCU end.
    RcuStall,
    /// No handler took an interrupt, 99,900 times of 100,000: it was switched off.
    UnhandledInterrupt,
    /// A network interface did not transmit for seconds.
    NetWatchdog,
}

impl ComplaintKind {
    /// What the complaint is whose lines these are.
    pub fn of(lines: &[String]) -> ComplaintKind {
        // What is special stands in the first lines, before or after the `WARNING:` that is common to many.
        const HEAD: usize = 6;
        let head = || lines.iter().take(HEAD).map(|line| line.trim());
        let mut found = None;
        for kind in head().filter_map(ComplaintKind::beginning_with) {
            if matches!(found, None | Some(ComplaintKind::Warning)) {
                found = Some(kind);
            }
        }
        found.unwrap_or(ComplaintKind::Warning)
    }

    /// The complaint that begins with `text`, which is a line without its prefixes.
    pub(super) fn beginning_with(text: &str) -> Option<ComplaintKind> {
        use ComplaintKind::*;
        const LOCKDEP: [&str; 14] = [
            "possible circular locking dependency",
            "possible recursive locking",
            "possible irq lock inversion",
            "possible irq-unsafe",
            "inconsistent lock state",
            "-safe -> ",
            "suspicious RCU usage",
            "bad unlock balance",
            "bad contention",
            "lock held when returning to user space",
            "lock held at task exit",
            "held lock freed",
            "Nested lock was not taken",
            "Invalid wait context",
        ];
        let text = text.strip_prefix("watchdog: ").unwrap_or(text);
        let text = text.strip_prefix("NMI watchdog: ").unwrap_or(text);
        let starts = |beginning: &str| text.starts_with(beginning);
        if starts("Kernel panic - not syncing") {
            return Some(Panic);
        }
        if starts("kernel BUG at ") {
            return Some(Bug);
        }
        if text.contains("NETDEV WATCHDOG: ") {
            return Some(NetWatchdog);
        }
        if let Some(text) = text.strip_prefix("BUG: ") {
            const OOPSES: [&str; 4] = [
                "kernel NULL pointer dereference",
                "unable to handle",
                "stack guard page was hit",
                "TASK stack guard page was hit",
            ];
            return Some(
                if text.starts_with("KASAN: ") || text.starts_with("KFENCE: ") {
                    Kasan
                } else if text.starts_with("soft lockup") {
                    SoftLockup
                } else if OOPSES.iter().any(|oops| text.starts_with(oops)) {
                    Oops
                } else if LOCKDEP.iter().any(|lockdep| text.contains(lockdep)) {
                    Lockdep
                } else {
                    OtherBug
                },
            );
        }
        if text.contains("Watchdog detected hard LOCKUP") {
            return Some(HardLockup);
        }
        if shape::is_slub(text) {
            return Some(Slub);
        }
        if shape::is_die(text) {
            let fault = text.contains("general protection fault");
            return Some(if fault { GeneralProtectionFault } else { Oops });
        }
        if starts("refcount_t: ") {
            return Some(Refcount);
        }
        if starts("UBSAN: ") {
            return Some(Ubsan);
        }
        let info = text.strip_prefix("INFO: ");
        if let Some(warning) = text.strip_prefix("WARNING: ").or(info)
            && LOCKDEP.iter().any(|lockdep| warning.contains(lockdep))
        {
            return Some(Lockdep);
        }
        if starts("WARNING: CPU: ") || starts("WARNING: ") && shape::is_new_warning(text) {
            return Some(Warning);
        }
        if info.is_some_and(|info| info.starts_with("task ") && info.contains("blocked"))
            && text.contains(" for more than ")
        {
            return Some(HungTask);
        }
        let rcu = text.strip_prefix("rcu: ").unwrap_or(text);
        if rcu.starts_with("INFO: rcu") && rcu.contains("stall") {
            return Some(RcuStall);
        }
        if starts("irq ") && text.contains(": nobody cared") {
            return Some(UnhandledInterrupt);
        }
        None
    }

    /// Whether the kernel cannot continue in a sound state.
    pub fn ends_kernel(self) -> bool {
        use ComplaintKind::*;
        matches!(self, Panic | Oops | GeneralProtectionFault | Bug)
    }

    /// Whether memory of the kernel was damaged by code that the complaint does not name.
    pub fn is_damage(self) -> bool {
        matches!(self, ComplaintKind::Refcount | ComplaintKind::Slub)
    }

    /// Whether the call trace is of where the processor was when an interrupt came: the interrupt is the
    /// watchdog's own.
    pub(super) fn is_of_interrupted(self) -> bool {
        use ComplaintKind::*;
        matches!(self, SoftLockup | HardLockup | HungTask | RcuStall)
    }

    /// In the text report.
    pub fn words(self) -> &'static str {
        use ComplaintKind::*;
        match self {
            Panic => "panic",
            Oops => "Oops",
            GeneralProtectionFault => "general protection fault",
            Bug | OtherBug => "BUG",
            Warning => "WARNING",
            Refcount => "reference count",
            Slub => "SLUB",
            Kasan => "KASAN",
            Ubsan => "UBSAN",
            Lockdep => "lockdep",
            SoftLockup => "soft lockup",
            HardLockup => "hard lockup",
            HungTask => "hung task",
            RcuStall => "RCU stall",
            UnhandledInterrupt => "unhandled interrupt",
            NetWatchdog => "NETDEV WATCHDOG",
        }
    }
}
