//! What QEMU is told to be: a PC with nothing but a serial port and our devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{GuestConfig, Qemu};
use crate::serve::monitor;

/// The firmware. It boots a kernel and leaves devices alone: those of other firmware would be judged with those of
/// the kernel.
const FIRMWARE: &str = "qboot.rom";

/// A command that starts it, with the guest stopped until QMP at `control` lets it run.
pub(super) fn of(
    qemu: &Qemu,
    config: &GuestConfig,
    sockets: &[PathBuf],
    control: &Path,
) -> Command {
    let mut command = qemu.command();
    let memory = config.memory_bytes;
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        // An emulation that is the same everywhere; with KVM there is stickler's own machine.
        .args(["-machine", "q35", "-accel", "tcg", "-cpu", "max"])
        .args(["-bios", FIRMWARE])
        .args(["-m", &format!("{memory}B")])
        .args(["-smp", &config.cpus.to_string()])
        .args(["-chardev", "stdio,id=serial,signal=off"])
        .args(["-serial", "chardev:serial"])
        // QMP says how the guest has ended, and QEMU waits for us then.
        .arg("-S")
        .args(["-action", "reboot=shutdown,shutdown=pause"])
        .args([
            "-chardev",
            &format!("socket,id=qmp,server=on,wait=off,path={}", comma(control)),
        ])
        .args(["-mon", "chardev=qmp,mode=control"])
        .arg("-kernel")
        .arg(&config.kernel)
        .args(["-append", &config.command_line]);
    if let Some(initrd) = &config.initrd {
        command.arg("-initrd").arg(initrd);
    }
    for option in monitor::qemu_options(sockets, memory) {
        command.args(option);
    }
    command
}

/// A path in an option, where a comma would end it.
fn comma(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}
