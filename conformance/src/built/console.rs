//! The console device (§5.3 of virtio 1.0).

use super::built;

built! {
    chapter BuiltConsole;

    "device.console.emergency-write", Must ["5.3.5.1-1"],
        "emerg_wr can be written at any time, also before the device is configured.";
    "device.console.emergency-output", Should ["5.3.5.1-2"],
        "The lower byte written to emerg_wr is output.",
        choice "On port 0, before the output that waits in its queue.";
    "device.console.add", MustNot ["5.3.6.2.1-1"],
        "DEVICE_ADD names only a port that does not exist yet, with a number below max_nr_ports.";
    "device.console.remove", MustNot ["5.3.6.2.1-2"],
        "DEVICE_REMOVE names only a port that was added.",
        choice "DEVICE_REMOVE is sent only with the latitude ports-come-and-go.";
}
