//! The serial port: a 16550A as ttyS0, connected to standard input and output.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vm_superio::Trigger;
use vm_superio::serial::{Serial, SerialEvents};

use super::Error;
use super::control::Control;
use super::event::Event;
use super::output::OutputScanner;
use super::sysrq::{self, BreakLine, BreakRead};
use super::terminal::EscapeFilter;
use crate::end::GuestEnd;

/// Its first I/O port (COM1).
pub const PORT: u16 = 0x3f8;
/// Its interrupt, edge-triggered.
pub const IRQ: u32 = 4;

/// What the guest's serial port is connected to. Marks and panics are recognized in each case.
#[derive(Default)]
pub enum SerialConfig {
    /// Standard input and output. A terminal is switched to raw mode for the run; Ctrl-A x leaves.
    #[default]
    Stdio,
    /// As `Stdio`, but the output goes to standard error, for programs that read standard output.
    StdinStderr,
    /// Standard output only; there is no input.
    Output,
    /// Standard error only; there is no input.
    Stderr,
    /// Nothing: output is dropped, there is no input.
    Null,
    /// Output goes to this writer, there is no input. It must not block for long.
    Writer(Box<dyn Write + Send>),
}

/// The port and what it is connected to; shared by vCPUs and the input thread.
pub(super) struct SerialPort {
    line: Mutex<SerialLine>,
    room: Arc<Event>,
    /// Bytes that the guest has written.
    written: Arc<AtomicU64>,
}

/// The port itself, and the break that waits in front of it.
struct SerialLine {
    uart: Serial<IrqLine, InputWanted, SerialOutput>,
    breaks: BreakLine,
}

impl SerialPort {
    /// `irq` sets the level of the interrupt line.
    pub(super) fn new(
        irq: impl Fn(bool) + Send + 'static,
        config: SerialConfig,
        scanner: OutputScanner,
        control: Arc<Control>,
    ) -> Result<Self, Error> {
        let sink = match config {
            SerialConfig::Stdio | SerialConfig::Output => SerialSink::Stdout(io::stdout()),
            SerialConfig::StdinStderr | SerialConfig::Stderr => SerialSink::Stderr(io::stderr()),
            SerialConfig::Null => SerialSink::Null,
            SerialConfig::Writer(writer) => SerialSink::Writer(writer),
        };
        let room = Arc::new(Event::new().map_err(Error::host("create an eventfd"))?);
        let written = Arc::new(AtomicU64::new(0));
        let output = SerialOutput {
            sink,
            scanner,
            control,
            written: written.clone(),
        };
        let uart = Serial::with_events(IrqLine(Box::new(irq)), InputWanted(room.clone()), output);
        Ok(SerialPort {
            line: Mutex::new(SerialLine {
                uart,
                breaks: BreakLine::default(),
            }),
            room,
            written,
        })
    }

    /// The guest reads register `offset`.
    pub(super) fn read(&self, offset: u8) -> u8 {
        let SerialLine { uart, breaks } = &mut *self.lock();
        match breaks.read(offset, |register| uart.read(register)) {
            BreakRead::Port => uart.read(offset),
            BreakRead::Value(value) => value,
            BreakRead::PortAnd(bits) => uart.read(offset) | bits,
            BreakRead::Taken(key) => {
                // There is room: no break is sent otherwise.
                let _ = uart.enqueue_raw_bytes(&[key]);
                0
            }
        }
    }

    /// Sends a break and then `key`, which Linux takes as a command. Returns false if input waits that the guest
    /// has not read: the key would not come directly after the break.
    pub(super) fn send_break(&self, key: u8) -> bool {
        let SerialLine { uart, breaks } = &mut *self.lock();
        if breaks.waits() || !uart.state().in_buffer.is_empty() {
            return false;
        }
        breaks.send(key);
        if breaks.interrupts(uart.read(sysrq::INTERRUPT_ENABLE)) {
            let Ok(()) = uart.interrupt_evt().trigger();
        }
        true
    }

    /// Whether the guest has not read the last break.
    pub(super) fn break_waits(&self) -> bool {
        self.lock().breaks.waits()
    }

    /// How many bytes the guest has written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The guest writes register `offset`.
    pub(super) fn write(&self, offset: u8, value: u8) {
        // Output that cannot be written is lost, as on a line that is not connected.
        let SerialLine { uart, breaks } = &mut *self.lock();
        let _ = uart.write(offset, value);
        // Linux masks the port's interrupts while it writes a message.
        if offset == sysrq::INTERRUPT_ENABLE && breaks.interrupts(value) {
            let Ok(()) = uart.interrupt_evt().trigger();
        }
    }

    /// Passes as much of `input` to the guest as the port has room for.
    fn take_input(&self, input: &mut VecDeque<u8>) {
        let SerialLine { uart, .. } = &mut *self.lock();
        let count = uart.fifo_capacity().min(input.len());
        let bytes: Vec<u8> = input.iter().take(count).copied().collect();
        if let Ok(taken) = uart.enqueue_raw_bytes(&bytes) {
            input.drain(..taken);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SerialLine> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes `source` (standard input) to the serial port until the run ends. On a terminal, the escape
/// sequence ends the run.
pub(super) fn carry_input(
    port: &SerialPort,
    control: &Control,
    source: impl AsFd,
    is_terminal: bool,
) -> io::Result<()> {
    /// How often to check for room again: the port reports that it is empty, but not that the guest
    /// has left loop-back mode.
    const RETRY: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let mut escape = EscapeFilter::default();
    let mut input = VecDeque::new();
    let mut open = true;
    while !control.is_stopping() {
        port.take_input(&mut input);
        let wanted = open && input.is_empty();
        let mut fds = vec![
            PollFd::new(control.wake(), PollFlags::IN),
            PollFd::new(port.room.as_ref(), PollFlags::IN),
        ];
        if wanted {
            fds.push(PollFd::new(&source, PollFlags::IN));
        }
        let timeout = (!input.is_empty()).then_some(&RETRY);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let ready = fds.get(2).is_some_and(|fd| !fd.revents().is_empty());
        port.room.clear();
        if !ready {
            continue;
        }
        let mut bytes = [0; 1024];
        match rustix::io::read(&source, &mut bytes) {
            Ok(0) => open = false,
            Ok(count) if is_terminal => {
                if escape.feed(&bytes[..count], &mut input) {
                    control.end(GuestEnd::Interrupted);
                }
            }
            Ok(count) => input.extend(&bytes[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // The terminal has gone away, or we may not read from it: no more input.
            Err(_) => open = false,
        }
    }
    Ok(())
}

/// The interrupt line: an edge each time.
struct IrqLine(Box<dyn Fn(bool) + Send>);

impl Trigger for IrqLine {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        (self.0)(true);
        (self.0)(false);
        Ok(())
    }
}

/// Wakes the input thread when the guest has read all input.
struct InputWanted(Arc<Event>);

impl SerialEvents for InputWanted {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}
    fn in_buffer_empty(&self) {
        self.0.signal();
    }
}

/// Where the port's output goes.
struct SerialOutput {
    sink: SerialSink,
    scanner: OutputScanner,
    control: Arc<Control>,
    written: Arc<AtomicU64>,
}

enum SerialSink {
    Null,
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    Writer(Box<dyn Write + Send>),
}

impl Write for SerialOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scanner.feed(bytes);
        self.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match &mut self.sink {
            SerialSink::Null => Ok(bytes.len()),
            SerialSink::Stdout(stdout) => {
                write_unless_stopping(stdout.as_fd(), bytes, &self.control)
            }
            SerialSink::Stderr(stderr) => {
                write_unless_stopping(stderr.as_fd(), bytes, &self.control)
            }
            SerialSink::Writer(writer) => {
                writer.write_all(bytes)?;
                writer.flush()?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to `fd` and waits for room, but not after the end of the run: a stopped terminal must not
/// prevent the time limit from ending the run.
fn write_unless_stopping(fd: BorrowedFd<'_>, bytes: &[u8], control: &Control) -> io::Result<usize> {
    const PATIENCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        match poll(&mut fds, Some(&PATIENCE)) {
            Ok(0) if control.is_stopping() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(why) => return Err(why.into()),
        }
        match rustix::io::write(fd, bytes) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
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
        const INTERRUPT_IDENTIFICATION: u8 = 2;
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
                let carrier = scope
                    .spawn(|| carry_input(&rig.port, &rig.control, &reader, is_terminal).unwrap());
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
}
