//! The network device (§5.1 of virtio 1.0).

use super::built;

built! {
    chapter BuiltNet;

    "device.net.config.max-pairs", Must ["5.1.4.1-1"],
        "If MQ is offered, max_virtqueue_pairs is from 1 to 0x8000.",
        choice "MQ is offered with 2 to 31 pairs.";

    // ---- §5.1.6.2 Packets from the driver
    "device.net.tx.unknown-flags", Must ["5.1.6.2.2-1"],
        "Bits of flags that the device does not know are ignored.",
        choice "Bits whose feature was not negotiated are ignored as well.";
    "device.net.tx.csum-fields-unused", MustNot ["5.1.6.2.2-2"],
        "Without NEEDS_CSUM, csum_start and csum_offset are not used.";
    "device.net.tx.hdr-len-hint", May ["5.1.6.2.2-3"],
        "With a segmentation offload negotiated, the device may use hdr_len as a hint for the length of the headers.",
        choice "It is passed to the host with packets to be segmented, and not used otherwise.";
    "device.net.tx.hdr-len-unreliable", MustNot ["5.1.6.2.2-4"],
        "The device does not rely on hdr_len.";
    "device.net.tx.checksum-unreliable", MustNot ["5.1.6.2.2-5"],
        "Without NEEDS_CSUM, the device does not rely on the packet's checksum.",
        choice "The packet is passed to the host unchanged, and is not marked as valid.";

    // ---- §5.1.6.3 and §5.1.6.4 Packets to the driver
    "device.net.rx.num-buffers", Must ["5.1.6.3.2-1", "5.1.6.4.1-2"],
        "With MRG_RXBUF, num_buffers is the number of buffers of the packet and its header.";
    "device.net.rx.single-buffer", Must ["5.1.6.3.2-2"],
        "Without MRG_RXBUF, a packet is put into one buffer.",
        choice "A packet that does not fit into the next buffer is dropped.";
    "device.net.rx.num-buffers-one", Must ["5.1.6.4.1-1"],
        "Without MRG_RXBUF, num_buffers is 1.";
    "device.net.rx.merged-at-once", Must ["5.1.6.4.1-3"],
        "All buffers of one packet appear in the used ring at once.";
    "device.net.rx.no-guest-csum", Must ["5.1.6.4.1-4"],
        "Without GUEST_CSUM, flags is 0 and the packet fully checksummed.",
        choice "The device completes partial checksums of the host.";
    "device.net.rx.no-guest-tso4", MustNot ["5.1.6.4.1-5"],
        "Without GUEST_TSO4, no packet has gso_type GSO_TCPV4.";
    "device.net.rx.no-guest-ufo", MustNot ["5.1.6.4.1-6"],
        "Without GUEST_UFO, no packet has gso_type GSO_UDP.",
        choice "GUEST_UFO is not offered.";
    "device.net.rx.no-guest-tso6", MustNot ["5.1.6.4.1-7"],
        "Without GUEST_TSO6, no packet has gso_type GSO_TCPV6.";
    "device.net.rx.ecn", ShouldNot ["5.1.6.4.1-8"],
        "TCP packets to be segmented that have ECN set are sent to the driver only with GUEST_ECN, and are marked GSO_ECN.",
        choice "Without GUEST_ECN, the host segments them; a packet that was already on its way is dropped.";
    "device.net.rx.needs-csum", May ["5.1.6.4.1-9"],
        "With GUEST_CSUM, packets may be partially checksummed and marked NEEDS_CSUM.",
        choice "Packets that the host marks so are marked.";
    "device.net.rx.needs-csum.preceding", Must ["5.1.6.4.1-10"],
        "In a packet marked NEEDS_CSUM, the checksums before the partial one have been validated.",
        choice "The host has made or validated its packets; no others are marked.";
    "device.net.rx.needs-csum.pseudo-header", Must ["5.1.6.4.1-11"],
        "In a packet marked NEEDS_CSUM, the checksum field has the pseudo header's sum.";
    "device.net.rx.needs-csum.place", Must ["5.1.6.4.1-12"],
        "csum_start and csum_offset give the start of the sum and the place of the checksum; without a segmentation offload, gso_type is GSO_NONE.";
    "device.net.rx.gso-none", Must ["5.1.6.4.1-12"],
        "Without any of GUEST_TSO4, GUEST_TSO6 and GUEST_UFO, gso_type is GSO_NONE.";
    "device.net.rx.gso-complete", Must ["5.1.6.4.1-13"],
        "A packet to be segmented is marked NEEDS_CSUM and has the desired MSS in gso_size.";
    "device.net.rx.hdr-len", Should ["5.1.6.4.1-14"],
        "With a segmentation offload negotiated, hdr_len is at least the length of the headers.",
        choice "It is exactly that for packets to be segmented, and 0 for others.";
    "device.net.rx.data-valid", May ["5.1.6.4.1-15"],
        "With GUEST_CSUM, a packet whose checksum has been validated may be marked DATA_VALID.",
        choice "Packets that the host has validated are marked.";

    // ---- §5.1.6.5.1 Packet receive filtering
    "device.net.filter.commands", Must ["5.1.6.5.1.1-1"],
        "With CTRL_RX, the driver can enable and disable promiscuous and all-multicast mode.";
    "device.net.filter.promiscuous", Should ["5.1.6.5.1.1-2", "5.1.6.5.1.1-3"],
        "In promiscuous mode every packet is received, whatever the other modes are.";
    "device.net.filter.all-multicast", Should ["5.1.6.5.1.1-4"],
        "In all-multicast mode every multicast packet is received.";
    "device.net.filter.extra-commands", Must ["5.1.6.5.1.1-5"],
        "With CTRL_RX_EXTRA, the driver can enable and disable all-unicast, no-multicast, no-unicast and no-broadcast mode.";
    "device.net.filter.all-unicast", Should ["5.1.6.5.1.1-6"],
        "In all-unicast mode every unicast packet is received.";
    "device.net.filter.no-multicast", ShouldNot ["5.1.6.5.1.1-7"],
        "In no-multicast mode no multicast packet is received.";
    "device.net.filter.no-multicast-first", Should ["5.1.6.5.1.1-8"],
        "No-multicast mode takes precedence over all-multicast mode.";
    "device.net.filter.no-multicast-broadcast", ShouldNot ["5.1.6.5.1.1-9"],
        "No-multicast mode does not suppress broadcasts.";
    "device.net.filter.no-unicast", ShouldNot ["5.1.6.5.1.1-10"],
        "In no-unicast mode no unicast packet is received.";
    "device.net.filter.no-unicast-first", Should ["5.1.6.5.1.1-11"],
        "No-unicast mode takes precedence over all-unicast mode.";
    "device.net.filter.no-broadcast", ShouldNot ["5.1.6.5.1.1-12"],
        "In no-broadcast mode no broadcast is received.";
    "device.net.filter.no-broadcast-first", Should ["5.1.6.5.1.1-13"],
        "No-broadcast mode takes precedence over all-multicast mode.";

    // ---- §5.1.6.5.2 Setting MAC address filtering
    "device.net.mac.table-empty-on-reset", Must ["5.1.6.5.2.1-1"],
        "After a reset, the MAC filtering table is empty.";
    "device.net.mac.table-set", Must ["5.1.6.5.2.1-2"],
        "The MAC filtering table is updated before the command that sets it is returned.";
    "device.net.mac.address-set", Must ["5.1.6.5.2.1-3"],
        "With CTRL_MAC_ADDR, mac of the configuration is updated before the command that sets it is returned.";
    "device.net.mac.filtered", Should ["5.1.6.5.2.1-4"],
        "Packets for an address that is neither the device's nor in the table are dropped.",
        choice "If the driver cannot set filters (no CTRL_RX), multicasts are received; if the driver \
            chooses its address (no MAC), or has more than 64 addresses in the table, all unicasts are.";

    // ---- §5.1.6.5.4 Gratuitous packet sending, §5.1.6.5.5 Multiqueue
    "device.net.announce.cleared", Must ["5.1.6.5.4.2-1"],
        "ANNOUNCE in status is cleared before the command that acknowledges it is returned.";
    "device.net.mq.first-only", Must ["5.1.6.5.5.2-1"],
        "Until VQ_PAIRS_SET, packets are received only on receiveq1.";
    "device.net.mq.none-beyond", MustNot ["5.1.6.5.5.2-2"],
        "After VQ_PAIRS_SET is returned, no packet is received on a receive queue beyond virtqueue_pairs.";
}
