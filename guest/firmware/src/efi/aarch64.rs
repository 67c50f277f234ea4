//! 64-bit Arm, with its usual calling convention: eight arguments are in registers.

use super::code::{Emitter, Label, Placed, Processor, Width};

pub(super) struct Aarch64;

/// Registers that functions use as they like: x9, x10.
const SCRATCH: u32 = 9;
const SECOND: u32 = 10;
const SP: u32 = 31;

const ARGUMENTS: usize = 8;

/// adr: up to a megabyte away.
fn adr(out: &mut Emitter, register: u32, address: u32) {
    let distance = out.distance(address, 0).cast_unsigned();
    let (low, high) = (distance & 3, distance >> 2 & 0x7_ffff);
    out.word(0x1000_0000 | low << 29 | high << 5 | register);
}

/// ldr of 64 bits.
fn ldr(out: &mut Emitter, register: u32, base: u32, offset: u16) {
    out.word(0xf940_0000 | u32::from(offset / 8) << 10 | base << 5 | register);
}

/// str of 64 bits.
fn str(out: &mut Emitter, register: u32, base: u32, offset: u16) {
    out.word(0xf900_0000 | u32::from(offset / 8) << 10 | base << 5 | register);
}

/// movz and movk.
fn number(out: &mut Emitter, register: u32, number: u32) {
    out.word(0xd280_0000 | (number & 0xffff) << 5 | register);
    out.word(0xf2a0_0000 | (number >> 16) << 5 | register);
}

fn load(out: &mut Emitter, register: u32, value: Placed) {
    match value {
        Placed::Number(value) => number(out, register, value),
        Placed::Address(address) => adr(out, register, address),
        Placed::Content(address) => {
            adr(out, register, address);
            ldr(out, register, register, 0);
        }
    }
}

impl Processor for Aarch64 {
    fn begin(&self, out: &mut Emitter, handle: u32, table: u32) {
        // sub sp, sp, #64
        out.word(0xd101_03ff);
        for (register, address) in [(0, handle), (1, table)] {
            adr(out, SCRATCH, address);
            str(out, register, SCRATCH, 0);
        }
    }

    fn argument(&self, out: &mut Emitter, number: usize, value: Placed) {
        if number < ARGUMENTS {
            load(out, number as u32, value);
        } else {
            load(out, SCRATCH, value);
            str(out, SCRATCH, SP, 8 * (number - ARGUMENTS) as u16);
        }
    }

    fn call(&self, out: &mut Emitter, table: u32, offset: u16) {
        load(out, SCRATCH, Placed::Content(table));
        ldr(out, SCRATCH, SCRATCH, offset);
        // blr
        out.word(0xd63f_0000 | SCRATCH << 5);
    }

    fn load(&self, out: &mut Emitter, to: u32, base: u32, offset: u16, width: Width) {
        load(out, SCRATCH, Placed::Content(base));
        match width {
            Width::Bits64 => ldr(out, SCRATCH, SCRATCH, offset),
            // ldr of 32 bits
            Width::Bits32 => {
                out.word(0xb940_0000 | u32::from(offset / 4) << 10 | SCRATCH << 5 | SCRATCH)
            }
        }
        adr(out, SECOND, to);
        str(out, SCRATCH, SECOND, 0);
    }

    fn go_if_error(&self, out: &mut Emitter, label: Label) {
        // cbz x0, over the jump
        out.word(0xb400_0000 | 2 << 5);
        self.go(out, label);
    }

    fn go_unless(&self, out: &mut Emitter, at: u32, value: u32, label: Label) {
        adr(out, SCRATCH, at);
        // ldr w9, [x9]
        out.word(0xb940_0000 | SCRATCH << 5 | SCRATCH);
        number(out, SECOND, value);
        // cmp w9, w10; b.eq over the jump
        out.word(0x6b00_001f | SECOND << 16 | SCRATCH << 5);
        out.word(0x5400_0000 | 2 << 5);
        self.go(out, label);
    }

    fn go(&self, out: &mut Emitter, label: Label) {
        out.jump(label);
        out.word(0x1400_0000);
    }

    fn patch(&self, code: &mut [u8], at: usize, to: usize) {
        let distance = (to as i64 - at as i64) / 4;
        let word = 0x1400_0000 | (distance as u32 & 0x03ff_ffff);
        code[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}
