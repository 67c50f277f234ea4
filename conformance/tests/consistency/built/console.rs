//! Requirements on devices: the console device.

use super::declare;

declare! {
    "device.console.emergency-write":
        "console/mod.rs", "console/tests/configuration.rs" emergency_writes_work_on_an_unconfigured_device;
    "device.console.emergency-output":
        "console/mod.rs", "console/tests/configuration.rs" emergency_writes_work_on_an_unconfigured_device;
    "device.console.add":
        "console/control.rs", "console/tests/mod.rs" whatever_happens_the_device_keeps_to_its_part;
    "device.console.remove":
        "console/control.rs", "console/tests/mod.rs" whatever_happens_the_device_keeps_to_its_part;
}
