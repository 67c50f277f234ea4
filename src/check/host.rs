//! The far sides of the guest's devices: disks, and who answers on consoles.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stickler_exerciser::{
    DISK_SEED, DISK_SIZE, LEFT_SEED, READ_ONLY_SEED, READ_ONLY_SIZE, pattern,
};

/// How often it is looked whether there is something to do.
const TICK: Duration = Duration::from_millis(20);

/// What is on the first disk when the guest begins.
static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| pattern::bytes(DISK_SEED, DISK_SIZE));

/// What is on it when the guest has passed.
static LEFT: LazyLock<Vec<u8>> = LazyLock::new(|| pattern::bytes(LEFT_SEED, DISK_SIZE));

/// What is on the second.
static READ_ONLY: LazyLock<Vec<u8>> =
    LazyLock::new(|| pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE));

/// How the guest says that it has left the first disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All written.
    Written,
    /// As it was made: it took no writes.
    Untouched,
    /// In the middle of something: its driver gave up, as it may.
    GivenUp,
}

/// The disks of one run.
pub struct Disks {
    /// The one that takes writes.
    pub first: PathBuf,
    /// The other.
    pub read_only: PathBuf,
}

impl Disks {
    /// Makes them in `directory`.
    pub fn make(directory: &Path) -> io::Result<Disks> {
        let disks = Disks {
            first: directory.join("disk"),
            read_only: directory.join("read-only-disk"),
        };
        fs::write(&disks.first, &*MADE)?;
        fs::write(&disks.read_only, &*READ_ONLY)?;
        Ok(disks)
    }

    /// Compares what is on them with what the guest should have left.
    pub fn compare(&self, left: Left) -> Result<(), String> {
        let expected = match left {
            Left::Written => Some(&*LEFT),
            Left::Untouched => Some(&*MADE),
            Left::GivenUp => None,
        };
        if let Some(expected) = expected {
            compare(&self.first, expected)
                .map_err(|how| format!("the first disk is not as the guest left it: {how}"))?;
        }
        compare(&self.read_only, &READ_ONLY)
            .map_err(|how| format!("the read-only disk has been written: {how}"))
    }
}

fn compare(file: &Path, expected: &[u8]) -> Result<(), String> {
    let found = fs::read(file).map_err(|error| error.to_string())?;
    pattern::compare(&found, expected)
}

/// Answers what comes on a socket that stickler is going to make, until this is dropped.
pub struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    /// Begins to wait for the socket `path`.
    pub fn on(path: PathBuf) -> Answering {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            if let Some(stream) = connect(&path, &stopped) {
                answer(stream, &stopped);
            }
        });
        Answering {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(path: &Path, stop: &AtomicBool) -> Option<UnixStream> {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(stream) = UnixStream::connect(path) {
            return Some(stream);
        }
        thread::sleep(TICK);
    }
    None
}

/// Sends back what comes, made another by [`pattern::answer`].
fn answer(mut stream: UnixStream, stop: &AtomicBool) {
    let timed = [
        stream.set_read_timeout(Some(TICK)),
        stream.set_write_timeout(Some(TICK)),
    ];
    if timed.iter().any(Result::is_err) {
        return;
    }
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let answer = pattern::answer(&buffer[..count]);
                if send(&mut stream, &answer, stop).is_err() {
                    return;
                }
            }
            Err(error) if is_timeout(&error) => {}
            Err(_) => return,
        }
    }
}

/// Sends all of it; a guest may be slow to take it.
fn send(stream: &mut UnixStream, mut bytes: &[u8], stop: &AtomicBool) -> io::Result<()> {
    while !bytes.is_empty() && !stop.load(Ordering::Relaxed) {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn disks_are_compared_with_what_the_guest_left() {
        let directory = tempfile::tempdir().unwrap();
        let disks = Disks::make(directory.path()).unwrap();
        assert_eq!(disks.compare(Left::Untouched), Ok(()));
        assert!(
            disks
                .compare(Left::Written)
                .unwrap_err()
                .contains("first disk")
        );
        let mut left = LEFT.clone();
        fs::write(&disks.first, &left).unwrap();
        assert_eq!(disks.compare(Left::Written), Ok(()));
        assert_eq!(disks.compare(Left::GivenUp), Ok(()));
        left[DISK_SIZE - 1] ^= 1;
        fs::write(&disks.first, &left).unwrap();
        let error = disks.compare(Left::Written).unwrap_err();
        assert!(error.contains(&(DISK_SIZE - 1).to_string()), "{error}");
        fs::write(&disks.first, &*LEFT).unwrap();
        fs::write(&disks.read_only, "x").unwrap();
        assert!(
            disks
                .compare(Left::Written)
                .unwrap_err()
                .contains("read-only")
        );
    }

    #[test]
    fn what_comes_on_a_socket_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        let answering = Answering::on(path.clone());
        let listener = UnixListener::bind(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let data = pattern::bytes(1, 300_000);
        let mut sender = stream.try_clone().unwrap();
        let sent = data.clone();
        let sending = thread::spawn(move || sender.write_all(&sent));
        let mut found = vec![0; data.len()];
        stream.read_exact(&mut found).unwrap();
        sending.join().unwrap().unwrap();
        assert!(found == pattern::answer(&data));
        drop(answering);
        // And one whose socket never comes can be given up.
        drop(Answering::on(directory.path().join("none")));
    }
}
