//! Programs that call firmware, and their translation for a processor.

/// Something in the program's memory: an index into [`Program::data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datum(usize);

/// A place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number, of at most 31 bits.
    Number(u32),
    /// Where something is.
    Address(Datum),
    /// What is there: 64 bits.
    Content(Datum),
}

/// How much is loaded; what is shorter than a register is filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Bits32,
    Bits64,
}

/// A step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// `to` = what is `offset` bytes behind where `base` points.
    Load {
        to: Datum,
        base: Datum,
        offset: u16,
        width: Width,
    },
    /// Calls the function to which the pointer points that is `offset` bytes behind where `table` points.
    Call {
        table: Datum,
        offset: u16,
        arguments: Vec<Value>,
    },
    /// Goes on at the label if the last call failed.
    GoIfError(Label),
    /// Goes on at the label if the first 32 bits are not this number.
    GoUnless(Datum, u32, Label),
    Go(Label),
    Here(Label),
}

/// A program: it is called with the image's handle and the system table, and does not return.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// What its memory contains at the beginning, and how many zeros follow.
    data: Vec<(Vec<u8>, usize)>,
    ops: Vec<Op>,
    labels: usize,
}

impl Program {
    /// Memory with this content.
    pub(super) fn constant(&mut self, bytes: &[u8]) -> Datum {
        self.data.push((bytes.to_vec(), 0));
        Datum(self.data.len() - 1)
    }

    /// Memory of so many zeros.
    pub(super) fn room(&mut self, bytes: usize) -> Datum {
        self.data.push((Vec::new(), bytes));
        Datum(self.data.len() - 1)
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    pub(super) fn add(&mut self, op: Op) {
        self.ops.push(op);
    }
}

/// A processor.
pub(super) trait Processor {
    /// Stores both arguments of the program.
    fn begin(&self, out: &mut Emitter, handle: u32, table: u32);
    /// Puts the argument of this number, from 0, where a function expects it.
    fn argument(&self, out: &mut Emitter, number: usize, value: Placed);
    /// Calls the function; what it returns stays until the next call.
    fn call(&self, out: &mut Emitter, table: u32, offset: u16);
    /// As [`Op::Load`].
    fn load(&self, out: &mut Emitter, to: u32, base: u32, offset: u16, width: Width);
    /// Goes to the label if the last call did not return zero.
    fn go_if_error(&self, out: &mut Emitter, label: Label);
    /// As [`Op::GoUnless`].
    fn go_unless(&self, out: &mut Emitter, at: u32, number: u32, label: Label);
    fn go(&self, out: &mut Emitter, label: Label);
    /// Fills in the distance from the jump at `at`, a place in `code`, to `to`.
    fn patch(&self, code: &mut [u8], at: usize, to: usize);
}

/// A value, with the addresses relative to the image.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placed {
    Number(u32),
    Address(u32),
    Content(u32),
}

/// Code that grows.
#[derive(Debug)]
pub(super) struct Emitter {
    pub(super) bytes: Vec<u8>,
    /// The address of the code, relative to the image.
    base: u32,
    /// Jumps that wait for their labels.
    jumps: Vec<(usize, Label)>,
}

impl Emitter {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An instruction of 32 bits.
    pub(super) fn word(&mut self, word: u32) {
        self.put(&word.to_le_bytes());
    }

    /// How far `address` is from the next instruction, or from `behind` bytes behind it.
    pub(super) fn distance(&self, address: u32, behind: usize) -> i32 {
        let here = self.base as usize + self.bytes.len() + behind;
        address.wrapping_sub(here as u32).cast_signed()
    }

    /// The next instruction is a jump to `label`.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.bytes.len(), label));
    }
}

/// What a file is made of.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) code: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// Zeros behind the data.
    pub(super) zeros: usize,
}

/// Where code and data are in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) code: u32,
    pub(super) data: u32,
}

/// Translates `program`. The first two pieces of its memory get the image's handle and the system table. The code is
/// as long for any layout.
pub(super) fn translate(
    program: &Program,
    processor: impl Processor,
    layout: Layout,
) -> Translated {
    let (data, zeros, addresses) = place(program, layout.data);
    let address = |datum: Datum| addresses[datum.0];
    let mut out = Emitter {
        bytes: Vec::new(),
        base: layout.code,
        jumps: Vec::new(),
    };
    let mut labels = vec![0; program.labels];
    processor.begin(&mut out, address(Datum(0)), address(Datum(1)));
    for op in &program.ops {
        match op {
            Op::Load {
                to,
                base,
                offset,
                width,
            } => processor.load(&mut out, address(*to), address(*base), *offset, *width),
            Op::Call {
                table,
                offset,
                arguments,
            } => {
                for (number, value) in arguments.iter().enumerate() {
                    let placed = match *value {
                        Value::Number(number) => Placed::Number(number),
                        Value::Address(datum) => Placed::Address(address(datum)),
                        Value::Content(datum) => Placed::Content(address(datum)),
                    };
                    processor.argument(&mut out, number, placed);
                }
                processor.call(&mut out, address(*table), *offset);
            }
            Op::GoIfError(label) => processor.go_if_error(&mut out, *label),
            Op::GoUnless(datum, number, label) => {
                processor.go_unless(&mut out, address(*datum), *number, *label);
            }
            Op::Go(label) => processor.go(&mut out, *label),
            Op::Here(label) => labels[label.0] = out.bytes.len(),
        }
    }
    let mut code = out.bytes;
    for (at, label) in out.jumps {
        processor.patch(&mut code, at, labels[label.0]);
    }
    Translated { code, data, zeros }
}

/// The memory of `program` at `base`: its content, the zeros behind it, and the address of each piece.
fn place(program: &Program, base: u32) -> (Vec<u8>, usize, Vec<u32>) {
    const ALIGNMENT: usize = 8;
    let mut addresses = vec![base; program.data.len()];
    let mut bytes = Vec::new();
    for (address, (content, _)) in addresses.iter_mut().zip(&program.data) {
        *address += bytes.len() as u32;
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    let mut zeros = 0;
    for (address, (content, room)) in addresses.iter_mut().zip(&program.data) {
        if content.is_empty() {
            *address = base + (bytes.len() + zeros) as u32;
            zeros += room.next_multiple_of(ALIGNMENT);
        }
    }
    (bytes, zeros, addresses)
}
