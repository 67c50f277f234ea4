//! `stickler doctor`: what [`crate::doctor`] finds, for people.

use std::fmt::Write;
use std::io;

use anstyle::{AnsiColor, Style};

use super::failure::{Exit, Failure};
use crate::doctor::{self, Check, Status};

const OK: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const MISSING: Style = AnsiColor::Red.on_default().bold();

/// Checks the host and prints the results; exit code 2 if it cannot run guests.
pub fn show() -> Result<Exit, Failure> {
    let checks = doctor::examine();
    let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    super::print(&render(&checks, colour))?;
    Ok(if doctor::can_run(&checks) {
        Exit::Conforming
    } else {
        Exit::Input
    })
}

fn render(checks: &[Check], colour: bool) -> String {
    let width = checks.iter().map(|c| c.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let (word, style) = match check.status {
            Status::Ok => ("ok", OK),
            Status::Warning => ("warning", WARNING),
            Status::Missing => ("missing", MISSING),
        };
        let style = if colour { style } else { Style::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{style}{word:7}{style:#}  {:width$}  {}",
            check.name, check.meaning
        );
        if let Some(advice) = &check.advice {
            let _ = writeln!(out, "{:7}  {:width$}  -> {advice}", "", "");
        }
    }
    let verdict = if doctor::can_run(checks) {
        "This host can run guests."
    } else {
        "This host cannot run guests as it is."
    };
    let _ = writeln!(out, "\n{verdict}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let checks = [
            Check {
                name: "kvm",
                status: Status::Missing,
                meaning: "there is none".into(),
                advice: Some("get one"),
            },
            Check {
                name: "taps",
                status: Status::Ok,
                meaning: "they are there".into(),
                advice: None,
            },
        ];
        assert_eq!(
            render(&checks, false),
            "missing  kvm   there is none\n               -> get one\nok       taps  they are there\n\n\
             This host cannot run guests as it is.\n"
        );
        assert!(render(&checks, true).contains("\u{1b}["));
        assert!(render(&checks[1..], false).ends_with("This host can run guests.\n"));
    }
}
