//! The entropy device (§5.4).

use super::Chapter;
use super::ring::Buffers;
use crate::event::{Chain, Event};
use crate::judge::Verdicts;
use crate::layout::DeviceKind;
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::console::END;

    WRITABLE = "entropy.buffer.writable", Driver MustNot ["5.4.6.1-1"], Asserted,
        "The entropy device's queue is given no device-readable buffers.";
    ROOM = "entropy.buffer.room", Driver Must ["5.4.6"], Asserted,
        "A buffer in the entropy device's queue has room for a random byte at least.";
    LENGTH = "entropy.length.examined", Driver Must ["5.4.6.1-2"],
        Unobservable("how many of the bytes returned a driver passes on it does not tell the device"),
        "The driver takes no more bytes for random than the device says it has written.";
}

/// Nothing needs to be remembered.
pub(crate) struct Rules;

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules
    }

    /// Judges a chain with such buffers.
    #[inline]
    pub(super) fn chain(&mut self, chain: &Chain<'_>, buffers: Buffers, verdicts: &mut Verdicts) {
        verdicts.check(WRITABLE, !buffers.readable(), Some(chain.queue), || {
            format!("chain {} has device-readable buffers", chain.head)
        });
        if !buffers.readable() {
            let room = super::ring::room(chain) > 0;
            verdicts.check(ROOM, room, Some(chain.queue), || {
                format!("chain {} has no room", chain.head)
            });
        }
    }
}

impl Chapter for Rules {
    fn see(&mut self, _event: &Event<'_>, _session: &Session, _verdicts: &mut Verdicts) {}
}
