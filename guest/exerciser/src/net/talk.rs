//! Talking to the host: ping, and the echo services over UDP and TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use stickler_exerciser::{ECHO_PORT, pattern};

use super::Network;
use crate::doing;
use crate::failure::{Context, Result, ensure};
use crate::sys;

/// How long to wait for the answer to a packet.
const ANSWER: Duration = Duration::from_millis(1500);

/// How often a packet that may get lost is sent.
const ATTEMPTS: usize = 8;

/// How long a connection may make no progress.
const PATIENCE: Duration = Duration::from_secs(30);

/// Uses all services of the host.
pub(super) fn all(network: Network) -> Result {
    for size in [0, 8, 1400, 4000] {
        ping(network, size, 2)?;
    }
    udp_one_by_one(network)?;
    udp_many_at_once(network)?;
    tcp(network, 1, 1)?;
    tcp(network, 10_000, 1)?;
    tcp(network, 128 << 10, 2)
}

/// Sends as much data as the kind of network is good for.
pub(super) fn much(network: Network) -> Result {
    match network {
        Network::Fixed => Ok(()),
        Network::Dhcp => tcp(network, 512 << 10, 1),
        // A tap offers checksums and segmentation to the driver; this is enough for both.
        Network::Tap => {
            ping(network, 6000, 2)?;
            tcp(network, 4 << 20, 1)
        }
    }
}

/// Sends `count` echo requests with `size` bytes of data.
pub(super) fn ping(network: Network, size: usize, count: u16) -> Result {
    const HEADER: usize = 8;
    let socket = sys::icmp_socket().context("cannot ping")?;
    let host = SocketAddr::from((network.host(), 0));
    socket.connect(host).context("cannot ping")?;
    for sequence in 0..count {
        doing(format!("pinging the host with {size} bytes"));
        let mut request = vec![8, 0, 0, 0, 0x57, 0x1c];
        request.extend(sequence.to_be_bytes());
        request.extend(pattern::bytes(u64::from(sequence) + 50, size));
        let sum = checksum(&request).to_be_bytes();
        request[2..4].copy_from_slice(&sum);
        let mut found = vec![0; 64 << 10];
        let answered = (0..ATTEMPTS).any(|_| {
            if socket.send(&request).is_err() {
                thread::sleep(Duration::from_millis(200));
            }
            receive(&socket, &mut found, |packet| {
                // The IP header comes first; its length is in words.
                let header = usize::from(packet.first()? & 15) * 4;
                let answer = packet.get(header..)?;
                let same = answer.get(4..HEADER)? == &request[4..HEADER];
                (answer[0] == 0 && same).then(|| answer[HEADER..] == request[HEADER..])
            }) == Some(true)
        });
        ensure(answered, || {
            format!(
                "the host does not answer a ping of {size} bytes, sent {ATTEMPTS} times, with the same data"
            )
        })?;
    }
    Ok(())
}

/// Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Receives until `look` returns something for a packet, or none has come in time.
fn receive<T>(
    socket: &UdpSocket,
    buffer: &mut [u8],
    look: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let begin = Instant::now();
    socket.set_read_timeout(Some(ANSWER)).ok()?;
    while begin.elapsed() < ANSWER {
        let count = socket.recv(buffer).ok()?;
        let found = look(&buffer[..count]);
        if found.is_some() {
            return found;
        }
    }
    None
}

fn udp_socket(network: Network) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    socket
        .connect((network.host(), ECHO_PORT))
        .context("the host cannot be reached")?;
    Ok(socket)
}

/// A datagram with its number and size at its beginning.
fn datagram(number: u32, size: usize) -> Vec<u8> {
    let mut data = number.to_le_bytes().to_vec();
    data.extend(pattern::bytes(u64::from(number) + 60, size));
    data
}

fn udp_one_by_one(network: Network) -> Result {
    let socket = udp_socket(network)?;
    let mut found = vec![0; 64 << 10];
    // The last one comes in fragments.
    for (number, size) in (0..).zip([0, 1, 14, 60, 508, 1000, 1468, 5000]) {
        let data = datagram(number, size);
        doing(format!(
            "waiting for the echo of {} bytes by UDP",
            data.len()
        ));
        let answer = (0..ATTEMPTS).find_map(|_| {
            socket.send(&data).ok();
            receive(&socket, &mut found, |packet| {
                packet
                    .starts_with(&number.to_le_bytes())
                    .then(|| packet.to_vec())
            })
        });
        let answer = answer.context(format!(
            "no echo of {} bytes by UDP, sent {ATTEMPTS} times",
            data.len()
        ))?;
        pattern::compare(&answer, &data)
            .map_err(|how| format!("the echo of {} bytes by UDP is wrong: {how}", data.len()))?;
    }
    Ok(())
}

/// Fills queues with datagrams. Some may get lost; those that come back are right.
fn udp_many_at_once(network: Network) -> Result {
    const COUNT: u32 = 64;
    let socket = udp_socket(network)?;
    let size = |number: u32| (number as usize * 97) % 1400;
    doing(format!("waiting for {COUNT} echoes by UDP"));
    let mut came = 0;
    let mut found = vec![0; 64 << 10];
    for number in 0..COUNT {
        socket.send(&datagram(number, size(number))).ok();
    }
    while came < COUNT {
        let Some(packet) = receive(&socket, &mut found, |packet| Some(packet.to_vec())) else {
            break;
        };
        let number = packet
            .first_chunk::<4>()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .filter(|number| *number < COUNT)
            .context("an echo by UDP is of nothing that was sent")?;
        pattern::compare(&packet, &datagram(number, size(number)))
            .map_err(|how| format!("the echo of datagram {number} by UDP is wrong: {how}"))?;
        came += 1;
    }
    ensure(came > 0, || {
        format!("of {COUNT} datagrams sent at once none came back")
    })
}

/// Sends `size` bytes over each of `connections` at once, and compares what comes back at the same time.
fn tcp(network: Network, size: usize, connections: u64) -> Result {
    doing(format!("echoing {size} bytes by TCP"));
    let threads: Vec<_> = (0..connections)
        .map(|number| thread::spawn(move || echo(network, size, 70 + number)))
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| "a thread panicked".to_owned())?
            .context(format!("{size} bytes by TCP"))?;
    }
    Ok(())
}

/// Connects to the host, which takes longer while the link is down.
fn connect(network: Network) -> Result<TcpStream> {
    let address = SocketAddr::from((network.host(), ECHO_PORT));
    let since = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Err(error)
                if since.elapsed() < PATIENCE
                    && matches!(
                        error.kind(),
                        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
                    ) =>
            {
                thread::sleep(Duration::from_millis(200));
            }
            result => return result.context("no connection"),
        }
    }
}

fn echo(network: Network, size: usize, seed: u64) -> Result {
    let mut stream = connect(network)?;
    stream.set_read_timeout(Some(PATIENCE)).context("time")?;
    stream.set_write_timeout(Some(PATIENCE)).context("time")?;
    let data = pattern::bytes(seed, size);
    let mut sender = stream
        .try_clone()
        .context("cannot use a connection twice")?;
    let sent = data.clone();
    let sending = thread::spawn(move || sender.write_all(&sent));
    let mut found = vec![0; size];
    let mut count = 0;
    while count < size {
        let more = stream
            .read(&mut found[count..])
            .context(format!("after {count} bytes came back"))?;
        ensure(more > 0, || {
            format!("the connection ends after {count} bytes")
        })?;
        count += more;
    }
    sending
        .join()
        .map_err(|_| "the sender panicked".to_owned())?
        .context("cannot send")?;
    pattern::compare(&found, &data).map_err(|how| format!("what comes back is wrong: {how}"))
}
