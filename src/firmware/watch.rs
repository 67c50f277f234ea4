//! What firmware and the program that it boots say on the serial port.

use std::sync::{Arc, Mutex, PoisonError};

use stickler_exerciser::GuestLine;

/// Bytes of a line that are kept.
const LINE: usize = 1024;

/// What firmware says when there is nothing to boot, or nothing more: it waits for a user then, for ever. The
/// first text is the beginning of a line, or all of one without an end.
const GIVEN_UP: [(&str, &str); 6] = [
    ("=> ", "U-Boot stopped at its prompt"),
    ("No bootable device.", "the BIOS found no bootable device"),
    ("Shell> ", "UEFI started its shell"),
    (
        "BdsDxe: No bootable option or device was found.",
        "UEFI found no bootable device",
    ),
    ("Press ESC in ", "UEFI found no bootable device"),
    (
        "### ERROR ### Please RESET the board ###",
        "U-Boot stopped at an error",
    ),
];

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootLog {
    /// The program that was booted: its first mark.
    pub program: Option<String>,
    /// Whether it has passed.
    pub passed: bool,
    /// The step that failed, and why.
    pub failed: Option<(String, String)>,
    /// Why the firmware will boot nothing.
    pub given_up: Option<&'static str>,
}

/// Reads the serial port. Clones share what was said.
#[derive(Clone, Debug, Default)]
pub struct BootWatch {
    log: Arc<Mutex<BootLog>>,
    line: Vec<u8>,
}

impl BootWatch {
    /// The next bytes. Returns why the firmware will boot nothing, when it says so.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<&'static str> {
        for &byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                self.end_line();
                self.line.clear();
            } else if self.line.len() < LINE {
                self.line.push(byte);
                self.look();
            }
        }
        self.lock().given_up
    }

    /// What was said.
    pub fn log(&self) -> BootLog {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BootLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_line(&mut self) {
        let line = without_escapes(&self.line);
        let mut log = self.lock();
        match GuestLine::parse(&line) {
            Some(GuestLine::Mark(name)) => {
                log.program.get_or_insert(name);
            }
            Some(GuestLine::Passed) => log.passed = true,
            Some(GuestLine::Failed { step, message }) => {
                log.failed.get_or_insert((step, message));
            }
            _ => {}
        }
    }

    /// Looks whether the line says that there is nothing to boot.
    fn look(&self) {
        let Some(last) = self.line.last() else {
            return;
        };
        let ends = |text: &str| text.as_bytes().last() == Some(last);
        if !GIVEN_UP.iter().any(|(text, _)| ends(text)) {
            return;
        }
        let line = without_escapes(&self.line);
        let said = GIVEN_UP.iter().find(|(text, _)| line == *text);
        if let Some((_, why)) = said {
            let mut log = self.lock();
            // A program that has failed may leave the firmware with nothing to do.
            if log.program.is_none() || log.failed.is_some() {
                log.given_up.get_or_insert(why);
            }
        }
    }
}

/// The line without what moves a terminal's cursor: `ESC c`, `ESC 7`, `ESC [ … letter`.
fn without_escapes(line: &[u8]) -> String {
    const ESCAPE: char = '\u{1b}';
    let line = String::from_utf8_lossy(line);
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != ESCAPE {
            text.push(c);
        } else if rest.next() == Some('[') {
            rest.find(char::is_ascii_alphabetic);
        }
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> BootLog {
        let mut watch = BootWatch::default();
        let other = watch.clone();
        for byte in text.as_bytes().chunks(1) {
            watch.feed(byte);
        }
        other.log()
    }

    #[test]
    fn a_program_says_what_it_does() {
        let log = said("\x1b[2J\r\n@mark efi-program\r\n\r\nexercise: passed\r\n");
        assert_eq!(log.program.as_deref(), Some("efi-program"));
        assert!(log.passed && log.failed.is_none() && log.given_up.is_none());
        let log = said("@mark boot-sector\r\nexercise: failed: read: it is wrong\r\n");
        let failed = ("read".to_owned(), "it is wrong".to_owned());
        assert_eq!(log.failed, Some(failed));
        assert!(!log.passed);
    }

    #[test]
    fn firmware_that_boots_nothing_says_so() {
        for (text, words) in [
            ("Hit any key to stop autoboot:  0 \r\n=> ", "prompt"),
            ("\x1b[2J\x1b[01;01H=> ", "prompt"),
            (
                "Booting from Hard Disk...\r\nNo bootable device.",
                "no bootable",
            ),
            ("\r\n\x1b[1m\x1b[33mShell> ", "shell"),
            (
                "BdsDxe: No bootable option or device was found.\r\n",
                "no bootable",
            ),
        ] {
            let why = said(text).given_up.expect("it says so");
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn other_talk_is_none_of_these() {
        for text in [
            "",
            "a => b",
            "@mark x",
            "exercise: passed it\n",
            "x Shell> ",
        ] {
            assert_eq!(said(text), BootLog::default(), "{text}");
        }
        // Once a program runs, its output may look like anything.
        assert_eq!(said("@mark x\n=> ").given_up, None);
        let endless = "=".repeat(100_000);
        assert_eq!(said(&endless), BootLog::default());
    }
}
