//! What happened in a run, and when: marks and findings.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use stickler_conformance::{Finding, Recorder};

/// The run's journal. Clones share it; any thread may write to it.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    start: Instant,
    stop_at_violation: AtomicBool,
    entries: Mutex<Entries>,
    /// Called at the first violation if the run is to stop there.
    stop: Mutex<Option<Box<dyn Fn() + Send>>>,
}

#[derive(Default)]
struct Entries {
    marks: Vec<Mark>,
    findings: Vec<Noted>,
}

/// A step the guest marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The guest's name for it.
    pub name: String,
    /// Microseconds since the run began.
    pub time_us: u64,
}

/// A finding with when and where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The finding itself.
    pub finding: Finding,
    /// Microseconds since the run began.
    pub time_us: u64,
    /// The mark under which it happened.
    pub mark: Option<String>,
    /// Guest instruction pointer of the access, where it trapped.
    pub rip: Option<u64>,
}

/// At most so many marks are kept; a guest cannot fill our memory with them.
const MARKS: usize = 10_000;

/// Bytes of a mark's name that are kept.
const MARK_NAME: usize = 128;

impl Default for Journal {
    fn default() -> Self {
        Journal::new()
    }
}

impl Journal {
    /// An empty journal; its clock starts now.
    pub fn new() -> Self {
        Journal(Arc::new(Shared {
            start: Instant::now(),
            stop_at_violation: AtomicBool::new(false),
            entries: Mutex::default(),
            stop: Mutex::new(None),
        }))
    }

    /// From the first violation on, calls `stop` (once).
    pub fn stop_at_violation(&self, stop: Box<dyn Fn() + Send>) {
        *lock(&self.0.stop) = Some(stop);
        self.0.stop_at_violation.store(true, Ordering::Release);
    }

    /// The guest marked a step.
    pub fn mark(&self, name: &str) {
        let time_us = self.now_us();
        let mut entries = lock(&self.0.entries);
        if entries.marks.len() < MARKS {
            let name = name.chars().take(MARK_NAME).collect();
            entries.marks.push(Mark { name, time_us });
        }
    }

    /// A recorder for one device's judge.
    pub fn recorder(&self) -> Box<dyn Recorder + Send> {
        Box::new(self.clone())
    }

    /// The marks so far.
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.0.entries).marks.clone()
    }

    /// The findings so far.
    pub fn findings(&self) -> Vec<Noted> {
        lock(&self.0.entries).findings.clone()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Recorder for Journal {
    fn record(&mut self, finding: Finding) {
        let rip = trapped_rip();
        let time_us = self.now_us();
        let mut entries = lock(&self.0.entries);
        let mark = entries.marks.last().map(|m| m.name.clone());
        entries.findings.push(Noted {
            finding,
            time_us,
            mark,
            rip,
        });
        drop(entries);
        if self.0.stop_at_violation.swap(false, Ordering::AcqRel)
            && let Some(stop) = lock(&self.0.stop).take()
        {
            stop();
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

/// Makes `source` the one asked when a finding is made on this thread: a vCPU thread sets it once.
pub fn set_rip_source(source: RipSource) {
    RIP_SOURCE.set(Some(source));
}

fn trapped_rip() -> Option<u64> {
    RIP_SOURCE.get().and_then(|source| source())
}
