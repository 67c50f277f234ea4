//! Messages between `cargo xtask lab` on the host and the first process of the lab's machine.
//!
//! They travel through one virtio-serial port: a byte for the kind, four bytes little-endian for
//! the length, and that many bytes. Within them a string of bytes has its length before it.

use std::io::{self, Read, Write};
use std::time::Duration;

/// The virtio-serial port's name.
pub const PORT: &str = "stickler.lab";

/// The longest message, in bytes.
const MAX_LENGTH: u32 = 4 << 20;

/// The most bytes of output or of a file in one message.
pub const CHUNK: usize = 256 << 10;

/// How often the machine says that it still runs.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// A message of one side to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Machine: it is up, with this kernel release.
    Ready(Vec<u8>),
    /// Host: run this program with these arguments.
    Run(Vec<Vec<u8>>),
    /// Host: bytes for the program's standard input.
    Input(Vec<u8>),
    /// Host: the standard input has ended.
    InputEnd,
    /// Host: end the program.
    Kill,
    /// Machine: the program wrote this to its standard output.
    Output(Vec<u8>),
    /// Machine: the program wrote this to its standard error.
    Error(Vec<u8>),
    /// Machine: the program ended with this exit code (128 + n for signal n).
    Exit(u8),
    /// Host: send back what changed below `/files`.
    Collect,
    /// Machine: a path below `/files` is gone.
    Removed(Vec<u8>),
    /// Machine: a directory is new or changed.
    Directory(Vec<u8>, Attributes),
    /// Machine: a symbolic link (path, target) is new or changed.
    Symlink(Vec<u8>, Vec<u8>),
    /// Machine: a file is new or changed; its data follows, holes left out.
    File(Vec<u8>, Attributes, u64),
    /// Machine: data of the latest file, at this offset.
    Data(u64, Vec<u8>),
    /// Machine: all changes were sent.
    Collected,
    /// Machine: a request failed, for this reason.
    Failed(Vec<u8>),
    /// Machine: it still runs; sent every [`HEARTBEAT`].
    Alive,
}

/// What a file has besides its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification, in seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

impl Message {
    /// Writes the message to `out`.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut body = Vec::new();
        let kind: u8 = match self {
            Self::Ready(release) => put(1, &mut body, release),
            Self::Run(words) => {
                for word in words {
                    put_string(&mut body, word);
                }
                2
            }
            Self::Input(bytes) => put(3, &mut body, bytes),
            Self::InputEnd => 4,
            Self::Kill => 5,
            Self::Output(bytes) => put(6, &mut body, bytes),
            Self::Error(bytes) => put(7, &mut body, bytes),
            Self::Exit(code) => put(8, &mut body, &[*code]),
            Self::Collect => 9,
            Self::Removed(path) => put(10, &mut body, path),
            Self::Directory(path, attributes) => {
                put_attributes(&mut body, attributes);
                put(11, &mut body, path)
            }
            Self::Symlink(path, target) => {
                put_string(&mut body, path);
                put(12, &mut body, target)
            }
            Self::File(path, attributes, size) => {
                put_attributes(&mut body, attributes);
                body.extend(size.to_le_bytes());
                put(13, &mut body, path)
            }
            Self::Data(offset, bytes) => {
                body.extend(offset.to_le_bytes());
                put(14, &mut body, bytes)
            }
            Self::Collected => 15,
            Self::Failed(reason) => put(16, &mut body, reason),
            Self::Alive => 17,
        };
        let length = u32::try_from(body.len())
            .ok()
            .filter(|&length| length <= MAX_LENGTH)
            .ok_or_else(|| invalid("a message for the lab is too long"))?;
        let mut frame = Vec::with_capacity(body.len() + 5);
        frame.push(kind);
        frame.extend(length.to_le_bytes());
        frame.extend(body);
        out.write_all(&frame)?;
        out.flush()
    }

    /// Reads the next message.
    ///
    /// # Errors
    ///
    /// Those of `input`, `UnexpectedEof` at its end among them, and `InvalidData` for what is no
    /// message.
    pub fn read_from(input: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 5];
        input.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        if length > MAX_LENGTH {
            return Err(invalid("a message of the lab is too long"));
        }
        let mut bytes = vec![0; length as usize];
        input.read_exact(&mut bytes)?;
        let mut body = Body(&bytes);
        Ok(match kind {
            1 => Self::Ready(bytes),
            2 => {
                let mut words = Vec::new();
                while !body.0.is_empty() {
                    words.push(body.string()?);
                }
                Self::Run(words)
            }
            3 => Self::Input(bytes),
            4 => Self::InputEnd,
            5 => Self::Kill,
            6 => Self::Output(bytes),
            7 => Self::Error(bytes),
            8 => Self::Exit(body.array::<1>()?[0]),
            9 => Self::Collect,
            10 => Self::Removed(bytes),
            11 => {
                let attributes = body.attributes()?;
                Self::Directory(body.0.to_vec(), attributes)
            }
            12 => {
                let path = body.string()?;
                Self::Symlink(path, body.0.to_vec())
            }
            13 => {
                let attributes = body.attributes()?;
                let size = u64::from_le_bytes(body.array()?);
                Self::File(body.0.to_vec(), attributes, size)
            }
            14 => {
                let offset = u64::from_le_bytes(body.array()?);
                Self::Data(offset, body.0.to_vec())
            }
            15 => Self::Collected,
            16 => Self::Failed(bytes),
            17 => Self::Alive,
            _ => return Err(invalid("a message of the lab is of an unknown kind")),
        })
    }
}

fn put(kind: u8, body: &mut Vec<u8>, bytes: &[u8]) -> u8 {
    body.extend(bytes);
    kind
}

fn put_string(body: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    body.extend(length.to_le_bytes());
    body.extend(bytes);
}

fn put_attributes(body: &mut Vec<u8>, attributes: &Attributes) {
    body.extend(attributes.mode.to_le_bytes());
    body.extend(attributes.uid.to_le_bytes());
    body.extend(attributes.gid.to_le_bytes());
    body.extend(attributes.seconds.to_le_bytes());
    body.extend(attributes.nanoseconds.to_le_bytes());
}

/// The part of a message's body that is still to be read.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (array, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| invalid("a message of the lab is cut short"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn string(&mut self) -> io::Result<Vec<u8>> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (string, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| invalid("a message of the lab is cut short"))?;
        self.0 = rest;
        Ok(string.to_vec())
    }

    fn attributes(&mut self) -> io::Result<Attributes> {
        Ok(Attributes {
            mode: u32::from_le_bytes(self.array()?),
            uid: u32::from_le_bytes(self.array()?),
            gid: u32::from_le_bytes(self.array()?),
            seconds: i64::from_le_bytes(self.array()?),
            nanoseconds: u32::from_le_bytes(self.array()?),
        })
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Message};

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let attributes = Attributes {
            mode: 0o640,
            uid: 1000,
            gid: 100,
            seconds: -5,
            nanoseconds: 999,
        };
        let messages = [
            Message::Ready(b"6.12".to_vec()),
            Message::Run(vec![b"sh".to_vec(), b"-c".to_vec(), Vec::new()]),
            Message::Input(vec![0, 255]),
            Message::InputEnd,
            Message::Kill,
            Message::Output(b"out".to_vec()),
            Message::Error(Vec::new()),
            Message::Exit(143),
            Message::Collect,
            Message::Removed(b"a/b".to_vec()),
            Message::Directory(b"d".to_vec(), attributes),
            Message::Symlink(b"l".to_vec(), b"../t".to_vec()),
            Message::File(b"f".to_vec(), attributes, 1 << 40),
            Message::Data(1 << 33, vec![1, 2, 3]),
            Message::Collected,
            Message::Failed(b"why".to_vec()),
            Message::Alive,
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            message.write_to(&mut bytes).unwrap();
        }
        let mut input = bytes.as_slice();
        for message in &messages {
            assert_eq!(Message::read_from(&mut input).unwrap(), *message);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [
            [0, 0, 0, 0, 0].as_slice(),
            &[6, 255, 255, 255, 255],
            &[8, 0, 0, 0, 0],
            &[2, 4, 0, 0, 0, 9, 0, 0, 0],
            &[13, 2, 0, 0, 0, 1, 1],
            &[6, 3, 0, 0, 0, 1],
        ] {
            assert!(Message::read_from(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
