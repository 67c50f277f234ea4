//! What a run's process says, read while it runs. What a guest says has no end; what is kept of it has.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::verdict::ExerciseLog;
use crate::complaints::LineSplicer;

/// The most lines that are kept, …
const LINES: usize = 20_000;

/// … and the most bytes of them.
const BYTES: usize = 8 << 20;

/// The most bytes of a line: a guest may never end one.
const LINE: u64 = 1 << 16;

/// Reads a stream on a thread of its own until the end of the stream.
pub(super) struct StreamReader {
    content: Arc<Mutex<StreamContent>>,
    thread: JoinHandle<()>,
}

/// What was read.
#[derive(Default)]
pub(super) struct StreamContent {
    lines: Vec<String>,
    /// In `lines`.
    bytes: usize,
    /// How many lines were not kept.
    pub(super) dropped: u64,
    /// The last line that is not empty.
    pub(super) last: String,
    splicer: LineSplicer,
    /// What the exercise says, also in lines that are not kept.
    pub(super) log: ExerciseLog,
}

impl StreamContent {
    fn add(&mut self, bytes: &[u8]) {
        let line = String::from_utf8_lossy(bytes);
        let line = line.trim_end();
        let spliced = self.splicer.line(line).into_owned();
        // What is reported of it is read on terminals.
        let printable: String = spliced.chars().filter(|c| !c.is_control()).collect();
        self.log.add(&printable);
        if !printable.is_empty() {
            self.last = printable;
        }
        if self.dropped == 0 && self.lines.len() < LINES && self.bytes + line.len() <= BYTES {
            self.bytes += line.len();
            self.lines.push(line.to_owned());
        } else {
            self.dropped += 1;
        }
    }

    /// The lines that were kept, and how many were not.
    pub(super) fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            text.push_str(&format!("stickler: {dropped} more lines were not kept\n"));
        }
        text
    }
}

impl StreamReader {
    pub(super) fn start(stream: impl Read + Send + 'static) -> Self {
        let content: Arc<Mutex<StreamContent>> = Arc::default();
        let shared = Arc::clone(&content);
        let thread = thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while let Ok(1..) = (&mut stream).take(LINE).read_until(b'\n', &mut bytes) {
                lock(&shared).add(&bytes);
                bytes.clear();
            }
        });
        StreamReader { content, thread }
    }

    /// The latest mark.
    pub(super) fn mark(&self) -> Option<String> {
        lock(&self.content).log.mark.clone()
    }

    /// Waits for the end of the stream.
    pub(super) fn end(self) -> StreamContent {
        // The thread ends with the stream and does not panic.
        let _ = self.thread.join();
        std::mem::take(&mut *lock(&self.content))
    }
}

fn lock(content: &Mutex<StreamContent>) -> MutexGuard<'_, StreamContent> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, repeat};

    use super::*;

    fn read(stream: impl Read + Send + 'static) -> StreamContent {
        StreamReader::start(stream).end()
    }

    #[test]
    fn what_is_kept_of_a_guest_that_talks_has_an_end() {
        // One endless line, many lines, and then what matters.
        let endless = repeat(b'x').take(3 * BYTES as u64);
        let many = "y\n".repeat(3 * LINES);
        let last = "\n@mark over\nexercise: failed: block: read: \u{1b}[31mlost\n\n";
        for content in [
            read(endless.chain(Cursor::new(last))),
            read(Cursor::new(many).chain(Cursor::new(last))),
        ] {
            assert!(content.lines.len() <= LINES);
            assert!(content.lines.iter().map(String::len).sum::<usize>() <= BYTES);
            assert!(content.dropped > 0);
            let end = format!("stickler: {} more lines were not kept\n", content.dropped);
            assert!(content.text().ends_with(&end));
            assert_eq!(content.log.mark.as_deref(), Some("over"));
            assert_eq!(content.log.failed[0].message, "read: [31mlost");
            assert_eq!(content.last, "exercise: failed: block: read: [31mlost");
        }
    }

    #[test]
    fn little_is_kept_as_it_is() {
        let content = read(Cursor::new("one\r\n\n\u{1b}[0mtwo\n"));
        assert_eq!(content.text(), "one\n\n\u{1b}[0mtwo\n");
        assert_eq!((content.dropped, content.last.as_str()), (0, "[0mtwo"));
        assert_eq!(read(Cursor::new("")).text(), "");
    }
}
