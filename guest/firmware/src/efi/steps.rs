//! What the program for UEFI does. Sections are those of UEFI 2.10; offsets are those of the fields on processors of 64 bits.

use super::code::{Datum, Op, Program, Value, Width};
use crate::{CHUNKS, NETWORK, READ, SECTOR, SENT, SENT_NAME, WRITE, copied, crc32, sent};

/// Where the program reads and writes: bytes from the beginning of the partition that it is on.
pub(crate) struct EfiPlaces {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) sent_to: u64,
}

// EFI_SYSTEM_TABLE, section 4.3
const CON_OUT: u16 = 64;
const RUNTIME_SERVICES: u16 = 88;
const BOOT_SERVICES: u16 = 96;
// EFI_BOOT_SERVICES, section 4.4
const HANDLE_PROTOCOL: u16 = 152;
const EXIT: u16 = 216;
const LOCATE_HANDLE_BUFFER: u16 = 312;
const CALCULATE_CRC32: u16 = 344;
// EFI_RUNTIME_SERVICES, section 4.5
const RESET_SYSTEM: u16 = 104;
// EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL, section 12.4
const OUTPUT_STRING: u16 = 8;
// EFI_LOADED_IMAGE_PROTOCOL, section 9.1
const DEVICE_HANDLE: u16 = 24;
// EFI_DISK_IO_PROTOCOL, section 13.7
const READ_DISK: u16 = 8;
const WRITE_DISK: u16 = 16;
// EFI_BLOCK_IO_PROTOCOL, section 13.9
const MEDIA: u16 = 8;
const MEDIA_ID: u16 = 0;
const FLUSH_BLOCKS: u16 = 40;
// EFI_PXE_BASE_CODE_PROTOCOL, section 24.3
const START: u16 = 8;
const DHCP: u16 = 24;
const MTFTP: u16 = 40;

const BY_PROTOCOL: u32 = 2;
const TFTP_READ_FILE: u32 = 2;
const RESET_SHUTDOWN: u32 = 2;
/// Any status but zero tells that the program did not do what it is for.
const NOT_FOUND: u32 = 14;

/// The address of the server, at the beginning of an EFI_IP_ADDRESS.
const SERVER: [u8; 4] = [10, 0, 2, 2];

/// A network card may have protocols for both versions of IP: so many are tried.
const CARDS: u16 = 2;

/// Writes a GUID as it is in memory.
const fn guid(first: u32, second: u16, third: u16, rest: [u8; 8]) -> [u8; 16] {
    let [a, b, c, d] = first.to_le_bytes();
    let ([e, f], [g, h]) = (second.to_le_bytes(), third.to_le_bytes());
    let [i, j, k, l, m, n, o, p] = rest;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

const LOADED_IMAGE: [u8; 16] = guid(
    0x5b1b_31a1,
    0x9562,
    0x11d2,
    [0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
);
const DISK_IO: [u8; 16] = guid(
    0xce34_5171,
    0xba0b,
    0x11d2,
    [0x8e, 0x4f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
);
const BLOCK_IO: [u8; 16] = guid(
    0x964e_5b21,
    0x6459,
    0x11d2,
    [0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
);
const PXE_BASE_CODE: [u8; 16] = guid(
    0x03c4_e603,
    0xac28,
    0x11d3,
    [0x9a, 0x2d, 0, 0x90, 0x27, 0x3f, 0xc1, 0x4d],
);

/// The program.
pub(super) fn program(places: &EfiPlaces) -> Program {
    let mut steps = Steps::begin();
    let disk = steps.disk();
    steps.say("@mark efi-program");
    steps.read(&disk, places);
    steps.receive();
    // A disk may take no writes: they come last.
    steps.write_received(&disk, places);
    steps.copy(&disk, places);
    steps.say("exercise: passed");
    steps.power_off();
    steps.program
}

/// The program while it grows, with what its steps share.
struct Steps {
    program: Program,
    handle: Datum,
    boot_services: Datum,
    runtime_services: Datum,
    con_out: Datum,
    buffer: Datum,
    crc: Datum,
}

/// The disk: two of its protocols, and which medium is in it.
struct EfiDisk {
    disk_io: Datum,
    block_io: Datum,
    medium: Datum,
}

impl Steps {
    fn begin() -> Steps {
        let mut program = Program::default();
        let mut slot = || program.room(8);
        // These two come first.
        let (handle, table) = (slot(), slot());
        let (boot_services, runtime_services, con_out) = (slot(), slot(), slot());
        let crc = slot();
        let buffer = program.room(copied().len());
        let mut steps = Steps {
            program,
            handle,
            boot_services,
            runtime_services,
            con_out,
            buffer,
            crc,
        };
        steps.load(boot_services, table, BOOT_SERVICES);
        steps.load(runtime_services, table, RUNTIME_SERVICES);
        steps.load(con_out, table, CON_OUT);
        steps
    }

    fn slot(&mut self) -> Datum {
        self.program.room(8)
    }

    fn load(&mut self, to: Datum, base: Datum, offset: u16) {
        self.program.add(Op::Load {
            to,
            base,
            offset,
            width: Width::Bits64,
        });
    }

    fn call(&mut self, table: Datum, offset: u16, arguments: &[Value]) {
        self.program.add(Op::Call {
            table,
            offset,
            arguments: arguments.to_vec(),
        });
    }

    /// Writes a line on the console.
    fn say(&mut self, line: &str) {
        let text: Vec<u8> = format!("\r\n{line}\r\n\0")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let text = self.program.constant(&text);
        let console = Value::Content(self.con_out);
        self.call(
            self.con_out,
            OUTPUT_STRING,
            &[console, Value::Address(text)],
        );
    }

    /// Switches the machine off.
    fn power_off(&mut self) {
        let arguments = [RESET_SHUTDOWN, 0, 0, 0].map(Value::Number);
        self.call(self.runtime_services, RESET_SYSTEM, &arguments);
        // It does not return.
        let label = self.program.label();
        self.program.add(Op::Here(label));
        self.program.add(Op::Go(label));
    }

    /// If the last call failed, the program ends with this message.
    fn needs(&mut self, step: &str, message: &str) {
        let (failed, well) = (self.program.label(), self.program.label());
        self.program.add(Op::GoIfError(failed));
        self.program.add(Op::Go(well));
        self.program.add(Op::Here(failed));
        self.fail(step, message);
        self.program.add(Op::Here(well));
    }

    fn fail(&mut self, step: &str, message: &str) {
        self.say(&format!("exercise: failed: {step}: {message}"));
        self.power_off();
    }

    /// The program ends with this message if the buffer does not begin with `expected`.
    fn compare(&mut self, expected: &[u8], step: &str, message: &str) {
        let size = Value::Number(expected.len() as u32);
        let (buffer, crc) = (Value::Address(self.buffer), Value::Address(self.crc));
        self.call(self.boot_services, CALCULATE_CRC32, &[buffer, size, crc]);
        let (wrong, right) = (self.program.label(), self.program.label());
        self.program.add(Op::GoIfError(wrong));
        self.program
            .add(Op::GoUnless(self.crc, crc32(expected), wrong));
        self.program.add(Op::Go(right));
        self.program.add(Op::Here(wrong));
        self.fail(step, message);
        self.program.add(Op::Here(right));
    }

    /// A protocol of a handle, into a new slot.
    fn protocol(&mut self, handle: Datum, guid: Datum) -> Datum {
        let slot = self.slot();
        let arguments = [
            Value::Content(handle),
            Value::Address(guid),
            Value::Address(slot),
        ];
        self.call(self.boot_services, HANDLE_PROTOCOL, &arguments);
        slot
    }

    /// The disk that the program was loaded from. Where UEFI has no such protocols, which U-Boot's has not, the program
    /// ends, and the firmware goes on with something else.
    fn disk(&mut self) -> EfiDisk {
        let (none, there) = (self.program.label(), self.program.label());
        let [loaded_image, disk_io, block_io] =
            [LOADED_IMAGE, DISK_IO, BLOCK_IO].map(|guid| self.program.constant(&guid));
        let image = self.protocol(self.handle, loaded_image);
        self.program.add(Op::GoIfError(none));
        let device = self.slot();
        self.load(device, image, DEVICE_HANDLE);
        let disk_io = self.protocol(device, disk_io);
        self.program.add(Op::GoIfError(none));
        let block_io = self.protocol(device, block_io);
        self.program.add(Op::GoIfError(none));
        let (media, medium) = (self.slot(), self.slot());
        self.load(media, block_io, MEDIA);
        self.program.add(Op::Load {
            to: medium,
            base: media,
            offset: MEDIA_ID,
            width: Width::Bits32,
        });
        self.program.add(Op::Go(there));
        self.program.add(Op::Here(none));
        let handle = Value::Content(self.handle);
        let arguments = [
            handle,
            Value::Number(NOT_FOUND),
            Value::Number(0),
            Value::Number(0),
        ];
        self.call(self.boot_services, EXIT, &arguments);
        self.program.add(Op::Here(there));
        EfiDisk {
            disk_io,
            block_io,
            medium,
        }
    }

    /// Reads from the disk into the buffer, or writes to it from there.
    fn transfer(&mut self, disk: &EfiDisk, function: u16, at: u64, size: usize) {
        let arguments = [
            Value::Content(disk.disk_io),
            Value::Content(disk.medium),
            Value::Number(at as u32),
            Value::Number(size as u32),
            Value::Address(self.buffer),
        ];
        self.call(disk.disk_io, function, &arguments);
    }

    /// Reads piece by piece, and then all at once, which stays in the buffer.
    fn read(&mut self, disk: &EfiDisk, places: &EfiPlaces) {
        const UNREAD: &str = "UEFI could not read";
        let data = copied();
        let mut done = 0;
        for size in CHUNKS.map(|count| usize::from(count) * SECTOR) {
            self.transfer(disk, READ_DISK, places.from + done, size);
            self.needs(READ, UNREAD);
            done += size as u64;
        }
        self.transfer(disk, READ_DISK, places.from, data.len());
        self.needs(READ, UNREAD);
        self.compare(&data, READ, "what UEFI read is wrong");
    }

    /// Copies piece by piece.
    fn copy(&mut self, disk: &EfiDisk, places: &EfiPlaces) {
        let mut done = 0;
        for size in CHUNKS.map(|count| usize::from(count) * SECTOR) {
            self.transfer(disk, READ_DISK, places.from + done, size);
            self.needs(READ, "UEFI could not read");
            self.transfer(disk, WRITE_DISK, places.to + done, size);
            self.needs(WRITE, "UEFI could not write");
            done += size as u64;
        }
        self.flush(disk);
    }

    fn flush(&mut self, disk: &EfiDisk) {
        self.call(
            disk.block_io,
            FLUSH_BLOCKS,
            &[Value::Content(disk.block_io)],
        );
        self.needs(WRITE, "UEFI could not flush");
    }

    /// Has a file sent, which stays in the buffer.
    fn receive(&mut self) {
        let guid = self.program.constant(&PXE_BASE_CODE);
        let (count, handles) = (self.slot(), self.slot());
        let arguments = [
            Value::Number(BY_PROTOCOL),
            Value::Address(guid),
            Value::Number(0),
            Value::Address(count),
            Value::Address(handles),
        ];
        self.call(self.boot_services, LOCATE_HANDLE_BUFFER, &arguments);
        self.needs(NETWORK, "UEFI has no network card");
        let got = self.program.label();
        for number in 0..CARDS {
            let next = self.program.label();
            let handle = self.slot();
            self.load(handle, handles, 8 * number);
            let card = self.protocol(handle, guid);
            self.program.add(Op::GoIfError(next));
            self.get(card, next);
            self.program.add(Op::Go(got));
            self.program.add(Op::Here(next));
        }
        self.fail(NETWORK, "UEFI got no file");
        self.program.add(Op::Here(got));
        self.compare(&sent(), NETWORK, "the file that UEFI got is wrong");
    }

    fn write_received(&mut self, disk: &EfiDisk, places: &EfiPlaces) {
        self.transfer(disk, WRITE_DISK, places.sent_to, SENT);
        self.needs(WRITE, "UEFI could not write");
    }

    /// Gets an address and the file, or goes on at `failed`.
    fn get(&mut self, card: Datum, failed: super::code::Label) {
        let this = Value::Content(card);
        // Not version 6.
        self.call(card, START, &[this, Value::Number(0)]);
        self.program.add(Op::GoIfError(failed));
        self.call(card, DHCP, &[this, Value::Number(1)]);
        self.program.add(Op::GoIfError(failed));
        let mut address = SERVER.to_vec();
        address.resize(16, 0);
        let server = self.program.constant(&address);
        let name = self.program.constant(format!("{SENT_NAME}\0").as_bytes());
        let size = self.program.constant(&(SENT as u64).to_le_bytes());
        let arguments = [
            this,
            Value::Number(TFTP_READ_FILE),
            Value::Address(self.buffer),
            Value::Number(0),
            Value::Address(size),
            Value::Number(0),
            Value::Address(server),
            Value::Address(name),
            Value::Number(0),
            Value::Number(0),
        ];
        self.call(card, MTFTP, &arguments);
        self.program.add(Op::GoIfError(failed));
    }
}
