//! The source tree, and the citations in it.
//!
//! Citations are of virtio 1.0.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;

/// All source and documentation of the workspace.
pub(super) struct Tree {
    files: Vec<File>,
}

/// A file.
pub(super) struct File {
    /// From the root of the source tree.
    pub(super) path: String,
    pub(super) text: String,
}

/// A mention of the specification: `§2.4.7.2`, which is of the version that the head of its file names,
/// or `§2.8 (1.1)`, which names its own.
pub(super) struct Citation<'t> {
    pub(super) line: usize,
    pub(super) section: &'t str,
    pub(super) version: Option<&'t str>,
}

impl Tree {
    pub(super) fn read() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        read_below(&root, "", &mut files);
        Tree { files }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// The section numbers of a version; `None` if `conformance/spec` does not have them.
pub(super) fn sections(version: &str) -> Option<Rc<BTreeSet<String>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(format!("spec/sections-{version}.txt"));
    let text = fs::read_to_string(path).ok()?;
    Some(Rc::new(text.lines().map(str::to_owned).collect()))
}

fn read_below(directory: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("a directory of the source tree") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("a type").is_dir() {
            read_below(&entry.path(), &format!("{path}/"), files);
        } else if name.ends_with(".rs") || name.ends_with(".md") {
            let text = fs::read_to_string(entry.path()).expect("text");
            files.push(File { path, text });
        }
    }
}

impl File {
    /// The version to which its bare citations belong, from its head: the first comment of a Rust file,
    /// the first ten lines of a Markdown file. `None` if the head names none.
    pub(super) fn version(&self) -> Option<String> {
        let rust = self.path.ends_with(".rs");
        let head: Vec<&str> = if rust {
            let comment = self.text.lines().map_while(|line| line.strip_prefix("//!"));
            comment.map(str::trim).collect()
        } else {
            self.text.lines().take(10).map(str::trim).collect()
        };
        let head = head.join(" ");
        head.split("virtio ").skip(1).find_map(|rest| {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let number = rest[..end].trim_end_matches('.');
            number.contains('.').then(|| number.to_owned())
        })
    }

    /// The citations in it, in order.
    pub(super) fn citations(&self) -> impl Iterator<Item = Citation<'_>> {
        self.text.lines().enumerate().flat_map(|(index, line)| {
            line.split('§')
                .skip(1)
                .filter_map(move |rest| Citation::parse(index + 1, rest))
        })
    }

    /// Whether there is a test function of this name.
    pub(super) fn has_test(&self, name: &str) -> bool {
        let head = format!("fn {name}(");
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        lines.iter().enumerate().any(|(index, line)| {
            line.starts_with(&head) && index > 0 && lines[index - 1] == "#[test]"
        })
    }
}

impl<'t> Citation<'t> {
    /// What follows a paragraph sign.
    fn parse(line: usize, rest: &'t str) -> Option<Self> {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let section = number.trim_end_matches('.');
        let version = behind
            .strip_prefix(" (")
            .and_then(|behind| behind.split_once(')'))
            .map(|(version, _)| version)
            .filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
        (!section.is_empty()).then_some(Citation {
            line,
            section,
            version,
        })
    }
}
