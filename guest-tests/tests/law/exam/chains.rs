//! Chains of the driver that examines: made available, taken back, waited for.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::layout::desc;
use stickler_conformance::{DeviceKind, features};
use stickler_guest_tests::in_process::Buffer;

use super::{Act, Exam, Job};
use crate::host::lock;
use crate::rings::Phase;
use crate::{block, console, entropy, net, status as device_status};

impl Exam<'_> {
    /// Makes a chain available, if there is room for it.
    pub(crate) fn submit(&mut self, queue: u16, buffers: &[Buffer], act: &Act, job: Job) -> bool {
        let Some(size) = self.d.queues.get(&queue).map(|q| q.layout.size) else {
            return false;
        };
        let count = buffers.len();
        let indirect = act.indirect && self.has(features::RING_INDIRECT_DESC);
        let behind = indirect && act.behind && count > 1 && count < usize::from(size);
        let needed = match (indirect, behind) {
            (true, true) => 2,
            (true, false) => 1,
            (false, _) => count,
        };
        if count > usize::from(size) {
            return false;
        }
        if self.d.queue(queue).free.len() < needed {
            self.settle();
        }
        if self.broken || self.d.queue(queue).free.len() < needed {
            return false;
        }
        self.ask_for_interrupts(queue, act);
        let rig = self.d.rig;
        let ring = self.d.queue(queue);
        let head = if behind {
            let table = rig.allocate(16 * count as u64);
            let refers = Buffer {
                addr: table,
                len: desc::LEN * (count as u32 - 1),
                writable: act.odd,
            };
            let head = ring.chain(&[buffers[0], refers]);
            let last = ring.chains[usize::from(head)][1];
            let rest = &buffers[1..];
            for (index, buffer) in (0..).zip(rest) {
                let more = usize::from(index) + 1 < rest.len();
                let (flags, next) = if more {
                    (desc::NEXT, index + 1)
                } else {
                    (0, 0)
                };
                ring.put_descriptor(table, index, *buffer, flags, next);
            }
            ring.put_descriptor(ring.layout.desc, last, refers, desc::INDIRECT, 0);
            head
        } else if indirect {
            let table = rig.allocate(16 * count as u64);
            let head = ring.indirect(table, buffers);
            let refers = Buffer {
                addr: table,
                len: desc::LEN * count as u32,
                writable: act.odd,
            };
            ring.put_descriptor(ring.layout.desc, head, refers, desc::INDIRECT, 0);
            head
        } else {
            ring.chain(buffers)
        };
        let marks = [
            ("2.4.5.3.2-1", indirect && act.odd),
            ("2.4.5.3.2-2", behind),
            ("2.4.4.1-1", count > 3),
        ];
        let marks = marks.into_iter().filter(|(_, is)| *is);
        let marks = marks.map(|(row, _)| row).collect();
        self.jobs.insert((queue, head), (job, marks));
        let ring = self.d.queue(queue);
        ring.expose(head);
        if !act.hold {
            if ring.notification_wanted() {
                self.d.notify(queue);
            }
            self.d.rig.run();
            self.harvest();
        }
        true
    }

    /// Says which interrupts the driver wants of a queue.
    fn ask_for_interrupts(&mut self, queue: u16, act: &Act) {
        let event_idx = self.has(features::RING_EVENT_IDX);
        let ring = self.d.queue(queue);
        if event_idx {
            // §2.4.7.2: flags means nothing then.
            ring.set_avail_flags(u16::from(act.odd));
            let wanted = if act.suppress { 0x8000 } else { 0 };
            ring.set_used_event(ring.used_idx.wrapping_add(wanted));
        } else {
            ring.set_avail_flags(u16::from(act.suppress));
            // §2.4.7.2: used_event means nothing then.
            ring.set_used_event(if act.odd { act.number | 1 } else { 0 });
        }
    }

    /// Notifies the device of what has been held back, if it wants to be.
    pub(crate) fn nudge(&mut self) {
        let queues: Vec<u16> = self.d.queues.keys().copied().collect();
        for index in queues {
            if self.d.queue(index).notification_wanted() {
                self.d.notify(index);
            }
        }
        self.d.rig.run();
    }

    /// Takes what has been returned, and looks at it.
    pub(crate) fn harvest(&mut self) {
        let queues: Vec<u16> = self.d.queues.keys().copied().collect();
        for index in queues {
            let used = self.d.queue(index).take_used();
            let mut received = Vec::new();
            for (head, len) in used {
                let Some((job, marks)) = self.jobs.remove(&(index, head)) else {
                    continue;
                };
                let right = match job {
                    Job::Block(request) => block::done(self, &request, len),
                    Job::Transmit(sent) => net::sent(self, &sent, len),
                    Job::Command(command) => net::answered(self, &command, len),
                    Job::Print | Job::Message => len == 0,
                    Job::Random(buffers) => entropy::done(self, &buffers, len),
                    Job::Receive(buffers) => {
                        received.push((buffers, len));
                        continue;
                    }
                    Job::Input(port, buffers) => {
                        console::input(self, port, &buffers, len);
                        continue;
                    }
                    Job::MessageRoom(buffers) => {
                        console::message(self, &buffers, len);
                        continue;
                    }
                };
                for row in marks {
                    self.court.rule(row, right, || {
                        format!("queue {index}: laid out like this, chain {head} is another")
                    });
                }
            }
            net::received(self, index, &received);
        }
    }

    /// Waits until nothing is under way that must come to an end.
    pub(crate) fn settle(&mut self) {
        if self.observer.phase() != Phase::Live {
            return;
        }
        lock(&self.host.disk).held = false;
        self.nudge();
        for round in 0..64 {
            self.harvest();
            device_status::look(self);
            if !self.broken && self.d.kind == DeviceKind::Console && console::tend(self) {
                continue;
            }
            let waits = self.jobs.values().any(|(job, _)| job.must_return());
            if self.broken || !waits && !self.observer.is_due() {
                break;
            }
            // It may have been notified too early for its taste.
            if round == 16 || round == 32 {
                let queues: Vec<u16> = self.d.queues.keys().copied().collect();
                queues.into_iter().for_each(|queue| self.d.notify(queue));
            }
            self.d.rig.tick(1);
            self.d.rig.run();
        }
        self.observer.call_in(self.broken);
        if !self.broken {
            if self.d.kind == DeviceKind::Console {
                console::look_at_output(self);
            }
            let left = self.jobs.iter().find(|(_, (job, _))| job.must_return());
            self.court.rule("2.4", left.is_none(), || {
                format!("the device does not return (queue, head) {left:?}")
            });
            if std::mem::take(&mut self.spurious) {
                self.court.rule("2.4.9.2-5", left.is_none(), || {
                    "a notification for nothing, and then the device stands still".to_owned()
                });
            }
        }
    }
}
