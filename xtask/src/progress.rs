//! Progress, shown on the terminal.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows what is being done: on a terminal one line that changes, elsewhere a line for each step.
pub(crate) struct Progress {
    bar: ProgressBar,
    moving: bool,
    step: RefCell<Option<(String, Instant)>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let moving = std::io::stderr().is_terminal();
        let bar = if moving {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        if moving {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            bar,
            moving,
            step: RefCell::new(None),
        }
    }

    /// Shows the step that begins now.
    pub(crate) fn step(&self, text: &str) {
        self.end_step();
        if !self.moving {
            eprintln!("{text} …");
        }
        self.bar.set_message(text.to_owned());
        *self.step.borrow_mut() = Some((text.to_owned(), Instant::now()));
    }

    /// Prints a line that is not replaced later.
    pub(crate) fn line(&self, text: &str) {
        if self.moving {
            self.bar.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    /// Does something that may write to the terminal itself.
    pub(crate) fn suspended<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Removes the line that changes.
    pub(crate) fn finish(&self) {
        self.end_step();
        self.bar.finish_and_clear();
    }

    fn end_step(&self) {
        if let Some((text, since)) = self.step.borrow_mut().take()
            && self.moving
        {
            let seconds = since.elapsed().as_secs_f64();
            if seconds >= 0.5 {
                self.bar.println(format!("  {text}: {seconds:.1} s"));
            }
        }
    }
}
