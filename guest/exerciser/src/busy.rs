//! Devices kept in use while something else is done with them.

use std::fs::File;
use std::io::Read;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::block;
use crate::net::Network;

/// The port of the discard service, which answers nothing (RFC 863).
const DISCARD: u16 = 9;

/// Keeps all devices but the console in use until it is dropped, also while they have no driver.
pub(crate) struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let works: [fn(&AtomicBool); 3] = [send_packets, read_random_bytes, read_disks];
        let threads = works
            .into_iter()
            .map(|work| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || work(&stop))
            })
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn send_packets(stop: &AtomicBool) {
    let (Ok(socket), Ok(network)) = (UdpSocket::bind("0.0.0.0:0"), Network::chosen()) else {
        return;
    };
    let target = (network.host(), DISCARD);
    let data = [0; 1000];
    while !stop.load(Ordering::Relaxed) {
        // Fails while there is no interface.
        if socket.send_to(&data, target).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn read_random_bytes(stop: &AtomicBool) {
    let mut bytes = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        let read = File::open("/dev/hwrng").and_then(|mut device| device.read(&mut bytes));
        if read.is_err() {
            // The device has no driver at this moment.
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn read_disks(stop: &AtomicBool) {
    block::keep_reading(|| stop.load(Ordering::Relaxed));
}
