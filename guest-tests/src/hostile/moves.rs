//! A guest that does anything at all to a device, with the judge on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use stickler_conformance::Latitudes;
use stickler_conformance::latitude::Word;
use stickler_devices::memory::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use crate::in_process::devices::{Device, SLOT};
use crate::in_process::{Driver, Interrupts, Rig, legal_subset};

/// The memory that the guest plays with: where the driver's rings are, and what it allocates first.
const PLAYGROUND: u64 = 1 << 20;

/// Its size: some rings and buffers, so that writes hit them.
const PLAYGROUND_LEN: u32 = 256 << 10;

/// The BAR registers in configuration space.
const BARS: [u16; 6] = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24];

/// The PCI capability of power management; its control register comes 4 bytes after its begin.
const POWER_MANAGEMENT: u8 = 1;

/// The most moves of one guest.
const MOST: usize = 2000;

/// Any access to configuration space, BARs and memory, from a device that nobody has set up.
pub fn moves(bytes: &[u8]) {
    // Bytes that end early end the guest.
    let _ = play(&mut Unstructured::new(bytes), false, false);
}

/// As [`moves`], from a device that a conforming driver has set up: deeper in.
pub fn rings(bytes: &[u8]) {
    let _ = play(&mut Unstructured::new(bytes), true, false);
}

/// As [`rings`], while another processor writes to the same memory.
pub fn scribbled(bytes: &[u8]) {
    let _ = play(&mut Unstructured::new(bytes), true, true);
}

fn play(input: &mut Unstructured<'_>, set_up: bool, scribbled: bool) -> Result<()> {
    let device = *input.choose(&[
        Device::Net,
        Device::Peer,
        Device::Block,
        Device::ReadOnlyBlock,
        Device::Console,
        Device::Entropy,
    ])?;
    let latitudes = if input.ratio(1, 3)? {
        let word: Word = format!("seed={}", input.arbitrary::<u16>()?)
            .parse()
            .expect("a seed is a word");
        Latitudes::from_words(&[word]).expect("any seed is permitted")
    } else {
        Latitudes::default()
    };
    let plain = latitudes == Latitudes::default();
    let mut rig = Rig::new();
    rig.options.latitudes = latitudes;
    device.add(&mut rig);
    let bars = BARS.map(|offset| rig.config_read(SLOT, offset, 4));
    // A driver need not cope with all latitudes to be set up.
    if set_up && plain {
        let features = input.arbitrary()?;
        let interrupts = *input.choose(&[Interrupts::Msix, Interrupts::Intx])?;
        let mut driver = Driver::probe(&rig, SLOT);
        let features = legal_subset(driver.kind, features);
        driver.initialize(features, interrupts);
    }
    let places = places(&rig);
    let result = if scribbled {
        let seed = input.arbitrary()?;
        scribbling(&rig.ram, seed, || make(&rig, &places, input))
    } else {
        make(&rig, &places, input)
    };
    rig.run();
    for (offset, bar) in BARS.into_iter().zip(bars) {
        rig.config_write(SLOT, offset, 4, bar);
    }
    // The peer does not answer what the driver asks a network.
    if plain && device != Device::Peer {
        recovers(&rig);
    }
    result
}

/// Where the structures of the device are: address and length.
fn places(rig: &Rig) -> Vec<(u64, u64)> {
    let driver = Driver::probe(rig, SLOT);
    let capabilities = driver.capabilities().into_iter();
    capabilities
        .filter(|capability| capability.id == 9 && capability.bar < 6)
        .map(|capability| {
            let at = driver.bar_address(capability.bar) + u64::from(capability.offset);
            (at, u64::from(capability.length).clamp(1, 4096))
        })
        .collect()
}

/// Makes moves until the input or the guest's time is at its end.
fn make(rig: &Rig, places: &[(u64, u64)], input: &mut Unstructured<'_>) -> Result<()> {
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        one(rig, places, input)?;
    }
    Ok(())
}

fn one(rig: &Rig, places: &[(u64, u64)], input: &mut Unstructured<'_>) -> Result<()> {
    match input.int_in_range(0..=15)? {
        0 => {
            let (offset, width) = config_place(input)?;
            rig.config_read(SLOT, offset, width);
        }
        1 => {
            let (offset, width) = config_place(input)?;
            rig.config_write(SLOT, offset, width, value(input)? as u32);
        }
        2..=3 => {
            let (address, width) = mmio_place(places, input)?;
            let mut data = [0; 8];
            // There may be nothing any more, where the guest has moved a BAR.
            rig.bus.mmio_read(address, &mut data[..width]);
        }
        4..=8 => {
            let (address, width) = mmio_place(places, input)?;
            let data = value(input)?.to_le_bytes();
            rig.bus.mmio_write(address, &data[..width]);
        }
        9..=11 => {
            let address = PLAYGROUND + u64::from(input.int_in_range(0..=PLAYGROUND_LEN)?);
            let bytes = value(input)?.to_le_bytes();
            let width = *input.choose(&[1, 2, 4, 8])?;
            rig.ram
                .inner()
                .write_slice(&bytes[..width], GuestAddress(address))
                .expect("the playground is memory");
        }
        12 => descriptor(rig, input)?,
        13 => rig.step_with_host(),
        14 => rig.run(),
        _ => rig.elapse(Duration::from_millis(input.int_in_range(0..=2000)?)),
    }
    Ok(())
}

/// Writes a descriptor that looks like one.
fn descriptor(rig: &Rig, input: &mut Unstructured<'_>) -> Result<()> {
    let page = u64::from(input.int_in_range(0..=PLAYGROUND_LEN / 4096)?);
    let at = PLAYGROUND + page * 4096 + u64::from(input.int_in_range(0..=63_u8)?) * 16;
    let mut bytes = [0; 16];
    let address = match input.arbitrary()? {
        true => PLAYGROUND + u64::from(input.int_in_range(0..=PLAYGROUND_LEN)?),
        false => value(input)?,
    };
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    let len = input.choose(&[0, 1, 12, 16, 512, 1526, 4096, 65550, u32::MAX])?;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&input.int_in_range(0..=7_u16)?.to_le_bytes());
    bytes[14..].copy_from_slice(&input.int_in_range(0..=63_u16)?.to_le_bytes());
    rig.ram
        .inner()
        .write_slice(&bytes, GuestAddress(at))
        .expect("the playground is memory");
    Ok(())
}

/// A place in configuration space: aligned, as configuration mechanism #1 makes it.
fn config_place(input: &mut Unstructured<'_>) -> Result<(u16, usize)> {
    let width = *input.choose(&[1_u16, 2, 4])?;
    let offset = input.int_in_range(0..=255_u16)? / width * width;
    Ok((offset, width.into()))
}

fn mmio_place(places: &[(u64, u64)], input: &mut Unstructured<'_>) -> Result<(u64, usize)> {
    let width = *input.choose(&[1, 2, 4, 8])?;
    let Some(&(at, len)) = places.get(input.choose_index(places.len().max(1))?) else {
        return Ok((0xc000_0000, width));
    };
    Ok((at + input.int_in_range(0..=len)?, width))
}

/// A value that means something now and then.
fn value(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=5)? {
        0 => 0,
        1 => input.int_in_range(0..=15_u64)?,
        2 => PLAYGROUND + u64::from(input.int_in_range(0..=PLAYGROUND_LEN / 4096)?) * 4096,
        3 => 1 << input.int_in_range(0..=63)?,
        4 => u64::MAX - input.int_in_range(0..=15_u64)?,
        _ => input.arbitrary()?,
    })
}

/// Does `body` while another thread writes to the playground.
fn scribbling<T>(ram: &GuestRam, seed: u64, body: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = seed | 1;
            while !done.load(Ordering::Relaxed) {
                // An xorshift generator: any will do.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = PLAYGROUND + state % u64::from(PLAYGROUND_LEN);
                let word = (state >> 32) as u16;
                ram.inner()
                    .write_slice(&word.to_le_bytes(), GuestAddress(at))
                    .expect("the playground is memory");
            }
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Whatever was done to it, a device works after a reset.
fn recovers(rig: &Rig) {
    rig.reclaim();
    let mut driver = Driver::probe(rig, SLOT);
    // It may sleep.
    let capabilities = driver.capabilities().into_iter();
    for management in capabilities.filter(|capability| capability.id == POWER_MANAGEMENT) {
        driver.config_write(management.at + 4, 2, 0);
    }
    driver.reset();
    let features = legal_subset(driver.kind, u64::MAX);
    driver.initialize(features, Interrupts::Msix);
    driver.exercise();
}
