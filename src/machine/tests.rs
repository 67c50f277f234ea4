//! Whole machines with guests of a few instructions. They need a /dev/kvm, but not one that can run
//! stock kernels.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use stickler_conformance::requirement::Level;
use stickler_conformance::{DeviceId, DeviceKind, Finding, Tallies, catalogue};
use stickler_devices::pci::Decoded;
use stickler_devices::virtio::{Progress, Wake};

use super::testing::{ADDRESS, bzimage, elf, pvh};
use super::*;

/// HLT for ever.
const HALT: &[u8] = &[0xf4, 0xeb, 0xfd];
/// MOV AL, 0xFE; OUT 0x64, AL: the keyboard controller's reset line.
const RESET: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64];

/// MOV DX, port; MOV EAX, value.
fn set(port: u16, value: u32) -> Vec<u8> {
    let mut code = vec![0x66, 0xba];
    code.extend(port.to_le_bytes());
    code.push(0xb8);
    code.extend(value.to_le_bytes());
    code
}

fn out8(port: u16, value: u8) -> Vec<u8> {
    [set(port, value.into()), vec![0xee]].concat()
}

fn out16(port: u16, value: u16) -> Vec<u8> {
    [set(port, value.into()), vec![0x66, 0xef]].concat()
}

fn out32(port: u16, value: u32) -> Vec<u8> {
    [set(port, value), vec![0xef]].concat()
}

/// IN EAX, DX.
fn in32(port: u16) -> Vec<u8> {
    [set(port, 0), vec![0xed]].concat()
}

/// MOV EAX, [address], in 64-bit code.
fn load32(address: u32) -> Vec<u8> {
    [&[0xa1][..], &u64::from(address).to_le_bytes()].concat()
}

/// MOV EAX, value; MOV [address], EAX, in 64-bit code.
fn store32(address: u32, value: u32) -> Vec<u8> {
    let (value, address) = (value.to_le_bytes(), u64::from(address).to_le_bytes());
    [&[0xb8][..], &value, &[0xa3], &address].concat()
}

/// Powers off if EAX is `value`, else resets.
fn expect(value: u32) -> Vec<u8> {
    let mut code = vec![0x3d];
    code.extend(value.to_le_bytes());
    code.extend([0x74, RESET.len() as u8]);
    code.extend(RESET);
    code.extend(power_off());
    code
}

fn power_off() -> Vec<u8> {
    [out16(0x604, 5 << 10 | 1 << 13), HALT.to_vec()].concat()
}

fn print(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|b| out8(serial::PORT, b)).collect()
}

/// What a guest printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TestGuest {
    machine: Machine,
    journal: Journal,
    printed: Printed,
}

fn signals() -> EndingSignals {
    EndingSignals::catch().unwrap()
}

/// A machine for `image`, or `None`, saying so, where there is no KVM at all.
fn guest_with(image: &[u8], change: impl FnOnce(&mut Config)) -> Option<TestGuest> {
    if let Err(why) = probe::open() {
        println!("skipped: {why}");
        return None;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(image).unwrap();
    let printed = Printed::default();
    let mut config = Config::new(file.path());
    config.memory_bytes = layout::MIN_MEMORY;
    config.serial = SerialConfig::Writer(Box::new(printed.clone()));
    config.trust_kvm = true;
    // Only so that a failing test ends.
    config.timeout = Some(Duration::from_secs(60));
    change(&mut config);
    let journal = Journal::new();
    let machine = Machine::new(config, journal.clone()).unwrap();
    Some(TestGuest {
        machine,
        journal,
        printed,
    })
}

fn guest(code: &[u8]) -> Option<TestGuest> {
    guest_with(&elf(&[code, HALT].concat()), |_| {})
}

/// How a guest of this code ends; true where there is no KVM to tell.
fn ends(code: &[u8], end: &GuestEnd) -> bool {
    guest(code).is_none_or(|guest| guest.machine.run(&signals()).unwrap() == *end)
}

#[test]
fn power_off_and_resets_are_told_apart() {
    assert!(ends(&power_off(), &GuestEnd::PowerOff));
    assert!(ends(RESET, &GuestEnd::Reset));
    assert!(ends(&out8(0xcf9, 0x06), &GuestEnd::Reset));
}

#[test]
fn a_jump_to_where_no_memory_is_is_the_guests_end() {
    // MOV EAX, 0xD0000000; JMP RAX.
    let Some(guest) = guest(&[0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0]) else {
        return;
    };
    let end = guest.machine.run(&signals()).unwrap();
    assert!(
        matches!(&end, GuestEnd::StrayJump(place) if place.contains("0xd0000000")),
        "{end:?}"
    );
}

#[test]
fn other_values_neither_power_off_nor_reset() {
    let harmless = [
        out16(0x604, 1 << 10 | 1 << 13),
        out16(0x604, 5 << 10),
        out8(0xcf9, 0x02),
        out8(0x64, 0xf0),
        out16(0x600, 0xffff),
    ];
    let code = [harmless.concat(), RESET.to_vec()].concat();
    assert!(ends(&code, &GuestEnd::Reset));
}

#[test]
fn an_exception_without_handlers_is_a_triple_fault() {
    // UD2.
    assert!(ends(&[0x0f, 0x0b], &GuestEnd::TripleFault));
}

#[test]
fn all_entries_are_entered() {
    let code = power_off();
    for image in [elf(&code), pvh(&code), bzimage(&code, 1 << 20)] {
        if let Some(guest) = guest_with(&image, |_| {}) {
            assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::PowerOff);
        }
    }
}

#[test]
fn what_the_guest_prints_is_seen_and_heeded() {
    let text = "hello\n@mark step one\n[    0.1] Kernel panic - not syncing: tiny\n";
    let Some(guest) = guest(&[print(text), RESET.to_vec()].concat()) else {
        return;
    };
    let end = guest.machine.run(&signals()).unwrap();
    assert_eq!(end, GuestEnd::Panic("tiny".to_owned()));
    assert_eq!(guest.printed.text(), text);
    let marks: Vec<String> = guest.journal.marks().into_iter().map(|m| m.name).collect();
    assert_eq!(marks, ["step one"]);
}

#[test]
fn a_repeated_out_prints_each_byte() {
    // MOV ESI, ADDRESS; MOV ECX, 4; MOV DX, 0x3F8; CLD; REP OUTSB: prints its own first bytes.
    let mut code = vec![0xbe];
    code.extend((ADDRESS as u32).to_le_bytes());
    code.extend([0xb9, 4, 0, 0, 0, 0x66, 0xba, 0xf8, 0x03, 0xfc, 0xf3, 0x6e]);
    let first = code[..4].to_vec();
    let Some(guest) = guest(&[code, power_off()].concat()) else {
        return;
    };
    assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::PowerOff);
    let printed = guest.printed.0.lock().unwrap().clone();
    assert_eq!(printed, first);
}

#[test]
fn a_guest_whose_time_is_over_is_asked_where_it_stands() {
    // Waits for a byte in the line status, reads it and writes it back, for ever.
    let echo = [
        &[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7][..],
        &[0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xef],
    ]
    .concat();
    let limit = |config: &mut Config| config.timeout = Some(Duration::from_millis(50));
    let Some(guest) = guest_with(&elf(&echo), limit) else {
        return;
    };
    assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::Timeout);
    // Of each break the byte 0, and the key.
    assert_eq!(guest.printed.text(), "\09\0l\0w");
    assert_eq!(guest.journal.answers(), ["9", "l"]);
    let positions = guest.journal.positions();
    assert_eq!((positions.len(), positions[0].number), (1, 0));
    let code = ADDRESS..ADDRESS + echo.len() as u64;
    assert!(code.contains(&positions[0].rip), "{positions:?}");

    // One that does not answer is not waited for long.
    let Some(guest) = guest_with(&elf(&[0xeb, 0xfe]), limit) else {
        return;
    };
    let since = Instant::now();
    assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::Timeout);
    assert!(since.elapsed() < Duration::from_secs(4));
    assert_eq!(guest.journal.positions()[0].rip, ADDRESS);
    assert!(guest.journal.answers().is_empty());
}

#[test]
fn a_guest_that_runs_for_ever_is_stopped() {
    // JMP to itself.
    let image = elf(&[0xeb, 0xfe]);
    let limit = |config: &mut Config| config.timeout = Some(Duration::from_millis(50));
    if let Some(guest) = guest_with(&image, limit) {
        assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::Timeout);
    }
    if let Some(guest) = guest_with(&image, |_| {}) {
        let stop = guest.machine.stop_handle();
        let stopper = thread::spawn(move || stop.stop(GuestEnd::Violation));
        assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::Violation);
        stopper.join().unwrap();
    }
}

#[test]
fn processors_that_were_never_started_end_too() {
    let image = elf(&power_off());
    if let Some(guest) = guest_with(&image, |config| config.cpus = MAX_CPUS) {
        assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::PowerOff);
    }
}

#[test]
fn nothing_answers_with_all_ones() {
    let unclaimed = load32(layout::PCI_MEM32.start as u32);
    assert!(ends(
        &[unclaimed, expect(u32::MAX)].concat(),
        &GuestEnd::PowerOff
    ));
    let port = in32(0x1234);
    assert!(ends(
        &[port, expect(u32::MAX)].concat(),
        &GuestEnd::PowerOff
    ));
}

#[test]
fn the_host_bridge_is_found_both_ways() {
    let id = 0x0008_1b36;
    let ports = [out32(0xcf8, 0x8000_0000), in32(0xcfc), expect(id)].concat();
    assert!(ends(&ports, &GuestEnd::PowerOff));
    let memory = [load32(layout::ECAM as u32), expect(id)].concat();
    assert!(ends(&memory, &GuestEnd::PowerOff));
}

#[test]
fn acpi_tables_are_where_they_are_searched() {
    // "RSD " of the signature.
    let code = [load32(layout::ACPI_TABLES as u32), expect(0x2044_5352)].concat();
    assert!(ends(&code, &GuestEnd::PowerOff));
}

/// A device whose BAR 0 lies at the beginning of the 32-bit window and finds fault with each write.
struct Fake {
    journal: Journal,
    kick: OwnedFd,
    panics: bool,
}

const FAKE: DeviceId = DeviceId {
    slot: 3,
    kind: DeviceKind::Entropy,
};

impl Fake {
    fn new(journal: Journal, panics: bool) -> Arc<Self> {
        let kick = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        Arc::new(Fake {
            journal,
            kick,
            panics,
        })
    }
}

impl PciFunction for Fake {
    fn config_read(&self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
    }

    fn config_write(&self, _offset: u16, _data: &[u8]) {}

    fn decoded(&self) -> Vec<Decoded> {
        vec![Decoded {
            bar: 0,
            base: layout::PCI_MEM32.start,
            len: 0x1000,
        }]
    }

    fn bar_read(&self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0x5a);
    }

    fn bar_write(&self, _bar: u8, _offset: u64, _data: &[u8]) {
        let requirement = catalogue::iter().next().unwrap().0;
        self.journal.recorder().record(Finding {
            requirement,
            level: Level::Must,
            device: FAKE,
            queue: None,
            message: "a write".to_owned(),
        });
        rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
    }
}

impl Serviced for Fake {
    fn id(&self) -> DeviceId {
        FAKE
    }

    fn kick_fd(&self) -> RawFd {
        self.kick.as_raw_fd()
    }

    fn host_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn service(&self, _wake: Wake) -> Progress {
        assert!(!self.panics, "deliberate");
        Progress::Done
    }

    fn memory_changed(&self, _ram: GuestRam) {}

    fn run_ended(&self, _by_guest: bool) {}

    fn is_live(&self) -> bool {
        false
    }

    fn was_taken(&self) -> bool {
        false
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

#[test]
fn a_device_is_reached_and_findings_know_the_instruction() {
    let bar = layout::PCI_MEM32.start as u32;
    let read = load32(bar);
    let code = [store32(bar, 1), read, expect(0x5a5a_5a5a)].concat();
    let Some(mut guest) = guest(&code) else {
        return;
    };
    let fake = Fake::new(guest.journal.clone(), false);
    let machine = &mut guest.machine;
    machine.add_device(3, fake.clone(), fake.clone()).unwrap();
    let taken = machine.add_device(3, fake.clone(), fake).unwrap_err();
    assert!(taken.to_string().contains("slot 3"), "{taken}");
    assert_eq!(guest.machine.run(&signals()).unwrap(), GuestEnd::PowerOff);
    let findings = guest.journal.findings();
    assert_eq!(findings.len(), 1);
    // At the instruction, or just behind it.
    let rip = findings[0].rip.unwrap();
    let (store, behind) = (ADDRESS + 5, ADDRESS + store32(0, 0).len() as u64);
    assert!(rip == store || rip == behind, "{rip:#x}");
}

#[test]
fn a_worker_that_panics_ends_the_run() {
    let bar = layout::PCI_MEM32.start as u32;
    let Some(mut guest) = guest(&store32(bar, 1)) else {
        return;
    };
    let fake = Fake::new(guest.journal.clone(), true);
    guest.machine.add_device(3, fake.clone(), fake).unwrap();
    let error = guest.machine.run(&signals()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "internal error in the entropy 3 thread: deliberate"
    );
    assert_eq!(error.exit_code(), 4);
}

#[test]
fn the_number_of_vcpus_is_checked() {
    for cpus in [0, MAX_CPUS + 1] {
        let mut config = Config::new(Path::new("/nonexistent"));
        config.cpus = cpus;
        let error = Machine::new(config, Journal::new()).err().unwrap();
        assert!(matches!(error, Error::Cpus { .. }), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
