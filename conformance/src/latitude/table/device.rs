//! Latitudes of features, device status and configuration (§2.1 to §2.3 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Device, chapter LatitudeDevice;

    REFUSED_FEATURES = "refused-features" ["2.2.2"] {
        does: "FEATURES_OK never stays set",
        fails: "The driver goes on as if FEATURES_OK were set, or leaves without FAILED.",
        may_end_use: true,
        shows: ByRule,
        provokes: [
            GIVEN_UP = "status.failed.given-up", Should ["3.1.1-4"],
                "A driver that gives up on a device sets FAILED; it may reset the device later, and begin anew.";
        ]
    }
    FEW_FEATURES = "few-features" ["2.2", "6"] {
        does: "neither indirect descriptors nor event indices are offered",
        fails: "The driver gives up, or uses what was not offered.",
        shows: Live,
        provokes: [
            COPE = "features.missing.cope", Should ["2.2.1-2"],
                "The driver works without features that are not offered.";
            ELSE_FAILED = "features.missing.else-failed", Must ["2.2.1-2"],
                "A driver that cannot work without a feature that is not offered sets FAILED.";
        ]
    }
    LIVE_AT_ARRIVAL = "live-at-arrival" ["2.1.2", "3.1.1-1"] {
        does: "the device is live when the driver arrives, as firmware left it, with an interrupt pending",
        fails: "The driver does not reset the device first, or wants its status to be 0.",
        shows: Live,
        provokes: [
            ARRIVAL = "status.reset.live-device", Must ["3.1.1-1"],
                "The driver resets a device that it finds live.";
        ]
    }
    SLOW_RESET = "slow-reset" ["4.1.4.3.1-7"] {
        does: "it takes a number of reads of status after a reset until it is 0",
        fails: "The driver goes on before the reset is complete, or gives up too early.",
        shows: Live,
        provokes: [
            SLOW = "status.reset.slow", Must ["4.1.4.3.2-4"],
                "The driver waits for a reset that takes its time.";
        ]
    }
    FEATURE_SUBSET = "feature-subset" ["2.2", "2.2.2-1"] {
        does: "of the features only some are offered, and which varies",
        fails: "The driver gives up, or uses what was not offered.",
        shows: Live,
        provokes: [
            SUBSET = "features.missing.any", May ["2.2.1-2"],
                "The driver works with any subset of features, or sets FAILED.";
        ]
    }
    UNKNOWN_FEATURES = "unknown-features" ["2.2", "4.1.4.3.1-3"] {
        does: "feature bits are offered that no driver can know, above bit 63 as well",
        fails: "The driver accepts all that is offered.",
        shows: ByRule,
        provokes: []
    }
    PICKY_FEATURES = "picky-features" ["2.2.2-2"] {
        does: "FEATURES_OK does not stay set if one feature was accepted: VIRTIO_F_RING_EVENT_IDX, or, if the variation is odd, any other that a driver is not told to accept, or if two such were accepted together",
        fails: "The driver goes on as if FEATURES_OK were set, or leaves without FAILED.",
        may_end_use: true,
        shows: ByRule,
        provokes: [
            PICKY = "features.refused", Should ["3.1.1-4"],
                "A driver whose features the device refuses sets FAILED, or tries others after a reset.";
        ]
    }
    UNSETTLED_CONFIGURATION = "unsettled-configuration" ["2.3.1", "4.1.4.3.1-6"] {
        does: "now and then the configuration changes between two reads of it, and config_generation with it",
        fails: "The driver puts a value together from halves of two.",
        shows: ByRule,
        provokes: []
    }
    NEEDS_RESET = "needs-reset" ["2.1.2-3", "2.1.2-4"] {
        does: "some time after the device went live, it needs a reset",
        fails: "The driver waits for the completion of what will never be complete.",
        may_end_use: true,
        shows: ByRule,
        provokes: []
    }
}
