//! Capabilities in configuration space, the window through it, and registers that are only read
//! (§4.1.4).

use super::{Chapter, goes_live};
use crate::event::{Event, Register};
use crate::judge::Verdicts;
use crate::layout::{self, DeviceKind, NO_VECTOR, Structure, common};
use crate::requirement::Req;
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::config::END;

    CAPABILITY = "pci.capability.read-only", Driver MustNot ["4.1.4.1-7"], Asserted,
        "The driver writes into no virtio structure capability, but for the writable fields of the PCI configuration access capability.";
    WINDOW_LENGTH = "pci.window.length", Driver Must ["4.1.4.7"], Asserted,
        "An access through the PCI configuration access capability is 1, 2 or 4 bytes long.";
    WINDOW_ALIGNED = "pci.window.aligned", Driver MustNot ["4.1.4.7.2-1"], Asserted,
        "An access through the PCI configuration access capability is at a multiple of its length.";
    WINDOW_TARGET = "pci.window.target", Driver MustNot ["4.1.4.7.2-2"], Asserted,
        "An access through the PCI configuration access capability lies within a structure that another capability presents.";
    WINDOW_WHOLE = "pci.window.whole", Driver Should ["4.1.4.7"], Asserted,
        "A write through the PCI configuration access capability gives all of its bytes at once.";
    DEVICE_FEATURE = "common.device-feature.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "device_feature is not written.";
    NUM_QUEUES = "common.num-queues.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "num_queues is not written.";
    CONFIG_GENERATION = "common.config-generation.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "config_generation is not written.";
    QUEUE_NOTIFY_OFF = "common.queue-notify-off.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "queue_notify_off is not written.";
    COMMON_FIELDS = "common.fields-only", Driver ShouldNot ["4.1.4.3", "4.1.4.1"], Asserted,
        "Nothing is written to the common configuration where none of its fields is.";
    DEVICE_FIELDS = "config.fields-only", Driver ShouldNot ["2.3", "4.1.4.1"], Asserted,
        "Nothing is written to the device-specific configuration where none of its fields is.";
    ISR_READ_ONLY = "isr.read-only", Driver ShouldNot ["4.1.4.5"], Asserted,
        "ISR status is not written: reading it is what resets it.";
    ISR_WIDTH = "isr.width", Driver Should ["4.1.4.5"], Asserted,
        "ISR status is read by an access to its one byte.",
        readings [
            "at-its-offset": "It may be read together with the bytes behind it, to which the table of bits gives no meaning.",
            "one-byte": "It is a field of 8 bits, and need not have anything behind it.",
        ];
    ISR_WITH_MSIX = "isr.unused-with-msi-x", Driver ShouldNot ["4.1.4.5.2-1"], Asserted,
        "With MSI-X enabled, the driver does not read ISR status for a queue's interrupt.",
        readings [
            "queue-only": "Reading it when its bit of a configuration change is set is no answer to a queue's interrupt.",
            "never": "A live device's ISR status is not read at all while MSI-X is enabled.",
        ];
}

/// The registers of the common configuration that a driver only reads: offset and width.
static READ_ONLY: [(Req, u32, u32, &str); 4] = [
    (DEVICE_FEATURE, common::DEVICE_FEATURE, 4, "device_feature"),
    (NUM_QUEUES, common::NUM_QUEUES, 2, "num_queues"),
    (
        CONFIG_GENERATION,
        common::CONFIG_GENERATION,
        1,
        "config_generation",
    ),
    (
        QUEUE_NOTIFY_OFF,
        common::QUEUE_NOTIFY_OFF,
        2,
        "queue_notify_off",
    ),
];

/// What says where nothing is to be written, by structure.
static STRAY: [(Structure, Req); 3] = [
    (Structure::Common, COMMON_FIELDS),
    (Structure::Device, DEVICE_FIELDS),
    (Structure::Isr, ISR_READ_ONLY),
];

/// Where the fields of the PCI configuration access capability begin that a driver may write: `bar`.
const WINDOW_FIELDS: u8 = 4;

/// What this chapter remembers since the last reset.
#[derive(Default)]
pub(crate) struct Rules {
    capability_written: bool,
    /// The common configuration, the device-specific one, and ISR status: something was written there
    /// that is no field to be written.
    stray: [bool; STRAY.len()],
    /// Which of [`READ_ONLY`] have been written.
    written: [bool; READ_ONLY.len()],
    /// A queue has been mapped to a vector.
    vectors: bool,
    /// ISR status has been read for a queue's interrupt.
    isr_read: bool,
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules::default()
    }

    fn common_written(&mut self, register: &Register, verdicts: &mut Verdicts) {
        let (start, end) = (
            register.offset,
            register.offset.saturating_add(register.width.into()),
        );
        for ((requirement, offset, width, name), written) in READ_ONLY.iter().zip(&mut self.written)
        {
            if start < offset + width && *offset < end {
                *written = true;
                verdicts.violated(
                    *requirement,
                    None,
                    format!(
                        "{name} written: {} bytes at offset {start:#x} of the common configuration",
                        register.width
                    ),
                );
            }
        }
    }
}

impl Rules {
    /// Judges whether there is something to be written where the driver writes.
    fn stray(&mut self, register: &Register, kind: DeviceKind, verdicts: &mut Verdicts) {
        let fields = match register.structure {
            Structure::Common => layout::COMMON,
            Structure::Device => kind.config_fields(),
            _ => &[],
        };
        let bytes = (0..register.width.into()).map(|at| register.offset.saturating_add(at));
        if bytes
            .into_iter()
            .all(|at| layout::field_at(fields, at).is_some())
        {
            return;
        }
        for ((structure, requirement), stray) in STRAY.iter().zip(&mut self.stray) {
            if *structure == register.structure {
                *stray = true;
                let (width, offset) = (register.width, register.offset);
                let message = format!(
                    "{width} bytes written at offset {offset:#x} of the {}",
                    structure.name()
                );
                verdicts.violated(*requirement, None, message);
            }
        }
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        if let Event::RegisterWritten(register) = event {
            self.stray(register, session.kind, verdicts);
        }
        match *event {
            Event::RegisterRead(Register {
                structure: Structure::Isr,
                offset,
                width,
                ..
            }) => {
                let by = [offset == 0 && width <= 4, offset == 0 && width == 1];
                verdicts.check_by(ISR_WIDTH, by, None, || {
                    format!("{width} bytes read at offset {offset} of ISR status")
                });
            }
            Event::CapabilityWritten {
                cfg_type,
                offset,
                width,
            } if cfg_type != Structure::PciCfg.cfg_type() || offset < WINDOW_FIELDS => {
                self.capability_written = true;
                verdicts.violated(
                    CAPABILITY,
                    None,
                    format!(
                        "{width} bytes written at offset {offset} of a capability with cfg_type {cfg_type}"
                    ),
                );
            }
            // A length of 0 is the capability as it was at reset: whoever reads the whole of
            // configuration space (lspci does) reads pci_cfg_data too and means no access.
            Event::WindowAccessed {
                write: false,
                length: 0,
                ..
            } => {}
            // Reading: bar, offset and length may be written in any order, so it is the access that
            // must be aligned, not each state between the writes.
            Event::WindowAccessed {
                write,
                bar,
                offset,
                length,
                target,
                bytes,
            } => {
                let says = || {
                    format!(
                        "pci_cfg_data accessed with bar {bar}, offset {offset:#x}, length {length}"
                    )
                };
                if verdicts.check(WINDOW_LENGTH, matches!(length, 1 | 2 | 4), None, says) {
                    verdicts.check(WINDOW_ALIGNED, offset % length == 0, None, says);
                    let inside = target.is_some_and(|t| t != Structure::PciCfg);
                    verdicts.check(WINDOW_TARGET, inside, None, || {
                        format!("{}: no structure is there", says())
                    });
                    // Each write of a part writes all of it, the rest as it was left.
                    if write {
                        verdicts.check(WINDOW_WHOLE, u32::from(bytes) >= length, None, || {
                            format!("{}, of which {bytes} bytes were written", says())
                        });
                    }
                }
            }
            Event::RegisterWritten(register) if register.structure == Structure::Common => {
                self.common_written(&register, verdicts);
            }
            Event::VectorWritten {
                queue: Some(_),
                value,
                ..
            } => self.vectors |= value != NO_VECTOR,
            // A configuration change is no queue interrupt, and its bit in ISR status is set with
            // MSI-X as well.
            Event::IsrRead {
                value,
                msix_enabled: true,
            } if session.is_live() => {
                self.isr_read = true;
                let for_configuration = value & 2 != 0;
                verdicts.check_by(ISR_WITH_MSIX, [for_configuration, false], None, || {
                    format!("ISR status read as {value} while MSI-X is enabled")
                });
            }
            Event::StatusWritten { to: 0, .. } => {
                if session.is_live() && self.vectors && !self.isr_read {
                    verdicts.held(ISR_WITH_MSIX);
                }
                *self = Rules::default();
            }
            _ if goes_live(event) => {
                if !self.capability_written {
                    verdicts.held(CAPABILITY);
                }
                for ((_, requirement), stray) in STRAY.iter().zip(self.stray) {
                    if !stray {
                        verdicts.held(*requirement);
                    }
                }
                for ((requirement, ..), written) in READ_ONLY.iter().zip(self.written) {
                    if !written {
                        verdicts.held(*requirement);
                    }
                }
            }
            _ => {}
        }
    }
}
