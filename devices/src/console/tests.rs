use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use proptest::prelude::*;

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
        let change = host.changes.pop_front()?;
        match change {
            Change::Opened => host.open = true,
            Change::Closed => host.open = false,
            Change::Resized(size) => host.size = Some(size),
        }
        Some(change)
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
            let (fixed, behind) = r.bytes.split_at(MESSAGE_LEN);
            let m = Message::decode(fixed.try_into().expect("8 bytes"));
            (m.id, m.event, m.value, behind.to_vec())
        })
        .collect()
}

fn returned(bench: &mut Bench<Console>, queue: u16) -> usize {
    bench.collect(queue).len()
}

// ---- Bytes

#[test]
fn output_of_any_layout_reaches_the_host() {
    let (mut bench, host) = single();
    bench.offer(
        1,
        &[Buffer::Out(b"he"), Buffer::Out(b""), Buffer::Out(b"llo")],
    );
    bench.offer_indirect(
        1,
        &[Buffer::Out(b", "), Buffer::In(3), Buffer::Out(b"world")],
    );
    bench.notify(1);
    assert_eq!(host.printed(), "hello, world");
    let lens: Vec<u32> = bench.collect(1).iter().map(|r| r.len).collect();
    assert_eq!(lens, [0, 0]);
    assert_eq!(bench.signals.queues, 1 << 1);
}

#[test]
fn input_waits_for_buffers_and_fills_them_in_order() {
    let (mut bench, host) = single();
    host.types("hello");
    bench.host_ready(0);
    assert_eq!(host.lock().reads, 0, "no buffer, nothing is read");
    bench.offer(0, &[Buffer::Out(b"not for input")]);
    bench.offer(0, &[Buffer::In(1), Buffer::In(2)]);
    bench.offer(0, &[Buffer::In(100)]);
    bench.offer(0, &[Buffer::In(100)]);
    bench.notify(0);
    let got: Vec<_> = bench.collect(0).into_iter().map(|r| r.bytes).collect();
    assert_eq!(got, [&b""[..], b"hel", b"lo"]);
    host.types("again");
    bench.host_ready(0);
    assert_eq!(bench.collect(0)[0].bytes, b"again");
}

#[test]
fn a_slow_host_holds_buffers_back_and_loses_nothing() {
    let (mut bench, host) = single();
    host.lock().room = 10;
    let text: Vec<u8> = (0..40_000_u32).map(|i| b'a' + (i % 26) as u8).collect();
    for _ in 0..3 {
        bench.offer(1, &[Buffer::Out(&text)]);
    }
    bench.notify(1);
    // One chain and a part of the second have been taken.
    assert_eq!(returned(&mut bench, 1), 1);
    bench.notify(1);
    assert_eq!(returned(&mut bench, 1), 0);
    while host.lock().output.len() < 120_000 {
        host.lock().room = 7001;
        bench.host_ready(0);
    }
    assert_eq!(returned(&mut bench, 1), 2);
    assert!(host.printed().as_bytes() == text.repeat(3));
}

#[test]
fn a_reset_lets_go_of_buffers_and_keeps_output_that_was_taken() {
    let (mut bench, host) = single();
    host.lock().room = 0;
    bench.offer(1, &[Buffer::Out(b"taken")]);
    bench.notify(1);
    assert_eq!(returned(&mut bench, 1), 1);
    bench.offer(1, &[Buffer::Out(&[b'x'; 2 * port::OUTPUT_BUFFER])]);
    bench.offer(0, &[Buffer::In(10)]);
    bench.notify(1);
    bench.notify(0);
    bench.reset();
    let reads = host.lock().reads;
    host.lock().room = usize::MAX;
    host.types("input");
    bench.host_ready(0);
    assert!(host.printed().starts_with("taken"));
    assert_eq!(host.lock().reads, reads, "there is no buffer any more");
    bench.start(0, 16);
    bench.offer(0, &[Buffer::In(10)]);
    bench.notify(0);
    assert_eq!(bench.collect(0)[0].bytes, b"input");
}

#[test]
fn output_that_still_waits_in_the_end_is_handed_over() {
    let (mut bench, host) = single();
    host.lock().room = 3;
    bench.offer(1, &[Buffer::Out(b"goodbye")]);
    bench.notify(1);
    host.lock().room = 1;
    drop(bench);
    assert_eq!(host.printed(), "good");
    assert_eq!(host.lock().last, b"bye");
}

#[test]
fn the_tap_sees_what_is_printed_once_and_in_order() {
    let host = Host::new();
    let mut bench = console(&host, vec![]);
    let seen = Arc::new(Mutex::new(Vec::<u8>::new()));
    let tap = seen.clone();
    bench
        .device
        .tap(Box::new(move |b| tap.lock().expect("whole").extend(b)));
    host.lock().room = 3;
    bench.start(0, 16);
    bench.offer(1, &[Buffer::Out(b"@mark one\n")]);
    bench.notify(1);
    host.lock().room = 100;
    bench.host_ready(0);
    bench.with(|device, io| device.write_config(EMERG_WR, &[b'!', 0, 0, 0], io));
    assert_eq!(*seen.lock().expect("whole"), b"@mark one\n!");
    assert_eq!(host.printed(), "@mark one\n!");
}

#[test]
fn a_call_is_bounded() {
    let (mut bench, host) = single();
    let text = vec![b'x'; 100_000];
    bench.offer(1, &[Buffer::Out(&text)]);
    bench.offer(1, &[Buffer::Out(&text)]);
    let progress = bench.with(|device, io| device.notified(1, io));
    assert_eq!(progress, Progress::More);
    assert!(host.lock().output.len() < 100_000);
    bench.notify(1);
    assert_eq!(host.printed().len(), 200_000);
    assert_eq!(returned(&mut bench, 1), 2);
}

#[test]
fn a_bad_chain_needs_a_reset() {
    for queue in 0..6 {
        let (mut bench, first, second) = double();
        tell(&mut bench, 0, event::DEVICE_READY, 1);
        tell(&mut bench, 0, event::PORT_OPEN, 1);
        tell(&mut bench, 1, event::PORT_OPEN, 1);
        first.types("x");
        second.types("x");
        bench.offer_head(queue, 99);
        bench.notify(queue);
        if queue == CONTROL_RECEIVEQ {
            // Looked at when there is something to tell and all good buffers are used up.
            for id in [0, 1] {
                tell(&mut bench, id, event::PORT_READY, 1);
            }
            for _ in 0..5 {
                first.change(Change::Closed);
                bench.host_ready(0);
                first.change(Change::Opened);
                bench.host_ready(0);
            }
        }
        assert!(bench.signals.needs_reset, "queue {queue}");
    }
}

// ---- Configuration

#[test]
fn the_configuration_is_laid_out_as_specified() {
    let first = Host::new();
    first.lock().size = Some(Size {
        cols: 0x0102,
        rows: 0x0304,
    });
    let bench = console(&first, vec![Host::new().port(None), Host::new().port(None)]);
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.config(), [2, 1, 4, 3, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        device.features(),
        feature::SIZE | feature::MULTIPORT | feature::EMERG_WRITE
    );
    assert_eq!(device.queue_sizes(), [128, 128, 64, 64, 128, 128, 128, 128]);
    assert_eq!(device.host_fds().len(), 3);
    assert_eq!(role(4), Role::Port(1));
    assert_eq!(role(7), Role::Port(2));
    assert_eq!((receiveq(0), receiveq(1), receiveq(2)), (0, 4, 6));
}

#[test]
fn a_console_of_one_port_has_two_queues() {
    let (bench, _) = single();
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.features(), feature::SIZE | feature::EMERG_WRITE);
    assert_eq!(device.queue_sizes(), [128, 128]);
}

#[test]
fn ports_have_limits() {
    let ports = |count: usize| (0..count).map(|_| Host::new().port(None)).collect();
    let make = |count| Console::new(Host::new().port(None), ports(count)).map(|_| ());
    assert_eq!(make(MAX_PORTS - 1), Ok(()));
    assert_eq!(make(MAX_PORTS), Err(BadPorts::TooMany));
    for name in [String::new(), "x".repeat(MAX_NAME + 1)] {
        let made = Console::new(Host::new().port(Some(&name)), vec![]).map(|_| ());
        assert_eq!(made, Err(BadPorts::Name));
    }
}

#[test]
fn emergency_writes_work_on_an_unconfigured_device() {
    let host = Host::new();
    let mut bench = console(&host, vec![]);
    let mut write =
        |offset, data: &[u8]| bench.with(|device, io| device.write_config(offset, data, io));
    write(EMERG_WR, &[b'a', 1, 2, 3]);
    write(EMERG_WR, b"b");
    write(4, b"1234cdef");
    // What does not reach the lower byte outputs nothing, and no other field can be written.
    write(EMERG_WR + 1, b"xyz");
    write(0, b"12345678");
    write(COLS as u32, &[9, 9]);
    assert_eq!(host.printed(), "abc");
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.config()[..4], [80, 0, 24, 0]);
    assert_eq!(device.config()[8..], [0; 4]);
}

#[test]
fn emergency_writes_are_bounded_too() {
    let (mut bench, host) = single();
    host.lock().room = 0;
    for _ in 0..100_000 {
        bench.with(|device, io| device.write_config(EMERG_WR, b"x", io));
    }
    host.lock().room = usize::MAX;
    bench.host_ready(0);
    assert_eq!(host.printed().len(), port::OUTPUT_BUFFER + 4096);
}

#[test]
fn a_new_size_is_a_configuration_change() {
    let (mut bench, host) = single();
    let size = Size {
        cols: 132,
        rows: 50,
    };
    host.change(Change::Resized(size));
    bench.host_ready(0);
    assert!(bench.signals.config_changed);
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.config()[..4], [132, 0, 50, 0]);
    bench.signals = Signals::default();
    host.change(Change::Resized(size));
    bench.host_ready(0);
    assert!(!bench.signals.config_changed, "it is the same");
}

// ---- Multiple ports

#[test]
fn ports_are_introduced_as_the_driver_gets_ready() {
    let (mut bench, first, _second) = double();
    first.lock().size = Some(Size {
        cols: 100,
        rows: 30,
    });
    first.change(Change::Resized(Size {
        cols: 100,
        rows: 30,
    }));
    bench.host_ready(0);
    assert_eq!(told(&mut bench), [], "nothing before the driver is ready");
    tell(&mut bench, 77, event::DEVICE_READY, 1);
    let add = |id| (id, event::DEVICE_ADD, 0, vec![]);
    assert_eq!(told(&mut bench), [add(0), add(1)]);
    tell(&mut bench, 1, event::PORT_READY, 1);
    assert_eq!(
        told(&mut bench),
        [
            (1, event::PORT_NAME, 1, b"data".to_vec()),
            (1, event::PORT_OPEN, 1, vec![])
        ]
    );
    tell(&mut bench, 0, event::PORT_READY, 1);
    assert_eq!(
        told(&mut bench),
        [
            (0, event::CONSOLE_PORT, 1, vec![]),
            (0, event::RESIZE, 0, vec![100, 0, 30, 0]),
            (0, event::PORT_OPEN, 1, vec![])
        ]
    );
    // Saying it again changes nothing: ports that exist are not added.
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 0, event::PORT_READY, 1);
    assert_eq!(told(&mut bench), []);
    assert_eq!(bench.witness.of("ConsoleMessage").len(), 5);
    assert_eq!(bench.witness.of("ConsoleMessageSent").len(), 7);
}

#[test]
fn messages_wait_for_buffers_large_enough() {
    let second = Host::new();
    let mut bench = console(&Host::new(), vec![second.port(Some("a long name"))]);
    bench.start(feature::MULTIPORT, 16);
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    let lens = |bench: &mut Bench<Console>| -> Vec<u32> {
        bench.notify(CONTROL_RECEIVEQ);
        let returned = bench.collect(CONTROL_RECEIVEQ);
        returned.iter().map(|r| r.len).collect()
    };
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(7)]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::Out(b"readable")]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(3), Buffer::In(5)]);
    assert_eq!(lens(&mut bench), [0, 0, 8]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(8)]);
    assert_eq!(lens(&mut bench), [8]);
    tell(&mut bench, 1, event::PORT_READY, 1);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(18)]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(19)]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(19)]);
    assert_eq!(lens(&mut bench), [0, 19, 8]);
    // With nothing to tell, buffers stay.
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(19)]);
    assert!(lens(&mut bench).is_empty());
}

#[test]
fn input_waits_until_the_driver_has_opened_the_port() {
    let (mut bench, first, second) = double();
    for queue in [0, 4] {
        bench.offer(queue, &[Buffer::In(10)]);
        bench.offer(queue, &[Buffer::In(10)]);
        bench.notify(queue);
    }
    first.types("first");
    second.types("second");
    bench.host_ready(0);
    bench.host_ready(1);
    tell(&mut bench, 1, event::PORT_OPEN, 1);
    assert_eq!(
        second.lock().reads,
        0,
        "a port that was not added stays shut"
    );
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 1, event::PORT_OPEN, 1);
    assert_eq!(bench.collect(4)[0].bytes, b"second");
    assert_eq!(first.lock().reads, 0);
    tell(&mut bench, 1, event::PORT_OPEN, 0);
    second.types("more");
    bench.host_ready(1);
    assert_eq!(returned(&mut bench, 4), 0);
    tell(&mut bench, 1, event::PORT_OPEN, 1);
    assert_eq!(bench.collect(4)[0].bytes, b"more");
}

#[test]
fn output_of_every_port_goes_its_own_way() {
    let (mut bench, first, second) = double();
    bench.offer(1, &[Buffer::Out(b"one")]);
    bench.offer(5, &[Buffer::Out(b"two")]);
    bench.notify(1);
    bench.notify(5);
    assert_eq!(
        (first.printed(), second.printed()),
        ("one".into(), "two".into())
    );
}

#[test]
fn the_hosts_side_opens_and_closes() {
    let (mut bench, _first, second) = double();
    second.lock().open = false;
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 1, event::PORT_READY, 1);
    assert_eq!(told(&mut bench).len(), 3, "two ports and a name");
    let open = |value| vec![(1, event::PORT_OPEN, value, vec![])];
    for (change, value) in [
        (Change::Opened, 1),
        (Change::Closed, 0),
        (Change::Opened, 1),
    ] {
        second.change(change);
        bench.host_ready(1);
        assert_eq!(told(&mut bench), open(value));
    }
}

#[test]
fn only_port_0_exists_without_multiport() {
    let (first, second) = (Host::new(), Host::new());
    let mut bench = console(&first, vec![second.port(Some("data"))]);
    bench.start(0, 16);
    let ready = Message {
        id: 0,
        event: event::DEVICE_READY,
        value: 1,
    };
    bench.offer(CONTROL_TRANSMITQ, &[Buffer::Out(&ready.encode())]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(64)]);
    bench.offer(5, &[Buffer::Out(b"lost")]);
    bench.offer(4, &[Buffer::In(64)]);
    second.types("x");
    second.change(Change::Closed);
    bench.host_ready(1);
    for queue in 2..6 {
        bench.notify(queue);
        assert_eq!(returned(&mut bench, queue), 0);
    }
    // Port 0 needs no opening.
    first.types("input");
    bench.offer(0, &[Buffer::In(64)]);
    bench.notify(0);
    assert_eq!(bench.collect(0)[0].bytes, b"input");
}

#[test]
fn messages_that_make_no_sense_change_nothing() {
    let (mut bench, _first, second) = double();
    let send = |bench: &mut Bench<Console>, bytes: &[u8]| {
        bench.offer(CONTROL_TRANSMITQ, &[Buffer::Out(bytes)]);
        bench.notify(CONTROL_TRANSMITQ);
        assert_eq!(returned(bench, CONTROL_TRANSMITQ), 1);
    };
    send(&mut bench, b"");
    send(&mut bench, &[0; 7]);
    bench.offer(CONTROL_TRANSMITQ, &[Buffer::In(8)]);
    bench.notify(CONTROL_TRANSMITQ);
    assert_eq!(returned(&mut bench, CONTROL_TRANSMITQ), 1);
    tell(&mut bench, 0, event::DEVICE_READY, 0);
    assert_eq!(told(&mut bench), [], "a driver that failed is told nothing");
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    assert_eq!(told(&mut bench).len(), 2);
    for id in [2, 31, 0x8000_0000, u32::MAX] {
        for event in 1..9 {
            tell(&mut bench, id, event, 1);
        }
    }
    for event in [1, 2, 4, 5, 7, 8, u16::MAX] {
        tell(&mut bench, 1, event, 1);
    }
    tell(&mut bench, 1, event::PORT_READY, 0);
    second.change(Change::Closed);
    bench.host_ready(1);
    assert_eq!(told(&mut bench), []);
    assert!(!bench.signals.needs_reset);
    // The event says what was there.
    let mut long = Message {
        id: 1,
        event: 9,
        value: 3,
    }
    .encode()
    .to_vec();
    long.extend([7; 1000]);
    send(&mut bench, &long);
    let seen = bench.witness.of("ConsoleMessage");
    assert!(seen[0].contains("id: None"));
    let last = seen.last().expect("one a message");
    assert!(last.contains("id: Some(1), event: 9, value: 3"), "{last}");
    assert_eq!(last.matches('7').count(), REST);
}

#[test]
fn a_reset_forgets_ports() {
    let (mut bench, _first, _second) = double();
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    assert_eq!(told(&mut bench).len(), 2);
    bench.reset();
    bench.start(feature::MULTIPORT, 16);
    for _ in 0..4 {
        bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(64)]);
    }
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    assert_eq!(told(&mut bench).len(), 2, "added anew");
}

#[test]
fn queues_that_were_not_enabled_are_not_missed() {
    let (first, second) = (Host::new(), Host::new());
    let mut bench = console(&first, vec![second.port(Some("data"))]);
    bench.start_with(feature::MULTIPORT, 16, &[1, CONTROL_TRANSMITQ]);
    first.types("x");
    second.change(Change::Closed);
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 0, event::PORT_OPEN, 1);
    for index in 0..6 {
        bench.notify(index);
        bench.host_ready(usize::from(index));
    }
    bench.offer(1, &[Buffer::Out(b"still")]);
    bench.notify(1);
    assert_eq!(first.printed(), "still");
}

// ---- Anything at all

/// Ports stay, so this is never sent (§5.3.6.2.1).
const DEVICE_REMOVE: u16 = 2;

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
        let mut printed = [Vec::new(), Vec::new()];
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
            let m = Message::decode(m.bytes[..MESSAGE_LEN].try_into().expect("8 bytes"));
            let id = m.id as usize;
            prop_assert!(id < 2);
            prop_assert_eq!(added[id], m.event != event::DEVICE_ADD);
            prop_assert_ne!(m.event, DEVICE_REMOVE);
            added[id] = true;
            if m.event == event::PORT_OPEN {
                prop_assert_eq!(open[id], m.value == 0);
                open[id] = m.value == 1;
            }
        }
    }
}
