//! The host's side of network devices: the values of `--net`, and their back ends.
//!
//! * [`user`]: a small network in userspace, without privileges.
//! * [`tap`]: a tap interface of the host.

pub mod tap;
#[cfg(test)]
mod testing;
pub mod user;

use std::fmt;
use std::io;
use std::str::FromStr;

use stickler_devices::net::{MAX_QUEUE_PAIRS, Mac, NetBackend};

use tap::Tap;
use user::{ServedFile, UserNet};

/// What `--net` takes: `user`, `tap=NAME` or `none`, and behind that options with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSpec {
    /// What the card is connected to.
    pub kind: NetKind,
    /// The card's address, if it is not to have the default one.
    pub mac: Option<Mac>,
    /// Queue pairs of the card.
    pub queues: u16,
}

/// What a card is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetKind {
    /// The userspace network.
    User,
    /// The host's tap interface of that name.
    Tap(String),
    /// There is no card.
    None,
}

impl Default for NetSpec {
    fn default() -> Self {
        NetSpec {
            kind: NetKind::User,
            mac: None,
            queues: 1,
        }
    }
}

/// Why a network cannot be used, and what to do: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetError(String);

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NetError {}

fn fail<T>(problem: fmt::Arguments<'_>) -> Result<T, NetError> {
    Err(NetError(problem.to_string()))
}

/// The cause of an error in the system's words, without its number.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((cause, _)) => cause.to_owned(),
        None => text,
    }
}

impl FromStr for NetSpec {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let mut words = text.split(',');
        let kind = words.next().unwrap_or_default();
        let mut spec = NetSpec {
            kind: match kind.split_once('=') {
                None if kind == "user" => NetKind::User,
                None if kind == "none" => NetKind::None,
                Some(("tap", name)) => NetKind::Tap(tap_name(name)?),
                _ => {
                    return fail(format_args!(
                        "`{kind}` is not a network: use user, tap=NAME or none"
                    ));
                }
            },
            ..NetSpec::default()
        };
        for option in words {
            match option.split_once('=') {
                _ if spec.kind == NetKind::None => {
                    return fail(format_args!("`none` has no options; leave out `{option}`"));
                }
                Some(("mac", mac)) => spec.mac = Some(parse_mac(mac)?),
                Some(("queues", count)) => spec.queues = parse_queues(count)?,
                _ => {
                    return fail(format_args!(
                        "`{option}` is not an option of a network: use mac=XX:XX:XX:XX:XX:XX or queues=N"
                    ));
                }
            }
        }
        Ok(spec)
    }
}

/// Bytes of an interface's name, including the final zero.
const NAME_SIZE: usize = 16;

fn tap_name(name: &str) -> Result<String, NetError> {
    let good = !name.is_empty()
        && name.len() < NAME_SIZE
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
    if good {
        Ok(name.to_owned())
    } else {
        fail(format_args!(
            "`{name}` cannot be the name of an interface: use 1 to {} letters and digits",
            NAME_SIZE - 1
        ))
    }
}

fn parse_mac(text: &str) -> Result<Mac, NetError> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match part.map(|part| u8::from_str_radix(part, 16)) {
            Some(Ok(value)) => *byte = value,
            _ => return no_mac(text),
        }
    }
    let [first, ..] = mac;
    if parts.next().is_some() || first & 1 != 0 || mac == [0; 6] {
        return no_mac(text);
    }
    Ok(mac)
}

fn no_mac(text: &str) -> Result<Mac, NetError> {
    fail(format_args!(
        "`{text}` is no address for a card: use six bytes in hexadecimal, the first of them even, \
         such as 02:00:00:00:00:01"
    ))
}

fn parse_queues(text: &str) -> Result<u16, NetError> {
    match text.parse() {
        Ok(count) if (1..=MAX_QUEUE_PAIRS).contains(&count) => Ok(count),
        _ => fail(format_args!(
            "`{text}` is no number of queue pairs: use 1 to {MAX_QUEUE_PAIRS}"
        )),
    }
}

impl NetSpec {
    /// The address of the card in PCI slot `slot`: the one asked for, or a locally administered one
    /// that differs from slot to slot.
    pub fn mac(&self, slot: u8) -> Mac {
        self.mac.unwrap_or([0x02, 0x53, 0x54, 0x4b, 0x00, slot])
    }

    /// Opens the back end; `None` if there is to be no card. The network `user` sends `files`, see
    /// [`UserNet::new`].
    ///
    /// # Errors
    /// If the host does not have what is asked for, or does not let us use it.
    pub fn open(&self, files: &[ServedFile]) -> Result<Option<Box<dyn NetBackend>>, NetError> {
        match &self.kind {
            NetKind::None => Ok(None),
            NetKind::User => match UserNet::new(self.queues, files) {
                Ok(net) => Ok(Some(Box::new(net))),
                Err(error) => fail(format_args!(
                    "the userspace network cannot get a timer from the host ({}); \
                     raise the limit of open files",
                    describe(&error)
                )),
            },
            NetKind::Tap(name) => Ok(Some(Box::new(Tap::open(name, self.queues)?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> NetSpec {
        text.parse().expect("good")
    }

    fn problem(text: &str) -> String {
        text.parse::<NetSpec>().expect_err("bad").to_string()
    }

    #[test]
    fn networks_are_named_with_their_options() {
        assert_eq!(spec("user"), NetSpec::default());
        assert_eq!(spec("none").kind, NetKind::None);
        assert_eq!(spec("tap=tap0").kind, NetKind::Tap("tap0".to_owned()));
        let all = spec("tap=vnet-1.2,queues=4,mac=02:ab:CD:00:ff:09");
        assert_eq!(all.queues, 4);
        assert_eq!(all.mac(7), [0x02, 0xab, 0xcd, 0x00, 0xff, 0x09]);
    }

    #[test]
    fn bad_words_are_named_and_the_good_ones_said() {
        for (text, word) in [
            ("", "tap=NAME"),
            ("tap", "tap=NAME"),
            ("bridge=br0", "tap=NAME"),
            ("user=1", "tap=NAME"),
            ("tap=", "letters"),
            ("tap=../etc", "letters"),
            ("tap=sixteen-letters!", "letters"),
            ("tap=a b", "letters"),
            ("user,", "queues=N"),
            ("user,mtu=9000", "queues=N"),
            ("user,queues=0", "1 to 31"),
            ("user,queues=32", "1 to 31"),
            ("user,queues=two", "1 to 31"),
            ("user,mac=02:00:00:00:00", "six bytes"),
            ("user,mac=02:00:00:00:00:00:00", "six bytes"),
            ("user,mac=03:00:00:00:00:01", "even"),
            ("user,mac=00:00:00:00:00:00", "six bytes"),
            ("user,mac=2:0:0:0:0:1", "six bytes"),
            ("user,mac=+2:00:00:00:00:01", "six bytes"),
            ("none,queues=2", "no options"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }

    #[test]
    fn each_slot_has_an_address_of_its_own() {
        let user = NetSpec::default();
        let [first, ..] = user.mac(3);
        assert_eq!(first & 3, 2, "locally administered, unicast");
        assert_ne!(user.mac(3), user.mac(4));
    }

    #[test]
    fn none_is_no_card_and_user_is_one() {
        assert!(spec("none").open(&[]).expect("always").is_none());
        let user = spec("user,queues=3").open(&[]).expect("no privileges");
        assert_eq!(user.expect("a card").queue_pairs(), 3);
    }
}
