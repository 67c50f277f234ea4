//! Further lives of the drivers: frozen and thawed as for hibernation, and on processors that come and go.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use stickler_exerciser::GuestLine;

use crate::busy::Busy;
use crate::devices;
use crate::doing;
use crate::failure::{Context, Result, ensure};
use crate::machine::say;
use crate::sys::{self, Request};

/// How often each is done.
const ROUNDS: usize = 3;

/// How long the devices are in use before something happens to them.
const IN_USE: Duration = Duration::from_millis(200);

/// Freezes all drivers, makes an image of memory, and thaws them, as hibernation does before it writes the
/// image to a disk.
pub(crate) fn freeze() -> Result {
    const SNAPSHOT: &str = "/dev/snapshot";
    if !Path::new(SNAPSHOT).exists() {
        return skipped("freeze", "the kernel has no hibernation");
    }
    for round in 1..=ROUNDS {
        let busy = Busy::devices();
        thread::sleep(IN_USE);
        // Closed and opened for each round: the image is freed with it.
        let snapshot = File::open(SNAPSHOT).context("cannot open /dev/snapshot")?;
        let ask = |request, what: &str| {
            doing(format!("{what}, round {round}"));
            sys::control(&snapshot, request, &mut [0; 64])
                .context(format!("the kernel refuses {what} in round {round}"))
        };
        ask(Request::Freeze, "freezing all processes")?;
        let image = ask(Request::CreateImage, "freezing the drivers");
        ask(Request::Unfreeze, "thawing all processes")?;
        image?;
        drop(snapshot);
        thread::sleep(IN_USE);
        busy.end()?;
    }
    Ok(())
}

/// Takes each processor but the first away and gives it back.
pub(crate) fn processors() -> Result {
    let others: Vec<PathBuf> = devices::entries(Path::new("/sys/devices/system/cpu"))?
        .into_iter()
        .map(|processor| processor.join("online"))
        .filter(|online| online.exists())
        // Where the first can be taken away, the machine needs it all the same.
        .filter(|online| !online.starts_with("/sys/devices/system/cpu/cpu0"))
        .collect();
    if others.is_empty() {
        return skipped("processors", "no processor can be taken away");
    }
    let busy = Busy::devices();
    for _ in 0..ROUNDS {
        for online in &others {
            for (state, what) in [("0", "taking away"), ("1", "giving back")] {
                thread::sleep(IN_USE);
                doing(format!("{what} a processor by {}", online.display()));
                fs::write(online, state)
                    .context(format!("cannot write {state} to {}", online.display()))?;
                let now = fs::read_to_string(online).unwrap_or_default();
                ensure(now.trim() == state, || {
                    format!("{} is {:?} after {state:?}", online.display(), now.trim())
                })?;
            }
        }
    }
    busy.end()
}

/// A step that this guest cannot do.
fn skipped(step: &str, why: &str) -> Result {
    say(&GuestLine::Skipped {
        step: step.to_owned(),
        why: why.to_owned(),
    });
    Ok(())
}
