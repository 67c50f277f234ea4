//! What answers on the userspace network: echo (RFC 862) and discard (RFC 863) over TCP and UDP, a name server that
//! knows no names, DHCP and TFTP.
//!
//! Citations are of virtio 1.0.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Duration;

use super::{ServedFile, dhcp, tftp};

const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const DNS: u16 = 53;

/// Connections of one service at most, and how many more are listened for at any time.
const CONNECTIONS: usize = 64;
const LISTENING: usize = 8;

/// Buffers of one connection, each way.
const TCP_BUFFER: usize = 64 << 10;
/// Buffers of one UDP socket, each way: bytes, and packets.
const UDP_BUFFER: usize = 64 << 10;
const UDP_PACKETS: usize = 64;

/// A connection whose other end has been silent for so long is given up; it is asked for a sign of
/// life some times before. Guests vanish without a word.
const TIMEOUT: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// All services.
pub(super) struct Services {
    tcp: [TcpService; 2],
    udp_echo: SocketHandle,
    udp_discard: SocketHandle,
    dns: SocketHandle,
    dhcp_socket: SocketHandle,
    dhcp: dhcp::Server,
    tftp_socket: SocketHandle,
    tftp: tftp::TftpServer,
    /// Room for what one connection has to say.
    scratch: Vec<u8>,
}

struct TcpService {
    port: u16,
    echoes: bool,
    sockets: Vec<SocketHandle>,
}

impl Services {
    /// Opens the sockets of all services.
    pub(super) fn new(sockets: &mut SocketSet<'static>, files: &[ServedFile]) -> Self {
        let service = |port, echoes| TcpService {
            port,
            echoes,
            sockets: Vec::new(),
        };
        Services {
            tcp: [service(ECHO, true), service(DISCARD, false)],
            udp_echo: sockets.add(udp_socket(ECHO)),
            udp_discard: sockets.add(udp_socket(DISCARD)),
            dns: sockets.add(udp_socket(DNS)),
            dhcp_socket: sockets.add(udp_socket(dhcp::PORT)),
            dhcp: dhcp::Server::that_boots(files.first().map(|file| file.name.clone())),
            tftp_socket: sockets.add(udp_socket(tftp::PORT)),
            tftp: tftp::TftpServer::new(files.to_vec()),
            scratch: vec![0; TCP_BUFFER],
        }
    }

    /// Does for each client what its service does. Gives whether there was anything to do.
    pub(super) fn serve(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let mut served = false;
        for service in &mut self.tcp {
            served |= service.serve(sockets, &mut self.scratch);
        }
        served |= udp_echo(sockets.get_mut(self.udp_echo), &mut self.scratch, |_| true);
        served |= udp_echo(sockets.get_mut(self.udp_discard), &mut self.scratch, |_| {
            false
        });
        served |= udp_echo(sockets.get_mut(self.dns), &mut self.scratch, no_such_name);
        served |= self.dhcp.serve(sockets.get_mut(self.dhcp_socket));
        served |= self.tftp.serve(sockets.get_mut(self.tftp_socket));
        served
    }
}

impl TcpService {
    fn serve(&mut self, sockets: &mut SocketSet<'static>, scratch: &mut [u8]) -> bool {
        let mut served = false;
        let mut listening = 0;
        let (port, echoes) = (self.port, self.echoes);
        self.sockets.retain(|handle| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            served |= if echoes {
                echo(socket, scratch)
            } else {
                discard(socket)
            };
            match socket.state() {
                tcp::State::Listen => listening += 1,
                tcp::State::Closed if listening < LISTENING && socket.listen(port).is_ok() => {
                    listening += 1;
                }
                tcp::State::Closed => {
                    sockets.remove(*handle);
                    return false;
                }
                _ => {}
            }
            true
        });
        while listening < LISTENING && self.sockets.len() < CONNECTIONS {
            self.sockets.push(sockets.add(tcp_socket(port)));
            listening += 1;
        }
        served
    }
}

/// Sends back the data received, and closes when the other side does.
fn echo(socket: &mut tcp::Socket<'_>, scratch: &mut [u8]) -> bool {
    let mut served = false;
    while socket.can_recv() && socket.can_send() {
        let room = socket.send_capacity() - socket.send_queue();
        let room = room.min(scratch.len());
        let Some(bytes) = scratch.get_mut(..room) else {
            break;
        };
        let Ok(received) = socket.recv_slice(bytes) else {
            break;
        };
        if received == 0 {
            break;
        }
        // It fits: nothing else is sent here.
        let _ = socket.send_slice(bytes.get(..received).unwrap_or_default());
        served = true;
    }
    served | close_after(socket)
}

/// Reads the data received, and closes when the other side does.
fn discard(socket: &mut tcp::Socket<'_>) -> bool {
    let mut served = false;
    while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {
        served = true;
    }
    served | close_after(socket)
}

fn close_after(socket: &mut tcp::Socket<'_>) -> bool {
    let done = socket.state() == tcp::State::CloseWait && !socket.can_recv();
    if done {
        socket.close();
    }
    done
}

/// Sends each datagram back where it came from, if `answer` has made an answer of it.
fn udp_echo(
    socket: &mut udp::Socket<'_>,
    scratch: &mut [u8],
    answer: impl Fn(&mut [u8]) -> bool,
) -> bool {
    let mut served = false;
    while socket.can_send()
        && let Ok((len, from)) = socket.recv_slice(scratch)
    {
        served = true;
        if let Some(datagram) = scratch.get_mut(..len)
            && answer(datagram)
        {
            let mut to = from;
            // What was broadcast is answered from our own address.
            to.local_address = to
                .local_address
                .filter(|address| super::ADDRESSES.iter().any(|own| own.address() == *address));
            // One that does not fit is lost, as datagrams are.
            let _ = socket.send_slice(datagram, to);
        }
    }
    served
}

/// Makes of a DNS query the answer that there is no such name (RFC 1035 §4.1.1).
fn no_such_name(query: &mut [u8]) -> bool {
    const RESPONSE: u8 = 0x80;
    const NAME_ERROR: u8 = 3;
    match query {
        [_, _, high, low, _, _, _, _, _, _, _, _, ..] if *high & RESPONSE == 0 => {
            *high |= RESPONSE;
            *low = NAME_ERROR;
            true
        }
        _ => false,
    }
}

fn tcp_socket(port: u16) -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_timeout(Some(TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    // Fails only for port 0 and for sockets that are open.
    let _ = socket.listen(port);
    socket
}

fn udp_socket(port: u16) -> udp::Socket<'static> {
    let buffer = || {
        udp::PacketBuffer::new(
            vec![udp::PacketMetadata::EMPTY; UDP_PACKETS],
            vec![0; UDP_BUFFER],
        )
    };
    let mut socket = udp::Socket::new(buffer(), buffer());
    // As above.
    let _ = socket.bind(port);
    socket
}
