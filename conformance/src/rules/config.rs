//! The device-specific configuration (§2.3 of virtio 1.0).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{
    ConfigEvent, ControlEvent, DataEvent, FeatureEvent, Register, RegisterEvent, StatusEvent,
};
use crate::judge::Verdicts;
use crate::layout::{self, Field, Structure, common, status};
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter Config;

    OPTIONAL = "config.optional.offered", Driver Must ["2.3.1-2"], Asserted,
        "A field that depends on a feature bit is accessed only if the device offers that feature.",
        readings [
            "offered": "The offered features decide, before and after negotiation.",
            "negotiated": "The offered features decide until FEATURES_OK is set, and the negotiated features from then on.",
        ];
    CHECKED = "config.optional.checked", Driver Must ["2.3.1-2"], Asserted,
        "The driver reads the offered features before it accesses a field that depends on a feature bit.";
    EARLY_READ = "config.early-read", Driver May ["3.1.1-2"], Asserted,
        "The driver may read the configuration while it negotiates features.";
    EARLY_WRITE = "config.no-early-write", Driver MustNot ["3.1.1-2", "3.1.1-1"], Asserted,
        "The driver does not write the configuration before it has set FEATURES_OK.";
    GENERATION = "config.generation", Driver Should ["2.3.1-1"], Asserted,
        "A field wider than 32 bits is read between two reads of config_generation.";
    FIELDS_ONLY = "config.fields-only", Driver ShouldNot ["2.3", "4.1.4.1"], Asserted,
        "Nothing is written to the device-specific configuration outside of its fields.";
    AGAIN = "config.generation.again", Driver Should ["2.3.1-1"], Provoked(Latitude::UNSETTLED_CONFIGURATION),
        "If config_generation has changed, the driver reads the configuration again.";
}

advice! {
    "config":
        "A field of the configuration is read or written in a way that a device need not support: the access may fail on another device.";
        "Access each field with its own width, and only if its feature bit was offered.";
    "config.fields-only":
        "A write accesses bytes of the configuration that are not part of a field: they are padding today, and may be a field of a later device.";
        "Write each field at its own offset and with its own width.";
    "config.optional":
        "A field is accessed whose feature was not read or not offered: the field need not exist, and may have any value.";
        "Read the features first, and test the feature bit of each optional field before the access.";
    "config.no-early-write":
        "The configuration is written before FEATURES_OK is set, when the device does not yet know the driver's features.";
        "Write to the configuration only after FEATURES_OK.";
    "config.generation":
        "A 64-bit field is read without comparing config_generation before and after: a change between the reads yields halves of two different values.";
        "Read config_generation, the field, and config_generation again, and repeat until both are the same.";
}

/// The state of this chapter's rules.
pub(crate) struct ConfigRules {
    /// The field wider than 32 bits, if there is one.
    wide: Option<&'static Field>,
    /// Which of its bytes have been read since the last complete read.
    seen: u8,
    /// config_generation has been read. Any earlier read is sufficient: while it has the same value,
    /// the configuration has not changed.
    opened: bool,
    /// The wide field has been read, config_generation not yet again.
    unclosed: bool,
    /// The first word of device_feature has been read.
    checked: bool,
    /// Since the reset, a configuration field was written before FEATURES_OK.
    written_early: bool,
    /// Since the reset, something was written where there is no field.
    stray: bool,
    /// The configuration has changed between two reads of it.
    changed: Option<Noticed>,
}

/// Whether the driver has seen that config_generation changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noticed {
    No,
    Yes,
}

impl ConfigRules {
    /// Judges what applies to reads and writes alike. Returns the fields that are accessed.
    fn accessed(
        &mut self,
        write: bool,
        register: &Register,
        session: &Session,
        verdicts: &mut Verdicts,
    ) -> impl Iterator<Item = &'static Field> + use<> {
        let fields = session.kind.config_fields();
        let did = if write { "written" } else { "read" };
        let register = *register;
        let touched = fields
            .iter()
            .filter(move |f| register.overlaps(f.offset, f.len()));
        for field in touched.clone().filter(|f| !f.always_there) {
            let offered = session.offered & field.feature != 0;
            let settled = session.status & status::FEATURES_OK != 0;
            let exists = offered && (!settled || session.has(field.feature));
            verdicts.check_by(OPTIONAL, [offered, exists], None, || {
                let lacks = if offered {
                    "was not negotiated"
                } else {
                    "is not offered"
                };
                format!(
                    "{} {did}, which exists only with {}, which {lacks}",
                    field.name,
                    crate::features::names(session.kind, field.feature)
                )
            });
            verdicts.check(CHECKED, self.checked, None, || {
                format!(
                    "{} {did} before the features the device offers were read",
                    field.name
                )
            });
        }
        touched
    }

    fn read(&mut self, register: &Register, session: &Session, verdicts: &mut Verdicts) {
        let touched = self.accessed(false, register, session, verdicts);
        if session.status & status::DRIVER != 0 && !session.is_decided() {
            verdicts.held(EARLY_READ);
        }
        for field in touched {
            if self.wide.is_some_and(|wide| std::ptr::eq(wide, field)) {
                self.read_wide(field, register, verdicts);
            }
        }
    }

    fn read_wide(&mut self, field: &Field, register: &Register, verdicts: &mut Verdicts) {
        for byte in 0..u32::from(register.width) {
            let offset = register.offset.wrapping_add(byte);
            if field.contains(offset) {
                self.seen |= 1 << (offset - field.offset);
            }
        }
        if u32::from(self.seen).count_ones() < field.len() {
            return;
        }
        self.seen = 0;
        if self.opened {
            self.unclosed = true;
        } else {
            verdicts.violated(
                GENERATION,
                None,
                format!(
                    "{} read without reading config_generation before",
                    field.name
                ),
            );
        }
    }

    fn generation_read(&mut self, verdicts: &mut Verdicts) {
        self.opened = true;
        if std::mem::take(&mut self.unclosed) {
            verdicts.held(GENERATION);
        }
    }

    /// The driver continues with something else: a read that is incomplete stays incomplete.
    fn moved_on(&mut self, verdicts: &mut Verdicts) {
        if std::mem::take(&mut self.unclosed)
            && let Some(field) = self.wide
        {
            verdicts.violated(
                GENERATION,
                None,
                format!(
                    "{} read without reading config_generation after",
                    field.name
                ),
            );
        }
    }

    fn written(&mut self, register: &Register, session: &Session, verdicts: &mut Verdicts) {
        let fields = session.kind.config_fields();
        let mut bytes = (0..u32::from(register.width)).map(|at| register.offset.saturating_add(at));
        if !bytes.all(|at| layout::field_at(fields, at).is_some()) {
            self.stray = true;
            let Register { width, offset, .. } = register;
            let message = format!(
                "{width} bytes written at offset {offset:#x} of the {}",
                Structure::Device.name()
            );
            verdicts.violated(FIELDS_ONLY, None, message);
        }
        let features_ok = session.is_decided();
        for field in self.accessed(true, register, session, verdicts) {
            if !features_ok && !field.at_any_time {
                self.written_early = true;
                verdicts.violated(
                    EARLY_WRITE,
                    None,
                    format!(
                        "{} written while device status is {}",
                        field.name,
                        status::names(session.status)
                    ),
                );
            }
        }
    }

    /// config_generation or the configuration is read after a change between two reads.
    fn notices(&mut self, register: &Register, verdicts: &mut Verdicts) {
        match (self.changed, register.structure) {
            (Some(Noticed::No), Structure::Common)
                if register.covers(common::CONFIG_GENERATION) =>
            {
                self.changed = Some(Noticed::Yes);
            }
            (Some(Noticed::Yes), Structure::Device) => {
                self.changed = None;
                verdicts.held(AGAIN);
            }
            _ => {}
        }
    }

    fn status(&mut self, event: StatusEvent, session: &Session, verdicts: &mut Verdicts) {
        let StatusEvent::Written { to, .. } = event else {
            return;
        };
        if to & status::FEATURES_OK & !session.status != 0 && !self.written_early {
            verdicts.held(EARLY_WRITE);
        }
        if event.sets_driver_ok() {
            self.moved_on(verdicts);
            if !self.stray {
                verdicts.held(FIELDS_ONLY);
            }
        }
        if to != 0 && self.changed == Some(Noticed::Yes) {
            // Other registers do not matter: another processor may be writing those.
            let message = "config_generation had changed since the configuration was read, and the configuration was not read again";
            verdicts.violated(AGAIN, None, message.to_owned());
            self.changed = None;
        }
        if to == 0 {
            self.moved_on(verdicts);
            self.seen = 0;
            self.written_early = false;
            self.stray = false;
            self.changed = None;
        }
    }
}

impl Chapter for ConfigRules {
    fn new(kind: DeviceKind) -> Self {
        ConfigRules {
            wide: kind.config_fields().iter().find(|f| f.len() > 4),
            seen: 0,
            opened: false,
            unclosed: false,
            checked: false,
            written_early: false,
            stray: false,
            changed: None,
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Register(RegisterEvent::Read(register)) => {
                self.notices(register, verdicts);
                match register.structure {
                    Structure::Device => self.read(register, session, verdicts),
                    Structure::Common if register.covers(common::CONFIG_GENERATION) => {
                        self.generation_read(verdicts);
                    }
                    Structure::Common | Structure::Notify | Structure::Isr | Structure::PciCfg => {}
                }
            }
            ControlEvent::Register(RegisterEvent::Written(register)) => {
                if register.structure == Structure::Device {
                    self.written(register, session, verdicts);
                }
            }
            ControlEvent::Feature(FeatureEvent::DeviceRead { select: 0 }) => self.checked = true,
            ControlEvent::Status(event) => self.status(*event, session, verdicts),
            ControlEvent::Config(ConfigEvent::ChangedBetweenReads) => {
                self.changed = Some(Noticed::No);
            }
            ControlEvent::Feature(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Pci(_)
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
