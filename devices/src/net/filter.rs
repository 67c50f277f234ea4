//! Which incoming packets the driver wants (§5.1.6.5.1 to §5.1.6.5.3 of virtio 1.0).

use stickler_conformance::features::net;
use stickler_conformance::packet::ethertype;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// More addresses than these are not looked up one by one: the filter then lets all unicast, or all
/// multicast packets through, as §5.1.6.5.2 allows.
const MAX_ADDRESSES: usize = 64;

const ETHERTYPE_VLAN: [u8; 2] = ethertype::VLAN.to_be_bytes();

/// The filter's state.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// VIRTIO_NET_CTRL_RX_PROMISC
    pub(super) promiscuous: bool,
    /// VIRTIO_NET_CTRL_RX_ALLMULTI
    pub(super) all_multicast: bool,
    /// VIRTIO_NET_CTRL_RX_ALLUNI
    pub(super) all_unicast: bool,
    /// VIRTIO_NET_CTRL_RX_NOMULTI
    pub(super) no_multicast: bool,
    /// VIRTIO_NET_CTRL_RX_NOUNI
    pub(super) no_unicast: bool,
    /// VIRTIO_NET_CTRL_RX_NOBCAST
    pub(super) no_broadcast: bool,
    /// The default address: that of the configuration, or the one set with MAC_ADDR_SET.
    mac: Mac,
    unicast: Table,
    multicast: Table,
    /// A bit a VLAN id; `None` if VLANs are not filtered.
    vlans: Option<Box<[u64; 64]>>,
}

/// One half of the MAC filtering table.
#[derive(Clone, Debug, Default)]
struct Table {
    addresses: Vec<Mac>,
    /// There were too many: all are let through.
    all: bool,
}

impl Table {
    fn set(&mut self, macs: &[u8]) {
        self.addresses.clear();
        let (macs, _) = macs.as_chunks::<6>();
        self.all = macs.len() > MAX_ADDRESSES;
        if !self.all {
            self.addresses.extend_from_slice(macs);
        }
    }

    fn has(&self, mac: Mac) -> bool {
        self.all || self.addresses.contains(&mac)
    }
}

impl Filter {
    /// The filter of a device fresh from reset, with address `mac` and these features negotiated.
    pub(super) fn new(mac: Mac, features: u64) -> Self {
        // Without VIRTIO_NET_F_CTRL_RX the driver cannot tell which groups it is in, and without
        // VIRTIO_NET_F_MAC it has an address we do not know.
        let knows_mac = features & net::MAC != 0;
        let controls = features & net::CTRL_RX != 0;
        Filter {
            promiscuous: false,
            all_multicast: !controls,
            all_unicast: !knows_mac,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            mac,
            // §5.1.6.5.2.1: empty on reset.
            unicast: Table::default(),
            multicast: Table::default(),
            vlans: (features & net::CTRL_VLAN != 0).then(|| Box::new([0; 64])),
        }
    }

    /// VIRTIO_NET_CTRL_MAC_ADDR_SET
    pub(super) fn set_mac(&mut self, mac: Mac) {
        self.mac = mac;
        // Now its address is known, whether or not it took ours.
        self.all_unicast = false;
    }

    /// VIRTIO_NET_CTRL_MAC_TABLE_SET: `unicast` and `multicast` are addresses one behind the other.
    pub(super) fn set_table(&mut self, unicast: &[u8], multicast: &[u8]) {
        self.unicast.set(unicast);
        self.multicast.set(multicast);
    }

    /// VIRTIO_NET_CTRL_VLAN_ADD and VIRTIO_NET_CTRL_VLAN_DEL. Gives whether there is such a VLAN.
    pub(super) fn set_vlan(&mut self, id: u16, wanted: bool) -> bool {
        let Some(word) = self
            .vlans
            .as_mut()
            .and_then(|words| words.get_mut(usize::from(id / 64)))
        else {
            return false;
        };
        let bit = 1 << (id % 64);
        if wanted {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        true
    }

    /// Whether the driver is to get this packet.
    pub(super) fn accepts(&self, packet: &[u8]) -> bool {
        let Some(&destination) = packet.first_chunk::<6>() else {
            return false;
        };
        // §5.1.6.5.1.1: promiscuous mode takes effect whatever the other modes are.
        if self.promiscuous {
            return true;
        }
        if !self.accepts_vlan(packet) {
            return false;
        }
        let [first, ..] = destination;
        if destination == [0xff; 6] {
            // §5.1.6.5.1.1: NOBCAST goes before ALLMULTI; NOMULTI does not concern broadcasts.
            !self.no_broadcast
        } else if first & 1 != 0 {
            // §5.1.6.5.1.1: NOMULTI goes before ALLMULTI.
            !self.no_multicast && (self.all_multicast || self.multicast.has(destination))
        } else {
            // §5.1.6.5.1.1: NOUNI goes before ALLUNI. §5.1.6.5.2.1: else only what is for the
            // device's own address or one in the table.
            !self.no_unicast
                && (self.all_unicast || destination == self.mac || self.unicast.has(destination))
        }
    }

    fn accepts_vlan(&self, packet: &[u8]) -> bool {
        let Some(vlans) = &self.vlans else {
            return true;
        };
        match packet.get(12..16) {
            Some(&[a, b, high, low]) if [a, b] == ETHERTYPE_VLAN => {
                let id = u16::from_be_bytes([high, low]) & 0xfff;
                vlans
                    .get(usize::from(id / 64))
                    .is_some_and(|word| word & (1 << (id % 64)) != 0)
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 9];
    const GROUP: Mac = [0x33, 0x33, 0, 0, 0, 1];
    const BROADCAST: Mac = [0xff; 6];
    const ALL: u64 = net::MAC | net::CTRL_VQ | net::CTRL_RX | net::CTRL_VLAN;

    fn to(destination: Mac) -> Vec<u8> {
        let mut packet = vec![0; 60];
        packet[..6].copy_from_slice(&destination);
        packet[12..14].copy_from_slice(&[8, 0]);
        packet
    }

    fn tagged(destination: Mac, tag: u16) -> Vec<u8> {
        let mut packet = to(destination);
        packet[12..14].copy_from_slice(&ETHERTYPE_VLAN);
        packet[14..16].copy_from_slice(&tag.to_be_bytes());
        packet
    }

    fn takes(filter: &Filter) -> [bool; 4] {
        [OURS, OTHER, GROUP, BROADCAST].map(|mac| filter.accepts(&to(mac)))
    }

    #[test]
    fn fresh_from_reset_own_address_and_broadcasts_pass() {
        let filter = Filter::new(OURS, ALL);
        assert_eq!(takes(&filter), [true, false, false, true]);
        assert!(!filter.accepts(&[2, 0, 0]));
    }

    #[test]
    fn a_driver_that_cannot_control_the_filter_is_not_filtered_for_what_it_cannot_tell() {
        assert_eq!(
            takes(&Filter::new(OURS, net::MAC)),
            [true, false, true, true]
        );
        assert_eq!(takes(&Filter::new(OURS, 0)), [true; 4]);
    }

    #[test]
    fn each_mode_does_its_part() {
        let mut filter = Filter::new(OURS, ALL);
        filter.all_multicast = true;
        assert_eq!(takes(&filter), [true, false, true, true]);
        filter.no_multicast = true;
        assert_eq!(takes(&filter), [true, false, false, true]);
        filter.no_broadcast = true;
        assert_eq!(takes(&filter), [true, false, false, false]);
        filter.all_unicast = true;
        assert_eq!(takes(&filter), [true, true, false, false]);
        filter.no_unicast = true;
        assert_eq!(takes(&filter), [false; 4]);
        filter.promiscuous = true;
        assert_eq!(takes(&filter), [true; 4]);
    }

    #[test]
    fn the_table_adds_addresses_and_is_replaced_as_a_whole() {
        let mut filter = Filter::new(OURS, ALL);
        filter.set_table(&OTHER, &GROUP);
        assert_eq!(takes(&filter), [true; 4]);
        filter.set_table(&[], &GROUP);
        assert_eq!(takes(&filter), [true, false, true, true]);
        filter.set_mac(OTHER);
        assert_eq!(takes(&filter), [false, true, true, true]);
    }

    #[test]
    fn too_many_addresses_let_all_through() {
        let mut filter = Filter::new(OURS, ALL);
        filter.set_table(&[2; 6 * 65], &[]);
        assert_eq!(takes(&filter), [true, true, false, true]);
        filter.set_table(&[2; 6 * 64], &[]);
        assert_eq!(takes(&filter), [true, false, false, true]);
    }

    #[test]
    fn tagged_packets_pass_only_on_vlans_that_were_added() {
        let mut filter = Filter::new(OURS, ALL);
        assert!(!filter.accepts(&tagged(OURS, 0x6005)));
        assert!(filter.set_vlan(5, true));
        assert!(filter.accepts(&tagged(OURS, 0x6005)));
        assert!(!filter.accepts(&tagged(OURS, 4)));
        assert!(!filter.accepts(&tagged(OTHER, 5)));
        assert!(filter.set_vlan(5, false));
        assert!(!filter.accepts(&tagged(OURS, 5)));
        assert!(filter.set_vlan(4095, true));
        assert!(!filter.set_vlan(4096, true));
        // Not negotiated: every VLAN passes.
        let mut filter = Filter::new(OURS, net::MAC);
        assert!(filter.accepts(&tagged(OURS, 5)));
        assert!(!filter.set_vlan(5, true));
    }
}
