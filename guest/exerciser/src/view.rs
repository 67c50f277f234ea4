//! What the guest's kernel shows of the devices. The host compares it with what the devices told.
//!
//! Citations are of virtio 1.0.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stickler_exerciser::{GuestLine, GuestView, INTERRUPTS_PARAMETER, INTERRUPTS_RELAYED};

use crate::console;
use crate::devices::{self, Device, Kind};
use crate::failure::{Context, Result, ensure};
use crate::machine::{parameter, say};
use crate::sys::{self, Request};

/// VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS and VIRTIO_NET_F_MQ (§5.1.3).
const NET_MAC: usize = 5;
const NET_STATUS: usize = 16;
const NET_MQ: usize = 22;

/// VIRTIO_BLK_F_BLK_SIZE and VIRTIO_BLK_F_CONFIG_WCE (§5.2.3).
const BLOCK_BLK_SIZE: usize = 6;
const BLOCK_CONFIG_WCE: usize = 11;

/// VIRTIO_CONSOLE_F_SIZE (§5.3.3).
const CONSOLE_SIZE: usize = 0;

/// How often the size of a terminal is looked at, which may change with anything that is written.
const LOOKS: usize = 60;

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Says what the kernel shows of each device, and checks what needs no comparison.
pub(crate) fn look() -> Result {
    for kind in [Kind::Block, Kind::Net, Kind::Console] {
        for (number, device) in devices::of(kind)?.iter().enumerate() {
            let tell = |property: &str, value: String| {
                say(&GuestLine::View(GuestView {
                    kind,
                    number,
                    property: property.to_owned(),
                    value,
                }));
            };
            match kind {
                Kind::Block => block(device, tell),
                Kind::Net => network(device, tell),
                Kind::Console => terminal(device, tell),
                Kind::Entropy => {}
            }
        }
    }
    unhandled_interrupts()
}

fn block(device: &Device, tell: impl Fn(&str, String)) {
    let Some(disk) = inside(device, "block") else {
        return;
    };
    let read = |attribute: &str| read(&disk.join(attribute));
    if let Some(sectors) = read("size") {
        tell("capacity", sectors);
    }
    if device.has_feature(BLOCK_BLK_SIZE)
        && let Some(size) = read("queue/logical_block_size")
    {
        tell("blk_size", size);
    }
    if device.has_feature(BLOCK_CONFIG_WCE)
        && let Some(mode) = read("cache_type")
    {
        let back = u8::from(mode == "write back");
        tell("writeback", back.to_string());
    }
}

fn network(device: &Device, tell: impl Fn(&str, String)) {
    let Some(interface) = inside(device, "net") else {
        return;
    };
    if device.has_feature(NET_MAC)
        && let Some(address) = read(&interface.join("address"))
    {
        tell("mac", address);
    }
    // Without a link that can be read, the carrier is always there.
    if device.has_feature(NET_STATUS)
        && let Some(carrier) = read(&interface.join("carrier"))
    {
        tell("link", carrier);
    }
    if device.has_feature(NET_MQ) {
        let queues = devices::entries(&interface.join("queues")).unwrap_or_default();
        let pairs = queues
            .iter()
            .filter(|queue| devices::name(queue).starts_with("tx-"))
            .count();
        tell("max_virtqueue_pairs", pairs.to_string());
    }
}

fn terminal(device: &Device, tell: impl Fn(&str, String)) {
    if !device.has_feature(CONSOLE_SIZE) {
        return;
    }
    let mut told = BTreeSet::new();
    console::while_in_use(LOOKS, BETWEEN_LOOKS, |terminal| {
        let mut size = [0; 64];
        if sys::control(terminal, Request::WindowSize, &mut size).is_err() {
            return;
        }
        // struct winsize: rows, columns. With VIRTIO_CONSOLE_F_MULTIPORT a driver learns the size from a message
        // only, and until then the terminal has none.
        let half = |at: usize| u16::from_ne_bytes([size[at], size[at + 1]]);
        let now = (half(2), half(0));
        if now != (0, 0) && told.insert(now) {
            tell("size", format!("{}x{}", now.0, now.1));
        }
    });
}

/// The handlers of a device without MSI-X took its interrupts: with INTx, each has a cause in ISR status,
/// which the handler reads (§4.1.4.5). A message, in contrast, may find nothing to do, for the driver may have
/// looked at the queue just before. So may an interrupt that somebody between device and guest has passed on.
fn unhandled_interrupts() -> Result {
    if parameter(INTERRUPTS_PARAMETER).as_deref() == Some(INTERRUPTS_RELAYED) {
        return Ok(());
    }
    for device in devices::all()? {
        let vectors = devices::entries(&device.function.join("msi_irqs")).unwrap_or_default();
        let Some(number) = read(&device.function.join("irq")).filter(|_| vectors.is_empty()) else {
            continue;
        };
        let Ok(text) = fs::read_to_string(format!("/proc/irq/{number}/spurious")) else {
            continue;
        };
        let value = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let unhandled = value("unhandled").context(format!("/proc/irq/{number}/spurious"))?;
        ensure(unhandled == 0, || {
            format!(
                "no handler took {unhandled} of {} interrupts {number} of {}",
                value("count").unwrap_or_default(),
                device.describe()
            )
        })?;
    }
    Ok(())
}

/// The one directory in `kind` of the virtio device, such as `net/eth0`.
fn inside(device: &Device, kind: &str) -> Option<PathBuf> {
    let found = devices::entries(&device.virtio()?.join(kind)).ok()?;
    found.into_iter().next()
}

/// What is in a file, without the end of the line.
fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
