use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::pipe::pipe;

use super::*;
use crate::journal::Journal;
use crate::machine::output::PanicNote;

const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const LINE_STATUS: u8 = 5;
const DATA_READY: u8 = 1;

struct Rig {
    port: SerialPort,
    control: Arc<Control>,
    edges: Arc<AtomicU32>,
}

fn rig() -> Rig {
    let note = PanicNote::default();
    let control = Arc::new(Control::new(note.clone()).unwrap());
    let edges = Arc::new(AtomicU32::new(0));
    let counted = edges.clone();
    let irq = move |level: bool| {
        counted.fetch_add(level.into(), Ordering::Relaxed);
    };
    let scanner = OutputScanner::new(Journal::new(), note);
    let port = SerialPort::new(irq, SerialConfig::Null, scanner, control.clone()).unwrap();
    Rig {
        port,
        control,
        edges,
    }
}

/// Reads as a polling driver does until `count` bytes have come.
fn receive(port: &SerialPort, count: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < count {
        if port.read(LINE_STATUS) & DATA_READY != 0 {
            received.push(port.read(DATA));
        } else {
            thread::yield_now();
        }
    }
    received
}

#[test]
fn more_input_than_the_port_holds_arrives_whole() {
    let rig = rig();
    let (reader, writer) = pipe().unwrap();
    let sent: Vec<u8> = (0..1500u32).map(|n| n as u8).collect();
    rustix::io::write(&writer, &sent).unwrap();
    drop(writer);
    thread::scope(|scope| {
        scope.spawn(|| carry_input(&rig.port, &rig.control, &reader, false).unwrap());
        assert_eq!(receive(&rig.port, sent.len()), sent);
        rig.control.end(GuestEnd::PowerOff);
    });
}

/// As Linux's driver reads: what its interrupt handler gets of the break and the key after it.
#[test]
fn a_break_and_its_key_come_one_after_the_other() {
    const BREAK: u8 = 0x10;
    let rig = rig();
    rig.port.write(INTERRUPT_ENABLE, 5);
    assert!(rig.port.send_break(b'l'));
    assert!(rig.port.break_waits());
    assert_eq!(rig.edges.load(Ordering::Relaxed), 1);
    assert_eq!(rig.port.read(INTERRUPT_IDENTIFICATION) & 0xf, 6);
    let status = rig.port.read(LINE_STATUS);
    assert_eq!(status & (BREAK | DATA_READY), BREAK | DATA_READY);
    assert_eq!(rig.port.read(DATA), 0);
    assert!(!rig.port.break_waits());
    let status = rig.port.read(LINE_STATUS);
    assert_eq!(status & (BREAK | DATA_READY), DATA_READY);
    assert_eq!(rig.port.read(DATA), b'l');
    assert_eq!(rig.port.read(LINE_STATUS) & DATA_READY, 0);
}

#[test]
fn a_break_waits_for_the_interrupt_and_for_input_to_be_read() {
    const LINE_CONTROL: u8 = 3;
    let rig = rig();
    let mut input = VecDeque::from([b'x']);
    rig.port.take_input(&mut input);
    assert!(!rig.port.send_break(b'l'));
    assert_eq!(receive(&rig.port, 1), b"x");
    assert!(rig.port.send_break(b'l'));
    assert!(!rig.port.send_break(b'w'));
    assert_eq!(rig.edges.load(Ordering::Relaxed), 0);
    rig.port.write(INTERRUPT_ENABLE, 1);
    assert_eq!(rig.edges.load(Ordering::Relaxed), 1);
    // The divisor is no data.
    rig.port.write(LINE_CONTROL, 0x80);
    rig.port.read(DATA);
    assert!(rig.port.break_waits());
    rig.port.write(LINE_CONTROL, 3);
    assert_eq!(receive(&rig.port, 2), b"\0l");
}

#[test]
fn input_interrupts_where_that_is_enabled() {
    let rig = rig();
    let mut input = VecDeque::from([b'x']);
    rig.port.take_input(&mut input);
    assert_eq!(rig.edges.load(Ordering::Relaxed), 0);
    rig.port.write(INTERRUPT_ENABLE, 1);
    assert_eq!(rig.edges.load(Ordering::Relaxed), 1);
}

#[test]
fn the_escape_sequence_ends_the_run_on_a_terminal_only() {
    for is_terminal in [true, false] {
        let rig = rig();
        let (reader, writer) = pipe().unwrap();
        rustix::io::write(&writer, b"a\x01x").unwrap();
        thread::scope(|scope| {
            let carrier =
                scope.spawn(|| carry_input(&rig.port, &rig.control, &reader, is_terminal).unwrap());
            if !is_terminal {
                assert_eq!(receive(&rig.port, 3), b"a\x01x");
                rig.control.end(GuestEnd::PowerOff);
            }
            carrier.join().unwrap();
        });
        let end = rig.control.take_ending().unwrap().unwrap();
        assert_eq!(end == GuestEnd::Interrupted, is_terminal);
    }
}

const TRANSMITTER: u8 = 2;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const NO_INTERRUPT: u8 = 1;

/// As Linux's driver sends: its handler looks for causes until there is none, and an edge that comes meanwhile has it
/// called once more.
#[test]
fn a_handler_that_sends_is_not_called_without_a_cause() {
    let rig = rig();
    let cause = || rig.port.read(INTERRUPT_IDENTIFICATION) & 0xf;
    let edges = || rig.edges.load(Ordering::Relaxed);
    rig.port.write(INTERRUPT_ENABLE, 5 | TRANSMITTER);
    let mut left = 40;
    let mut handled = 0;
    while handled < edges() {
        handled += 1;
        assert_eq!(cause(), TRANSMITTER, "call {handled}");
        for _ in 0..left.min(16) {
            rig.port.write(DATA, b'x');
            left -= 1;
        }
        if left == 0 {
            rig.port.write(INTERRUPT_ENABLE, 5);
        }
        assert_eq!(cause(), NO_INTERRUPT, "call {handled}");
    }
    assert_eq!((left, handled), (0, 3));
    assert_eq!(rig.port.written(), 40);
    // Nor does one come when the last byte is sent.
    assert_eq!(rig.port.sent_within(Duration::ZERO), None);
    assert_eq!(edges(), 3);
    // Enabled again, it interrupts: the transmitter is empty.
    rig.port.write(INTERRUPT_ENABLE, 5 | TRANSMITTER);
    assert_eq!((edges(), cause()), (4, TRANSMITTER));
}

/// A handler that looks for a cause once and sends a byte is called when that is sent.
#[test]
fn a_driver_that_waits_for_the_interrupt_gets_it() {
    let rig = rig();
    thread::scope(|scope| {
        scope.spawn(|| finish_sending(&rig.port, &rig.control).unwrap());
        rig.port.write(INTERRUPT_ENABLE, TRANSMITTER);
        for calls in 1..20 {
            let since = Instant::now();
            while rig.edges.load(Ordering::Relaxed) < calls {
                assert!(since.elapsed() < Duration::from_secs(60));
                thread::yield_now();
            }
            let cause = rig.port.read(INTERRUPT_IDENTIFICATION) & 0xf;
            assert_eq!(cause, TRANSMITTER);
            rig.port.write(DATA, b'x');
        }
        rig.control.end(GuestEnd::PowerOff);
    });
}

#[test]
fn what_is_written_in_loop_back_is_received() {
    const MODEM_CONTROL: u8 = 4;
    const LOOP_BACK: u8 = 0x10;
    let rig = rig();
    rig.port.write(MODEM_CONTROL, LOOP_BACK);
    rig.port.write(INTERRUPT_ENABLE, 1 | TRANSMITTER);
    let before = rig.edges.load(Ordering::Relaxed);
    rig.port.write(DATA, b'x');
    assert_eq!(rig.edges.load(Ordering::Relaxed), before + 1);
    assert_eq!(receive(&rig.port, 1), b"x");
    assert_eq!(rig.port.written(), 0);
}

/// Set in the process whose standard error is looked at.
const CHILD: &str = "STICKLER_TEST_SERIAL";

/// A file that is full after three bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len().min(1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn that_output_is_lost_is_said_once() {
    let name = "that_output_is_lost_is_said_once";
    if std::env::var_os(CHILD).is_some() {
        let note = PanicNote::default();
        let control = Arc::new(Control::new(note.clone()).unwrap());
        let journal = Journal::new();
        let scanner = OutputScanner::new(journal.clone(), note);
        let config = SerialConfig::Writer(Box::new(Full(3)));
        let port = SerialPort::new(|_| {}, config, scanner, control).unwrap();
        for byte in b"@mark still scanned\n" {
            port.write(DATA, *byte);
        }
        assert_eq!(journal.marks().len(), 1);
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg(format!("machine::serial::tests::{name}"))
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("is lost from now on").count(), 1, "{said}");
}
