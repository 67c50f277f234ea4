//! What a violation of a requirement looks like from outside, and what to do about it in a driver:
//! for a requirement by itself, or for a family of them, whose names begin alike.

use crate::requirement::{Requirement, Role};

/// Advice on one requirement or on a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The requirement's name, or what the names of the family begin with, up to a dot.
    pub on: &'static str,
    /// How breaking it shows.
    pub looks_like: &'static str,
    /// How to mend a driver that breaks it.
    pub fix: &'static str,
}

/// The advice that fits `requirement` best. Every requirement on drivers that can be broken has one.
pub fn find(requirement: &Requirement) -> Option<&'static Advice> {
    if requirement.role == Role::Device {
        return None;
    }
    ADVICE
        .iter()
        .filter(|advice| covers(advice.on, requirement.name))
        .max_by_key(|advice| advice.on.len())
}

/// Whether `name` is `on`, or goes on from it with a dot.
fn covers(on: &str, name: &str) -> bool {
    name.strip_prefix(on)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

macro_rules! advice {
    ($($on:literal: $looks_like:literal; $fix:literal;)+) => {
        &[$(Advice { on: $on, looks_like: $looks_like, fix: $fix },)+]
    };
}

/// Families before their members.
static ADVICE: &[Advice] = advice! {
    "status":
        "A write to device_status that is out of step. Many devices do not check, and the driver works until it meets one that does.";
        "Write device_status only to add the bit of the step just completed to what was read, in the order of the initialization sequence; write 0 to reset.";
    "status.sequence.reset":
        "The first write to device_status sets a bit. After a boot loader or a crash kernel has used the device, it is still live and writes into memory that is no longer its.";
        "Write 0 to device_status and wait until it reads as 0, before anything else is done with the device.";
    "status.sequence.driver":
        "FEATURES_OK is set on a device nobody has claimed.";
        "Set DRIVER when the driver is bound to the device, before reading features.";
    "status.sequence.features-ok":
        "DRIVER_OK is set and FEATURES_OK never was: the device cannot say no to a set of features. Typical of drivers written for devices from before 1.0.";
        "After writing driver_feature, set FEATURES_OK, read device_status back, and go on only if it is still set.";
    "status.features-ok":
        "The driver sets DRIVER_OK though the device has taken FEATURES_OK back, or without looking: both sides then work with different features.";
        "Read device_status after setting FEATURES_OK. If the bit is gone, accept fewer features after a reset, or set FAILED and give up.";
    "status.no-clear":
        "A write to device_status lacks a bit that was set, usually because the driver writes a constant instead of adding to what it read.";
        "Keep the status written so far, or read it, and add to it; to take something back, reset.";
    "status.failed":
        "After FAILED, the driver sets further bits, writes features or enables queues as if nothing had happened.";
        "On the way out of a failed probe, set FAILED and touch the device no more. To try again, write 0 to device_status first.";
    "status.reset.wait":
        "0 is written to device_status and the next step follows at once. A device that takes its time to stop its queues still uses the memory of before.";
        "Poll device_status until it reads as 0 before freeing or reusing any memory the device knew, and before setting a bit.";
    "features":
        "The features written do not follow from those offered, or are written at the wrong time.";
        "After DRIVER, read both words of device_feature, keep the bits the driver implements and whose dependencies hold, write both words of driver_feature, then set FEATURES_OK; later changes need a reset.";
    "features.offered":
        "A bit is accepted that the device has not offered, usually because a constant is written. Nobody implements what the driver then relies on.";
        "Write what is offered AND what the driver knows.";
    "features.read-first":
        "Features are accepted from a word that was not read, often bit 32 (VERSION_1) from a word the driver takes for granted.";
        "Write 0, then 1 to device_feature_select and read device_feature each time.";
    "features.version-1":
        "VIRTIO_F_VERSION_1 is offered and bit 0 of the second word of driver_feature is not set; the device may refuse to work.";
        "Always include bit 32 in what the driver knows.";
    "features.configuration-read":
        "Not wrong by the text, but the order of reading the configuration and writing features is open to debate.";
        "Read features, read the configuration as far as it decides on features, write features once, set FEATURES_OK.";
    "config":
        "A field of the configuration is read or written in a way that a device need not support, and another device answers with something else.";
        "Access each field by its own width, and only if its feature bit was offered.";
    "config.fields-only":
        "A write goes to bytes of the configuration that are no field of it: padding today, and a field of its own on a later device.";
        "Write fields by their own offset and width.";
    "config.width":
        "An access is narrower or wider than the field, or in its middle: memcpy from the BAR is the usual cause. Devices that dispatch on offset and width return nothing useful.";
        "Use one access of 8, 16 or 32 bits a field, and two of 32 bits for a 64-bit one; copy arrays of bytes byte by byte.";
    "config.optional":
        "A field is accessed whose feature was not looked up or not offered: it need not exist, and holds anything.";
        "Guard each optional field by a test of its feature bit, after the features have been read.";
    "config.no-early-write":
        "The configuration is written before FEATURES_OK has been set, when the device does not know what the driver means by it.";
        "Move writes to the configuration behind FEATURES_OK.";
    "config.generation":
        "A 64-bit field is read without comparing config_generation before and after: a change in between yields two halves that do not belong together.";
        "Read config_generation, the field, and config_generation again, and repeat until both are the same.";
    "pci":
        "Something is written to, or through, a capability that does not allow it.";
        "Treat virtio's capabilities as read-only, but for bar, offset, length and data of the PCI configuration access capability; keep accesses through that one aligned and inside a structure.";
    "pci.window.whole":
        "pci_cfg_data is written in parts: each part makes the device write all cap.length bytes, the others as they were before.";
        "Set cap.length to the width of the field, and write pci_cfg_data by one access as wide.";
    "common":
        "A register the device only presents is written; the write does nothing, and hides that something else was meant.";
        "Do not write device_feature, num_queues, config_generation or queue_notify_off; check the offsets in the driver's copy of the structure.";
    "common.fields-only":
        "A write goes to bytes of the common configuration that are no field of it: padding today, and a register of its own on a later device.";
        "Write fields by their own offset and width, and those of later versions only with the feature that makes them exist.";
    "isr":
        "The handler of a queue's MSI-X vector reads ISR status, which costs an exit each time and may take an INTx-style configuration change away.";
        "Read ISR status only in the handler of the INTx interrupt.";
    "isr.read-only":
        "ISR status is written, as one acknowledges interrupts of other devices, or those of virtio over MMIO.";
        "Read ISR status once: that resets it and takes the interrupt back.";
    "isr.width":
        "ISR status is read by an access that is wider than its byte. Where it is the last thing in its BAR, or stands at an odd address, that fails.";
        "Read one byte at the offset of the ISR status capability.";
    "queue":
        "A virtqueue is not set up as the device presents it, and the device uses other memory than the driver.";
        "For each queue: select it, read queue_size, lower it if wished, write the three addresses with their alignment, map the vector, and only then write 1 to queue_enable.";
    "queue.exists":
        "A queue is configured whose queue_size reads as 0.";
        "Read queue_size after selecting a queue, and leave out those with 0.";
    "queue.size":
        "queue_size is written as something else than a power of two within what the device presented.";
        "Round down to a power of two not above what queue_size read as.";
    "queue.size.read":
        "A queue is enabled whose queue_size was not read: the rings may be laid out for another size than the device has, or for a queue that is not there.";
        "After each reset, select the queue and read queue_size before laying out its rings.";
    "queue.align":
        "A part of the queue is not aligned: 16 bytes for the descriptor table, 2 for the available ring, 4 for the used ring.";
        "Allocate the parts with their alignment; a page each is always right.";
    "queue.used-flags-zero":
        "Memory is handed to the device as a used ring without having been cleared.";
        "Clear all of the queue's memory before enabling it.";
    "queue.used-idx-zero":
        "Memory is handed to the device as a used ring whose idx is not 0: the device begins at 0, and both count differently from then on.";
        "Clear all of the queue's memory before enabling it, also when it is set up again after a reset.";
    "queue.enable":
        "queue_enable is written at the wrong time or with the wrong value: too early, late, twice, or to disable.";
        "Write 1 once to each queue, after its other fields and after FEATURES_OK, and before DRIVER_OK; to stop a queue, reset the device.";
    "msix":
        "An MSI-X vector is mapped that the device does not have, or the driver did not look whether the mapping was taken: its interrupts never come.";
        "Write the vector, read the field back, and fall back to fewer vectors or INTx when it reads as VIRTIO_MSI_NO_VECTOR.";
    "msix.vector.while-enabled":
        "An event is mapped to a vector while the device still uses its interrupt pin.";
        "Enable MSI-X in its capability first, then map events to its vectors.";
    "notify":
        "A notification goes to the wrong place, with the wrong value or width, or at the wrong time; or one that was owed is missing, and the queue stalls.";
        "Write the queue's index, 16 bits wide, at queue_notify_off times notify_off_multiplier, after DRIVER_OK, whenever buffers were added and the device has not suppressed it.";
    "notify.after-driver-ok":
        "A queue is notified before DRIVER_OK: the device has to ignore it, and what was in the queue waits for the next one.";
        "Set DRIVER_OK before the first notification; what was queued before is then notified.";
    "available":
        "The available ring says something the device cannot follow: heads beyond the table, or an idx that goes back or too far.";
        "Fill the entry, order the writes, then raise idx by the number of entries; never more than the queue's size in flight.";
    "chain":
        "The descriptors of a buffer do not make a chain the device can walk.";
        "Check how the free list is kept: link each descriptor once, device-readable ones first, clear NEXT in the last, and free a chain only when it has been used.";
    "chain.readable-before-writable":
        "A device-readable descriptor follows a device-writable one; the device cannot tell where its answer begins.";
        "Put all that the device reads in front.";
    "chain.no-loop":
        "Following next leads back to where it came from: a descriptor is linked that was already in the chain, often after a double free.";
        "Look for descriptors that are freed twice, or reused before the device has returned them.";
    "indirect":
        "An indirect table is not one: its length, flags or links are wrong, or the feature was not negotiated.";
        "Use one table a chain, a multiple of 16 bytes long, with NEXT inside the table only and INDIRECT only in the queue's table, if VIRTIO_F_RING_INDIRECT_DESC was accepted.";
    "used":
        "The driver goes on with a buffer as if the device had, or had not, returned it.";
        "Follow idx of the used ring, and take buffers back in the order it has them.";
    "used.read-only":
        "flags, idx or avail_event of the used ring is not what the device wrote there: the driver keeps its own counts in it, or writes what belongs into the available ring.";
        "Only read the used ring; interrupts are suppressed by flags and used_event of the available ring, and how far it has been read is kept elsewhere.";
    "interrupt":
        "After an interrupt for which there was nothing to do, or one for two reasons, the driver does not go on.";
        "In the interrupt handler look at all that may have caused it, used rings and configuration, and take finding nothing for no error.";
    "net":
        "The network driver uses something that was not negotiated, or that the layout does not provide for.";
        "Guard each use by its feature bit, and hold the layout against struct virtio_net_hdr and struct virtio_net_config.";
    "net.queue":
        "A queue is enabled that the accepted features do not make exist, or whose number means another queue with them.";
        "Without VIRTIO_NET_F_MQ there is one pair, and the controlq, with VIRTIO_NET_F_CTRL_VQ, is queue 2; with it, the controlq comes behind max_virtqueue_pairs pairs.";
    "net.features":
        "A feature is accepted without another that it rests on.";
        "When a feature is dropped, drop those that depend on it.";
    "net.tx":
        "The header of a packet to be sent asks for something that was not negotiated, or does not fit the packet.";
        "Clear all 12 bytes of the header, then fill in only the offloads that were accepted and that this packet needs.";
    "net.tx.num-buffers":
        "num_buffers holds what was in memory before: the header is not cleared where no offload is asked for.";
        "Clear the whole header, num_buffers included; it means something in received packets only.";
    "net.tx.gso":
        "A packet is left to the device to segment, and gso_type, gso_size or hdr_len do not say how, or not of this packet.";
        "Set gso_type by the packet's own headers and the features accepted, with VIRTIO_NET_HDR_GSO_ECN only beside a TCP type, gso_size to the segments' payload, and VIRTIO_NET_HDR_F_NEEDS_CSUM.";
    "net.tx.queue":
        "Packets go through a transmit queue that is not in use.";
        "Send VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET and wait for its answer before using more queues than the first.";
    "net.tx.checksummed":
        "A packet goes out with a checksum that was left to the device, though VIRTIO_NET_F_CSUM was not negotiated: whoever receives it drops it.";
        "Tell the network stack that the card checksums nothing unless VIRTIO_NET_F_CSUM was accepted.";
    "net.mac":
        "The card uses an address of its own making: the device filters what comes in by another, and answers are lost.";
        "Take the six bytes of mac for the card's address if VIRTIO_NET_F_MAC was accepted, make up a locally administered one if not, and tell the device of any other by VIRTIO_NET_CTRL_MAC_ADDR_SET.";
    "net.link":
        "The driver takes the link for up or down without knowing: with VIRTIO_NET_F_STATUS it never reads status, or without it goes by it.";
        "With VIRTIO_NET_F_STATUS read bit 0 of status at the start and after each change of the configuration; without it take the link for active.";
    "net.announce":
        "The device has asked for an announcement, and the driver goes on without: after a migration its peers go on sending to where it was.";
        "When status has VIRTIO_NET_S_ANNOUNCE, send gratuitous packets (ARP, neighbour advertisements) and then VIRTIO_NET_CTRL_ANNOUNCE_ACK.";
    "net.rx.populated":
        "A receive queue that VQ_PAIRS_SET took into use has never had a buffer: what the device steers there is lost.";
        "Fill each receive queue before VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET takes it into use.";
    "net.rx":
        "A receive buffer is too small for what the accepted features let the device receive, or not for the device to write.";
        "Size buffers by the accepted features: 65562 bytes with receive offloads and 1526 without, or any with MRG_RXBUF that hold the header.";
    "net.rx.flags":
        "Packets are dropped or mistaken for others because flags has a bit the driver does not know.";
        "Test flags for the bits that are known, one by one, and never compare it as a whole.";
    "net.rx.csum":
        "Checksums of received packets are made, or believed, where flags does not say so: data is spoilt, or spoilt data passes for good.";
        "Use csum_start and csum_offset only with VIRTIO_NET_HDR_F_NEEDS_CSUM, and call a checksum verified only with that bit or with VIRTIO_NET_HDR_F_DATA_VALID.";
    "net.rx.hdr-len":
        "Packets are lost or torn where hdr_len is not what their headers have.";
        "Find the length of headers by looking at them; take hdr_len for a hint as to how much to copy, within the packet.";
    "net.control":
        "A command on the control queue lacks its feature, has other data than its class and command call for, or leaves no byte for the answer.";
        "Build command, data and a device-writable byte for ack as the command's section has it; guard each by its feature.";
    "block":
        "A request does not fit the device: beyond its capacity, against a limit or a feature, or in another layout.";
        "Hold sector and length against capacity, keep data in multiples of 512 bytes, and put 16 bytes of header before and one device-writable byte of status behind them.";
    "block.request.reserved":
        "The header's reserved field is not 0: it was not cleared, or is taken for the priority it once held.";
        "Write 0 to reserved.";
    "console.control.port-ready-sent":
        "A port is used, and the device was never told that it is ready: it keeps back what there is to say of the port, such as its name and that it is a console.";
        "Answer each DEVICE_ADD by PORT_READY with value 1, or 0 where the port cannot be set up.";
    "console.receive":
        "A receive queue is given buffers that are not for the device to write, or that hold nothing.";
        "Give device-writable buffers of at least a byte.";
    "console.control-receive":
        "A buffer for control messages is not for the device to write, or too small: messages that do not fit wait for a larger one.";
        "Give device-writable buffers of 8 bytes and what may follow upon them, the size of a console or the name of a port.";
    "console":
        "The console driver speaks of ports that are not there, or answers a control message out of turn.";
        "Wait for DEVICE_ADD before using a port, answer DEVICE_READY first and PORT_OPEN 1 to CONSOLE_PORT, and keep within max_nr_ports.";
    "entropy":
        "A buffer for entropy is not for the device to write, or holds nothing.";
        "Give device-writable buffers of at least a byte.";
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::requirement::{How, Level};

    #[test]
    fn every_requirement_that_can_be_broken_has_advice() {
        let without: Vec<_> = catalogue::iter()
            .map(|(_, row)| row)
            .filter(|row| row.role == Role::Driver && row.level != Level::May)
            .filter(|row| !matches!(row.how, How::Unobservable(_)))
            .filter(|row| find(row).is_none())
            .map(|row| row.name)
            .collect();
        assert!(without.is_empty(), "{without:#?}");
    }

    #[test]
    fn all_advice_is_given_and_told_apart() {
        let given: std::collections::HashSet<_> = catalogue::iter()
            .filter_map(|(_, row)| find(row))
            .map(|advice| advice.on)
            .collect();
        let mut seen = std::collections::HashSet::new();
        for advice in ADVICE {
            assert!(seen.insert(advice.on), "{} stands twice", advice.on);
            assert!(given.contains(advice.on), "nobody needs {}", advice.on);
        }
    }

    #[test]
    fn the_closest_advice_wins() {
        let on = |name: &str| {
            let row = catalogue::find(name)
                .expect("in the catalogue")
                .requirement();
            find(row).map(|advice| advice.on)
        };
        assert_eq!(on("status.no-clear"), Some("status.no-clear"));
        assert_eq!(on("status.undefined-bits"), Some("status"));
        assert_eq!(on("net.tx.frame"), Some("net.tx"));
    }
}
