//! What happened in a run, and when: marks, findings, and complaints of the guest's kernel.

mod complaints;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stickler_conformance::requirement::Level;
use stickler_conformance::{DeviceId, Finding, Recorder};

pub use complaints::{COMPLAINTS, ComplaintId, RecordedComplaint};

use crate::complaints::KernelLine;
use complaints::{ComplaintNotes, printable};

/// The run's journal. Clones share it; any thread may write to it.
#[derive(Clone)]
pub struct Journal(Arc<JournalState>);

struct JournalState {
    start: Instant,
    entries: Mutex<Entries>,
    /// Whether the guest has been asked where it stands.
    asked: AtomicBool,
    /// Called at the first finding that counts, if the run is to stop there.
    stop: Mutex<Option<StopCondition>>,
}

#[derive(Default)]
struct Entries {
    marks: Vec<Mark>,
    findings: Vec<RecordedFinding>,
    /// The latest mark, even if `marks` was full.
    current: Option<Arc<str>>,
    dropped: Dropped,
    complaints: ComplaintNotes,
    /// What the guest answered when it was asked where it stands.
    answer: Vec<String>,
    /// Where its processors were when it was ended.
    positions: Vec<VcpuPosition>,
    next_kernels: Vec<NextKernel>,
}

/// Another kernel that came while devices were live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextKernel {
    /// The devices that were live, by slot.
    pub live: Vec<DeviceId>,
    /// The slot of the device to which it wrote first.
    pub slot: u8,
    /// The BAR whose size it asked for by that.
    pub bar: u8,
    /// Microseconds since the run began.
    pub time_us: u64,
}

impl NextKernel {
    /// What happened, for people.
    pub fn message(&self) -> String {
        let slots: Vec<u8> = self.live.iter().map(|device| device.slot).collect();
        let in_a_row = slots.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let (which, were) = match slots.as_slice() {
            [one] => (format!("slot {one}"), "was"),
            [first, .., last] if in_a_row && slots.len() > 2 => {
                (format!("slots {first} to {last}"), "were")
            }
            slots => {
                let numbers: Vec<String> = slots.iter().map(u8::to_string).collect();
                (format!("slots {}", numbers.join(", ")), "were")
            }
        };
        format!(
            "{which} {were} live when the next kernel came (first write: 0xffffffff to BAR {} of slot {}, which asks for \
             its size)",
            self.bar, self.slot
        )
    }
}

/// Where a processor of the guest was when the guest's time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuPosition {
    /// Which processor, from 0.
    pub number: u8,
    /// Its instruction pointer.
    pub rip: u64,
    /// Whether it waited for an interrupt.
    pub halted: bool,
}

/// How many marks, findings and complaints the journal did not keep, because it was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Marks beyond [`MARKS`].
    pub marks: u64,
    /// Findings beyond [`FINDINGS`].
    pub findings: u64,
    /// Complaints beyond [`COMPLAINTS`].
    pub complaints: u64,
}

struct StopCondition {
    counts: Box<dyn Fn(Level) -> bool + Send>,
    stop: Box<dyn Fn() + Send>,
}

/// A step the guest marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The guest's name for it.
    pub name: String,
    /// Microseconds since the run began.
    pub time_us: u64,
}

/// A finding, and when and where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFinding {
    /// The finding itself.
    pub finding: Finding,
    /// Microseconds since the run began.
    pub time_us: u64,
    /// The mark under which it happened.
    pub mark: Option<Arc<str>>,
    /// Guest instruction pointer of the access, where the access trapped.
    pub rip: Option<u64>,
}

/// The most marks that are kept: a guest cannot fill our memory with them.
pub const MARKS: usize = 10_000;

/// The most findings that are kept. The judges limit the findings of one requirement on one device
/// (`FINDINGS_PER_REQUIREMENT`); this limits the whole.
pub const FINDINGS: usize = 20_000;

/// The most lines that are kept of the guest's answer when it is asked where it stands.
pub const ANSWER: usize = 600;

/// The most kernels after the first that are kept.
pub const NEXT_KERNELS: usize = 16;

/// The most characters of a mark's name that are kept.
pub const MARK_NAME: usize = 128;

impl Default for Journal {
    fn default() -> Self {
        Journal::new()
    }
}

impl Journal {
    /// An empty journal; its clock starts now.
    pub fn new() -> Self {
        Journal(Arc::new(JournalState {
            start: Instant::now(),
            entries: Mutex::default(),
            asked: AtomicBool::new(false),
            stop: Mutex::new(None),
        }))
    }

    /// At the first finding from now on of a requirement whose level `counts`, calls `stop`, once.
    /// It is called on the thread that made the finding, which may hold a device's lock.
    pub fn stop_at_violation(
        &self,
        counts: impl Fn(Level) -> bool + Send + 'static,
        stop: impl Fn() + Send + 'static,
    ) {
        *lock(&self.0.stop) = Some(StopCondition {
            counts: Box::new(counts),
            stop: Box::new(stop),
        });
    }

    /// The guest marked a step. Control characters in the name, which could act on the terminal of
    /// the reader of the report, are removed.
    pub fn mark(&self, name: &str) {
        let time_us = self.now_us();
        let name: String = name
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(MARK_NAME)
            .collect();
        let mut entries = lock(&self.0.entries);
        entries.current = Some(name.as_str().into());
        if entries.marks.len() < MARKS {
            entries.marks.push(Mark { name, time_us });
        } else {
            entries.dropped.marks += 1;
        }
    }

    /// The guest's kernel begins a complaint with `line` on the console of this number. Returns where its further
    /// lines go; `None` if it is known or there are too many.
    pub fn complain(&self, console: usize, line: &KernelLine<'_>) -> Option<ComplaintId> {
        let time_us = self.now_us();
        let mut entries = lock(&self.0.entries);
        let mark = entries.current.clone();
        entries.complaints.begin(console, line, time_us, mark)
    }

    /// A further line of a complaint.
    pub fn complain_further(&self, id: ComplaintId, text: &str) {
        lock(&self.0.entries).complaints.add(id, text);
    }

    /// The complaints of the guest's kernel so far, in the order in which they began.
    pub fn complaints(&self) -> Vec<RecordedComplaint> {
        lock(&self.0.entries).complaints.all()
    }

    /// The guest is asked where it stands: what its kernel writes from now on is the answer.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::Release);
    }

    /// Whether the guest has been asked.
    pub fn has_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// A line of the answer.
    pub fn answer(&self, text: &str) {
        let mut entries = lock(&self.0.entries);
        if entries.answer.len() < ANSWER {
            entries.answer.push(printable(text));
        }
    }

    /// The guest's answer so far.
    pub fn answers(&self) -> Vec<String> {
        lock(&self.0.entries).answer.clone()
    }

    /// Where one of the guest's processors was at the end.
    pub fn stands(&self, position: VcpuPosition) {
        lock(&self.0.entries).positions.push(position);
    }

    /// Where the guest's processors were at the end, in their order; none unless its time was over.
    pub fn positions(&self) -> Vec<VcpuPosition> {
        let mut positions = lock(&self.0.entries).positions.clone();
        positions.sort_by_key(|position| position.number);
        positions
    }

    /// Another kernel has come.
    pub fn next_kernel(&self, next: NextKernel) {
        let mut entries = lock(&self.0.entries);
        if entries.next_kernels.len() < NEXT_KERNELS {
            entries.next_kernels.push(next);
        }
    }

    /// The kernels that came while devices were live.
    pub fn next_kernels(&self) -> Vec<NextKernel> {
        lock(&self.0.entries).next_kernels.clone()
    }

    /// A recorder for one device's judge.
    pub fn recorder(&self) -> Box<dyn Recorder + Send> {
        Box::new(self.clone())
    }

    /// The marks so far, by rising time.
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.0.entries).marks.clone()
    }

    /// The findings so far, in the order they were made.
    pub fn findings(&self) -> Vec<RecordedFinding> {
        lock(&self.0.entries).findings.clone()
    }

    /// How many marks, findings and complaints were not kept.
    pub fn dropped(&self) -> Dropped {
        let entries = lock(&self.0.entries);
        Dropped {
            complaints: entries.complaints.dropped,
            ..entries.dropped
        }
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Recorder for Journal {
    fn record(&mut self, finding: Finding) {
        let rip = trapped_rip();
        let level = finding.level;
        {
            let mut entries = lock(&self.0.entries);
            if entries.findings.len() < FINDINGS {
                // Under the lock, so that times rise in the order of the entries.
                let time_us = self.now_us();
                let mark = entries.current.clone();
                entries.findings.push(RecordedFinding {
                    finding,
                    time_us,
                    mark,
                    rip,
                });
            } else {
                entries.dropped.findings += 1;
            }
        }
        let stop = lock(&self.0.stop).take_if(|stop| (stop.counts)(level));
        if let Some(stop) = stop {
            (stop.stop)();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the guest instruction pointer of the access this thread is emulating.
pub type RipSource = fn() -> Option<u64>;

thread_local! {
    static RIP_SOURCE: Cell<Option<RipSource>> = const { Cell::new(None) };
}

/// Has `source` asked when a finding is made on this thread. A vCPU's thread calls this once.
pub fn set_rip_source(source: RipSource) {
    RIP_SOURCE.set(Some(source));
}

fn trapped_rip() -> Option<u64> {
    RIP_SOURCE.get().and_then(|source| source())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use stickler_conformance::{DeviceKind, Req, Version, catalogue};

    use super::*;

    fn finding(requirement: Req) -> Finding {
        Finding {
            requirement,
            level: requirement.requirement().level(Version::V1_0),
            device: DeviceId {
                slot: 1,
                kind: DeviceKind::Net,
            },
            queue: None,
            message: "it did".into(),
        }
    }

    fn any(pick: impl Fn(Level) -> bool) -> Req {
        catalogue::iter()
            .find(|(_, row)| pick(row.level(Version::V1_0)))
            .expect("the catalogue has such a level")
            .0
    }

    #[test]
    fn findings_carry_the_latest_mark() {
        let journal = Journal::new();
        let mut recorder = journal.recorder();
        let req = any(|_| true);
        recorder.record(finding(req));
        journal.mark("one");
        journal.mark("two");
        recorder.record(finding(req));
        let marks: Vec<_> = journal.findings().into_iter().map(|f| f.mark).collect();
        assert_eq!(marks, [None, Some("two".into())]);
        let times: Vec<_> = journal.marks().iter().map(|m| m.time_us).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn marks_are_bounded_but_never_lost_to_findings() {
        let journal = Journal::new();
        for i in 0..=MARKS {
            journal.mark(&format!("m{i}"));
        }
        journal.clone().record(finding(any(|_| true)));
        assert_eq!(journal.marks().len(), MARKS);
        let dropped = Dropped {
            marks: 1,
            findings: 0,
            complaints: 0,
        };
        assert_eq!(journal.dropped(), dropped);
        let expected = format!("m{MARKS}");
        assert_eq!(journal.findings()[0].mark.as_deref(), Some(&*expected));
    }

    #[test]
    fn mark_names_are_short_and_harmless() {
        let journal = Journal::new();
        journal.mark(&"x".repeat(10 * MARK_NAME));
        journal.mark(" \u{1b}[31mred\u{7}\r");
        let names: Vec<_> = journal.marks().into_iter().map(|m| m.name).collect();
        assert_eq!(names[0].len(), MARK_NAME);
        assert_eq!(names[1], "[31mred");
    }

    #[test]
    fn findings_are_bounded() {
        let mut journal = Journal::new();
        let req = any(|_| true);
        for _ in 0..FINDINGS + 3 {
            journal.record(finding(req));
        }
        assert_eq!(journal.findings().len(), FINDINGS);
        let dropped = Dropped {
            marks: 0,
            findings: 3,
            complaints: 0,
        };
        assert_eq!(journal.dropped(), dropped);
    }

    #[test]
    fn stops_once_and_only_for_what_counts() {
        let mut journal = Journal::new();
        let calls = Arc::new(AtomicU32::new(0));
        let seen = calls.clone();
        journal.stop_at_violation(Level::is_absolute, move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        if let Some((weak, _)) =
            catalogue::iter().find(|(_, r)| !r.level(Version::V1_0).is_absolute())
        {
            journal.record(finding(weak));
            assert_eq!(calls.load(Ordering::Relaxed), 0);
        }
        let strong = any(Level::is_absolute);
        journal.record(finding(strong));
        journal.record(finding(strong));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_rip_is_that_of_the_thread() {
        let journal = Journal::new();
        let mut recorder = journal.recorder();
        let req = any(|_| true);
        std::thread::spawn(move || {
            set_rip_source(|| Some(0xffff_ffff_8100_0000));
            recorder.record(finding(req));
        })
        .join()
        .unwrap();
        journal.clone().record(finding(req));
        let rips: Vec<_> = journal.findings().into_iter().map(|f| f.rip).collect();
        assert_eq!(rips, [Some(0xffff_ffff_8100_0000), None]);
    }
}
