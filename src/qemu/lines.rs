//! The guest's serial port, which is QEMU's standard input and output.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;

use crate::end::GuestEnd;
use crate::machine::StopHandle;
use crate::machine::terminal::EscapeFilter;
use crate::say;

/// Shows what the guest says, and has it seen, until its end.
pub(super) fn show_output(mut from: impl Read, see: &mut dyn FnMut(&[u8]), to_stderr: bool) {
    let mut bytes = [0; 4096];
    let mut is_lost = false;
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        see(&bytes[..count]);
        if is_lost {
            continue;
        }
        let (shown, name) = if to_stderr {
            (io::stderr().write_all(&bytes[..count]), "standard error")
        } else {
            let mut out = io::stdout().lock();
            let shown = out.write_all(&bytes[..count]).and_then(|()| out.flush());
            (shown, "standard output")
        };
        if let Err(why) = shown {
            say::output_is_lost(name, &why);
            is_lost = true;
        }
    }
}

/// Waits until what the guest has said has been read from `unread`, and scanned.
pub(super) fn wait_until_read(unread: &OwnedFd) {
    const PATIENCE: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(10);
    let start = Instant::now();
    while ioctl_fionread(unread).is_ok_and(|count| count > 0) && start.elapsed() < PATIENCE {
        thread::sleep(PAUSE);
    }
    // The last of it has been read, and is being scanned.
    thread::sleep(PAUSE);
}

/// Gives the guest what the user types, until there is no more. On a terminal, Ctrl-A x ends the run.
pub(super) fn carry_input(mut to: impl Write, stop: &StopHandle) {
    let mut stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let mut escape = EscapeFilter::default();
    let mut bytes = [0; 1024];
    loop {
        let count = match stdin.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut input = VecDeque::new();
        if !is_terminal {
            input.extend(&bytes[..count]);
        } else if escape.feed(&bytes[..count], &mut input) {
            stop.stop(GuestEnd::Interrupted);
            return;
        }
        if to
            .write_all(input.make_contiguous())
            .and_then(|()| to.flush())
            .is_err()
        {
            return;
        }
    }
}
