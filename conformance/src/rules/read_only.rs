//! Read-only configuration fields: each device type has a requirement on its own fields.

use crate::event::{RegisterEvent, StatusEvent};
use crate::judge::Verdicts;
use crate::layout::{Access, Structure};
use crate::requirement::Req;
use crate::session::Session;

/// Judges writes to the read-only fields of a device type's configuration.
pub(super) struct ReadOnlyFields {
    requirement: Req,
    /// A read-only field was written since the reset.
    written: bool,
}

impl ReadOnlyFields {
    pub(super) fn new(requirement: Req) -> Self {
        ReadOnlyFields {
            requirement,
            written: false,
        }
    }

    pub(super) fn register(
        &mut self,
        event: &RegisterEvent,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let RegisterEvent::Written(register) = event else {
            return;
        };
        if register.structure != Structure::Device {
            return;
        }
        let fields = session.kind.config_fields().iter();
        for field in fields.filter(|f| register.overlaps(f.offset, f.len())) {
            if field.access == Access::ReadOnly {
                self.written = true;
                let message = format!("{} written, which is read-only", field.name);
                verdicts.violated(self.requirement, None, message);
            }
        }
    }

    pub(super) fn status(&mut self, event: StatusEvent, verdicts: &mut Verdicts) {
        if event.sets_driver_ok() && !self.written {
            verdicts.held(self.requirement);
        }
        if event.asks_for_reset() {
            self.written = false;
        }
    }
}
