//! The machine around the devices: file systems, modules, processors and memory, the serial port.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::thread;

use stickler_exerciser::{
    CPUS_PARAMETER, GuestLine, LATITUDES_PARAMETER, MEMORY_PARAMETER, MODULES,
};

use crate::doing;
use crate::failure::{Context, Result, ensure};
use crate::sys;

/// Mounts the file systems the kernel offers.
pub(crate) fn mount_file_systems() -> Result {
    for (kind, at, path) in [
        (c"proc", c"/proc", "/proc"),
        (c"sysfs", c"/sys", "/sys"),
        (c"devtmpfs", c"/dev", "/dev"),
    ] {
        fs::create_dir_all(path).context(format!("cannot make {path}"))?;
        match sys::mount_at(kind, kind, at) {
            // The kernel may have mounted /dev itself.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
            result => result.context(format!("cannot mount {path}"))?,
        }
    }
    Ok(())
}

/// Loads the modules that the image has, in the order in which they are listed.
pub(crate) fn load_modules() -> Result {
    let order = match fs::read_to_string(MODULES) {
        Ok(order) => order,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot read the list of modules"),
    };
    for path in order.lines() {
        doing(format!("loading {path}"));
        let file = File::open(path).context(format!("cannot open the module {path}"))?;
        match sys::load_module(&file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result.context(format!("the kernel refuses the module {path}"))?,
        }
    }
    Ok(())
}

/// As many processors run, and as much memory is there, as the kernel's command line says.
pub(crate) fn check_size() -> Result {
    if let Some(expected) = parameter(CPUS_PARAMETER) {
        let expected: usize = expected.parse().context(CPUS_PARAMETER)?;
        let found = thread::available_parallelism()
            .context("the number of processors")?
            .get();
        ensure(found == expected, || {
            format!("{found} processors run instead of {expected}")
        })?;
    }
    if let Some(expected) = parameter(MEMORY_PARAMETER) {
        let expected: u64 = expected.parse().context(MEMORY_PARAMETER)?;
        let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
            .context("no MemTotal in /proc/meminfo")?
            >> 10;
        ensure(found >= expected, || {
            format!("the guest has {found} MiB of memory instead of {expected}")
        })?;
    }
    Ok(())
}

/// The value of `name=` on the kernel's command line.
pub(crate) fn parameter(name: &str) -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").ok()?;
    line.split_whitespace().find_map(|word| {
        let (key, value) = word.split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// Whether the devices use this latitude.
pub(crate) fn has_latitude(name: &str) -> bool {
    parameter(LATITUDES_PARAMETER).is_some_and(|words| words.split(',').any(|word| word == name))
}

/// Sets a mark, which the findings after it are reported under.
pub(crate) fn mark(name: &str) {
    say(&GuestLine::Mark(name.to_owned()));
}

/// Writes a line to the serial port, and waits until it is out: what happens next is to come after it.
pub(crate) fn say(line: &dyn Display) {
    let line = line.to_string().replace(['\n', '\r'], " | ");
    let written = File::options()
        .write(true)
        .open("/dev/ttyS0")
        .and_then(|mut serial| {
            serial.write_all(format!("{line}\n").as_bytes())?;
            sys::drain(&serial)
        });
    if written.is_err() {
        println!("{line}");
    }
}
