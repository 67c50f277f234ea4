//! How stickler itself fails, and the exit codes.

use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;

use crate::report::output;
use crate::say;
use crate::signals::EndingSignals;

/// What the exit code says. Where several apply, [`Exit::worst`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest ended by itself, and its drivers conformed.
    Conforming,
    /// A violation of a level that `--deny` names.
    Violation,
    /// Bad usage or input.
    Input,
    /// The guest failed.
    GuestFailed,
    /// stickler failed.
    Internal,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Conforming => 0,
            Exit::Violation => 1,
            Exit::Input => 2,
            Exit::GuestFailed => 3,
            Exit::Internal => 4,
        }
    }

    /// The exit code if two apply. After an error of stickler no other result is reliable. A violation
    /// counts even if the guest failed afterwards, perhaps because of it.
    pub fn worst(self, other: Exit) -> Exit {
        fn rank(exit: Exit) -> u8 {
            match exit {
                Exit::Conforming => 0,
                Exit::GuestFailed => 1,
                Exit::Violation => 2,
                Exit::Input => 3,
                Exit::Internal => 4,
            }
        }
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command failed: one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The input or this host is unsuitable; the sentence says what would be suitable.
    #[error("{0}")]
    Input(String),
    /// stickler itself failed.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Input(_) => Exit::Input,
            Failure::Internal(_) => Exit::Internal,
        }
    }
}

/// Says a failure on standard error.
pub fn say(failure: &dyn std::error::Error) {
    say::line(&failure.to_string());
}

/// Prints which reports could not be written, and the report if the user has not seen it; returns the exit code.
pub fn say_unwritten(unwritten: output::Unwritten) -> Exit {
    let mut exit = Exit::Conforming;
    if let Some(text) = &unwritten.text {
        // As in `say`.
        let _ = writeln!(io::stderr(), "{}", text.trim_end());
    }
    // After the report, where they are seen.
    for error in unwritten.errors {
        // The reader may close standard output early.
        if !error.is_broken_pipe() {
            say(&error);
            exit = Exit::Internal;
        }
    }
    exit
}

/// From now on a panic is reported as a bug, in one sentence, with a backtrace only if
/// `RUST_BACKTRACE` asks for one.
pub fn report_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let what = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map_or(String::new(), |at| {
            format!(" at {}:{}", at.file(), at.line())
        });
        let _ = writeln!(
            io::stderr(),
            "stickler: internal error{place}: {what}; this is a bug in stickler (RUST_BACKTRACE=1 shows more)"
        );
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            default(info);
        }
    }));
}

/// Catches the signals that end a run.
///
/// # Errors
/// The host has no means for it.
pub fn catch_signals() -> Result<EndingSignals, Failure> {
    EndingSignals::catch()
        .map_err(|error| Failure::Internal(format!("cannot catch signals: {error}")))
}

#[cfg(test)]
mod tests {
    use super::Exit::*;

    #[test]
    fn precedence() {
        let rising = [Conforming, GuestFailed, Violation, Input, Internal];
        for (i, low) in rising.iter().enumerate() {
            for high in &rising[i..] {
                assert_eq!(low.worst(*high), *high);
                assert_eq!(high.worst(*low), *high);
            }
        }
        let codes = [Conforming, Violation, Input, GuestFailed, Internal].map(super::Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4]);
    }
}
