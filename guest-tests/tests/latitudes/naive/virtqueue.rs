//! Virtqueues and interrupts (§2.4 of virtio 1.0).

use std::collections::VecDeque;

use stickler_conformance::layout::common;
use stickler_conformance::{Finding, Latitude, Latitudes};
use stickler_guest_tests::in_process::block::{SECTOR, kind};
use stickler_guest_tests::in_process::devices::{Device, SLOT};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;
use crate::conforming::works;

cases! {
    an_interrupt_means_a_used_buffer: SPURIOUS_INTERRUPTS on Entropy, one_buffer_an_interrupt,
        Stops "there is no used buffer";
    queues_are_large_enough: SMALL_QUEUES on Block,
        |d| {
            d.negotiate(0);
            assert!(d.select_queue(0) >= 64, "too small a queue");
            works(d);
        },
        Stops "too small a queue";
    there_is_room_for_a_request: TINY_QUEUES on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            let room = d.rig.allocate(64);
            let parts: Vec<_> = (0..8).map(|i| Buffer::writable(room + 8 * i, 8)).collect();
            d.submit(0, &parts);
        },
        Stops "a driver waits for free descriptors";
    queues_have_less_than_64_kib: LARGEST_QUEUES on Entropy,
        |d| {
            d.negotiate(0);
            let table = d.select_queue(0).checked_mul(16);
            assert!(table.is_some(), "too long a table");
            works(d);
        },
        Stops "too long a table";
    a_queue_keeps_its_size: RESIZED_QUEUES on Entropy, |d| {
            d.negotiate(0);
            let size = d.select_queue(0);
            for _ in 0..8 {
                d.negotiate(0);
                assert_eq!(d.select_queue(0), size, "another size");
            }
            works(d);
        },
        Stops "another size";
    the_oldest_comes_back_first: OUT_OF_ORDER on Entropy, |d| keeps_in_flight(d, Identify::ByOrder),
        Breaks "chain.head.free", copes with |d| keeps_in_flight(d, Identify::ById);
    each_request_has_its_interrupt: BURSTS on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            d.rig.interrupts.take_messages();
            for _ in 0..8 {
                expose(d, 1);
                d.notify(0);
                d.rig.step();
            }
            assert_eq!(d.rig.interrupts.take_messages().len(), 8, "too few interrupts");
        },
        Stops "too few interrupts", copes with several_at_once;
    a_burst_is_never_all_there_is: WHOLE_QUEUE on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            let few = |d: &mut Driver<'_>| assert!(d.queue(0).take_used().len() <= 4, "too many at once");
            for _ in 0..16 {
                expose(d, 1);
                d.notify(0);
                d.rig.step();
                few(d);
            }
            d.rig.run();
            few(d);
        },
        Stops "too many at once", copes with several_at_once;
    who_finds_a_buffer_need_not_be_called: LATE_INTERRUPTS on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            expose(d, 1);
            d.notify(0);
            // It polls, and asks for an interrupt next time.
            let mut taken = 0;
            while taken == 0 {
                d.rig.step();
                taken = d.queue(0).take_used().len();
            }
            d.rig.interrupts.take_messages();
            d.rig.run();
            assert_eq!(d.rig.interrupts.take_messages().len(), 0, "whose interrupt is that");
        },
        Stops "whose interrupt is that", copes with several_at_once;
    what_goes_together_comes_back_together: ONE_BY_ONE on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            expose(d, 8);
            d.notify(0);
            d.rig.step();
            assert_eq!(d.queue(0).take_used().len(), 8, "some are missing");
        },
        Stops "some are missing";
    input_ends_with_a_zero: WRITES_BEYOND_LEN on PlainConsole,
        |d| {
            let input = echoed(d);
            assert_eq!(input[2], 0, "no end");
        },
        Stops "no end", copes with |d| {
            assert_eq!(echoed(d)[..2], *b"hi");
        };
    avail_event_is_there: FICKLE_SUPPRESSION on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            // Without having negotiated it.
            d.queue(0).event_idx = true;
            let room = d.rig.allocate(8);
            d.submit(0, &[Buffer::writable(room, 8)]);
            assert_eq!(d.queue(0).take_used().len(), 1, "the queue stands still");
        },
        Stops "the queue stands still";
    nothing_happens_before_the_notification: UNASKED_LOOKS on Block,
        |d| {
            d.initialize(0, Interrupts::Msix);
            d.rig.run();
            let room = Buffer::writable(d.rig.allocate(SECTOR.into()), SECTOR);
            let request = d.block_request(kind::IN, u64::MAX, &[room]);
            let queue = d.queue(0);
            let head = queue.chain(&request);
            queue.expose(head);
            // Others have something to do, and only then does the header say which sector is meant.
            d.rig.run();
            d.put_block_header(request[0].addr, kind::IN, 0);
            d.notify(0);
            d.rig.run();
            assert_eq!(d.block_outcome(&request), 0, "it was read too early");
        },
        Stops "it was read too early";
}

/// By what a driver knows which buffer a used element is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identify {
    /// By its id.
    ById,
    /// By the order: it does not look at the id.
    ByOrder,
}

/// Makes requests available, each again as soon as it has come back, and calls `done` with the number of
/// each before that.
fn repeats(
    d: &mut Driver<'_>,
    requests: &[Vec<Buffer>],
    identify: Identify,
    done: impl Fn(&Driver<'_>, usize),
) {
    let queue = d.queue(0);
    let heads: Vec<u16> = requests.iter().map(|r| queue.chain(r)).collect();
    heads.iter().for_each(|head| queue.expose(*head));
    let mut taken: u16 = queue.get(queue.layout.used_idx());
    d.notify(0);
    let mut oldest: VecDeque<usize> = (0..heads.len()).collect();
    let end = taken + 400;
    let mut steps = 0;
    while taken < end {
        steps += 1;
        assert!(steps < 200_000, "the device returns nothing");
        d.rig.step_with_host();
        let queue = d.queue(0);
        let idx: u16 = queue.get(queue.layout.used_idx());
        while taken != idx {
            let (id, _) = d.queue(0).used_entry(taken);
            taken += 1;
            let place = match identify {
                Identify::ById => oldest.iter().position(|at| u32::from(heads[*at]) == id),
                Identify::ByOrder => Some(0),
            };
            let place = place.expect("a buffer in flight");
            let at = oldest.remove(place).expect("it is there");
            done(d, at);
            d.queue(0).expose(heads[at]);
            oldest.push_back(at);
        }
        if d.queue(0).notification_wanted() {
            d.notify(0);
        }
    }
}

/// Asks for random bytes with eight buffers.
fn keeps_in_flight(d: &mut Driver<'_>, identify: Identify) {
    d.initialize(0, Interrupts::Msix);
    let room = d.rig.allocate(64);
    let requests: Vec<_> = (0..8)
        .map(|at| vec![Buffer::writable(room + 8 * at, 8)])
        .collect();
    repeats(d, &requests, identify, |_, _| {});
}

/// Reads the same eight sectors again and again.
fn reads_eight_sectors(d: &mut Driver<'_>, identify: Identify) {
    d.initialize(0, Interrupts::Msix);
    let len = SECTOR as usize;
    for sector in 0..8 {
        let at = d.rig.allocate(SECTOR.into());
        d.rig.write_bytes(at, &vec![1 + sector as u8; len]);
        assert_eq!(
            d.block_do(kind::OUT, sector, &[Buffer::readable(at, SECTOR)]),
            0
        );
    }
    let requests: Vec<_> = (0..8)
        .map(|sector| {
            let at = d.rig.allocate(SECTOR.into());
            d.block_request(kind::IN, sector, &[Buffer::writable(at, SECTOR)])
        })
        .collect();
    repeats(d, &requests, identify, |d, at| {
        let request = &requests[at];
        let data = d.rig.read_bytes(request[1].addr, len);
        let whole = d.block_outcome(request) == 0 && data == vec![1 + at as u8; len];
        assert!(whole, "another request's data");
        d.rig.write_bytes(request[1].addr, &vec![0; len]);
        d.rig.write_bytes(request[2].addr, &[0xff]);
    });
}

/// Makes so many buffers available, and gives their heads.
fn expose(d: &mut Driver<'_>, count: u64) -> Vec<u16> {
    let room = d.rig.allocate(8 * count);
    let queue = d.queue(0);
    let mut heads = Vec::new();
    for at in 0..count {
        let head = queue.chain(&[Buffer::writable(room + 8 * at, 8)]);
        queue.expose(head);
        heads.push(head);
    }
    heads
}

/// Makes several buffers available and takes back all of them, in whatever order, some times over.
fn several_at_once(d: &mut Driver<'_>) {
    d.initialize(0, Interrupts::Msix);
    for _ in 0..8 {
        let mut heads = expose(d, 8);
        d.notify(0);
        d.rig.run();
        let mut used: Vec<u16> = d
            .queue(0)
            .take_used()
            .iter()
            .map(|(head, _)| *head)
            .collect();
        heads.sort_unstable();
        used.sort_unstable();
        assert_eq!(used, heads);
    }
}

/// What the device has written for a buffer is not there before the buffer is shown.
#[test]
fn a_buffer_in_flight_is_not_complete() {
    let latitudes = Latitudes::default().with(Latitude::OUT_OF_ORDER);
    let rig = crate::rig_with(latitudes, Device::Block);
    reads_eight_sectors(&mut Driver::probe(&rig, SLOT), Identify::ById);
    assert_eq!(rig.findings(), Vec::<Finding>::new());
    assert!(rig.tally("used.any-order").held > 0);

    let rig = crate::rig_with(latitudes, Device::Block);
    let naive = || reads_eight_sectors(&mut Driver::probe(&rig, SLOT), Identify::ByOrder);
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(naive));
    let words = stopped.expect_err("it takes one request for another");
    assert_eq!(words.downcast_ref(), Some(&"another request's data"));
    assert_eq!(rig.tally("used.any-order").held, 0);
}

/// With the largest queue, all of which is in flight, idx moves on by half of what it can hold: as a
/// signed number of 16 bits that is less than nothing.
#[test]
fn half_of_what_idx_holds_comes_at_once() {
    let latitudes = [Latitude::WHOLE_QUEUE, Latitude::LARGEST_QUEUES];
    let rig = crate::rig_with(latitudes.into_iter().collect(), Device::Entropy);
    let mut d = Driver::probe(&rig, SLOT);
    d.negotiate(0);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(32768);
    d.go();
    let room = rig.allocate(1);
    let queue = d.queue(0);
    let heads = (0..queue.layout.size).map(|_| queue.chain(&[Buffer::writable(room, 1)]));
    let heads: Vec<u16> = heads.collect();
    heads.iter().for_each(|head| queue.expose(*head));
    d.notify(0);
    let idx = loop {
        rig.step();
        let queue = d.queue(0);
        match queue.get::<u16>(queue.layout.used_idx()) {
            0 => {}
            idx => break idx,
        }
    };
    assert_eq!(idx, 32768);
    assert!((idx as i16) < 0, "a signed comparison sees nothing new");
    let used: Vec<u16> = d
        .queue(0)
        .take_used()
        .iter()
        .map(|(head, _)| *head)
        .collect();
    assert_eq!(used, heads);
    assert_eq!(rig.findings(), Vec::<Finding>::new());
}

/// Prints two characters and reads them back, some times over. Gives the buffer.
fn echoed(d: &mut Driver<'_>) -> Vec<u8> {
    d.initialize(0, Interrupts::Msix);
    let (output, input) = (d.rig.allocate(2), d.rig.allocate(16));
    d.rig.write_bytes(output, b"hi");
    for _ in 0..4 {
        d.submit(0, &[Buffer::writable(input, 16)]);
        d.submit(1, &[Buffer::readable(output, 2)]);
        d.wait_used(1);
        assert_eq!(d.wait_used(0)[0].1, 2);
    }
    d.rig.read_bytes(input, 16)
}

/// Takes a used buffer for each interrupt.
fn one_buffer_an_interrupt(d: &mut Driver<'_>) {
    d.negotiate(0);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    d.go();
    for _ in 0..40 {
        let room = d.rig.allocate(8);
        d.submit(0, &[Buffer::writable(room, 8)]);
        for _ in d.rig.interrupts.take_messages() {
            let used = d.queue(0).take_used();
            assert_eq!(used.len(), 1, "there is no used buffer");
        }
    }
}

/// A device that breaks down has told the driver of all used buffers that it has shown.
#[test]
fn who_is_late_is_not_too_late_for_a_reset() {
    let rig = crate::rig_with(
        Latitudes::default().with(Latitude::LATE_INTERRUPTS),
        Device::Entropy,
    );
    let mut d = Driver::probe(&rig, SLOT);
    d.initialize(0, Interrupts::Msix);
    expose(&mut d, 1);
    d.notify(0);
    while d.queue(0).take_used().is_empty() {
        rig.step();
    }
    assert_eq!(rig.interrupts.take_messages().len(), 0, "not yet");
    let queue = d.queue(0);
    let beyond = queue.layout.size;
    queue.expose(beyond);
    d.notify(0);
    rig.step();
    assert_ne!(
        d.common(common::DEVICE_STATUS) & 0x40,
        0,
        "DEVICE_NEEDS_RESET"
    );
    let messages = rig.interrupts.take_messages();
    assert_eq!(messages.len(), 2, "for the queue and for the configuration");
}
