//! The rules, one file a chapter. Each declares its requirements and judges events against them.
//!
//! A new chapter is one line in `chapters!`. A rule sees the [session](crate::session) as it was
//! before the event.

use crate::event::{ChainEnd, Event};
use crate::judge::{Tallies, Verdicts};
use crate::layout::{self, DeviceKind};
use crate::requirement::Requirement;
use crate::session::Session;

pub mod block;
pub mod config;
pub mod console;
pub mod coping;
pub mod device_types;
pub mod entropy;
pub mod features;
pub mod latitude;
pub mod net;
pub mod net_card;
pub mod net_control;
pub mod net_receive;
pub mod notify;
pub mod registers;
pub mod ring;
pub mod setup;
pub mod status;
pub mod vectors;

/// What a chapter's rules do with an event that is not of the rings.
pub(crate) trait Chapter {
    /// Judges one event.
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts);

    /// Adds what this chapter counted by itself: where something frequent stands for several
    /// requirements that held, it is counted once and spelled out here.
    fn tally(&self, tallies: &mut Tallies) {
        let _ = tallies;
    }
}

/// Whether the driver sets DRIVER_OK by this event: its initialization is complete, and what it must
/// not have done until then can be said to have held.
fn goes_live(event: &Event<'_>) -> bool {
    matches!(*event, Event::StatusWritten { from, to } if to & !from & layout::status::DRIVER_OK != 0)
}

macro_rules! chapters {
    ($($chapter:ident),+ $(,)?; last $last:ident) => {
        /// Every chapter's requirements, in catalogue order.
        pub(crate) static CHAPTERS: [&[Requirement]; [$(stringify!($chapter)),+].len()] =
            [$($chapter::CHAPTER),+];
        /// What the chapters are called, in the same order.
        pub(crate) static CHAPTER_NAMES: [&str; CHAPTERS.len()] = [$(stringify!($chapter)),+];
        /// How many requirements there are in all.
        pub(crate) const END: u16 = $last::END;

        /// The rules of all chapters for one device.
        pub(crate) struct Rules {
            $($chapter: $chapter::Rules,)+
        }

        impl Rules {
            pub(crate) fn new(kind: DeviceKind) -> Self {
                Rules { $($chapter: $chapter::Rules::new(kind),)+ }
            }

            /// Events that come with every register access.
            #[inline(never)]
            pub(crate) fn see(
                &mut self,
                event: &Event<'_>,
                session: &Session,
                verdicts: &mut Verdicts,
            ) {
                $(self.$chapter.see(event, session, verdicts);)+
            }

            /// Adds what the chapters counted by themselves.
            pub(crate) fn tally(&self, tallies: &mut Tallies) {
                $(self.$chapter.tally(tallies);)+
            }
        }
    };
}

// In the order of the specification; each counts its catalogue indices on from the one before.
chapters!(
    status, features, config, registers, setup, vectors, notify, ring, net, net_control, net_card,
    net_receive, block, console, entropy, latitude, coping, device_types;
    last device_types
);

impl Rules {
    /// Events that come with every buffer.
    #[inline(always)]
    pub(crate) fn see_frequent(
        &mut self,
        event: &Event<'_>,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        match event {
            Event::AvailableRead(read) => {
                self.ring.available(read, session, verdicts);
                self.net.available(read);
            }
            Event::Chain(chain) => {
                let buffers = self.ring.chain(chain, session, verdicts);
                // Of a chain that has no end the buffers are not known.
                if matches!(chain.end, ChainEnd::Complete) {
                    match session.kind {
                        DeviceKind::Console => self.console.chain(chain, buffers, verdicts),
                        DeviceKind::Entropy => self.entropy.chain(chain, buffers, verdicts),
                        DeviceKind::Net | DeviceKind::Block => {}
                    }
                }
            }
            Event::Used { queue, head, .. } => self.ring.used(*queue, *head),
            Event::Compared {
                queue,
                head,
                altered,
            } => self.ring.compared(*queue, *head, *altered, verdicts),
            Event::NetTransmit(packet) => {
                self.net.transmit(packet, session, verdicts);
                self.net_card.transmit(packet, session, verdicts);
                self.net_receive.transmit(packet, session, verdicts);
                self.latitude.transmit(verdicts);
                self.device_types.transmit(verdicts);
            }
            Event::NetReceiveBuffer {
                queue,
                len,
                readable,
            } => self.net.receive_buffer(*queue, *len, *readable, verdicts),
            Event::BlockRequest(request) => self.block.request(request, session, verdicts),
            _ => {}
        }
    }
}
