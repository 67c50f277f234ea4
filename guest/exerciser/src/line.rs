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
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Net, Kind::Block, Kind::Console, Kind::Entropy];

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
    /// A step that this guest cannot do.
    Skipped {
        /// The name of the step.
        step: String,
        /// Why not, for people.
        why: String,
    },
    /// What the guest sees of a device.
    View(GuestView),
}

/// A property of a device as the guest's kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestView {
    /// The device type.
    pub kind: Kind,
    /// Its place among the devices of its type, from 0.
    pub number: usize,
    /// The property, named as the specification names the configuration field: `mtu`, `capacity`, `size`.
    pub property: String,
    /// Its value: a decimal number, an address as `02:00:00:00:00:01`, a size as `80x25` (columns, rows).
    pub value: String,
}

const MARK: &str = "@mark ";
const PASSED: &str = "exercise: passed";
const FAILED: &str = "exercise: failed: ";
const GIVEN_UP: &str = "exercise: given up: ";
const UNWRITTEN: &str = "exercise: the disk takes no writes";
const SKIPPED: &str = "exercise: skipped: ";
const VIEW: &str = "exercise: view: ";

impl fmt::Display for GuestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark(name) => write!(f, "{MARK}{name}"),
            Self::Passed => f.write_str(PASSED),
            Self::Failed { step, message } => write!(f, "{FAILED}{step}: {message}"),
            Self::GivenUp { kind, state } => write!(f, "{GIVEN_UP}{kind} {state}"),
            Self::Unwritten => f.write_str(UNWRITTEN),
            Self::Skipped { step, why } => write!(f, "{SKIPPED}{step}: {why}"),
            Self::View(view) => write!(
                f,
                "{VIEW}{} {} {}={}",
                view.kind, view.number, view.property, view.value
            ),
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
        if let Some(text) = line.strip_prefix(SKIPPED) {
            let (step, why) = text.split_once(": ")?;
            return Some(Self::Skipped {
                step: step.to_owned(),
                why: why.to_owned(),
            });
        }
        if let Some(text) = line.strip_prefix(VIEW) {
            return GuestView::parse(text).map(Self::View);
        }
        match line {
            PASSED => Some(Self::Passed),
            UNWRITTEN => Some(Self::Unwritten),
            _ => None,
        }
    }
}

impl GuestView {
    /// Reads `block 0 capacity=8192`.
    fn parse(text: &str) -> Option<Self> {
        let (what, value) = text.split_once('=')?;
        let mut words = what.split(' ');
        let view = GuestView {
            kind: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
            property: words.next()?.to_owned(),
            value: value.to_owned(),
        };
        words.next().is_none().then_some(view)
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
            GuestLine::Skipped {
                step: "freeze".to_owned(),
                why: "the kernel has no hibernation".to_owned(),
            },
            GuestLine::View(GuestView {
                kind: Kind::Console,
                number: 0,
                property: "size".to_owned(),
                value: "80x25".to_owned(),
            }),
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
            "exercise: view: console 0 size",
            "exercise: view: console size=80x25",
            "exercise: view: console 0 size of=80x25",
            "exercise: skipped: freeze",
        ] {
            assert_eq!(GuestLine::parse(line), None, "{line}");
        }
    }
}
