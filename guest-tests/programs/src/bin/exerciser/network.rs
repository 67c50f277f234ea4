//! The network device.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use stickler_guest_programs::exercise::{ECHO_PORT, TAP_GUEST, TAP_HOST, USER_HOST};
use stickler_guest_programs::{machine, pattern};

use crate::drivers::{eventually, negotiated};

const INTERFACE: &str = "eth0";

/// The device type of a network card, and its feature of taking an address by a command.
const NET: u16 = 1;
const CTRL_MAC_ADDR: usize = 23;

/// How long an answer from the host may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the guest gets its network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// No device.
    None,
    /// Stickler's own network.
    User,
    /// A tap of the host.
    Tap,
}

impl Network {
    pub(crate) fn from_command_line(value: Option<&str>) -> Result<Self> {
        match value {
            None | Some("user") => Ok(Self::User),
            Some("tap") => Ok(Self::Tap),
            Some("none") => Ok(Self::None),
            Some(other) => bail!("unknown network {other:?}"),
        }
    }

    /// Brings the interface up, talks to the host, and gives the device commands.
    pub(crate) fn exercise(self) -> Result<()> {
        if self == Self::None {
            return Ok(());
        }
        self.use_again()?;
        control(self)?;
        self.talk()
    }

    /// Brings the interface up and talks to the host.
    pub(crate) fn use_again(self) -> Result<()> {
        if self == Self::None {
            return Ok(());
        }
        self.bring_up()?;
        self.talk()
    }

    fn bring_up(self) -> Result<()> {
        eventually("the network interface", || {
            Ok(Path::new("/sys/class/net")
                .join(INTERFACE)
                .exists()
                .then_some(()))
        })?;
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "set", INTERFACE, "up"])?;
        eventually("the link to come up", || {
            let carrier = fs::read_to_string(format!("/sys/class/net/{INTERFACE}/carrier"))?;
            Ok((carrier.trim() == "1").then_some(()))
        })?;
        match self {
            Self::None => Ok(()),
            Self::User => run(
                "udhcpc",
                &[
                    "-i",
                    INTERFACE,
                    "-n",
                    "-q",
                    "-f",
                    "-t",
                    "10",
                    "-T",
                    "2",
                    "-s",
                    "/etc/udhcpc.sh",
                ],
            )
            .context("no answer from DHCP"),
            Self::Tap => {
                let address = format!("{TAP_GUEST}/24");
                run("ip", &["addr", "replace", &address, "dev", INTERFACE])
            }
        }
    }

    fn host(self) -> &'static str {
        match self {
            Self::Tap => TAP_HOST,
            Self::None | Self::User => USER_HOST,
        }
    }

    /// Ping, and the echo services over UDP and TCP.
    fn talk(self) -> Result<()> {
        let host = self.host();
        for size in ["8", "1400"] {
            run(
                "ping",
                &["-c", "3", "-i", "0.2", "-W", "10", "-s", size, host],
            )
            .context("the host does not answer to ping")?;
        }
        let address: Ipv4Addr = host.parse()?;
        let address = SocketAddr::from((address, ECHO_PORT));
        udp(address).context("UDP echo")?;
        tcp(address, 512 << 10).context("TCP echo")?;
        if self == Self::Tap {
            // Larger than the link: the device's segmentation and checksums are at work.
            run(
                "ping",
                &["-c", "2", "-i", "0.2", "-W", "10", "-s", "6000", host],
            )
            .context("the host does not answer to large packets")?;
            tcp(address, 4 << 20).context("TCP echo of much data")?;
        }
        Ok(())
    }

    /// Sends to the host until the returned guard is dropped, whatever becomes of the interface.
    pub(crate) fn keep_busy(self) -> Busy {
        let stop = Arc::new(AtomicBool::new(self == Self::None));
        let stopped = Arc::clone(&stop);
        let target = format!("{}:9", self.host());
        thread::spawn(move || {
            let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else {
                return;
            };
            let data = [0; 1000];
            while !stopped.load(Ordering::Relaxed) {
                // The interface goes away while we send: that is the point.
                if socket.send_to(&data, &target).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Busy(stop)
    }
}

/// Traffic that ends when this is dropped.
pub(crate) struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What makes the driver use the control queue: receive modes, addresses, VLANs.
fn control(network: Network) -> Result<()> {
    for mode in ["promisc", "-promisc", "allmulti", "-allmulti"] {
        run("ifconfig", &[INTERFACE, mode])?;
    }
    for action in [&["add", INTERFACE, "5"][..], &["rem", "eth0.5"]] {
        run("vconfig", action)?;
    }
    if negotiated(NET, CTRL_MAC_ADDR)? {
        addresses(network)?;
    }
    for state in ["down", "up"] {
        run("ip", &["link", "set", INTERFACE, state])?;
    }
    network.bring_up()
}

/// Gives the interface another address, and its own again. Without a command for it the device would
/// not know of the other one, and would pass on nothing that is for it.
fn addresses(network: Network) -> Result<()> {
    let path = format!("/sys/class/net/{INTERFACE}/address");
    let original = fs::read_to_string(&path)?.trim().to_owned();
    for address in ["02:00:00:00:76:05", &original] {
        run("ip", &["link", "set", INTERFACE, "address", address])
            .context("the interface takes no other address")?;
        let now = fs::read_to_string(&path)?;
        ensure!(
            now.trim() == address,
            "the interface has the address {now} instead of {address}"
        );
        // The host still knows the old address.
        run("ip", &["neigh", "flush", "dev", INTERFACE])?;
        run(
            "ping",
            &["-c", "2", "-i", "0.2", "-W", "10", network.host()],
        )
        .context("the host does not answer the new address")?;
    }
    Ok(())
}

fn udp(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    for size in [1, 60, 512, 1472] {
        let data = pattern::bytes(size as u64, size);
        let mut found = vec![0; 2048];
        // Datagrams may get lost.
        let count = (0..5)
            .find_map(|_| {
                socket.send(&data).ok()?;
                socket.recv(&mut found).ok()
            })
            .context("no answer")?;
        pattern::compare(&found[..count], &data)
            .map_err(|difference| anyhow!("the answer is wrong: {difference}"))?;
    }
    Ok(())
}

fn tcp(address: SocketAddr, size: usize) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let data = pattern::bytes(20, size);
    let mut sender = stream.try_clone()?;
    let sent = data.clone();
    let sending = thread::spawn(move || sender.write_all(&sent));
    let mut found = vec![0; size];
    stream.read_exact(&mut found).context("no answer")?;
    sending
        .join()
        .map_err(|_| anyhow!("the sender panicked"))?
        .context("cannot send")?;
    pattern::compare(&found, &data)
        .map_err(|difference| anyhow!("the answer is wrong: {difference}"))
}

/// Runs one of busybox's tools.
fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", machine::PATH)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {} failed: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
