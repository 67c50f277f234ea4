//! The console device, driven by hand. Citations are of virtio 1.0.

mod bytes;
mod configuration;
mod ports;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use proptest::prelude::*;
use stickler_conformance::device::console::{CONTROL_LEN, event};

use super::control::Message;
use super::*;
use crate::testing::{Bench, Buffer};
use crate::virtio::Signals;

/// The host's side of a port, in the test's hands.
#[derive(Clone)]
struct Host(Arc<Mutex<HostState>>);

struct HostState {
    input: VecDeque<u8>,
    output: Vec<u8>,
    /// Bytes of output that are taken until there is no more room.
    room: usize,
    open: bool,
    size: Option<Size>,
    changes: VecDeque<Change>,
    reads: u32,
    /// Input and room that come while changes are looked for, and whether such have come.
    coming: Vec<u8>,
    room_coming: usize,
    news: bool,
    last: Vec<u8>,
}

impl Host {
    fn new() -> Self {
        Host(Arc::new(Mutex::new(HostState {
            input: VecDeque::new(),
            output: Vec::new(),
            room: usize::MAX,
            open: true,
            size: None,
            changes: VecDeque::new(),
            reads: 0,
            coming: Vec::new(),
            room_coming: 0,
            news: false,
            last: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, HostState> {
        self.0.lock().expect("no test panics with it")
    }

    fn port(&self, name: Option<&str>) -> PortConfig {
        PortConfig {
            backend: Box::new(self.clone()),
            name: name.map(str::to_owned),
        }
    }

    fn types(&self, text: &str) {
        self.lock().input.extend(text.as_bytes());
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.lock().output)).into_owned()
    }

    fn change(&self, change: Change) {
        self.lock().changes.push_back(change);
    }
}

impl PortBackend for Host {
    fn fd(&self) -> Option<RawFd> {
        // Never waited for in these tests.
        Some(0)
    }

    fn is_open(&self) -> bool {
        self.lock().open
    }

    fn size(&self) -> Option<Size> {
        self.lock().size
    }

    fn change(&mut self) -> Option<Change> {
        let mut host = self.lock();
        let coming = std::mem::take(&mut host.coming);
        let room = std::mem::take(&mut host.room_coming);
        host.news |= !coming.is_empty() || room > 0;
        host.input.extend(coming);
        host.room += room;
        let change = host.changes.pop_front()?;
        match change {
            Change::Opened => host.open = true,
            Change::Closed => host.open = false,
            Change::Resized(size) => host.size = Some(size),
        }
        Some(change)
    }

    fn take_activity(&mut self) -> bool {
        std::mem::take(&mut self.lock().news)
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut host = self.lock();
        host.reads += 1;
        let count = host.input.len().min(into.len());
        for (to, from) in into.iter_mut().zip(host.input.drain(..count)) {
            *to = from;
        }
        count
    }

    fn write(&mut self, from: &[u8]) -> usize {
        let mut host = self.lock();
        let count = from.len().min(host.room);
        host.room -= count;
        host.output.extend(&from[..count]);
        count
    }

    fn finish(&mut self, rest: &[u8]) {
        self.lock().last.extend(rest);
    }
}

fn console(first: &Host, further: Vec<PortConfig>) -> Bench<Console> {
    Bench::new(Console::new(first.port(None), further).expect("sound"))
}

/// A console with port 0 only, running.
fn single() -> (Bench<Console>, Host) {
    let host = Host::new();
    let mut bench = console(&host, vec![]);
    bench.start(feature::SIZE, 16);
    (bench, host)
}

/// A console with port 1 called "data", MULTIPORT negotiated, and control buffers given.
fn double() -> (Bench<Console>, Host, Host) {
    let (first, second) = (Host::new(), Host::new());
    let mut bench = console(&first, vec![second.port(Some("data"))]);
    bench.start(feature::SIZE | feature::MULTIPORT, 16);
    for _ in 0..8 {
        bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(64)]);
    }
    bench.notify(CONTROL_RECEIVEQ);
    (bench, first, second)
}

fn tell(bench: &mut Bench<Console>, id: u32, event: u16, value: u16) {
    let message = Message { id, event, value };
    bench.offer(CONTROL_TRANSMITQ, &[Buffer::Out(&message.encode())]);
    bench.notify(CONTROL_TRANSMITQ);
    let returned = bench.collect(CONTROL_TRANSMITQ);
    assert_eq!(returned.iter().map(|r| r.len).collect::<Vec<_>>(), [0]);
}

/// What the device has told: id, event, value, and what is behind.
fn told(bench: &mut Bench<Console>) -> Vec<(u32, u16, u16, Vec<u8>)> {
    let returned = bench.collect(CONTROL_RECEIVEQ);
    returned
        .into_iter()
        .map(|r| {
            let (fixed, behind) = r.bytes.split_at(CONTROL_LEN);
            let m = Message::decode(fixed.try_into().expect("8 bytes"));
            (m.id, m.event, m.value, behind.to_vec())
        })
        .collect()
}

fn returned(bench: &mut Bench<Console>, queue: u16) -> usize {
    bench.collect(queue).len()
}

// ---- Anything at all

/// Something that happens in guest or host.
#[derive(Clone, Debug)]
enum Move {
    Message(u32, u16, u16),
    ShortMessage(Vec<u8>),
    ControlBuffer(u32),
    Print(usize, Vec<u8>),
    Buffers(usize, Vec<u32>),
    Type(usize),
    Room(usize, usize),
    Change(usize, Change),
    Emergency(u32, Vec<u8>),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let change = prop_oneof![
        Just(Change::Opened),
        Just(Change::Closed),
        (any::<u16>(), any::<u16>()).prop_map(|(cols, rows)| Change::Resized(Size { cols, rows })),
    ];
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let port = || 0..2_usize;
    prop::collection::vec(
        prop_oneof![
            (0..4_u32, 0..9_u16, 0..3_u16).prop_map(|(id, e, v)| Move::Message(id, e, v)),
            bytes().prop_map(Move::ShortMessage),
            (0..20_u32).prop_map(Move::ControlBuffer),
            (port(), bytes()).prop_map(|(p, b)| Move::Print(p, b)),
            (port(), prop::collection::vec(0..4_u32, 1..4)).prop_map(|(p, b)| Move::Buffers(p, b)),
            port().prop_map(Move::Type),
            (port(), 0..50_usize).prop_map(|(p, r)| Move::Room(p, r)),
            (port(), change).prop_map(|(p, c)| Move::Change(p, c)),
            (0..12_u32, bytes()).prop_map(|(o, b)| Move::Emergency(o, b)),
        ],
        1..120,
    )
}

proptest! {
    #[test]
    fn whatever_happens_the_device_keeps_to_its_part(moves in moves()) {
        let hosts = [Host::new(), Host::new()];
        let mut bench = console(&hosts[0], vec![hosts[1].port(Some("p1"))]);
        bench.start(feature::SIZE | feature::MULTIPORT, 512);
        let mut printed: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
        for m in moves {
            match m {
                Move::Message(id, event, value) => tell(&mut bench, id, event, value),
                Move::ShortMessage(bytes) => {
                    bench.offer(CONTROL_TRANSMITQ, &[Buffer::Out(&bytes)]);
                    bench.notify(CONTROL_TRANSMITQ);
                    prop_assert_eq!(returned(&mut bench, CONTROL_TRANSMITQ), 1);
                }
                Move::ControlBuffer(len) => {
                    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(len)]);
                    bench.notify(CONTROL_RECEIVEQ);
                }
                Move::Print(port, bytes) => {
                    let (a, b) = bytes.split_at(bytes.len() / 2);
                    let queue = receiveq(port) + 1;
                    bench.offer(queue, &[Buffer::Out(a), Buffer::In(1), Buffer::Out(b)]);
                    printed[port].extend(&bytes);
                    bench.notify(queue);
                }
                Move::Buffers(port, lens) => {
                    let buffers: Vec<_> = lens.into_iter().map(Buffer::In).collect();
                    bench.offer(receiveq(port), &buffers);
                    bench.notify(receiveq(port));
                }
                Move::Type(port) => {
                    hosts[port].types("typed");
                    bench.host_ready(port);
                }
                Move::Room(port, room) => {
                    hosts[port].lock().room = room;
                    bench.host_ready(port);
                }
                Move::Change(port, change) => {
                    hosts[port].change(change);
                    bench.host_ready(port);
                }
                Move::Emergency(offset, mut data) => {
                    data.truncate(12 - offset as usize);
                    let byte = EMERG_WR.checked_sub(offset).and_then(|i| data.get(i as usize));
                    printed[0].extend(byte);
                    bench.with(|device, io| device.write_config(offset, &data, io));
                }
            }
        }
        prop_assert!(!bench.signals.needs_reset);
        // All output has arrived, in order, and was returned.
        for (port, printed) in printed.iter().enumerate() {
            hosts[port].lock().room = usize::MAX;
            bench.host_ready(port);
            prop_assert_eq!(&hosts[port].lock().output, printed);
        }
        // §5.3.6.2.1: each port is added once, before anything is said of it, and no other port is.
        // Its opening and closing alternate.
        let (mut added, mut open) = ([false; 2], [false; 2]);
        for m in bench.collect(CONTROL_RECEIVEQ).iter().filter(|r| r.len > 0) {
            let m = Message::decode(m.bytes[..CONTROL_LEN].try_into().expect("8 bytes"));
            let id = m.id as usize;
            prop_assert!(id < 2);
            prop_assert_eq!(added[id], m.event != event::DEVICE_ADD);
            // §5.3.6.2.1: ports stay here.
            prop_assert_ne!(m.event, event::DEVICE_REMOVE);
            added[id] = true;
            if m.event == event::PORT_OPEN {
                prop_assert_eq!(open[id], m.value == 0);
                open[id] = m.value == 1;
            }
        }
    }
}
