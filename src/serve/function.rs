//! A function of ours, as a client of vfio-user finds it.

use std::sync::{Arc, OnceLock};

use rustix::io::Errno;
use stickler_devices::interrupt::{InterruptSink, MsiMessage};
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::{DetachedFunction, aligned_parts};
use stickler_devices::virtio::Serviced;
use stickler_vfio_user::wire::region;
use stickler_vfio_user::{Device, DmaMapping, DmaTable, Interrupts};
use vm_memory::GuestMemoryMmap;

use super::complaints::Complaints;
use super::memory::{self, SharedMemory};

/// Bytes of configuration space.
const CONFIG_LEN: u64 = 4096;

/// The most bytes that an instruction of the guest reads or writes in configuration space, and elsewhere.
const CONFIG_WIDTH: usize = 4;
const WIDTH: usize = 8;

/// Interrupts of one function, which go to whoever is its client.
#[derive(Default)]
pub(super) struct ClientInterrupts(OnceLock<Arc<Interrupts>>);

impl ClientInterrupts {
    /// What the client directs. `vectors` is how many there are, the first time.
    pub(super) fn of(&self, vectors: u16) -> Arc<Interrupts> {
        let interrupts = || Arc::new(Interrupts::new(vectors));
        self.0.get_or_init(interrupts).clone()
    }
}

impl InterruptSink for ClientInterrupts {
    /// The client knows the messages: it has the vector table.
    fn route(&self, _device: u8, _vector: u16, _message: Option<MsiMessage>) {}

    fn signal(&self, _device: u8, vector: u16) {
        if let Some(interrupts) = self.0.get() {
            interrupts.signal(vector);
        }
    }

    fn set_pin(&self, _device: u8, asserted: bool) {
        if let Some(interrupts) = self.0.get() {
            interrupts.set_pin(asserted);
        }
    }

    fn keeps_masks(&self) -> bool {
        true
    }
}

/// A function that is served.
pub(super) struct ServedFunction {
    function: Arc<dyn DetachedFunction>,
    device: Arc<dyn Serviced>,
    interrupts: Arc<Interrupts>,
    memory: SharedMemory,
    complaints: Complaints,
    /// The client was told that the device cannot reach its memory.
    told_of_memory: bool,
}

impl ServedFunction {
    pub(super) fn new(
        function: Arc<dyn DetachedFunction>,
        device: Arc<dyn Serviced>,
        interrupts: Arc<Interrupts>,
        complaints: Complaints,
    ) -> Self {
        ServedFunction {
            function,
            device,
            interrupts,
            memory: SharedMemory::default(),
            complaints,
            told_of_memory: false,
        }
    }

    /// The client has nothing more to say for now.
    pub(super) fn settle(&mut self) {
        let ram = self.memory.settle();
        self.use_memory(ram);
    }

    /// The client has gone, and the guest with it. What comes next is another life of the device.
    pub(super) fn client_gone(&mut self) {
        // Before the memory goes: nobody is to be told that the device needs a reset for that.
        self.function.outside_reset();
        self.interrupts.disconnect();
        self.memory = SharedMemory::default();
        self.told_of_memory = false;
        self.device.memory_changed(no_memory());
    }

    /// The guest is about to access the device: from now on it knows what memory there is.
    fn before_access(&mut self) {
        let ram = self.memory.update();
        self.use_memory(ram);
    }

    fn use_memory(&mut self, ram: std::io::Result<Option<GuestRam>>) {
        match ram {
            Ok(Some(ram)) => self.device.memory_changed(ram),
            Ok(None) => {}
            Err(error) => {
                self.complaints
                    .say(format_args!("its memory cannot be used: {error}"));
                self.device.memory_changed(no_memory());
            }
        }
    }

    /// A guest writes to the device, which needs memory for whatever it is.
    fn look_for_memory(&mut self) {
        if !self.told_of_memory && self.memory.reach() == (false, true) {
            self.told_of_memory = true;
            self.complaints.say(format_args!(
                "it does not share the guest's memory: give QEMU memory-backend-memfd with share=on, \
                 Cloud Hypervisor --memory shared=on"
            ));
        }
    }
}

fn no_memory() -> GuestRam {
    GuestRam::new(GuestMemoryMmap::new())
}

impl Device for ServedFunction {
    fn region_len(&self, index: u32) -> u64 {
        match index {
            0..=region::LAST_BAR => self.function.bar_len(index as u8),
            region::CONFIG => CONFIG_LEN,
            _ => 0,
        }
    }

    fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        match region {
            // No instruction reads as much. A monitor does, for itself, when it looks at the device at first.
            region::CONFIG if data.len() > CONFIG_WIDTH => {
                self.function.config_shown(offset as u16, data);
                return Ok(());
            }
            region::CONFIG => {
                self.before_access();
                let start = offset as usize;
                for (at, len) in aligned_parts(start, data.len()) {
                    let part = &mut data[at - start..at - start + len];
                    self.function.config_read(at as u16, part);
                }
            }
            0..=region::LAST_BAR if data.len() <= WIDTH => {
                self.before_access();
                self.function.bar_read(region as u8, offset, data);
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        match region {
            region::CONFIG if data.len() <= CONFIG_WIDTH => {
                self.before_access();
                let start = offset as usize;
                for (at, len) in aligned_parts(start, data.len()) {
                    let part = &data[at - start..at - start + len];
                    self.function.config_write(at as u16, part);
                }
            }
            0..=region::LAST_BAR if data.len() <= WIDTH => {
                self.before_access();
                self.look_for_memory();
                self.function.bar_write(region as u8, offset, data);
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn can_map(&mut self, table: &DmaTable, mapping: &DmaMapping) -> Result<(), Errno> {
        memory::check(table, mapping)
    }

    fn memory_changed(&mut self, table: &DmaTable) {
        self.memory.share(table);
    }

    fn reset(&mut self) {
        self.function.outside_reset();
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
