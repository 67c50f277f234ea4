//! Devices kept in use while something else is done with them.

use std::fs::File;
use std::io::Read;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stickler_exerciser::{ECHO_PORT, pattern};

use crate::failure::{Context, Result, ensure};
use crate::net::Network;
use crate::{block, console};

/// The port of the discard service, which answers nothing (RFC 863).
const DISCARD: u16 = 9;

/// How long to wait where a device has no driver at the moment.
const NO_DRIVER: Duration = Duration::from_millis(1);

/// What one thread does until it is stopped. Failures of a device that has no driver at the moment are
/// nothing; what comes back wrong is an error.
type Work = fn(&AtomicBool) -> Result;

/// What keeps the network, the entropy device and the disks in use.
const DEVICES: [Work; 5] = [
    send_packets,
    exchange_packets,
    read_random_bytes,
    read_disks,
    write_disk,
];

/// What keeps the console's terminal and its ports in use.
const CONSOLES: [Work; 2] = [use_terminal, use_ports];

/// Threads that keep devices in use, also while these have no drivers. They stop when this is dropped.
pub(crate) struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result>>,
}

impl Busy {
    /// All devices but the console.
    pub(crate) fn devices() -> Self {
        Self::start(&DEVICES)
    }

    /// The console alone.
    pub(crate) fn consoles() -> Self {
        Self::start(&CONSOLES)
    }

    /// All devices, where nothing compares data any more: the disk is written with what it contains.
    pub(crate) fn at_the_end() -> Self {
        // Several that send: a transmit queue that is full when the machine ends is what drivers fail at.
        let others = [
            rewrite_disk as Work,
            send_packets,
            send_packets,
            send_packets,
            exchange_packets,
            read_random_bytes,
            read_disks,
        ];
        Self::start(&[others.as_slice(), &CONSOLES].concat())
    }

    fn start(works: &[Work]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = works
            .iter()
            .map(|&work| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || work(&stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Stops the threads, and returns what was wrong with the data.
    pub(crate) fn end(mut self) -> Result {
        self.stop()
    }

    fn stop(&mut self) -> Result {
        self.stop.store(true, Ordering::Relaxed);
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err("a thread panicked".to_owned()));
            result = result.and(ended);
        }
        result
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Where the work ends early, its own error is reported.
        let _ = self.stop();
    }
}

fn send_packets(stop: &AtomicBool) -> Result {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    let target = (Network::chosen()?.host(), DISCARD);
    let data = [0; 1000];
    while !stop.load(Ordering::Relaxed) {
        // Fails while there is no interface.
        if socket.send_to(&data, target).is_err() {
            thread::sleep(NO_DRIVER);
        }
    }
    Ok(())
}

/// Sends packets that the host sends back, and compares them. Any may get lost.
fn exchange_packets(stop: &AtomicBool) -> Result {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    socket
        .set_read_timeout(Some(Duration::from_millis(5)))
        .context("cannot wait for packets")?;
    let target = (Network::chosen()?.host(), ECHO_PORT);
    let mut found = vec![0; 2048];
    let mut seed: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        // The seed comes first, so that each answer says what should be in it.
        let packet = |seed: u64| {
            let size = 64 + usize::try_from(seed % 1200).unwrap_or_default();
            [&seed.to_le_bytes(), pattern::bytes(seed, size).as_slice()].concat()
        };
        let sent = (0..8).all(|_| {
            seed += 1;
            socket.send_to(&packet(seed), target).is_ok()
        });
        if !sent {
            thread::sleep(NO_DRIVER);
        }
        while let Ok((count, from)) = socket.recv_from(&mut found) {
            let answer = &found[..count];
            let Some((head, _)) = answer.split_first_chunk() else {
                continue;
            };
            let theirs = u64::from_le_bytes(*head);
            let expected = (1..=seed).contains(&theirs).then(|| packet(theirs));
            ensure(expected.as_deref() == Some(answer), || {
                format!("a packet of {count} bytes from {from} is none that was sent there")
            })?;
        }
    }
    Ok(())
}

fn read_random_bytes(stop: &AtomicBool) -> Result {
    let mut bytes = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let read = File::open("/dev/hwrng").and_then(|mut device| device.read(&mut bytes));
        if read.is_err() {
            thread::sleep(NO_DRIVER);
        }
    }
    Ok(())
}

fn read_disks(stop: &AtomicBool) -> Result {
    block::keep_reading(|| stop.load(Ordering::Relaxed));
    Ok(())
}

fn write_disk(stop: &AtomicBool) -> Result {
    block::keep_writing(|| stop.load(Ordering::Relaxed))
}

fn rewrite_disk(stop: &AtomicBool) -> Result {
    block::keep_rewriting(|| stop.load(Ordering::Relaxed));
    Ok(())
}

fn use_terminal(stop: &AtomicBool) -> Result {
    console::keep_terminal_in_use(|| stop.load(Ordering::Relaxed));
    Ok(())
}

fn use_ports(stop: &AtomicBool) -> Result {
    console::keep_ports_in_use(|| stop.load(Ordering::Relaxed));
    Ok(())
}
