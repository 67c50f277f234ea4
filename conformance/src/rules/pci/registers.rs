//! Capabilities in configuration space, the PCI configuration access capability, and read-only registers
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
        "The driver does not write virtio structure capabilities, except the writable fields of the PCI configuration access capability.";
    WINDOW_LENGTH = "pci.window.length", Driver Must ["4.1.4.7"], Asserted,
        "An access through the PCI configuration access capability is 1, 2 or 4 bytes long.";
    WINDOW_ALIGNED = "pci.window.aligned", Driver MustNot ["4.1.4.7.2-1"], Asserted,
        "The offset of an access through the PCI configuration access capability is a multiple of its length.",
        readings [
            "accessed": "Only the access must be aligned, not each state between the writes of offset and length.",
            "written": "The value written to offset is a multiple of the current length.",
        ];
    WINDOW_TARGET = "pci.window.target", Driver MustNot ["4.1.4.7.2-2"], Asserted,
        "An access through the PCI configuration access capability is within a structure that another capability presents.",
        readings [
            "by-length": "A read of pci_cfg_data while cap.length is 0 is no access.",
            "once-used": "A driver that has used the capability does not touch pci_cfg_data while it addresses nothing.",
        ];
    WINDOW_WHOLE = "pci.window.whole", Driver Should ["4.1.4.7"], Asserted,
        "A write through the PCI configuration access capability writes all of its bytes in one access.";
    DEVICE_FEATURE = "common.device-feature.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "device_feature is not written.";
    NUM_QUEUES = "common.num-queues.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "num_queues is not written.";
    CONFIG_GENERATION = "common.config-generation.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "config_generation is not written.";
    QUEUE_NOTIFY_OFF = "common.queue-notify-off.read-only", Driver MustNot ["4.1.4.3.2-1"], Asserted,
        "queue_notify_off is not written.";
    COMMON_FIELDS = "common.fields-only", Driver ShouldNot ["4.1.4.3", "4.1.4.1"], Asserted,
        "Nothing is written to the common configuration outside of its fields.";
    ISR_READ_ONLY = "isr.read-only", Driver ShouldNot ["4.1.4.5"], Asserted,
        "ISR status is not written: a read resets it.";
    ISR_WIDTH = "isr.width", Driver Should ["4.1.4.5"], Asserted,
        "ISR status is read by a one-byte access.",
        readings [
            "at-its-offset": "It may be read together with the bytes after it, which are reserved in the table of bits.",
            "one-byte": "It is a field of 8 bits, and there need not be any bytes after it.",
        ];
    ISR_WITH_MSIX = "isr.unused-with-msi-x", Driver ShouldNot ["4.1.4.5.2-1"], Asserted,
        "With MSI-X enabled, the driver does not read ISR status for a queue's interrupt.",
        readings [
            "queue-only": "A read while its configuration bit is set does not count as a read for a queue's interrupt.",
            "never": "ISR status of a live device is not read at all while MSI-X is enabled.",
        ];

    @unobservable {
        "pci.structure.map-what-is-needed", Driver Should ["4.1.4.1-5"],
            "how much of a BAR is mapped is not visible to a device: it sees only accesses, and accesses beyond the fields are judged by other requirements",
            "The driver maps no more of a structure than it needs.";
    }
}

advice! {
    "pci":
        "A write to a capability, or an access through it, is not allowed.";
        "Treat virtio's capabilities as read-only, except bar, offset, length and data of the PCI configuration access capability; accesses through it must be aligned and inside a structure.";
    "pci.window.whole":
        "pci_cfg_data is written in parts: with each part the device writes all cap.length bytes, the others with their old values.";
        "Set cap.length to the width of the field, and write pci_cfg_data by one access of that width.";
    "common":
        "A read-only register is written: the write has no effect, and the driver probably meant another register.";
        "Do not write device_feature, num_queues, config_generation or queue_notify_off; check the offsets in the driver's copy of the structure.";
    "common.fields-only":
        "A write accesses bytes of the common configuration that are not part of a field: they are padding today, and may be a register of a later device.";
        "Write each field at its own offset and with its own width, and write fields of later versions only with the feature that they depend on.";
    "isr":
        "The handler of a queue's MSI-X vector reads ISR status, which costs a VM exit each time and may clear the bit of a configuration change.";
        "Read ISR status only in the handler of the INTx interrupt.";
    "isr.read-only":
        "ISR status is written, as for acknowledging interrupts of other devices or of virtio over MMIO.";
        "Read ISR status once: this resets it and deasserts the interrupt.";
    "isr.width":
        "ISR status is read by an access that is wider than one byte. The access fails if ISR status is at the end of its BAR or at an odd address.";
        "Read one byte at the offset of the ISR status capability.";
}

/// The read-only registers of the common configuration: requirement, offset, width and name.
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

/// The requirements on writes outside of fields, by structure.
static STRAY: [(Structure, Req); 2] = [
    (Structure::Common, COMMON_FIELDS),
    (Structure::Isr, ISR_READ_ONLY),
];

/// Where the fields of the PCI configuration access capability begin that a driver may write: `bar`.
const WINDOW_FIELDS: u8 = 4;

/// The state of this chapter's rules since the last reset.
#[derive(Default)]
pub(crate) struct PciRegisterRules {
    capability_written: bool,
    /// By index in [`STRAY`]: something was written outside of the fields.
    stray: [bool; STRAY.len()],
    /// Which of [`READ_ONLY`] have been written.
    written: [bool; READ_ONLY.len()],
    /// A queue has been mapped to a vector.
    vectors: bool,
    /// ISR status has been read for a queue's interrupt.
    isr_read: bool,
    /// The driver has accessed something through the PCI configuration access capability.
    window_used: bool,
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

    /// Judges whether the driver writes to a field.
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
            // The length is 0 after a reset: a program that reads the whole configuration space (such
            // as lspci) also reads pci_cfg_data, and does not mean an access.
            PciEvent::WindowAccessed {
                write: false,
                length: 0,
                ..
            } => {
                let used = self.window_used.then_some(false);
                verdicts.check_by(WINDOW_TARGET, [None, used], None, || {
                    "pci_cfg_data read while cap.length is 0".to_owned()
                });
            }
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
                    self.window_used = true;
                    let aligned = offset.is_multiple_of(length);
                    verdicts.check_by(WINDOW_ALIGNED, [aligned, aligned], None, says);
                    let inside = target.is_some_and(|t| t != Structure::PciCfg);
                    verdicts.check_by(WINDOW_TARGET, [inside, inside], None, || {
                        format!("{}: there is no structure at this place", says())
                    });
                    // Each write of a part writes all bytes, the others with their old values.
                    if write {
                        verdicts.check(WINDOW_WHOLE, u32::from(bytes) >= length, None, || {
                            format!("{}, but only {bytes} bytes were written", says())
                        });
                    }
                }
            }
            PciEvent::VectorWritten {
                queue: Some(_),
                value,
                ..
            } => self.vectors |= value != NO_VECTOR,
            // A configuration change is not a queue's interrupt, and its bit in ISR status is also set
            // with MSI-X.
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
            PciEvent::CapabilityRead
            | PciEvent::IsrRead { .. }
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
            | ControlEvent::Clock(_)
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

/// Judges the width of a read of ISR status.
fn isr_width(register: &Register, verdicts: &mut Verdicts) {
    let Register { offset, width, .. } = *register;
    if register.structure == Structure::Isr {
        let by = [offset == 0 && width <= 4, offset == 0 && width == 1];
        verdicts.check_by(ISR_WIDTH, by, None, || {
            format!("{width} bytes read at offset {offset} of ISR status")
        });
    }
}
