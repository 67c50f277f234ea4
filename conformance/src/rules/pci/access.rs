//! Width of accesses to fields (§4.1.3 of virtio 1.0).

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, Register, RegisterEvent};
use crate::judge::Verdicts;
use crate::layout::{self, Field, Structure};
use crate::requirement::requirements;
use crate::rules::Chapter;
use crate::session::Session;

requirements! {
    chapter PciAccess;

    WIDTH_8 = "config.width.8-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "8-bit fields of the device-specific configuration are accessed one byte at a time.",
        readings [
            "device-specific": "The rule applies only to the device-specific configuration.",
            "every-structure": "The rule also applies to the common configuration structure.",
        ];
    WIDTH_16 = "config.width.16-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "16-bit fields of the device-specific configuration are accessed whole, by aligned 16-bit accesses.",
        readings [
            "device-specific": "The rule applies only to the device-specific configuration.",
            "every-structure": "The rule also applies to the common configuration structure.",
        ];
    WIDTH_32 = "config.width.32-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "32-bit fields of the device-specific configuration are accessed whole, by aligned 32-bit accesses.",
        readings [
            "device-specific": "The rule applies only to the device-specific configuration.",
            "every-structure": "The rule also applies to the common configuration structure.",
        ];
    WIDTH_64 = "config.width.64-bit", Driver Must ["4.1.3.1-1"], Asserted,
        "64-bit fields of the device-specific configuration are accessed as two aligned 32-bit halves.",
        readings [
            "device-specific": "The rule applies only to the device-specific configuration.",
            "whole-stores": "The rule also applies to the common configuration structure, but a queue's address may be written by one 64-bit access.",
            "every-structure": "The rule also applies to the common configuration structure, and queue addresses are accessed as halves.",
        ];
    HALVES = "config.width.halves", Driver May ["4.1.3.1-2"], Asserted,
        "The halves of a 64-bit field may be accessed independently.";
}

advice! {
    "config.width":
        "An access is narrower or wider than the field, or starts inside it; the usual cause is memcpy from the BAR. Devices that expect the exact offset and width do not return the value.";
        "Use one access of 8, 16 or 32 bits for each field, and two of 32 bits for a 64-bit field; copy arrays of bytes byte by byte.";
}

/// These rules have no state.
pub(crate) struct PciAccessRules;

/// Judges an access.
fn accessed(write: bool, register: &Register, session: &Session, verdicts: &mut Verdicts) {
    let (fields, specific) = match register.structure {
        Structure::Common => (layout::COMMON, false),
        Structure::Device => (session.kind.config_fields(), true),
        Structure::Notify | Structure::Isr | Structure::PciCfg => return,
    };
    let Some(field) = layout::field_at(fields, register.offset) else {
        return;
    };
    let natural = is_natural(field, register.offset, register.width.into());
    // Only some readings cover the common configuration structure.
    judge(
        field,
        write,
        register,
        specific.then_some(natural),
        verdicts,
    );
    if specific && field.width == 8 && natural {
        verdicts.held(HALVES);
    }
}

/// Judges the width of an access that begins in `field`; `device_specific` is whether the width is right
/// if the field belongs to the device-specific configuration.
fn judge(
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

impl Chapter for PciAccessRules {
    fn new(_kind: DeviceKind) -> Self {
        PciAccessRules
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Register(event) => match event {
                RegisterEvent::Read(register) => accessed(false, register, session, verdicts),
                RegisterEvent::Written(register) => accessed(true, register, session, verdicts),
            },
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Status(_)
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
