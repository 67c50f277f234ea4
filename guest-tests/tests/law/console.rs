//! The console device (§5.3 of virtio 1.0).

use std::collections::BTreeSet;

use stickler_conformance::features::console as feature;
use stickler_conformance::layout::{Structure, status};
use stickler_devices::console::port::Change;
use stickler_guest_tests::in_process::Buffer;
use stickler_guest_tests::in_process::console::{
    CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, event, receiveq,
};

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam, Job};
use crate::host::lock;

pub(crate) const ROWS: &[Row] = &[
    (
        "5.3.5.1-1",
        Seen::By("emerg_wr is written before and behind FEATURES_OK"),
    ),
    (
        "5.3.5.1-2",
        Seen::By("what is written there is looked for in what was output"),
    ),
    (
        "5.3.6",
        Seen::By("output and input come whole and in order"),
    ),
    ("5.3.6.2", Seen::By("messages are as long as one is")),
    (
        "5.3.6.2.1-1",
        Seen::By("ids in DEVICE_ADD are compared with those that came before"),
    ),
    (
        "5.3.6.2.1-2",
        Seen::By("ids in DEVICE_REMOVE are compared with those that were added"),
    ),
];

const EMERG_WR: u32 = 8;
/// Written to emerg_wr, and nowhere else.
const EMERGENCY: u8 = 0x7f;
/// Input and output count up to this.
const CYCLE: u64 = 101;

/// What is known of the console, in this life.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsoleState {
    added: BTreeSet<u32>,
    /// Messages that are due to the device.
    replies: Vec<(u32, u16, u16)>,
    /// Rooms for messages to be given again.
    rooms: u32,
    /// What was printed on each port.
    printed: [u64; 2],
    /// The last byte of input of each port.
    last_input: [Option<u8>; 2],
    /// The next byte of input that the host has.
    next_input: [u64; 2],
}

/// Writes to emerg_wr, at whatever time.
pub(crate) fn emergency(exam: &Exam<'_>) {
    if exam.offered & feature::EMERG_WRITE == 0 {
        return;
    }
    let count = || {
        let port = lock(&exam.host.ports[0]);
        port.output.iter().filter(|b| **b == EMERGENCY).count()
    };
    let before = count();
    exam.d.write(
        Structure::Device,
        EMERG_WR,
        4,
        u64::from(EMERGENCY) | 0xa5a5_0000,
    );
    exam.d.rig.run();
    let there = count() == before + 1;
    exam.court.rule("5.3.5.1-2", there, || {
        "what was written to emerg_wr is not output".to_owned()
    });
    let status = exam.d.status();
    let status = status & !status::DEVICE_NEEDS_RESET;
    exam.court.rule("5.3.5.1-1", status == exam.status, || {
        format!("device_status is {status:#x} after a write to emerg_wr")
    });
}

/// The device has gone live.
pub(crate) fn begin(exam: &mut Exam<'_>) {
    if exam.has(feature::MULTIPORT) {
        exam.console.rooms = 6;
        exam.console.replies.push((0, event::DEVICE_READY, 1));
        tend(exam);
    }
}

/// Forgets what hosts have had from a life before.
pub(crate) fn forget(exam: &mut Exam<'_>) {
    for port in &exam.host.ports {
        let mut port = lock(port);
        port.output.clear();
        port.input.clear();
    }
}

/// Sends what is due, and gives rooms for messages.
pub(crate) fn tend(exam: &mut Exam<'_>) -> bool {
    let quiet = Act::quiet();
    let mut did = false;
    while exam.console.rooms > 0 {
        exam.console.rooms -= 1;
        let buffers = vec![exam.room(256)];
        did |= exam.submit(
            CONTROL_RECEIVEQ,
            &buffers,
            &quiet,
            Job::MessageRoom(buffers.clone()),
        );
    }
    while let Some((id, event, value)) = exam.console.replies.pop() {
        let all = u64::from(id) | u64::from(event) << 32 | u64::from(value) << 48;
        let buffers = exam.text(&all.to_le_bytes()).cut(3);
        did |= exam.submit(CONTROL_TRANSMITQ, &buffers, &quiet, Job::Message);
    }
    did
}

/// A message from the device.
pub(crate) fn message(exam: &mut Exam<'_>, buffers: &[Buffer], len: u32) {
    exam.console.rooms += 1;
    let bytes = exam.content(buffers, len);
    let Some(fixed) = bytes.first_chunk::<8>() else {
        exam.court
            .rule("5.3.6.2", false, || format!("a message of {len} bytes"));
        return;
    };
    exam.court.rule("5.3.6.2", true, String::new);
    let all = u64::from_le_bytes(*fixed);
    let (id, event) = (all as u32, (all >> 32) as u16);
    let max = exam.d.read(Structure::Device, 4, 4) as u32;
    let state = &mut exam.console;
    match event {
        event::DEVICE_ADD => {
            let new = state.added.insert(id);
            exam.court.rule("5.3.6.2.1-1", new && id < max, || {
                format!("DEVICE_ADD of port {id}; there are {max}, and it is new: {new}")
            });
            state.replies.push((id, event::PORT_OPEN, 1));
            state.replies.push((id, event::PORT_READY, 1));
        }
        event::DEVICE_REMOVE => {
            let known = state.added.remove(&id);
            exam.court.rule("5.3.6.2.1-2", known, || {
                format!("DEVICE_REMOVE of port {id}")
            });
        }
        _ => {
            // Whatever else it is about, there is such a port.
            let known = state.added.contains(&id);
            exam.court
                .rule("5.3.6.2", known, || format!("event {event} of port {id}"));
        }
    }
}

/// Input has come.
pub(crate) fn input(exam: &mut Exam<'_>, port: u32, buffers: &[Buffer], len: u32) {
    let bytes = exam.content(buffers, len);
    let last = &mut exam.console.last_input[port as usize];
    let next = |byte: u8| ((u64::from(byte) + 1) % CYCLE) as u8;
    let right = bytes.iter().all(|byte| {
        let right = last.is_none_or(|last| next(last) == *byte);
        *last = Some(*byte);
        right
    });
    exam.court.rule("5.3.6", right, || {
        format!("port {port}: input is {bytes:x?}")
    });
}

/// What was printed has come out.
pub(crate) fn look_at_output(exam: &Exam<'_>) {
    for (index, port) in exam.host.ports.iter().enumerate() {
        let port = lock(port);
        let output = port.output.iter().filter(|b| **b != EMERGENCY);
        let output: Vec<u8> = output.copied().collect();
        let printed = exam.console.printed[index];
        let right = output.len() as u64 == printed
            && (0..)
                .zip(&output)
                .all(|(i, byte): (u64, _)| i % CYCLE == u64::from(*byte));
        exam.court.rule("5.3.6", right, || {
            format!("port {index}: {printed} bytes were printed, and {output:x?} came out")
        });
    }
}

pub(crate) fn work(exam: &mut Exam<'_>, act: &Act) {
    tend(exam);
    let multiport = exam.has(feature::MULTIPORT);
    let ports = if multiport {
        exam.host.ports.len() as u32
    } else {
        1
    };
    let port = u32::from(act.number) % ports;
    if !exam.d.queues.contains_key(&receiveq(port)) {
        return;
    }
    let len = u32::from(act.number) % 600 + 1;
    match act.what / 8 % 8 {
        0 => emergency(exam),
        1 => host_acts(exam, act, port),
        2 | 3 => {
            let buffers = exam.room(len).cut(act.segments.into());
            let job = Job::Input(port, buffers.clone());
            exam.submit(receiveq(port), &buffers, act, job);
        }
        4 => {
            let next = &mut exam.console.next_input[port as usize];
            let bytes: Vec<u8> = (0..len)
                .map(|i| ((*next + u64::from(i)) % CYCLE) as u8)
                .collect();
            *next += u64::from(len);
            lock(&exam.host.ports[port as usize]).input.extend(bytes);
            exam.d.rig.run();
            exam.harvest();
        }
        _ => {
            let from = exam.console.printed[port as usize];
            let bytes: Vec<u8> = (0..len)
                .map(|i| ((from + u64::from(i)) % CYCLE) as u8)
                .collect();
            let buffers = exam.text(&bytes).cut(act.segments.into());
            if exam.submit(receiveq(port) + 1, &buffers, act, Job::Print) {
                exam.console.printed[port as usize] += u64::from(len);
            }
        }
    }
}

fn host_acts(exam: &mut Exam<'_>, act: &Act, port: u32) {
    let change = if act.twist {
        Change::Closed
    } else {
        Change::Opened
    };
    lock(&exam.host.ports[port as usize])
        .changes
        .push_back(change);
    exam.d.rig.run();
    exam.harvest();
    if act.odd && exam.console.added.contains(&port) {
        // §5.3.6.2: DEVICE_READY may be said again; ports that exist are not added again.
        exam.console.replies.push((0, event::DEVICE_READY, 1));
    }
    tend(exam);
}
