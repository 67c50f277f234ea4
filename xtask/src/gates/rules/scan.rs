//! Reads source line by line and finds what breaks a rule.
//!
//! rustfmt has laid the source out, so that a line says enough: no parser is needed.

use std::collections::BTreeMap;
use std::fmt;

/// The lines a file may have without a reason.
const LONGEST: usize = 500;

/// Begins the line of a file's head that says why the file is longer.
const REASON: &str = "//! Length:";

/// A Rust source file.
pub(super) struct Source {
    /// From the root of the workspace, with `/` between names.
    pub(super) path: String,
    pub(super) text: String,
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Breach {
    pub(super) rule: &'static str,
    /// What an exception names.
    pub(super) place: String,
    /// For people.
    pub(super) what: String,
}

impl Breach {
    /// The line of the exceptions that lets this one be.
    pub(super) fn key(&self) -> String {
        format!("{} {}", self.rule, self.place)
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.rule, self.place, self.what)
    }
}

/// All breaches in `sources`.
pub(super) fn breaches(sources: &[Source]) -> Vec<Breach> {
    let mut found: Vec<Breach> = sources.iter().filter_map(length).collect();
    found.extend(repeated_names(sources));
    found.extend(sources.iter().flat_map(left_to_do));
    found
}

fn length(source: &Source) -> Option<Breach> {
    let count = source.text.lines().count();
    let mut head = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"));
    let has_reason = head.any(|line| {
        line.strip_prefix(REASON)
            .is_some_and(|reason| !reason.trim().is_empty())
    });
    (count > LONGEST && !has_reason).then(|| Breach {
        rule: "length",
        place: source.path.clone(),
        what: format!(
            "the file has {count} lines: split it, or say in its head why not (`{REASON} …`)"
        ),
    })
}

fn repeated_names(sources: &[Source]) -> Vec<Breach> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for source in sources {
        let Some(krate) = crate_of(&source.path) else {
            continue;
        };
        for (number, name) in types(&source.text) {
            let place = format!("{}:{number}", source.path);
            places.entry((krate, name)).or_default().push(place);
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|((krate, name), places)| Breach {
            rule: "type-name",
            place: format!("{krate} {name}"),
            what: format!("several types have this name: {}", places.join(", ")),
        })
        .collect()
}

/// The directory or file that stands for the crate a file belongs to; `None` for tests, benchmarks,
/// examples and build scripts.
fn crate_of(path: &str) -> Option<&str> {
    let names: Vec<&str> = path.split('/').collect();
    let (file, directories) = names.split_last()?;
    let is_test = |name: &&str| matches!(*name, "tests" | "benches" | "examples" | "testing");
    let stem = file.strip_suffix(".rs")?;
    if directories.iter().any(is_test) || is_test(&stem) || stem.ends_with("_tests") {
        return None;
    }
    let src = directories.iter().position(|&name| name == "src")?;
    // A program below src/bin is a crate of its own.
    let depth = match names.get(src + 1) {
        Some(&"bin") => src + 3,
        _ => src + 1,
    };
    let end: usize = names.iter().take(depth).map(|name| name.len() + 1).sum();
    path.get(..end - 1)
}

/// The types that a file defines, with their line numbers from 1, up to its test module.
fn types(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let next = lines.peek().map_or("", |(_, next)| next.trim_start());
        if line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            break;
        }
        if let Some(name) = type_defined(line) {
            found.push((index + 1, name));
        }
    }
    found
}

/// The name of the type that a line begins to define.
fn type_defined(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if let Some(after) = rest.strip_prefix("pub") {
        rest = match after.strip_prefix('(') {
            Some(within) => within.split_once(") ")?.1,
            None => after.strip_prefix(' ')?,
        };
    }
    rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
    let (keyword, rest) = rest.split_once(' ')?;
    if !matches!(keyword, "struct" | "enum" | "trait" | "union") {
        return None;
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let name = &rest[..end];
    name.starts_with(|c: char| c.is_uppercase()).then_some(name)
}

fn left_to_do(source: &Source) -> Vec<Breach> {
    // Put together, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut tokens = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if tokens.any(|token| words.contains(&token)) {
            found.push(Breach {
                rule: "to-do",
                place: source.path.clone(),
                what: format!("line {}: do it, or file an issue instead", index + 1),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    fn keys(sources: &[Source]) -> Vec<String> {
        breaches(sources).iter().map(Breach::key).collect()
    }

    #[test]
    fn a_long_file_needs_a_reason_in_its_head() {
        let body = "fn f() {}\n".repeat(LONGEST);
        assert_eq!(keys(&[source("a/src/x.rs", &body)]), [""; 0]);
        let long = format!("//! Head.\n{body}");
        assert_eq!(keys(&[source("a/src/x.rs", &long)]), ["length a/src/x.rs"]);
        for (head, wants) in [
            ("//! Head.\n//! Length: one table.\n", 0),
            ("//! Head.\n//! Length:\n", 1),
            ("//! Head.\n\n//! Length: not in the head.\n", 1),
        ] {
            let found = keys(&[source("a/src/x.rs", &format!("{head}{body}"))]);
            assert_eq!(found.len(), wants, "{head}");
        }
    }

    #[test]
    fn a_name_is_taken_once_in_a_crate() {
        let twice = |first: &str, second: &str| {
            keys(&[
                source(first, "pub(crate) struct Ring<T> {\n"),
                source(second, "pub(in crate::x) enum Ring {\n"),
            ])
        };
        assert_eq!(
            twice("a/src/x.rs", "a/src/y/z.rs"),
            ["type-name a/src Ring"]
        );
        assert_eq!(twice("src/x.rs", "src/y.rs"), ["type-name src Ring"]);
        assert_eq!(
            twice("a/src/bin/p/x.rs", "a/src/bin/p/y.rs"),
            ["type-name a/src/bin/p Ring"]
        );
        for (first, second) in [
            ("a/src/x.rs", "b/src/x.rs"),
            ("a/src/x.rs", "a/src/tests.rs"),
            ("a/src/x.rs", "a/src/x_tests.rs"),
            ("a/src/x.rs", "a/src/tests/y.rs"),
            ("a/src/x.rs", "a/tests/y.rs"),
            ("a/src/x.rs", "a/examples/y.rs"),
            ("a/src/bin/p.rs", "a/src/bin/q.rs"),
            ("a/src/lib.rs", "a/src/bin/q.rs"),
        ] {
            assert_eq!(twice(first, second), [""; 0], "{first} {second}");
        }
    }

    #[test]
    fn only_definitions_outside_the_test_module_count() {
        let text = "struct A;\npub unsafe trait B {}\n    union C {\nlet struct = 1;\n\
                    // struct D;\nstruct $name;\nuse E;\n#[cfg(test)]\nmod tests {\nstruct F;\n";
        let names: Vec<_> = types(text).into_iter().collect();
        assert_eq!(names, [(1, "A"), (2, "B"), (3, "C")]);
        let text = "#[cfg(test)]\nmod tests;\nstruct G;\n";
        assert_eq!(types(text), [(3, "G")]);
    }

    #[test]
    fn nothing_is_left_to_do() {
        let line = concat!("// TO", "DO: later\n");
        assert_eq!(keys(&[source("a/x.rs", line)]), ["to-do a/x.rs"]);
        assert_eq!(keys(&[source("a/x.rs", "// to do\n")]), [""; 0]);
    }
}
