use super::*;
use crate::testing::{Bench, Buffer};

/// Counts upwards from 1, and fails when `left` bytes have been given.
struct Counter {
    next: u8,
    left: usize,
}

impl Source for Counter {
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(into.len())
            .ok_or_else(|| io::Error::other("no more"))?;
        for byte in into {
            *byte = self.next;
            self.next = self.next.wrapping_add(1);
        }
        Ok(())
    }
}

fn bench(bytes_per_buffer: u32) -> Bench<Entropy<Counter>> {
    let source = Counter {
        next: 1,
        left: 1 << 30,
    };
    let mut bench = Bench::new(Entropy::with_limits(source, 16, bytes_per_buffer));
    bench.start(0, 16);
    bench
}

#[test]
fn buffers_of_any_layout_are_filled() {
    let mut bench = bench(BYTES_PER_BUFFER);
    bench.offer(REQUESTQ, &[Buffer::In(3), Buffer::In(0), Buffer::In(2)]);
    bench.offer_indirect(REQUESTQ, &[Buffer::In(1), Buffer::In(4)]);
    bench.notify(REQUESTQ);
    let returned = bench.collect(REQUESTQ);
    assert_eq!(returned[0].bytes, [1, 2, 3, 4, 5]);
    assert_eq!(returned[1].bytes, [6, 7, 8, 9, 10]);
    assert_eq!(bench.signals.queues, 1);
    assert!(!bench.signals.needs_reset);
    assert_eq!(bench.witness.of("Exposed").len(), 2);
    assert_eq!(bench.witness.of("Returned").len(), 2);
}

#[test]
fn a_large_buffer_is_filled_in_part_and_the_length_says_so() {
    let mut bench = bench(100);
    bench.offer(REQUESTQ, &[Buffer::In(5000)]);
    bench.offer(REQUESTQ, &[Buffer::In(99), Buffer::In(99)]);
    bench.notify(REQUESTQ);
    let lens: Vec<u32> = bench.collect(REQUESTQ).iter().map(|r| r.len).collect();
    assert_eq!(lens, [100, 100]);
}

#[test]
fn a_chain_without_room_comes_back_empty() {
    let mut bench = bench(BYTES_PER_BUFFER);
    bench.offer(REQUESTQ, &[Buffer::Out(b"what is this")]);
    bench.offer(REQUESTQ, &[Buffer::In(0)]);
    bench.offer(REQUESTQ, &[Buffer::Out(b"?"), Buffer::In(1)]);
    bench.notify(REQUESTQ);
    let lens: Vec<u32> = bench.collect(REQUESTQ).iter().map(|r| r.len).collect();
    assert_eq!(lens, [0, 0, 1]);
}

#[test]
fn one_call_does_a_bounded_amount_of_work() {
    let mut bench = bench(BYTES_PER_BUFFER);
    for _ in 0..4 {
        bench.offer(REQUESTQ, &[Buffer::In(BYTES_PER_BUFFER)]);
    }
    let progress = bench.with(|device, io| device.notified(REQUESTQ, io));
    assert_eq!(progress, Progress::More);
    assert_eq!(bench.collect(REQUESTQ).len(), 2);
    bench.notify(REQUESTQ);
    assert_eq!(bench.collect(REQUESTQ).len(), 2);
}

#[test]
fn a_bad_chain_and_a_dry_source_need_a_reset_which_heals() {
    let mut bench = bench(BYTES_PER_BUFFER);
    bench.offer_head(REQUESTQ, 99);
    bench.notify(REQUESTQ);
    assert!(bench.signals.needs_reset);
    bench.reset();
    bench.start(0, 16);
    bench.offer(REQUESTQ, &[Buffer::In(4)]);
    bench.notify(REQUESTQ);
    assert_eq!(bench.collect(REQUESTQ).len(), 1);
    assert!(!bench.signals.needs_reset);

    bench.device.source.left = 3;
    bench.offer(REQUESTQ, &[Buffer::In(4)]);
    bench.notify(REQUESTQ);
    assert_eq!(bench.collect(REQUESTQ), []);
    assert!(bench.signals.needs_reset);
}

#[test]
fn nothing_happens_without_a_queue() {
    let mut bench = bench(BYTES_PER_BUFFER);
    bench.start_with(0, 16, &[]);
    bench.notify(REQUESTQ);
    bench.notify(7);
    assert_eq!(bench.witness.0, Vec::<String>::new());
}
