//! What the guest's own kernel complains of.
//!
//! Linux says on its console when something in it is broken: a panic, an Oops, a warning, a lock-up, memory that
//! was overwritten. [`ComplaintReader`] finds such complaints among the lines of a console, and says which lines
//! belong to each; [`Complaint`] is what these lines say. The forms are those of Linux 5.10 to 7.x.
//!
//! This module is pure: lines go in, complaints come out. It keeps a bounded number of lines, whatever a guest
//! writes.
//!
//! * [`mod@line`]: a line without what stands before the kernel's text;
//! * [`kind`]: how a complaint begins;
//! * [`reader`]: which lines belong to it;
//! * [`shape`]: the forms of these lines;
//! * [`mod@trace`]: the functions in a call trace, and the drivers they are of.

pub mod kind;
pub mod line;
pub mod reader;
mod shape;
pub mod trace;

pub use kind::ComplaintKind;
pub use line::{KernelLine, LineSplicer};
pub use reader::{ComplaintReader, Part};

use trace::{drivers_in, functions_of};

/// The most lines of one complaint that are kept.
pub const LINES: usize = 160;

/// A complaint of the guest's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What it is.
    pub kind: ComplaintKind,
    /// Its line that says what it is: the first one but for separators, as a rule.
    pub title: String,
    /// The instruction that it is about: the function, with offset and module.
    pub rip: Option<String>,
    /// The process in which it happened: its name and its number.
    pub process: Option<String>,
    /// The functions of the call trace, the innermost first, each with its module where it has one.
    pub trace: Vec<String>,
    /// The drivers that stickler judges of which a function takes part, each once.
    pub drivers: Vec<String>,
    /// All its lines, as the kernel wrote them.
    pub lines: Vec<String>,
}

impl Complaint {
    /// What `lines` say, which a [`ComplaintReader`] has put together.
    pub fn of(lines: Vec<String>) -> Complaint {
        let kind = ComplaintKind::of(&lines);
        Complaint {
            title: title(kind, &lines),
            rip: rip(&lines),
            process: process(&lines),
            trace: trace(&lines),
            drivers: drivers_in(kind, &lines),
            kind,
            lines,
        }
    }

    /// Whether the kernel cannot continue in a sound state, whoever is to blame.
    pub fn ends_kernel(&self) -> bool {
        self.kind.ends_kernel()
    }

    /// Whether the run fails for it: it concerns a judged driver, or the kernel is not sound any more.
    ///
    /// Where memory was overwritten or used after it was freed, the kernel names who noticed, and not who did it:
    /// this fails the run whatever is in the trace. A warning in somebody else's code fails nothing.
    pub fn fails(&self) -> bool {
        self.ends_kernel() || self.kind.is_damage() || !self.drivers.is_empty()
    }
}

/// The line that says what it is.
fn title(kind: ComplaintKind, lines: &[String]) -> String {
    let mut trimmed = lines.iter().map(|line| line.trim());
    trimmed
        .clone()
        .find(|line| ComplaintKind::beginning_with(line) == Some(kind))
        .or_else(|| trimmed.find(|line| !shape::is_separator(line)))
        .unwrap_or_default()
        .to_owned()
}

/// The functions of the call traces.
fn trace(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| shape::is_trace_line(line))
        .flat_map(|line| functions_of(line))
        .map(|function| function.to_string())
        .collect()
}

/// The kernel's instruction after `RIP:` or, where the kernel was not interrupted at one, the function that it
/// names in its first lines.
fn rip(lines: &[String]) -> Option<String> {
    // The code segment of the kernel.
    const KERNEL: &str = "RIP: 0010:";
    if let Some(at) = lines
        .iter()
        .find_map(|line| line.trim_start().strip_prefix(KERNEL))
    {
        return Some(at.trim().to_owned());
    }
    lines
        .iter()
        .filter(|line| line.contains("WARNING: ") || line.contains("KASAN: "))
        .flat_map(|line| functions_of(line))
        .map(|function| function.to_string())
        .next()
}

/// The process: `CPU: 0 PID: 1 Comm: init Not tainted`, `CPU: 0 UID: 0 PID: 1 Comm: init`,
/// `CPU#0: init/1`, `task kworker/0:1:12 blocked`, `stuck for 22s! [sh:12]`.
fn process(lines: &[String]) -> Option<String> {
    lines.iter().find_map(|line| {
        let line = line.trim();
        if let Some((before, after)) = line.split_once(" Comm: ") {
            let (_, pid) = before.rsplit_once("PID: ")?;
            let taint = [" Tainted: ", " Not tainted", " Kdump: "];
            let ends = taint.iter().filter_map(|taint| after.find(taint));
            let name = &after[..ends.min().unwrap_or(after.len())];
            return Some(format!("{} ({})", name.trim(), pid.trim()));
        }
        if let Some((_, after)) = line.split_once("CPU#")
            && line.contains("WARNING: ")
        {
            let (_, process) = after.split_once(": ")?;
            let (name, pid) = process.rsplit_once('/')?;
            return Some(format!("{name} ({pid})"));
        }
        let between = |start: &str, end: &str| {
            let (_, after) = line.split_once(start)?;
            let (process, _) = after.split_once(end)?;
            let (name, pid) = process.rsplit_once(':')?;
            Some(format!("{name} ({pid})"))
        };
        between("INFO: task ", " blocked ").or_else(|| {
            line.contains("soft lockup")
                .then(|| between("! [", "]"))
                .flatten()
        })
    })
}

#[cfg(test)]
pub(crate) mod tests;
