//! What is reported of the guest's own kernel: its complaints, where it stood when its time was over, and kernels that
//! came while devices were live.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{ReportedDevice, Rip};
use super::schema;
use crate::complaints::ComplaintKind;
use crate::journal::{NextKernel, RecordedComplaint, VcpuPosition};

/// A complaint of the guest's kernel on its console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "complaint")]
pub struct ReportedComplaint {
    /// What the kernel complains of.
    pub kind: ComplaintKind,
    /// The line that says what it is.
    pub message: String,
    /// Whether the run fails for it: a function of a judged driver takes part, the kernel cannot continue, or
    /// its memory is damaged.
    pub fails: bool,
    /// The judged drivers of which functions take part, by the call trace. Modules that are only linked in do
    /// not count.
    #[schemars(inner(length(min = 1)), extend("uniqueItems" = true))]
    pub drivers: Vec<String>,
    /// The kernel's function that it is about, with its module; absent where the kernel names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub rip: Option<String>,
    /// The process in which it happened, with its number; absent where the kernel names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub process: Option<String>,
    /// The functions of its call traces, the innermost first, each with its module.
    pub trace: Vec<String>,
    /// All of it, as the kernel wrote it, without times; of long dumps of memory only the first lines.
    #[schemars(length(min = 1))]
    pub lines: Vec<String>,
    /// The latest mark when it began.
    pub mark: Option<String>,
    /// Microseconds from the beginning of the run to its first line.
    pub time_us: u64,
    /// How many complaints there were that differ in nothing but time and numbers. The others are not listed.
    #[schemars(range(min = 1))]
    pub times: u64,
}

impl From<&RecordedComplaint> for ReportedComplaint {
    fn from(recorded: &RecordedComplaint) -> ReportedComplaint {
        let complaint = &recorded.complaint;
        ReportedComplaint {
            kind: complaint.kind,
            message: complaint.title.clone(),
            fails: complaint.fails(),
            drivers: complaint.drivers.clone(),
            rip: complaint.rip.clone(),
            process: complaint.process.clone(),
            trace: complaint.trace.clone(),
            lines: complaint.lines.clone(),
            mark: recorded.mark.as_deref().map(str::to_owned),
            time_us: recorded.time_us,
            times: recorded.times,
        }
    }
}

impl ReportedComplaint {
    /// Where it happened and whom it concerns, in one sentence without an end.
    pub fn circumstances(&self) -> String {
        let mut parts = vec![match self.drivers.as_slice() {
            [] => "no judged driver is in its call trace".to_owned(),
            drivers => format!("in {}", drivers.join(", ")),
        }];
        parts.extend(self.rip.as_ref().map(|rip| format!("at {rip}")));
        parts.extend(
            self.process
                .as_ref()
                .map(|process| format!("process {process}")),
        );
        if self.times > 1 {
            parts.push(format!("{} times in all", self.times));
        }
        parts.join("; ")
    }

    /// Whether both say the same, but for times and numbers.
    pub fn says_the_same_as(&self, other: &ReportedComplaint) -> bool {
        let letters =
            |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
        self.kind == other.kind
            && self.rip == other.rip
            && self.trace == other.trace
            && letters(&self.message) == letters(&other.message)
    }
}

/// Where the guest stood when its time was over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "standing")]
pub struct ReportedStanding {
    /// Its processors that had been started.
    pub processors: Vec<ReportedProcessor>,
    /// What its kernel wrote when it was asked for the call traces of its processors and of the tasks that wait
    /// and cannot be interrupted (SysRq); empty if it did not answer.
    pub answer: Vec<String>,
}

/// Where a processor stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "processor")]
pub struct ReportedProcessor {
    /// Which processor, from 0.
    pub number: u8,
    /// Its instruction pointer.
    #[schemars(with = "String", regex(pattern = schema::RIP))]
    pub rip: Rip,
    /// Whether it waited for an interrupt.
    pub halted: bool,
}

impl ReportedStanding {
    /// `answer` of the guest, and where its processors were.
    pub fn new(positions: &[VcpuPosition], answer: Vec<String>) -> ReportedStanding {
        ReportedStanding {
            processors: positions
                .iter()
                .map(|position| ReportedProcessor {
                    number: position.number,
                    rip: Rip(position.rip),
                    halted: position.halted,
                })
                .collect(),
            answer,
        }
    }

    /// Why there is no call trace, and what helps; `None` if there is one.
    pub fn why_no_trace(&self) -> Option<&'static str> {
        let has = |text: &str| self.answer.iter().any(|line| line.contains(text));
        if has("+0x") {
            None
        } else if has("This sysrq operation is disabled") || self.answer.is_empty() {
            Some(
                "its kernel wrote no call traces; a Linux kernel does so with \
                 --append 'sysrq_always_enabled' if it uses the serial port as its console",
            )
        } else {
            Some("its kernel's answer has no call trace")
        }
    }
}

/// Another kernel that came while devices were live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "next-kernel")]
pub struct ReportedNextKernel {
    /// What was seen. For people; the wording may change.
    #[schemars(length(min = 1))]
    pub message: String,
    /// The devices that were live.
    #[schemars(length(min = 1))]
    pub live: Vec<ReportedDevice>,
    /// Microseconds since the run began.
    pub time_us: u64,
}

impl From<&NextKernel> for ReportedNextKernel {
    fn from(next: &NextKernel) -> ReportedNextKernel {
        ReportedNextKernel {
            message: next.message(),
            live: next.live.iter().map(ReportedDevice::from).collect(),
            time_us: next.time_us,
        }
    }
}
