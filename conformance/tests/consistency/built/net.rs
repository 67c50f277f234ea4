//! Requirements on devices: the network device.

use super::declare;

declare! {
    "device.net.config.max-pairs":
        "net/mod.rs", "net/tests/mod.rs" the_configuration_is_laid_out_by_what_is_offered;
    "device.net.tx.unknown-flags":
        "net/transmit.rs", "net/tests/transmit.rs" headers_are_reduced_to_what_was_negotiated;
    "device.net.tx.csum-fields-unused":
        "net/transmit.rs", "net/tests/transmit.rs" headers_are_reduced_to_what_was_negotiated;
    "device.net.tx.hdr-len-hint":
        "net/transmit.rs", "net/tests/transmit.rs" hdr_len_is_a_hint_and_nothing_more;
    "device.net.tx.hdr-len-unreliable":
        "net/offload.rs", "net/offload.rs" a_large_packet_is_cut_into_right_ones;
    "device.net.tx.checksum-unreliable":
        "net/transmit.rs", "net/tests/transmit.rs" headers_are_reduced_to_what_was_negotiated;
    "device.net.rx.num-buffers":
        "net/receive.rs", "net/tests/receive.rs" merged_buffers_are_used_together;
    "device.net.rx.single-buffer":
        "net/receive.rs", "net/tests/receive.rs" without_merging_a_buffer_that_is_too_small_waits_for_a_smaller_packet;
    "device.net.rx.num-buffers-one":
        "net/receive.rs", "net/tests/receive.rs" a_packet_comes_behind_its_header_in_any_framing;
    "device.net.rx.merged-at-once":
        "net/receive.rs", "net/tests/receive.rs" the_buffers_of_a_packet_become_visible_at_once;
    "device.net.rx.no-guest-csum":
        "net/receive.rs", "net/tests/receive.rs" checksums_are_completed_for_drivers_that_take_no_partial_ones;
    "device.net.rx.no-guest-tso4":
        "net/receive.rs", "net/tests/receive.rs" each_gso_type_needs_its_feature;
    "device.net.rx.no-guest-ufo":
        "net/receive.rs", "net/tests/receive.rs" each_gso_type_needs_its_feature;
    "device.net.rx.no-guest-tso6":
        "net/receive.rs", "net/tests/receive.rs" each_gso_type_needs_its_feature;
    "device.net.rx.ecn":
        "net/receive.rs", "net/tests/receive.rs" packets_to_be_segmented_come_only_to_drivers_that_take_them;
    "device.net.rx.needs-csum":
        "net/receive.rs", "net/tests/receive.rs" checksums_are_completed_for_drivers_that_take_no_partial_ones;
    "device.net.rx.needs-csum.preceding":
        "net/receive.rs", "net/tests/receive.rs" checksums_are_completed_for_drivers_that_take_no_partial_ones;
    "device.net.rx.needs-csum.pseudo-header":
        "net/offload.rs", "net/offload.rs" checksums_are_completed;
    "device.net.rx.needs-csum.place":
        "net/receive.rs", "net/offload.rs" checksums_are_completed;
    "device.net.rx.gso-none":
        "net/receive.rs", "net/tests/receive.rs" each_gso_type_needs_its_feature;
    "device.net.rx.gso-complete":
        "net/receive.rs", "net/tests/receive.rs" packets_to_be_segmented_come_only_to_drivers_that_take_them;
    "device.net.rx.hdr-len":
        "net/receive.rs", "net/tests/receive.rs" packets_to_be_segmented_come_only_to_drivers_that_take_them;
    "device.net.rx.data-valid":
        "net/receive.rs", "net/tests/receive.rs" checksums_are_completed_for_drivers_that_take_no_partial_ones;
    "device.net.filter.commands":
        "net/control.rs", "net/tests/control.rs" each_mode_is_set_by_its_command;
    "device.net.filter.promiscuous":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.all-multicast":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.extra-commands":
        "net/control.rs", "net/tests/control.rs" each_mode_is_set_by_its_command;
    "device.net.filter.all-unicast":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-multicast":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-multicast-first":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-multicast-broadcast":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-unicast":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-unicast-first":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-broadcast":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.filter.no-broadcast-first":
        "net/filter.rs", "net/filter.rs" each_mode_does_its_part;
    "device.net.mac.table-empty-on-reset":
        "net/filter.rs", "net/tests/control.rs" a_reset_empties_the_filtering_table;
    "device.net.mac.table-set":
        "net/control.rs", "net/tests/control.rs" the_filter_stands_between_the_network_and_the_driver;
    "device.net.mac.address-set":
        "net/control.rs", "net/tests/control.rs" the_address_set_is_the_one_filtered_by_and_shown_until_reset;
    "device.net.mac.filtered":
        "net/filter.rs", "net/filter.rs" fresh_from_reset_own_address_and_broadcasts_pass;
    "device.net.announce.cleared":
        "net/control.rs", "net/tests/control.rs" announcing_is_asked_for_until_it_is_acknowledged;
    "device.net.mq.first-only":
        "net/receive.rs", "net/tests/pairs.rs" flows_are_received_on_the_pair_they_are_transmitted_on;
    "device.net.mq.none-beyond":
        "net/receive.rs", "net/tests/pairs.rs" flows_are_received_on_the_pair_they_are_transmitted_on;
}
