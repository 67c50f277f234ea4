//! Latitudes of the console device (§5.3 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Console, chapter LatitudeConsole;

    PORTS_COME_AND_GO = "ports-come-and-go" ["5.3.6.2"] {
        does: "a port other than port 0 is removed and added again after the driver has set it up, and after the driver has closed it",
        fails: "The driver does not handle DEVICE_REMOVE, or does not accept a port a second time.",
        shows: Used,
        provokes: [
            PORTS = "console.port.removed", Must ["5.3.6.2"],
                "The driver copes with ports that are removed and added again.";
        ]
    }
    PORTS_OPEN_AND_CLOSE = "ports-open-and-close" ["5.3.6.2"] {
        does: "the host's side of a port is occasionally closed and opened again",
        fails: "The driver treats a closed port as a removed one, and never uses it again.",
        shows: Used,
        provokes: [
            CLOSED = "console.port.host-closed", Must ["5.3.6.2"],
                "The driver copes with ports that the host closes and opens again.";
        ]
    }
    EARLY_INPUT = "early-input" ["5.3.6"] {
        does: "input for port 0 arrives as soon as there are buffers for it, before the driver has opened the port",
        fails: "The driver discards the input, or adds no buffers after it.",
        shows: Used,
        provokes: [
            INPUT = "console.input.before-open", Must ["5.3.6"],
                "The driver accepts input as soon as it has added buffers for it.";
        ]
    }
    SIZE_CHANGES = "size-changes" ["5.3.4", "5.3.6"] {
        does: "the console's size changes while it is used",
        fails: "The driver does not notice the new size, or does not support an unusual size.",
        shows: Used,
        provokes: [
            SIZE = "console.size.changed", Must ["5.3.6"],
                "The driver copes with any size of the console, and with changes of the size.";
        ]
    }
}
