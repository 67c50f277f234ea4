//! Capabilities in configuration space, the window through it, and registers that are only read
//! (§4.1.4 of virtio 1.0).

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{
    ControlEvent, DataEvent, PciEvent, Register, RegisterEvent, StatusEvent, WindowField,
};
use crate::judge::Verdicts;
use crate::layout::{self, NO_VECTOR, Structure, common};
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::session::Session;

requirements! {
    chapter PciRegisters;

    CAPABILITY = "pci.capability.read-only", Driver MustNot ["4.1.4.1-7"], Asserted,
        "The driver writes into no virtio structure capability, but for the writable fields of the PCI configuration access capability.";
    WINDOW_LENGTH = "pci.window.length", Driver Must ["4.1.4.7"], Asserted,
        "An access through the PCI configuration access capability is 1, 2 or 4 bytes long.";
    WINDOW_ALIGNED = "pci.window.aligned", Driver MustNot ["4.1.4.7.2-1"], Asserted,
        "An access through the PCI configuration access capability is at a multiple of its length.",
        readings [
            "accessed": "It is the access that must be aligned, not each state between the writes of offset and length.",
            "written": "What is written to offset is a multiple of the length that is there.",
        ];
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

    @unobservable {
        "pci.structure.map-what-is-needed", Driver Should ["4.1.4.1-5"],
            "how much of a BAR is mapped shows nowhere: a device sees accesses, and those beyond the fields are judged as such",
            "The driver maps no more of a structure than it needs.";
    }
}

advice! {
    "pci":
        "Something is written to, or through, a capability that does not allow it.";
        "Treat virtio's capabilities as read-only, but for bar, offset, length and data of the PCI configuration access capability; keep accesses through that one aligned and inside a structure.";
    "pci.window.whole":
        "pci_cfg_data is written in parts: each part makes the device write all cap.length bytes, the others as they were before.";
        "Set cap.length to the width of the field, and write pci_cfg_data by one access as wide.";
    "common":
        "A register the device only presents is written; the write does nothing, and hides that something else was meant.";
        "Do not write device_feature, num_queues, config_generation or queue_notify_off; check the offsets in the driver's copy of the structure.";
    "common.fields-only":
        "A write goes to bytes of the common configuration that are no field of it: padding today, and a register of its own on a later device.";
        "Write fields by their own offset and width, and those of later versions only with the feature that makes them exist.";
    "isr":
        "The handler of a queue's MSI-X vector reads ISR status, which costs an exit each time and may take an INTx-style configuration change away.";
        "Read ISR status only in the handler of the INTx interrupt.";
    "isr.read-only":
        "ISR status is written, as one acknowledges interrupts of other devices, or those of virtio over MMIO.";
        "Read ISR status once: that resets it and takes the interrupt back.";
    "isr.width":
        "ISR status is read by an access that is wider than its byte. Where it is the last thing in its BAR, or stands at an odd address, that fails.";
        "Read one byte at the offset of the ISR status capability.";
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
static STRAY: [(Structure, Req); 2] = [
    (Structure::Common, COMMON_FIELDS),
    (Structure::Isr, ISR_READ_ONLY),
];

/// Where the fields of the PCI configuration access capability begin that a driver may write: `bar`.
const WINDOW_FIELDS: u8 = 4;

/// What this chapter remembers since the last reset.
#[derive(Default)]
pub(crate) struct PciRegisterRules {
    capability_written: bool,
    /// By place in [`STRAY`]: something was written there that is no field to be written.
    stray: [bool; STRAY.len()],
    /// Which of [`READ_ONLY`] have been written.
    written: [bool; READ_ONLY.len()],
    /// A queue has been mapped to a vector.
    vectors: bool,
    /// ISR status has been read for a queue's interrupt.
    isr_read: bool,
}

impl PciRegisterRules {
    fn written(&mut self, register: &Register, verdicts: &mut Verdicts) {
        self.stray(register, verdicts);
        if register.structure == Structure::Common {
            self.common_written(register, verdicts);
        }
    }

    fn common_written(&mut self, register: &Register, verdicts: &mut Verdicts) {
        for ((requirement, offset, width, name), written) in READ_ONLY.iter().zip(&mut self.written)
        {
            if register.overlaps(*offset, *width) {
                *written = true;
                let Register { width, offset, .. } = register;
                let message = format!(
                    "{name} written: {width} bytes at offset {offset:#x} of the common configuration"
                );
                verdicts.violated(*requirement, None, message);
            }
        }
    }

    /// Judges whether there is something to be written where the driver writes.
    fn stray(&mut self, register: &Register, verdicts: &mut Verdicts) {
        let fields = match register.structure {
            Structure::Common => layout::COMMON,
            Structure::Device | Structure::Notify | Structure::Isr | Structure::PciCfg => &[],
        };
        let mut bytes = (0..u32::from(register.width)).map(|at| register.offset.saturating_add(at));
        if bytes.all(|at| layout::field_at(fields, at).is_some()) {
            return;
        }
        for ((structure, requirement), stray) in STRAY.iter().zip(&mut self.stray) {
            if *structure == register.structure {
                *stray = true;
                let Register { width, offset, .. } = register;
                let message = format!(
                    "{width} bytes written at offset {offset:#x} of the {}",
                    structure.name()
                );
                verdicts.violated(*requirement, None, message);
            }
        }
    }

    fn pci(&mut self, event: PciEvent, session: &Session, verdicts: &mut Verdicts) {
        match event {
            PciEvent::CapabilityWritten {
                cfg_type,
                offset,
                width,
            } => {
                if cfg_type != Structure::PciCfg.cfg_type() || offset < WINDOW_FIELDS {
                    self.capability_written = true;
                    let message = format!(
                        "{width} bytes written at offset {offset} of a capability with cfg_type {cfg_type}"
                    );
                    verdicts.violated(CAPABILITY, None, message);
                }
            }
            PciEvent::WindowAddressed {
                offset,
                length,
                field: WindowField::Offset,
                ..
            } => {
                let aligned = !matches!(length, 1 | 2 | 4) || offset.is_multiple_of(length);
                verdicts.check_by(WINDOW_ALIGNED, [None, Some(aligned)], None, || {
                    format!("cap.offset written as {offset:#x} while cap.length is {length}")
                });
            }
            // A length of 0 is the capability as it was at reset: a program that reads the whole of
            // configuration space (lspci does) reads pci_cfg_data too and means no access.
            PciEvent::WindowAccessed {
                write: false,
                length: 0,
                ..
            } => {}
            PciEvent::WindowAccessed {
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
                    let aligned = offset.is_multiple_of(length);
                    verdicts.check_by(WINDOW_ALIGNED, [aligned, aligned], None, says);
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
            PciEvent::VectorWritten {
                queue: Some(_),
                value,
                ..
            } => self.vectors |= value != NO_VECTOR,
            // A configuration change is no queue interrupt, and its bit in ISR status is set with
            // MSI-X as well.
            PciEvent::IsrRead {
                value,
                msix_enabled: true,
            } if session.is_live() => {
                self.isr_read = true;
                let for_configuration = value & 2 != 0;
                verdicts.check_by(ISR_WITH_MSIX, [for_configuration, false], None, || {
                    format!("ISR status read as {value} while MSI-X is enabled")
                });
            }
            PciEvent::IsrRead { .. }
            | PciEvent::WindowAddressed { .. }
            | PciEvent::VectorWritten { .. }
            | PciEvent::VectorRead { .. }
            | PciEvent::SecondInstance { .. } => {}
        }
    }

    fn status(&mut self, event: StatusEvent, session: &Session, verdicts: &mut Verdicts) {
        if event.asks_for_reset() {
            if session.is_live() && self.vectors && !self.isr_read {
                verdicts.held(ISR_WITH_MSIX);
            }
            *self = PciRegisterRules::default();
        } else if event.sets_driver_ok() {
            if !self.capability_written {
                verdicts.held(CAPABILITY);
            }
            let stray = STRAY
                .iter()
                .map(|(_, requirement)| requirement)
                .zip(self.stray);
            let written = READ_ONLY.iter().map(|(requirement, ..)| requirement);
            for (requirement, broken) in stray.chain(written.zip(self.written)) {
                if !broken {
                    verdicts.held(*requirement);
                }
            }
        }
    }
}

impl Chapter for PciRegisterRules {
    fn new(_kind: DeviceKind) -> Self {
        PciRegisterRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Register(event) => match event {
                RegisterEvent::Read(register) => isr_width(register, verdicts),
                RegisterEvent::Written(register) => self.written(register, verdicts),
            },
            ControlEvent::Pci(event) => self.pci(*event, session, verdicts),
            ControlEvent::Status(event) => self.status(*event, session, verdicts),
            ControlEvent::Latitude(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}

/// Judges how wide a read of ISR status is.
fn isr_width(register: &Register, verdicts: &mut Verdicts) {
    let Register { offset, width, .. } = *register;
    if register.structure == Structure::Isr {
        let by = [offset == 0 && width <= 4, offset == 0 && width == 1];
        verdicts.check_by(ISR_WIDTH, by, None, || {
            format!("{width} bytes read at offset {offset} of ISR status")
        });
    }
}
