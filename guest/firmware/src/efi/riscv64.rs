//! 64-bit RISC-V, with its usual calling convention: eight arguments are in registers.

use super::code::{Emitter, Label, Placed, Processor, Width};

pub(super) struct Riscv64;

const ZERO: u32 = 0;
const RA: u32 = 1;
const SP: u32 = 2;
/// Registers that functions use as they like: t0, t1.
const SCRATCH: u32 = 5;
const SECOND: u32 = 6;
/// The first argument's, and the result's: a0.
const A0: u32 = 10;

const ARGUMENTS: usize = 8;

// Operation and function of instructions.
const LW: (u32, u32) = (0x03, 2);
const LD: (u32, u32) = (0x03, 3);
const LWU: (u32, u32) = (0x03, 6);
const ADDI: (u32, u32) = (0x13, 0);
const ADDIW: (u32, u32) = (0x1b, 0);
const JALR: (u32, u32) = (0x67, 0);

/// An instruction with two registers and a number of 12 bits.
fn immediate(out: &mut Emitter, (operation, function): (u32, u32), to: u32, from: u32, low: u32) {
    out.word((low & 0xfff) << 20 | from << 15 | function << 12 | to << 7 | operation);
}

/// sd.
fn sd(out: &mut Emitter, register: u32, base: u32, offset: u32) {
    let (high, low) = (offset >> 5 & 0x7f, offset & 0x1f);
    out.word(high << 25 | register << 20 | base << 15 | 3 << 12 | low << 7 | 0x23);
}

/// The upper 20 bits of a number of which an instruction adds the lower 12, with their sign.
fn upper(number: u32) -> u32 {
    number.wrapping_add(0x800) & 0xffff_f000
}

/// auipc, and an instruction that adds the rest.
fn relative(out: &mut Emitter, second: (u32, u32), register: u32, address: u32) {
    let distance = out.distance(address, 0).cast_unsigned();
    out.word(upper(distance) | register << 7 | 0x17);
    immediate(out, second, register, register, distance);
}

/// lui and addiw: the number's sign is that of its 32 bits.
fn number(out: &mut Emitter, register: u32, number: u32) {
    out.word(upper(number) | register << 7 | 0x37);
    immediate(out, ADDIW, register, register, number);
}

fn load(out: &mut Emitter, register: u32, value: Placed) {
    match value {
        Placed::Number(value) => number(out, register, value),
        Placed::Address(address) => relative(out, ADDI, register, address),
        Placed::Content(address) => relative(out, LD, register, address),
    }
}

fn store(out: &mut Emitter, register: u32, address: u32) {
    relative(out, ADDI, SECOND, address);
    sd(out, register, SECOND, 0);
}

impl Processor for Riscv64 {
    fn begin(&self, out: &mut Emitter, handle: u32, table: u32) {
        // The stack stays at a multiple of 16.
        immediate(out, ADDI, SP, SP, 64u32.wrapping_neg());
        store(out, A0, handle);
        store(out, A0 + 1, table);
    }

    fn argument(&self, out: &mut Emitter, number: usize, value: Placed) {
        if number < ARGUMENTS {
            load(out, A0 + number as u32, value);
        } else {
            load(out, SCRATCH, value);
            sd(out, SCRATCH, SP, 8 * (number - ARGUMENTS) as u32);
        }
    }

    fn call(&self, out: &mut Emitter, table: u32, offset: u16) {
        load(out, SCRATCH, Placed::Content(table));
        immediate(out, LD, SCRATCH, SCRATCH, offset.into());
        immediate(out, JALR, RA, SCRATCH, 0);
    }

    fn load(&self, out: &mut Emitter, to: u32, base: u32, offset: u16, width: Width) {
        load(out, SCRATCH, Placed::Content(base));
        let load = match width {
            Width::Bits64 => LD,
            Width::Bits32 => LWU,
        };
        immediate(out, load, SCRATCH, SCRATCH, offset.into());
        store(out, SCRATCH, to);
    }

    fn go_if_error(&self, out: &mut Emitter, label: Label) {
        skip_if_equal(out, A0, ZERO);
        self.go(out, label);
    }

    fn go_unless(&self, out: &mut Emitter, at: u32, value: u32, label: Label) {
        // Both have the sign of their 32 bits.
        relative(out, LW, SCRATCH, at);
        number(out, SECOND, value);
        skip_if_equal(out, SCRATCH, SECOND);
        self.go(out, label);
    }

    fn go(&self, out: &mut Emitter, label: Label) {
        out.jump(label);
        // jal without a return address
        out.word(0x6f);
    }

    fn patch(&self, code: &mut [u8], at: usize, to: usize) {
        let distance = (to as i64 - at as i64) as u32;
        let bit = |from: u32, count: u32, to: u32| (distance >> from & ((1 << count) - 1)) << to;
        let word = bit(20, 1, 31) | bit(1, 10, 21) | bit(11, 1, 20) | bit(12, 8, 12) | 0x6f;
        code[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

/// beq, over one instruction.
fn skip_if_equal(out: &mut Emitter, one: u32, other: u32) {
    out.word(other << 20 | one << 15 | 4 << 8 | 0x63);
}
