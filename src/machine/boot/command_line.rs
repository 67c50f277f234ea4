//! The kernel's command line.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::machine::{Error, layout};

/// What is put before the user's own parameters, unless these speak of the same. A panic ends the run at once instead
/// of standing still.
const PANIC: (&str, &str) = ("panic", "panic=-1");

/// The whole command line: defaults for what `append` does not set, then `append`. `limit` is how
/// many bytes the kernel takes, without the terminating NUL.
///
/// ```
/// use stickler::machine::command_line;
///
/// let line = command_line("quiet console=hvc0", 2047).unwrap();
/// assert_eq!(line, "panic=-1 quiet console=hvc0");
/// ```
pub fn command_line(append: &str, limit: usize) -> Result<String, Error> {
    command_line_on("ttyS0", append, limit)
}

/// The same for a guest whose first serial port has another name.
///
/// # Errors
/// As of [`command_line`].
pub fn command_line_on(port: &str, append: &str, limit: usize) -> Result<String, Error> {
    if append.contains('\0') {
        return Err(Error::CommandLineNul);
    }
    let append = append.trim();
    // The serial port is what the user sees.
    let console = format!("console={port}");
    let mut parts: Vec<&str> = [("console", console.as_str()), PANIC]
        .into_iter()
        .filter(|(key, _)| !sets(append, key))
        .map(|(_, parameter)| parameter)
        .collect();
    if !append.is_empty() {
        parts.push(append);
    }
    let line = parts.join(" ");
    if line.len() > limit {
        return Err(Error::CommandLineTooLong {
            have: line.len(),
            limit,
        });
    }
    Ok(line)
}

/// Whether `line` sets the kernel parameter `key`. What follows `--` is for init.
fn sets(line: &str, key: &str) -> bool {
    line.split_whitespace()
        .take_while(|word| *word != "--")
        .any(|word| word.split('=').next() == Some(key))
}

/// Writes the command line to guest memory.
pub(super) fn write(memory: &GuestMemoryMmap, line: &str) -> Result<(), Error> {
    let bytes = [line.as_bytes(), b"\0"].concat();
    memory
        .write_slice(&bytes, GuestAddress(layout::COMMAND_LINE))
        .map_err(|_| Error::GuestMemory {
            what: "the command line",
            address: layout::COMMAND_LINE,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_stand_alone() {
        assert_eq!(command_line("", 100).unwrap(), "console=ttyS0 panic=-1");
        assert_eq!(command_line("  ", 100).unwrap(), "console=ttyS0 panic=-1");
    }

    #[test]
    fn the_user_overrides_defaults_one_by_one() {
        let line = command_line("panic=30 root=/dev/vda", 100).unwrap();
        assert_eq!(line, "console=ttyS0 panic=30 root=/dev/vda");
        let line = command_line("console=hvc0 panic=0", 100).unwrap();
        assert_eq!(line, "console=hvc0 panic=0");
    }

    #[test]
    fn similar_words_override_nothing() {
        let line = command_line("panic_on_warn=1 noconsole consoleblank=0", 100).unwrap();
        assert!(line.starts_with("console=ttyS0 panic=-1 "), "{line}");
    }

    #[test]
    fn words_for_init_override_nothing() {
        let line = command_line("quiet -- console=x", 100).unwrap();
        assert_eq!(line, "console=ttyS0 panic=-1 quiet -- console=x");
    }

    #[test]
    fn length_and_nul_are_checked() {
        let long = "x".repeat(100);
        let error = command_line(&long, 50).unwrap_err();
        assert!(error.to_string().contains("shorten --append"), "{error}");
        assert!(command_line("console= panic=", 15).is_ok());
        assert!(command_line("console= panic=", 14).is_err());
        assert!(matches!(
            command_line("a\0b", 50),
            Err(Error::CommandLineNul)
        ));
    }
}
