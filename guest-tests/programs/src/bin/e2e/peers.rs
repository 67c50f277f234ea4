//! The host's side of the guest's consoles and network.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stickler_guest_programs::exercise::{ECHO_PORT, TAP_HOST};
use stickler_guest_programs::pattern;

/// How long stickler may take to make its sockets.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connects to the socket `path` as soon as stickler has made it, and answers what comes with the
/// pattern's answer.
pub(crate) fn answer_on(path: &Path) {
    let path = path.to_owned();
    thread::spawn(move || {
        if let Ok(Some(stream)) = connect(&path, PATIENCE) {
            answer(stream);
        }
    });
}

fn answer(mut stream: UnixStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream
            .write_all(&pattern::answer(&buffer[..count]))
            .is_err()
        {
            return;
        }
    }
}

/// Connects to a socket that may not exist yet; returns nothing if it does not appear in time.
fn connect(path: &Path, patience: Duration) -> Result<Option<UnixStream>> {
    let deadline = Instant::now() + patience;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(Some(stream)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot connect to {}", path.display()));
            }
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A user at a terminal, who waits for words and types answers.
pub(crate) struct Terminal {
    stream: UnixStream,
    /// All output so far.
    pub(crate) seen: String,
    read: usize,
}

impl Terminal {
    /// Connects to the socket `path` as soon as stickler has made it.
    pub(crate) fn on(path: &Path) -> Result<Self> {
        let stream =
            connect(path, PATIENCE)?.context("stickler makes no socket for the console")?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self {
            stream,
            seen: String::new(),
            read: 0,
        })
    }

    /// Waits until `words` come, after those waited for before.
    pub(crate) fn expect(&mut self, words: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.seen[self.read..].find(words) {
                self.read += at + words.len();
                return Ok(());
            }
            if Instant::now() > deadline {
                let from = self
                    .seen
                    .floor_char_boundary(self.seen.len().saturating_sub(1000));
                bail!(
                    "{words:?} has not come in {} seconds; what came ends:\n{}",
                    patience.as_secs(),
                    &self.seen[from..]
                );
            }
            self.receive()?;
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<()> {
        self.stream
            .write_all(format!("{line}\r").as_bytes())
            .context("cannot type")
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the console has been closed; what came: {}", self.seen),
            Ok(count) => {
                self.seen += &String::from_utf8_lossy(&buffer[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(())
            }
            Err(error) => Err(error).context("cannot read from the console"),
        }
    }
}

/// A tap with the host's address, and the echo services on it. It is removed when this is dropped.
pub(crate) struct Tap {
    name: String,
    stop: Arc<AtomicBool>,
}

impl Tap {
    /// Makes the tap, with so many queues, and listens.
    pub(crate) fn make(name: &str, queues: u16) -> Result<Self> {
        let mut arguments = vec!["tuntap", "add", "dev", name, "mode", "tap"];
        if queues > 1 {
            arguments.push("multi_queue");
        }
        ip(&arguments).context("cannot make a tap: root and iproute2 are needed")?;
        let tap = Self {
            name: name.to_owned(),
            stop: Arc::default(),
        };
        ip(&["addr", "add", &format!("{TAP_HOST}/24"), "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        let address = SocketAddr::from((TAP_HOST, ECHO_PORT));
        tap.echo_tcp(address)?;
        tap.echo_udp(address)?;
        Ok(tap)
    }

    fn echo_tcp(&self, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address).context("cannot listen on the tap")?;
        listener.set_nonblocking(true)?;
        let stop = Arc::clone(&self.stop);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                thread::spawn(move || {
                    stream.set_nonblocking(false).ok();
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..count]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(())
    }

    fn echo_udp(&self, address: SocketAddr) -> Result<()> {
        let socket = UdpSocket::bind(address).context("cannot listen on the tap")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::clone(&self.stop);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((count, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&buffer[..count], from).ok();
                }
            }
        });
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The listeners have to end before the next test needs their address.
        thread::sleep(Duration::from_millis(200));
        ip(&["link", "delete", &self.name]).ok();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    tool("ip", arguments)
}

/// Fails unless `address` answers to ping.
pub(crate) fn ping(address: Ipv4Addr) -> Result<()> {
    tool("ping", &["-c", "3", "-W", "10", &address.to_string()])
}

fn tool(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
