//! A client for tests: it sends what a monitor sends, and what none should.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::wire::{HEADER_LEN, Header, MAX_FDS, bits, command, flag, irq, region};

/// The client's end of a connection.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    id: u16,
}

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Connects to the server at `path`, and agrees on the version.
    ///
    /// # Errors
    /// The server is not there, or refuses.
    pub fn connect(path: &Path) -> io::Result<Client> {
        let mut client = Client::on(UnixStream::connect(path)?)?;
        client.agree(0, 1, b"{\"capabilities\":{\"max_msg_fds\":1}}\0")?;
        Ok(client)
    }

    /// A client on a connection; nothing is agreed on yet.
    ///
    /// # Errors
    /// The system refuses to limit the time of a read.
    pub fn on(socket: UnixStream) -> io::Result<Client> {
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { socket, id: 0 })
    }

    /// The connection.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Proposes a version. Returns the payload of the reply.
    ///
    /// # Errors
    /// The server refuses, as for all that follow.
    pub fn agree(&mut self, major: u16, minor: u16, data: &[u8]) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        payload.extend(major.to_ne_bytes());
        payload.extend(minor.to_ne_bytes());
        payload.extend(data);
        self.request(command::VERSION, &payload, &[])
    }

    /// Shares `size` bytes at `offset` of a file, which are at `address`, for reads and writes.
    ///
    /// # Errors
    /// The server refuses.
    pub fn map(
        &mut self,
        file: Option<BorrowedFd<'_>>,
        offset: u64,
        address: u64,
        size: u64,
    ) -> io::Result<()> {
        self.map_for(
            bits::DMA_READ | bits::DMA_WRITE,
            file,
            offset,
            address,
            size,
        )
    }

    /// As [`map`](Self::map), with these flags.
    ///
    /// # Errors
    /// The server refuses.
    pub fn map_for(
        &mut self,
        flags: u32,
        file: Option<BorrowedFd<'_>>,
        offset: u64,
        address: u64,
        size: u64,
    ) -> io::Result<()> {
        let mut payload = words(&[32, flags]);
        for field in [offset, address, size] {
            payload.extend(field.to_ne_bytes());
        }
        let fds: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        self.request(command::DMA_MAP, &payload, &fds).map(drop)
    }

    /// Takes memory back.
    ///
    /// # Errors
    /// The server refuses.
    pub fn unmap(&mut self, address: u64, size: u64) -> io::Result<()> {
        let mut payload = words(&[24, 0]);
        payload.extend(address.to_ne_bytes());
        payload.extend(size.to_ne_bytes());
        self.request(command::DMA_UNMAP, &payload, &[]).map(drop)
    }

    /// Reads `len` bytes of a region.
    ///
    /// # Errors
    /// The server refuses.
    pub fn read(&mut self, region: u32, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let reply = self.request(command::REGION_READ, &access(region, offset, len), &[])?;
        Ok(reply.get(16..).unwrap_or_default().to_vec())
    }

    /// Writes a region.
    ///
    /// # Errors
    /// The server refuses.
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut payload = access(region, offset, data.len() as u32);
        payload.extend(data);
        self.request(command::REGION_WRITE, &payload, &[]).map(drop)
    }

    /// Writes a region and wants no reply.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn post(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut payload = access(region, offset, data.len() as u32);
        payload.extend(data);
        let header = self.header(command::REGION_WRITE, flag::NO_REPLY, &payload);
        self.send(&[&header.to_bytes()[..], &payload].concat(), &[])
    }

    /// Has INTA# signalled through an eventfd.
    ///
    /// # Errors
    /// The server refuses.
    pub fn direct_pin(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.set_irqs(
            bits::SET_DATA_EVENTFD | bits::SET_TRIGGER,
            irq::INTX,
            0,
            1,
            &[eventfd],
        )
    }

    /// Has MSI-X vectors from `start` on signalled through eventfds.
    ///
    /// # Errors
    /// The server refuses.
    pub fn direct_vectors(&mut self, start: u32, eventfds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.set_irqs(
            bits::SET_DATA_EVENTFD | bits::SET_TRIGGER,
            irq::MSIX,
            start,
            eventfds.len() as u32,
            eventfds,
        )
    }

    /// Unmasks INTA#.
    ///
    /// # Errors
    /// The server refuses.
    pub fn unmask_pin(&mut self) -> io::Result<()> {
        self.set_irqs(bits::SET_DATA_NONE | bits::SET_UNMASK, irq::INTX, 0, 1, &[])
    }

    /// Sends a SET_IRQS.
    ///
    /// # Errors
    /// The server refuses.
    pub fn set_irqs(
        &mut self,
        flags: u32,
        index: u32,
        start: u32,
        count: u32,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let payload = words(&[20, flags, index, start, count]);
        self.request(command::DEVICE_SET_IRQS, &payload, fds)
            .map(drop)
    }

    /// Resets the device.
    ///
    /// # Errors
    /// The server refuses.
    pub fn reset(&mut self) -> io::Result<()> {
        self.request(command::DEVICE_RESET, &[], &[]).map(drop)
    }

    /// The bytes of region `index`.
    ///
    /// # Errors
    /// The server refuses.
    pub fn region_len(&mut self, index: u32) -> io::Result<u64> {
        let payload = [words(&[32, 0, index, 0]), vec![0; 16]].concat();
        let reply = self.request(command::DEVICE_GET_REGION_INFO, &payload, &[])?;
        let field = reply.get(16..24).and_then(|bytes| bytes.try_into().ok());
        Ok(field.map_or(0, u64::from_ne_bytes))
    }

    /// Flags and number of the interrupts of kind `index`.
    ///
    /// # Errors
    /// The server refuses.
    pub fn irq_info(&mut self, index: u32) -> io::Result<(u32, u32)> {
        let reply = self.request(
            command::DEVICE_GET_IRQ_INFO,
            &words(&[16, 0, index, 0]),
            &[],
        )?;
        let word = |at: usize| {
            let field = reply
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            field.map_or(0, u32::from_ne_bytes)
        };
        Ok((word(4), word(12)))
    }

    /// Reads configuration space, 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// The server refuses.
    pub fn config(&mut self, offset: u64, len: u32) -> io::Result<u32> {
        let bytes = self.read(region::CONFIG, offset, len)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// Sends a command and waits for its reply, of which it returns the payload.
    ///
    /// # Errors
    /// The server answers with an error, whose number the error has, or does not answer.
    pub fn request(
        &mut self,
        command: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<Vec<u8>> {
        let header = self.header(command, 0, payload);
        self.send(&[&header.to_bytes()[..], payload].concat(), fds)?;
        let (reply, payload) = self.reply()?;
        if (reply.id, reply.command) != (header.id, command) {
            return Err(io::Error::other(format!(
                "a reply to something else: {reply:?}"
            )));
        }
        match reply.flags & flag::ERROR {
            0 => Ok(payload),
            _ => Err(Errno::from_raw_os_error(reply.error as i32).into()),
        }
    }

    /// Sends bytes as they are, with file descriptors.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4 * MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let mut sent = sendmsg(
            self.socket.as_fd(),
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        while sent < bytes.len() {
            sent += rustix::net::send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Receives a reply: its header and payload.
    ///
    /// # Errors
    /// The connection is gone, or nothing comes.
    pub fn reply(&mut self) -> io::Result<(Header, Vec<u8>)> {
        let mut header = [0; HEADER_LEN];
        self.socket.read_exact(&mut header)?;
        let header = Header::from_bytes(&header);
        let mut payload = vec![0; (header.size as usize).saturating_sub(HEADER_LEN)];
        self.socket.read_exact(&mut payload)?;
        Ok((header, payload))
    }

    /// The header of a further command.
    pub fn header(&mut self, command: u16, flags: u32, payload: &[u8]) -> Header {
        self.id = self.id.wrapping_add(1);
        Header {
            id: self.id,
            command,
            size: (HEADER_LEN + payload.len()) as u32,
            flags,
            error: 0,
        }
    }
}

/// A process that another thread is just starting has the descriptor too, for a moment. The server should not take
/// that for the client.
impl Drop for Client {
    fn drop(&mut self) {
        // The server may have closed it already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The payload of an access, without its data.
pub fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    let mut payload = offset.to_ne_bytes().to_vec();
    payload.extend(words(&[region, count]));
    payload
}

/// Fields of 32 bits.
pub fn words(fields: &[u32]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|field| field.to_ne_bytes())
        .collect()
}
