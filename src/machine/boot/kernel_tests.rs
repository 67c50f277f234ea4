use std::io::Write;

use vm_memory::Bytes;

use super::*;
use crate::machine::testing::{ADDRESS, bzimage, elf, pvh};

const MIB: u64 = 1 << 20;
const CODE: &[u8] = b"\xf4\xeb\xfd the end";

fn load_bytes(image: &[u8]) -> (GuestMemoryMmap, Result<Kernel, Error>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    let map = AddressMap::new(64 * MIB, 40).unwrap();
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)]).unwrap();
    let kernel = load(&memory, &map, file.path());
    (memory, kernel)
}

fn loaded(image: &[u8]) -> (Vec<u8>, Kernel) {
    let (memory, kernel) = load_bytes(image);
    let kernel = kernel.unwrap();
    let (Entry::Linux64 { rip } | Entry::Pvh { rip }) = kernel.entry;
    let mut found = vec![0; CODE.len()];
    memory.read_slice(&mut found, GuestAddress(rip)).unwrap();
    (found, kernel)
}

fn refused(image: &[u8]) -> Error {
    let error = load_bytes(image).1.unwrap_err();
    assert!(error.is_users(), "{error}");
    error
}

#[test]
fn elf_is_entered_in_long_mode() {
    let (found, kernel) = loaded(&elf(CODE));
    assert_eq!(found, CODE);
    assert_eq!(kernel.entry, Entry::Linux64 { rip: ADDRESS });
    assert_eq!(kernel.end, ADDRESS + CODE.len() as u64);
}

#[test]
fn elf_with_a_pvh_note_is_entered_through_it() {
    let (found, kernel) = loaded(&pvh(CODE));
    assert_eq!(found, CODE);
    assert_eq!(kernel.entry, Entry::Pvh { rip: ADDRESS });
}

#[test]
fn bzimage_is_entered_at_its_64_bit_entry() {
    let (found, kernel) = loaded(&bzimage(CODE, 4 << 20));
    assert_eq!(found, CODE);
    assert_eq!(
        kernel.entry,
        Entry::Linux64 {
            rip: HIGH_MEMORY_START + 0x200
        }
    );
    assert_eq!(kernel.end, 20 * MIB);
    assert_eq!(kernel.initrd_max, 0x7fff_ffff);
    assert_eq!(kernel.command_line_limit, 2047);
}

#[test]
fn what_is_no_kernel_is_refused() {
    for image in [
        b"".as_slice(),
        b"#!/bin/sh\n",
        &[0; 4096],
        b"\x1f\x8b\x08compressed",
    ] {
        assert!(matches!(refused(image), Error::NotAKernel(_)));
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = bzimage(CODE, 4 << 20);
    // Padding to a paragraph at the end may be missing: 15 bytes at the most.
    for len in (0x206..whole.len() - 15).step_by(7) {
        assert!(
            matches!(refused(&whole[..len]), Error::TruncatedKernel { .. }),
            "{len} bytes"
        );
    }
    let whole = pvh(CODE);
    for len in 4..whole.len() {
        assert!(
            matches!(refused(&whole[..len]), Error::TruncatedKernel { .. }),
            "{len} bytes"
        );
    }
}

#[test]
fn any_byte_may_be_wrong() {
    // Whatever a header says, it is refused or loaded, without a panic.
    for image in [pvh(CODE), bzimage(CODE, 4 << 20)] {
        for at in (0..0x270)
            .chain(0x800..0x814)
            .filter(|at| *at < image.len())
        {
            for value in [0, 1, 0x7f, 0xff] {
                let mut image = image.clone();
                image[at] = value;
                if let Err(error) = load_bytes(&image).1 {
                    assert!(error.is_users(), "{error}");
                }
            }
        }
    }
}

#[test]
fn kernels_of_other_kinds_are_told() {
    let mut other = elf(CODE);
    other[18] = 183; // aarch64
    assert!(refused(&other).to_string().contains("x86-64"));
    let mut other = elf(CODE);
    other[4] = 1; // 32-bit
    assert!(refused(&other).to_string().contains("x86-64"));
    let mut other = bzimage(CODE, 0);
    other[0x236] = 0;
    assert!(refused(&other).to_string().contains("64-bit entry"));
}

/// A static program for Linux, or a kernel: one segment at `address`, and a header of the type `kind` that says
/// nothing.
fn with_header(kind: u32, address: u64) -> Vec<u8> {
    let mut image = pvh(CODE);
    image[64 + 16..64 + 24].copy_from_slice(&address.to_le_bytes()); // p_vaddr
    image[64 + 56..64 + 60].copy_from_slice(&kind.to_le_bytes()); // p_type
    image
}

#[test]
fn a_program_is_not_booted() {
    const INTERPRETER: u32 = 3;
    const THREAD_LOCAL: u32 = 7;
    const STACK: u32 = 0x6474_e551;
    let is_program = |image: &[u8]| matches!(refused(image), Error::UserProgram(_));
    let mut shared = elf(CODE);
    shared[16] = 3;
    assert!(is_program(&shared));
    let message = refused(&shared).to_string();
    assert!(
        message.contains("is a program and not a kernel"),
        "{message}"
    );
    for kind in [INTERPRETER, THREAD_LOCAL, STACK] {
        assert!(is_program(&with_header(kind, 0x40_0000)), "{kind:#x}");
        // FreeBSD's kernel has such headers too.
        let (_, loaded) = load_bytes(&with_header(kind, 0xffff_ffff_8020_0000));
        assert!(loaded.is_ok(), "{kind:#x}: {loaded:?}");
    }
    // With an entry for PVH it is a kernel: here the third header is the one that programs have.
    let mut kernel = pvh(CODE);
    kernel[56] = 3;
    kernel[64 + 2 * 56..64 + 2 * 56 + 4].copy_from_slice(&STACK.to_le_bytes());
    let (_, loaded) = load_bytes(&kernel);
    assert!(loaded.is_ok(), "{loaded:?}");
    kernel[0x800 + 12] = b'Y';
    assert!(is_program(&kernel));
}

#[test]
fn a_kernel_must_fit() {
    let error = refused(&bzimage(CODE, 50 << 20));
    assert!(matches!(error, Error::KernelTooLarge { need, .. } if need == 66 * MIB));
    assert!(error.to_string().contains("needs 66 MiB"), "{error}");
    let mut huge = elf(CODE);
    huge[64 + 40..64 + 48].copy_from_slice(&(u64::MAX - 5).to_le_bytes()); // p_memsz
    assert!(matches!(refused(&huge), Error::KernelTooLarge { .. }));
    let mut low = elf(CODE);
    low[64 + 24..64 + 32].copy_from_slice(&0x1000u64.to_le_bytes()); // p_paddr
    assert!(refused(&low).to_string().contains("below 1 MiB"));
}

#[test]
fn a_missing_kernel_and_a_directory_are_told() {
    let map = AddressMap::new(64 * MIB, 40).unwrap();
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)]).unwrap();
    for path in ["/nonexistent/vmlinuz", "/"] {
        let error = load(&memory, &map, Path::new(path)).unwrap_err();
        assert!(error.is_users());
        let message = error.to_string();
        assert!(message.starts_with("cannot read the kernel /"), "{message}");
    }
}
