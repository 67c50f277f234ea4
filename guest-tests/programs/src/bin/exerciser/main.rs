//! The first process of a guest that exercises all of stickler's devices.
//!
//! It writes `@mark NAME` to the serial port before each step and a line for what failed. When
//! everything worked it powers off; otherwise it ends, and the kernel panics, so that nobody can
//! take a failure for a success.

mod block;
mod complaints;
mod console;
mod drivers;
mod entropy;
mod network;
mod processors;
mod rogue;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rustix::system::RebootCommand;
use stickler_guest_programs::exercise::{
    END_PARAMETER, NETWORK_PARAMETER, PASSED, REBIND_PARAMETER,
};
use stickler_guest_programs::machine;
use stickler_guest_programs::serial::{mark, say};

use crate::drivers::Bus;

fn main() -> ExitCode {
    if !machine::is_first_process() {
        eprintln!("exerciser is the first process of a guest and nothing else");
        return ExitCode::from(2);
    }
    match exercise() {
        Ok(()) => {
            say(PASSED);
            machine::power_off();
        }
        Err(error) => say(&format!("exercise: failed: {error:#}")),
    }
    ExitCode::FAILURE
}

fn exercise() -> Result<()> {
    machine::mount_file_systems()?;
    if let Some(end) = machine::kernel_parameter(END_PARAMETER)? {
        return end_now(&end);
    }
    mark("modules");
    machine::load_modules()?;
    drivers::wait_for_all()?;
    let network = network::Network::from_command_line(
        machine::kernel_parameter(NETWORK_PARAMETER)?.as_deref(),
    )?;

    let mut failures = 0;
    let mut step = |name: &str, work: &mut dyn FnMut() -> Result<()>| {
        mark(name);
        if let Err(error) = work() {
            say(&format!("exercise: {name}: {error:#}"));
            failures += 1;
        }
    };
    step("machine", &mut processors::check);
    step("block", &mut block::exercise);
    step("network", &mut || network.exercise());
    step("console", &mut console::exercise);
    step("entropy", &mut entropy::exercise);
    if machine::kernel_parameter(REBIND_PARAMETER)?.as_deref() != Some("no") {
        for (bus, name) in [(Bus::Virtio, "drivers"), (Bus::Pci, "transport")] {
            step(&format!("rebind-{name}"), &mut || {
                drivers::rebind(bus, &network)
            });
            step(&format!("block-after-{name}"), &mut block::use_again);
            step(&format!("network-after-{name}"), &mut || {
                network.use_again()
            });
            step(&format!("console-after-{name}"), &mut console::exercise);
            step(&format!("entropy-after-{name}"), &mut entropy::exercise);
        }
    }
    step("kernel-log", &mut complaints::check);
    mark("power-off");
    ensure!(failures == 0, "{failures} steps failed");
    Ok(())
}

/// Ends in the way asked for, without any exercise.
fn end_now(how: &str) -> Result<()> {
    match how {
        "power-off" => Ok(()),
        "panic" => bail!("as asked"),
        "reset" => {
            rustix::system::reboot(RebootCommand::Restart)?;
            bail!("the reset has done nothing")
        }
        "rogue" => rogue::misbehave(),
        "hang" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        other => bail!("unknown end {other:?}"),
    }
}
