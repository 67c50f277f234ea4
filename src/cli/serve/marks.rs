//! `--marks`: what the guest says on a serial port that the monitor has.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use crate::cli::failure::Failure;
use crate::machine::OutputScanner;

/// Where the output of the guest's serial port comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkSource {
    /// Standard input.
    Stdin,
    /// A named pipe, or another file that is read to its end.
    File(PathBuf),
}

impl FromStr for MarkSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("name a file, or - for standard input".to_owned()),
            "-" => Ok(MarkSource::Stdin),
            path => Ok(MarkSource::File(path.into())),
        }
    }
}

impl MarkSource {
    /// Has what comes from there scanned, by a thread that ends with it.
    pub(super) fn read(&self, scanner: OutputScanner) -> Result<(), Failure> {
        // A confined process opens nothing.
        let file = match self {
            MarkSource::Stdin => None,
            MarkSource::File(path) => Some(open(path)?),
        };
        thread::Builder::new()
            .name("marks".to_owned())
            .spawn(move || match file {
                None => scan(io::stdin().lock(), scanner),
                Some(file) => scan(file, scanner),
            })
            .map(drop)
            .map_err(|error| Failure::Internal(format!("cannot start a thread: {error}")))
    }
}

/// Opens the file. A named pipe is opened for writing, too: so it is open at once, and stays so when a monitor ends and
/// another comes.
fn open(path: &Path) -> Result<File, Failure> {
    let found = path.metadata();
    if found.as_ref().is_ok_and(|found| found.is_dir()) {
        return Err(Failure::Input(format!(
            "--marks {} is a directory: name a named pipe or a file",
            path.display()
        )));
    }
    let is_pipe = found.is_ok_and(|found| found.file_type().is_fifo());
    let opened = OpenOptions::new().read(true).write(is_pipe).open(path);
    opened.map_err(|error| {
        Failure::Input(format!(
            "cannot read --marks {}: {error}; make a named pipe with mkfifo, and have the monitor write to it",
            path.display()
        ))
    })
}

fn scan(mut from: impl Read, mut scanner: OutputScanner) {
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => scanner.feed(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use crate::machine::PanicNote;

    #[test]
    fn what_the_guest_says_is_scanned() {
        let journal = Journal::new();
        let panic = PanicNote::default();
        let scanner = OutputScanner::new(journal.clone(), panic.clone());
        let said = b"@mark boot\r\n[ 1.0] Kernel panic - not syncing: no init\r\n";
        scan(&said[..], scanner);
        assert_eq!(journal.marks()[0].name, "boot");
        assert_eq!(panic.get().as_deref(), Some("no init"));
    }

    #[test]
    fn a_source_is_a_file_or_standard_input() {
        assert_eq!("-".parse(), Ok(MarkSource::Stdin));
        assert_eq!("x".parse(), Ok(MarkSource::File("x".into())));
        assert!("".parse::<MarkSource>().is_err());
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().to_owned(), directory.path().join("none")] {
            let scanner = OutputScanner::new(Journal::new(), PanicNote::default());
            let Err(Failure::Input(why)) = MarkSource::File(path).read(scanner) else {
                panic!("it was read");
            };
            assert!(why.contains("named pipe"), "{why}");
        }
    }
}
