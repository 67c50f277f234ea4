//! Kernels: bzImage and ELF vmlinux.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, Elf, KernelLoader, PvhBootCapability};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::Entry;
use crate::machine::Error;
use crate::machine::layout::{AddressMap, HIGH_MEMORY_START};

/// A kernel in memory.
#[derive(Debug)]
pub(super) struct Kernel {
    /// How it is started.
    pub(super) entry: Entry,
    /// The setup header of a bzImage.
    pub(super) setup: Option<setup_header>,
    /// The first address behind everything it needs to come up.
    pub(super) end: u64,
    /// The highest address the last byte of an initrd may have.
    pub(super) initrd_max: u64,
    /// How many bytes of command line it takes, without the NUL.
    pub(super) command_line_limit: usize,
}

/// Linux's own limit on x86 (COMMAND_LINE_SIZE less the NUL).
const COMMAND_LINE_LIMIT: usize = 2047;

/// Loads the kernel at `path`, whatever its format.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    path: &Path,
) -> Result<Kernel, Error> {
    let mut image = Image::open(path)?;
    if image.starts_with(0, b"\x7fELF")? {
        load_elf(memory, map, &mut image)
    } else if image.starts_with(HEADER_MAGIC_OFFSET, b"HdrS")? {
        load_bzimage(memory, map, &mut image)
    } else {
        Err(Error::NotAKernel(path.to_owned()))
    }
}

/// A kernel's file.
struct Image<'a> {
    path: &'a Path,
    file: File,
    len: u64,
}

impl<'a> Image<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let unreadable = |why| Error::Unreadable {
            what: "kernel",
            path: path.to_owned(),
            why,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        Ok(Image { path, file, len })
    }

    /// The bytes at `offset`, or `None` where the file ends before.
    fn bytes<const N: usize>(&mut self, offset: u64) -> Result<Option<[u8; N]>, Error> {
        let mut bytes = [0; N];
        let read = self
            .file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(&mut bytes));
        match read {
            Ok(()) => Ok(Some(bytes)),
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(why) => Err(Error::Unreadable {
                what: "kernel",
                path: self.path.to_owned(),
                why,
            }),
        }
    }

    fn starts_with(&mut self, offset: u64, magic: &[u8; 4]) -> Result<bool, Error> {
        Ok(self.bytes(offset)?.is_some_and(|found| found == *magic))
    }

    fn truncated(&self, need: u64) -> Error {
        Error::TruncatedKernel {
            path: self.path.to_owned(),
            have: self.len,
            need,
        }
    }

    /// The file must have `need` bytes.
    fn require(&self, need: u64) -> Result<(), Error> {
        if self.len < need {
            return Err(self.truncated(need));
        }
        Ok(())
    }

    fn unsupported(&self, why: &'static str) -> Error {
        Error::UnsupportedKernel {
            path: self.path.to_owned(),
            why,
        }
    }

    /// The kernel needs RAM from 0 to `end`.
    fn require_memory(&self, map: &AddressMap, end: u64) -> Result<(), Error> {
        if end > map.low_ram {
            return Err(Error::KernelTooLarge {
                path: self.path.to_owned(),
                need: end,
            });
        }
        Ok(())
    }
}

// ---- bzImage (Documentation/arch/x86/boot.rst of Linux)

const HEADER_MAGIC_OFFSET: u64 = 0x202;
/// First byte and length of the setup header as far as boot protocol 2.12 goes.
const SETUP_HEADER: u64 = 0x1f1;
const SETUP_HEADER_END: u64 = 0x268;
/// `xloadflags`: there is a 64-bit entry at 0x200.
const XLF_KERNEL_64: u16 = 1;
/// `loadflags`: the protected-mode part goes to 1 MiB.
const LOADED_HIGH: u8 = 1;

fn load_bzimage(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    image: &mut Image<'_>,
) -> Result<Kernel, Error> {
    const LEN: usize = (SETUP_HEADER_END - SETUP_HEADER) as usize;
    let Some(header) = image.bytes::<LEN>(SETUP_HEADER)? else {
        return Err(image.truncated(SETUP_HEADER_END));
    };
    let word = |offset: u64| {
        let at = (offset - SETUP_HEADER) as usize;
        u16::from_le_bytes([header[at], header[at + 1]])
    };
    let dword = |offset: u64| u32::from(word(offset)) | u32::from(word(offset + 2)) << 16;

    if word(0x206) < 0x020c || word(0x236) & XLF_KERNEL_64 == 0 {
        return Err(image
            .unsupported("it has no 64-bit entry; give an x86-64 kernel of Linux 3.8 or later"));
    }
    if header[(0x211 - SETUP_HEADER) as usize] & LOADED_HIGH == 0 {
        return Err(image.unsupported("it is a zImage; give a bzImage"));
    }
    let setup_sectors = match header[0] {
        0 => 4,
        n => u64::from(n),
    };
    let setup_len = (setup_sectors + 1) * 512;
    // `syssize` counts paragraphs and is rounded up.
    let code_len = u64::from(dword(0x1f4)) * 16;
    image.require(setup_len + code_len.saturating_sub(15))?;

    // The kernel unpacks itself to where it prefers to be (or where it was loaded, if that is
    // higher) and needs `init_size` bytes there.
    let preferred = u64::from(dword(0x258)) | u64::from(dword(0x25c)) << 32;
    let init_size = u64::from(dword(0x260));
    let end = preferred.max(HIGH_MEMORY_START).saturating_add(init_size);
    image.require_memory(map, end.max(HIGH_MEMORY_START + (image.len - setup_len)))?;

    let loaded = BzImage::load(
        memory,
        Some(GuestAddress(HIGH_MEMORY_START)),
        &mut image.file,
        Some(GuestAddress(HIGH_MEMORY_START)),
    )
    .map_err(|_| Error::NotAKernel(image.path.to_owned()))?;

    Ok(Kernel {
        entry: Entry::Linux64 {
            rip: loaded.kernel_load.0 + 0x200,
        },
        setup: loaded.setup_header,
        end,
        initrd_max: u64::from(dword(0x22c)),
        command_line_limit: (dword(0x238) as usize).min(COMMAND_LINE_LIMIT),
    })
}

// ---- ELF

/// Program headers that programs for Linux have and kernels in the lower half have not: the name of a linker,
/// thread-local storage, and what is said about the stack, pages that become read-only, and properties.
const PROGRAMS_HAVE: [u32; 5] = [3, 7, 0x6474_e551, 0x6474_e552, 0x6474_e553];

/// From here on are the addresses of kernels: FreeBSD's names a linker too.
const HIGHER_HALF: u64 = 1 << 63;

/// Whether a note names an entry for PVH, which only a kernel has.
fn has_pvh_entry(image: &mut Image<'_>, phdrs: u64, count: u64) -> Result<bool, Error> {
    const NOTE: u32 = 4;
    /// Of each segment with notes, so many bytes are looked at.
    const LOOKED_AT: u64 = 4096;
    const XEN_PHYS32_ENTRY: [u8; 4] = 18u32.to_le_bytes();
    for index in 0..count {
        let Some(phdr) = image.bytes::<56>(phdrs + index * 56)? else {
            return Ok(false);
        };
        if phdr[..4] != NOTE.to_le_bytes() {
            continue;
        }
        let (offset, size) = (u64_at(&phdr, 8), u64_at(&phdr, 32).min(LOOKED_AT));
        for at in (0..size.saturating_sub(7)).step_by(4) {
            // The note's type, and the name `Xen` after it.
            let note = image.bytes::<8>(offset.saturating_add(at))?;
            if note.is_some_and(|note| note[..4] == XEN_PHYS32_ENTRY && note[4..] == *b"Xen\0") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn load_elf(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    image: &mut Image<'_>,
) -> Result<Kernel, Error> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const X86_64: u16 = 62;
    const EXECUTABLE: u16 = 2;
    /// Programs and libraries that run at any address.
    const SHARED: u16 = 3;
    const LOAD: u32 = 1;
    const EHDR: u64 = 64;
    const PHDR: u64 = 56;

    let Some(ehdr) = image.bytes::<{ EHDR as usize }>(0)? else {
        return Err(image.truncated(EHDR));
    };
    let half = |at: usize| u16::from_le_bytes([ehdr[at], ehdr[at + 1]]);
    if ehdr[4] != CLASS_64 || ehdr[5] != LITTLE_ENDIAN || half(18) != X86_64 {
        return Err(image.unsupported("it is not for x86-64; give an x86-64 kernel"));
    }
    if half(16) == SHARED {
        return Err(Error::UserProgram(image.path.to_owned()));
    }
    if half(16) != EXECUTABLE || u64::from(half(54)) != PHDR {
        return Err(Error::NotAKernel(image.path.to_owned()));
    }
    let phdrs = u64_at(&ehdr, 32);
    let count = u64::from(half(56));
    image.require(phdrs.saturating_add(count * PHDR))?;

    let mut end = 0;
    let (mut is_like_program, mut in_higher_half) = (false, false);
    for index in 0..count {
        let Some(phdr) = image.bytes::<{ PHDR as usize }>(phdrs + index * PHDR)? else {
            return Err(image.truncated(phdrs + (index + 1) * PHDR));
        };
        let kind = u32::from_le_bytes([phdr[0], phdr[1], phdr[2], phdr[3]]);
        let file_end = u64_at(&phdr, 8).saturating_add(u64_at(&phdr, 32));
        image.require(file_end)?;
        is_like_program |= PROGRAMS_HAVE.contains(&kind);
        if kind != LOAD {
            continue;
        }
        in_higher_half |= u64_at(&phdr, 16) >= HIGHER_HALF;
        let address = u64_at(&phdr, 24);
        if address < HIGH_MEMORY_START {
            return Err(image.unsupported(
                "it has to be loaded below 1 MiB; link it to a higher physical address",
            ));
        }
        let size = u64_at(&phdr, 40).max(u64_at(&phdr, 32));
        end = end.max(address.saturating_add(size));
    }
    if end == 0 {
        return Err(Error::NotAKernel(image.path.to_owned()));
    }
    if is_like_program && !in_higher_half && !has_pvh_entry(image, phdrs, count)? {
        return Err(Error::UserProgram(image.path.to_owned()));
    }
    image.require_memory(map, end)?;

    let loaded = Elf::load(memory, None, &mut image.file, None)
        .map_err(|_| Error::NotAKernel(image.path.to_owned()))?;
    let entry = match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(address) => Entry::Pvh { rip: address.0 },
        _ => Entry::Linux64 {
            rip: loaded.kernel_load.0,
        },
    };
    Ok(Kernel {
        entry,
        setup: None,
        end,
        initrd_max: u64::from(u32::MAX),
        command_line_limit: COMMAND_LINE_LIMIT,
    })
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
