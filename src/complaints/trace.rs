//! The functions in a call trace, and the drivers they are of.

use std::fmt;

use super::ComplaintKind;

/// A function in a call trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedFunction<'a> {
    /// Its name, without offset.
    pub name: &'a str,
    /// Its module, if it is in one.
    pub module: Option<&'a str>,
}

impl fmt::Display for TracedFunction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

/// The modules whose drivers are judged, and what these rest on. `hvc_` is the console's terminal.
const MODULES: [&str; 8] = [
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_ring",
    "virtio",
];

/// How functions of these drivers begin, where the drivers are built into the kernel, and of which they are.
const FUNCTIONS: [(&str, &str); 15] = [
    ("virtnet_", "virtio_net"),
    ("virtblk_", "virtio_blk"),
    ("virtcons_", "virtio_console"),
    ("hvc_", "virtio_console"),
    ("virtrng_", "virtio_rng"),
    ("vp_modern_", "virtio_pci"),
    ("vp_", "virtio_pci"),
    ("virtio_pci_", "virtio_pci"),
    ("vring_", "virtio_ring"),
    ("vring", "virtio_ring"),
    ("virtqueue_", "virtio_ring"),
    ("detach_buf_split", "virtio_ring"),
    ("detach_buf_packed", "virtio_ring"),
    ("virtio_device_", "virtio"),
    ("virtio_dev_", "virtio"),
];

/// Functions of these drivers that have names of their own, where the drivers are built into the kernel: Debian's
/// cloud kernels have virtio_console so.
const OWN_FUNCTIONS: [(&str, &str); 29] = [
    ("port_fops_write", "virtio_console"),
    ("port_fops_read", "virtio_console"),
    ("port_fops_poll", "virtio_console"),
    ("port_fops_open", "virtio_console"),
    ("port_fops_release", "virtio_console"),
    ("port_fops_splice_write", "virtio_console"),
    ("alloc_buf", "virtio_console"),
    ("free_buf", "virtio_console"),
    ("remove_vqs", "virtio_console"),
    ("__send_to_port", "virtio_console"),
    ("__send_control_msg", "virtio_console"),
    ("send_control_msg", "virtio_console"),
    ("reclaim_consumed_buffers", "virtio_console"),
    ("discard_port_data", "virtio_console"),
    ("init_port_console", "virtio_console"),
    ("unplug_port", "virtio_console"),
    ("control_work_handler", "virtio_console"),
    ("virtio_queue_rq", "virtio_blk"),
    ("virtio_queue_rqs", "virtio_blk"),
    ("virtio_commit_rqs", "virtio_blk"),
    ("try_fill_recv", "virtio_net"),
    ("skb_recv_done", "virtio_net"),
    ("skb_xmit_done", "virtio_net"),
    ("receive_mergeable", "virtio_net"),
    ("free_unused_bufs", "virtio_net"),
    ("random_recv_done", "virtio_rng"),
    ("register_virtio_device", "virtio"),
    ("unregister_virtio_device", "virtio"),
    ("virtio_reset_device", "virtio"),
];

/// The functions that a line of a complaint names. What the kernel marks with `?` may be left from an earlier
/// call and is left out, and so is `Modules linked in:`.
pub fn functions_of(line: &str) -> Vec<TracedFunction<'_>> {
    let line = line.trim();
    if line.starts_with("Modules linked in:") || line.starts_with("Code: ") {
        return Vec::new();
    }
    // `[<00000000c1b2d3e4>] vp_interrupt [virtio_pci]`, `threaded [<…>] name`: handlers of an interrupt.
    if let Some((_, handlers)) = line.split_once("[<") {
        return handlers
            .split("[<")
            .filter_map(|handler| {
                let (_, name) = handler.split_once(">] ")?;
                let name = name.trim();
                if name.starts_with("? ") {
                    return None;
                }
                let mut words = name.split(' ');
                let function = words.next()?;
                let name = function.split('+').next()?;
                Some(TracedFunction {
                    name,
                    module: words.next().and_then(module),
                })
            })
            .collect();
    }
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let workqueue = line.starts_with("Workqueue: ");
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        // `Workqueue: events control_work_handler [virtio_console]` has no offset.
        let is_work = workqueue && at == 2;
        let of_segment = word
            .rsplit_once(':')
            .map_or(*word, |(_, function)| function);
        let name = match of_segment.split_once("+0x") {
            Some((name, _)) => name,
            None if is_work => word,
            None => continue,
        };
        if name.is_empty() || at > 0 && words[at - 1] == "?" {
            continue;
        }
        found.push(TracedFunction {
            name: name.trim_start_matches('('),
            module: words.get(at + 1).and_then(|word| module(word)),
        });
    }
    found
}

/// `[virtio_net]`, `[virtio_net(E)]`, `[virtio_net 0123456789abcdef]`, of which the word ends at the blank.
fn module(word: &str) -> Option<&str> {
    let inside = word.strip_prefix('[')?;
    let end = inside.find(['(', ']']).unwrap_or(inside.len());
    let name = &inside[..end];
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (!name.is_empty() && name.bytes().all(valid)).then_some(name)
}

/// The judged drivers of which a function takes part in the complaint `lines`, each once.
pub(super) fn drivers_in(kind: ComplaintKind, lines: &[String]) -> Vec<String> {
    let mut drivers: Vec<String> = Vec::new();
    let mut add = |driver: &str| {
        if !drivers.iter().any(|known| known == driver) {
            drivers.push(driver.to_owned());
        }
    };
    let own = own_lines(kind, lines).iter();
    // Of an interrupt that nobody took, its handlers are what matters, and not where it came.
    let own = own.filter(|line| kind != ComplaintKind::UnhandledInterrupt || line.contains("[<"));
    for function in own.flat_map(|line| functions_of(line)) {
        if let Some(driver) = driver_of(&function) {
            add(driver);
        }
    }
    if kind == ComplaintKind::NetWatchdog
        && let Some(driver) = lines.iter().find_map(|line| watched(line))
    {
        add(driver);
    }
    drivers
}

/// The lines without the trace of what an interrupt has interrupted, which has no part in what its handler does:
/// from the end of the interrupt's stack on.
fn own_lines(kind: ComplaintKind, lines: &[String]) -> &[String] {
    if kind.is_of_interrupted() || kind == ComplaintKind::UnhandledInterrupt {
        return lines;
    }
    let at = |mark: &str| lines.iter().position(|line| line.trim() == mark);
    let (Some(begin), Some(end)) = (at("<IRQ>"), at("</IRQ>")) else {
        return lines;
    };
    let is_of_handler = begin < end
        && lines[begin..end]
            .iter()
            .any(|line| !functions_of(line).is_empty());
    if is_of_handler { &lines[..end] } else { lines }
}

/// The judged driver that a function is of.
fn driver_of(function: &TracedFunction<'_>) -> Option<&'static str> {
    if let Some(module) = function.module {
        if module == "hvc_console" {
            return Some("virtio_console");
        }
        return MODULES.into_iter().find(|known| *known == module);
    }
    // `alloc_buf.isra.0`, `remove_vqs.cold`: parts that the compiler has made.
    let name = function.name.split('.').next().unwrap_or(function.name);
    OWN_FUNCTIONS
        .into_iter()
        .find(|(own, _)| name == *own)
        .or_else(|| {
            let begins = |(beginning, _): &(&str, &str)| name.starts_with(beginning);
            FUNCTIONS.into_iter().find(begins)
        })
        .map(|(_, driver)| driver)
}

/// The driver of the interface that does not transmit: `NETDEV WATCHDOG: eth0 (virtio_net): transmit queue 0 timed
/// out`, and since Linux 6.9 `virtio_net virtio0 eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out`.
fn watched(line: &str) -> Option<&'static str> {
    let (before, after) = line.split_once("NETDEV WATCHDOG: ")?;
    let named = |text: &str| MODULES.into_iter().find(|module| text == *module);
    let first = before.trim().split(' ').next().unwrap_or_default();
    let inside = after
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    named(first).or_else(|| named(inside?.0))
}
