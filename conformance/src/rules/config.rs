//! The device-specific configuration (§2.3, §4.1.3, §5).

use super::{Chapter, goes_live};
use crate::event::{Event, Register};
use crate::features::block;
use crate::judge::Verdicts;
use crate::layout::{self, Access, DeviceKind, Field, Structure, status};
use crate::requirement::Req;
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::features::END;

    WIDTH_8 = "config.width.8-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "8-bit fields of the device-specific configuration are accessed a byte at a time.",
        readings [
            "device-specific": "The rule is about the device-specific configuration only.",
            "every-structure": "The rule covers the common configuration structure as well.",
        ];
    WIDTH_16 = "config.width.16-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "16-bit fields of the device-specific configuration are accessed whole, by aligned 16-bit accesses.",
        readings [
            "device-specific": "The rule is about the device-specific configuration only.",
            "every-structure": "The rule covers the common configuration structure as well.",
        ];
    WIDTH_32 = "config.width.32-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "32-bit fields of the device-specific configuration are accessed whole, by aligned 32-bit accesses.",
        readings [
            "device-specific": "The rule is about the device-specific configuration only.",
            "every-structure": "The rule covers the common configuration structure as well.",
        ];
    WIDTH_64 = "config.width.64-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "64-bit fields of the device-specific configuration are accessed as two aligned 32-bit halves.",
        readings [
            "device-specific": "The rule is about the device-specific configuration only.",
            "whole-stores": "The rule covers the common configuration structure as well, but a queue's address may be stored whole.",
            "every-structure": "The rule covers the common configuration structure as well, and queue addresses are accessed by halves.",
        ];
    HALVES = "config.width.halves", Driver May ["4.1.3.1-2"], Asserted,
        "The halves of a 64-bit field may be accessed independently.";
    OPTIONAL = "config.optional.offered", Driver Must ["2.3.1-2"], Asserted,
        "Fields that a feature bit makes exist are accessed only where the device offers that feature.",
        readings [
            "offered": "What the device offers decides, before and after negotiation.",
            "negotiated": "What the device offers decides until FEATURES_OK is set, and what was negotiated from then on.",
        ];
    CHECKED = "config.optional.checked", Driver Must ["2.3.1-2"], Asserted,
        "Before it accesses a field that a feature bit makes exist, the driver has read the offered features.";
    EARLY_READ = "config.early-read", Driver May ["3.1.1-2"], Asserted,
        "The driver may read the configuration while it negotiates features.";
    EARLY_WRITE = "config.no-early-write", Driver MustNot ["3.1.1-2", "3.1.1-1"], Asserted,
        "The driver does not write the configuration before it has set FEATURES_OK.";
    GENERATION = "config.generation", Driver Should ["2.3.1-1"], Asserted,
        "A field wider than 32 bits is read between two reads of config_generation.";
    NET_READ_ONLY = "net.config.read-only", Driver MustNot ["5.1.4"], Asserted,
        "The fields of a network device's configuration are not written.";
    BLOCK_READ_ONLY = "block.config.read-only", Driver ShouldNot ["5.2.4", "5.2.5"], Asserted,
        "Of a block device's configuration no field but writeback is written.";
    CONSOLE_READ_ONLY = "console.config.read-only", Driver ShouldNot ["5.3.4"], Asserted,
        "Of a console's configuration no field but emerg_wr is written.";
    WRITEBACK_EARLY = "block.config.writeback-read-early", Driver MustNot ["5.2.5.1-4"], Asserted,
        "writeback is not read before FEATURES_OK has been set.";
    WRITEBACK_NEGOTIATED = "block.config.writeback-negotiated", Driver MustNot ["5.2.5"], Asserted,
        "writeback is written only where VIRTIO_BLK_F_CONFIG_WCE was negotiated.";
    WRITEBACK_VALUE = "block.config.writeback-value", Driver Must ["5.2.5"], Asserted,
        "What is written to writeback is 0 or 1.";
    WRITEBACK = "block.config.writeback-switch", Driver May ["5.2.6.1-5"], Asserted,
        "With VIRTIO_BLK_F_CONFIG_WCE, the driver may switch the cache mode through writeback.";
    WRITETHROUGH = "block.config.writeback-no-reliance", Driver MustNot ["5.2.6.1-6"],
        Unobservable("what a driver believes to be on stable storage shows in nothing it does to the device"),
        "After writing 0 to writeback, the driver does not take earlier writes for committed.";
    CACHE_DEDUCED = "block.cache.deduce-writethrough", Driver May ["5.2.5.1-2"], Asserted,
        "Without VIRTIO_BLK_F_CONFIG_WCE and VIRTIO_BLK_F_FLUSH, the driver may take the cache for a writethrough one and never flush.";
    CACHE_MODE = "block.cache.assume-writeback", Driver Should ["5.2.5.1-3"],
        Unobservable("what cache a driver assumes shows at best in when it flushes, which is its own choice"),
        "With VIRTIO_BLK_F_FLUSH and without CONFIG_WCE, the driver assumes a writeback cache.";
}

/// What this chapter remembers.
pub(crate) struct Rules {
    /// The field wider than 32 bits, if there is one.
    wide: Option<&'static Field>,
    /// Which of its bytes have been read since the last complete reading.
    seen: u8,
    /// config_generation has been read. Any reading before will do: what it has not moved on from
    /// has not changed.
    opened: bool,
    /// The wide field has been read, config_generation not yet again.
    unclosed: bool,
    /// The first word of device_feature has been read.
    checked: bool,
    /// Since the reset, a configuration field was written before FEATURES_OK.
    written_early: bool,
    /// Since the reset, a read-only field was written.
    written_read_only: bool,
}

impl Rules {
    pub(crate) fn new(kind: DeviceKind) -> Self {
        Rules {
            wide: kind.config_fields().iter().find(|f| f.len() > 4),
            seen: 0,
            opened: false,
            unclosed: false,
            checked: false,
            written_early: false,
            written_read_only: false,
        }
    }

    /// What reads and writes have in common. Gives the fields that are touched.
    fn accessed(
        &mut self,
        write: bool,
        register: &Register,
        session: &Session,
        verdicts: &mut Verdicts,
    ) -> impl Iterator<Item = &'static Field> + use<> {
        let fields = session.kind.config_fields();
        let (offset, width) = (register.offset, u32::from(register.width));
        let did = if write { "written" } else { "read" };
        if let Some(field) = layout::field_at(fields, offset) {
            let natural = is_natural(field, offset, width);
            width_judged(field, write, register, Some(natural), verdicts);
            if field.width == 8 && natural {
                verdicts.held(HALVES);
            }
        }
        let touched = fields.iter().filter(move |f| {
            f.offset < offset.saturating_add(width) && offset < f.offset + f.len()
        });
        for field in touched.clone().filter(|f| is_optional(f)) {
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
                    "{} {did}, which exists only with {}: this {lacks}",
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
        let features_ok = session.status & status::FEATURES_OK != 0;
        if session.status & status::DRIVER != 0 && !features_ok {
            verdicts.held(EARLY_READ);
        }
        for field in touched {
            if field.name == WRITEBACK_FIELD {
                verdicts.check(WRITEBACK_EARLY, features_ok, None, || {
                    format!(
                        "writeback read while device status is {}",
                        status::names(session.status)
                    )
                });
            }
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

    /// The driver goes on to something else: what is still open stays open.
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
        let touched = self.accessed(true, register, session, verdicts);
        let features_ok = session.status & status::FEATURES_OK != 0;
        for field in touched {
            // §5.3.5: emerg_wr can be written at any time.
            if !features_ok && field.name != EMERGENCY_FIELD {
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
            if field.access == Access::ReadOnly {
                self.written_read_only = true;
                if let Some(requirement) = read_only(session.kind) {
                    verdicts.violated(
                        requirement,
                        None,
                        format!("{} written, which the driver only reads", field.name),
                    );
                }
            }
            if field.name == WRITEBACK_FIELD {
                let negotiated = session.has(crate::features::block::CONFIG_WCE);
                // Before FEATURES_OK it is the time that is wrong, and told as that.
                if features_ok {
                    verdicts.check(WRITEBACK_NEGOTIATED, negotiated, None, || {
                        "writeback written without VIRTIO_BLK_F_CONFIG_WCE".to_owned()
                    });
                }
                let value = register
                    .value
                    .checked_shr((field.offset - register.offset.min(field.offset)) * 8)
                    .unwrap_or(0) as u8;
                if verdicts.check(WRITEBACK_VALUE, value <= 1, None, || {
                    format!("writeback written as {value}")
                }) && negotiated
                {
                    verdicts.held(WRITEBACK);
                }
            }
        }
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            Event::RegisterRead(register) => common_accessed(false, register, verdicts),
            Event::RegisterWritten(register) => common_accessed(true, register, verdicts),
            _ => {}
        }
        match event {
            Event::RegisterRead(register) => match register.structure {
                Structure::Device => self.read(register, session, verdicts),
                Structure::Common
                    if (register.offset..register.offset.saturating_add(register.width.into()))
                        .contains(&layout::common::CONFIG_GENERATION) =>
                {
                    self.generation_read(verdicts);
                }
                _ => {}
            },
            Event::RegisterWritten(register) if register.structure == Structure::Device => {
                self.written(register, session, verdicts);
            }
            Event::DeviceFeaturesRead { select: 0 } => self.checked = true,
            Event::StatusWritten { to, .. } => {
                if to & status::FEATURES_OK & !session.status != 0 && !self.written_early {
                    verdicts.held(EARLY_WRITE);
                }
                if goes_live(event) {
                    const CACHE: u64 = block::CONFIG_WCE | block::FLUSH;
                    if session.kind == DeviceKind::Block && session.negotiated & CACHE == 0 {
                        verdicts.held(CACHE_DEDUCED);
                    }
                    self.moved_on(verdicts);
                    if !self.written_read_only
                        && let Some(requirement) = read_only(session.kind)
                    {
                        verdicts.held(requirement);
                    }
                }
                if *to == 0 {
                    self.moved_on(verdicts);
                    self.seen = 0;
                    self.written_early = false;
                    self.written_read_only = false;
                }
            }
            _ => {}
        }
    }
}

const WRITEBACK_FIELD: &str = "writeback";
const EMERGENCY_FIELD: &str = "emerg_wr";
const MAC_FIELD: &str = "mac";

/// Whether an access at `offset` in `field` has the width that §4.1.3.1 asks for.
fn is_natural(field: &Field, offset: u32, width: u32) -> bool {
    let at = offset - field.offset;
    match field.width {
        1 => width == 1,
        2 => width == 2 && at == 0,
        4 => width == 4 && at == 0,
        _ => width == 4 && at.is_multiple_of(4),
    }
}

/// An access to the common configuration structure, which only some readings of §4.1.3.1 cover.
fn common_accessed(write: bool, register: &Register, verdicts: &mut Verdicts) {
    if register.structure == Structure::Common
        && let Some(field) = layout::field_at(layout::COMMON, register.offset)
    {
        width_judged(field, write, register, None, verdicts);
    }
}

/// Judges the width of an access that begins in `field`; `device_specific` has whether it is right
/// if the field is one of the device-specific configuration.
fn width_judged(
    field: &Field,
    write: bool,
    register: &Register,
    device_specific: Option<bool>,
    verdicts: &mut Verdicts,
) {
    let (offset, width) = (register.offset, u32::from(register.width));
    let natural = is_natural(field, offset, width);
    let says = || {
        format!(
            "{width} bytes {} at offset {offset:#x}, in the {}-bit field {}",
            if write { "written" } else { "read" },
            u32::from(field.width) * 8,
            field.name
        )
    };
    let narrow = [device_specific, Some(natural)];
    match field.width {
        1 => verdicts.check_by(WIDTH_8, narrow, None, says),
        2 => verdicts.check_by(WIDTH_16, narrow, None, says),
        4 => verdicts.check_by(WIDTH_32, narrow, None, says),
        _ => {
            let whole = device_specific.is_none() && write && width == 8 && offset == field.offset;
            let by = [device_specific, Some(natural || whole), Some(natural)];
            verdicts.check_by(WIDTH_64, by, None, says)
        }
    };
}

/// §5.1.4: mac always exists, though only VIRTIO_NET_F_MAC makes it valid.
fn is_optional(field: &Field) -> bool {
    field.feature != 0 && field.name != MAC_FIELD
}

fn read_only(kind: DeviceKind) -> Option<Req> {
    match kind {
        DeviceKind::Net => Some(NET_READ_ONLY),
        DeviceKind::Block => Some(BLOCK_READ_ONLY),
        DeviceKind::Console => Some(CONSOLE_READ_ONLY),
        DeviceKind::Entropy => None,
    }
}
