//! Devices that are served, and clients in this process.

mod accesses;
mod driver;
mod sockets;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use stickler_conformance::layout::{Structure, common, status};
use stickler_conformance::{Judge, Tallies};
use stickler_devices::entropy::{Entropy, Source};
use stickler_devices::virtio::Wake;
use stickler_devices::virtio::pci::VirtioPci;
use stickler_vfio_user::client::Client;
use stickler_vfio_user::wire::{command, region};
use tempfile::TempDir;

use super::*;
use crate::signals::EndingSignals;
use driver::{BUFFER, Driver, MEMORY};

/// The same byte, endlessly.
struct Constant;

impl Source for Constant {
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        into.fill(0x5a);
        Ok(())
    }
}

/// A server of an entropy device, on a thread of its own.
struct Served {
    /// Where its socket is.
    _directory: TempDir,
    path: PathBuf,
    journal: Journal,
    device: Arc<dyn Serviced>,
    stop: StopHandle,
    thread: JoinHandle<(Result<GuestEnd, Error>, u64)>,
}

/// For as long as clients come.
const KEPT: Until = Until {
    kept: true,
    timeout: Some(Duration::from_secs(60)),
};

impl Served {
    fn new(until: Until) -> Served {
        Served::of(until, |ram, interrupts, journal| {
            VirtioPci::new(Entropy::new(Constant), 1, ram, interrupts, |id, offered| {
                Judge::new(id, offered, journal.recorder())
            })
            .expect("a device")
        })
    }

    fn of<F: DetachedFunction + Serviced + 'static>(
        until: Until,
        make: impl FnOnce(GuestRam, Arc<dyn InterruptSink>, &Journal) -> Arc<F>,
    ) -> Served {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device.sock");
        let journal = Journal::new();
        let mut server = DeviceServer::new(&path, 1).expect("it can be");
        let (ram, interrupts) = server.surroundings();
        let function = make(ram, interrupts, &journal);
        server
            .add(function.clone(), function.clone())
            .expect("the path is free");
        Served {
            _directory: directory,
            path,
            journal,
            device: function,
            stop: server.stop_handle(),
            thread: std::thread::spawn(move || {
                let signals = EndingSignals::catch().expect("they can be caught");
                server.run(until, &signals)
            }),
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).expect("the server listens")
    }

    /// Stops the server. Returns how it ended, how much was wrong with clients, and the names of requirements that
    /// were found violated.
    fn end(self) -> (GuestEnd, u64, Vec<&'static str>) {
        self.stop.stop(GuestEnd::Interrupted);
        self.join()
    }

    /// As [`end`](Self::end), when the server ends by itself.
    fn join(self) -> (GuestEnd, u64, Vec<&'static str>) {
        let (end, complaints) = self.thread.join().expect("it does not panic");
        self.device.run_ended(false);
        assert!(!self.path.exists(), "the socket is removed");
        let findings = self.journal.findings().into_iter();
        let names = findings.map(|f| f.finding.requirement.name()).collect();
        (end.expect("the host is well"), complaints, names)
    }
}

// ---- Life of a device

#[test]
fn a_driver_is_served_with_vectors() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    let [config, queue] = driver.enable_msix();
    driver.bring_up();
    assert_eq!(driver.ask(), [0x5a; 4]);
    driver::wait_for(&queue);
    assert!(!driver::is_signalled(&config));
    assert_eq!(served.end(), (GuestEnd::Interrupted, 0, vec![]));
}

#[test]
fn a_driver_is_served_with_the_pin() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    let pin = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
    driver.client.direct_pin(pin.as_fd()).expect("it has one");
    driver.bring_up();
    for _ in 0..3 {
        driver.ask();
        driver::wait_for(&pin);
        // Before the driver has looked: it is asserted still.
        driver.client.unmask_pin().expect("it has one");
        driver::wait_for(&pin);
        assert_eq!(driver.read(Structure::Isr, 0, 1), 1);
        driver.client.unmask_pin().expect("it has one");
        assert!(!driver::is_signalled(&pin));
    }
    assert_eq!(served.end(), (GuestEnd::Interrupted, 0, vec![]));
}

#[test]
fn a_client_that_comes_back_finds_a_fresh_device_and_its_driver_is_judged_anew() {
    let served = Served::new(KEPT);
    for _ in 0..3 {
        let mut driver = Driver::new(served.client());
        assert_eq!(driver.status(), 0);
        driver.bring_up();
        driver.ask();
        // It goes without a word.
    }
    assert!(served.device.was_taken());
    let tallies = served.device.tallies().expect("a judge");
    assert_eq!(served.end(), (GuestEnd::Interrupted, 0, vec![]));
    let lives = held(&tallies, "status.sequence.acknowledge");
    assert_eq!(lives, 3, "one report on all of them");
}

fn held(tallies: &Tallies, name: &str) -> u64 {
    let requirement = stickler_conformance::catalogue::iter()
        .find(|(req, _)| req.name() == name)
        .expect("there is such a requirement")
        .0;
    tallies.get(requirement).held
}

#[test]
fn a_server_ends_when_its_clients_have_gone() {
    let served = Served::new(Until {
        kept: false,
        ..KEPT
    });
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    drop(driver);
    assert_eq!(served.join(), (GuestEnd::Disconnected, 0, vec![]));
}

#[test]
fn a_server_ends_at_its_time_limit() {
    let served = Served::new(Until {
        kept: true,
        timeout: Some(Duration::from_millis(50)),
    });
    assert_eq!(served.join(), (GuestEnd::Timeout, 0, vec![]));
}

#[test]
fn what_the_driver_has_done_by_the_end_is_judged() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    driver.ask();
    // Beyond memory, and not notified.
    driver.expose(MEMORY);
    let (_, _, found) = served.end();
    assert_eq!(found, ["chain.buffer.in-memory"]);
}

// ---- What the monitor does itself

#[test]
fn what_the_monitor_does_itself_is_not_blamed_on_a_driver() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    let client = &mut driver.client;
    // QEMU at its start: all of configuration space, the sizes of BARs and of the ROM.
    let config = client.read(region::CONFIG, 0, 4096).expect("all of it");
    assert_eq!(config[..2], [0xf4, 0x1a]);
    for at in (0x10..0x28).step_by(4).chain([0x30]) {
        let before = client.config(at, 4).expect("it is there");
        client
            .write(region::CONFIG, at, &[0xff; 4])
            .expect("it can");
        client.config(at, 4).expect("it is there");
        client
            .write(region::CONFIG, at, &before.to_le_bytes())
            .expect("it can");
    }
    driver.bring_up();
    // The driver reads through the window. What the monitor reads then does not.
    let window = driver.capability(5);
    let bar = driver.place(Structure::Common).0;
    let client = &mut driver.client;
    client
        .write(region::CONFIG, window + 4, &[bar as u8])
        .expect("it can");
    client
        .write(region::CONFIG, window + 12, &4_u32.to_le_bytes())
        .expect("it can");
    client.read(region::CONFIG, 0, 4096).expect("all of it");
    // At each reset of the machine: COMMAND, the device, BARs. The driver had a buffer in use.
    driver.offer();
    let client = &mut driver.client;
    client.write(region::CONFIG, 4, &[0; 2]).expect("it can");
    client.reset().expect("it can");
    for at in (0x10..0x28).step_by(4) {
        client.write(region::CONFIG, at, &[0; 4]).expect("it can");
    }
    // The next driver.
    driver.clear_memory();
    assert_eq!(driver.status(), 0);
    driver.bring_up();
    driver.ask();
    assert_eq!(served.end(), (GuestEnd::Interrupted, 0, vec![]));
}

#[test]
fn accesses_that_no_guest_makes_are_refused() {
    let served = Served::new(KEPT);
    let mut client = served.client();
    assert!(client.read(0, 0, 16).is_err());
    assert!(client.write(0, 0, &[0; 9]).is_err());
    assert!(client.write(region::CONFIG, 4, &[0; 5]).is_err());
    let (_, complaints, found) = served.end();
    assert_eq!((complaints, found), (3, vec![]));
}

// ---- Memory that goes

#[test]
fn a_device_whose_rings_are_gone_needs_a_reset() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    driver.ask();
    driver.unmap();
    assert_eq!(
        driver.status() & status::DEVICE_NEEDS_RESET,
        status::DEVICE_NEEDS_RESET
    );
    driver.map();
    driver.clear_memory();
    driver.bring_up();
    driver.ask();
    assert_eq!(served.end(), (GuestEnd::Interrupted, 0, vec![]));
}

#[test]
fn memory_that_is_back_before_the_guest_goes_on_was_never_gone() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    for _ in 0..3 {
        driver.ask();
        driver.unmap();
        // The device may work meanwhile.
        let _ = served.device.service(Wake::Tick);
        driver.map_in_two();
        driver.ask();
        driver.unmap_all();
        driver.map();
    }
    assert_eq!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(served.end(), (GuestEnd::Interrupted, 0, vec![]));
}

#[test]
fn a_buffer_in_a_hole_is_no_memory() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.unmap();
    driver.map_part(BUFFER);
    driver.bring_up();
    driver.offer();
    let deadline = Instant::now() + Duration::from_secs(10);
    while driver.status() & status::DEVICE_NEEDS_RESET == 0 {
        assert!(Instant::now() < deadline);
    }
    let (_, _, found) = served.end();
    assert_eq!(found, ["chain.buffer.in-memory"]);
}

#[test]
fn a_client_that_shares_no_memory_is_told_so() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.unmap();
    driver.client.map(None, 0, 0, MEMORY).expect("it is noted");
    driver.write(Structure::Common, common::DEVICE_STATUS, 1, 0);
    driver.write(Structure::Common, common::DEVICE_STATUS, 1, 0);
    let (_, complaints, _) = served.end();
    assert_eq!(complaints, 1);
}

// ---- Clients that do wrong

#[test]
fn a_client_that_sends_garbage_is_disconnected_and_the_next_one_served() {
    let served = Served::new(KEPT);
    for garbage in [&[0xff; 64][..], &[0; 16], b"GET / HTTP/1.1\r\n\r\n"] {
        let stream = UnixStream::connect(&served.path).expect("it listens");
        let mut client = Client::on(stream).expect("a client");
        client.send(garbage, &[]).expect("sent");
        let mut rest = Vec::new();
        let _ = client.socket().read_to_end(&mut rest);
    }
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    driver.ask();
    let (end, complaints, found) = served.end();
    assert_eq!((end, found), (GuestEnd::Interrupted, vec![]));
    assert!(complaints >= 3);
}

#[test]
fn a_client_of_another_version_is_turned_away() {
    let served = Served::new(KEPT);
    let stream = UnixStream::connect(&served.path).expect("it listens");
    let mut client = Client::on(stream).expect("a client");
    assert!(client.agree(1, 0, b"{}\0").is_err());
    assert_eq!(client.socket().read(&mut [0]).expect("closed"), 0);
    assert_eq!(served.end().1, 1);
}

#[test]
fn a_second_client_at_a_time_is_turned_away() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    let second = UnixStream::connect(&served.path).expect("it listens");
    assert_eq!((&second).read(&mut [0]).expect("closed"), 0);
    driver.ask();
    assert_eq!(served.end(), (GuestEnd::Interrupted, 1, vec![]));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_message_does_no_harm() {
    let served = Served::new(KEPT);
    let mut driver = Driver::new(served.client());
    driver.bring_up();
    driver.offer();
    let header = driver.client.header(command::REGION_WRITE, 0, &[0; 40]);
    driver.client.send(&header.to_bytes(), &[]).expect("sent");
    drop(driver);
    let mut next = Driver::new(served.client());
    assert_eq!(next.status(), 0);
    next.bring_up();
    next.ask();
    assert_eq!(served.end(), (GuestEnd::Interrupted, 1, vec![]));
}

#[test]
fn a_server_stops_while_a_client_is_silent_in_the_middle_of_a_message() {
    let served = Served::new(KEPT);
    let mut client = served.client();
    client.send(&[1, 2, 3], &[]).expect("sent");
    assert_eq!(served.end().0, GuestEnd::Interrupted);
}
