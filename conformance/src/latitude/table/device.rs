//! Latitudes of features, device status and configuration (§2.1 to §2.3 of virtio 1.0).

use super::latitudes;
use crate::rules::{buffer, config, features, status};

latitudes! {
    table Device, chapter LatitudeDevice;

    REFUSED_FEATURES = "refused-features" ["2.2.2"] {
        does: "FEATURES_OK never stays set",
        fails: "The driver continues as if FEATURES_OK were set, or gives up without setting FAILED.",
        may_end_use: true,
        shows: ByRule,
        provokes: [
            GIVEN_UP = "status.failed.given-up", Should ["3.1.1-4"],
                "A driver that gives up on a device sets FAILED; it may reset the device later, and start again.";
        ]
    }
    FEW_FEATURES = "few-features" ["2.2", "6"] {
        does: "neither indirect descriptors nor event indices are offered",
        fails: "The driver gives up, or uses features that were not offered.",
        shows: Works,
        unless: [features::OFFERED, buffer::INDIRECT_NEGOTIATED],
        provokes: [
            COPE = "features.missing.cope", Should ["2.2.1-2"],
                "The driver works without features that are not offered.";
            ELSE_FAILED = "features.missing.else-failed", Must ["2.2.1-2"],
                "A driver that cannot work without a feature that is not offered sets FAILED.";
        ]
    }
    LIVE_AT_ARRIVAL = "live-at-arrival" ["2.1.2", "3.1.1-1"] {
        does: "the device is already live when the driver starts, as if firmware had used it, with an interrupt pending",
        fails: "The driver does not reset the device first, or expects its status to be 0.",
        shows: Live,
        unless: [status::RESET_FIRST],
        provokes: [
            ARRIVAL = "status.reset.live-device", Must ["3.1.1-1"],
                "The driver resets a device that is already live.";
        ]
    }
    SLOW_RESET = "slow-reset" ["4.1.4.3.1-7"] {
        does: "after a reset, device_status is 0 only after the driver has read it several times; other registers are already those of the reset device, and bits that are set meanwhile take effect when the reset is complete",
        fails: "The driver continues before the reset is complete, or gives up too early.",
        shows: ByRule,
        unless: [status::RESET_WAIT],
        provokes: [
            SLOW = "status.reset.slow", Must ["4.1.4.3.2-4"],
                "The driver reads device status until it is 0, before it initializes a device whose reset takes a while.";
        ]
    }
    FEATURE_SUBSET = "feature-subset" ["2.2", "2.2.2-1"] {
        does: "only a subset of the features is offered, and the subset varies",
        fails: "The driver gives up, or uses features that were not offered.",
        shows: Works,
        unless: [features::OFFERED, config::OPTIONAL, buffer::INDIRECT_NEGOTIATED],
        provokes: [
            SUBSET = "features.missing.any", May ["2.2.1-2"],
                "The driver works with any subset of features, or sets FAILED.";
        ]
    }
    UNKNOWN_FEATURES = "unknown-features" ["2.2", "4.1.4.3.1-3"] {
        does: "unassigned feature bits are offered, also above bit 63",
        fails: "The driver accepts all feature bits that are offered.",
        shows: ByRule,
        provokes: []
    }
    PICKY_FEATURES = "picky-features" ["2.2.2-2"] {
        does: "FEATURES_OK does not stay set if the driver accepted VIRTIO_F_RING_EVENT_IDX or, if the variation is odd, another feature (or two together) that the specification does not tell drivers to accept",
        fails: "The driver continues as if FEATURES_OK were set, or gives up without setting FAILED.",
        may_end_use: true,
        choices: Feature,
        shows: ByRule,
        provokes: [
            PICKY = "features.refused", Should ["3.1.1-4"],
                "If the device refuses the driver's features, the driver sets FAILED, or tries others after a reset.";
        ]
    }
    DEMANDING_FEATURES = "demanding-features" ["2.2.2-2"] {
        does: "FEATURES_OK stays set only if the driver accepted a certain feature, one of those offered that the specification does not tell drivers to accept",
        fails: "The driver continues as if FEATURES_OK were set, or gives up without setting FAILED.",
        excludes: [
            PICKY_FEATURES: "one of them refuses a feature, the other demands one",
            REFUSED_FEATURES: "one of them refuses all features, the other demands one",
        ],
        may_end_use: true,
        choices: Feature,
        shows: ByRule,
        unless: [status::REFUSAL],
        provokes: [
            DEMANDED = "features.demanded", Should ["3.1.1-4"],
                "If the device refuses a set of features that lacks one it needs, the driver sets FAILED, or tries others after a reset.";
        ]
    }
    REFUSES_LATER = "refuses-later" ["2.2.2", "2.2.2-2"] {
        does: "after the device was used once to three times, FEATURES_OK does not stay set the first time, or the first two times, that a driver initializes it again",
        fails: "The driver continues as if FEATURES_OK were set because it was set before, as after suspend, or gives up without setting FAILED.",
        excludes: [
            REFUSED_FEATURES: "one of them refuses features always, the other only later",
        ],
        may_end_use: true,
        choices: Of(&["1", "2", "3"]),
        shows: ByRule,
        unless: [status::REFUSAL],
        provokes: [
            REFUSED_LATER = "features.refused-later", Should ["3.1.1-4"],
                "If the device refuses features that it kept before, the driver sets FAILED, or tries others after a reset.";
        ]
    }
    UNSETTLED_CONFIGURATION = "unsettled-configuration" ["2.3.1", "4.1.4.3.1-6"] {
        does: "the configuration and config_generation occasionally change between two reads of the configuration, also where the driver does not read config_generation",
        fails: "The driver combines halves of two different values.",
        shows: ByRule,
        provokes: []
    }
    NEEDS_RESET = "needs-reset" ["2.1.2-3", "2.1.2-4"] {
        does: "the device sets DEVICE_NEEDS_RESET some time after it went live",
        fails: "The driver waits for requests that will never be completed.",
        may_end_use: true,
        shows: ByRule,
        provokes: []
    }
}
