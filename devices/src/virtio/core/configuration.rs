//! The device-specific configuration and its generation (§2.3 of virtio 1.0).

use stickler_conformance::Witness;
use stickler_conformance::event::ConfigEvent;

use super::{Core, Transport};
use crate::virtio::VirtioDevice;

/// §2.3.1: no read of more bytes is atomic.
const ATOMIC: usize = 4;

/// How many different contents of a configuration are remembered.
const MOST_CONTENTS: usize = 64;

/// What the device-specific configuration contained while the device was live, each content once.
#[derive(Clone, Debug, Default)]
pub(super) struct ToldConfigurations {
    contents: Vec<Vec<u8>>,
    /// There were more than are remembered.
    more: bool,
}

impl ToldConfigurations {
    /// The configuration contains `now`.
    fn note(&mut self, now: &[u8]) {
        // The latest is the likeliest.
        if self.contents.iter().rev().any(|content| content == now) {
            return;
        }
        if self.contents.len() < MOST_CONTENTS {
            self.contents.push(now.to_vec());
        } else {
            self.more = true;
        }
    }

    /// All contents, the first one first; `None` if there were more than are remembered.
    pub(super) fn all(&self) -> Option<&[Vec<u8>]> {
        (!self.more).then_some(&self.contents)
    }
}

/// What the driver can know of the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConfigurationState {
    /// The generation as the driver reads it.
    pub(super) generation: u8,
    /// The driver has read the configuration since the generation last changed.
    read: bool,
    /// How often the generation was read.
    generation_reads: u32,
    /// … and whether it was since the last reset.
    generation_known: bool,
    /// How often a field of more than 32 bits was read, or begun, without the generation.
    parts_read: u32,
    /// Something changes with the next read.
    about_to_change: bool,
}

impl ConfigurationState {
    /// The device is reset. §4.1.4.3.1: the generation tells the driver of changes across resets, too.
    pub(super) fn reset(&mut self) {
        let ConfigurationState {
            generation: _,
            read: _,
            generation_reads: _,
            generation_known,
            parts_read: _,
            about_to_change: _,
        } = self;
        *generation_known = false;
    }
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// Bytes of device-specific configuration.
    pub(crate) fn configuration_len(&self) -> usize {
        self.device.config().len()
    }

    /// The driver reads device-specific configuration. §2.3.2: at any time. §4.1.3.2: any part of a
    /// field. What lies beyond the configuration is not written to `data`.
    pub(crate) fn read_configuration(&mut self, offset: u32, data: &mut [u8]) {
        let from = self
            .device
            .config()
            .get(offset as usize..)
            .unwrap_or_default();
        for (byte, value) in data.iter_mut().zip(from) {
            *byte = *value;
        }
        self.configuration.read = true;
        // The configuration has changed just after this was read (§2.3.1).
        if std::mem::take(&mut self.configuration.about_to_change) {
            self.device.config_before_change(offset, data);
            self.advance_generation();
            self.witness.see(&ConfigEvent::ChangedBetweenReads.into());
        } else if !self.configuration.generation_known && self.begins_wide_field(offset) {
            // A driver without the generation cannot notice it.
            self.configuration.parts_read = self.configuration.parts_read.wrapping_add(1);
            if self.latitudes.unsettles(self.configuration.parts_read) {
                let first = data.len().min(ATOMIC);
                self.device.config_before_change(offset, &mut data[..first]);
                self.advance_generation();
            }
        }
    }

    /// Whether a field begins at `offset` that is not read at once, whatever the width of the access.
    fn begins_wide_field(&self, offset: u32) -> bool {
        let mut fields = self.id.kind.config_fields().iter();
        fields.any(|f| f.offset == offset && f.len() as usize > ATOMIC)
    }

    /// The driver writes device-specific configuration.
    pub(crate) fn write_configuration(
        &mut self,
        offset: u32,
        data: &[u8],
        transport: &mut dyn Transport,
    ) {
        let before = self.device.config().to_vec();
        let room = before.len().saturating_sub(offset as usize);
        let data = &data[..data.len().min(room)];
        if !data.is_empty() {
            self.call(transport, |device, io| {
                device.write_config(offset, data, io);
            });
            self.note_configuration_change(&before);
        }
    }

    /// The driver has read the generation.
    pub(super) fn generation_is_read(&mut self) {
        let configuration = &mut self.configuration;
        configuration.generation_known = true;
        configuration.generation_reads = configuration.generation_reads.wrapping_add(1);
        configuration.about_to_change = self.latitudes.unsettles(configuration.generation_reads);
    }

    /// The device has changed the configuration of its own accord (§4.1.5.4).
    pub(super) fn configuration_changed(&mut self, transport: &mut dyn Transport) {
        self.note_configuration();
        self.advance_generation();
        self.interrupt_configuration(transport);
    }

    /// Advances the generation if the configuration is not what it was `before`.
    pub(super) fn note_configuration_change(&mut self, before: &[u8]) {
        if self.device.config() != before {
            self.note_configuration();
            self.advance_generation();
        }
    }

    /// Remembers what the configuration of a live device contains.
    pub(super) fn note_configuration(&mut self) {
        if self.live {
            self.told.note(self.device.config());
        }
    }

    /// §4.1.4.3.1: config_generation differs after the driver has read a value that changed since it
    /// last read any. It changes only if the driver has read since the last change: a change that was
    /// not seen needs no other number, and the eight bits do not wrap within one reading.
    fn advance_generation(&mut self) {
        if std::mem::take(&mut self.configuration.read) {
            self.configuration.generation = self.configuration.generation.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_remembered_once_and_not_without_bound() {
        let mut told = ToldConfigurations::default();
        for _ in 0..3 {
            for byte in 0..MOST_CONTENTS as u8 {
                told.note(&[byte]);
            }
        }
        assert_eq!(told.all().map(<[_]>::len), Some(MOST_CONTENTS));
        told.note(&[MOST_CONTENTS as u8]);
        assert_eq!(told.all(), None, "not all are known any more");
    }
}
