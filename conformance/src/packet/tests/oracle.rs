//! The same packets by another parser, that of the crate `etherparse`.

use etherparse::{LaxNetSlice, LaxSlicedPacket};

use super::*;

/// What the crate `etherparse` finds: where the header after the IP header is, its protocol, and
/// whether the packet is a fragment.
pub(super) fn by_etherparse(packet: &[u8]) -> Option<(usize, u8, bool)> {
    let found = LaxSlicedPacket::from_ethernet(packet).ok()?;
    // It follows a third tag, and other kinds of them.
    let tags = found.link_exts.len();
    let known = |at: usize| matches!(be16(packet, at), Some(0x8100 | 0x88a8));
    if tags > VLAN_TAGS || !(0..tags).all(|tag| known(12 + VLAN_TAG * tag)) {
        return None;
    }
    let network = ETHERNET_LEN + VLAN_TAG * tags;
    let (ethertype, len, payload) = match &found.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let auth = ip.extensions().auth.map_or(0, |auth| auth.slice().len());
            let len = ip.header().slice().len() + auth;
            (ethertype::IPV4, len, ip.payload())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let len = IPV6_LEN + ip.extensions().slice().len();
            (ethertype::IPV6, len, ip.payload())
        }
        _ => return None,
    };
    // It goes by the version and not by the EtherType; and it returns the extension headers before one
    // that is wrong.
    let wrong = found.stop_err.is_some_and(|(_, layer)| is_extension(layer));
    let right = be16(packet, network - 2) == Some(ethertype) && !wrong;
    right.then_some((network + len, payload.ip_number.0, payload.fragmented))
}

fn is_extension(layer: etherparse::err::Layer) -> bool {
    use etherparse::err::Layer::*;
    matches!(
        layer,
        IpAuthHeader
            | Ipv6ExtHeader
            | Ipv6HopByHopHeader
            | Ipv6DestOptionsHeader
            | Ipv6RouteHeader
            | Ipv6FragHeader
    )
}

/// What is found is what `etherparse` finds.
pub(super) fn agrees_with_etherparse(packet: &[u8]) {
    let found = Headers::parse(packet);
    let found = found.map(|h| (h.transport, h.protocol, h.fragment));
    assert_eq!(found, by_etherparse(packet), "{packet:02x?}");
}
