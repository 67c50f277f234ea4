//! What stickler recognizes in the guest's console output: marks and panics.

use std::sync::{Arc, Mutex, PoisonError};

use crate::journal::Journal;

/// Reads a console's output, line by line:
///
/// * `@mark NAME` puts a mark into the journal;
/// * `Kernel panic - not syncing: …` is remembered, so that the reset that follows it counts as a
///   panic.
///
/// Each console has a scanner of its own; they share the journal and the panic note. Of a line,
/// only the first [`LINE`] bytes are examined.
#[derive(Clone)]
pub struct OutputScanner {
    journal: Journal,
    panic: PanicNote,
    line: Vec<u8>,
}

/// Bytes of a line that are kept.
pub const LINE: usize = 1024;

const MARK: &str = "@mark ";
const PANIC: &str = "Kernel panic - not syncing: ";

impl OutputScanner {
    /// A scanner that writes to `journal` and `panic`.
    pub fn new(journal: Journal, panic: PanicNote) -> Self {
        OutputScanner {
            journal,
            panic,
            line: Vec::with_capacity(LINE),
        }
    }

    /// The next bytes of output.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() < LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        let text = without_timestamp(&line);
        if let Some(name) = text.strip_prefix(MARK) {
            let name = name.trim();
            if !name.is_empty() {
                self.journal.mark(name);
            }
        } else if let Some(message) = text.strip_prefix(PANIC) {
            self.panic.set(message.trim());
        }
        self.line.clear();
    }
}

/// The line without what the kernel puts before it: `[    1.234567]`, `[    T1]`.
fn without_timestamp(line: &str) -> &str {
    let mut text = line.trim_start();
    while let Some((_, after)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        text = after.trim_start();
    }
    text
}

/// Remembers the first panic message seen on any console. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct PanicNote(Arc<Mutex<Option<String>>>);

impl PanicNote {
    /// Notes a panic, unless there is one already.
    pub fn set(&self, message: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| message.to_owned());
    }

    /// The panic's message.
    pub fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let journal = Journal::new();
        let panic = PanicNote::default();
        let mut scanner = OutputScanner::new(journal.clone(), panic.clone());
        for piece in pieces {
            scanner.feed(piece);
        }
        let marks = journal.marks().into_iter().map(|m| m.name).collect();
        (marks, panic.get())
    }

    #[test]
    fn marks_are_found_however_the_output_is_cut() {
        let (marks, _) = scan(&[b"hello\r\n@ma", b"rk unbind", b" net\r\n@mark b\n"]);
        assert_eq!(marks, ["unbind net", "b"]);
    }

    #[test]
    fn marks_through_the_kernel_log_count() {
        let (marks, _) = scan(&[b"[    1.250000][    T1] @mark disk\n"]);
        assert_eq!(marks, ["disk"]);
    }

    #[test]
    fn a_mark_is_a_whole_line_with_a_name() {
        let (marks, _) = scan(&[b"echo @mark x\n@mark\n@mark  \n@marker y\n@mark unfinished"]);
        assert!(marks.is_empty(), "{marks:?}");
    }

    #[test]
    fn the_first_panic_is_kept() {
        let (_, panic) = scan(&[
            b"[    0.9] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n",
            b"[    1.0] Kernel panic - not syncing: again\r\n",
            b"[    1.1] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\n",
        ]);
        assert_eq!(panic.as_deref(), Some("VFS: Unable to mount root fs"));
    }

    #[test]
    fn talk_of_a_panic_is_none() {
        let (_, panic) = scan(&[b"grep 'Kernel panic - not syncing: x' log\n"]);
        assert_eq!(panic, None);
    }

    #[test]
    fn endless_lines_and_any_bytes_are_survived() {
        let long = [
            b"@mark ".as_slice(),
            &vec![b'a'; 100_000],
            b"\n@mark next\n",
        ]
        .concat();
        let (marks, _) = scan(&[b"\xff\xfe[[[]]\0\n", &long]);
        assert_eq!(marks.len(), 2);
        assert_eq!(marks[1], "next");
    }
}
