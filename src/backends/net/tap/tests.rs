//! Taps, with the host's own network on the other side, where we may make them.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use smoltcp::wire::{IpAddress, IpEndpoint, Ipv4Address};

use super::super::testing::{Guest, bytes};
use super::*;

/// A tap made for one test.
struct Made {
    name: String,
    host: Ipv4Address,
    guest: Ipv4Address,
}

/// Makes a tap; `None`, and says why, where that is not possible. `number` differs from test to test.
fn make(number: u8, options: &[&str]) -> Option<Made> {
    let process = std::process::id();
    let made = Made {
        name: format!("stk{number}-{process}"),
        // Of the range set aside for benchmarks (RFC 2544).
        host: Ipv4Address::new(198, 18 + number % 2, process as u8, 8 * number + 1),
        guest: Ipv4Address::new(198, 18 + number % 2, process as u8, 8 * number + 2),
    };
    let name = made.name.as_str();
    let address = format!("{}/29", made.host);
    let add = [&["tuntap", "add", "dev", name, "mode", "tap"], options].concat();
    for arguments in [
        &add[..],
        &["address", "add", &address, "dev", name],
        &["link", "set", name, "up"],
    ] {
        match Command::new("ip").args(arguments).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                eprintln!("skipped: no tap can be made here: {}", why.trim());
                return None;
            }
            Err(error) => {
                eprintln!("skipped: no tap can be made without the program ip: {error}");
                return None;
            }
        }
    }
    Some(made)
}

impl Drop for Made {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = Command::new("ip")
            .args(["link", "delete", "dev", &self.name])
            .output();
    }
}

impl Made {
    fn open(&self, queues: u16) -> Tap {
        Tap::open(&self.name, queues).expect("just made")
    }

    fn problem(&self, queues: u16) -> String {
        match Tap::open(&self.name, queues) {
            Ok(_) => panic!("opens"),
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn an_interface_that_is_missing_is_not_made() {
    let error = Tap::open("stk-missing", 2).err().expect("missing");
    let text = error.to_string();
    assert!(text.contains("there is no interface stk-missing"), "{text}");
    assert!(text.contains("mode tap multi_queue"), "{text}");
    assert!(!exists("stk-missing"));
}

#[test]
fn interfaces_that_are_no_such_taps_are_refused() {
    let Some(made) = make(1, &[]) else { return };
    let problem = made.problem(2);
    assert!(problem.contains("no tap for 2 queues"), "{problem}");
    let tap = made.open(1);
    let problem = made.problem(1);
    assert!(problem.contains("in use"), "{problem}");
    drop(tap);
    made.open(1);
    let loopback = Tap::open("lo", 1).err().expect("no tap").to_string();
    assert!(loopback.contains("interface lo"), "{loopback}");
}

#[test]
fn the_host_answers_without_and_with_offloads() {
    for (number, offloads) in [(2, false), (3, true)] {
        let Some(made) = make(number, &[]) else {
            return;
        };
        let tap = made.open(1);
        assert_ne!(tap.features() & feature::GUEST_TSO4, 0);
        let mut guest = Guest::new(tap, offloads, made.guest);
        guest.ping(made.host, 1, b"hello");

        let listener = TcpListener::bind((made.host, 0)).expect("an address of the host");
        let port = listener.local_addr().expect("bound").port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buffer = vec![0; 1 << 16];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                stream.write_all(&buffer[..len]).expect("open");
            }
        });
        let handle = guest.connect(made.host, port, 4000);
        guest.echo(handle, &bytes(1_000_000));
        guest.close(handle);
        server.join().expect("served");
        assert_eq!(guest.card.sent_large > 0, offloads);
        assert_eq!(guest.card.received_large > 0, offloads);
    }
}

#[test]
fn several_queues_are_one_network() {
    let Some(made) = make(4, &["multi_queue"]) else {
        return;
    };
    let problem = made.problem(1);
    assert!(problem.contains("no tap for 1 queue;"), "{problem}");
    let tap = made.open(3);
    assert_eq!(tap.queue_pairs(), 3);
    assert_eq!(tap.host_fds().len(), 3);
    let mut guest = Guest::new(tap, false, made.guest);
    let echo = UdpSocket::bind((made.host, 0)).expect("an address of the host");
    let port = echo.local_addr().expect("bound").port();
    let server = thread::spawn(move || {
        let mut buffer = [0; 100];
        for _ in 0..3 {
            let (len, from) = echo.recv_from(&mut buffer).expect("a datagram");
            echo.send_to(&buffer[..len], from).expect("sent");
        }
    });
    for pair in 0..3 {
        guest.card.pair = pair;
        let handle = guest.udp(4000 + pair);
        let to = IpEndpoint::new(IpAddress::Ipv4(made.host), port);
        assert_eq!(guest.ask(handle, to, &[7; 33]), [7; 33]);
    }
    server.join().expect("served");
}
