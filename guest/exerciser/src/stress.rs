//! Drivers that come and go for seconds, in an order that looks random, while their devices are in use.

use std::thread;
use std::time::{Duration, Instant};

use stickler_exerciser::{STRESS_PARAMETER, pattern};

use crate::busy::Busy;
use crate::console;
use crate::devices::{self, Device, Kind};
use crate::drivers::{Bus, rebind_device};
use crate::failure::{Context, Result};
use crate::machine::parameter;

/// How long each of the two exercises here takes unless the command line says otherwise.
const USUAL: Duration = Duration::from_secs(3);

/// The longest pause before the next driver goes, in milliseconds: long enough for a device to be in full use.
const PAUSE: u8 = 40;

/// Drivers of all devices but consoles go and come while all of these are in use.
pub(crate) fn devices(giving_up: bool) -> Result {
    let busy = Busy::devices();
    rounds(giving_up, |kind| kind != Kind::Console)?;
    busy.end()
}

/// Drivers of consoles go and come while their terminal and ports are written and read.
pub(crate) fn consoles(giving_up: bool) -> Result {
    let busy = Busy::consoles();
    rounds(giving_up, |kind| kind == Kind::Console)?;
    busy.end()?;
    console::settle()
}

/// Takes drivers from devices of these kinds and gives them back until the time has passed.
fn rounds(giving_up: bool, takes_part: impl Fn(Kind) -> bool) -> Result {
    let begin = Instant::now();
    let time = match parameter(STRESS_PARAMETER) {
        Some(seconds) => Duration::from_secs(seconds.parse().context(STRESS_PARAMETER)?),
        None => USUAL,
    };
    for round in 0.. {
        let devices: Vec<Device> = devices::all()?
            .into_iter()
            .filter(|device| device.kind().is_some_and(&takes_part))
            .filter(|device| !(giving_up && device.is_given_up()))
            .collect();
        if devices.is_empty() || begin.elapsed() >= time {
            break;
        }
        let choice = pattern::bytes(round, 4);
        thread::sleep(Duration::from_millis(u64::from(choice[0] % PAUSE)));
        let device = &devices[usize::from(choice[1]) % devices.len()];
        let bus = match choice[2] % 4 {
            0 => Bus::Pci,
            1 => Bus::Rescan,
            _ => Bus::Virtio,
        };
        rebind_device(bus, device, giving_up).context(format!("in round {}", round + 1))?;
    }
    Ok(())
}
