//! A script for U-Boot, in the form in which U-Boot finds scripts on disks: a legacy image.

use crate::{CHUNKS, SECTOR, SENT, SENT_NAME, copied, crc32, sent};

/// Where on the disk the script reads and writes: sectors.
pub(crate) struct ScriptPlaces {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) sent_to: u32,
}

/// The file `boot.scr`.
pub(crate) fn image(places: &ScriptPlaces) -> Vec<u8> {
    legacy_image(&script(places))
}

/// Two addresses, for data and for a checksum, that are free memory while a script runs.
const BUFFER: &str = "${kernel_addr_r}";
const CRC: &str = "${loadaddr}";

/// The commands. Which there are differs from board to board: `poweroff` is not on x86, where writing the registers
/// of power management does it.
fn script(places: &ScriptPlaces) -> String {
    let mut script = String::from("echo @mark u-boot-script\n");
    let fail = |step: &str, message: &str| {
        format!(
            "echo exercise: failed: {step}: {message}; {}",
            power_off("; ")
        )
    };
    let unread = fail(crate::READ, "U-Boot could not read");
    let mut done = 0;
    for count in CHUNKS.map(u32::from) {
        script.push_str(&format!(
            "if virtio read {BUFFER} {from:x} {count:x}; then true; else {unread}; fi\n\
             if virtio write {BUFFER} {to:x} {count:x}; then true; else setenv unwritten yes; fi\n",
            from = places.from + done,
            to = places.to + done,
        ));
        done += count;
    }
    // All of it at once, which stays in the buffer.
    script.push_str(&format!(
        "if virtio read {BUFFER} {:x} {done:x}; then true; else {unread}; fi\n",
        places.from
    ));
    script.push_str(&compare(
        &copied(),
        &fail(crate::READ, "what U-Boot read is wrong"),
    ));
    // It finds network cards when it is asked to.
    script.push_str("virtio scan\nsetenv autoload no\n");
    script.push_str(&format!(
        "if dhcp; then true; else {}; fi\n\
         if tftpboot {BUFFER} 10.0.2.2:{SENT_NAME}; then true; else {}; fi\n",
        fail(crate::NETWORK, "U-Boot got no address"),
        fail(crate::NETWORK, "U-Boot got no file"),
    ));
    script.push_str(&compare(
        &sent(),
        &fail(crate::NETWORK, "the file that U-Boot got is wrong"),
    ));
    script.push_str(&format!(
        "if virtio write {BUFFER} {:x} {:x}; then true; else setenv unwritten yes; fi\n",
        places.sent_to,
        SENT.div_ceil(SECTOR),
    ));
    script.push_str(&format!(
        "if test -n \"${{unwritten}}\"; then {}; fi\n\
         echo exercise: passed\n{}\n",
        fail(crate::WRITE, "U-Boot could not write"),
        power_off("\n"),
    ));
    script
}

/// Compares the beginning of the buffer with `expected`, and else does `fail`.
fn compare(expected: &[u8], fail: &str) -> String {
    // U-Boot stores the checksum with its highest byte first, and all its processors read the lowest first.
    let crc = crc32(expected).swap_bytes();
    format!(
        "crc32 {BUFFER} {:x} {CRC}\n\
         if itest.l *{CRC} == {crc:x}; then true; else {fail}; fi\n",
        expected.len()
    )
}

/// Switches the machine off: by its firmware, or with the registers of QEMU's pc and q35, where U-Boot puts them.
fn power_off(between: &str) -> String {
    [
        "poweroff",
        "iow.w b004 2000",
        "iow.w 604 2000",
        "iow.w e404 2000",
    ]
    .join(between)
}

/// `script` as mkimage would write it: big-endian numbers.
fn legacy_image(script: &str) -> Vec<u8> {
    const MAGIC: u32 = 0x2705_1956;
    /// Linux, which has no meaning here; a processor, which neither has; a script; not compressed.
    const KIND: [u8; 4] = [5, 2, 6, 0];
    const NAME: &[u8] = b"stickler";
    /// Where the checksum of the header is, which is made while it is zero.
    const HEADER_CRC: usize = 4;

    // A list of sizes, which ends with a zero, and then the scripts.
    let mut data = Vec::new();
    let size = u32::try_from(script.len()).unwrap_or_default();
    data.extend(size.to_be_bytes());
    data.extend([0; 4]);
    data.extend(script.as_bytes());
    let data_size = u32::try_from(data.len()).unwrap_or_default();
    let mut header = Vec::new();
    // Magic, checksum, time, size, address, entry, checksum of the data.
    for number in [MAGIC, 0, 0, data_size, 0, 0, crc32(&data)] {
        header.extend(number.to_be_bytes());
    }
    header.extend(KIND);
    header.extend(NAME);
    header.resize(64, 0);
    let crc = crc32(&header).to_be_bytes();
    header[HEADER_CRC..][..crc.len()].copy_from_slice(&crc);
    header.extend(data);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_what_mkimage_writes() {
        // mkimage -A arm -O linux -T script -C none -n stickler, with SOURCE_DATE_EPOCH=0, of this text.
        let image = legacy_image("echo hello\n");
        assert_eq!(image.len(), 64 + 8 + 11);
        assert_eq!(image[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(image[12..16], 19u32.to_be_bytes());
        assert_eq!(image[28..40], *b"\x05\x02\x06\x00stickler");
        assert_eq!(image[64..72], [0, 0, 0, 11, 0, 0, 0, 0]);
        let mut header = image[..64].to_vec();
        header[4..8].fill(0);
        assert_eq!(image[4..8], crc32(&header).to_be_bytes());
        assert_eq!(image[24..28], crc32(&image[64..]).to_be_bytes());
    }

    #[test]
    fn every_line_of_the_script_is_one_command() {
        let script = script(&ScriptPlaces {
            from: 4096,
            to: 6144,
            sent_to: 8192,
        });
        for line in script.lines() {
            assert_eq!(line.matches("if ").count(), line.matches("; fi").count());
            assert!(line.len() < 512, "{line}");
        }
        assert!(
            script.contains("virtio read ${kernel_addr_r} 1040 40;"),
            "{script}"
        );
        assert!(
            script.contains("virtio write ${kernel_addr_r} 1840 40;"),
            "{script}"
        );
    }
}
