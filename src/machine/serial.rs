//! The serial port: a 16550A as ttyS0, connected to standard input and output.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
use crate::say;

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
    /// Wakes [`finish_sending`].
    sends: Event,
    /// Bytes that the guest has written.
    written: Arc<AtomicU64>,
}

/// The port itself, the break that waits in front of it, and its transmitter.
///
/// `vm-superio` raises the transmitter's interrupt at once when a byte is written, while the driver's handler still
/// writes; that then finds the cause gone when it is called again. A 16550A takes its time to send. So the interrupt is
/// held back until the driver has looked and found none, or has written nothing for a while.
struct SerialLine {
    uart: Serial<IrqLine, InputWanted, SerialOutput>,
    breaks: BreakLine,
    /// Whether an interrupt is not raised now.
    held: Arc<AtomicBool>,
    /// When the last byte was written of those that are not sent yet.
    sending: Option<Instant>,
}

/// Registers, as offsets from the first port, and their bits.
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const DIVISOR_ACCESS: u8 = 0x80;
const LOOP_BACK: u8 = 0x10;
/// In interrupt enable and in interrupt identification: the transmitter is empty.
const TRANSMITTER: u8 = 2;
/// In interrupt identification: the causes, and that there is none.
const CAUSES: u8 = 0xf;
const NO_CAUSE: u8 = 1;

impl SerialLine {
    fn read(&mut self, offset: u8) -> u8 {
        let value = self.uart.read(offset);
        if offset != INTERRUPT_IDENTIFICATION || self.sending.is_none() {
            return value;
        }
        let mut seen = value & !TRANSMITTER;
        if seen & CAUSES == 0 {
            seen |= NO_CAUSE;
        }
        // The driver has found that it is not empty, and now it is.
        self.sent();
        seen
    }

    /// Returns whether it begins to send.
    fn write(&mut self, offset: u8, value: u8) -> bool {
        let is_divisor = self.accesses_divisor();
        let enabled = self.uart.state().interrupt_enable & TRANSMITTER != 0;
        let loops = self.uart.read(MODEM_CONTROL) & LOOP_BACK != 0;
        let was_sending = self.sending.is_some();
        match offset {
            sysrq::DATA if enabled && !is_divisor && !loops => {
                self.held.store(true, Ordering::Relaxed);
                // Output that cannot be written is lost, as on a line that is not connected.
                let _ = self.uart.write(offset, value);
                self.held.store(false, Ordering::Relaxed);
                self.sending = Some(Instant::now());
            }
            sysrq::INTERRUPT_ENABLE if enabled && !is_divisor && value & TRANSMITTER == 0 => {
                // What is not enabled is no cause. Input that waits is one again by the write.
                self.sending = None;
                self.uart.read(INTERRUPT_IDENTIFICATION);
                let _ = self.uart.write(offset, value);
            }
            _ => {
                let _ = self.uart.write(offset, value);
            }
        }
        self.sending.is_some() && !was_sending
    }

    /// All is sent: the transmitter is empty.
    fn sent(&mut self) {
        let state = self.uart.state();
        if self.accesses_divisor() {
            // The register that is needed for it is not there now.
            self.sending = Some(Instant::now());
            return;
        }
        self.sending = None;
        if state.interrupt_enable & TRANSMITTER == 0 {
            return;
        }
        if state.interrupt_identification & TRANSMITTER != 0 {
            let Ok(()) = self.uart.interrupt_evt().trigger();
        } else {
            let _ = self
                .uart
                .write(sysrq::INTERRUPT_ENABLE, state.interrupt_enable);
        }
    }

    fn accesses_divisor(&mut self) -> bool {
        self.uart.read(LINE_CONTROL) & DIVISOR_ACCESS != 0
    }
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
        let sends = Event::new().map_err(Error::host("create an eventfd"))?;
        let held = Arc::new(AtomicBool::new(false));
        let line = IrqLine {
            set: Box::new(irq),
            held: held.clone(),
        };
        let uart = Serial::with_events(line, InputWanted(room.clone()), output);
        Ok(SerialPort {
            line: Mutex::new(SerialLine {
                uart,
                breaks: BreakLine::default(),
                held,
                sending: None,
            }),
            room,
            sends,
            written,
        })
    }

    /// The guest reads register `offset`.
    pub(super) fn read(&self, offset: u8) -> u8 {
        let line = &mut *self.lock();
        let uart = &mut line.uart;
        match line.breaks.read(offset, |register| uart.read(register)) {
            BreakRead::Port => line.read(offset),
            BreakRead::Value(value) => value,
            BreakRead::PortAnd(bits) => line.read(offset) | bits,
            BreakRead::Taken(key) => {
                // There is room: no break is sent otherwise.
                let _ = line.uart.enqueue_raw_bytes(&[key]);
                0
            }
        }
    }

    /// Sends a break and then `key`, which Linux takes as a command. Returns false if input waits that the guest
    /// has not read: the key would not come directly after the break.
    pub(super) fn send_break(&self, key: u8) -> bool {
        let SerialLine { uart, breaks, .. } = &mut *self.lock();
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
        let line = &mut *self.lock();
        if line.write(offset, value) {
            self.sends.signal();
        }
        // Linux masks the port's interrupts while it writes a message.
        if offset == sysrq::INTERRUPT_ENABLE && line.breaks.interrupts(value) {
            let Ok(()) = line.uart.interrupt_evt().trigger();
        }
    }

    /// Has sent what was written if nothing more came for `time`. Returns how long that still takes; `None` if nothing
    /// is being sent.
    fn sent_within(&self, time: Duration) -> Option<Duration> {
        let line = &mut *self.lock();
        if line.sending?.elapsed() >= time {
            line.sent();
        }
        Some(time.saturating_sub(line.sending?.elapsed()))
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

/// Raises the transmitter's interrupt for drivers that do not look whether it is empty, until the run ends.
pub(super) fn finish_sending(port: &SerialPort, control: &Control) -> io::Result<()> {
    /// About as long as a 16550A needs for its FIFO at 115,200 baud.
    const TIME: Duration = Duration::from_millis(1);
    while !control.is_stopping() {
        port.sends.clear();
        let left = port.sent_within(TIME);
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [
            PollFd::new(control.wake(), PollFlags::IN),
            PollFd::new(&port.sends, PollFlags::IN),
        ];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

/// The interrupt line: an edge each time, unless it is held back.
struct IrqLine {
    set: Box<dyn Fn(bool) + Send>,
    held: Arc<AtomicBool>,
}

impl Trigger for IrqLine {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        if !self.held.load(Ordering::Relaxed) {
            (self.set)(true);
            (self.set)(false);
        }
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

impl SerialSink {
    fn name(&self) -> &'static str {
        match self {
            SerialSink::Stdout(_) => "standard output",
            SerialSink::Stderr(_) => "standard error",
            SerialSink::Null | SerialSink::Writer(_) => "what the serial port is connected to",
        }
    }
}

impl Write for SerialOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scanner.feed(bytes);
        self.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let written = match &mut self.sink {
            SerialSink::Null => Ok(bytes.len()),
            SerialSink::Stdout(stdout) => {
                write_unless_stopping(stdout.as_fd(), bytes, &self.control)
            }
            SerialSink::Stderr(stderr) => {
                write_unless_stopping(stderr.as_fd(), bytes, &self.control)
            }
            SerialSink::Writer(writer) => writer
                .write_all(bytes)
                .and_then(|()| writer.flush())
                .map(|()| bytes.len()),
        };
        // The guest goes on, as on a line that is not connected.
        written.or_else(|why| {
            if !self.control.is_stopping() {
                say::output_is_lost(self.sink.name(), &why);
            }
            self.sink = SerialSink::Null;
            Ok(bytes.len())
        })
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
#[path = "serial_tests.rs"]
mod tests;
