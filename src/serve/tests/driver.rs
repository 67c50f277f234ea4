//! A driver of an entropy device, behind a client.
//!
//! Citations are of virtio 1.0.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use stickler_conformance::features;
use stickler_conformance::layout::{Structure, common, status};
use stickler_vfio_user::client::{Client, words};
use stickler_vfio_user::wire::{bits, command, region};

/// Bytes of the guest's memory, from address 0 on.
pub(super) const MEMORY: u64 = 0x1_0000;

/// Where in memory the rings and the buffer are.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
pub(super) const BUFFER: u64 = 0x8000;

const SIZE: u16 = 8;

pub(super) struct Driver {
    pub(super) client: Client,
    memory: File,
    /// Buffers that were made available.
    count: u16,
    /// Whether MSI-X is in use.
    vectors: bool,
}

impl Driver {
    /// A driver that has done nothing yet; the guest's memory is shared, and the function enabled.
    pub(super) fn new(client: Client) -> Driver {
        let memory = tempfile::tempfile().expect("a file");
        memory.set_len(MEMORY).expect("sparse");
        let mut driver = Driver {
            client,
            memory,
            count: 0,
            vectors: false,
        };
        driver.map();
        driver
    }

    // ---- Memory

    pub(super) fn map(&mut self) {
        let file = Some(self.memory.as_fd());
        self.client.map(file, 0, 0, MEMORY).expect("free");
    }

    /// The same memory, otherwise cut.
    pub(super) fn map_in_two(&mut self) {
        let (file, half) = (Some(self.memory.as_fd()), AVAILABLE);
        self.client.map(file, 0, 0, half).expect("free");
        self.client
            .map(file, half, half, MEMORY - half)
            .expect("free");
    }

    /// The first `len` bytes of it.
    pub(super) fn map_part(&mut self, len: u64) {
        let file = Some(self.memory.as_fd());
        self.client.map(file, 0, 0, len).expect("free");
    }

    pub(super) fn unmap(&mut self) {
        self.client.unmap(0, MEMORY).expect("it is there");
    }

    pub(super) fn unmap_all(&mut self) {
        let all = [words(&[24, bits::DMA_UNMAP_ALL]), vec![0; 16]].concat();
        self.client
            .request(command::DMA_UNMAP, &all, &[])
            .expect("all of it");
    }

    /// As the next driver finds it.
    pub(super) fn clear_memory(&mut self) {
        let zeros = vec![0; MEMORY as usize];
        self.memory.write_all_at(&zeros, 0).expect("it is there");
        self.count = 0;
    }

    // ---- Registers

    /// Where the capability of this `cfg_type` is in configuration space.
    pub(super) fn capability(&mut self, cfg_type: u8) -> u64 {
        let mut at = self.config(0x34, 1);
        for _ in 0..48 {
            if self.config(at, 1) == 9 && self.config(at + 3, 1) == u64::from(cfg_type) {
                return at;
            }
            at = self.config(at + 1, 1);
        }
        panic!("there is no such capability");
    }

    fn config(&mut self, at: u64, len: u32) -> u64 {
        self.client.config(at, len).expect("it is there").into()
    }

    /// BAR and offset of a structure.
    pub(super) fn place(&mut self, structure: Structure) -> (u32, u64) {
        let at = self.capability(structure.cfg_type());
        (self.config(at + 4, 1) as u32, self.config(at + 8, 4))
    }

    pub(super) fn read(&mut self, structure: Structure, offset: u32, len: u32) -> u64 {
        let (bar, at) = self.place(structure);
        let bytes = self.client.read(bar, at + u64::from(offset), len);
        let bytes = bytes.expect("it is there");
        bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
    }

    pub(super) fn write(&mut self, structure: Structure, offset: u32, len: usize, value: u64) {
        let (bar, at) = self.place(structure);
        self.client
            .write(bar, at + u64::from(offset), &value.to_le_bytes()[..len])
            .expect("it is there");
    }

    pub(super) fn status(&mut self) -> u8 {
        self.read(Structure::Common, common::DEVICE_STATUS, 1) as u8
    }

    fn add_status(&mut self, bit: u8) {
        let value = self.status() | bit;
        self.write(Structure::Common, common::DEVICE_STATUS, 1, value.into());
    }

    fn set(&mut self, offset: u32, len: usize, value: u64) {
        self.write(Structure::Common, offset, len, value);
    }

    // ---- Initialization (§3.1.1)

    /// Enables MSI-X, as a monitor does whose guest does so. Returns the eventfds of the first two vectors.
    pub(super) fn enable_msix(&mut self) -> [OwnedFd; 2] {
        let fds = [(); 2].map(|()| eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd"));
        let mut at = self.config(0x34, 1);
        while self.config(at, 1) != 0x11 {
            at = self.config(at + 1, 1);
        }
        self.client
            .write(region::CONFIG, at + 2, &0x8000_u16.to_le_bytes())
            .expect("it can");
        let [config, queue] = &fds;
        self.client
            .direct_vectors(0, &[config.as_fd(), queue.as_fd()])
            .expect("there are two");
        self.vectors = true;
        fds
    }

    pub(super) fn bring_up(&mut self) {
        self.client
            .write(region::CONFIG, 4, &[6, 0])
            .expect("memory space and bus master");
        self.set(common::DEVICE_STATUS, 1, 0);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status() != 0 {
            assert!(Instant::now() < deadline);
        }
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let mut offered = 0;
        for select in 0..2 {
            self.set(common::DEVICE_FEATURE_SELECT, 4, select);
            offered |= self.read(Structure::Common, common::DEVICE_FEATURE, 4) << (32 * select);
        }
        let accepted = offered & features::VERSION_1;
        for select in 0..2 {
            self.set(common::DRIVER_FEATURE_SELECT, 4, select);
            self.set(
                common::DRIVER_FEATURE,
                4,
                accepted >> (32 * select) & 0xffff_ffff,
            );
        }
        self.add_status(status::FEATURES_OK);
        assert_ne!(self.status() & status::FEATURES_OK, 0);
        if self.vectors {
            self.map_vector(common::MSIX_CONFIG, 0);
        }
        self.set(common::QUEUE_SELECT, 2, 0);
        assert!(self.read(Structure::Common, common::QUEUE_SIZE, 2) >= SIZE.into());
        self.set(common::QUEUE_SIZE, 2, SIZE.into());
        for (offset, address) in [
            (common::QUEUE_DESC, DESCRIPTORS),
            (common::QUEUE_AVAIL, AVAILABLE),
            (common::QUEUE_USED, USED),
        ] {
            self.set(offset, 4, address);
            self.set(offset + 4, 4, 0);
        }
        if self.vectors {
            self.map_vector(common::QUEUE_MSIX_VECTOR, 1);
        }
        self.count = 0;
        self.put(AVAILABLE, &[0; 4]);
        self.put(USED, &[0; 4]);
        self.set(common::QUEUE_ENABLE, 2, 1);
        self.add_status(status::DRIVER_OK);
    }

    fn map_vector(&mut self, offset: u32, vector: u64) {
        self.set(offset, 2, vector);
        assert_eq!(self.read(Structure::Common, offset, 2), vector);
    }

    // ---- Operation

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, at).expect("it is there");
    }

    fn used_idx(&mut self) -> u16 {
        let mut bytes = [0; 2];
        self.memory
            .read_exact_at(&mut bytes, USED + 2)
            .expect("it is there");
        u16::from_le_bytes(bytes)
    }

    /// Makes a buffer of 4 bytes available, and notifies the device.
    pub(super) fn offer(&mut self) {
        self.put(BUFFER, &[0; 4]);
        self.expose(BUFFER);
        self.write(Structure::Notify, 0, 2, 0);
    }

    /// Makes 4 bytes at `address` available.
    pub(super) fn expose(&mut self, address: u64) {
        let mut descriptor = address.to_le_bytes().to_vec();
        descriptor.extend(4_u32.to_le_bytes());
        // Device-writable.
        descriptor.extend([2, 0, 0, 0]);
        self.put(DESCRIPTORS, &descriptor);
        let entry = AVAILABLE + 4 + 2 * u64::from(self.count % SIZE);
        self.put(entry, &[0; 2]);
        self.count = self.count.wrapping_add(1);
        let count = self.count.to_le_bytes();
        self.put(AVAILABLE + 2, &count);
    }

    /// Has the buffer filled. Returns what is in it.
    pub(super) fn ask(&mut self) -> [u8; 4] {
        self.offer();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.used_idx() != self.count {
            assert!(Instant::now() < deadline, "the device returns the buffer");
            std::thread::yield_now();
        }
        let mut bytes = [0; 4];
        self.memory
            .read_exact_at(&mut bytes, BUFFER)
            .expect("it is there");
        bytes
    }
}

/// Takes the signal of an eventfd, if there is one.
pub(super) fn is_signalled(fd: &OwnedFd) -> bool {
    rustix::io::read(fd, &mut [0; 8]).is_ok()
}

/// Waits until an eventfd is signalled, and takes the signal.
pub(super) fn wait_for(fd: &OwnedFd) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_signalled(fd) {
        assert!(Instant::now() < deadline, "it is signalled");
        std::thread::yield_now();
    }
}
