//! Input and output (§5.3.6 of virtio 1.0).

use super::*;

#[test]
fn output_of_any_layout_reaches_the_host() {
    let (mut bench, host) = single();
    bench.offer(
        1,
        &[Buffer::Out(b"he"), Buffer::Out(b""), Buffer::Out(b"llo")],
    );
    bench.offer_indirect(
        1,
        &[Buffer::Out(b", "), Buffer::In(3), Buffer::Out(b"world")],
    );
    bench.notify(1);
    assert_eq!(host.printed(), "hello, world");
    let lens: Vec<u32> = bench.collect(1).iter().map(|r| r.len).collect();
    assert_eq!(lens, [0, 0]);
    assert_eq!(bench.signals.queues, 1 << 1);
}

#[test]
fn input_waits_for_buffers_and_fills_them_in_order() {
    let (mut bench, host) = single();
    host.types("hello");
    bench.host_ready(0);
    assert_eq!(host.lock().reads, 0, "no buffer, nothing is read");
    bench.offer(0, &[Buffer::Out(b"not for input")]);
    bench.offer(0, &[Buffer::In(1), Buffer::In(2)]);
    bench.offer(0, &[Buffer::In(100)]);
    bench.offer(0, &[Buffer::In(100)]);
    bench.notify(0);
    let got: Vec<_> = bench.collect(0).into_iter().map(|r| r.bytes).collect();
    assert_eq!(got, [&b""[..], b"hel", b"lo"]);
    host.types("again");
    bench.host_ready(0);
    assert_eq!(bench.collect(0)[0].bytes, b"again");
}

/// The descriptor that is waited for tells of it once, and has done so.
#[test]
fn what_comes_after_the_last_look_is_not_left_waiting() {
    let (mut bench, host) = single();
    bench.offer(0, &[Buffer::In(100)]);
    host.lock().coming = b"late".to_vec();
    bench.notify(0);
    assert_eq!(bench.collect(0)[0].bytes, b"late");
    host.lock().room = 2;
    bench.offer(1, &[Buffer::Out(b"output")]);
    host.lock().room_coming = 100;
    bench.notify(1);
    assert_eq!(host.printed(), "output");
    // With nowhere to put it, it is no reason to go on and on.
    host.lock().coming = b"more".to_vec();
    bench.notify(0);
    bench.offer(0, &[Buffer::In(100)]);
    bench.notify(0);
    assert_eq!(bench.collect(0)[0].bytes, b"more");
}

#[test]
fn a_slow_host_holds_buffers_back_and_loses_nothing() {
    let (mut bench, host) = single();
    host.lock().room = 10;
    let text: Vec<u8> = (0..40_000_u32).map(|i| b'a' + (i % 26) as u8).collect();
    for _ in 0..3 {
        bench.offer(1, &[Buffer::Out(&text)]);
    }
    bench.notify(1);
    // One chain and a part of the second have been taken.
    assert_eq!(returned(&mut bench, 1), 1);
    bench.notify(1);
    assert_eq!(returned(&mut bench, 1), 0);
    while host.lock().output.len() < 120_000 {
        host.lock().room = 7001;
        bench.host_ready(0);
    }
    assert_eq!(returned(&mut bench, 1), 2);
    assert!(host.printed().as_bytes() == text.repeat(3));
}

#[test]
fn a_reset_lets_go_of_buffers_and_keeps_output_that_was_taken() {
    let (mut bench, host) = single();
    host.lock().room = 0;
    bench.offer(1, &[Buffer::Out(b"taken")]);
    bench.notify(1);
    assert_eq!(returned(&mut bench, 1), 1);
    bench.offer(1, &[Buffer::Out(&[b'x'; 2 * port::OUTPUT_BUFFER])]);
    bench.offer(0, &[Buffer::In(10)]);
    bench.notify(1);
    bench.notify(0);
    bench.reset();
    let reads = host.lock().reads;
    host.lock().room = usize::MAX;
    host.types("input");
    bench.host_ready(0);
    assert!(host.printed().starts_with("taken"));
    assert_eq!(host.lock().reads, reads, "there is no buffer any more");
    bench.start(0, 16);
    bench.offer(0, &[Buffer::In(10)]);
    bench.notify(0);
    assert_eq!(bench.collect(0)[0].bytes, b"input");
}

#[test]
fn output_that_still_waits_in_the_end_is_handed_over() {
    let (mut bench, host) = single();
    host.lock().room = 3;
    bench.offer(1, &[Buffer::Out(b"goodbye")]);
    bench.notify(1);
    host.lock().room = 1;
    drop(bench);
    assert_eq!(host.printed(), "good");
    assert_eq!(host.lock().last, b"bye");
}

#[test]
fn the_tap_sees_what_is_printed_once_and_in_order() {
    let host = Host::new();
    let mut bench = console(&host, vec![]);
    let seen = Arc::new(Mutex::new(Vec::<u8>::new()));
    let tap = seen.clone();
    bench
        .device
        .tap(Box::new(move |b| tap.lock().expect("whole").extend(b)));
    host.lock().room = 3;
    bench.start(0, 16);
    bench.offer(1, &[Buffer::Out(b"@mark one\n")]);
    bench.notify(1);
    host.lock().room = 100;
    bench.host_ready(0);
    bench.with(|device, io| device.write_config(EMERG_WR, &[b'!', 0, 0, 0], io));
    assert_eq!(*seen.lock().expect("whole"), b"@mark one\n!");
    assert_eq!(host.printed(), "@mark one\n!");
}

#[test]
fn a_call_is_bounded() {
    let (mut bench, host) = single();
    let text = vec![b'x'; 100_000];
    bench.offer(1, &[Buffer::Out(&text)]);
    bench.offer(1, &[Buffer::Out(&text)]);
    bench.send_notification(1);
    let progress = bench.with(|device, io| device.notified(1, io));
    assert_eq!(progress, Progress::More);
    assert!(host.lock().output.len() < 100_000);
    bench.notify(1);
    assert_eq!(host.printed().len(), 200_000);
    assert_eq!(returned(&mut bench, 1), 2);
}

#[test]
fn a_bad_chain_needs_a_reset() {
    for queue in 0..6 {
        let (mut bench, first, second) = double();
        tell(&mut bench, 0, event::DEVICE_READY, 1);
        tell(&mut bench, 0, event::PORT_OPEN, 1);
        tell(&mut bench, 1, event::PORT_OPEN, 1);
        first.types("x");
        second.types("x");
        bench.offer_head(queue, 99);
        bench.notify(queue);
        if queue == CONTROL_RECEIVEQ {
            // Looked at when there is something to tell and all good buffers are used up.
            for id in [0, 1] {
                tell(&mut bench, id, event::PORT_READY, 1);
            }
            for _ in 0..5 {
                first.change(Change::Closed);
                bench.host_ready(0);
                first.change(Change::Opened);
                bench.host_ready(0);
            }
        }
        assert!(bench.signals.needs_reset, "queue {queue}");
    }
}
