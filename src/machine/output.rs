//! What stickler recognizes in the guest's console output: marks, panics, and complaints of the kernel.

use std::sync::{Arc, Mutex, PoisonError};

use crate::complaints::reader::AT_ONCE;
use crate::complaints::{ComplaintReader, KernelLine, LineSplicer};
use crate::journal::{ComplaintId, Journal};

/// Reads a console's output, line by line:
///
/// * `@mark NAME` puts a mark into the journal;
/// * `Kernel panic - not syncing: …` is remembered, so that the reset that follows it counts as a
///   panic;
/// * complaints of the kernel go to the journal, line by line, so that what was said before the end of a run is
///   there, however the run ends;
/// * when the guest has been asked where it stands, its kernel's lines on the first console are the answer.
///
/// Each console has a scanner of its own; they share the journal and the panic note. Of a line,
/// only the first [`LINE`] bytes are examined. A NUL ends a line: it cannot be part of one, and comes where output
/// was cut.
pub struct OutputScanner {
    journal: Journal,
    panic: PanicNote,
    /// 0 is the serial port.
    console: usize,
    line: Vec<u8>,
    splicer: LineSplicer,
    complaints: ComplaintReader,
    /// Where the further lines of the complaints go that are being told.
    open: [Option<ComplaintId>; AT_ONCE],
    /// The guest has been asked where it stands.
    asked: bool,
}

/// Bytes of a line that are kept.
pub const LINE: usize = 1024;

const MARK: &str = "@mark ";
const PANIC: &str = "Kernel panic - not syncing: ";

impl OutputScanner {
    /// A scanner of the serial port that writes to `journal` and `panic`.
    pub fn new(journal: Journal, panic: PanicNote) -> Self {
        OutputScanner {
            journal,
            panic,
            console: 0,
            line: Vec::with_capacity(LINE),
            splicer: LineSplicer::default(),
            complaints: ComplaintReader::default(),
            open: [None; AT_ONCE],
            asked: false,
        }
    }

    /// A scanner of another console of the same guest.
    #[must_use]
    pub fn of_another_console(&self) -> Self {
        OutputScanner {
            console: self.console + 1,
            ..OutputScanner::new(self.journal.clone(), self.panic.clone())
        }
    }

    /// The next bytes of output.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' | b'\0' => self.end_line(),
                _ if self.line.len() < LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = self.splicer.line(&line);
        let text = without_timestamp(&line);
        if let Some(name) = text.strip_prefix(MARK) {
            let name = name.trim();
            if !name.is_empty() {
                self.journal.mark(name);
            }
        } else {
            if let Some(message) = text.strip_prefix(PANIC) {
                self.panic.set(message.trim());
            }
            self.kernel_line(&line);
        }
        self.line = bytes;
        self.line.clear();
    }

    /// A line that may be the kernel's.
    fn kernel_line(&mut self, line: &str) {
        if self.journal.has_asked() {
            if !std::mem::replace(&mut self.asked, true) {
                // The answer is no part of a complaint before it.
                self.complaints = ComplaintReader::default();
            }
            if self.console == 0 {
                self.journal.answer(KernelLine::read(line).text);
            }
        }
        let Some(part) = self.complaints.line(line) else {
            return;
        };
        let open = &mut self.open[part.place];
        if part.opens {
            *open = self.journal.complain(self.console, &part.line);
        } else if let Some(id) = *open {
            self.journal.complain_further(id, part.line.text);
        }
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
    fn complaints_go_to_the_journal_with_their_mark_as_far_as_they_came() {
        let journal = Journal::new();
        let mut serial = OutputScanner::new(journal.clone(), PanicNote::default());
        let mut hvc = serial.of_another_console();
        let oops = b"\
[   12.102938] BUG: kernel NULL pointer dereference, address: 0000000000000008\r
[   12.102963] RIP: 0010:free_buf+0x1a/0x110 [virtio_console]\0
[   12.102988] Call Trace:
[   12.103001]  remove_vqs+0x8e/0xe0 [virtio_console]
[   12.103006]  virtcons_remove";
        serial.feed(b"@mark rebind-drivers\n");
        for piece in oops.chunks(7) {
            serial.feed(piece);
            hvc.feed(piece);
        }
        let complaints = journal.complaints();
        assert_eq!(complaints.len(), 1, "{complaints:#?}");
        assert_eq!(complaints[0].mark.as_deref(), Some("rebind-drivers"));
        assert_eq!(complaints[0].complaint.lines.len(), 4);
        assert_eq!(complaints[0].complaint.drivers, ["virtio_console"]);
    }

    #[test]
    fn the_answer_is_what_the_serial_port_says_after_the_question() {
        let journal = Journal::new();
        let mut serial = OutputScanner::new(journal.clone(), PanicNote::default());
        let mut hvc = serial.of_another_console();
        serial.feed(b"[   1.000001] before\n");
        journal.ask();
        serial.feed(b"[   1.000002] sysrq: Show backtrace of all active CPUs\n@mark x\n");
        hvc.feed(b"[   1.000002] sysrq: Show backtrace of all active CPUs\n");
        assert_eq!(
            journal.answers(),
            ["sysrq: Show backtrace of all active CPUs"]
        );
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
