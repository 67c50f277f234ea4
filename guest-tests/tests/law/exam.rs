//! The driver that examines: it does what a driver may do, in any order, and what a driver would not
//! do where a device has to put up with it, and looks at all that comes of it.
//!
//! Citations are of virtio 1.0.

mod chains;

use std::collections::BTreeMap;
use std::rc::Rc;

use stickler_conformance::layout::{NO_VECTOR, common, status};
use stickler_conformance::{DeviceKind, features};
use stickler_guest_tests::in_process::{Between, Buffer, Driver, Interrupts, Rig, legal_subset};

use crate::court::{Court, Row, Seen};
use crate::host::{Host, SLOT};
use crate::rings::{BEFORE, Observer};
use crate::{
    block, config, console, entropy, interrupts, net, pci, queues, status as device_status,
};

pub(crate) const ROWS: &[Row] = &[(
    "2.4",
    Seen::By("buffers that a device can use at once come back"),
)];

/// The state from one reset to the next.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Features the driver would have.
    pub(crate) wanted: u64,
    /// Descriptors in its queues.
    pub(crate) size: u16,
    pub(crate) gap: u64,
    pub(crate) msix: bool,
    /// Events that are mapped to no vector: configuration changes, queue 0, queue 1 …
    pub(crate) muted: u8,
    /// It exposes buffers before DRIVER_OK.
    pub(crate) early: bool,
    /// After how many steps of initialization it resets the device again.
    pub(crate) patience: u8,
    /// It waits for what is under way before it resets the device.
    pub(crate) orderly: bool,
    pub(crate) acts: Vec<Act>,
}

/// Something the driver does, or the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    /// Which of the things that can be done.
    pub(crate) what: u8,
    /// Buffers that a message is cut into.
    pub(crate) segments: u8,
    /// A number that it depends on: lengths, sectors, commands.
    pub(crate) number: u16,
    /// In an indirect table, if there are any …
    pub(crate) indirect: bool,
    /// … behind an ordinary descriptor.
    pub(crate) behind: bool,
    /// Interrupts are not wanted.
    pub(crate) suppress: bool,
    /// The device is notified together with what comes next.
    pub(crate) hold: bool,
    /// What means nothing has odd values.
    pub(crate) odd: bool,
    /// The host does something out of the ordinary.
    pub(crate) twist: bool,
}

/// What a chain in flight is for.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Block(block::Request),
    Transmit(net::Sent),
    Command(net::Command),
    Receive(Vec<Buffer>),
    Print,
    Input(u32, Vec<Buffer>),
    Message,
    MessageRoom(Vec<Buffer>),
    Random(Vec<Buffer>),
}

impl Act {
    /// Nothing out of the ordinary.
    pub(crate) const fn quiet() -> Self {
        Act {
            what: 0,
            segments: 1,
            number: 0,
            indirect: false,
            behind: false,
            suppress: false,
            hold: false,
            odd: false,
            twist: false,
        }
    }
}

impl Job {
    /// Whether the device has all it needs to return it.
    fn must_return(&self) -> bool {
        !matches!(self, Job::Receive(_) | Job::Input(..) | Job::MessageRoom(_))
    }
}

/// The driver.
pub(crate) struct Exam<'r> {
    pub(crate) d: Driver<'r>,
    pub(crate) court: Rc<Court>,
    pub(crate) observer: Rc<Observer>,
    pub(crate) host: &'r Host,
    /// DEVICE_NEEDS_RESET is set.
    pub(crate) broken: bool,
    /// The device has been notified for nothing.
    pub(crate) spurious: bool,
    /// Features the device offers.
    pub(crate) offered: u64,
    /// Status bits that were set.
    pub(crate) status: u8,
    /// The chains in flight by queue and head, and what is odd about their layout: the rows under
    /// which it must not matter.
    pub(crate) jobs: BTreeMap<(u16, u16), (Job, Vec<&'static str>)>,
    pub(crate) config: config::Known,
    pub(crate) net: net::NetState,
    pub(crate) block: block::BlockState,
    pub(crate) console: console::ConsoleState,
}

impl<'r> Exam<'r> {
    /// Finds the device in its slot, looks at it on the bus, and observes it from now on.
    /// `meddler` is one who stands between it and those who look.
    pub(crate) fn begin(
        rig: &'r Rig,
        host: &'r Host,
        court: &Rc<Court>,
        meddler: impl FnOnce(&Driver<'_>) -> Option<Rc<dyn Between>>,
    ) -> Self {
        let d = Driver::probe(rig, SLOT);
        let observer = Observer::over(&d, court);
        rig.between.borrow_mut().extend(meddler(&d));
        rig.between.borrow_mut().push(observer.clone());
        let mut exam = Exam {
            d,
            court: court.clone(),
            observer,
            host,
            broken: false,
            spurious: false,
            offered: 0,
            status: 0,
            jobs: BTreeMap::new(),
            config: config::Known::default(),
            net: net::NetState::default(),
            block: block::BlockState::default(),
            console: console::ConsoleState::default(),
        };
        pci::look(&mut exam);
        exam
    }

    /// Makes memory that the device may write: `len` bytes.
    pub(crate) fn room(&self, len: u32) -> Buffer {
        let at = self.d.rig.allocate(len.into());
        let before = vec![BEFORE; len as usize];
        self.d.rig.write_bytes(at, &before);
        Buffer::writable(at, len)
    }

    /// Makes memory that the device may read.
    pub(crate) fn text(&self, bytes: &[u8]) -> Buffer {
        let at = self.d.rig.allocate(bytes.len() as u64);
        self.d.rig.write_bytes(at, bytes);
        Buffer::readable(at, bytes.len() as u32)
    }

    /// What is in buffers, one behind the other, of the first `len` bytes.
    pub(crate) fn content(&self, buffers: &[Buffer], len: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for buffer in buffers.iter().filter(|b| b.writable) {
            let left = len as usize - bytes.len();
            let len = left.min(buffer.len as usize);
            bytes.extend(self.d.rig.read_bytes(buffer.addr, len));
        }
        bytes
    }

    pub(crate) fn has(&self, feature: u64) -> bool {
        self.d.features & feature != 0
    }

    // ---- A life

    /// Initializes the device (§3.1.1), as far as patience goes, and works with it.
    pub(crate) fn live(&mut self, life: &Life) {
        device_status::reset(self);
        self.d.disable_msix();
        self.d.rig.reclaim();
        self.d.rig.interrupts.take_messages();
        self.d.gap = life.gap;
        queues::look_after_reset(self);
        if life.patience == 0 {
            return;
        }
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let offered = device_status::offered(self);
        self.offered = offered;
        config::look(self);
        if self.d.kind == DeviceKind::Console {
            console::forget(self);
            console::emergency(self);
        }
        if life.patience == 1 {
            return;
        }
        let known = offered & !features::UNKNOWN;
        let wanted = (life.wanted | features::VERSION_1) & known;
        let wanted = legal_subset(self.d.kind, wanted) & known;
        if !device_status::negotiate(self, wanted) {
            return;
        }
        config::look(self);
        match self.d.kind {
            DeviceKind::Block => block::begin(self, offered),
            DeviceKind::Net => net::begin(self),
            DeviceKind::Console | DeviceKind::Entropy => {}
        }
        if life.patience == 2 {
            return;
        }
        let msix = life.msix && self.d.msix.is_some() && pci::map(self);
        self.d.interrupts = if msix {
            Interrupts::Msix
        } else {
            Interrupts::Intx
        };
        let mut config_vector = NO_VECTOR;
        if msix && life.muted & 1 == 0 {
            config_vector = pci::map_config(self, 0);
        }
        let mut vectors = BTreeMap::new();
        for index in self.d.usable_queues() {
            if !self.d.configure_queue(index, life.size) {
                continue;
            }
            if msix && life.muted & 2 << index.min(6) != 0 {
                self.d
                    .set_common(common::QUEUE_MSIX_VECTOR, NO_VECTOR.into());
            }
            let vector = self.d.common(common::QUEUE_MSIX_VECTOR) as u16;
            vectors.insert(index, vector);
            self.d.enable_queue();
        }
        if life.patience == 3 {
            return;
        }
        self.d.rig.run();
        if life.early
            && let Some(act) = life.acts.first()
        {
            // §2.1.2: buffers may be there before DRIVER_OK; nobody is notified of them.
            let act = Act {
                hold: true,
                twist: false,
                ..*act
            };
            self.work(&act);
            self.d.rig.run();
        }
        self.observer.will_live(&self.d, config_vector, &vectors);
        self.add_status(status::DRIVER_OK);
        self.d.rig.run();
        self.nudge();
        if self.d.kind == DeviceKind::Console {
            console::begin(self);
        }
        for act in &life.acts {
            if self.broken {
                break;
            }
            self.act(act);
        }
        if life.orderly {
            self.settle();
        }
    }

    /// Sets bits of device status.
    fn add_status(&mut self, bits: u8) {
        self.status |= bits;
        self.d.add_status(bits);
    }

    fn act(&mut self, act: &Act) {
        match act.what % 8 {
            0 => config::look(self),
            1 if act.odd => config::change(self, act),
            1 => queues::notify_for_nothing(self, act),
            2 if act.odd => pci::look_through_window(self, act),
            2 => interrupts::read_isr(self),
            3 => self.settle(),
            _ => self.work(act),
        }
    }

    /// Has the device do what it is for.
    fn work(&mut self, act: &Act) {
        match self.d.kind {
            DeviceKind::Net => net::work(self, act),
            DeviceKind::Block => block::work(self, act),
            DeviceKind::Console => console::work(self, act),
            DeviceKind::Entropy => entropy::work(self, act),
        }
    }
}
