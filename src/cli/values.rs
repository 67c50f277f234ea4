//! Values of the command line that more than one option takes: sizes, durations, monitors.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `256M`, `2GiB`, `65536`. Units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The text is not a size or not a duration; the message shows the form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

const UNITS: [(char, u32); 4] = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];

impl FromStr for Size {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const LOOK: &str = "a size is a number and a unit: 512M, 2G (K, M, G, T; powers of 1024)";
        let text = text.trim();
        let (number, unit) = split_number(text);
        if number.is_empty() {
            return Err(BadValue(LOOK.into()));
        }
        let unit = unit.trim_start().to_ascii_lowercase();
        let shift = match unit.as_str() {
            "" | "b" => 0,
            unit => UNITS
                .into_iter()
                .find(|(letter, _)| {
                    unit.strip_prefix(*letter)
                        .is_some_and(|rest| matches!(rest, "" | "b" | "ib"))
                })
                .map(|(_, shift)| shift)
                .ok_or_else(|| BadValue(LOOK.into()))?,
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift))
            .map(Size)
            .ok_or_else(|| BadValue("it is more than 2^64 bytes".into()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = UNITS
            .into_iter()
            .rev()
            .find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match fits {
            Some((letter, shift)) => {
                write!(f, "{}{}", self.0 >> shift, letter.to_ascii_uppercase())
            }
            None => write!(f, "{}", self.0),
        }
    }
}

/// Parses a number from 0.
pub fn count(text: &str) -> Result<u64, BadValue> {
    text.trim().parse().map_err(|_| {
        let large = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        BadValue(match large {
            true => "it is more than 2^64".into(),
            false => "a whole number is wanted, 0 or more".into(),
        })
    })
}

/// Parses a number from 1.
pub fn count_from_1(text: &str) -> Result<NonZeroUsize, BadValue> {
    text.trim()
        .parse()
        .map_err(|_| BadValue("a whole number is wanted, 1 or more".into()))
}

/// Parses a duration: numbers with the units h, m, s, ms, the largest first: `60s`, `2m`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, BadValue> {
    const LOOK: &str = "a duration is a number and a unit: 60s, 2m, 1m30s (h, m, s, ms)";
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let end = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        if number.is_empty() || unit.is_empty() {
            return Err(BadValue(LOOK.into()));
        }
        // Going on from the unit before keeps them in order and each at most once.
        let (_, millis) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| BadValue(LOOK.into()))?;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*millis))
            .and_then(|n| total.checked_add(n))
            .ok_or_else(|| BadValue("it is too long to count in milliseconds".into()))?;
        rest = tail;
    }
    match total {
        0 if text.trim().is_empty() => Err(BadValue(LOOK.into())),
        0 => Err(BadValue("it must be longer than 0".into())),
        total => Ok(Duration::from_millis(total)),
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `--monitor`: what runs the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MonitorSpec {
    /// Stickler's own machine, under KVM.
    #[default]
    Kvm,
    /// QEMU in its emulation; the system's, or the one at this path.
    Qemu(Option<PathBuf>),
}

impl FromStr for MonitorSpec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.split_once('=') {
            None if text == "kvm" => Ok(MonitorSpec::Kvm),
            None if text == "qemu" => Ok(MonitorSpec::Qemu(None)),
            Some(("qemu", path)) if !path.is_empty() => Ok(MonitorSpec::Qemu(Some(path.into()))),
            _ => Err(BadValue("a monitor is kvm, qemu or qemu=PATH".into())),
        }
    }
}

impl fmt::Display for MonitorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MonitorSpec::Kvm => f.write_str("kvm"),
            MonitorSpec::Qemu(None) => f.write_str("qemu"),
            MonitorSpec::Qemu(Some(path)) => write!(f, "qemu={}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_in_all_spellings() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("12b", 12),
            ("1k", 1024),
            ("256M", 256 << 20),
            ("256 MiB", 256 << 20),
            ("256mb", 256 << 20),
            ("2GiB", 2 << 30),
            ("3T", 3 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_what_one_is() {
        for text in ["", "M", "-1M", "1.5G", "256Mi", "12x", "0x100", "1M2", "½G"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("512M"), "{text}: {error}");
        }
        for text in ["16777216T", "18446744073709551616"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("2^64"), "{text}: {error}");
        }
    }

    #[test]
    fn monitors_are_read_back_as_they_are_shown() {
        for text in ["kvm", "qemu", "qemu=/usr/bin/qemu-system-x86_64"] {
            let spec: MonitorSpec = text.parse().expect("it is one");
            assert_eq!(spec.to_string(), text);
        }
        for text in ["", "xen", "kvm=x", "qemu=", "=x"] {
            let error = text.parse::<MonitorSpec>().unwrap_err().to_string();
            assert!(error.contains("qemu=PATH"), "{text}: {error}");
        }
    }

    #[test]
    fn durations_in_all_spellings() {
        for (text, millis) in [
            ("500ms", 500),
            ("60s", 60_000),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("1h0m1s5ms", 3_601_005),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_count_says_what_one_is() {
        assert_eq!(count("7"), Ok(7));
        assert_eq!(count_from_1("7").map(NonZeroUsize::get), Ok(7));
        for (text, words) in [("-3", "0 or more"), ("", "0 or more"), ("x", "0 or more")] {
            let error = count(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = count("18446744073709551616").unwrap_err().to_string();
        assert!(error.contains("2^64"), "{error}");
        for text in ["0", "-1", "", "1.5"] {
            let error = count_from_1(text).unwrap_err().to_string();
            assert!(error.contains("1 or more"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_one_is() {
        for text in [
            "", "60", "s", "-1s", "1.5s", "1s1m", "1s1s", "5 s", "1d", "é",
        ] {
            let error = duration(text).unwrap_err().to_string();
            assert!(error.contains("1m30s"), "{text}: {error}");
        }
        assert!(
            duration("0s")
                .unwrap_err()
                .to_string()
                .contains("longer than 0")
        );
        let long = duration("18446744073709551615h").unwrap_err().to_string();
        assert!(long.contains("too long"), "{long}");
    }

    proptest! {
        #[test]
        fn a_size_is_read_back_as_it_is_shown(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }

        #[test]
        fn round_sizes_too(number in 0u64..1 << 20, shift in prop::sample::select(vec![10u32, 20, 30, 40])) {
            let size = Size(number << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_upsets_the_parsers(text: String) {
            let _ = text.parse::<Size>();
            let _ = duration(&text);
        }

        #[test]
        fn numeric_looking_text_neither(text in "[0-9]{0,25}[kmgtKMGTibBhs0-9 ]{0,5}") {
            let _ = text.parse::<Size>();
            let _ = duration(&text);
        }

        #[test]
        fn a_duration_is_the_sum_of_its_parts(h in 0u64..1000, m in 0u64..1000, s in 0u64..1000, ms in 1u64..1000) {
            let millis = ((h * 60 + m) * 60 + s) * 1000 + ms;
            prop_assert_eq!(
                duration(&format!("{h}h{m}m{s}s{ms}ms")),
                Ok(Duration::from_millis(millis))
            );
        }
    }
}
