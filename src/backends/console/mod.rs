//! What the ports of the guest's console are connected to: the terminal, files, sockets.
//!
//! * `spec`: from the command line's words to ports.
//! * `stream`: file descriptors to read from and to write to: standard input and output, files.
//! * `socket`: a Unix socket to which one client at a time can connect.
//! * `window`: changes of the terminal's size.

mod socket;
mod spec;
mod stream;
mod window;

use std::collections::HashSet;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use stickler_devices::console::port::PortBackend;
use stickler_devices::console::{Console, MAX_PORTS, PortConfig};

use socket::SocketPort;
pub use spec::{BadConsoleSpec, ConsoleSpec, PortKind};
use stream::StreamPort;
pub(super) use stream::describe;

/// How long the guest's kernel waits for a client of its console that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at what the user types (first parameter) and passes on what is for the guest (second one).
/// It sees input as it comes, whether the guest wants any or not.
pub type InputFilter = Box<dyn FnMut(&[u8], &mut VecDeque<u8>) + Send>;

/// What `stdio` means.
pub struct Stdio<'a> {
    /// Where input comes from, if the console is to have any.
    pub input: Option<BorrowedFd<'a>>,
    /// Where output goes. If it is a terminal, its size is that of the console.
    pub output: BorrowedFd<'a>,
    /// Sees all input first.
    pub filter: Option<InputFilter>,
}

/// Why a console cannot be had, and what to do about it: one sentence.
#[derive(Debug)]
pub struct ConsoleError(String);

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConsoleError {}

impl ConsoleError {
    fn new(spec: &ConsoleSpec, problem: impl fmt::Display) -> Self {
        ConsoleError(format!("console {spec}: {problem}"))
    }
}

/// Makes the guest's console: the first of `specs` is port 0, the guest's hvc0, the others are
/// further ports. Without any, port 0 is connected to nothing.
///
/// # Errors
/// The file or socket of a port cannot be opened.
pub fn open(specs: &[ConsoleSpec], stdio: Stdio<'_>) -> Result<Console, ConsoleError> {
    let mut stdio = Some(stdio);
    let mut names = HashSet::new();
    let mut files = HashSet::new();
    let mut ports = Vec::new();
    for spec in specs {
        let fail = |problem: &str| Err(ConsoleError::new(spec, problem));
        if ports.len() == MAX_PORTS {
            return fail(&format!(
                "a console has {MAX_PORTS} ports at most; leave some out"
            ));
        }
        if let Some(name) = &spec.name
            && !names.insert(name)
        {
            return fail("another port has this name already; give each a name of its own");
        }
        let backend: Box<dyn PortBackend> = match &spec.kind {
            PortKind::Null => Box::new(NullPort),
            PortKind::Stdio => match stdio.take() {
                Some(stdio) => {
                    Box::new(StreamPort::stdio(stdio).map_err(|e| cannot_wait(spec, &e))?)
                }
                None => return fail("only one port can be connected to standard input and output"),
            },
            PortKind::File(path) => {
                if !files.insert(path) {
                    return fail("another port writes to this file; give each a file of its own");
                }
                Box::new(StreamPort::file(spec, path)?)
            }
            PortKind::Socket(path) => {
                // The kernel waits for its console with all that it does; a program can wait for a port.
                let patience = ports.is_empty().then_some(PATIENCE);
                Box::new(SocketPort::listen(spec, path, patience)?)
            }
        };
        let name = spec.name.clone();
        ports.push(PortConfig { backend, name });
    }
    if ports.is_empty() {
        ports.push(PortConfig {
            backend: Box::new(NullPort),
            name: None,
        });
    }
    let first = ports.remove(0);
    // Neither can happen any more: ports were counted, names looked at.
    Console::new(first, ports)
        .map_err(|bad| ConsoleError(format!("the console cannot have these ports ({bad:?})")))
}

/// The host has no more means to wait for file descriptors.
fn cannot_wait(spec: &ConsoleSpec, error: &std::io::Error) -> ConsoleError {
    ConsoleError::new(
        spec,
        format_args!(
            "the host cannot wait for its input and output ({error}); free some resources"
        ),
    )
}

/// Nothing: output is dropped, there is no input.
struct NullPort;

impl PortBackend for NullPort {
    fn read(&mut self, _into: &mut [u8]) -> usize {
        0
    }

    fn write(&mut self, from: &[u8]) -> usize {
        from.len()
    }
}

#[cfg(test)]
mod tests;
