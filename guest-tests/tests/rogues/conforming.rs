//! A conforming driver has no finding.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::Finding;
use stickler_conformance::Tallies;
use stickler_conformance::device::console::{CONTROL_RECEIVEQ, event};
use stickler_conformance::device::net::{
    ack, announce, class, config, gso, guest_offloads, mac, mq, rx, status as net_status, vlan,
};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::{self, block, console, net};
use stickler_conformance::layout::{Structure, common, status};
use stickler_guest_tests::in_process::block::{SECTOR, kind};
use stickler_guest_tests::in_process::net::{
    arp_request, checksum_header, segmentation_header, set_cwr, summed_segment, tcp_segment,
    udp_checksum_header, udp_datagram,
};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts, Rig};

use crate::devices::{self, Device};

/// Something a conforming driver does.
pub(crate) struct Scenario {
    name: &'static str,
    device: Device,
    act: fn(&mut Driver<'_>, Interrupts),
}

impl Scenario {
    /// Lets the driver do it, with each kind of interrupts. Gives what was counted.
    pub(crate) fn run(&self) -> Tallies {
        let mut rig = Rig::new();
        self.device.add(&mut rig);
        for interrupts in [Interrupts::Msix, Interrupts::Intx] {
            let mut driver = Driver::probe(&rig, devices::SLOT);
            (self.act)(&mut driver, interrupts);
            driver.reset();
            driver.disable_msix();
            assert_eq!(rig.findings(), Vec::<Finding>::new(), "{}", self.name);
        }
        rig.tallies()
    }
}

/// Declares scenarios: a table of them, and a test each.
macro_rules! scenarios {
    ($($test:ident: $device:ident does $act:expr;)+) => {
        pub(crate) static SCENARIOS: &[Scenario] = &[$(
            Scenario { name: stringify!($test), device: Device::$device, act: $act },
        )+];
        $(
            #[test]
            fn $test() {
                let scenario = SCENARIOS.iter().find(|s| s.name == stringify!($test));
                scenario.expect("it is there").run();
            }
        )+
    };
}

const EVERYTHING: u64 = u64::MAX;
const GUEST_OFFLOADS: u64 = net::GUEST_CSUM | net::GUEST_TSO4 | net::GUEST_TSO6 | net::GUEST_ECN;

scenarios! {
    entropy: Entropy does |d, interrupts| {
        for ring in [0, features::RING_EVENT_IDX, features::RING_INDIRECT_DESC] {
            d.initialize(ring, interrupts);
            for _ in 0..100 {
                d.exercise();
            }
        }
    };
    indices_wrap: Entropy does |d, interrupts| {
        for ring in [0, features::RING_EVENT_IDX] {
            d.initialize(ring, interrupts);
            let room = Buffer::writable(d.rig.allocate(1), 1);
            for _ in 0..66_000 {
                d.submit(0, &[room]);
                assert_eq!(d.wait_used(0).len(), 1);
            }
        }
    };
    // §2.4.5.3.2: a table may follow upon buffers in the queue's table.
    chains_and_tables: Block does |d, interrupts| {
        d.initialize(block::FLUSH | features::RING_INDIRECT_DESC, interrupts);
        let data = Buffer::readable(d.rig.allocate(u64::from(SECTOR)), SECTOR);
        let table = d.rig.allocate(64);
        let request = d.block_request(kind::OUT, 3, &[data; 4]);
        d.submit(0, &request);
        d.wait_used(0);
        assert_eq!(d.block_outcome(&request), 0);
        let request = d.block_request(kind::OUT, 3, &[data; 2]);
        let head = d.queue(0).indirect(table, &request);
        d.submit_head(0, head);
        d.wait_used(0);
        assert_eq!(d.block_outcome(&request), 0);
    };
    interrupts_may_be_suppressed: Entropy does |d, interrupts| {
        d.initialize(0, interrupts);
        d.queue(0).set_avail_flags(1);
        d.exercise();
        d.queue(0).set_avail_flags(0);
        d.exercise();
    };
    interrupts_come: Entropy does |d, interrupts| {
        for ring in [0, features::RING_EVENT_IDX] {
            d.initialize(ring, interrupts);
            for _ in 0..3 {
                d.rig.interrupts.take_messages();
                d.exercise();
                match interrupts {
                    Interrupts::Msix => assert_eq!(d.rig.interrupts.take_messages(), [1]),
                    Interrupts::Intx => {
                        assert!(d.rig.interrupts.line(devices::SLOT));
                        assert_eq!(d.read(Structure::Isr, 0, 1), 1);
                        assert!(!d.rig.interrupts.line(devices::SLOT));
                    }
                }
            }
        }
    };
    gives_up: Entropy does |d, _| {
        d.begin();
        d.add_status(status::FAILED);
    };
    is_refused: FussyEntropy does |d, interrupts| {
        d.begin();
        let offered = d.offered();
        d.accept(offered);
        assert!(!d.features_ok());
        d.initialize(features::RING_INDIRECT_DESC, interrupts);
        d.exercise();
    };
    through_the_window: Entropy does |d, interrupts| {
        d.initialize(0, interrupts);
        let common = d.place(Structure::Common);
        d.config_write(d.window + 4, 1, u32::from(common.bar));
        d.config_write(d.window + 8, 4, common.offset + common::DEVICE_STATUS);
        d.config_write(d.window + 12, 4, 1);
        assert_eq!(d.config_read(d.window + 16, 1), u32::from(d.status()));
        // More is not used.
        d.config_write(d.window + 8, 4, common.offset + common::QUEUE_SELECT);
        d.config_write(d.window + 12, 4, 2);
        d.config_write(d.window + 16, 4, 0);
        d.config_write(d.window + 8, 4, common.offset + common::DEVICE_STATUS);
        d.config_write(d.window + 12, 4, 1);
        d.config_write(d.window + 16, 1, 0);
        assert_eq!(d.status(), 0, "a reset, too, can be had through the window");
    };
    block: Block does |d, interrupts| {
        for wanted in [0, block::FLUSH | features::RING_EVENT_IDX, EVERYTHING] {
            d.initialize(wanted, interrupts);
            d.write_and_read_back(7, 0x5a);
            d.write_and_read_back(devices::SECTORS - 1, 0xa5);
        }
    };
    block_configuration: Block does |d, interrupts| {
        d.begin();
        d.offered();
        let capacity = d.consistently(|d| {
            d.read(Structure::Device, 0, 4) | d.read(Structure::Device, 4, 4) << 32
        });
        assert_eq!(capacity, devices::SECTORS);
        d.initialize(block::FLUSH | block::CONFIG_WCE | block::SIZE_MAX, interrupts);
        assert_ne!(d.read(Structure::Device, 8, 4), 0);
        for writeback in [0, 1] {
            d.write(Structure::Device, 32, 1, writeback);
            assert_eq!(d.read(Structure::Device, 32, 1), writeback);
            d.exercise();
        }
    };
    read_only_block: ReadOnlyBlock does |d, interrupts| {
        d.initialize(block::RO, interrupts);
        d.exercise();
    };
    net_received: Net does |d, interrupts| {
        let offloads = GUEST_OFFLOADS | net::CSUM;
        for wanted in [0, net::MRG_RXBUF, offloads, offloads | net::MRG_RXBUF, EVERYTHING] {
            d.initialize(wanted | net::MAC, interrupts);
            d.exercise();
        }
    };
    net_configuration: Net does |d, interrupts| {
        d.initialize(net::MAC | net::STATUS | net::CTRL_VQ | net::MQ, interrupts);
        assert_eq!(d.mac(), [2, 0, 0, 0, 0, devices::SLOT]);
        assert_eq!(d.read(Structure::Device, config::STATUS, 2), 1);
        assert_eq!(d.read(Structure::Device, 8, 2), 2);
    };
    net_checksums: Net does |d, interrupts| {
        d.initialize(net::MAC, interrupts);
        let packet = summed_segment(&d.mac(), 100);
        d.transmit(1, &NetHeader::default(), &packet);
    };
    // It has not been given an address, and has made one up.
    net_without_address: NamelessNet does |d, interrupts| {
        d.initialize(EVERYTHING, interrupts);
        for _ in 0..40 {
            d.transmit(1, &NetHeader::default(), &arp_request(&[0xfe, 1, 2, 3, 4, 5]));
        }
        d.read(Structure::Device, config::STATUS, 2);
        d.exercise();
    };
    net_offloads: Net does |d, interrupts| {
        d.initialize(EVERYTHING, interrupts);
        let mac = d.mac();
        d.transmit(1, &checksum_header(), &tcp_segment(&mac, 100));
        d.transmit(1, &udp_checksum_header(), &udp_datagram(&mac, 100));
        let mut packet = tcp_segment(&mac, 3000);
        d.transmit(1, &segmentation_header(), &packet);
        set_cwr(&mut packet);
        let ecn = NetHeader { gso_type: gso::TCPV4 | gso::ECN, ..segmentation_header() };
        d.transmit(1, &ecn, &packet);
    };
    net_offloads_without_ecn: Net does |d, interrupts| {
        d.initialize(net::MAC | net::CSUM | net::HOST_TSO4, interrupts);
        let packet = tcp_segment(&d.mac(), 3000);
        d.transmit(1, &segmentation_header(), &packet);
    };
    net_pairs: Net does |d, interrupts| {
        d.initialize(net::MAC | net::CTRL_VQ | net::MQ | net::MRG_RXBUF, interrupts);
        let packet = arp_request(&d.mac());
        d.transmit(1, &NetHeader::default(), &packet);
        d.give_receive_buffers(2, 1, 1526);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]), ack::OK);
        for queue in [1, 3, 1] {
            d.transmit(queue, &NetHeader::default(), &packet);
        }
        // What is queued before the command is sent after it.
        let queued = d.packet(&NetHeader::default(), &packet);
        let head = d.queue(3).chain(&[queued]);
        d.queue(3).expose(head);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[1, 0]), ack::OK);
        d.notify(3);
        d.wait_used(3);
        d.transmit(1, &NetHeader::default(), &packet);
    };
    // The device may look at the packets before it looks at the command that they follow.
    net_pairs_at_once: Net does |d, interrupts| {
        d.initialize(net::MAC | net::CTRL_VQ | net::MQ | net::MRG_RXBUF, interrupts);
        for queue in [0, 2] {
            d.give_receive_buffers(queue, 1, 1526);
        }
        let command = d.command_buffers(&[class::MQ, mq::VQ_PAIRS_SET, 2, 0]);
        let control = d.control_queue();
        let head = d.queue(control).chain(&command);
        d.queue(control).expose(head);
        let packet = d.packet(&NetHeader::default(), &arp_request(&d.mac()));
        d.submit(3, &[packet]);
        d.wait_used(3);
        d.notify(control);
        d.wait_used(control);
        for _ in 0..10 {
            d.submit(3, &[packet]);
            d.rig.tick(1);
        }
    };
    // The order of Linux: the command comes first, and the queues are filled when the interface is brought up.
    net_brought_up_late: Net does |d, interrupts| {
        d.initialize(net::MAC | net::STATUS | net::CTRL_VQ | net::MQ | net::MRG_RXBUF, interrupts);
        assert_eq!(d.command(class::MQ, mq::VQ_PAIRS_SET, &[2, 0]), ack::OK);
        for _ in 0..10 {
            d.read(Structure::Device, config::STATUS, 2);
            d.rig.tick(1);
        }
        for queue in [0, 2] {
            d.give_receive_buffers(queue, 1, 1526);
        }
        let packet = arp_request(&d.mac());
        for queue in [1, 3].repeat(10) {
            d.transmit(queue, &NetHeader::default(), &packet);
            d.rig.tick(1);
        }
    };
    net_commands: Net does |d, interrupts| {
        d.initialize(EVERYTHING, interrupts);
        for mode in rx::PROMISC..=rx::NOBCAST {
            assert_eq!(d.command(class::RX, mode, &[1]), ack::OK);
            assert_eq!(d.command(class::RX, mode, &[0]), ack::OK);
        }
        let tables = [&[1, 0, 0, 0, 2, 0, 0, 0, 0, 9][..], &[1, 0, 0, 0, 3, 0, 0, 0, 0, 9]];
        assert_eq!(d.command(class::MAC, mac::TABLE_SET, &tables.concat()), ack::OK);
        assert_eq!(d.command(class::MAC, mac::TABLE_SET, &[0; 8]), ack::OK);
        let mac = [2, 0, 0, 0, 0, 77];
        assert_eq!(d.command(class::MAC, mac::ADDR_SET, &mac), ack::OK);
        assert_eq!(d.mac(), mac);
        assert_eq!(d.command(class::VLAN, vlan::ADD, &[5, 0]), ack::OK);
        assert_eq!(d.command(class::VLAN, vlan::DEL, &[5, 0]), ack::OK);
        assert_eq!(d.command(class::ANNOUNCE, announce::ACK, &[]), ack::OK);
        let offloads = GUEST_OFFLOADS & d.features;
        for mask in [0, net::GUEST_CSUM, offloads] {
            assert_eq!(d.command(class::GUEST_OFFLOADS, guest_offloads::SET, &mask.to_le_bytes()), ack::OK);
        }
        d.exercise();
    };
    console_without_ports: Console does |d, interrupts| {
        d.initialize(console::SIZE | console::EMERG_WRITE, interrupts);
        assert_eq!(d.read(Structure::Device, 0, 2), 80);
        d.exercise();
        let room = d.rig.allocate(64);
        d.submit(0, &[Buffer::writable(room, 64)]);
        d.write(Structure::Device, 8, 4, u64::from(b'!'));
        d.notify(1);
        assert_eq!(d.wait_used(0)[0].1, 1);
        assert_eq!(d.rig.read_bytes(room, 1), b"!");
    };
    console_with_ports: Console does |d, interrupts| {
        d.initialize(EVERYTHING, interrupts);
        assert_eq!(d.read(Structure::Device, 4, 4), 2);
        let ports = d.open_ports();
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), [
            (0, String::new()),
            (1, "echo".to_owned()),
        ]);
        for port in [0, 1, 0] {
            d.print_and_read_back(port, b"hello");
        }
        d.send_message(1, event::PORT_OPEN, 0);
    };
    // On a slow machine it fills its queues for longer than any message may take.
    console_filled_slowly: Console does |d, interrupts| {
        d.initialize(console::MULTIPORT, interrupts);
        for _ in 0..8 {
            for queue in [CONTROL_RECEIVEQ, 0] {
                for _ in 0..8 {
                    let buffer = Buffer::writable(d.rig.allocate(64), 64);
                    d.submit(queue, &[buffer]);
                }
            }
            d.rig.tick(1);
        }
        d.send_message(0, event::DEVICE_READY, 1);
        d.pass(6);
    };
    plain_console: PlainConsole does |d, interrupts| {
        d.initialize(EVERYTHING, interrupts);
        d.exercise();
    };
}

#[test]
fn the_link_goes_and_comes_and_is_announced() {
    const UP: u64 = net_status::LINK_UP as u64;
    const ANNOUNCE: u64 = net_status::ANNOUNCE as u64;
    let mut rig = Rig::new();
    let link = devices::add_net(&mut rig);
    let mut d = Driver::probe(&rig, devices::SLOT);
    d.initialize(EVERYTHING, Interrupts::Msix);
    let status = |d: &Driver<'_>| d.consistently(|d| d.read(Structure::Device, config::STATUS, 2));
    let told = |d: &Driver<'_>| {
        d.rig.run();
        assert_eq!(d.rig.interrupts.take_messages(), [0]);
    };
    rig.interrupts.take_messages();
    link.set_up(false);
    told(&d);
    assert_eq!(status(&d), 0);
    link.set_up(true);
    told(&d);
    assert_eq!(status(&d), UP);
    link.announce();
    told(&d);
    assert_eq!(status(&d), UP | ANNOUNCE);
    assert_eq!(d.command(class::ANNOUNCE, announce::ACK, &[]), ack::OK);
    assert_eq!(status(&d), UP);
    d.exercise();
    d.reset();
    assert_eq!(rig.findings(), Vec::<Finding>::new());
}
