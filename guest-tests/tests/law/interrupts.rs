//! Interrupts of virtqueues (§2.4.7, §4.1.5.3), ISR status (§4.1.4.5), and who is to get none: seen
//! from between driver and device. Citations are of virtio 1.0.

use stickler_conformance::layout::{NO_VECTOR, Structure};
use stickler_guest_tests::in_process::{Driver, Interrupts, Rig};

use crate::court::{Court, Row, Seen};
use crate::exam::Exam;
use crate::rings::{Ledger, ObservedState, Observer, Phase};

pub(crate) const ROWS: &[Row] = &[
    (
        "2.4.7.2-1",
        Seen::By("without EVENT_IDX used_event is wild, and interrupts come all the same"),
    ),
    (
        "2.4.7.2-2",
        Seen::By("no message, and no rise of the line, while flags is 1"),
    ),
    (
        "2.4.7.2-3",
        Seen::By("after used buffers an interrupt while flags is 0"),
    ),
    (
        "2.4.7.2-4",
        Seen::By("with EVENT_IDX flags is 1 now and then, and interrupts come all the same"),
    ),
    (
        "2.4.7.2-5",
        Seen::By("after the entry at used_event an interrupt"),
    ),
    (
        "2.4.7.2-6",
        Seen::By("no message, and no rise of the line, where used_event is elsewhere"),
    ),
    (
        "4.1.5.3.1-1",
        Seen::By("unmapped queues return buffers, and no message comes that is nobody's"),
    ),
    (
        "4.1.4.5.1-2",
        Seen::By("the configuration bit is there after a notification of a change"),
    ),
    (
        "4.1.4.5.1-3",
        Seen::By("the queue bit is there after a notification without MSI-X"),
    ),
    (
        "4.1.4.5.1-4",
        Seen::By("Interrupt Status of the PCI Status register is compared with ISR status"),
    ),
    (
        "4.1.4.5.1-5",
        Seen::By("once read, ISR status is 0 and the line is low"),
    ),
    (
        "4.1.5.4.1-1",
        Seen::By("the configuration changes while its vector is NO_VECTOR, and no message comes"),
    ),
    (
        "2.1.2-4",
        Seen::By("DEVICE_NEEDS_RESET comes with a notification of a change"),
    ),
];

/// The Status register of configuration space.
const PCI_STATUS: u16 = 0x06;

/// What the driver wants for the buffers returned on a queue, and has not got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExpectedInterrupts {
    /// An interrupt is due, under this row.
    due: Option<&'static str>,
    /// Buffers were used in this move for which there should be none, under this row.
    quiet: Option<&'static str>,
}

/// What is known of interrupts.
#[derive(Clone, Debug)]
pub(crate) struct InterruptState {
    msix: bool,
    config_vector: u16,
    isr: u64,
    /// Before the move: messages sent, level of the line.
    messages: usize,
    line: bool,
    /// So many messages had been sent at the time of the [mark](Observer::mark).
    marked: usize,
    /// Since the mark, ISR status had its configuration bit.
    bit_seen: bool,
    /// Since ISR status was last read: the line stood for used buffers.
    for_queue: bool,
    /// … it rose although no queue's buffers asked for it, under this row.
    suspect: Option<&'static str>,
}

impl InterruptState {
    pub(crate) fn new(driver: &Driver<'_>) -> Self {
        InterruptState {
            msix: false,
            config_vector: NO_VECTOR,
            isr: driver.place(Structure::Isr).address,
            messages: 0,
            line: false,
            marked: 0,
            bit_seen: false,
            for_queue: false,
            suspect: None,
        }
    }

    /// The device is about to go live.
    pub(crate) fn begin(&mut self, driver: &Driver<'_>, config_vector: u16) {
        *self = InterruptState {
            msix: driver.interrupts == Interrupts::Msix,
            config_vector,
            ..InterruptState::new(driver)
        };
    }

    /// A move is about to be made.
    pub(crate) fn before(&mut self, rig: &Rig, slot: u8) {
        self.messages = rig.interrupts.messages().len();
        self.line = rig.interrupts.line(slot);
    }
}

impl Ledger {
    /// The used ring's `idx` went from `old` to `new`: notes what the driver wants for that.
    pub(crate) fn note_expected(&mut self, old: u16, new: u16) {
        let queue = &self.queue;
        let flags: u16 = queue.get(queue.layout.avail_flags());
        let used_event: u16 = queue.get(queue.layout.used_event());
        let (wanted, due, quiet) = if queue.event_idx {
            let wanted = new.wrapping_sub(used_event).wrapping_sub(1) < new.wrapping_sub(old);
            let due = if flags & 1 == 0 {
                "2.4.7.2-5"
            } else {
                "2.4.7.2-4"
            };
            (wanted, due, "2.4.7.2-6")
        } else {
            let due = if used_event == 0 {
                "2.4.7.2-3"
            } else {
                "2.4.7.2-1"
            };
            (flags & 1 == 0, due, "2.4.7.2-2")
        };
        if wanted {
            self.expected.due = Some(due);
        } else {
            self.expected.quiet = Some(quiet);
        }
    }
}

impl Observer {
    /// From here on, notifications of a change of the configuration are counted.
    pub(crate) fn mark(&self, rig: &Rig) {
        let interrupts = &mut self.state.borrow_mut().interrupts;
        interrupts.marked = rig.interrupts.messages().len();
        interrupts.bit_seen = false;
    }

    /// Whether the driver has been told of a change since the mark; `None` if it cannot be.
    pub(crate) fn told_of_change(&self, d: &Driver<'_>) -> Option<bool> {
        let vector = self.config_vector();
        if self.is_msix() && vector == NO_VECTOR {
            return None;
        }
        let came = self.messages_since_mark(d.rig).contains(&vector.into());
        let bit = self.has_config_bit(d);
        if self.is_msix() && came && !self.is_shared(vector) {
            self.court.rule("4.1.4.5.1-2", bit, || {
                "a change was told of, and ISR status does not say so".to_owned()
            });
        }
        Some(if self.is_msix() { came } else { bit })
    }

    /// The host has changed the configuration since the mark, or has not.
    pub(crate) fn judge_change(&self, d: &Driver<'_>, changed: bool) {
        if !changed {
            return;
        }
        if self.is_msix() && self.config_vector() == NO_VECTOR {
            let messages = self.messages_since_mark(d.rig);
            let state = self.state.borrow();
            let known = |message: &u32| {
                let mut vectors = state.queues.values().map(|l| u32::from(l.vector));
                vectors.any(|vector| vector == *message)
            };
            let stray = messages.iter().find(|message| !known(message));
            self.court.rule("4.1.5.4.1-1", stray.is_none(), || {
                format!("message {stray:?} came for a change, which is mapped to none")
            });
        } else if self.is_msix() {
            self.told_of_change(d);
        } else if d.rig.interrupts.line(d.slot) && !self.state.borrow().interrupts.for_queue {
            let bit = self.has_config_bit(d);
            self.court.rule("4.1.4.5.1-2", bit, || {
                "a change was told of, and ISR status does not say so".to_owned()
            });
        }
    }

    fn is_msix(&self) -> bool {
        self.state.borrow().interrupts.msix
    }

    fn config_vector(&self) -> u16 {
        self.state.borrow().interrupts.config_vector
    }

    fn is_shared(&self, vector: u16) -> bool {
        let state = self.state.borrow();
        state.queues.values().any(|l| l.vector == vector)
    }

    fn messages_since_mark(&self, rig: &Rig) -> Vec<u32> {
        let messages = rig.interrupts.messages();
        let marked = self.state.borrow().interrupts.marked;
        messages.get(marked..).unwrap_or_default().to_vec()
    }

    /// Whether ISR status has, or had since the mark, its configuration bit.
    fn has_config_bit(&self, d: &Driver<'_>) -> bool {
        d.read(Structure::Isr, 0, 1);
        self.state.borrow().interrupts.bit_seen
    }

    /// Whether an interrupt is due.
    pub(crate) fn is_due(&self) -> bool {
        let state = self.state.borrow();
        state.queues.values().any(|l| l.expected.due.is_some())
    }

    /// Time is up for interrupts that are due. In an error state none need come.
    pub(crate) fn call_in(&self, broken: bool) {
        let mut state = self.state.borrow_mut();
        for (index, ledger) in &mut state.queues {
            if let Some(row) = ledger.expected.due.take().filter(|_| !broken) {
                self.court.rule(row, false, || {
                    format!("queue {index}: buffers were used and no interrupt came")
                });
            }
        }
    }

    /// §2.4.7.2, §4.1.5.3.1: a move has been made.
    pub(crate) fn look_at_interrupts(&self, state: &mut ObservedState, rig: &Rig) {
        let messages = rig.interrupts.messages();
        let messages = messages
            .get(state.interrupts.messages..)
            .unwrap_or_default();
        let line = rig.interrupts.line(state.slot);
        let rose = line && !state.interrupts.line;
        match state.phase {
            Phase::Unknown | Phase::Resetting => {}
            Phase::Fresh => {
                let none = messages.is_empty() && !rose;
                self.court.rule("2.1.2-2", none, || {
                    "an interrupt came before DRIVER_OK".to_owned()
                });
            }
            Phase::Live if state.interrupts.msix => self.look_at_messages(state, messages),
            Phase::Live => self.look_at_line(state, line, rose),
        }
        for ledger in state.queues.values_mut() {
            ledger.expected.quiet = None;
        }
    }

    fn look_at_messages(&self, state: &mut ObservedState, messages: &[u32]) {
        let config = state.interrupts.config_vector;
        let mapped: Vec<u16> = state.queues.values().map(|l| l.vector).collect();
        let muted = state.queues.values().any(|l| {
            l.vector == NO_VECTOR && (l.expected.due.is_some() || l.expected.quiet.is_some())
        });
        let stray = messages.iter().find(|message| {
            let is = |vector: u16| u32::from(vector) == **message;
            !is(config) && !mapped.iter().any(|vector| is(*vector))
        });
        if muted || stray.is_some() {
            self.court.rule("4.1.5.3.1-1", stray.is_none(), || {
                format!("message {stray:?} came, to which nothing is mapped")
            });
        }
        for (index, ledger) in &mut state.queues {
            let vector = ledger.vector;
            let came = messages.contains(&u32::from(vector));
            let others = mapped.iter().filter(|other| **other == vector).count() > 1;
            if vector == NO_VECTOR {
                ledger.expected = ExpectedInterrupts::default();
            } else if ledger.expected.due.is_some() {
                answer(&self.court, ledger, came);
            } else if let Some(row) = ledger.expected.quiet
                && !others
                && vector != config
            {
                self.court.rule(row, !came, || {
                    format!("queue {index}: an interrupt that was not wanted")
                });
            }
        }
    }

    fn look_at_line(&self, state: &mut ObservedState, line: bool, rose: bool) {
        let due = state.queues.values().any(|l| l.expected.due.is_some());
        let quiet = state.queues.values().find_map(|l| l.expected.quiet);
        if due && line {
            state.interrupts.for_queue = true;
        }
        for ledger in state.queues.values_mut() {
            answer(&self.court, ledger, line);
        }
        if let Some(row) = quiet.filter(|_| !due) {
            if rose {
                state.interrupts.suspect = Some(row);
            } else {
                self.court.rule(row, true, String::new);
            }
        }
    }

    /// The driver has read a register; it may have been ISR status.
    pub(crate) fn note_isr(&self, state: &mut ObservedState, rig: &Rig, address: u64, value: u8) {
        if address != state.interrupts.isr || state.phase != Phase::Live {
            return;
        }
        state.interrupts.bit_seen |= value & 2 != 0;
        let low = !rig.interrupts.line(state.slot);
        self.court.rule("4.1.4.5.1-5", low, || {
            "the line is high after ISR status was read".to_owned()
        });
        if std::mem::take(&mut state.interrupts.for_queue) {
            self.court.rule("4.1.4.5.1-3", value & 1 != 0, || {
                format!("the line stood for used buffers, and ISR status is {value:#x}")
            });
        }
        // A change of the configuration would explain the interrupt.
        if let Some(row) = state.interrupts.suspect.take()
            && value & 2 == 0
        {
            self.court.rule(row, false, || {
                "the line rose, and no interrupt was wanted".to_owned()
            });
        }
    }
}

/// If an interrupt that was due came, that is noted.
fn answer(court: &Court, ledger: &mut Ledger, came: bool) {
    if came && let Some(row) = ledger.expected.due.take() {
        court.rule(row, true, String::new);
    }
}

/// Reads ISR status, and what else says the same (§4.1.4.5.1).
pub(crate) fn read_isr(exam: &mut Exam<'_>) {
    let d = &exam.d;
    let pin = || d.config_read(PCI_STATUS, 2) >> 3 & 1 != 0;
    let (before, value) = (pin(), d.read(Structure::Isr, 0, 1));
    let (after, again) = (pin(), d.read(Structure::Isr, 0, 1));
    exam.court.rule("4.1.4.5.1-5", again == 0, || {
        format!("ISR status is {value:#x}, and {again:#x} when it is read again")
    });
    if d.interrupts == Interrupts::Intx {
        let right = before == (value != 0) && !after;
        exam.court.rule("4.1.4.5.1-4", right, || {
            format!("Interrupt Status is {before} with ISR status {value:#x}, and then {after}")
        });
    }
}
