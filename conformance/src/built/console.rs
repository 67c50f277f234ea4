//! The console device (§5.3).

use super::built;

built! {
    "device.console.emergency-write", Must ["5.3.5.1-1"],
        "emerg_wr can be written at any time, also before the device is configured.",
        code "console/mod.rs",
        test "console/tests/configuration.rs" emergency_writes_work_on_an_unconfigured_device;
    "device.console.emergency-output", Should ["5.3.5.1-2"],
        "The lower byte written to emerg_wr is output.",
        choice "On port 0, past what waits in its queue.",
        code "console/mod.rs",
        test "console/tests/configuration.rs" emergency_writes_work_on_an_unconfigured_device;
    "device.console.add", MustNot ["5.3.6.2.1-1"],
        "DEVICE_ADD names no port that exists already, and none from max_nr_ports on.",
        code "console/control.rs",
        test "console/tests/mod.rs" whatever_happens_the_device_keeps_to_its_part;
    "device.console.remove", MustNot ["5.3.6.2.1-2"],
        "DEVICE_REMOVE names no port that was not added.",
        choice "Ports stay, so DEVICE_REMOVE is never sent.",
        code "console/control.rs",
        test "console/tests/mod.rs" whatever_happens_the_device_keeps_to_its_part;
}
