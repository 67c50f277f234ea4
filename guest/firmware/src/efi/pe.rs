//! The form of programs for UEFI: PE32+ (Microsoft PE and COFF Specification), with one section of code and one of data.
//! All addresses in the code are relative, so that there are no relocations.

use super::code::{Layout, Translated};

pub(super) const MACHINE_X64: u16 = 0x8664;
pub(super) const MACHINE_AARCH64: u16 = 0xaa64;
pub(super) const MACHINE_RISCV64: u16 = 0x5064;

/// In memory, and in the file.
const SECTION_ALIGNMENT: u32 = 4096;
const FILE_ALIGNMENT: u32 = 512;

/// Where the first section is, in memory and in the file: behind the headers.
const CODE: u32 = SECTION_ALIGNMENT;
const HEADERS: u32 = FILE_ALIGNMENT;

// What may be done with a section.
const CODE_READ_EXECUTE: u32 = 0x6000_0020;
const DATA_READ_WRITE: u32 = 0xc000_0040;

/// A file for `machine`; `translate` makes its content.
pub(super) fn image(machine: u16, translate: impl Fn(Layout) -> Translated) -> Vec<u8> {
    // Where the data is depends on how long the code is.
    let length = translate(Layout {
        code: CODE,
        data: 2 * CODE,
    })
    .code
    .len() as u32;
    let data = CODE + length.next_multiple_of(SECTION_ALIGNMENT);
    let Translated {
        code,
        data: bytes,
        zeros,
    } = translate(Layout { code: CODE, data });

    let in_file = |length: usize| (length as u32).next_multiple_of(FILE_ALIGNMENT);
    let data_size = (bytes.len() + zeros) as u32;
    let sections = [
        Section {
            name: *b".text\0\0\0",
            size: code.len() as u32,
            address: CODE,
            file_size: in_file(code.len()),
            file_offset: HEADERS,
            may: CODE_READ_EXECUTE,
        },
        Section {
            name: *b".data\0\0\0",
            size: data_size,
            address: data,
            file_size: in_file(bytes.len()),
            file_offset: HEADERS + in_file(code.len()),
            may: DATA_READ_WRITE,
        },
    ];
    let mut file = headers(machine, &sections, data + data_size);
    for part in [&code, &bytes] {
        file.extend_from_slice(part);
        file.resize(file.len().next_multiple_of(FILE_ALIGNMENT as usize), 0);
    }
    file
}

struct Section {
    name: [u8; 8],
    size: u32,
    address: u32,
    file_size: u32,
    file_offset: u32,
    may: u32,
}

/// All headers, padded.
fn headers(machine: u16, sections: &[Section; 2], end: u32) -> Vec<u8> {
    /// An image that can be executed, anywhere in memory.
    const CHARACTERISTICS: u16 = 0x22;
    const OPTIONAL_SIZE: u16 = 240;
    const PE32_PLUS: u16 = 0x20b;
    const UEFI_APPLICATION: u16 = 10;
    /// Data need not be executable.
    const NX_COMPATIBLE: u16 = 0x100;
    const DIRECTORIES: u32 = 16;
    const PE: u32 = 64;

    let mut file = b"MZ".to_vec();
    file.resize(60, 0);
    file.extend(PE.to_le_bytes());
    file.extend(b"PE\0\0");
    let half = |file: &mut Vec<u8>, number: u16| file.extend(number.to_le_bytes());
    let word = |file: &mut Vec<u8>, number: u32| file.extend(number.to_le_bytes());
    half(&mut file, machine);
    half(&mut file, sections.len() as u16);
    // Time, and symbols: none.
    file.extend([0; 12]);
    half(&mut file, OPTIONAL_SIZE);
    half(&mut file, CHARACTERISTICS);
    half(&mut file, PE32_PLUS);
    // The linker's version.
    half(&mut file, 0);
    let [code, data] = sections;
    for number in [code.file_size, data.file_size, 0, CODE, CODE] {
        word(&mut file, number);
    }
    // The preferred address: none.
    file.extend([0; 8]);
    word(&mut file, SECTION_ALIGNMENT);
    word(&mut file, FILE_ALIGNMENT);
    // Versions.
    file.extend([0; 16]);
    word(&mut file, end.next_multiple_of(SECTION_ALIGNMENT));
    word(&mut file, HEADERS);
    // The checksum, which is for drivers of another system.
    word(&mut file, 0);
    half(&mut file, UEFI_APPLICATION);
    half(&mut file, NX_COMPATIBLE);
    // Stack and heap, which UEFI does not look at, and flags.
    file.extend([0; 36]);
    word(&mut file, DIRECTORIES);
    file.extend([0; 8 * DIRECTORIES as usize]);
    for section in sections {
        file.extend(section.name);
        for number in [
            section.size,
            section.address,
            section.file_size,
            section.file_offset,
        ] {
            word(&mut file, number);
        }
        // Relocations and line numbers: none.
        file.extend([0; 12]);
        word(&mut file, section.may);
    }
    file.resize(HEADERS as usize, 0);
    file
}
