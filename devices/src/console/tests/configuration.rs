//! Configuration and emergency writes (§5.3.4 of virtio 1.0).

use super::*;

#[test]
fn the_configuration_is_laid_out_as_specified() {
    let first = Host::new();
    first.lock().size = Some(Size {
        cols: 0x0102,
        rows: 0x0304,
    });
    let bench = console(&first, vec![Host::new().port(None), Host::new().port(None)]);
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.config(), [2, 1, 4, 3, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        device.features(),
        feature::SIZE | feature::MULTIPORT | feature::EMERG_WRITE
    );
    assert_eq!(device.queue_sizes(), [128, 128, 64, 64, 128, 128, 128, 128]);
    assert_eq!(device.host_fds().len(), 3);
    assert_eq!(role(4), ConsoleQueue::Port(1));
    assert_eq!(role(7), ConsoleQueue::Port(2));
    assert_eq!((receiveq(0), receiveq(1), receiveq(2)), (0, 4, 6));
}

#[test]
fn a_console_of_one_port_has_two_queues() {
    let (bench, _) = single();
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.features(), feature::SIZE | feature::EMERG_WRITE);
    assert_eq!(device.queue_sizes(), [128, 128]);
}

#[test]
fn ports_have_limits() {
    let ports = |count: usize| (0..count).map(|_| Host::new().port(None)).collect();
    let make = |count| Console::new(Host::new().port(None), ports(count)).map(|_| ());
    assert_eq!(make(MAX_PORTS - 1), Ok(()));
    assert_eq!(make(MAX_PORTS), Err(BadPorts::TooMany));
    for name in [String::new(), "x".repeat(MAX_NAME + 1)] {
        let made = Console::new(Host::new().port(Some(&name)), vec![]).map(|_| ());
        assert_eq!(made, Err(BadPorts::Name));
    }
}

#[test]
fn emergency_writes_work_on_an_unconfigured_device() {
    let host = Host::new();
    let mut bench = console(&host, vec![]);
    let mut write =
        |offset, data: &[u8]| bench.with(|device, io| device.write_config(offset, data, io));
    write(EMERG_WR, &[b'a', 1, 2, 3]);
    write(EMERG_WR, b"b");
    write(4, b"1234cdef");
    // What does not reach the lower byte outputs nothing, and no other field can be written.
    write(EMERG_WR + 1, b"xyz");
    write(0, b"12345678");
    write(COLS as u32, &[9, 9]);
    assert_eq!(host.printed(), "abc");
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.config()[..4], [80, 0, 24, 0]);
    assert_eq!(device.config()[8..], [0; 4]);
}

#[test]
fn emergency_writes_are_bounded_too() {
    let (mut bench, host) = single();
    host.lock().room = 0;
    for _ in 0..100_000 {
        bench.with(|device, io| device.write_config(EMERG_WR, b"x", io));
    }
    host.lock().room = usize::MAX;
    bench.host_ready(0);
    assert_eq!(host.printed().len(), port::OUTPUT_BUFFER + 4096);
}

#[test]
fn a_new_size_is_a_configuration_change() {
    let (mut bench, host) = single();
    let size = Size {
        cols: 132,
        rows: 50,
    };
    host.change(Change::Resized(size));
    bench.host_ready(0);
    assert!(bench.signals.config_changed);
    let device: &dyn VirtioDevice<crate::testing::VecWitness> = &bench.device;
    assert_eq!(device.config()[..4], [132, 0, 50, 0]);
    bench.signals = Signals::default();
    host.change(Change::Resized(size));
    bench.host_ready(0);
    assert!(!bench.signals.config_changed, "it is the same");
}
