//! Which lines belong to a complaint.

use super::kind::ComplaintKind;
use super::line::{KernelLine, is_for_stickler};
use super::shape;

/// The most complaints that are told at the same time: with the caller before each line, those of several
/// processors can be told apart.
pub const AT_ONCE: usize = 4;

/// How many lines a complaint may have before its call trace, contents of memory not counted.
const BODY: usize = 120;

/// How many lines after the call trace may be somebody else's before the complaint has ended.
const FOREIGN: usize = 4;

/// How many lines with the contents of memory are kept.
const DUMP: usize = 12;

/// The most lines of any sort that a complaint is followed for.
const FOLLOWED: usize = 1000;

/// Finds the complaints in the lines of one console.
#[derive(Clone, Debug, Default)]
pub struct ComplaintReader {
    open: [Option<OpenComplaint>; AT_ONCE],
}

/// A line that belongs to a complaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which of the complaints that are told at the same time, below [`AT_ONCE`].
    pub place: usize,
    /// Whether a complaint begins with it.
    pub opens: bool,
    /// The line.
    pub line: KernelLine<'a>,
}

#[derive(Clone, Debug)]
struct OpenComplaint {
    /// Who tells it, where the kernel says so.
    caller: Option<String>,
    /// Whether the kernel puts a time before its lines: then a line without one is a program's.
    stamped: bool,
    /// `None` between the separator and the line that says what it is.
    kind: Option<ComplaintKind>,
    phase: Phase,
    /// Lines of the present phase that were not expected, one after the other.
    foreign: usize,
    dumped: usize,
    lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the call trace.
    Body,
    /// The call trace has begun.
    Trace,
}

impl ComplaintReader {
    /// The next line of the console, without its end. Returns it if it belongs to a complaint and is worth
    /// keeping.
    pub fn line<'a>(&mut self, raw: &'a str) -> Option<Part<'a>> {
        let line = KernelLine::read(raw);
        if is_for_stickler(line.text) {
            return None;
        }
        let place = self.place_of(line.caller);
        if let Some(place) = place
            && let Some(open) = &mut self.open[place]
        {
            if open.stamped && line.stamp.is_none() {
                return None;
            }
            match open.take(line.text) {
                Taken::Kept => {
                    return Some(Part {
                        place,
                        opens: false,
                        line,
                    });
                }
                Taken::Last => {
                    self.open[place] = None;
                    return Some(Part {
                        place,
                        opens: false,
                        line,
                    });
                }
                Taken::Dropped => return None,
                Taken::NotIts => {}
                Taken::Over => self.open[place] = None,
            }
        }
        let opened = OpenComplaint::with(&line)?;
        // With more tellers than places, the first gives way.
        let free = self.open.iter().position(Option::is_none);
        let place = place.or(free).unwrap_or(0);
        self.open[place] = (!opened.is_single()).then_some(opened);
        Some(Part {
            place,
            opens: true,
            line,
        })
    }

    /// The complaint that `caller` tells.
    fn place_of(&self, caller: Option<&str>) -> Option<usize> {
        self.open.iter().position(|open| {
            open.as_ref()
                .is_some_and(|open| open.caller.as_deref() == caller)
        })
    }
}

enum Taken {
    /// It belongs to the complaint.
    Kept,
    /// It belongs to it and is its last line.
    Last,
    /// It belongs to it, or to nothing, and is not worth keeping.
    Dropped,
    /// It does not belong to it, which may continue unless another begins.
    NotIts,
    /// The complaint has ended before this line.
    Over,
}

impl OpenComplaint {
    /// The complaint that begins with `line`.
    fn with(line: &KernelLine<'_>) -> Option<OpenComplaint> {
        let text = line.text.trim();
        let kind = ComplaintKind::beginning_with(text);
        if kind.is_none() && text != shape::CUT_HERE {
            return None;
        }
        Some(OpenComplaint {
            caller: line.caller.map(str::to_owned),
            stamped: line.stamp.is_some(),
            kind,
            phase: Phase::Body,
            foreign: 0,
            dumped: 0,
            lines: 1,
        })
    }

    /// Whether its first line is all of it. Since Linux 6.9 this one has no trace.
    fn is_single(&self) -> bool {
        self.kind == Some(ComplaintKind::NetWatchdog)
    }

    fn take(&mut self, text: &str) -> Taken {
        self.lines += 1;
        if self.lines > FOLLOWED {
            return Taken::Over;
        }
        let trimmed = text.trim();
        if let Some(kind) = ComplaintKind::beginning_with(trimmed) {
            if self.is_told_by(kind) {
                self.kind.get_or_insert(kind);
                return Taken::Kept;
            }
            return Taken::Over;
        }
        if trimmed == shape::CUT_HERE {
            // SLUB ends with a warning on newer kernels, whose trace is its own.
            let of_slub = self.kind == Some(ComplaintKind::Slub) && self.phase == Phase::Body;
            return if of_slub { Taken::Kept } else { Taken::Over };
        }
        if shape::is_end(text) {
            return Taken::Last;
        }
        if trimmed.is_empty() {
            return Taken::Dropped;
        }
        if shape::is_dump(text) {
            self.dumped += 1;
            return if self.dumped <= DUMP {
                Taken::Kept
            } else {
                Taken::Dropped
            };
        }
        if shape::is_rule(trimmed) {
            return match self.phase {
                Phase::Body => Taken::Kept,
                Phase::Trace if self.has_rules() => Taken::Last,
                // That of the next complaint.
                Phase::Trace => Taken::Over,
            };
        }
        if shape::is_trace_head(text) {
            self.phase = Phase::Trace;
        }
        let expected =
            shape::is_trace_line(text) || shape::is_state_line(text) || self.is_free(text);
        if expected {
            self.foreign = 0;
            return Taken::Kept;
        }
        self.foreign += 1;
        if self.foreign >= FOREIGN {
            Taken::Over
        } else {
            Taken::NotIts
        }
    }

    /// Whether a line that would begin a complaint of this kind says more of this one.
    fn is_told_by(&self, kind: ComplaintKind) -> bool {
        use ComplaintKind::*;
        if self.phase != Phase::Body {
            return false;
        }
        match self.kind {
            // After the separator, and after a warning's message or before it.
            None => kind != Panic,
            Some(Warning | Refcount | Ubsan | NetWatchdog) => {
                matches!(kind, Warning | Refcount | Ubsan | NetWatchdog)
            }
            Some(Oops | Bug | GeneralProtectionFault) => {
                matches!(kind, Oops | GeneralProtectionFault)
            }
            Some(Slub) => kind == Warning,
            Some(_) => false,
        }
    }

    /// Whether rules are drawn around it.
    fn has_rules(&self) -> bool {
        matches!(self.kind, Some(ComplaintKind::Kasan | ComplaintKind::Ubsan))
    }

    /// Whether such a complaint has lines of any form here.
    fn is_free(&self, text: &str) -> bool {
        use ComplaintKind::*;
        match (self.kind, self.phase) {
            (Some(HungTask), _) => shape::is_hung_task_line(text),
            (Some(RcuStall), _) => shape::is_rcu_line(text),
            // What comes after the trace of the accessor says whose the memory is.
            (Some(Kasan), _) => self.lines <= 2 * BODY,
            (Some(Panic | SoftLockup | HardLockup | UnhandledInterrupt), Phase::Body) => false,
            (Some(OtherBug), Phase::Body) => self.lines <= BODY / 4,
            (_, Phase::Body) => self.lines <= BODY,
            (_, Phase::Trace) => false,
        }
    }
}
