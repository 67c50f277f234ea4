//! The machine around the devices: file systems, modules, the serial port, the end.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};

use stickler_exerciser::{GuestLine, LATITUDES_PARAMETER, MODULES};

use crate::doing;
use crate::failure::{Context, Result};
use crate::sys;

/// Mounts the file systems the kernel offers.
pub(crate) fn mount_file_systems() -> Result {
    for (kind, at, path) in [
        (c"proc", c"/proc", "/proc"),
        (c"sysfs", c"/sys", "/sys"),
        (c"devtmpfs", c"/dev", "/dev"),
    ] {
        fs::create_dir_all(path).context(format!("cannot make {path}"))?;
        match sys::mount_at(kind, at) {
            // The kernel may have mounted /dev itself.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
            result => result.context(format!("cannot mount {path}"))?,
        }
    }
    Ok(())
}

/// Loads the modules that came with us, in the order in which they are listed.
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

/// The value of `name=` on the kernel's command line.
pub(crate) fn parameter(name: &str) -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").ok()?;
    line.split_whitespace().find_map(|word| {
        let (key, value) = word.split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// Whether the devices make use of this latitude.
pub(crate) fn has_latitude(name: &str) -> bool {
    parameter(LATITUDES_PARAMETER).is_some_and(|words| words.split(',').any(|word| word == name))
}

/// Puts a mark on stickler's timeline.
pub(crate) fn mark(name: &str) {
    say(&GuestLine::Mark(name.to_owned()));
}

/// Writes a line to the serial port.
pub(crate) fn say(line: &dyn Display) {
    let line = line.to_string().replace(['\n', '\r'], " | ");
    let written = File::options()
        .write(true)
        .open("/dev/ttyS0")
        .and_then(|mut serial| serial.write_all(format!("{line}\n").as_bytes()));
    if written.is_err() {
        println!("{line}");
    }
}
