//! `cargo xtask lint`: the project's own rules for its source, which no tool knows.
//!
//! * `length`: a file has at most 500 lines, or says in its head why it has more, on a line that begins
//!   with `//! Length:`.
//! * `type-name`: a type's name is unique in its crate, test modules apart.
//! * `to-do`: nothing is left to be done in a comment; what is left to do is an issue.
//!
//! A line `RULE PLACE` of `xtask/exceptions.txt` lets one place be, for as long as it breaks the rule:
//! an exception that is no longer needed fails too, so that the list can only shrink.

mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use self::scan::{Breach, Source};
use super::Passage;
use crate::workspace::Workspace;

/// The places that may break a rule, from the root of the workspace.
const EXCEPTIONS: &str = "xtask/exceptions.txt";

/// Check the project's own rules: lengths of files, names of types, nothing left to do.
#[derive(clap::Args)]
pub(crate) struct LintArguments {
    /// Also list what the exceptions let pass
    #[arg(long)]
    all: bool,
}

pub(crate) fn command(arguments: &LintArguments, workspace: &Workspace) -> Result<ExitCode> {
    if arguments.all {
        let sources = read_sources(workspace.root())?;
        for breach in scan::breaches(&sources) {
            println!("{breach}");
        }
    }
    gate(workspace)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn gate(workspace: &Workspace) -> Result<Passage> {
    let sources = read_sources(workspace.root())?;
    let path = workspace.root().join(EXCEPTIONS);
    let exceptions =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let complaints = complaints(&scan::breaches(&sources), &exceptions);
    if !complaints.is_empty() {
        bail!("the source breaks rules:\n{}", complaints.join("\n"));
    }
    Ok(Passage::Passed)
}

/// What is wrong: breaches without an exception, and exceptions without a breach.
fn complaints(breaches: &[Breach], exceptions: &str) -> Vec<String> {
    let mut unused: BTreeSet<&str> = exceptions
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let allowed = unused.clone();
    let mut complaints = Vec::new();
    for breach in breaches {
        let key = breach.key();
        unused.remove(key.as_str());
        if !allowed.contains(key.as_str()) {
            complaints.push(breach.to_string());
        }
    }
    for line in unused {
        complaints.push(format!(
            "{EXCEPTIONS}: `{line}` is not needed any more: delete the line"
        ));
    }
    complaints
}

/// All Rust source below `root`.
fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    read_below(root, "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_below(directory: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Build directories may be anywhere; all have a name of this form.
        if name.starts_with('.') || name.starts_with("target") {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            read_below(&entry.path(), &format!("{path}/"), sources)?;
        } else if name.ends_with(".rs") {
            let text =
                fs::read_to_string(entry.path()).with_context(|| format!("cannot read {path}"))?;
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_needed_or_a_complaint() {
        let long = Breach {
            rule: "length",
            place: "a.rs".into(),
            what: "501 lines".into(),
        };
        let breaches = [long];
        assert!(complaints(&breaches, "# why\n\nlength a.rs\n").is_empty());
        let without = complaints(&breaches, "");
        assert_eq!(without.len(), 1);
        assert!(without[0].contains("a.rs") && without[0].contains("501 lines"));
        let other = complaints(&breaches, "length a.rs\nlength b.rs\n");
        assert_eq!(other.len(), 1);
        assert!(other[0].contains("length b.rs"), "{other:?}");
    }
}
