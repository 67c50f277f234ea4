//! Latitudes of the console device (§5.3 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Console, chapter LatitudeConsole;

    PORTS_COME_AND_GO = "ports-come-and-go" ["5.3.6.2"] {
        does: "a port other than port 0 is removed and added again when the driver has set it up, and when it has closed it",
        fails: "The driver does not know what to do with DEVICE_REMOVE, or takes no port twice.",
        shows: Used,
        provokes: [
            PORTS = "console.port.removed", Must ["5.3.6.2"],
                "The driver copes with ports that are removed, and added again.";
        ]
    }
    PORTS_OPEN_AND_CLOSE = "ports-open-and-close" ["5.3.6.2"] {
        does: "now and then the host's side of a port is closed and opened again",
        fails: "The driver takes a closed port for one that is gone, and never uses it again.",
        shows: Used,
        provokes: [
            CLOSED = "console.port.host-closed", Must ["5.3.6.2"],
                "The driver copes with ports that are closed by the host, and opened again.";
        ]
    }
    EARLY_INPUT = "early-input" ["5.3.6"] {
        does: "input for port 0 comes as soon as there are buffers for it, before the driver has opened the port",
        fails: "The driver throws the input away, or returns no buffer once it has come.",
        shows: Used,
        provokes: [
            INPUT = "console.input.before-open", Must ["5.3.6"],
                "The driver takes input from the moment it has given buffers for it.";
        ]
    }
    SIZE_CHANGES = "size-changes" ["5.3.4", "5.3.6"] {
        does: "the console's size changes while it is used",
        fails: "The driver does not learn of the new size, or cannot have one that is out of the ordinary.",
        shows: Used,
        provokes: [
            SIZE = "console.size.changed", Must ["5.3.6"],
                "The driver copes with any size of the console, and with changes of it.";
        ]
    }
}
