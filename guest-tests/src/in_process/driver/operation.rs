//! Operation (§3.2 of virtio 1.0): buffers are exposed and taken back.

use std::time::Duration;

use stickler_conformance::layout::{Structure, common};
use stickler_conformance::{DeviceKind, features};
use stickler_mock_driver::{Buffer, Virtqueue};

use super::Driver;

impl Driver<'_> {
    /// A set-up queue.
    pub fn queue(&mut self, index: u16) -> &mut Virtqueue {
        self.queues.get_mut(&index).expect("the queue was set up")
    }

    /// Exposes `buffers` as one chain on a queue, notifies if the device wants it, and lets the
    /// device work. Returns the head.
    pub fn submit(&mut self, index: u16, buffers: &[Buffer]) -> u16 {
        let queue = self.queue(index);
        let head = queue.chain(buffers);
        self.submit_head(index, head);
        head
    }

    /// Exposes a chain that is in the table, notifies if the device wants it, and lets it work.
    pub fn submit_head(&mut self, index: u16, head: u16) {
        let queue = self.queue(index);
        queue.expose(head);
        if queue.notification_wanted() {
            self.notify(index);
        }
        self.rig.run();
    }

    /// Notifies the device of queue `index` (§4.1.5.2).
    pub fn notify(&self, index: u16) {
        let address = self.notify_address(index);
        self.rig.mmio_write(address, 2, u64::from(index));
    }

    /// Where queue `index` is notified (§4.1.4.4).
    pub fn notify_address(&self, index: u16) -> u64 {
        self.set_common(common::QUEUE_SELECT, u32::from(index));
        let off = u64::from(self.common(common::QUEUE_NOTIFY_OFF));
        self.place(Structure::Notify).address + off * u64::from(self.multiplier)
    }

    /// Lets the device work until something is returned on queue `index`, and takes it.
    pub fn wait_used(&mut self, index: u16) -> Vec<(u16, u32)> {
        self.wait_for(index, Virtqueue::take_used)
    }

    /// As [`Driver::wait_used`], with the first buffer of each chain in place of its head.
    pub fn wait_buffers(&mut self, index: u16) -> Vec<(Buffer, u32)> {
        self.wait_for(index, Virtqueue::take_buffers)
    }

    fn wait_for<T>(&mut self, index: u16, take: impl Fn(&mut Virtqueue) -> Vec<T>) -> Vec<T> {
        for _ in 0..2000 {
            self.rig.run();
            let used = take(self.queue(index));
            if !used.is_empty() {
                return used;
            }
            // Some of it is real, for the host's threads.
            std::thread::sleep(Duration::from_millis(1));
            self.rig.elapse(Duration::from_millis(20));
        }
        panic!("queue {index}: the device returns nothing");
    }

    /// So many seconds pass, and the driver does something in each.
    pub fn pass(&self, seconds: u32) {
        for _ in 0..seconds {
            self.status();
            self.rig.tick(1);
        }
    }

    /// Does once what the device is for; it is live and its queues are idle.
    pub fn exercise(&mut self) {
        match self.kind {
            DeviceKind::Net => self.resolve_gateway(),
            DeviceKind::Block if self.features & features::block::RO != 0 => self.read_sector(7),
            DeviceKind::Block => self.write_and_read_back(7, 0x5a),
            DeviceKind::Console => {
                for port in self.open_ports().into_keys() {
                    self.print_and_read_back(port, b"hello");
                }
            }
            DeviceKind::Entropy => {
                let room = self.rig.allocate(64);
                self.submit(0, &[Buffer::writable(room, 64)]);
                let len = self.wait_used(0)[0].1;
                assert!((1..=64).contains(&len), "§5.4.6.2: {len} bytes");
            }
        }
    }
}
