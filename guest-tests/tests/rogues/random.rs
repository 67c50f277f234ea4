//! Drivers that do whatever is allowed have no finding. Citations are of virtio 1.0.
//!
//! PROPTEST_CASES in the environment says how many there are to be.

use proptest::collection::vec;
use proptest::prelude::*;
use stickler_conformance::device::net::{
    ack, announce, class, config, guest_offloads, mac, mq, rx, vlan,
};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::{self, block, console, net};
use stickler_conformance::layout::{Structure, common, status};
use stickler_conformance::{DeviceKind, Finding};
use stickler_guest_tests::in_process::block::{SECTOR, kind};
use stickler_guest_tests::in_process::console::receiveq;
use stickler_guest_tests::in_process::net::{
    HEADER_LEN, arp_request, checksum_header, segmentation_header, set_cwr, summed_segment,
    tcp_segment,
};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts, Rig, legal_subset};

use crate::devices::{self, Device};

/// Unless something else is asked for.
const CASES: u32 = 48;

/// The state from one reset to the next.
#[derive(Clone, Debug)]
struct Life {
    /// Features the driver would have.
    wanted: u64,
    /// Descriptors in its queues.
    size: u16,
    gap: u64,
    msix: bool,
    /// After how many steps of initialization it resets the device again.
    patience: u8,
    /// It looks at the configuration before it has negotiated features.
    curious: bool,
    /// When its patience is at an end, it says so.
    fails: bool,
    work: Vec<Work>,
}

/// Something the driver has the device do.
#[derive(Clone, Debug)]
struct Work {
    /// Which of the things that can be done.
    what: u8,
    /// Descriptors, where they can be chosen.
    segments: u8,
    /// A number that the work depends on: lengths, sectors, commands.
    number: u16,
    /// In an indirect table.
    indirect: bool,
    /// Without VIRTIO_F_RING_EVENT_IDX: interrupts are not wanted.
    suppress: bool,
    /// The driver waits until it is done.
    wait: bool,
    /// It is notified together with what comes next.
    hold: bool,
}

/// What has become of a network card in this life.
struct Card {
    /// Pairs of queues in use.
    pairs: u16,
    /// The address it was given, if that is not the one in mac.
    address: Option<Vec<u8>>,
}

fn work() -> impl Strategy<Value = Work> {
    (any::<u8>(), 1..6_u8, any::<u16>(), any::<[bool; 4]>()).prop_map(
        |(what, segments, number, [indirect, suppress, wait, hold])| Work {
            what,
            segments,
            number,
            indirect,
            suppress,
            wait,
            hold,
        },
    )
}

fn life() -> impl Strategy<Value = Life> {
    (
        any::<u64>(),
        2..9_u32,
        0..5000_u64,
        any::<[bool; 3]>(),
        // Most are patient enough.
        0..16_u8,
        vec(work(), 0..24),
    )
        .prop_map(
            |(wanted, size, gap, [msix, curious, fails], patience, work)| Life {
                wanted,
                size: 1 << size,
                gap,
                msix,
                patience,
                curious,
                fails,
                work,
            },
        )
}

fn device() -> impl Strategy<Value = Device> {
    prop::sample::select(vec![
        Device::Net,
        Device::NamelessNet,
        Device::Block,
        Device::ReadOnlyBlock,
        Device::Console,
        Device::PlainConsole,
        Device::Entropy,
    ])
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_allowed_is_not_flagged(device in device(), lives in vec(life(), 1..5)) {
        let mut rig = Rig::new();
        device.add(&mut rig);
        for life in &lives {
            let mut driver = Driver::probe(&rig, devices::SLOT);
            life.begin(&mut driver);
            driver.reset();
            driver.disable_msix();
            rig.reclaim();
            prop_assert_eq!(rig.findings(), Vec::<Finding>::new());
        }
        let mut driver = Driver::probe(&rig, devices::SLOT);
        driver.initialize(device.plain_features(), Interrupts::Msix);
        driver.exercise();
        prop_assert_eq!(rig.findings(), Vec::<Finding>::new());
    }
}

impl Life {
    /// Initializes the device (§3.1.1), as far as patience goes, and works with it.
    fn begin(&self, d: &mut Driver<'_>) {
        d.gap = self.gap;
        let steps: [fn(&Life, &mut Driver<'_>); 6] = [
            |_, d| d.reset(),
            |life, d| life.look_around(d),
            |life, d| d.negotiate(legal_subset(d.kind, life.wanted)),
            |life, d| d.set_up_interrupts(life.interrupts()),
            |life, d| d.set_up_queues(life.size),
            |_, d| d.go(),
        ];
        for (taken, step) in (0..).zip(steps) {
            if taken == self.patience {
                // Initialization begins with a reset, even one that fails.
                if self.fails && taken > 0 {
                    d.add_status(status::FAILED);
                }
                return;
            }
            step(self, d);
        }
        match d.kind {
            DeviceKind::Console => drop(d.open_ports()),
            DeviceKind::Net => self.bring_up(d),
            DeviceKind::Block | DeviceKind::Entropy => {}
        }
        let mut card = Card {
            pairs: 1,
            address: None,
        };
        for work in &self.work {
            work.perform(d, &mut card);
            if work.number % 4 == 3 {
                self.pass(d, u32::from(work.number / 4 % 12));
            }
        }
    }

    /// Fills the receive queues, and looks at the link.
    fn bring_up(&self, d: &mut Driver<'_>) {
        let pairs = if d.features & net::MQ != 0 { 2 } else { 1 };
        let size = d.receive_size();
        for pair in 0..pairs {
            d.give_receive_buffers(2 * pair, 1, size);
        }
        if d.features & net::STATUS != 0 {
            d.consistently(|d| d.read(Structure::Device, config::STATUS, 2));
        }
    }

    /// So many seconds pass. Whatever waits has been notified by then; the driver is quiet or is not.
    fn pass(&self, d: &mut Driver<'_>, seconds: u32) {
        for queue in d.usable_queues() {
            nudge(d, queue);
        }
        d.rig.run();
        if self.curious {
            d.pass(seconds);
        } else {
            d.rig.tick(seconds);
        }
    }

    /// Up to DRIVER, and a look at what may be looked at by then.
    fn look_around(&self, d: &mut Driver<'_>) {
        d.begin();
        if self.curious {
            d.offered();
            match d.kind {
                DeviceKind::Net => drop(d.mac()),
                DeviceKind::Block => read_capacity(d),
                DeviceKind::Console => drop(d.read(Structure::Device, 0, 2)),
                DeviceKind::Entropy => {}
            }
        }
    }

    fn interrupts(&self) -> Interrupts {
        if self.msix {
            Interrupts::Msix
        } else {
            Interrupts::Intx
        }
    }
}

fn read_capacity(d: &Driver<'_>) {
    d.consistently(|d| {
        d.read(Structure::Device, 0, 4);
        d.read(Structure::Device, 4, 4);
    });
}

/// Reads device status through the PCI configuration access capability (§4.1.4.7).
fn read_status_through_window(d: &Driver<'_>) {
    let common = d.place(Structure::Common);
    let offset = common.offset + common::DEVICE_STATUS;
    for (field, width, value) in [(4, 1, u32::from(common.bar)), (8, 4, offset), (12, 4, 1)] {
        d.config_write(d.window + field, width, value);
    }
    assert_eq!(d.config_read(d.window + 16, 1), u32::from(d.status()));
}

impl Work {
    /// Does it. If it is a network card, it is like `card`.
    fn perform(&self, d: &mut Driver<'_>, card: &mut Card) {
        let number = u64::from(self.number);
        match (d.kind, self.what % 4) {
            (_, 0) => self.read_configuration(d),
            (DeviceKind::Entropy, _) => {
                self.submit(d, 0, &self.pieces(d, true, number + 1));
            }
            (DeviceKind::Block, what) => self.request(d, what, number),
            (DeviceKind::Console, _) => self.print(d),
            (DeviceKind::Net, 1) => self.command(d, card),
            (DeviceKind::Net, _) => self.send(d, card),
        }
    }

    /// Splits `len` bytes into as many buffers as there are to be; none is empty.
    fn pieces(&self, d: &Driver<'_>, writable: bool, len: u64) -> Vec<Buffer> {
        let whole = Buffer {
            addr: d.rig.allocate(len),
            len: len as u32,
            writable,
        };
        whole.cut(self.segments.into())
    }

    /// Makes a chain available as soon as there is room for it. A chain that has more descriptors
    /// than the queue is not made. Gives whether it has been waited for.
    fn submit(&self, d: &mut Driver<'_>, queue: u16, buffers: &[Buffer]) -> bool {
        if buffers.len() > usize::from(d.queue(queue).layout.size) {
            return false;
        }
        let indirect = self.indirect && d.features & features::RING_INDIRECT_DESC != 0;
        let needed = if indirect { 1 } else { buffers.len() };
        let _ = d.queue(queue).take_used();
        while d.queue(queue).free.len() < needed {
            nudge(d, queue);
            d.wait_used(queue);
        }
        if d.features & features::RING_EVENT_IDX == 0 {
            d.queue(queue).set_avail_flags(u16::from(self.suppress));
        }
        let head = if indirect {
            let table = d.rig.allocate(16 * buffers.len() as u64);
            d.queue(queue).indirect(table, buffers)
        } else {
            d.queue(queue).chain(buffers)
        };
        if self.hold {
            d.queue(queue).expose(head);
        } else {
            d.submit_head(queue, head);
        }
        // Input may never come.
        let is_input = matches!(d.kind, DeviceKind::Net | DeviceKind::Console)
            && buffers.iter().all(|b| b.writable);
        if !self.wait || is_input {
            return false;
        }
        nudge(d, queue);
        while d.wait_used(queue).iter().all(|(used, _)| *used != head) {}
        true
    }

    fn read_configuration(&self, d: &mut Driver<'_>) {
        if self.suppress {
            return read_status_through_window(d);
        }
        if self.hold && d.interrupts == Interrupts::Intx {
            d.read(Structure::Isr, 0, 1);
        }
        let has = |bit| d.features & bit != 0;
        match d.kind {
            DeviceKind::Net if has(net::STATUS) => {
                d.consistently(|d| d.read(Structure::Device, config::STATUS, 2));
            }
            DeviceKind::Net => drop(d.mac()),
            DeviceKind::Block if has(block::CONFIG_WCE) => {
                let writeback = u64::from(self.number % 2);
                d.write(Structure::Device, 32, 1, writeback);
                assert_eq!(d.read(Structure::Device, 32, 1), writeback);
            }
            DeviceKind::Block => read_capacity(d),
            DeviceKind::Console if has(console::EMERG_WRITE) => {
                d.write(Structure::Device, 8, 4, u64::from(b'e'));
            }
            DeviceKind::Console => drop(d.read(Structure::Device, 0, 2)),
            DeviceKind::Entropy => {}
        }
    }

    fn request(&self, d: &mut Driver<'_>, what: u8, number: u64) {
        let read_only = d.features & block::RO != 0;
        let (kind, len) = match what {
            1 if d.features & block::FLUSH != 0 => (kind::FLUSH, 0),
            2 if !read_only => (kind::OUT, number % 64 + 1),
            _ => (kind::IN, number % 64 + 1),
        };
        let sector = if len == 0 {
            0
        } else {
            number % (devices::SECTORS - len)
        };
        let mut data = Vec::new();
        if len > 0 {
            data = self.pieces(d, kind == kind::IN, len * u64::from(SECTOR));
        }
        let request = d.block_request(kind, sector, &data);
        if self.submit(d, 0, &request) {
            assert_eq!(d.block_outcome(&request), 0);
        }
    }

    fn print(&self, d: &mut Driver<'_>) {
        let ports = if d.features & console::MULTIPORT != 0 && d.num_queues() > 4 {
            2
        } else {
            1
        };
        let receiveq = receiveq(u32::from(self.number) % ports);
        let len = u64::from(self.number % 2000) + 1;
        if self.what % 4 == 1 {
            // Room must be left for the next input: a driver that has none cannot wait for it.
            let queue = d.queue(receiveq);
            let _ = queue.take_used();
            if queue.free.len() > usize::from(self.segments) {
                self.submit(d, receiveq, &self.pieces(d, true, len));
            }
        } else {
            self.submit(d, receiveq + 1, &self.pieces(d, false, len));
        }
    }

    fn command(&self, d: &mut Driver<'_>, card: &mut Card) {
        if d.features & net::CTRL_VQ == 0 {
            return;
        }
        let on = (self.number % 2) as u8;
        let mask = d.features & net::GUEST_CSUM;
        // One address or none in each of two tables.
        let first = &[1, 0, 0, 0, 2, 0, 0, 0, 0, 9][..if on == 1 { 10 } else { 0 }];
        let second = &[1, 0, 0, 0, 3, 0, 0, 0, 0, 9][..if self.hold { 10 } else { 0 }];
        let tables = [first, second].map(|t| if t.is_empty() { vec![0; 4] } else { t.to_vec() });
        let tables = tables.concat();
        let commands: [(u64, u8, u8, &[u8]); 9] = [
            (net::CTRL_RX, class::RX, rx::PROMISC + on, &[on]),
            (net::CTRL_RX, class::MAC, mac::TABLE_SET, &tables),
            (net::CTRL_RX_EXTRA, class::RX, rx::ALLUNI + on, &[on]),
            (net::CTRL_VLAN, class::VLAN, vlan::ADD + on, &[7, 0]),
            (net::GUEST_ANNOUNCE, class::ANNOUNCE, announce::ACK, &[]),
            (
                net::CTRL_MAC_ADDR,
                class::MAC,
                mac::ADDR_SET,
                &[2, 0, 0, 0, 0, 9],
            ),
            (
                net::CTRL_RX,
                class::MAC,
                mac::ADDR_SET,
                &[2, 0, 0, 0, 0, 8 + on],
            ),
            (
                net::CTRL_GUEST_OFFLOADS,
                class::GUEST_OFFLOADS,
                guest_offloads::SET,
                &mask.to_le_bytes(),
            ),
            (net::MQ, class::MQ, mq::VQ_PAIRS_SET, &[1 + on, 0]),
        ];
        let (needs, class, command, data) = commands[usize::from(self.number / 2 % 9)];
        if d.features & needs == 0 {
            return;
        }
        if needs == net::MQ && on == 1 {
            self.populate(d, 0);
            self.populate(d, 2);
        }
        assert_eq!(d.command(class, command, data), ack::OK);
        if needs == net::MQ {
            card.pairs = u16::from(data[0]);
        }
        if (class, command) == (class::MAC, mac::ADDR_SET) {
            card.address = Some(data.to_vec());
        }
    }

    /// Gives a receive queue another buffer, if there is room.
    fn populate(&self, d: &mut Driver<'_>, queue: u16) {
        let size = d.receive_size();
        let virtqueue = d.queue(queue);
        let _ = virtqueue.take_used();
        if virtqueue.free.len() > usize::from(self.segments) {
            self.submit(d, queue, &self.pieces(d, true, u64::from(size)));
        }
    }

    fn send(&self, d: &mut Driver<'_>, card: &Card) {
        self.populate(d, 0);
        let mac = card.address.clone().unwrap_or_else(|| d.mac());
        let (header, packet) = match self.number % 3 {
            1 if d.features & net::CSUM != 0 => (
                checksum_header(),
                tcp_segment(&mac, usize::from(self.number % 1000)),
            ),
            2 if d.features & net::HOST_TSO4 != 0 => {
                let (mut header, mut packet) = (segmentation_header(), tcp_segment(&mac, 4000));
                if self.suppress && d.features & net::HOST_ECN != 0 {
                    set_cwr(&mut packet);
                    header.gso_type |= 0x80;
                }
                (header, packet)
            }
            1 => {
                let payload = usize::from(self.number % 1000);
                (NetHeader::default(), summed_segment(&mac, payload))
            }
            _ => (NetHeader::default(), arp_request(&mac)),
        };
        let whole = d.packet(&header, &packet);
        assert!(whole.len > HEADER_LEN);
        let pair = self.number / 3 % card.pairs;
        // Now and then more than it takes to tell whose address it is.
        let times = if self.number.is_multiple_of(32) {
            40
        } else {
            1
        };
        for _ in 0..times {
            self.submit(d, 2 * pair + 1, &whole.cut(self.segments.into()));
        }
    }
}

/// Notifies the device of what has been held back.
fn nudge(d: &mut Driver<'_>, queue: u16) {
    if d.queue(queue).notification_wanted() {
        d.notify(queue);
    }
}
