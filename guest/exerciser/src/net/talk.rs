//! Talking to the host: ping, and the echo services over UDP and TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use stickler_exerciser::{HOST, pattern};

use crate::doing;
use crate::failure::{Context, Result, ensure};
use crate::sys;

const ECHO: u16 = 7;

/// How long an answer to a packet is waited for.
const ANSWER: Duration = Duration::from_millis(1500);

/// So often a packet is sent that may get lost.
const ATTEMPTS: usize = 8;

/// How long a connection may stand still.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything.
pub(super) fn all() -> Result {
    for size in [0, 8, 1400, 4000] {
        ping(size, 2)?;
    }
    udp_one_by_one()?;
    udp_many_at_once()?;
    tcp(1, 1)?;
    tcp(10_000, 1)?;
    tcp(128 << 10, 2)
}

/// Sends `count` echo requests with `size` bytes of data.
pub(super) fn ping(size: usize, count: u16) -> Result {
    const HEADER: usize = 8;
    let socket = sys::icmp_socket().context("cannot ping")?;
    let host = SocketAddr::from((HOST, 0));
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
                // The header of IP comes with it: its length is in words.
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

/// Receives until `look` makes something of a packet, or none has come in time.
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

fn udp_socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    socket
        .connect((Ipv4Addr::from(HOST), ECHO))
        .context("there is no way to the host")?;
    Ok(socket)
}

/// A datagram with its number and size at its beginning.
fn datagram(number: u32, size: usize) -> Vec<u8> {
    let mut data = number.to_le_bytes().to_vec();
    data.extend(pattern::bytes(u64::from(number) + 60, size));
    data
}

fn udp_one_by_one() -> Result {
    let socket = udp_socket()?;
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

/// So many that queues fill up. Some may get lost; what comes is right.
fn udp_many_at_once() -> Result {
    const COUNT: u32 = 64;
    let socket = udp_socket()?;
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

/// Sends `size` bytes over `connections` at once and compares what comes back meanwhile.
fn tcp(size: usize, connections: u64) -> Result {
    doing(format!("echoing {size} bytes by TCP"));
    let threads: Vec<_> = (0..connections)
        .map(|number| thread::spawn(move || echo(size, 70 + number)))
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| "a thread panicked".to_owned())?
            .context(format!("{size} bytes by TCP"))?;
    }
    Ok(())
}

/// Connects to the host. A link that goes down and comes up again may be in the way for a while.
fn connect() -> Result<TcpStream> {
    let address = SocketAddr::from((HOST, ECHO));
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

fn echo(size: usize, seed: u64) -> Result {
    let mut stream = connect()?;
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
