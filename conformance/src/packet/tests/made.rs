//! Packets made by hand, and what should be found in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A packet made by hand, and what should be found in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    pub(super) network: usize,
    pub(super) network_end: usize,
    pub(super) transport: usize,
    pub(super) fragment: bool,
}

impl Made {
    /// An Ethernet header with VLAN tags.
    pub(super) fn tagged(tags: &[u16], ethertype: u16) -> Self {
        let mut bytes = vec![2; 12];
        for tag in tags {
            bytes.extend(tag.to_be_bytes());
            bytes.extend([0x60, 5]);
        }
        bytes.extend(ethertype.to_be_bytes());
        Made {
            network: bytes.len(),
            bytes,
            ..Made::default()
        }
    }

    /// An IPv4 packet with `options`, whose length is a multiple of 4, and the fragment field.
    pub(super) fn v4(
        tags: &[u16],
        options: &[u8],
        fragment: u16,
        protocol: u8,
        payload: &[u8],
    ) -> Self {
        let mut made = Made::tagged(tags, ethertype::IPV4);
        let words = 5 + options.len() / 4;
        let total = (4 * words + payload.len()) as u16;
        let mut header = vec![0x40 | words as u8, 0];
        header.extend(total.to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(fragment.to_be_bytes());
        header.extend([64, protocol, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
        header.extend(options);
        let checksum = checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        made.bytes.extend(header);
        made.fragment = fragment & 0x3fff != 0;
        made.network_end = made.bytes.len();
        made.transport = made.network_end;
        made.bytes.extend(payload);
        made
    }

    /// An IPv6 packet with these extension headers: their types and their content after the first two bytes.
    pub(super) fn v6(
        tags: &[u16],
        extensions: &[(u8, Vec<u8>)],
        protocol: u8,
        payload: &[u8],
    ) -> Self {
        let mut made = Made::tagged(tags, ethertype::IPV6);
        let types = extensions.iter().map(|(kind, _)| *kind).chain([protocol]);
        let types: Vec<u8> = types.collect();
        let mut behind = Vec::new();
        for ((kind, content), next) in extensions.iter().zip(&types[1..]) {
            let len = match *kind {
                FRAGMENT => 0,
                AUTHENTICATION => (content.len() + 2) / 4 - 2,
                _ => (content.len() + 2) / 8 - 1,
            };
            behind.extend([*next, len as u8]);
            behind.extend(content);
            if *kind == FRAGMENT {
                made.fragment |= content[..2] != [0, 0];
            }
        }
        let transport = behind.len();
        behind.extend(payload);
        made.bytes.extend([0x60, 0, 0, 0]);
        made.bytes.extend((behind.len() as u16).to_be_bytes());
        made.bytes.extend([types[0], 64]);
        made.bytes.extend([0xfd; 16]);
        made.bytes.extend([0xfe; 16]);
        made.network_end = made.bytes.len();
        made.transport = made.network_end + transport;
        made.bytes.extend(behind);
        made
    }

    pub(super) fn headers(&self) -> Headers {
        Headers::parse(&self.bytes).unwrap_or_else(|| panic!("{self:?}"))
    }

    /// What is found is what was made.
    pub(super) fn is_found(&self) {
        let found = self.headers();
        assert_eq!(
            (found.network, found.network_end, found.transport),
            (self.network, self.network_end, self.transport),
            "{self:?}"
        );
        assert_eq!(found.fragment, self.fragment, "{self:?}");
        let covered = self.bytes.len() - self.transport;
        assert_eq!(found.len, Some(covered).filter(|len| *len > 0), "{self:?}");
    }
}

/// A TCP segment with `words` of options, an ACK, and `payload` bytes of payload.
pub(super) fn segment(words: u8, payload: usize) -> Vec<u8> {
    let mut segment = vec![0x0f, 0xa1, 0, 7, 0, 0, 1, 0, 0, 0, 2, 0];
    segment.extend([(5 + words) << 4, tcp::ACK | tcp::CWR, 4, 0, 0, 0, 0, 0]);
    segment.resize(20 + 4 * usize::from(words) + payload, 1);
    segment
}

/// Any packet that [`Made`] can make; each extension header is a multiple of 8 bytes long.
pub(super) fn made() -> impl Strategy<Value = Made> {
    let tags = vec(select(&TAGS[..]), 0..=2);
    let options = vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat());
    let fragment = prop_oneof![Just(0), Just(0x4000), any::<u16>()];
    let protocol = prop_oneof![3 => Just(PROTOCOL_TCP), 1 => Just(PROTOCOL_UDP), 1 => Just(58)];
    let payload = (0..=10_u8, 0..50_usize).prop_map(|(words, len)| segment(words, len));
    let payload = prop_oneof![payload, vec(any::<u8>(), 0..40)];
    let longer = (
        select(vec![ROUTING, DESTINATION]),
        0..3_usize,
        any::<[u8; 8]>(),
    );
    let longer = longer.prop_map(|(kind, more, word)| {
        let words = more + if kind == AUTHENTICATION { 2 } else { 1 };
        (kind, word.repeat(words)[2..].to_vec())
    });
    let whole = Just((FRAGMENT, vec![0; 6]));
    let part = any::<[u8; 6]>().prop_map(|content| (FRAGMENT, content.to_vec()));
    let extension = prop_oneof![4 => longer, 1 => whole, 1 => part];
    let first = prop::option::of(any::<[u8; 6]>());
    let extensions = (first, vec(extension, 0..4)).prop_map(|(first, mut others)| {
        if let Some(content) = first {
            others.insert(0, (HOP_BY_HOP, content.to_vec()));
        }
        others
    });
    (
        any::<bool>(),
        tags,
        options,
        fragment,
        protocol,
        payload,
        extensions,
    )
        .prop_map(
            |(v4, tags, options, fragment, protocol, payload, extensions)| match v4 {
                true => Made::v4(&tags, &options, fragment, protocol, &payload),
                false => Made::v6(&tags, &extensions, protocol, &payload),
            },
        )
}
