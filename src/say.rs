//! What is said to the user on standard error. No way of saying it may fail: where standard error cannot be written,
//! there is no place to report that.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Says one sentence. Control characters in it are left out: it may quote the guest.
pub fn line(text: &str) {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let mut stderr = io::stderr().lock();
    // A terminal may be in raw mode while a guest runs.
    let end = if stderr.is_terminal() { "\r\n" } else { "\n" };
    let _ = write!(stderr, "stickler: {text}{end}");
}

/// Says that what a guest prints is lost from now on, because `destination` cannot be written to.
pub fn output_is_lost(destination: &str, why: &dyn fmt::Display) {
    line(&format!(
        "{destination} cannot be written to ({why}); what the guest prints there is lost from now on"
    ));
}
