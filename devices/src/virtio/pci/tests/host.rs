//! The host's side of interrupts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::SLOT;
use crate::interrupt::{InterruptSink, MsiMessage};

/// What the device's interrupts came to.
#[derive(Default)]
pub(super) struct Interrupts {
    pub(super) routes: Mutex<BTreeMap<u16, MsiMessage>>,
    pub(super) messages: Mutex<Vec<(u64, u32)>>,
    pub(super) pin: Mutex<bool>,
}

impl InterruptSink for Interrupts {
    fn route(&self, device: u8, vector: u16, message: Option<MsiMessage>) {
        assert_eq!(device, SLOT);
        let mut routes = self.routes.lock().unwrap();
        match message {
            Some(message) => routes.insert(vector, message),
            None => routes.remove(&vector),
        };
    }

    fn signal(&self, device: u8, vector: u16) {
        assert_eq!(device, SLOT);
        let message = self.routes.lock().unwrap()[&vector];
        let mut messages = self.messages.lock().unwrap();
        messages.push((message.address, message.data));
    }

    fn set_pin(&self, device: u8, asserted: bool) {
        assert_eq!(device, SLOT);
        let mut pin = self.pin.lock().unwrap();
        assert_ne!(*pin, asserted, "only changes are told");
        *pin = asserted;
    }
}
