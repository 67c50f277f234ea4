//! A line of a console without what stands before the kernel's text.

use std::borrow::Cow;

/// A line of the kernel's, or of a program's, without its prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelLine<'a> {
    /// The time that the kernel put before it, if it did: `12.345678`.
    pub stamp: Option<&'a str>,
    /// Who wrote it, where the kernel says so (CONFIG_PRINTK_CALLER): `T12` or `C0`.
    pub caller: Option<&'a str>,
    /// The text.
    pub text: &'a str,
}

impl<'a> KernelLine<'a> {
    /// Reads a line without its end. Before the text may stand: the level (`<4>`), what a system logger puts
    /// there (`Jan  1 00:00:00 host kernel: `, `kern  :warn  : `), the time and the caller. The kernel does not
    /// wait for a program's line to end: what stands before the time is then the program's.
    pub fn read(raw: &'a str) -> KernelLine<'a> {
        let text = without_logger(raw);
        if let Some(line) = stamped(text) {
            return line;
        }
        let later = raw
            .char_indices()
            .filter(|(at, c)| *c == '[' && *at > 0)
            .find_map(|(at, _)| stamped(&raw[at..]));
        later.unwrap_or(KernelLine {
            stamp: None,
            caller: None,
            text,
        })
    }
}

/// Puts lines together again that the kernel has split: it writes its messages while a line of a program is on its
/// way. Only lines that the guest writes for stickler are put together.
#[derive(Clone, Debug, Default)]
pub struct LineSplicer {
    begun: String,
}

impl LineSplicer {
    /// The next line of the console. Returns the line in its place: without what a program had begun, or with it.
    pub fn line<'a>(&mut self, raw: &'a str) -> Cow<'a, str> {
        if !self.begun.is_empty() && KernelLine::read(raw).stamp.is_none() {
            let whole = format!("{}{raw}", self.begun);
            self.begun.clear();
            return Cow::Owned(whole);
        }
        if is_for_stickler(raw)
            && let Some(at) = raw
                .char_indices()
                .filter(|(_, c)| *c == '[')
                .find_map(|(at, _)| stamped(&raw[at..]).map(|_| at))
        {
            self.begun = raw[..at].to_owned();
            return Cow::Borrowed(&raw[at..]);
        }
        Cow::Borrowed(raw)
    }
}

/// Whether the guest writes this line for stickler.
pub(super) fn is_for_stickler(text: &str) -> bool {
    text.starts_with("@mark ") || text.starts_with("exercise: ")
}

/// The line, if it begins with a time.
fn stamped(text: &str) -> Option<KernelLine<'_>> {
    let (inside, mut rest) = text.strip_prefix('[')?.split_once(']')?;
    let stamp = inside.trim_start();
    let (seconds, fraction) = stamp.split_once('.')?;
    if !is_number(seconds) || !is_number(fraction) {
        return None;
    }
    let caller = rest
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(inside, after)| (inside.trim_start(), after))
        .filter(|(inside, _)| inside.strip_prefix(['T', 'C']).is_some_and(is_number));
    if let Some((_, after)) = caller {
        rest = after;
    }
    Some(KernelLine {
        stamp: Some(stamp),
        caller: caller.map(|(caller, _)| caller),
        text: rest.strip_prefix(' ').unwrap_or(rest),
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The line without a level and without what a system logger puts before a line of the kernel's.
fn without_logger(raw: &str) -> &str {
    /// A date, a host's name and `kernel:` are shorter.
    const LONGEST: usize = 100;
    let mut text = raw;
    if let Some((level, rest)) = text.strip_prefix('<').and_then(|t| t.split_once('>'))
        && is_number(level)
    {
        text = rest;
    }
    if let Some((facility, rest)) = text.split_once(':')
        && facility.trim_end() == "kern"
        && let Some((_, rest)) = rest.split_once(": ")
    {
        return rest;
    }
    match text.split_once(" kernel: ") {
        // A date has digits, and a sentence in front of a colon rarely has two words and a time of day.
        Some((before, rest)) if before.len() <= LONGEST && before.matches(':').count() >= 2 => rest,
        _ => text,
    }
}
