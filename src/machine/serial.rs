//! The serial port: a 16550A as ttyS0, with standard input and output behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_ioctls::VmFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vm_superio::Trigger;
use vm_superio::serial::{Serial, SerialEvents};

use super::control::Control;
use super::event::Event;
use super::output::OutputScanner;
use super::terminal::EscapeFilter;
use super::{Error, GuestEnd};

/// Its first I/O port (COM1).
pub const PORT: u16 = 0x3f8;
/// Its interrupt, edge-triggered.
pub const IRQ: u32 = 4;

/// What stands behind the guest's serial port. Whatever it is, marks and panics are seen.
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

/// The port with all that hangs on it; shared by vCPUs and the input thread.
pub(super) struct SerialPort {
    uart: Mutex<Serial<IrqLine, InputWanted, Output>>,
    room: Arc<Event>,
}

impl SerialPort {
    pub(super) fn new(
        vm: Arc<VmFd>,
        config: SerialConfig,
        scanner: OutputScanner,
        control: Arc<Control>,
    ) -> Result<Self, Error> {
        let sink = match config {
            SerialConfig::Stdio | SerialConfig::Output => Sink::Stdout(io::stdout()),
            SerialConfig::StdinStderr | SerialConfig::Stderr => Sink::Stderr(io::stderr()),
            SerialConfig::Null => Sink::Null,
            SerialConfig::Writer(writer) => Sink::Writer(writer),
        };
        let room = Arc::new(Event::new().map_err(Error::host("create an eventfd"))?);
        let output = Output {
            sink,
            scanner,
            control,
        };
        let uart = Serial::with_events(IrqLine(vm), InputWanted(room.clone()), output);
        Ok(SerialPort {
            uart: Mutex::new(uart),
            room,
        })
    }

    /// The guest reads register `offset`.
    pub(super) fn read(&self, offset: u8) -> u8 {
        self.lock().read(offset)
    }

    /// The guest writes register `offset`.
    pub(super) fn write(&self, offset: u8, value: u8) {
        // Output that nobody takes is lost, as on a line with nothing at its end.
        let _ = self.lock().write(offset, value);
    }

    /// Gives the guest as much of `input` as the port has room for.
    fn take_input(&self, input: &mut VecDeque<u8>) {
        let mut uart = self.lock();
        let count = uart.fifo_capacity().min(input.len());
        let bytes: Vec<u8> = input.iter().take(count).copied().collect();
        if let Ok(taken) = uart.enqueue_raw_bytes(&bytes) {
            input.drain(..taken);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Serial<IrqLine, InputWanted, Output>> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries standard input to the serial port until the run ends. Where it is a terminal, the escape
/// sequence is looked for.
pub(super) fn carry_input(
    port: &SerialPort,
    control: &Control,
    is_terminal: bool,
) -> io::Result<()> {
    /// How often to look again for room; the port tells when it is empty, but not when the guest
    /// leaves loop-back mode.
    const RETRY: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let stdin = io::stdin();
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
            fds.push(PollFd::new(&stdin, PollFlags::IN));
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
        match rustix::io::read(stdin.as_fd(), &mut bytes) {
            Ok(0) => open = false,
            Ok(count) if is_terminal => {
                if escape.feed(&bytes[..count], &mut input) {
                    control.end(GuestEnd::Interrupted);
                }
            }
            Ok(count) => input.extend(&bytes[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // A terminal that has gone away, or one we may not read from: no more input.
            Err(_) => open = false,
        }
    }
    Ok(())
}

/// The interrupt line: an edge each time.
struct IrqLine(Arc<VmFd>);

impl Trigger for IrqLine {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        // The line exists: KVM has been given its interrupt controllers.
        let _ = self.0.set_irq_line(IRQ, true);
        let _ = self.0.set_irq_line(IRQ, false);
        Ok(())
    }
}

/// Tells the input thread when the guest has read all there was.
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
struct Output {
    sink: Sink,
    scanner: OutputScanner,
    control: Arc<Control>,
}

enum Sink {
    Null,
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    Writer(Box<dyn Write + Send>),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.scanner.feed(bytes);
        match &mut self.sink {
            Sink::Null => Ok(bytes.len()),
            Sink::Stdout(stdout) => write_unless_stopping(stdout.as_fd(), bytes, &self.control),
            Sink::Stderr(stderr) => write_unless_stopping(stderr.as_fd(), bytes, &self.control),
            Sink::Writer(writer) => {
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

/// Writes to `fd`, waiting while it takes nothing, but not beyond the end of the run: a stopped
/// terminal must not keep a guest's time limit from ending it.
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
