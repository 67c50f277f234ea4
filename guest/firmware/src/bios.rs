//! What a PC's BIOS boots: the first sectors of a disk, and a file from a network. The code is `bios.s`; what it
//! is to expect is filled in here.

use std::arch::global_asm;
use std::ptr::{self, addr_of};
use std::slice;

use crate::{CHUNKS, SECTOR};

global_asm!(
    ".pushsection .rodata.stickler_bios, \"a\"",
    include_str!("bios.s"),
    ".popsection",
    options(att_syntax)
);

unsafe extern "C" {
    static stickler_bios_first: u8;
    static stickler_bios_first_end: u8;
    static stickler_bios_rest: u8;
    static stickler_bios_rest_parameters: u8;
    static stickler_bios_rest_end: u8;
    static stickler_bios_net: u8;
    static stickler_bios_net_parameters: u8;
    static stickler_bios_net_end: u8;
}

/// The sectors that the first one loads.
const REST_SECTORS: usize = 4;

/// Where the data of the network's file begins.
const NET_DATA: usize = 1 << 10;

/// A piece of the code, and where in it the parameters are.
struct Code {
    bytes: Vec<u8>,
    parameters: usize,
}

/// The code from `begin` to `end`.
fn code(begin: *const u8, parameters: *const u8, end: *const u8) -> Code {
    let offset = |at: *const u8| at.addr().saturating_sub(begin.addr());
    // SAFETY: both are labels of one section of constants in `bios.s`, `end` behind `begin`; nothing changes them.
    let bytes = unsafe { slice::from_raw_parts(begin, offset(end)) };
    Code {
        bytes: bytes.to_vec(),
        parameters: offset(parameters),
    }
}

impl Code {
    /// Fills parameters in, in their order.
    fn fill(&mut self, parameters: &[u8]) {
        self.bytes[self.parameters..][..parameters.len()].copy_from_slice(parameters);
    }
}

/// The beginning of a disk: the first sector, without partitions and signature, and those that it loads. The
/// program copies sectors from sector `from`, which have the content `data`, to sector `to`.
pub(crate) fn boot_sectors(from: u32, to: u32, data: &[u8]) -> Vec<u8> {
    let first = code(
        addr_of!(stickler_bios_first),
        ptr::null(),
        addr_of!(stickler_bios_first_end),
    );
    let mut rest = code(
        addr_of!(stickler_bios_rest),
        addr_of!(stickler_bios_rest_parameters),
        addr_of!(stickler_bios_rest_end),
    );
    let numbers = [from, to, sum(data)].map(u32::to_le_bytes);
    rest.fill(&[numbers.concat(), CHUNKS.to_vec()].concat());
    let mut sectors = first.bytes;
    sectors.resize(SECTOR, 0);
    sectors.extend(rest.bytes);
    sectors.resize((1 + REST_SECTORS) * SECTOR, 0);
    sectors
}

/// A file for a network card's firmware, with `data` behind its program, which sees whether it arrived whole.
pub(crate) fn network_program(data: &[u8]) -> Vec<u8> {
    let mut net = code(
        addr_of!(stickler_bios_net),
        addr_of!(stickler_bios_net_parameters),
        addr_of!(stickler_bios_net_end),
    );
    let words = u16::try_from(data.len() / 4).unwrap_or(u16::MAX);
    net.fill(&[sum(data).to_le_bytes().as_slice(), &words.to_le_bytes()].concat());
    let mut file = net.bytes;
    file.resize(NET_DATA, 0);
    file.extend(data);
    file
}

/// The sum that the programs make of `data`.
fn sum(data: &[u8]) -> u32 {
    let (words, _) = data.as_chunks::<4>();
    words.iter().fold(0, |sum: u32, word| {
        sum.rotate_left(1).wrapping_add(u32::from_le_bytes(*word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_fits_where_it_goes() {
        let sectors = boot_sectors(4096, 6144, &[7; 1024]);
        assert_eq!(sectors.len(), (1 + REST_SECTORS) * SECTOR);
        // Neither partitions nor a signature are overwritten.
        assert!(sectors[440..SECTOR].iter().all(|byte| *byte == 0));
        // A far jump to its own place, and parameters in theirs.
        assert_eq!(sectors[0], 0xea);
        let has = |bytes: &[u8]| sectors.windows(bytes.len()).any(|window| window == bytes);
        let parameters = [4096, 6144, sum(&[7; 1024])].map(u32::to_le_bytes).concat();
        assert!(has(&[parameters, CHUNKS.to_vec(), vec![0]].concat()));
        let file = network_program(&[9; 40_000]);
        assert_eq!(file.len(), NET_DATA + 40_000);
        assert_eq!(file[NET_DATA..], [9; 40_000]);
    }

    #[test]
    fn the_sum_depends_on_every_bit_and_on_the_order() {
        let data: Vec<u8> = (0..64).collect();
        for bit in 0..64 * 8 {
            let mut other = data.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum(&data), sum(&other), "{bit}");
        }
        let mut swapped = data.clone();
        swapped.swap(3, 39);
        assert_ne!(sum(&data), sum(&swapped));
    }
}
