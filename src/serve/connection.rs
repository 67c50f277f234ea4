//! Serving one function at one socket: one client at a time, one after another.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use stickler_vfio_user::{Channel, ChannelError, Message, Received, Session};

use super::clients::Clients;
use super::complaints::Complaints;
use super::function::ServedFunction;
use crate::backends::socket::BoundSocket;

/// How many messages are answered before it is looked whether there is something else to do.
const MESSAGES_AT_ONCE: usize = 64;

/// A socket with the function that is behind it.
pub(super) struct Counter {
    pub(super) socket: BoundSocket,
    pub(super) function: ServedFunction,
    pub(super) complaints: Complaints,
}

/// Why a client is served no more.
#[derive(Debug)]
enum ClientEnd {
    /// It has gone, or was sent away.
    Gone,
    /// The connection cannot go on.
    Broken(ChannelError),
    /// The server is to stop.
    Stopped,
}

impl Counter {
    /// Serves clients until `stop` is readable. `stop` has to stay readable from then on.
    ///
    /// # Errors
    /// The host cannot wait for clients.
    pub(super) fn serve(&mut self, clients: &Clients, stop: BorrowedFd<'_>) -> io::Result<()> {
        self.socket.listener().set_nonblocking(true)?;
        loop {
            let [_, is_stopping] = wait([
                (self.socket.listener().as_fd(), PollFlags::IN),
                (stop, PollFlags::IN),
            ])?;
            if is_stopping {
                return Ok(());
            }
            // The client may have gone again.
            let Ok((stream, _)) = self.socket.listener().accept() else {
                continue;
            };
            clients.has_come();
            match self.serve_client(stream, stop)? {
                ClientEnd::Gone => {}
                ClientEnd::Broken(error) => self
                    .complaints
                    .say(format_args!("{error}; it was disconnected")),
                // The device stays as the driver left it, to be looked at once more.
                ClientEnd::Stopped => return Ok(()),
            }
            self.function.client_gone();
            clients.has_gone();
        }
    }

    fn serve_client(&mut self, stream: UnixStream, stop: BorrowedFd<'_>) -> io::Result<ClientEnd> {
        let mut channel = Channel::new(stream)?;
        let mut session = Session::new();
        loop {
            let wanted = match channel.is_sending() {
                true => PollFlags::OUT,
                false => PollFlags::IN,
            };
            let [is_ready, others_wait, is_stopping] = wait([
                (channel.as_fd(), wanted),
                (self.socket.listener().as_fd(), PollFlags::IN),
                (stop, PollFlags::IN),
            ])?;
            if is_stopping {
                return Ok(ClientEnd::Stopped);
            }
            if !is_ready {
                // The next one may be seen before it is seen that this one has gone.
                if others_wait
                    && !is_ready_now(channel.as_fd())?
                    && self.socket.listener().accept().is_ok()
                {
                    self.complaints
                        .say(format_args!("another one came, and was turned away"));
                }
                continue;
            }
            let stepped = match channel.is_sending() {
                true => channel.send().map(|()| None),
                false => self.answer(&mut channel, &mut session),
            };
            match stepped {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(error) => return Ok(ClientEnd::Broken(error)),
            }
        }
    }

    /// Answers what has arrived.
    fn answer(
        &mut self,
        channel: &mut Channel,
        session: &mut Session,
    ) -> Result<Option<ClientEnd>, ChannelError> {
        for _ in 0..MESSAGES_AT_ONCE {
            let message = match channel.receive()? {
                Received::Message(message) => message,
                Received::Nothing => {
                    self.function.settle();
                    return Ok(None);
                }
                Received::Closed => return Ok(Some(ClientEnd::Gone)),
            };
            if self.answer_one(message, channel, session)? {
                return Ok(Some(ClientEnd::Gone));
            }
            if channel.is_sending() {
                break;
            }
        }
        Ok(None)
    }

    /// Answers a message. Returns whether the client has to be sent away.
    fn answer_one(
        &mut self,
        message: Message,
        channel: &mut Channel,
        session: &mut Session,
    ) -> Result<bool, ChannelError> {
        let command = message.header.command;
        let answer = session.answer(message, &mut self.function);
        if answer.close {
            self.complaints.say(format_args!(
                "it does not speak version 0.1 of vfio-user; it was disconnected"
            ));
        } else if let Some(error) = answer.refused.filter(|error| *error != Errno::OPNOTSUPP) {
            // What there is not here a client may ask for.
            self.complaints.say(format_args!(
                "its request {command} was refused (error {})",
                error.raw_os_error()
            ));
        }
        if let Some(reply) = answer.reply {
            channel.reply(reply)?;
        }
        Ok(answer.close)
    }
}

/// Whether a client has sent something, or has gone.
fn is_ready_now(client: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(client, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) | Err(Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until one of these is ready, and returns which are.
fn wait<const N: usize>(wanted: [(BorrowedFd<'_>, PollFlags); N]) -> io::Result<[bool; N]> {
    let mut fds = wanted.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(fds.map(|fd| !fd.revents().is_empty())),
        Err(error) => Err(error.into()),
    }
}
