//! Commands on the control virtqueue, and which packets they let through (§5.1.6.5 of virtio 1.0).

use stickler_conformance::Latitude;
use stickler_conformance::device::net::{
    ack, announce, class, config, guest_offloads, mac, mq, rx, status,
};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::layout::Structure;

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam};
use crate::host::MAC;
use crate::net::{self, Command};

pub(crate) const ROWS: &[Row] = &[
    ("5.1.6.5", Seen::By("commands that can be carried out are")),
    (
        "5.1.6.5.1.1-1",
        Seen::By("promiscuous and all-multicast mode are turned on and off"),
    ),
    (
        "5.1.6.5.1.1-2",
        Seen::By("packets for everybody come in promiscuous mode"),
    ),
    (
        "5.1.6.5.1.1-3",
        Seen::By("packets for everybody come in promiscuous and other modes"),
    ),
    (
        "5.1.6.5.1.1-4",
        Seen::By("multicasts come in all-multicast mode"),
    ),
    (
        "5.1.6.5.1.1-5",
        Seen::By("the four other modes are turned on and off"),
    ),
    (
        "5.1.6.5.1.1-6",
        Seen::By("unicasts come in all-unicast mode"),
    ),
    (
        "5.1.6.5.1.1-7",
        Seen::By("multicasts do not come in no-multicast mode"),
    ),
    (
        "5.1.6.5.1.1-8",
        Seen::By("multicasts do not come in no-multicast and all-multicast mode"),
    ),
    (
        "5.1.6.5.1.1-9",
        Seen::By("broadcasts come in no-multicast mode"),
    ),
    (
        "5.1.6.5.1.1-10",
        Seen::By("unicasts do not come in no-unicast mode"),
    ),
    (
        "5.1.6.5.1.1-11",
        Seen::By("unicasts do not come in no-unicast and all-unicast mode"),
    ),
    (
        "5.1.6.5.1.1-12",
        Seen::By("broadcasts do not come in no-broadcast mode"),
    ),
    (
        "5.1.6.5.1.1-13",
        Seen::By("broadcasts do not come in no-broadcast and all-multicast mode"),
    ),
    (
        "5.1.6.5.2.1-1",
        Seen::By("before a table is set, addresses of tables before a reset do not pass"),
    ),
    (
        "5.1.6.5.2.1-2",
        Seen::By("once a table is set, its addresses pass"),
    ),
    (
        "5.1.6.5.2.1-3",
        Seen::By("mac is read when the command that sets it comes back"),
    ),
    ("5.1.6.5.2.1-4", Seen::By("unicasts for others do not come")),
    (
        "5.1.6.5.4.2-1",
        Seen::By("status is read when the acknowledgement comes back"),
    ),
];

const PROMISC: usize = rx::PROMISC as usize;
const ALLMULTI: usize = rx::ALLMULTI as usize;
const ALLUNI: usize = rx::ALLUNI as usize;
const NOMULTI: usize = rx::NOMULTI as usize;
const NOUNI: usize = rx::NOUNI as usize;
const NOBCAST: usize = rx::NOBCAST as usize;

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x44];
const IN_TABLE: [u8; 6] = [2, 0, 0, 0, 0, 0x55];
const GROUP: [u8; 6] = [3, 0, 0, 0, 0, 0x44];
const GROUP_IN_TABLE: [u8; 6] = [3, 0, 0, 0, 0, 0x55];
const BROADCAST: [u8; 6] = [0xff; 6];

/// What the driver has told the card.
#[derive(Clone, Debug)]
pub(crate) struct FilterState {
    /// By command.
    modes: [bool; 6],
    /// The table has the addresses for it.
    table: bool,
    pub(crate) mac: [u8; 6],
    /// How often it has been examined.
    examined: u32,
}

impl Default for FilterState {
    fn default() -> Self {
        FilterState {
            modes: [false; 6],
            table: false,
            mac: MAC,
            examined: 0,
        }
    }
}

/// Some command that the device has to carry out.
pub(crate) fn command(exam: &mut Exam<'_>, act: &Act) {
    let offloads = exam.d.features & feature::GUEST_CSUM;
    let mac = [2, 0, 0, 0, 0, act.number as u8 & 0x3f];
    let pairs = (1 + act.number % 2).to_le_bytes();
    let commands: [(u64, u8, u8, &[u8]); 5] = [
        (feature::CTRL_MAC_ADDR, class::MAC, mac::ADDR_SET, &mac),
        (feature::GUEST_ANNOUNCE, class::ANNOUNCE, announce::ACK, &[]),
        (feature::MQ, class::MQ, mq::VQ_PAIRS_SET, &pairs),
        (
            feature::CTRL_GUEST_OFFLOADS,
            class::GUEST_OFFLOADS,
            guest_offloads::SET,
            &offloads.to_le_bytes(),
        ),
        (
            feature::CTRL_VLAN,
            class::VLAN,
            act.number as u8 & 1,
            &[7, 0],
        ),
    ];
    let (needs, class, command, data) = commands[usize::from(act.number / 2 % 5)];
    if exam.has(needs) && exam.has(feature::CTRL_VQ) {
        net::say(exam, class, command, data, act);
        // What comes next depends on it.
        exam.settle();
        if needs == feature::MQ && !exam.broken && net::give_for_one(exam) {
            let mac = exam.net.filter.mac;
            net::put(exam, &NetHeader::default(), 4, mac);
            exam.d.rig.run();
            exam.harvest();
        }
    }
}

/// The device has acknowledged a command, or refused it.
pub(crate) fn judge(exam: &mut Exam<'_>, command: &Command, ack: u8) -> bool {
    let court = exam.court.clone();
    let ok = ack == ack::OK;
    let (class, code, data) = (command.class, command.command, &command.data);
    let told = || format!("class {class}, command {code}, data {data:?}: {ack:#x}");
    match class {
        class::RX => {
            let row = if code <= rx::ALLMULTI {
                "5.1.6.5.1.1-1"
            } else {
                "5.1.6.5.1.1-5"
            };
            court.rule(row, ok, told);
        }
        _ => court.rule("5.1.6.5", ok, told),
    }
    if !ok {
        return false;
    }
    let state = &mut exam.net.filter;
    match (class, code) {
        (class::RX, code) => state.modes[usize::from(code)] = data[0] != 0,
        (class::MAC, mac::TABLE_SET) => state.table = data.len() > 8,
        (class::MAC, _) => {
            state.mac.copy_from_slice(data);
            let shown = exam.d.mac();
            court.rule("5.1.6.5.2.1-3", shown == *data, || {
                format!("mac was set to {data:x?} and is {shown:x?}")
            });
        }
        (class::ANNOUNCE, _) if exam.has(feature::STATUS) => {
            let status = exam.d.read(Structure::Device, config::STATUS, 2);
            court.rule(
                "5.1.6.5.4.2-1",
                status & u64::from(status::ANNOUNCE) == 0,
                || format!("status is {status:#x} after the announcement was acknowledged"),
            );
        }
        (class::MQ, _) => {
            exam.net.pairs = u16::from(data[0]);
            exam.net.pairs_set = true;
        }
        _ => {}
    }
    true
}

/// Sets modes and table, and looks which packets come.
pub(crate) fn examine(exam: &mut Exam<'_>, act: &Act) {
    let up = exam.host.link.as_ref().is_some_and(|link| link.is_up());
    // Where a packet takes more buffers than it needs, waits behind a large one, is lost with the link,
    // or cannot be recognized, one that does not come tells nothing.
    let uncertain = [
        Latitude::SPLIT_PACKETS,
        Latitude::LARGE_PACKETS,
        Latitude::DRY_RECEIVE_QUEUES,
        Latitude::LINK_FLAPS,
        Latitude::DAMAGED_PACKETS,
    ];
    // Without VIRTIO_NET_F_MAC there is no mac to go by: the device cannot know whose address is whose.
    let can = exam.has(feature::CTRL_RX)
        && exam.has(feature::MAC)
        && up
        && exam.net.filter.examined < 4
        && !uncertain
            .into_iter()
            .any(|latitude| exam.court.has(latitude));
    if !can || exam.broken {
        return;
    }
    exam.net.filter.examined += 1;
    let quiet = Act::quiet();
    for mode in 0..6_u8 {
        if mode < 2 || exam.has(feature::CTRL_RX_EXTRA) {
            // Promiscuous mode would hide all others, most of the time.
            let on = act.number >> mode & 1 != 0 && (mode > 0 || act.odd);
            net::say(exam, class::RX, mode, &[on.into()], &quiet);
        }
    }
    if act.number & 0x40 != 0 {
        let table = |address: [u8; 6]| [&[1, 0, 0, 0][..], &address].concat();
        let tables = [table(IN_TABLE), table(GROUP_IN_TABLE)].concat();
        net::say(exam, class::MAC, mac::TABLE_SET, &tables, &quiet);
    }
    exam.settle();
    // A packet that has been waiting goes first.
    if !net::give_for_one(exam) {
        return;
    }
    let before = exam.net.came.len();
    // One packet at a time, each with room enough for it.
    let destinations = [
        exam.net.filter.mac,
        OTHER,
        IN_TABLE,
        GROUP,
        GROUP_IN_TABLE,
        BROADCAST,
    ];
    let mut numbers = Vec::new();
    for to in destinations {
        if !net::give_for_one(exam) {
            return;
        }
        numbers.push(net::put(exam, &NetHeader::default(), 4, to));
        exam.d.rig.run();
        exam.harvest();
    }
    exam.settle();
    // If all room was taken by packets that came before, the last one may still wait.
    if exam.broken || !net::has_room(exam) {
        return;
    }
    let came: Vec<bool> = (numbers.iter())
        .map(|number| exam.net.came[before..].contains(number))
        .collect();
    look_at_what_came(exam, &came);
}

fn look_at_what_came(exam: &Exam<'_>, came: &[bool]) {
    let state = &exam.net.filter;
    let on = |mode: usize| state.modes[mode];
    let rule = |row, right| {
        exam.court.rule(row, right, || {
            format!("own, other, in table, group, group in table, broadcast: {came:?}; {state:?}")
        });
    };
    let [own, other, in_table, group, group_in_table, broadcast] = came.try_into().expect("six");
    let (no_unicast, no_multicast) = (!own && !other && !in_table, !group && !group_in_table);
    if on(PROMISC) {
        let all = came.iter().all(|came| *came);
        rule("5.1.6.5.1.1-2", all);
        if state.modes[1..].contains(&true) {
            rule("5.1.6.5.1.1-3", all);
        }
        return;
    }
    if on(NOMULTI) {
        rule("5.1.6.5.1.1-7", no_multicast);
        if on(ALLMULTI) {
            rule("5.1.6.5.1.1-8", no_multicast);
        }
        if !on(NOBCAST) {
            rule("5.1.6.5.1.1-9", broadcast);
        }
    } else if on(ALLMULTI) {
        rule("5.1.6.5.1.1-4", group && group_in_table);
    }
    if on(NOBCAST) {
        rule("5.1.6.5.1.1-12", !broadcast);
        if on(ALLMULTI) {
            rule("5.1.6.5.1.1-13", !broadcast);
        }
    }
    if on(NOUNI) {
        rule("5.1.6.5.1.1-10", no_unicast);
        if on(ALLUNI) {
            rule("5.1.6.5.1.1-11", no_unicast);
        }
    } else if on(ALLUNI) {
        rule("5.1.6.5.1.1-6", own && other && in_table);
    } else {
        rule("5.1.6.5.2.1-4", own && !other);
        if state.table {
            rule("5.1.6.5.2.1-2", in_table);
        } else {
            rule("5.1.6.5.2.1-1", !in_table);
        }
    }
}
