//! What a server answers, as the protocol has it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use stickler_vfio_user::client::{access, words};
use stickler_vfio_user::wire::{MAX_DATA, MAX_PAYLOAD, bits, command, flag, irq, region};

use crate::served::{Done, serve};

const PAGE: u64 = 4096;

fn error_of<T: std::fmt::Debug>(result: std::io::Result<T>) -> Option<i32> {
    result.expect_err("it is refused").raw_os_error()
}

fn refused<T: std::fmt::Debug>(result: std::io::Result<T>, with: Errno) {
    assert_eq!(error_of(result), Some(with.raw_os_error()));
}

fn memory(len: u64) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(len).expect("sparse");
    file
}

#[test]
fn version_is_agreed_on_first_and_once() {
    let (_, mut client) = serve();
    let reply = client.agree(0, 7, b"{}\0").expect("it is agreed");
    assert_eq!(reply[..4], [0, 0, 1, 0], "the server's minor version");
    let text = reply[4..].strip_suffix(&[0]).expect("a zero at its end");
    let text = std::str::from_utf8(text).expect("text");
    assert!(text.contains("\"max_msg_fds\":8"), "{text}");
    refused(client.agree(0, 1, b""), Errno::INVAL);
    client.region_len(0).expect("it goes on");
}

#[test]
fn version_data_may_be_missing_or_lack_its_zero_and_an_older_minor_version_stays() {
    for (data, minor) in [(&b""[..], 0), (b"\0", 0), (b"{}", 1)] {
        let (_, mut client) = serve();
        let reply = client.agree(0, minor, data).expect("it is agreed");
        assert_eq!(reply[2..4], minor.to_ne_bytes());
    }
}

#[test]
fn another_major_version_nonsense_and_impatience_end_the_connection() {
    for attempt in 0..4 {
        let (served, mut client) = serve();
        let result = match attempt {
            0 => client.agree(1, 0, b"{}\0").map(drop),
            1 => client.agree(0, 1, b"{{{\0").map(drop),
            2 => client.agree(0, 1, b"[]\0").map(drop),
            _ => client.region_len(0).map(drop),
        };
        refused(result, Errno::INVAL);
        assert_eq!(client.socket().read(&mut [0]).expect("closed"), 0);
        assert!(served.end().is_ok());
    }
}

#[test]
fn the_device_is_described() {
    let (_, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let info = client
        .request(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0]), &[])
        .expect("it is told");
    assert_eq!(info, words(&[16, 0b11, 9, 5]));
    let lens: Vec<u64> = (0..region::COUNT)
        .map(|index| client.region_len(index).expect("there is such an index"))
        .collect();
    assert_eq!(lens, [8192, 0, 0, 0, 0, 0, 0, 4096, 0]);
    refused(client.region_len(region::COUNT), Errno::INVAL);
    assert_eq!(client.irq_info(irq::INTX).expect("told"), (0b111, 1));
    assert_eq!(client.irq_info(irq::MSIX).expect("told"), (0b1, 3));
    assert_eq!(client.irq_info(1).expect("told"), (0, 0));
    refused(client.irq_info(irq::COUNT), Errno::INVAL);
}

#[test]
fn accesses_arrive_as_they_were_made() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let bytes = client.read(0, 0x10, 3).expect("inside");
    assert_eq!(bytes, [0x10, 0x11, 0x12]);
    client
        .write(0, 8184, &[1, 2, 3, 4, 5, 6, 7, 8])
        .expect("inside");
    client.post(0, 0, &[9]).expect("it is sent");
    client.reset().expect("it can");
    let done = [
        Done::Read(0, 0x10, 3),
        Done::Written(0, 8184, vec![1, 2, 3, 4, 5, 6, 7, 8]),
        Done::Written(0, 0, vec![9]),
        Done::Reset,
    ];
    assert_eq!(served.take_done(), done);
}

#[test]
fn accesses_beyond_a_region_do_not_reach_the_device() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    for (region, offset, count) in [
        (0, 8192, 1),
        (0, 8190, 4),
        (0, u64::MAX, 2),
        (1, 0, 1),
        (region::COUNT, 0, 1),
        (u32::MAX, 0, 1),
        (0, 0, 0),
        (0, 0, MAX_DATA as u32 + 1),
        (0, 0, u32::MAX),
    ] {
        refused(client.read(region, offset, count), Errno::INVAL);
    }
    refused(client.write(0, 8191, &[1, 2]), Errno::INVAL);
    // Count and data differ.
    let payload = [access(0, 0, 4), vec![1]].concat();
    refused(
        client.request(command::REGION_WRITE, &payload, &[]),
        Errno::INVAL,
    );
    assert_eq!(served.take_done(), []);
    assert_eq!(client.read(0, 0, 4096).expect("all of it").len(), 4096);
}

#[test]
fn what_is_not_there_is_refused_with_all_that_belongs_to_it() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let file = memory(PAGE);
    for command in [0, 6, 11, 12, 14, 15, 16, 17, 18, 999] {
        for len in [0, 40, MAX_PAYLOAD + 1, 500_000] {
            let result = client.request(command, &vec![0x5a; len], &[file.as_fd()]);
            refused(result, Errno::OPNOTSUPP);
        }
    }
    let result = client.request(command::REGION_WRITE, &vec![0; 100_000], &[]);
    refused(result, Errno::TOOBIG);
    // The next message is found.
    client.read(0, 0, 4).expect("it goes on");
    assert_eq!(served.take_done(), [Done::Read(0, 0, 4)]);
}

#[test]
fn memory_is_shared_and_taken_back() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let file = memory(16 * PAGE);
    let fd = Some(file.as_fd());
    client.map(fd, 0, 0x10_0000, 4 * PAGE).expect("free");
    client.map(fd, 8 * PAGE, 0x20_0000, PAGE).expect("free");
    client.map(None, 0, 0, PAGE).expect("it cannot be reached");
    client.unmap(0x20_0000, PAGE).expect("it is there");
    let shared = |address, size, offset, has_file| (address, size, offset, has_file);
    let first = shared(0x10_0000, 4 * PAGE, 0, true);
    let second = shared(0x20_0000, PAGE, 8 * PAGE, true);
    let third = shared(0, PAGE, 0, false);
    let done = [
        Done::Memory(vec![first]),
        Done::Memory(vec![first, second]),
        Done::Memory(vec![third, first, second]),
        Done::Memory(vec![third, first]),
    ];
    assert_eq!(served.take_done(), done);
    assert_eq!(served.distinct_files(), 1, "one descriptor for one file");
    let all = [words(&[24, bits::DMA_UNMAP_ALL]), vec![0; 16]].concat();
    client.request(command::DMA_UNMAP, &all, &[]).expect("all");
    assert_eq!(served.take_done(), [Done::Memory(Vec::new())]);
}

#[test]
fn absurd_and_overlapping_memory_is_refused() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let file = memory(16 * PAGE);
    let fd = Some(file.as_fd());
    client.map(fd, 0, 4 * PAGE, 4 * PAGE).expect("free");
    served.take_done();
    for (address, size) in [
        (4 * PAGE, 4 * PAGE),
        (0, 5 * PAGE),
        (7 * PAGE, PAGE),
        (5 * PAGE, PAGE),
        (0, 64 * PAGE),
    ] {
        refused(client.map(fd, 0, address, size), Errno::EXIST);
    }
    for (offset, address, size) in [
        (0, 64 * PAGE, 0),
        (0, 64 * PAGE, 100),
        (0, 64 * PAGE + 8, PAGE),
        (8, 64 * PAGE, PAGE),
        (0, !(PAGE - 1), 2 * PAGE),
        (!(PAGE - 1), 64 * PAGE, PAGE),
        (i64::MAX as u64 & !(PAGE - 1), 64 * PAGE, PAGE),
    ] {
        refused(client.map(fd, offset, address, size), Errno::INVAL);
    }
    refused(client.unmap(4 * PAGE, PAGE), Errno::NOENT);
    refused(client.unmap(0, PAGE), Errno::NOENT);
    let two = [file.as_fd(), file.as_fd()];
    let payload = [words(&[32, 3]), vec![0; 24]].concat();
    refused(
        client.request(command::DMA_MAP, &payload, &two),
        Errno::INVAL,
    );
    // What the device cannot use is not there afterwards.
    refused(
        client.map(fd, 0, crate::served::UNUSABLE, PAGE),
        Errno::NODEV,
    );
    refused(client.unmap(crate::served::UNUSABLE, PAGE), Errno::NOENT);
    assert_eq!(served.take_done(), []);
}

#[test]
fn mappings_are_bounded() {
    let (_, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let most = stickler_vfio_user::dma::MAX_MAPPINGS as u64;
    for page in 0..most {
        client
            .map(None, 0, page * PAGE, PAGE)
            .expect("there is room");
    }
    refused(client.map(None, 0, most * PAGE, PAGE), Errno::NOSPC);
}

#[test]
fn vectors_are_signalled_where_the_client_wants() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let fds = [(); 3].map(|()| eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd"));
    let count = |at: usize| {
        let mut bytes = [0; 8];
        rustix::io::read(&fds[at], &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    };
    client
        .direct_vectors(0, &[fds[0].as_fd(), fds[1].as_fd()])
        .expect("there are");
    client
        .direct_vectors(2, &[fds[2].as_fd()])
        .expect("there is");
    for vector in [0, 2, 2, 3, 0xffff] {
        served.interrupts.signal(vector);
    }
    assert_eq!([count(0), count(1), count(2)], [1, 0, 2]);
    // None at all: it is signalled nowhere any more.
    client.direct_vectors(0, &[]).expect("nothing to do");
    let trigger = bits::SET_DATA_EVENTFD | bits::SET_TRIGGER;
    client
        .set_irqs(trigger, irq::MSIX, 2, 1, &[])
        .expect("it is there");
    served.interrupts.signal(2);
    served.interrupts.signal(0);
    assert_eq!([count(0), count(2)], [1, 0]);
    // Count 0 without data disables them all.
    client
        .set_irqs(
            bits::SET_DATA_NONE | bits::SET_TRIGGER,
            irq::MSIX,
            0,
            0,
            &[],
        )
        .expect("all");
    served.interrupts.signal(0);
    assert_eq!(count(0), 0);
    for (start, count) in [(3, 1), (0, 4), (u32::MAX, 2), (1, u32::MAX)] {
        refused(
            client.set_irqs(trigger, irq::MSIX, start, count, &[]),
            Errno::INVAL,
        );
    }
    let two = [fds[0].as_fd(), fds[1].as_fd()];
    refused(
        client.set_irqs(trigger, irq::MSIX, 0, 3, &two),
        Errno::INVAL,
    );
    refused(client.set_irqs(trigger, 9, 0, 1, &two[..1]), Errno::INVAL);
    refused(
        client.set_irqs(trigger | bits::SET_MASK, irq::INTX, 0, 1, &[]),
        Errno::INVAL,
    );
}

#[test]
fn the_pin_masks_itself_and_is_sent_again_while_it_is_asserted() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let fd = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
    let count = || {
        let mut bytes = [0; 8];
        rustix::io::read(&fd, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    };
    served.interrupts.set_pin(true);
    // Asserted before anyone wanted to know.
    client.direct_pin(fd.as_fd()).expect("there is one");
    assert_eq!(count(), 1);
    served.interrupts.set_pin(true);
    assert_eq!(count(), 0, "it is masked");
    client.unmask_pin().expect("there is one");
    assert_eq!(count(), 1, "it is still asserted");
    served.interrupts.set_pin(false);
    client.unmask_pin().expect("there is one");
    assert_eq!(count(), 0);
    served.interrupts.set_pin(true);
    assert_eq!(count(), 1);
    let by_byte = [
        words(&[21, bits::SET_DATA_BOOL | bits::SET_UNMASK, 0, 0, 1]),
        vec![0],
    ];
    let no = by_byte.concat();
    client
        .request(command::DEVICE_SET_IRQS, &no, &[])
        .expect("nothing to do");
    assert_eq!(count(), 0);
}

#[test]
fn an_interrupt_never_waits_for_the_client() {
    let (served, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    // A pipe that nobody reads, instead of an eventfd.
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    client
        .direct_vectors(0, &[writer.as_fd()])
        .expect("it is taken");
    for _ in 0..20_000 {
        served.interrupts.signal(0);
    }
}

#[test]
fn replies_are_sent_to_those_who_want_them_only() {
    let (_, mut client) = serve();
    client.agree(0, 1, b"").expect("it is agreed");
    let bad = access(0, 99_999, 4);
    let header = client.header(command::REGION_READ, flag::NO_REPLY, &bad);
    client
        .send(&[&header.to_bytes()[..], &bad].concat(), &[])
        .expect("sent");
    assert_eq!(
        client.read(0, 1, 1).expect("the next reply is this one's"),
        [1]
    );
}
