//! Ends of a guest without an exercise, which the kernel's command line asks for.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use stickler_exerciser::GuestLine;

use crate::machine::say;
use crate::sys;

/// Ends in the way `how`. Where it returns, the first process ends, at which the kernel panics.
pub(crate) fn now(how: &str) -> ExitCode {
    match how {
        "power-off" => {
            say(&GuestLine::Passed);
            sys::power_off();
        }
        "reset" => sys::restart(),
        "hang" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        "panic" => {}
        other => say(&format_args!("exercise: unknown end {other:?}")),
    }
    ExitCode::FAILURE
}
