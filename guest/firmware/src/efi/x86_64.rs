//! x86-64, with the calling convention of UEFI (UEFI 2.10, section 2.3.4.2): four arguments are in registers, and the stack
//! has room for them, too.

use super::code::{Emitter, Label, Placed, Processor, Width};

pub(super) struct X86_64;

/// A register, by its number in instructions.
#[derive(Clone, Copy)]
struct Register(u8);

const RAX: Register = Register(0);

/// Those of the first arguments: rcx, rdx, r8, r9.
const ARGUMENTS: [Register; 4] = [Register(1), Register(2), Register(8), Register(9)];

/// Room for twelve arguments; the stack is at a multiple of 16 then.
const FRAME: u32 = 0x68;

impl Register {
    /// The prefix of an instruction of 64 bits; `field` is the prefix's bit for this register.
    fn rex(self, field: u8) -> u8 {
        0x48 | if self.0 >= 8 { field } else { 0 }
    }

    fn low(self) -> u8 {
        self.0 & 7
    }
}

/// An instruction on a register and on memory whose distance is given.
fn relative(out: &mut Emitter, opcode: u8, register: Register, address: u32) {
    let distance = out.distance(address, 7);
    out.put(&[register.rex(4), opcode, register.low() << 3 | 5]);
    out.put(&distance.to_le_bytes());
}

fn load(out: &mut Emitter, register: Register, value: Placed) {
    match value {
        Placed::Number(number) => {
            out.put(&[register.rex(1), 0xb8 + register.low()]);
            out.put(&u64::from(number).to_le_bytes());
        }
        Placed::Address(address) => relative(out, 0x8d, register, address),
        Placed::Content(address) => relative(out, 0x8b, register, address),
    }
}

impl Processor for X86_64 {
    fn begin(&self, out: &mut Emitter, handle: u32, table: u32) {
        // sub rsp
        out.put(&[0x48, 0x81, 0xec]);
        out.put(&FRAME.to_le_bytes());
        relative(out, 0x89, ARGUMENTS[0], handle);
        relative(out, 0x89, ARGUMENTS[1], table);
    }

    fn argument(&self, out: &mut Emitter, number: usize, value: Placed) {
        match ARGUMENTS.get(number) {
            Some(register) => load(out, *register, value),
            None => {
                load(out, RAX, value);
                // mov [rsp + …], rax
                out.put(&[0x48, 0x89, 0x84, 0x24]);
                out.put(&(8 * number as u32).to_le_bytes());
            }
        }
    }

    fn call(&self, out: &mut Emitter, table: u32, offset: u16) {
        load(out, RAX, Placed::Content(table));
        // call [rax + …]
        out.put(&[0xff, 0x90]);
        out.put(&u32::from(offset).to_le_bytes());
    }

    fn load(&self, out: &mut Emitter, to: u32, base: u32, offset: u16, width: Width) {
        load(out, RAX, Placed::Content(base));
        // mov rax, [rax + …], or mov eax
        match width {
            Width::Bits64 => out.put(&[0x48, 0x8b, 0x80]),
            Width::Bits32 => out.put(&[0x8b, 0x80]),
        }
        out.put(&u32::from(offset).to_le_bytes());
        relative(out, 0x89, RAX, to);
    }

    fn go_if_error(&self, out: &mut Emitter, label: Label) {
        // test rax, rax; jnz
        out.put(&[0x48, 0x85, 0xc0]);
        out.jump(label);
        out.put(&[0x0f, 0x85, 0, 0, 0, 0]);
    }

    fn go_unless(&self, out: &mut Emitter, at: u32, number: u32, label: Label) {
        // cmp dword [rip + …], number; jnz
        let distance = out.distance(at, 10);
        out.put(&[0x81, 0x3d]);
        out.put(&distance.to_le_bytes());
        out.put(&number.to_le_bytes());
        out.jump(label);
        out.put(&[0x0f, 0x85, 0, 0, 0, 0]);
    }

    fn go(&self, out: &mut Emitter, label: Label) {
        out.jump(label);
        out.put(&[0xe9, 0, 0, 0, 0]);
    }

    fn patch(&self, code: &mut [u8], at: usize, to: usize) {
        // The distance is the end of the instruction, and counts from there.
        let field = at + if code[at] == 0x0f { 2 } else { 1 };
        let distance = (to as i64 - (field as i64 + 4)) as i32;
        code[field..field + 4].copy_from_slice(&distance.to_le_bytes());
    }
}
