//! The DHCP server (RFC 2131) of the userspace network.

use smoltcp::socket::udp;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, IpAddress, Ipv4Address,
};

use super::{GATEWAY, NETMASK};

/// The port of DHCP servers.
pub(super) const PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// The first address given out; the following ones go to further clients.
const FIRST: [u8; 4] = [10, 0, 2, 15];
/// Clients that get an address.
const CLIENTS: usize = 64;

const LEASE_SECONDS: u32 = 24 * 60 * 60;

const OPTION_CLIENT_IDENTIFIER: u8 = 61;

/// Who has which address.
#[derive(Default)]
pub(super) struct Server {
    clients: Vec<EthernetAddress>,
    /// The file that clients are told to boot.
    boot_file: Option<String>,
}

impl Server {
    /// A server that tells clients to boot this file, of the gateway's TFTP server.
    pub(super) fn that_boots(boot_file: Option<String>) -> Server {
        Server {
            boot_file,
            ..Server::default()
        }
    }

    /// Answers what has arrived. Gives whether anything had.
    pub(super) fn serve(&mut self, socket: &mut udp::Socket<'_>) -> bool {
        let mut served = false;
        while socket.can_send()
            && let Ok((request, from)) = socket.recv()
        {
            served = true;
            let Some((reply, client)) = self.answer(request) else {
                continue;
            };
            // A client without an address cannot be asked for its hardware address: broadcast.
            let mut to = from;
            to.endpoint.addr = IpAddress::Ipv4(client.unwrap_or(Ipv4Address::BROADCAST));
            to.endpoint.port = CLIENT_PORT;
            to.local_address = Some(IpAddress::Ipv4(GATEWAY));
            // There is room: can_send said so.
            let _ = socket.send_slice(&reply, to);
        }
        served
    }

    /// The reply to a message, and the address the client has already.
    fn answer(&mut self, request: &[u8]) -> Option<(Vec<u8>, Option<Ipv4Address>)> {
        let packet = DhcpPacket::new_checked(request).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        let mac = request.client_hardware_address;
        let address = self.address_of(mac)?;
        let message_type = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Inform => DhcpMessageType::Ack,
            DhcpMessageType::Request => {
                if request.server_identifier.is_some_and(|id| id != GATEWAY) {
                    // It has chosen another server.
                    return None;
                }
                if request.requested_ip.unwrap_or(request.client_ip) == address {
                    DhcpMessageType::Ack
                } else {
                    DhcpMessageType::Nak
                }
            }
            _ => return None,
        };
        // RFC 6842: the client's identifier goes back as it came.
        let identifier = packet
            .options()
            .find(|option| option.kind == OPTION_CLIENT_IDENTIFIER);
        let mut reply = reply(&request, message_type, address, identifier)?;
        if let (Some(name), true) = (&self.boot_file, message_type != DhcpMessageType::Nak) {
            boot_from(&mut reply, name);
        }
        let has = request.client_ip;
        let unicast = !has.is_unspecified() && message_type != DhcpMessageType::Nak;
        Some((reply, unicast.then_some(has)))
    }

    fn address_of(&mut self, mac: EthernetAddress) -> Option<Ipv4Address> {
        let place = match self.clients.iter().position(|client| *client == mac) {
            Some(place) => place,
            None if self.clients.len() < CLIENTS => {
                self.clients.push(mac);
                self.clients.len() - 1
            }
            None => return None,
        };
        let [a, b, c, d] = FIRST;
        Some(Ipv4Address::new(a, b, c, d + u8::try_from(place).ok()?))
    }
}

fn reply(
    request: &DhcpRepr<'_>,
    message_type: DhcpMessageType,
    address: Ipv4Address,
    identifier: Option<DhcpOption<'_>>,
) -> Option<Vec<u8>> {
    let refused = message_type == DhcpMessageType::Nak;
    // A client that only informs itself has an address.
    let leases = !refused && request.message_type != DhcpMessageType::Inform;
    let options: Vec<_> = identifier.into_iter().collect();
    let reply = DhcpRepr {
        message_type,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: request.client_hardware_address,
        client_ip: request.client_ip,
        your_ip: if leases {
            address
        } else {
            Ipv4Address::UNSPECIFIED
        },
        server_ip: Ipv4Address::UNSPECIFIED,
        router: (!refused).then_some(GATEWAY),
        subnet_mask: (!refused).then_some(NETMASK),
        relay_agent_ip: request.relay_agent_ip,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(GATEWAY),
        parameter_request_list: None,
        dns_servers: (!refused).then(|| [GATEWAY].into_iter().collect()),
        max_size: None,
        lease_duration: leases.then_some(LEASE_SECONDS),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    // RFC 951: no message is shorter than 300 bytes, and there are clients that insist.
    let extra = options
        .iter()
        .map(|option| 2 + option.data.len())
        .sum::<usize>();
    let mut bytes = vec![0; (reply.buffer_len() + extra).max(300)];
    let mut packet = DhcpPacket::new_checked(&mut bytes[..]).ok()?;
    reply.emit(&mut packet).ok()?;
    Some(bytes)
}

/// Adds to a message from where to boot: `siaddr` and `file` (section 2).
fn boot_from(message: &mut [u8], name: &str) {
    const SIADDR: usize = 20;
    const FILE: usize = 108;
    const FILE_SIZE: usize = 128;
    let address = GATEWAY.octets();
    // It ends with a zero.
    let name = name.as_bytes();
    if name.len() < FILE_SIZE
        && let Some(to) = message.get_mut(FILE..FILE + name.len())
    {
        to.copy_from_slice(name);
        message[SIADDR..][..address.len()].copy_from_slice(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const TWO: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

    fn message(message_type: DhcpMessageType, client: EthernetAddress) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type,
            transaction_id: 0x1234,
            secs: 7,
            client_hardware_address: client,
            client_ip: Ipv4Address::UNSPECIFIED,
            your_ip: Ipv4Address::UNSPECIFIED,
            server_ip: Ipv4Address::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: Some(&[1, 3, 6]),
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn ask(server: &mut Server, message: &DhcpRepr<'_>) -> Option<(Vec<u8>, Option<Ipv4Address>)> {
        let mut bytes = [0; 600];
        let mut packet = DhcpPacket::new_checked(&mut bytes[..]).expect("long enough");
        message.emit(&mut packet).expect("fits");
        server.answer(&bytes)
    }

    /// Type, address and lease of the answer.
    fn summary(answer: Option<(Vec<u8>, Option<Ipv4Address>)>) -> Option<(u8, u8, Option<u32>)> {
        let (bytes, _) = answer?;
        let packet = DhcpPacket::new_checked(&bytes[..]).expect("long enough");
        let reply = DhcpRepr::parse(&packet).expect("well-formed");
        assert_eq!(reply.transaction_id, 0x1234);
        assert_eq!(reply.server_identifier, Some(GATEWAY));
        let [.., last] = reply.your_ip.octets();
        Some((reply.message_type.into(), last, reply.lease_duration))
    }

    const OFFER: u8 = 2;
    const ACK: u8 = 5;
    const NAK: u8 = 6;

    #[test]
    fn each_client_is_offered_an_address_of_its_own_and_keeps_it() {
        let mut server = Server::default();
        let lease = Some(LEASE_SECONDS);
        for _ in 0..2 {
            for (client, last) in [(ONE, 15), (TWO, 16)] {
                let discover = message(DhcpMessageType::Discover, client);
                let offered = summary(ask(&mut server, &discover));
                assert_eq!(offered, Some((OFFER, last, lease)));
                let mut request = message(DhcpMessageType::Request, client);
                request.requested_ip = Some(Ipv4Address::new(10, 0, 2, last));
                request.server_identifier = Some(GATEWAY);
                let granted = summary(ask(&mut server, &request));
                assert_eq!(granted, Some((ACK, last, lease)));
            }
        }
    }

    #[test]
    fn what_was_not_offered_is_not_granted() {
        let mut server = Server::default();
        let mut request = message(DhcpMessageType::Request, ONE);
        request.requested_ip = Some(Ipv4Address::new(192, 168, 1, 2));
        let (reply, client) = ask(&mut server, &request).expect("an answer");
        assert_eq!(client, None);
        assert_eq!(summary(Some((reply, client))), Some((NAK, 0, None)));
        request.server_identifier = Some(Ipv4Address::new(10, 0, 2, 3));
        assert_eq!(ask(&mut server, &request), None, "meant for another server");
        let release = message(DhcpMessageType::Release, ONE);
        assert_eq!(ask(&mut server, &release), None);
        assert_eq!(server.answer(b"not a message"), None);
        assert_eq!(server.answer(&[0; 300]), None);
    }

    #[test]
    fn a_client_with_an_address_is_answered_there() {
        let mut server = Server::default();
        let mut renewal = message(DhcpMessageType::Request, ONE);
        renewal.client_ip = Ipv4Address::new(10, 0, 2, 15);
        let (reply, client) = ask(&mut server, &renewal).expect("an answer");
        assert_eq!(client, Some(renewal.client_ip));
        let lease = Some(LEASE_SECONDS);
        assert_eq!(summary(Some((reply, client))), Some((ACK, 15, lease)));
        let mut inform = message(DhcpMessageType::Inform, ONE);
        inform.client_ip = Ipv4Address::new(10, 0, 2, 99);
        assert_eq!(summary(ask(&mut server, &inform)), Some((ACK, 0, None)));
    }

    #[test]
    fn a_file_to_boot_is_named_where_firmware_looks() {
        let discover = message(DhcpMessageType::Discover, ONE);
        let mut server = Server::that_boots(Some("boot".to_owned()));
        let (reply, _) = ask(&mut server, &discover).expect("an answer");
        assert_eq!(reply[20..24], GATEWAY.octets());
        assert_eq!(reply[108..114], *b"boot\0\0");
        let (reply, _) = ask(&mut Server::default(), &discover).expect("an answer");
        assert_eq!((reply[20], reply[108]), (0, 0));
    }

    #[test]
    fn a_long_client_identifier_goes_back_as_it_came() {
        let mut server = Server::default();
        let identifier = [0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let option = [DhcpOption {
            kind: OPTION_CLIENT_IDENTIFIER,
            data: &identifier,
        }];
        let mut discover = message(DhcpMessageType::Discover, ONE);
        discover.additional_options = &option;
        let (reply, _) = ask(&mut server, &discover).expect("an answer");
        let packet = DhcpPacket::new_checked(&reply[..]).expect("long enough");
        let mut options = packet.options();
        let echoed = options.find(|option| option.kind == OPTION_CLIENT_IDENTIFIER);
        assert_eq!(echoed.expect("there").data, identifier);
    }

    #[test]
    fn clients_without_end_are_not_remembered() {
        let mut server = Server::default();
        for number in 0..200 {
            let client = EthernetAddress([2, 0, 0, 0, 1, number]);
            let discover = message(DhcpMessageType::Discover, client);
            let offered = ask(&mut server, &discover).is_some();
            assert_eq!(offered, usize::from(number) < CLIENTS);
        }
    }
}
