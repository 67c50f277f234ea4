//! What is said to the user on standard error. No way of saying it may fail: where standard error cannot be written,
//! there is no place to report that.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

/// Whether standard error is a terminal. Threads that are confined cannot ask.
static TERMINAL: OnceLock<bool> = OnceLock::new();

/// To be called at the start of the program.
pub fn prepare() {
    TERMINAL.get_or_init(|| io::stderr().is_terminal());
}

/// Says one sentence. Control characters in it are left out: it may quote the guest.
pub fn line(text: &str) {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    // A terminal may be in raw mode while a guest runs.
    let is_terminal = TERMINAL.get().copied().unwrap_or(false);
    let end = if is_terminal { "\r\n" } else { "\n" };
    let _ = write!(io::stderr(), "stickler: {text}{end}");
}

/// Says that what a guest prints is lost from now on, because `destination` cannot be written to.
pub fn output_is_lost(destination: &str, why: &dyn fmt::Display) {
    line(&format!(
        "{destination} cannot be written to ({why}); what the guest prints there is lost from now on"
    ));
}
