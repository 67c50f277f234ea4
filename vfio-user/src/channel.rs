//! Messages on a socket.
//!
//! A message may come in any number of pieces, and is kept until it is whole. A message and its file
//! descriptors are one: never more is read than belongs to the message. Nothing here waits: the caller does,
//! for the socket, and may wait for other things besides.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};

use crate::wire::{HEADER_LEN, Header, MAX_DISCARDED, MAX_FDS, MAX_PAYLOAD, flag};

/// One end of a connection with a client.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    incoming: Incoming,
    /// The reply that is being sent, from `sent` on.
    reply: Vec<u8>,
    sent: usize,
}

/// A message that is arriving.
#[derive(Debug, Default)]
struct Incoming {
    header: [u8; HEADER_LEN],
    /// Bytes of the message that have arrived.
    arrived: usize,
    payload: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// A message of the client.
#[derive(Debug)]
pub struct Message {
    /// Its header; the size is that of the message.
    pub header: Header,
    /// What follows the header.
    pub payload: Payload,
    /// The file descriptors that came with it, at most [`MAX_FDS`].
    pub fds: Vec<OwnedFd>,
}

/// What follows a header.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    /// At most [`MAX_PAYLOAD`] bytes.
    Bytes(Vec<u8>),
    /// More than that; they were thrown away.
    TooLong,
}

/// What was received.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// No whole message yet.
    Nothing,
    /// The client has closed the connection, between two messages.
    Closed,
}

/// The connection cannot go on: where the next message begins is not known any more, or there is none.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The size in a header is none that a message can have.
    #[error("it sent a message of {0} bytes")]
    Size(u32),
    /// A reply came, but nothing was asked.
    #[error("it sent a reply, and no request")]
    NoCommand,
    /// More file descriptors came with a message than it may have, or this process had no room for them.
    #[error("it sent more than {MAX_FDS} file descriptors with a message")]
    FileDescriptors,
    /// The connection was closed in the middle of a message.
    #[error("it closed the connection in the middle of a message")]
    Cut,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Socket(Errno),
}

impl Channel {
    /// A channel on a connected socket, which is made non-blocking.
    ///
    /// # Errors
    /// The system refuses that.
    pub fn new(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Channel {
            socket,
            incoming: Incoming::default(),
            reply: Vec::new(),
            sent: 0,
        })
    }

    /// Receives what has arrived, up to the end of one message. Call it when the socket is readable.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn receive(&mut self) -> Result<Received, ChannelError> {
        loop {
            let incoming = &mut self.incoming;
            if let Some(header) = incoming.is_whole()? {
                let Incoming { payload, fds, .. } = std::mem::take(incoming);
                let payload = if header.size as usize - HEADER_LEN > MAX_PAYLOAD {
                    Payload::TooLong
                } else {
                    Payload::Bytes(payload)
                };
                return Ok(Received::Message(Message {
                    header,
                    payload,
                    fds,
                }));
            }
            match incoming.receive_some(self.socket.as_fd()) {
                Ok(0) if self.incoming.arrived == 0 => return Ok(Received::Closed),
                Ok(0) => return Err(ChannelError::Cut),
                Ok(_) => {}
                Err(ChannelError::Socket(Errno::INTR)) => {}
                Err(ChannelError::Socket(Errno::AGAIN)) => return Ok(Received::Nothing),
                // A client that ends without closing its side first.
                Err(ChannelError::Socket(Errno::CONNRESET)) if self.incoming.arrived == 0 => {
                    return Ok(Received::Closed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends `reply`, or begins to: while [`is_sending`](Self::is_sending), it is not sent completely, and
    /// no further message should be received.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn reply(&mut self, reply: Vec<u8>) -> Result<(), ChannelError> {
        self.reply = reply;
        self.sent = 0;
        self.send()
    }

    /// Whether a part of a reply waits for the client to make room.
    pub fn is_sending(&self) -> bool {
        self.sent < self.reply.len()
    }

    /// Sends more of the reply. Call it when the socket is writable.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn send(&mut self) -> Result<(), ChannelError> {
        while let Some(rest) = self.reply.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(ChannelError::Socket(error)),
            }
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Incoming {
    /// The header, if the message has arrived completely.
    fn is_whole(&self) -> Result<Option<Header>, ChannelError> {
        let Some(header) = self.checked_header()? else {
            return Ok(None);
        };
        Ok((self.arrived == header.size as usize).then_some(header))
    }

    /// The header, if it has arrived.
    fn checked_header(&self) -> Result<Option<Header>, ChannelError> {
        if self.arrived < HEADER_LEN {
            return Ok(None);
        }
        let header = Header::from_bytes(&self.header);
        if !(HEADER_LEN..=MAX_DISCARDED).contains(&(header.size as usize)) {
            return Err(ChannelError::Size(header.size));
        }
        if header.flags & flag::TYPE != 0 {
            return Err(ChannelError::NoCommand);
        }
        Ok(Some(header))
    }

    /// Receives some bytes of the message, and none of the next one. Returns how many.
    fn receive_some(&mut self, socket: BorrowedFd<'_>) -> Result<usize, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut discarded = [0; 4096];
        let kept = match self.checked_header()? {
            None => &mut self.header[self.arrived..],
            Some(header) => {
                let len = header.size as usize - HEADER_LEN;
                let at = self.arrived - HEADER_LEN;
                if len > MAX_PAYLOAD {
                    let room = discarded.len().min(len - at);
                    &mut discarded[..room]
                } else {
                    self.payload.resize(len, 0);
                    &mut self.payload[at..]
                }
            }
        };
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(kept)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(ChannelError::Socket)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > MAX_FDS || received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(ChannelError::FileDescriptors);
        }
        self.arrived += received.bytes;
        Ok(received.bytes)
    }
}
