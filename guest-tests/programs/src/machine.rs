//! What the first process of a machine does.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;

pub use stickler_exerciser::PATH;

/// Mounts the file systems the kernel offers, and makes places for temporary files.
///
/// # Errors
///
/// When a mount fails.
pub fn mount_file_systems() -> Result<()> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(at).with_context(|| format!("cannot make {at}"))?;
        mount(kind, at, kind, MountFlags::empty(), None::<&CStr>)
            .with_context(|| format!("cannot mount {at}"))?;
    }
    Ok(())
}

/// Where an image lists its modules, a path a line.
pub const MODULES_LIST: &str = "/lib/modules/order";

/// Loads the modules that the image has, in the order in which they are listed.
///
/// # Errors
///
/// When the kernel refuses one.
pub fn load_modules() -> Result<()> {
    let order = match fs::read_to_string(MODULES_LIST) {
        Ok(order) => order,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("cannot read the list of modules"),
    };
    for path in order.lines() {
        load_module(path)?;
    }
    Ok(())
}

fn load_module(path: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open the module {path}"))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("the kernel refuses the module {path}")),
    }
}

/// Writes everything back and switches the machine off. Returns only if that fails.
pub fn power_off() {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        let message = format!("cannot switch the machine off: {error}\n");
        File::options()
            .write(true)
            .open("/dev/console")
            .and_then(|mut console| console.write_all(message.as_bytes()))
            .ok();
    }
}

/// Whether this is the first process of a machine.
#[must_use]
pub fn is_first_process() -> bool {
    std::process::id() == 1
}
