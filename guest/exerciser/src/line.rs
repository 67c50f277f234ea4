//! The lines that the guest writes to its serial port for `stickler check`.

use std::fmt;
use std::str::FromStr;

/// The type of a virtio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Network card.
    Net,
    /// Block device.
    Block,
    /// Console.
    Console,
    /// Entropy source.
    Entropy,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Net, Kind::Block, Kind::Console, Kind::Entropy];

    /// The type with this virtio device ID.
    pub fn of(id: u64) -> Option<Self> {
        match id {
            1 => Some(Self::Net),
            2 => Some(Self::Block),
            3 => Some(Self::Console),
            4 => Some(Self::Entropy),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Net => "network",
            Self::Block => "block",
            Self::Console => "console",
            Self::Entropy => "entropy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(())
    }
}

/// A line of the guest that `stickler check` understands. [`Display`](fmt::Display) writes it,
/// [`parse`](GuestLine::parse) reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestLine {
    /// A step begins.
    Mark(String),
    /// Everything worked.
    Passed,
    /// A step failed.
    Failed {
        /// The name of the step.
        step: String,
        /// What is wrong, for people.
        message: String,
    },
    /// A driver gave up on its device, where drivers may.
    GivenUp {
        /// The device type.
        kind: Kind,
        /// Where the device is and what state it is in, for people.
        state: String,
    },
    /// The first disk takes no writes.
    Unwritten,
}

const MARK: &str = "@mark ";
const PASSED: &str = "exercise: passed";
const FAILED: &str = "exercise: failed: ";
const GIVEN_UP: &str = "exercise: given up: ";
const UNWRITTEN: &str = "exercise: the disk takes no writes";

impl fmt::Display for GuestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark(name) => write!(f, "{MARK}{name}"),
            Self::Passed => f.write_str(PASSED),
            Self::Failed { step, message } => write!(f, "{FAILED}{step}: {message}"),
            Self::GivenUp { kind, state } => write!(f, "{GIVEN_UP}{kind} {state}"),
            Self::Unwritten => f.write_str(UNWRITTEN),
        }
    }
}

impl GuestLine {
    /// Reads a line without its end; `None` if it is any other output of the guest.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        if let Some(name) = line.strip_prefix(MARK) {
            return Some(Self::Mark(name.trim().to_owned()));
        }
        if let Some(text) = line.strip_prefix(FAILED) {
            let (step, message) = text.split_once(": ").unwrap_or(("", text));
            return Some(Self::Failed {
                step: step.to_owned(),
                message: message.to_owned(),
            });
        }
        if let Some(text) = line.strip_prefix(GIVEN_UP) {
            let (kind, state) = text.split_once(' ')?;
            return Some(Self::GivenUp {
                kind: kind.parse().ok()?,
                state: state.to_owned(),
            });
        }
        match line {
            PASSED => Some(Self::Passed),
            UNWRITTEN => Some(Self::Unwritten),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut lines = vec![
            GuestLine::Mark("block-end".to_owned()),
            GuestLine::Passed,
            GuestLine::Failed {
                step: "network".to_owned(),
                message: "no echo: lost".to_owned(),
            },
            GuestLine::Unwritten,
        ];
        lines.extend(Kind::ALL.map(|kind| GuestLine::GivenUp {
            kind,
            state: "at 0000:00:03.0: no driver, device status 0x80".to_owned(),
        }));
        for line in lines {
            assert_eq!(GuestLine::parse(&format!("{line}\r")), Some(line));
        }
    }

    #[test]
    fn other_output_is_none_of_these_lines() {
        for line in [
            "",
            "@mark",
            "exercise: passed it",
            " exercise: passed",
            "exercise: given up: block",
            "exercise: given up: blockade at 0000:00:03.0",
            "exercise: the kernel says: x",
        ] {
            assert_eq!(GuestLine::parse(line), None, "{line}");
        }
    }
}
