//! What QEMU is told to be: a machine with nothing but a serial port and our devices.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{BootSource, GuestArch, GuestConfig, Qemu};
use crate::serve::monitor::{self, QemuDevice};

/// The firmware of a PC that boots a kernel and leaves devices alone: those of other firmware would be judged with
/// those of the kernel.
const KERNEL_LOADER: &str = "qboot.rom";

/// A command that starts it, with the guest stopped until QMP at `control` lets it run.
pub(super) fn of(
    qemu: &Qemu,
    config: &GuestConfig,
    sockets: &[PathBuf],
    directory: &Path,
    control: &Path,
) -> io::Result<Command> {
    let mut command = qemu.command();
    let memory = config.memory_bytes;
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        // An emulation that is the same everywhere; with KVM there is stickler's own machine.
        .args(["-accel", "tcg"])
        .args(["-m", &format!("{memory}B")])
        .args(["-smp", &config.cpus.to_string()])
        .args(["-chardev", "stdio,id=serial,signal=off"])
        .args(["-serial", "chardev:serial"])
        // QMP says how the guest has ended, and QEMU waits for us then.
        .arg("-S")
        .args(["-action", "reboot=shutdown,shutdown=pause"]);
    let mut option = OsString::from("socket,id=qmp,server=on,wait=off,path=");
    option.push(comma(control));
    command
        .arg("-chardev")
        .arg(option)
        .args(["-mon", "chardev=qmp,mode=control"]);
    let mut rom = None;
    match &config.boot {
        BootSource::Kernel {
            kernel,
            initrd,
            command_line,
        } => {
            command.args(["-machine", config.arch.machine(), "-cpu", "max"]);
            if config.arch == GuestArch::X86_64 {
                command.args(["-bios", KERNEL_LOADER]);
            }
            command
                .arg("-kernel")
                .arg(kernel)
                .args(["-append", command_line]);
            if let Some(initrd) = initrd {
                command.arg("-initrd").arg(initrd);
            }
        }
        BootSource::Firmware { firmware, .. } => {
            let [machine, cpu] = firmware.machine();
            command
                .args(["-machine", machine, "-cpu", cpu])
                .args(firmware.options(directory)?);
            rom = firmware.rom();
        }
    }
    let devices = sockets.iter().enumerate().map(|(place, socket)| {
        let mut device = QemuDevice::new(socket);
        // Network cards come first.
        if let (0, Some(rom)) = (place, rom) {
            device.set("romfile", json!(rom));
            device.set("bootindex", json!(0));
        }
        device
    });
    for option in monitor::qemu_options(devices, memory) {
        command.args(option);
    }
    Ok(command)
}

/// A path in an option, where a comma would end it.
pub(crate) fn comma(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}
