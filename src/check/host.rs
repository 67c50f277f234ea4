//! The host's side of the guest's devices: disks, and programs that answer on consoles.

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

/// How long to wait before looking for work again.
const TICK: Duration = Duration::from_millis(20);

/// What the first disk contains when the guest begins.
static INITIAL: LazyLock<Vec<u8>> = LazyLock::new(|| pattern::bytes(DISK_SEED, DISK_SIZE));

/// What the first disk contains when the guest has passed.
static WRITTEN: LazyLock<Vec<u8>> = LazyLock::new(|| pattern::bytes(LEFT_SEED, DISK_SIZE));

/// What the second disk contains.
static READ_ONLY: LazyLock<Vec<u8>> =
    LazyLock::new(|| pattern::bytes(READ_ONLY_SEED, READ_ONLY_SIZE));

/// What the first disk should contain after the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    /// What the guest writes at its end.
    Written,
    /// What the host wrote before the run: the disk takes no writes.
    Untouched,
    /// Anything: the driver gave up while the disk was in use, as it may.
    GivenUp,
}

/// The disks of one run.
pub struct Disks {
    /// The disk that takes writes.
    pub first: PathBuf,
    /// The read-only disk.
    pub read_only: PathBuf,
}

impl Disks {
    /// Creates them in `directory`.
    pub fn create(directory: &Path) -> io::Result<Disks> {
        let disks = Disks {
            first: directory.join("disk"),
            read_only: directory.join("read-only-disk"),
        };
        fs::write(&disks.first, &*INITIAL)?;
        fs::write(&disks.read_only, &*READ_ONLY)?;
        Ok(disks)
    }

    /// There are none.
    pub fn none() -> Disks {
        Disks {
            first: PathBuf::new(),
            read_only: PathBuf::new(),
        }
    }

    /// Compares the disks with what they should contain.
    pub fn compare(&self, first: DiskState) -> Result<(), String> {
        let expected = match first {
            DiskState::Written => Some(&*WRITTEN),
            DiskState::Untouched => Some(&*INITIAL),
            DiskState::GivenUp => None,
        };
        if let Some(expected) = expected {
            compare(&self.first, expected)
                .map_err(|how| format!("the first disk does not contain what it should: {how}"))?;
        }
        compare(&self.read_only, &READ_ONLY)
            .map_err(|how| format!("the read-only disk was written: {how}"))
    }
}

fn compare(file: &Path, expected: &[u8]) -> Result<(), String> {
    let found = fs::read(file).map_err(|error| error.to_string())?;
    pattern::compare(&found, expected)
}

/// Answers what the guest sends to a console port, over a socket that stickler is going to create.
/// Stops when it is dropped.
pub struct ConsolePeer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ConsolePeer {
    /// Starts a thread that waits for the socket `path`, and sends `greeting` before anything else.
    pub fn on(path: PathBuf, greeting: &'static [u8]) -> ConsolePeer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            if let Some(mut stream) = connect(&path, &stopped)
                && send(&mut stream, greeting, &stopped).is_ok()
            {
                answer(stream, &stopped);
            }
        });
        ConsolePeer {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for ConsolePeer {
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

/// Sends [`pattern::answer`] to everything received.
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

/// Sends all `bytes`; a guest may read slowly.
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
    fn disks_are_compared_with_what_they_should_contain() {
        let directory = tempfile::tempdir().unwrap();
        let disks = Disks::create(directory.path()).unwrap();
        assert_eq!(disks.compare(DiskState::Untouched), Ok(()));
        assert!(
            disks
                .compare(DiskState::Written)
                .unwrap_err()
                .contains("first disk")
        );
        let mut content = WRITTEN.clone();
        fs::write(&disks.first, &content).unwrap();
        assert_eq!(disks.compare(DiskState::Written), Ok(()));
        assert_eq!(disks.compare(DiskState::GivenUp), Ok(()));
        content[DISK_SIZE - 1] ^= 1;
        fs::write(&disks.first, &content).unwrap();
        let error = disks.compare(DiskState::Written).unwrap_err();
        assert!(error.contains(&(DISK_SIZE - 1).to_string()), "{error}");
        fs::write(&disks.first, &*WRITTEN).unwrap();
        fs::write(&disks.read_only, "x").unwrap();
        assert!(
            disks
                .compare(DiskState::Written)
                .unwrap_err()
                .contains("read-only")
        );
    }

    #[test]
    fn what_is_received_on_a_socket_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        let peer = ConsolePeer::on(path.clone(), b"welcome");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut greeting = [0; 7];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"welcome");
        let data = pattern::bytes(1, 300_000);
        let mut sender = stream.try_clone().unwrap();
        let sent = data.clone();
        let sending = thread::spawn(move || sender.write_all(&sent));
        let mut found = vec![0; data.len()];
        stream.read_exact(&mut found).unwrap();
        sending.join().unwrap().unwrap();
        assert!(found == pattern::answer(&data));
        drop(peer);
        // One whose socket never appears can be dropped too.
        drop(ConsolePeer::on(directory.path().join("none"), b""));
    }
}
