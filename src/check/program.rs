//! Whether a guest without a system of its own can run a program of this host: the file is looked at before anything
//! runs.

use std::path::Path;

use linux_loader::elf;

/// Why it cannot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// It needs a program that links it when it starts.
    #[error(
        "the command {path} is linked dynamically and needs {interpreter}, which the guest does not have: link it statically, or give a system that has what it needs with --initrd"
    )]
    Dynamic {
        /// The program.
        path: String,
        /// The program that would link it.
        interpreter: String,
    },
    /// It is a script.
    #[error(
        "the command {path} is a script for {interpreter}, which the guest does not have: give a statically linked program, or a system that has {interpreter} with --initrd"
    )]
    Script {
        /// The script.
        path: String,
        /// The program that would read it.
        interpreter: String,
    },
    /// It is a program of another processor.
    #[error("the command {0} is not a program for x86-64: give one that is")]
    Foreign(String),
    /// It is no program.
    #[error("the command {0} is not a program: give a statically linked x86-64 program (ELF)")]
    NoProgram(String),
}

/// Bytes of an ELF header and of a program header.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const X86_64: u64 = 62;
const EXECUTABLE: u64 = 2;
const SHARED: u64 = 3;

/// Whether a guest can run the program `content`, which is the file `path`.
///
/// # Errors
///
/// Why it cannot.
pub fn check(path: &Path, content: &[u8]) -> Result<(), ProgramError> {
    let path = path.display().to_string();
    if let Some(line) = content.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(256)]);
        let interpreter = line
            .split_whitespace()
            .next()
            .unwrap_or("a shell")
            .to_owned();
        return Err(ProgramError::Script { path, interpreter });
    }
    if !content.starts_with(b"\x7fELF") || content.len() < HEADER {
        return Err(ProgramError::NoProgram(path));
    }
    let number = |at: usize, width: usize| -> Option<u64> {
        let bytes = content.get(at..at.checked_add(width)?)?;
        let number = bytes
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | u64::from(byte));
        Some(number)
    };
    if content[4] != CLASS_64 || content[5] != LITTLE_ENDIAN || number(18, 2) != Some(X86_64) {
        return Err(ProgramError::Foreign(path));
    }
    if !matches!(number(16, 2), Some(EXECUTABLE | SHARED)) {
        return Err(ProgramError::NoProgram(path));
    }
    let first = number(32, 8).and_then(|first| usize::try_from(first).ok());
    let count = number(56, 2).unwrap_or(0) as usize;
    let headers = (0..count).map_while(|index| first?.checked_add(index * PROGRAM_HEADER));
    for header in headers {
        if number(header, 4) != Some(elf::PT_INTERP.into()) {
            continue;
        }
        let offset = number(header + 8, 8).and_then(|offset| usize::try_from(offset).ok());
        let name = offset
            .and_then(|offset| content.get(offset..))
            .unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(&name[..name.len().min(256)]).into_owned();
        return Err(ProgramError::Dynamic { path, interpreter });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program for `machine` of type `kind`, which names `interpreter`.
    fn elf(kind: u16, machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend(kind.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.resize(32, 0);
        file.extend(64u64.to_le_bytes());
        file.resize(56, 0);
        file.extend(1u16.to_le_bytes());
        file.resize(HEADER, 0);
        file.extend(if interpreter.is_some() { 3u32 } else { 1 }.to_le_bytes());
        file.extend([0; 4]);
        file.extend(((HEADER + PROGRAM_HEADER) as u64).to_le_bytes());
        file.resize(HEADER + PROGRAM_HEADER, 0);
        file.extend(interpreter.unwrap_or("").bytes());
        file.push(0);
        file
    }

    fn why(content: &[u8]) -> String {
        match check(Path::new("tool"), content) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_static_program_is_right() {
        for kind in [2, 3] {
            assert_eq!(why(&elf(kind, 62, None)), "");
        }
    }

    #[test]
    fn what_the_guest_cannot_run_is_told_with_what_it_needs() {
        for (content, word) in [
            (
                elf(3, 62, Some("/lib64/ld-linux-x86-64.so.2")),
                "/lib64/ld-linux-x86-64.so.2",
            ),
            (elf(2, 62, Some("/lib/ld-musl-x86_64.so.1")), "dynamically"),
            (b"#! /bin/sh -e\necho".to_vec(), "a script for /bin/sh,"),
            (b"#!".to_vec(), "a script"),
            (elf(3, 183, None), "x86-64"),
            (elf(1, 62, None), "not a program"),
            (b"text".to_vec(), "not a program"),
            (Vec::new(), "not a program"),
            (b"\x7fELF".to_vec(), "not a program"),
        ] {
            let why = why(&content);
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn any_file_is_survived() {
        let good = elf(3, 62, Some("/lib/ld.so"));
        for at in 0..good.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = check(Path::new("tool"), &bad);
                let _ = check(Path::new("tool"), &bad[..at]);
            }
        }
    }
}
