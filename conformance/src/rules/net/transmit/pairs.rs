//! Transmit queues that are not in use (§5.1.6.5.5 of virtio 1.0).
//!
//! The order of the driver's moves is exact where the rings show it:
//!
//! * When the device takes a command that takes a queue out of use, it reads how far the driver has made
//!   packets available there. What follows was queued after the driver had placed the command.
//! * When the device has taken packets of a queue that is not in use, it reads which commands wait. If the
//!   driver had placed the command that brings the queue into use before it queued the packets, it is one
//!   of them, or there is none.

use super::{BEYOND_PAIRS, FIRST_QUEUE};
use crate::event::{NetOutOfUse, NetRing};
use crate::features::net;
use crate::judge::Verdicts;
use crate::requirement::Req;
use crate::session::Session;

/// Pairs of queues at most: there are 64 queues.
const MAX_PAIRS: usize = 32;

/// Which transmit queues are in use, and what was sent through others.
pub(super) struct OutOfUse {
    /// Pairs of queues in use.
    pairs: u16,
    /// VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET has been seen since the reset.
    told_pairs: bool,
    /// By pair: how far packets were available when the device looked last.
    available: [u16; MAX_PAIRS],
    /// By pair: the packets up to this position were available when the queue went out of use.
    allowed: [Option<u16>; MAX_PAIRS],
    /// By pair: packets for which a command may be on its way.
    premature: [Option<Premature>; MAX_PAIRS],
}

/// Packets on a queue that is not in use, while commands waited.
#[derive(Clone, Copy)]
struct Premature {
    packets: u16,
    /// How many of the commands the device has not taken yet.
    commands: u16,
    /// What was violated, if none of them brings the queue into use.
    rule: Req,
}

impl OutOfUse {
    pub(super) const fn new() -> Self {
        OutOfUse {
            pairs: 1,
            told_pairs: false,
            available: [0; MAX_PAIRS],
            allowed: [None; MAX_PAIRS],
            premature: [None; MAX_PAIRS],
        }
    }

    /// Whether `queue` is one of those in use.
    #[inline(always)]
    pub(super) fn are_in_use(&self, queue: u16) -> bool {
        queue / 2 < self.pairs
    }

    /// The requirement of packets that are sent now.
    pub(super) fn rule(&self) -> Req {
        if self.told_pairs {
            BEYOND_PAIRS
        } else {
            FIRST_QUEUE
        }
    }

    /// The device has looked at a queue for packets.
    pub(super) fn ring_read(&mut self, ring: &NetRing) {
        if ring.queue % 2 == 1
            && let Some(available) = self.available.get_mut(usize::from(ring.queue / 2))
        {
            *available = ring.available;
        }
    }

    /// The device has taken a command, which sets the number of `pairs` in use, if it is one of these.
    pub(super) fn commanded(&mut self, pairs: Option<u16>, verdicts: &mut Verdicts) {
        if let Some(pairs) = pairs {
            for pair in 0..MAX_PAIRS {
                let before = usize::from(self.pairs);
                self.allowed[pair] = if (usize::from(pairs)..before).contains(&pair) {
                    Some(self.available[pair])
                } else {
                    self.allowed[pair].filter(|_| pair >= usize::from(pairs))
                };
            }
            self.pairs = pairs;
            self.told_pairs = true;
        }
        for pair in 0..MAX_PAIRS {
            let Some(premature) = &mut self.premature[pair] else {
                continue;
            };
            premature.commands = premature.commands.saturating_sub(1);
            let Premature {
                packets,
                commands,
                rule,
            } = *premature;
            if pair < usize::from(self.pairs) {
                self.premature[pair] = None;
                verdicts.held(rule);
            } else if commands == 0 {
                self.premature[pair] = None;
                self.violated(rule, pair as u16, packets, verdicts);
            }
        }
    }

    /// The driver has sent packets through a queue that is not in use.
    pub(super) fn judge(&mut self, sent: &NetOutOfUse, session: &Session, verdicts: &mut Verdicts) {
        let pair = sent.queue / 2;
        let index = usize::from(pair);
        if !session.has(net::MQ) || self.are_in_use(sent.queue) || index >= MAX_PAIRS {
            return;
        }
        let rule = self.rule();
        let beyond = match self.allowed[index] {
            None => sent.packets,
            Some(allowed) => {
                // Less than half the range of positions lies between them: a queue has 32768 entries.
                let beyond = sent.taken.wrapping_sub(allowed).cast_signed();
                if beyond >= 0 {
                    self.allowed[index] = None;
                }
                beyond.max(0).cast_unsigned().min(sent.packets)
            }
        };
        if beyond < sent.packets {
            verdicts.held(rule);
        }
        if beyond == 0 {
            return;
        }
        if sent.commands == 0 {
            self.violated(rule, pair, beyond, verdicts);
        } else if self.premature[index].is_none() {
            self.premature[index] = Some(Premature {
                packets: beyond,
                commands: sent.commands,
                rule,
            });
        }
    }

    fn violated(&self, rule: Req, pair: u16, packets: u16, verdicts: &mut Verdicts) {
        let message = format!(
            "packets queued on transmitq{}: {packets}; pairs of queues in use: {}",
            pair + 1,
            self.pairs
        );
        verdicts.violated(rule, Some(2 * pair + 1), message);
    }
}
