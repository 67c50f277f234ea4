//! The progress of a check, on standard error: moving lines on a terminal; otherwise one line per run that has ended,
//! and one every half a minute about those that run.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::check::CheckedRun;

/// How often a line says which runs are at which step, where there is no terminal.
const EVERY: Duration = Duration::from_secs(30);

/// The progress of all runs.
pub struct Progress {
    all: ProgressBar,
    lines: MultiProgress,
    moving: bool,
    runs: Arc<ActiveRuns>,
}

impl Progress {
    /// The progress of `count` runs.
    pub fn new(count: usize) -> Progress {
        let moving = io::stderr().is_terminal();
        let lines = MultiProgress::new();
        let all = if moving {
            lines.add(ProgressBar::new(count as u64))
        } else {
            ProgressBar::hidden()
        };
        style(&all, "{wide_bar} {pos}/{len} runs [{elapsed}]");
        let runs = Arc::new(ActiveRuns::new(count));
        if !moving {
            // If standard error cannot be written, there is no place to report it.
            runs.clone().tell_every(EVERY, |line| {
                let _ = writeln!(io::stderr(), "{line}");
            });
        }
        Progress {
            all,
            lines,
            moving,
            runs,
        }
    }

    /// A run begins.
    pub fn begin(&self, name: &str) -> RunProgress {
        let line = if self.moving {
            self.lines
                .insert_before(&self.all, ProgressBar::new_spinner())
        } else {
            ProgressBar::hidden()
        };
        style(&line, "{spinner} {prefix}: {msg} [{elapsed}]");
        line.set_prefix(name.to_owned());
        line.set_message(BOOTS);
        if self.moving {
            line.enable_steady_tick(Duration::from_millis(120));
        }
        RunProgress {
            line,
            number: self.runs.begin(name),
            runs: self.runs.clone(),
        }
    }

    /// A run has ended.
    pub fn done(&self, checked: &CheckedRun) {
        let outcome = match checked.failures.first() {
            Some(failure) => format!(
                "FAILED: {} at {}: {}",
                failure.how.words(),
                failure.step.as_deref().unwrap_or("the end"),
                failure.message
            ),
            None if checked.is_cut_short() => "interrupted".to_owned(),
            None => "passed".to_owned(),
        };
        let outcome: String = outcome
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        let seconds = checked.time_us as f64 / 1e6;
        let line = format!("{}: {outcome} ({seconds:.1} s)", checked.name);
        if self.moving {
            self.all.println(line);
        } else {
            // As above.
            let _ = writeln!(io::stderr(), "{line}");
        }
        self.all.inc(1);
        self.runs.done();
    }

    /// Removes the moving lines.
    pub fn finish(&self) {
        self.all.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.runs.end();
    }
}

/// What a run does until its guest says more.
const BOOTS: &str = "boots";

/// The line of a run in progress. Dropping this removes the line.
pub struct RunProgress {
    line: ProgressBar,
    number: usize,
    runs: Arc<ActiveRuns>,
}

impl RunProgress {
    /// Shows the step that the guest has marked.
    pub fn mark(&self, name: &str) {
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        self.runs.mark(self.number, &name);
        self.line.set_message(name);
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        self.runs.leave(self.number);
        self.line.finish_and_clear();
    }
}

/// The runs that have begun and not ended.
struct ActiveRuns {
    planned: usize,
    state: Mutex<ActiveState>,
    ended: Condvar,
}

#[derive(Default)]
struct ActiveState {
    /// By the order in which they began.
    runs: BTreeMap<usize, ActiveRun>,
    begun: usize,
    done: usize,
    ended: bool,
}

struct ActiveRun {
    name: String,
    step: String,
    since: Instant,
}

impl ActiveRuns {
    fn new(planned: usize) -> Self {
        ActiveRuns {
            planned,
            state: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ActiveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &str) -> usize {
        let mut state = self.lock();
        let number = state.begun;
        state.begun += 1;
        let run = ActiveRun {
            name: name.to_owned(),
            step: BOOTS.to_owned(),
            since: Instant::now(),
        };
        state.runs.insert(number, run);
        number
    }

    fn mark(&self, number: usize, step: &str) {
        if let Some(run) = self.lock().runs.get_mut(&number) {
            run.step = step.to_owned();
        }
    }

    fn leave(&self, number: usize) {
        self.lock().runs.remove(&number);
    }

    fn done(&self) {
        self.lock().done += 1;
    }

    /// No more lines.
    fn end(&self) {
        self.lock().ended = true;
        self.ended.notify_all();
    }

    /// Tells `say` every `interval` how far the runs are, on a thread of its own, until the end.
    fn tell_every(self: Arc<Self>, interval: Duration, say: impl Fn(&str) + Send + 'static) {
        thread::spawn(move || {
            loop {
                let state = self.lock();
                let waited = self
                    .ended
                    .wait_timeout_while(state, interval, |state| !state.ended);
                let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if state.ended {
                    return;
                }
                let line = state.line(self.planned);
                drop(state);
                if let Some(line) = line {
                    say(&line);
                }
            }
        });
    }
}

impl ActiveState {
    /// `3 of 12 runs done; seed=4 at network (25 s)`; nothing if none runs.
    fn line(&self, planned: usize) -> Option<String> {
        let runs: Vec<String> = self
            .runs
            .values()
            .map(|run| {
                let seconds = run.since.elapsed().as_secs();
                format!("{} at {} ({seconds} s)", run.name, run.step)
            })
            .collect();
        (!runs.is_empty()).then(|| {
            let done = self.done;
            format!("{done} of {planned} runs done; {}", runs.join(", "))
        })
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_line_now_and_then_says_what_runs_and_at_which_step() {
        let runs = Arc::new(ActiveRuns::new(3));
        assert_eq!(runs.lock().line(3), None);
        let (first, second) = (runs.begin("none"), runs.begin("seed=1"));
        runs.mark(first, "network");
        let (tell, told) = mpsc::channel();
        runs.clone()
            .tell_every(Duration::from_millis(5), move |line: &str| {
                let _ = tell.send(line.to_owned());
            });
        let patience = Duration::from_secs(60);
        let line = told.recv_timeout(patience).unwrap();
        let both = "0 of 3 runs done; none at network (";
        assert!(line.starts_with(both), "{line}");
        assert!(line.contains("), seed=1 at boots ("), "{line}");
        runs.leave(first);
        runs.done();
        runs.mark(second, "rescan");
        let line = loop {
            let line = told.recv_timeout(patience).unwrap();
            if line.starts_with("1 of 3") && line.contains("rescan") {
                break line;
            }
        };
        assert!(!line.contains("none"), "{line}");
        // At the end, the thread drops what it tells.
        runs.end();
        while told.recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Disconnected) {}
    }
}
