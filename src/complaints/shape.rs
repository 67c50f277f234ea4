//! The forms of a complaint's lines. They are given without prefixes.

/// What precedes a warning, a `BUG` or, on newer kernels, a complaint of UBSAN.
pub(super) const CUT_HERE: &str = "------------[ cut here ]------------";

/// A line of one repeated sign, or the line before a warning.
pub(super) fn is_separator(line: &str) -> bool {
    line == CUT_HERE || is_rule(line)
}

/// A line of equals signs or dashes only, as SLUB, KASAN and UBSAN draw them.
pub(super) fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 28 && (line.bytes().all(|b| b == b'=') || line.bytes().all(|b| b == b'-'))
}

/// `BUG kmalloc-64 (Tainted: G    B): Poison overwritten`
pub(super) fn is_slub(text: &str) -> bool {
    text.strip_prefix("BUG ").is_some_and(|rest| {
        rest.split_once(" (").is_some_and(|(cache, rest)| {
            !cache.is_empty() && !cache.contains(' ') && rest.contains("): ")
        })
    })
}

/// What the kernel says when it dies of an exception: `Oops: 0002 [#1] SMP`, `general protection fault,
/// probably for non-canonical address 0x…: 0000 [#1] SMP`, `invalid opcode: 0000 [#1]`, `Oops: invalid opcode: 0000
/// [#1]`. A program that dies has no number.
pub(super) fn is_die(text: &str) -> bool {
    const EXCEPTIONS: [&str; 10] = [
        "Oops: ",
        "general protection fault",
        "invalid opcode: ",
        "divide error: ",
        "stack segment: ",
        "segment not present: ",
        "int3: ",
        "double fault: ",
        "alignment check: ",
        "control protection fault: ",
    ];
    let Some((before, after)) = text.split_once(" [#") else {
        return false;
    };
    if !EXCEPTIONS
        .iter()
        .any(|exception| text.starts_with(exception))
    {
        return false;
    }
    let code = before.rsplit(' ').next().unwrap_or_default();
    let number = after.split_once(']').map_or("", |(number, _)| number);
    code.len() == 4
        && code.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The warning of Linux 6.19 and newer: `WARNING: net/core/dev.c:12 at func+0x1/0x2, CPU#0: init/1`.
pub(super) fn is_new_warning(text: &str) -> bool {
    text.contains(", CPU#") && (text.contains(" at ") || text.starts_with("WARNING: at "))
}

/// The last line of a complaint.
pub(super) fn is_end(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("---[ end ") || text.starts_with("Disabling IRQ #")
}

/// The head of a call trace.
pub(super) fn is_trace_head(text: &str) -> bool {
    matches!(
        text.trim(),
        "Call Trace:" | "Call trace:" | "<TASK>" | "<IRQ>" | "<NMI>"
    )
}

/// A line of a call trace: a function, or where a stack begins or ends.
pub(super) fn is_trace_line(text: &str) -> bool {
    let text = text.trim();
    if text.starts_with('<') {
        // Also `<TASK>`, and the address of `[<ffffffff>]` in older forms.
        return text.ends_with('>');
    }
    let text = text.strip_prefix("? ").unwrap_or(text);
    let word = text.split(' ').next().unwrap_or_default();
    word.contains("+0x") || text.starts_with("[<") || is_trace_head(text)
}

/// Registers, code, modules, and what else comes around a call trace.
pub(super) fn is_state_line(text: &str) -> bool {
    const BEGINNINGS: [&str; 42] = [
        "CPU#",
        "CPU: ",
        "Tainted: ",
        "Hardware name: ",
        "Workqueue: ",
        "Stopper: ",
        "RIP: ",
        "Code: ",
        "RSP: ",
        "RAX: ",
        "RDX: ",
        "RBP: ",
        "R10: ",
        "R13: ",
        "FS: ",
        "CS: ",
        "CR2: ",
        "DR0: ",
        "DR3: ",
        "PKRU: ",
        "ORIG_RAX: ",
        "PGD ",
        // `#PF: …` of a page fault, `#1: …` of a processor's use before a soft lockup.
        "#",
        "Modules linked in:",
        "Unloaded tainted modules:",
        "last unloaded:",
        "Dumping ftrace buffer",
        "(ftrace buffer empty)",
        "irq event stamp:",
        "hardirqs last ",
        "softirqs last ",
        "handlers:",
        "threaded [<",
        "Kernel Offset: ",
        "note: ",
        "FIX ",
        "Disabling lock debugging",
        "Sending NMI from CPU ",
        "NMI backtrace for cpu ",
        "task:",
        "Oops: ",
        "Fixing recursive fault",
    ];
    let text = text.trim_start();
    BEGINNINGS
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

/// A further line of a hung task.
pub(super) fn is_hung_task_line(text: &str) -> bool {
    let trimmed = text.trim_start();
    trimmed.starts_with("Not tainted")
        || trimmed.starts_with("Tainted: ")
        || trimmed.starts_with("\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\"")
        || trimmed.starts_with("Blocked by coredump")
        || trimmed.starts_with("INFO: task ")
}

/// A further line of a stall of RCU.
pub(super) fn is_rcu_line(text: &str) -> bool {
    text.starts_with("rcu: ")
        || text.starts_with('\t')
        || text.starts_with("     ")
        || text.trim_start().starts_with('(')
}

/// The contents of memory: SLUB writes up to 256 lines of them.
pub(super) fn is_dump(text: &str) -> bool {
    const PARTS: [&str; 6] = [
        "Object",
        "Redzone",
        "Padding",
        "Bytes b4",
        "Poison",
        "Alignment",
    ];
    let text = text.trim_start();
    PARTS.iter().any(|part| {
        text.strip_prefix(part).is_some_and(|rest| {
            let digits = rest.trim_start().split(':').next().unwrap_or_default();
            rest.contains(": ")
                && digits.len() >= 8
                && digits.bytes().all(|b| b.is_ascii_hexdigit())
        })
    })
}
