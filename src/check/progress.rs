//! The progress of a check, on standard error: moving lines on a terminal, otherwise one line per run.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::check::CheckedRun;

/// The progress of all runs.
pub struct Progress {
    all: ProgressBar,
    lines: MultiProgress,
    moving: bool,
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
        Progress { all, lines, moving }
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
        line.set_message("boots");
        if self.moving {
            line.enable_steady_tick(Duration::from_millis(120));
        }
        RunProgress(line)
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
            // If standard error cannot be written, there is no place to report it.
            let _ = writeln!(io::stderr(), "{line}");
        }
        self.all.inc(1);
    }

    /// Removes the moving lines.
    pub fn finish(&self) {
        self.all.finish_and_clear();
    }
}

/// The line of a run in progress. Dropping this removes the line.
pub struct RunProgress(ProgressBar);

impl RunProgress {
    /// Shows the step that the guest has marked.
    pub fn mark(&self, name: &str) {
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        self.0.set_message(name);
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
