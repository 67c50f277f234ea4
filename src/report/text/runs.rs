//! How the runs of a check ended, and what they had.

use std::fmt::{self, Write};

use stickler_conformance::Latitude;

use super::{BAD, FAINT, Text, printable, runs};
use crate::report::check::CheckReport;

impl Text {
    /// Runs in which drivers gave up, as they may, and the number of runs.
    pub(super) fn runs(&mut self, check: &CheckReport) -> fmt::Result {
        writeln!(self.out)?;
        for run in &check.runs {
            for device in &run.given_up {
                writeln!(
                    self.out,
                    "{}: the driver gave up, as it may: {}",
                    run.name,
                    printable(device)
                )?;
            }
        }
        for run in check.runs.iter().filter(|run| run.lines_dropped > 0) {
            let line = format!(
                "{}: {} lines of its output were not kept",
                run.name, run.lines_dropped
            );
            writeln!(self.out, "{}", self.paint(FAINT, &line))?;
        }
        self.other_check_complaints(check)?;
        self.memory(check)?;
        let unused: Vec<&str> = Latitude::all()
            .map(|latitude| latitude.name())
            .filter(|name| {
                let mut all = check.runs.iter().flat_map(|run| &run.latitude.names);
                all.all(|used| used != name)
            })
            .collect();
        if !unused.is_empty() {
            let line = format!("latitudes that no run had: {}", unused.join(", "));
            for line in broken(&line) {
                writeln!(self.out, "{}", self.paint(FAINT, &line))?;
            }
        }
        let failed = check.runs.iter().filter(|r| !r.failures.is_empty()).count();
        let cut = check.runs.iter().filter(|run| run.is_cut_short()).count();
        let passed = check.runs.len() - failed - cut;
        let failed = match failed {
            0 => "0 failed".to_owned(),
            failed => self.paint(BAD, &format!("{failed} failed")),
        };
        write!(
            self.out,
            "{}: {passed} passed, {failed}",
            runs(check.runs.len())
        )?;
        if cut > 0 {
            write!(self.out, ", {cut} interrupted")?;
        }
        match check.planned.checked_sub(check.runs.len()) {
            Some(missing @ 1..) => writeln!(self.out, ", {missing} more planned"),
            _ => writeln!(self.out),
        }
    }
}

/// A long list in lines of at most 100 columns; all but the first are indented.
fn broken(list: &str) -> Vec<String> {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for word in list.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_has_lines_that_fit() {
        let names: Vec<&str> = Latitude::all().map(Latitude::name).collect();
        let list = format!("latitudes that no run had: {}", names.join(", "));
        let lines = broken(&list);
        assert!(lines.len() > 5);
        assert!(lines.iter().all(|line| line.chars().count() <= 100));
        assert!(lines[1..].iter().all(|line| line.starts_with("  ")));
        let words = lines.iter().flat_map(|line| line.split_whitespace());
        assert_eq!(words.collect::<Vec<_>>().join(" "), list);
        assert_eq!(broken("short"), ["short"]);
    }
}
