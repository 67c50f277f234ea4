//! Configuration space as the driver sees it: the PCI configuration access capability (§4.1.4.7 of
//! virtio 1.0), and writes to what is not writable.

use stickler_conformance::Witness;
use stickler_conformance::event::{PciEvent, WindowField};
use stickler_conformance::layout::Structure;

use super::PciState;
use super::capabilities::field;
use crate::virtio::VirtioDevice;

/// `cap.bar`, `cap.offset`, `cap.length` as they stand.
#[derive(Clone, Copy, Debug)]
struct Window {
    bar: u8,
    offset: u32,
    length: u32,
}

impl<D: VirtioDevice<W>, W: Witness> PciState<D, W> {
    /// Reads configuration space: 1, 2 or 4 bytes, naturally aligned.
    pub(super) fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        let bytes_read = usize::from(offset)..usize::from(offset) + data.len();
        self.transport.capabilities_read |= self
            .transport
            .capabilities
            .at(offset)
            .is_some_and(|(cap, _)| bytes_read.contains(&(usize::from(cap.at) + field::CFG_TYPE)));
        if let Some((cap, within)) = self.transport.capabilities.at(offset)
            && cap.structure == Structure::PciCfg
            && usize::from(within) >= field::PCI_CFG_DATA
        {
            self.read_through_window(bytes(within, data));
        }
        self.transport.config.read(offset, data);
    }

    /// Writes configuration space: 1, 2 or 4 bytes, naturally aligned.
    pub(super) fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.transport.config.write(offset, data);
        let Some((cap, within)) = self.transport.capabilities.at(offset) else {
            self.follow_config();
            return;
        };
        // Capabilities and their fields are aligned to double words, so that an access is to one of
        // them, or to one byte field and the padding behind it.
        let field = match (cap.structure, usize::from(within)) {
            (Structure::PciCfg, field::PCI_CFG_DATA..) => {
                self.write_through_window(bytes(within, data));
                return;
            }
            (Structure::PciCfg, field::LENGTH..) => WindowField::Length,
            (Structure::PciCfg, field::OFFSET..) => WindowField::Offset,
            (Structure::PciCfg, field::BAR) => WindowField::Bar,
            _ => {
                self.core.witness.see(
                    &PciEvent::CapabilityWritten {
                        cfg_type: cap.structure.cfg_type(),
                        offset: within as u8,
                        width: data.len() as u8,
                    }
                    .into(),
                );
                return;
            }
        };
        let Window {
            bar,
            offset,
            length,
        } = self.window();
        self.core.witness.see(
            &PciEvent::WindowAddressed {
                bar,
                offset,
                length,
                field,
            }
            .into(),
        );
    }

    /// Follows what was written to configuration space.
    fn follow_config(&mut self) {
        let transport = &mut self.transport;
        if let Some(msix) = &mut transport.msix {
            msix.refresh(&transport.config, transport.sink.as_ref());
        }
        transport.update_pin();
        self.core.memory_access_changed(&self.transport);
    }

    /// §4.1.4.7.1: a read of pci_cfg_data reads the BAR, and puts what it finds into pci_cfg_data.
    fn read_through_window(&mut self, bytes: u8) {
        let window = self.window();
        self.tell_access(window, false, bytes);
        let Some(len) = self.executable(window) else {
            return;
        };
        let mut data = [0; 4];
        let data = &mut data[..len];
        self.bar_read(window.bar, u64::from(window.offset), data);
        if let Some(at) = self.transport.capabilities.window() {
            self.transport.config.put(at + field::PCI_CFG_DATA, data);
        }
    }

    /// §4.1.4.7.1: a write of pci_cfg_data writes its first cap.length bytes to the BAR.
    fn write_through_window(&mut self, bytes: u8) {
        let window = self.window();
        self.tell_access(window, true, bytes);
        let Some(len) = self.executable(window) else {
            return;
        };
        let mut data = [0; 4];
        if let Some(at) = self.transport.capabilities.window() {
            self.transport
                .config
                .read((at + field::PCI_CFG_DATA) as u16, &mut data);
        }
        self.bar_write(window.bar, u64::from(window.offset), &data[..len]);
    }

    fn window(&self) -> Window {
        let Some(at) = self.transport.capabilities.window() else {
            return Window {
                bar: 0,
                offset: 0,
                length: 0,
            };
        };
        let dword = |offset| {
            u32::from(self.transport.config.word(at + offset))
                | u32::from(self.transport.config.word(at + offset + 2)) << 16
        };
        Window {
            bar: dword(field::BAR) as u8,
            offset: dword(field::OFFSET),
            length: dword(field::LENGTH),
        }
    }

    fn tell_access(&mut self, window: Window, write: bool, bytes: u8) {
        let Window {
            bar,
            offset,
            length,
        } = window;
        let target = self.transport.layout.structure_of(bar, offset, length);
        self.core.witness.see(
            &PciEvent::WindowAccessed {
                write,
                bar,
                offset,
                length,
                target,
                bytes,
            }
            .into(),
        );
    }

    /// Bytes of an access that can be executed: 1, 2 or 4, all of them within a BAR. Others are not.
    fn executable(&self, window: Window) -> Option<usize> {
        let bar_len = self.transport.config.bar_len(window.bar)?;
        let end = u64::from(window.offset) + u64::from(window.length);
        (matches!(window.length, 1 | 2 | 4) && end <= bar_len).then_some(window.length as usize)
    }
}

/// How many bytes of pci_cfg_data, from the first on, an access to `data` at `within` of the capability
/// has.
fn bytes(within: impl Into<usize>, data: &[u8]) -> u8 {
    if within.into() == field::PCI_CFG_DATA {
        data.len() as u8
    } else {
        0
    }
}
