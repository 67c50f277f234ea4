//! Files of the user, and packets.

use std::fs;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use stickler::report::check::{CheckReport, vet};
use stickler_conformance::event::NetHeader;
use stickler_guest_image::kernel;
use stickler_guest_image::modules::Directory;

use crate::in_process::devices::{SLOT, add_net};
use crate::in_process::net::{
    arp_request, checksum_header, segmentation_header, tcp_segment, udp_datagram,
};
use crate::in_process::{Driver, Interrupts, Rig};

/// The most packets of one guest.
const PACKETS: usize = 64;

/// What a guest sends into the userspace network.
pub fn frames(bytes: &[u8]) {
    let mut rig = Rig::new();
    drop(add_net(&mut rig));
    let mut driver = Driver::probe(&rig, SLOT);
    driver.initialize(u64::MAX, Interrupts::Msix);
    driver.give_receive_buffers(0, 16, driver.receive_size());
    let mac = driver.mac();
    let mut input = Unstructured::new(bytes);
    for _ in 0..PACKETS {
        if input.is_empty() {
            break;
        }
        // Input that is at its end gives nothing but zeroes.
        let _ = send(&mut driver, &mac, &mut input);
        rig.elapse(Duration::from_millis(10));
    }
    driver.resolve_gateway();
}

/// Sends one packet: any bytes, or one of the network's own with some bytes changed.
fn send(driver: &mut Driver<'_>, mac: &[u8], input: &mut Unstructured<'_>) -> Result<()> {
    let payload = input.int_in_range(0..=1400)?;
    let mut packet = match input.int_in_range(0..=3)? {
        0 => {
            let len = input.int_in_range(0..=200)?;
            input.bytes(len.min(input.len()))?.to_vec()
        }
        1 => tcp_segment(mac, payload),
        2 => udp_datagram(mac, payload),
        _ => arp_request(mac),
    };
    for _ in 0..input.int_in_range(0..=8)? {
        let at = input.int_in_range(0..=80_usize)?;
        if let Some(byte) = packet.get_mut(at) {
            *byte = input.arbitrary()?;
        }
    }
    let header = match input.int_in_range(0..=3)? {
        0 => checksum_header(),
        1 => segmentation_header(),
        _ => NetHeader::default(),
    };
    driver.transmit(1, &header, &packet);
    Ok(())
}

/// A file that is to be a kernel.
pub fn kernels(bytes: &[u8]) {
    let release = kernel::release(bytes);
    if !kernel::is_bz_image(bytes) {
        assert!(release.is_none(), "{release:?} of what is no kernel");
    }
}

/// A file that is to be a module, plain or compressed.
pub fn modules(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let ending = ["ko", "ko.gz", "ko.xz", "ko.zst", "ko.lz4"][usize::from(kind % 5)];
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(format!("virtio_net.{ending}"));
    fs::write(&file, bytes).expect("a file");
    let Ok(modules) = Directory::open(directory.path()) else {
        return;
    };
    // Refused or not: either is right.
    if let Ok(all) = modules.wanted(&["virtio_net"]) {
        assert_eq!(all.len(), 1);
        let _ = modules.fits(&all, "6.12");
    }
}

/// Files that are to be merged.
pub fn reports(bytes: &[u8]) {
    // Two reports, or one twice.
    let half = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    let parts = [Some(&bytes[..half]), bytes.get(half + 1..)];
    let named = parts.into_iter().flatten().zip(["a.json", "b.json"]);
    let read = named.filter_map(|(bytes, name)| {
        let report = vet::read(name, str::from_utf8(bytes).ok()?).ok()?;
        Some((name.to_owned(), report))
    });
    if let Ok(Some(whole)) = CheckReport::merge(read.collect()) {
        serde_json::to_string(&whole).expect("a report can be written");
    }
}
