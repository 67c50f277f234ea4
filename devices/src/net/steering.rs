//! Which receive queue a packet goes to in multiqueue mode (§5.1.6.5.5 of virtio 1.0).

use stickler_conformance::packet::Headers;

/// Flows are told apart by so many bits of a hash; flows that share a hash share a queue.
const BUCKETS: usize = 1024;

/// Remembers on which queue pair the driver last transmitted a packet of a flow.
#[derive(Clone, Debug)]
pub(super) struct Flows {
    pairs: Box<[u8; BUCKETS]>,
}

impl Flows {
    pub(super) fn new() -> Self {
        Flows {
            pairs: Box::new([0; BUCKETS]),
        }
    }

    /// Forgets all flows.
    pub(super) fn clear(&mut self) {
        self.pairs.fill(0);
    }

    /// The driver has transmitted a packet that begins with `packet` on `pair`.
    pub(super) fn learn(&mut self, packet: &[u8], pair: u16) {
        if let Some(slot) = bucket(packet).and_then(|bucket| self.pairs.get_mut(bucket)) {
            *slot = u8::try_from(pair).unwrap_or(0);
        }
    }

    /// The pair on which the driver transmits the flow of this incoming packet; the first if it has
    /// not, or if it is no longer one of the `pairs` in use.
    pub(super) fn pair(&self, packet: &[u8], pairs: u16) -> u16 {
        if pairs <= 1 {
            return 0;
        }
        let pair = bucket(packet)
            .and_then(|bucket| self.pairs.get(bucket))
            .map_or(0, |pair| u16::from(*pair));
        if pair < pairs { pair } else { 0 }
    }
}

/// The bytes of a packet that [`bucket`] looks at, at most: Ethernet header with a VLAN tag, the
/// longest IPv4 header or a few IPv6 extensions, ports.
pub(super) const PEEK: usize = 128;

/// Where a packet's flow is kept, the same for both directions; `None` if it is of no flow.
fn bucket(packet: &[u8]) -> Option<usize> {
    let headers = Headers::parse(packet)?;
    let (source, destination) = headers.addresses(packet)?;
    let ports = headers.ports(packet).unwrap_or_default();
    let ends = [(source, ports.0), (destination, ports.1)].map(|(address, port)| {
        let (words, _) = address.as_chunks::<4>();
        words.iter().fold(u64::from(port), |hash, word| {
            mix(hash ^ u64::from(u32::from_be_bytes(*word)))
        })
    });
    // Addition forgets which end is which.
    let both = ends.iter().fold(0_u64, |sum, end| sum.wrapping_add(*end));
    Some(mix(both) as usize % BUCKETS)
}

/// Spreads each bit over all others: the finalizer of splitmix64.
fn mix(mut hash: u64) -> u64 {
    hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::offload::tests::tcp4;
    use super::*;

    #[test]
    fn answers_go_where_the_flow_was_transmitted() {
        let mut flows = Flows::new();
        let there = tcp4([10, 0, 2, 15], [10, 0, 2, 2], 4001, 7, b"x");
        let back = tcp4([10, 0, 2, 2], [10, 0, 2, 15], 7, 4001, b"y");
        assert_eq!(flows.pair(&back, 4), 0);
        flows.learn(&there, 3);
        assert_eq!(flows.pair(&back, 4), 3);
        assert_eq!(flows.pair(&back, 3), 0, "no longer in use");
        flows.learn(&there, 1);
        assert_eq!(flows.pair(&back, 4), 1);
        flows.clear();
        assert_eq!(flows.pair(&back, 4), 0);
    }

    #[test]
    fn flows_are_told_apart_by_their_ports() {
        let buckets: std::collections::HashSet<_> = (4000..4016)
            .map(|port| bucket(&tcp4([10, 0, 2, 15], [10, 0, 2, 2], port, 7, b"")))
            .collect();
        assert!(buckets.len() > 12, "{buckets:?}");
        assert_eq!(bucket(b"not a packet"), None);
    }
}
