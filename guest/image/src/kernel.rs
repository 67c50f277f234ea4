//! What kind of kernel is in a file, and its version.

/// The longest version that is accepted.
const LONGEST: usize = 256;

/// The version in a bzImage or an ELF kernel, as `uname -r` prints it: `6.12.9-amd64`.
#[must_use]
pub fn release(image: &[u8]) -> Option<&str> {
    let version = in_setup_header(image).or_else(|| in_banner(image))?;
    let end = version.iter().position(u8::is_ascii_whitespace);
    let end = end.unwrap_or(version.len());
    let release = std::str::from_utf8(&version[..end]).ok()?;
    (!release.is_empty()).then_some(release)
}

/// Whether the file is a bzImage, the form in which a running kernel takes another.
#[must_use]
pub fn is_bz_image(image: &[u8]) -> bool {
    image.get(0x202..0x206) == Some(b"HdrS")
}

/// The text, up to its null byte, to which the setup header of a bzImage points.
fn in_setup_header(image: &[u8]) -> Option<&[u8]> {
    if !is_bz_image(image) {
        return None;
    }
    let at = u16::from_le_bytes([*image.get(0x20e)?, *image.get(0x20f)?]);
    let text = image.get(usize::from(at) + 0x200..)?;
    let text = &text[..text.len().min(LONGEST)];
    let end = text.iter().position(|&byte| byte == 0)?;
    Some(&text[..end])
}

/// The version in the banner that a kernel prints first, which an ELF file has uncompressed.
fn in_banner(image: &[u8]) -> Option<&[u8]> {
    const BANNER: &[u8] = b"Linux version ";
    if !image.starts_with(b"\x7fELF") {
        return None;
    }
    image
        .windows(BANNER.len())
        .enumerate()
        .filter(|(_, window)| *window == BANNER)
        .map(|(at, _)| &image[at + BANNER.len()..])
        // Some places have a format string instead.
        .find(|text| text.first().is_some_and(u8::is_ascii_digit))
        .map(|text| &text[..text.len().min(LONGEST)])
}

#[cfg(test)]
mod tests {
    use super::release;

    #[test]
    fn a_bzimage_says_its_version_in_the_setup_header() {
        let mut image = vec![0; 0x800];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x400u16.to_le_bytes());
        let text = b"6.12.9-amd64 (me@here) #1 SMP\0";
        image[0x600..0x600 + text.len()].copy_from_slice(text);
        assert_eq!(release(&image), Some("6.12.9-amd64"));
        image[0x20e..0x210].copy_from_slice(&0xffffu16.to_le_bytes());
        assert_eq!(release(&image), None);
    }

    #[test]
    fn an_elf_kernel_says_it_in_its_banner() {
        let image = b"\x7fELF..Linux version %s (%s)\0..Linux version 5.10.0 (me@here)\n\0";
        assert_eq!(release(image), Some("5.10.0"));
        assert_eq!(release(b"\x7fELF"), None);
        assert_eq!(release(b"not a kernel"), None);
        assert_eq!(release(b""), None);
    }
}
