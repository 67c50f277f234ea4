//! The first process of the guests that `stickler check`, the demo and the end-to-end tests boot: it drives
//! every device hard, and compares all data.
//!
//! It writes `@mark NAME` to the serial port before each step, a line for each step that failed, and one
//! when everything worked. Then it powers off. Parameters on the kernel's command line choose between ways
//! to use a device; [`stickler_exerciser`] lists them.
//!
//! The build script of stickler compiles it with nothing but `rustc`: it uses no other crate.

mod block;
mod busy;
mod command;
mod complaints;
mod console;
mod devices;
mod drivers;
mod end;
mod entropy;
mod failure;
mod file_system;
mod lives;
mod machine;
mod net;
mod stress;
mod sys;
mod view;

use std::collections::BTreeSet;
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use stickler_exerciser::{
    COMMAND, CPUS_PARAMETER, DEVICES_PARAMETER, END_PARAMETER, GIVING_UP_PARAMETER, GuestLine,
    LAST_PARAMETER, LIFE_PARAMETER, LastStep, MEMORY_PARAMETER, PATIENCE_PARAMETER, SECOND_LIFE,
    STEPS_PARAMETER, Step,
};

use crate::devices::{Device, Kind};
use crate::drivers::Bus;
use crate::failure::{Context, Result};
use crate::machine::{mark, say};

/// How long a step may take unless the command line says otherwise. A driver that lost an interrupt waits
/// for ever.
const PATIENCE: Duration = Duration::from_secs(100);

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("stickler-exerciser can only run as the first process of a guest");
        return ExitCode::from(2);
    }
    let mut exercise = Exercise::default();
    match machine::mount_file_systems() {
        Ok(()) => {
            if let Some(how) = machine::parameter(END_PARAMETER) {
                return end::now(&how);
            }
            exercise.run();
        }
        Err(error) => exercise.failed("machine", &error),
    }
    if !exercise.hung {
        sys::write_back();
    }
    // Where something is wrong already, the guest ends in the simplest way.
    let last = if exercise.failed {
        LastStep::PowerOff
    } else {
        exercise.last
    };
    if exercise.hung {
        // A driver that waits for its device can keep the machine from being switched off.
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(10));
            sys::reset();
        });
    }
    end::last(last, !exercise.failed, patience());
    ExitCode::FAILURE
}

/// Whether another kernel of this guest has started this one.
fn second_life() -> bool {
    machine::parameter(LIFE_PARAMETER).as_deref() == Some(SECOND_LIFE)
}

/// How long a step may take.
fn patience() -> Duration {
    machine::parameter(PATIENCE_PARAMETER)
        .and_then(|seconds| seconds.parse().ok())
        .map_or(PATIENCE, Duration::from_secs)
}

/// What the current step does, to be reported if the step does not end.
static DOING: Mutex<String> = Mutex::new(String::new());

/// Notes what the current step does now.
pub(crate) fn doing(what: impl Into<String>) {
    if let Ok(mut doing) = DOING.lock() {
        *doing = what.into();
    }
}

/// The state of the exercise.
#[derive(Default)]
struct Exercise {
    /// A driver may give up on its device.
    giving_up: bool,
    /// Kinds of devices that are not used any more.
    lost: BTreeSet<Kind>,
    /// A step has not ended in its time.
    hung: bool,
    failed: bool,
    /// How the guest ends when everything has worked.
    last: LastStep,
}

impl Exercise {
    fn run(&mut self) {
        self.giving_up = machine::parameter(GIVING_UP_PARAMETER).as_deref() == Some("yes");
        let steps = match self.choose() {
            Ok(steps) => steps,
            Err(error) => return self.failed("machine", &error),
        };
        if let Some(names) = machine::parameter(DEVICES_PARAMETER) {
            let kinds: Vec<Option<Kind>> = names.split(',').map(|name| name.parse().ok()).collect();
            if kinds.contains(&None) {
                return self.failed("machine", &format!("{DEVICES_PARAMETER}: no such devices"));
            }
            let absent = Kind::ALL
                .into_iter()
                .filter(|kind| !kinds.contains(&Some(*kind)));
            self.lost.extend(absent);
        }
        mark("modules");
        // A driver that is loaded may wait for its device.
        if let Err(error) = self.in_time(machine::load_modules) {
            return self.failed("modules", &error);
        }
        if std::path::Path::new(COMMAND).exists() {
            mark("command");
            if let Err(error) = command::run() {
                self.failed("command", &error);
            }
            return;
        }
        if [CPUS_PARAMETER, MEMORY_PARAMETER]
            .iter()
            .any(|name| machine::parameter(name).is_some())
        {
            mark("machine");
            if let Err(error) = machine::check_size() {
                self.failed("machine", &error);
            }
        }
        mark("drivers");
        if let Err(error) = devices::wait_for_drivers(self.giving_up) {
            self.failed("drivers", &error);
            // The steps would all fail for the same reason.
            let devices = devices::all().unwrap_or_default();
            let undriven = devices.iter().filter(|device| !device.is_driven());
            self.lost.extend(undriven.filter_map(Device::kind));
        }
        self.note_lost();
        if second_life() {
            self.of_kind(
                Kind::Console,
                "second-life",
                console::exercise_after_another,
            );
            self.use_again(LastStep::Kexec.name());
        }
        for step in steps {
            self.step(step);
        }
        self.of_kind(Kind::Block, "block-end", block::leave);
        mark("kernel-log");
        if let Err(error) = complaints::check() {
            self.failed("kernel-log", &error);
        }
    }

    /// Which steps there are, and how the guest ends, as the kernel's command line says.
    fn choose(&mut self) -> Result<Vec<Step>> {
        if second_life() {
            // What shuts devices down is met once more.
            self.last = LastStep::PowerOffUnderLoad;
            return Ok(Vec::new());
        }
        if let Some(name) = machine::parameter(LAST_PARAMETER) {
            self.last = name.parse().context(LAST_PARAMETER)?;
        }
        match machine::parameter(STEPS_PARAMETER) {
            Some(names) => names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| name.parse().context(STEPS_PARAMETER))
                .collect(),
            None => Ok(Step::QUIET.to_vec()),
        }
    }

    fn step(&mut self, step: Step) {
        if self.hung
            && !matches!(
                step,
                Step::Block | Step::Network | Step::Console | Step::Entropy
            )
        {
            // A driver that waits for its device can neither be unbound nor frozen.
            return;
        }
        let name = step.name();
        let giving_up = self.giving_up;
        match step {
            Step::Block => self.of_kind(Kind::Block, name, block::exercise),
            Step::Network => self.of_kind(Kind::Net, name, net::exercise),
            Step::Console => self.of_kind(Kind::Console, name, console::exercise),
            Step::Entropy => self.of_kind(Kind::Entropy, name, entropy::exercise),
            Step::RebindDrivers => {
                self.of_all(name, move || drivers::rebind(Bus::Virtio, giving_up));
            }
            Step::RebindTransport => {
                self.of_all(name, move || drivers::rebind(Bus::Pci, giving_up));
            }
            Step::Rescan => self.of_all(name, move || drivers::rebind(Bus::Rescan, giving_up)),
            Step::Stress => self.of_all(name, move || stress::devices(giving_up)),
            Step::StressConsoles => self.of_all(name, move || stress::consoles(giving_up)),
            Step::Freeze => self.of_all(name, lives::freeze),
            Step::Processors => self.of_all(name, lives::processors),
            Step::View => {
                mark(name);
                if let Err(error) = self.in_time(view::look) {
                    self.failed(name, &error);
                }
            }
        }
    }

    /// A step with the drivers of all devices, after which each device works as before.
    fn of_all(&mut self, name: &str, work: impl FnOnce() -> Result + Send + 'static) {
        mark(name);
        if let Err(error) = self.in_time(work) {
            self.failed(name, &error);
        }
        self.note_lost();
        self.use_again(name);
    }

    /// Uses all devices after the step `name`.
    fn use_again(&mut self, name: &str) {
        self.of_kind(
            Kind::Block,
            &format!("block-after-{name}"),
            block::use_again,
        );
        self.of_kind(Kind::Net, &format!("network-after-{name}"), net::use_again);
        self.of_kind(
            Kind::Console,
            &format!("console-after-{name}"),
            console::exercise,
        );
        self.of_kind(
            Kind::Entropy,
            &format!("entropy-after-{name}"),
            entropy::exercise,
        );
    }

    /// One step with the devices of a kind.
    fn of_kind(&mut self, kind: Kind, name: &str, work: fn() -> Result) {
        if self.lost.contains(&kind) {
            return;
        }
        mark(name);
        let Err(error) = self.in_time(work) else {
            return;
        };
        let devices = devices::of(kind).unwrap_or_default();
        if self.giving_up && devices.iter().any(Device::is_given_up) {
            self.note_lost();
        } else {
            let how: Vec<String> = devices.iter().map(Device::describe).collect();
            self.failed(name, &format!("{error} ({})", how.join("; ")));
        }
        if self.hung {
            self.lost.insert(kind);
        }
    }

    /// Does `work`, unless it takes too long.
    fn in_time(&mut self, work: impl FnOnce() -> Result + Send + 'static) -> Result {
        doing("starting");
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            sender.send(work()).ok();
        });
        let patience = patience();
        let mut result = receiver.recv_timeout(patience / 2);
        if result == Err(RecvTimeoutError::Timeout) {
            // Where something hangs, the kernel may say so, and show where, before the step is given up.
            sys::show_all_messages();
            result = receiver.recv_timeout(patience / 2);
        }
        match result {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                self.hung = true;
                let doing = DOING.lock().map(|doing| doing.clone()).unwrap_or_default();
                Err(format!(
                    "timed out after {} s while {doing}",
                    patience.as_secs()
                ))
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic::resume_unwind(Box::new("a step panicked"))
            }
        }
    }

    /// Notes the devices that their drivers gave up on, where they may.
    fn note_lost(&mut self) {
        if !self.giving_up {
            return;
        }
        for device in devices::all().unwrap_or_default() {
            if (!device.is_driven() || device.is_given_up())
                && let Some(kind) = device.kind()
                && self.lost.insert(kind)
            {
                say(&GuestLine::GivenUp {
                    kind,
                    state: device.state(),
                });
            }
        }
    }

    fn failed(&mut self, step: &str, error: &str) {
        say(&GuestLine::Failed {
            step: step.to_owned(),
            message: error.to_owned(),
        });
        if !self.failed {
            for line in complaints::latest_warnings() {
                say(&format_args!("exercise: the kernel says: {line}"));
            }
        }
        self.failed = true;
    }
}
