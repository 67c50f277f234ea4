//! Ends of the guest.

use std::fs::{self, File};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use stickler_exerciser::{
    GuestLine, LIFE_PARAMETER, LastStep, SECOND_INITRD, SECOND_KERNEL, SECOND_LIFE,
};

use crate::busy::Busy;
use crate::failure::{Context, Result};
use crate::machine::{mark, say};
use crate::sys;

/// Ends in the way `how`, without an exercise, which the kernel's command line asks for. Where it returns,
/// the first process ends, at which the kernel panics.
pub(crate) fn now(how: &str) -> ExitCode {
    match how {
        "power-off" => {
            say(&GuestLine::Passed);
            sys::power_off();
        }
        "reset" => sys::restart(),
        "hang" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        "panic" => {}
        other => say(&format_args!("exercise: unknown end {other:?}")),
    }
    ExitCode::FAILURE
}

/// How long devices are in use before the machine ends.
const IN_USE: Duration = Duration::from_secs(1);

/// Ends a guest whose exercise is done. Returns only if the machine is still on.
pub(crate) fn last(step: LastStep, passed: bool, patience: Duration) {
    match step {
        LastStep::PowerOff => {
            mark(step.name());
            if passed {
                say(&GuestLine::Passed);
            }
            sys::power_off();
        }
        LastStep::PowerOffUnderLoad | LastStep::RebootUnderLoad => {
            // Mark and verdict come before the load: nothing of it may be on the way to the serial port.
            mark(step.name());
            if passed {
                say(&GuestLine::Passed);
            }
            let _busy = Busy::at_the_end();
            thread::sleep(IN_USE);
            in_time(step, patience, || {
                if step == LastStep::RebootUnderLoad {
                    sys::restart();
                } else {
                    sys::power_off();
                }
            });
        }
        LastStep::Kexec => {
            mark(step.name());
            let _busy = Busy::at_the_end();
            thread::sleep(IN_USE);
            if let Err(error) = load_second() {
                return still_on(step, &error);
            }
            in_time(step, patience, sys::start_loaded);
        }
    }
    still_on(step, "the machine is still on");
}

/// Does what should not return. If it does not even do that, says so and resets the machine.
fn in_time(step: LastStep, patience: Duration, end: impl FnOnce()) {
    let (sender, receiver) = mpsc::channel::<()>();
    thread::spawn(move || {
        if receiver.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            sys::show_stacks();
            still_on(
                step,
                &format!("the machine is still on after {} s", patience.as_secs()),
            );
            sys::reset();
        }
    });
    end();
    drop(sender);
}

fn still_on(step: LastStep, message: &str) {
    say(&GuestLine::Failed {
        step: step.name().to_owned(),
        message: message.to_owned(),
    });
}

/// Loads the kernel that runs after this one.
fn load_second() -> Result {
    let open = |path: &str| File::open(path).context(format!("cannot open {path}"));
    let (kernel, initrd) = (open(SECOND_KERNEL)?, open(SECOND_INITRD)?);
    let line = fs::read_to_string("/proc/cmdline").context("cannot read /proc/cmdline")?;
    let line = format!("{} {LIFE_PARAMETER}={SECOND_LIFE}", line.trim());
    sys::load_kernel(&kernel, &initrd, &line).context("the kernel takes no second one")
}
