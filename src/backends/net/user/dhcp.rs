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
}

impl Server {
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
        let reply = reply(&request, message_type, address, identifier)?;
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
