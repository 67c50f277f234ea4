//! What is wrong with a client. It is said at once, to the user; it is nothing that a driver did.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many are said for one socket; a client may have more.
const MOST: u64 = 20;

/// Complaints about the clients of one socket. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Complaints(Arc<About>);

#[derive(Debug)]
struct About {
    socket: PathBuf,
    count: AtomicU64,
}

impl Complaints {
    pub(super) fn about(socket: &Path) -> Self {
        Complaints(Arc::new(About {
            socket: socket.to_owned(),
            count: AtomicU64::new(0),
        }))
    }

    /// Says what the client did.
    pub(super) fn say(&self, what: fmt::Arguments<'_>) {
        let before = self.0.count.fetch_add(1, Ordering::Relaxed);
        let socket = self.0.socket.display();
        // If standard error cannot be written, there is no place to say it.
        let _ = match before {
            0..MOST => writeln!(io::stderr(), "stickler: client of {socket}: {what}"),
            MOST => writeln!(
                io::stderr(),
                "stickler: client of {socket}: there is more that is wrong, which is not shown"
            ),
            _ => Ok(()),
        };
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }
}
