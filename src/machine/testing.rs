//! Tiny kernels for tests: a few instructions in the formats that are loaded.

/// Where the code goes, and what its first instruction's address is.
pub(super) const ADDRESS: u64 = 0x10_0000;

/// An ELF vmlinux for the 64-bit entry.
pub(super) fn elf(code: &[u8]) -> Vec<u8> {
    image(code, None)
}

/// An ELF vmlinux with a PVH note: its entry is the code.
pub(super) fn pvh(code: &[u8]) -> Vec<u8> {
    image(code, Some(ADDRESS as u32))
}

fn image(code: &[u8], pvh_entry: Option<u32>) -> Vec<u8> {
    const CODE_OFFSET: u64 = 0x1000;
    const NOTE_OFFSET: u64 = 0x800;
    let mut image = Vec::new();
    image.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    image.extend(2u16.to_le_bytes()); // ET_EXEC
    image.extend(62u16.to_le_bytes()); // EM_X86_64
    image.extend(1u32.to_le_bytes());
    image.extend(ADDRESS.to_le_bytes()); // e_entry
    image.extend(64u64.to_le_bytes()); // e_phoff
    image.extend(0u64.to_le_bytes());
    image.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1 + u16::from(pvh_entry.is_some()), 0, 0, 0] {
        image.extend(half.to_le_bytes());
    }
    let len = code.len() as u64;
    image.extend(phdr(1, CODE_OFFSET, ADDRESS, len));
    if let Some(entry) = pvh_entry {
        image.extend(phdr(4, NOTE_OFFSET, 0, 20));
        image.resize(NOTE_OFFSET as usize, 0);
        for word in [4u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), entry] {
            image.extend(word.to_le_bytes());
        }
    }
    image.resize(CODE_OFFSET as usize, 0);
    image.extend(code);
    image
}

fn phdr(kind: u32, offset: u64, address: u64, len: u64) -> Vec<u8> {
    let mut phdr = Vec::new();
    phdr.extend(kind.to_le_bytes());
    phdr.extend(7u32.to_le_bytes());
    for word in [offset, address, address, len, len, 0x1000] {
        phdr.extend(word.to_le_bytes());
    }
    phdr
}

/// A bzImage of boot protocol 2.15 whose 64-bit entry is the code, and which says that it needs
/// `init_size` bytes at 16 MiB.
pub(super) fn bzimage(code: &[u8], init_size: u32) -> Vec<u8> {
    const SETUP: usize = 2 * 512;
    const ENTRY: usize = 0x200;
    let mut image = vec![0; SETUP + ENTRY];
    image.extend(code);
    image.resize(image.len().next_multiple_of(16), 0);
    let paragraphs = ((image.len() - SETUP) / 16) as u32;
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &paragraphs.to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x236, &1u16.to_le_bytes());
    put(0x238, &2047u32.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &init_size.to_le_bytes());
    image
}
