//! A TFTP server (RFC 1350), which sends the files it is given and takes none, with the options of RFC 2348 and
//! RFC 2349.
//!
//! It answers each message by itself: a client that hears nothing asks again.

use smoltcp::socket::udp;
use smoltcp::wire::IpEndpoint;

use super::ServedFile;

/// The server's port. It sends from there, too, so that one socket serves all clients.
pub(super) const PORT: u16 = 69;

const READ_REQUEST: u16 = 1;
const WRITE_REQUEST: u16 = 2;
const DATA: u16 = 3;
const ACKNOWLEDGMENT: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

const NOT_DEFINED: u16 = 0;
const NOT_FOUND: u16 = 1;
const NOT_ALLOWED: u16 = 2;
const UNKNOWN_TRANSFER: u16 = 5;

/// Bytes of a block, if the client does not ask for others, and the most: a packet is not to be fragmented.
const BLOCK: usize = 512;
const MOST: usize = 1428;
const LEAST: usize = 8;

/// Clients that are sent files at the same time; the oldest makes room.
const TRANSFERS: usize = 16;

/// The server.
#[derive(Debug, Default)]
pub(super) struct TftpServer {
    files: Vec<ServedFile>,
    transfers: Vec<FileTransfer>,
}

/// A file on its way.
#[derive(Debug)]
struct FileTransfer {
    client: IpEndpoint,
    /// Which file.
    file: usize,
    /// Bytes of a block.
    block: usize,
}

impl TftpServer {
    /// A server that has `files`.
    pub(super) fn new(files: Vec<ServedFile>) -> TftpServer {
        TftpServer {
            files,
            transfers: Vec::new(),
        }
    }

    /// Answers what has arrived. Gives whether anything had.
    pub(super) fn serve(&mut self, socket: &mut udp::Socket<'_>) -> bool {
        let mut served = false;
        while socket.can_send()
            && let Ok((message, from)) = socket.recv()
        {
            served = true;
            // With no files there is no server.
            if self.files.is_empty() {
                continue;
            }
            if let Some(answer) = self.answer(message, from.endpoint) {
                // There is room: can_send said so.
                let _ = socket.send_slice(&answer, from);
            }
        }
        served
    }

    fn answer(&mut self, message: &[u8], client: IpEndpoint) -> Option<Vec<u8>> {
        let (operation, rest) = number(message)?;
        match operation {
            READ_REQUEST => Some(self.begin(rest, client)),
            WRITE_REQUEST => Some(error(NOT_ALLOWED, "no files are taken")),
            ACKNOWLEDGMENT => {
                let (block, _) = number(rest)?;
                let of_client = |transfer: &FileTransfer| transfer.client == client;
                match self.transfers.iter().position(of_client) {
                    Some(place) => self.next(place, block),
                    None => Some(error(UNKNOWN_TRANSFER, "there is no such transfer")),
                }
            }
            ERROR => {
                self.transfers.retain(|transfer| transfer.client != client);
                None
            }
            _ => Some(error(NOT_DEFINED, "what is this?")),
        }
    }

    /// The answer to a request for a file.
    fn begin(&mut self, request: &[u8], client: IpEndpoint) -> Vec<u8> {
        let mut words = request
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
        let name = words.next().unwrap_or_default();
        let name = name.trim_start_matches('/');
        let Some(file) = self.files.iter().position(|file| file.name == name) else {
            return error(NOT_FOUND, "there is no such file");
        };
        // The mode: all files are binary.
        words.next();
        let mut transfer = FileTransfer {
            client,
            file,
            block: BLOCK,
        };
        let mut options = Vec::new();
        let mut option = |name: &str, value: usize| {
            for word in [name, &value.to_string()] {
                options.extend_from_slice(word.as_bytes());
                options.push(0);
            }
        };
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match (name.as_str(), value.parse::<usize>()) {
                ("blksize", Ok(size)) if size >= LEAST => {
                    transfer.block = size.min(MOST);
                    option(&name, transfer.block);
                }
                ("tsize", Ok(_)) => option(&name, self.files[file].content.len()),
                // It is the client who waits.
                ("timeout", Ok(seconds)) => option(&name, seconds),
                _ => {}
            }
        }
        self.transfers.retain(|other| other.client != client);
        if self.transfers.len() == TRANSFERS {
            self.transfers.remove(0);
        }
        self.transfers.push(transfer);
        if options.is_empty() {
            // The first block is what follows acknowledgment 0.
            let place = self.transfers.len() - 1;
            self.next(place, 0).unwrap_or_default()
        } else {
            [&OPTIONS.to_be_bytes(), options.as_slice()].concat()
        }
    }

    /// What follows the block `acknowledged`, of which clients send the low bits.
    fn next(&mut self, place: usize, acknowledged: u16) -> Option<Vec<u8>> {
        let transfer = &self.transfers[place];
        let content = &self.files[transfer.file].content;
        let begin = usize::from(acknowledged) * transfer.block;
        if begin > content.len() {
            // The last block, which is shorter than the others, has been acknowledged.
            self.transfers.remove(place);
            return None;
        }
        let end = content.len().min(begin + transfer.block);
        let numbers = [DATA, acknowledged.wrapping_add(1)].map(u16::to_be_bytes);
        Some([numbers.as_flattened(), &content[begin..end]].concat())
    }
}

/// The first number of a message, and the rest.
fn number(message: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = message.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

fn error(code: u16, message: &str) -> Vec<u8> {
    let numbers = [ERROR, code].map(u16::to_be_bytes);
    [numbers.as_flattened(), message.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::IpAddress;

    use super::*;

    fn client(port: u16) -> IpEndpoint {
        IpEndpoint::new(IpAddress::v4(10, 0, 2, 15), port)
    }

    fn server(length: usize) -> TftpServer {
        let content = (0..length).map(|at| (at % 251) as u8).collect();
        TftpServer::new(vec![ServedFile {
            name: "data".to_owned(),
            content,
        }])
    }

    fn request(words: &[&str]) -> Vec<u8> {
        let words: Vec<u8> = words
            .iter()
            .flat_map(|word| [word.as_bytes(), &[0]].concat())
            .collect();
        [&READ_REQUEST.to_be_bytes(), words.as_slice()].concat()
    }

    fn acknowledge(block: u16) -> Vec<u8> {
        [ACKNOWLEDGMENT, block].map(u16::to_be_bytes).concat()
    }

    /// Reads a file to its end.
    fn read(server: &mut TftpServer, mut answer: Vec<u8>, block: usize) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            assert_eq!(answer[..2], DATA.to_be_bytes());
            let count = u16::from_be_bytes([answer[2], answer[3]]);
            content.extend_from_slice(&answer[4..]);
            let next = server.answer(&acknowledge(count), client(1000));
            if answer.len() < 4 + block {
                assert_eq!(next, None, "the last block has been acknowledged");
                return content;
            }
            answer = next.expect("a block follows a whole one");
        }
    }

    #[test]
    fn a_file_is_sent_block_by_block_however_long_it_is() {
        for length in [0, 1, 511, 512, 513, 1024, 40_000] {
            let mut server = server(length);
            let first = server.answer(&request(&["data", "octet"]), client(1000));
            let content = read(&mut server, first.expect("it is there"), BLOCK);
            assert!(content == server.files[0].content, "{length}");
            assert!(server.transfers.is_empty());
        }
    }

    #[test]
    fn options_are_answered_and_blocks_are_no_longer_than_a_packet() {
        let mut server = server(5000);
        let words = [
            "/data", "octet", "blksize", "9000", "tsize", "0", "timeout", "5", "x", "1",
        ];
        let answer = server.answer(&request(&words), client(1000)).expect("one");
        let expected = b"\0\x06blksize\x001428\0tsize\x005000\0timeout\x005\0";
        assert_eq!(answer, expected);
        let first = server.answer(&acknowledge(0), client(1000)).expect("one");
        let content = read(&mut server, first, MOST);
        assert!(content == server.files[0].content);
    }

    #[test]
    fn a_client_that_heard_nothing_asks_again() {
        let mut server = server(2000);
        let first = server.answer(&request(&["data", "octet"]), client(1000));
        let second = server.answer(&acknowledge(1), client(1000));
        assert_eq!(second, server.answer(&acknowledge(1), client(1000)));
        assert_eq!(
            first,
            server.answer(&request(&["data", "octet"]), client(1000))
        );
    }

    #[test]
    fn what_is_not_there_is_an_error_and_clients_without_end_are_forgotten() {
        let mut server = server(2000);
        let code = |answer: Option<Vec<u8>>| {
            let answer = answer.expect("an answer");
            assert_eq!(answer[..2], ERROR.to_be_bytes());
            u16::from_be_bytes([answer[2], answer[3]])
        };
        assert_eq!(
            code(server.answer(&request(&["none"]), client(1))),
            NOT_FOUND
        );
        assert_eq!(code(server.answer(&[0, 2, b'x'], client(1))), NOT_ALLOWED);
        assert_eq!(
            code(server.answer(&acknowledge(0), client(1))),
            UNKNOWN_TRANSFER
        );
        assert_eq!(code(server.answer(&[0, 9], client(1))), NOT_DEFINED);
        assert_eq!(server.answer(&[], client(1)), None);
        assert_eq!(server.answer(&[0, 4], client(1)), None);
        for port in 1..100 {
            server.answer(&request(&["data", "octet"]), client(port));
            assert!(server.transfers.len() <= TRANSFERS);
        }
        server.answer(&[0, 5, 0, 0, 0], client(99));
        assert_eq!(server.transfers.len(), TRANSFERS - 1);
    }

    proptest::proptest! {
        #[test]
        fn any_message_is_survived(messages: Vec<(Vec<u8>, u8)>) {
            let mut server = server(600);
            for (message, port) in messages {
                server.answer(&message, client(port.into()));
            }
        }
    }
}
