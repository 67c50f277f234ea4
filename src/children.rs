//! Processes and directories of ours, which end with us, also if we are killed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use tempfile::TempDir;

/// The hidden subcommand of the process that removes a directory when we have ended.
pub const KEEPER: &str = "remove-when-abandoned";

/// The process that `command` starts is killed when the thread that starts it has ended, however it ends.
pub fn end_with_us(command: &mut Command) {
    let us = getpid();
    let set = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have ended before.
        match getppid() {
            Some(parent) if parent == us => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: Between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(set) };
}

/// A directory for files of ours that is removed with all that is in it: when this is dropped or, if we are killed, by
/// a process that waits for our end.
#[derive(Debug)]
pub struct ScratchDirectory {
    directory: TempDir,
    /// The other process, and what tells it of our end. Without one, the directory stays if we are killed.
    keeper: Option<(Child, ChildStdin)>,
}

impl ScratchDirectory {
    /// A new one among the temporary files, with a name that begins like this.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(prefix: &str) -> io::Result<ScratchDirectory> {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
        let keeper = keep(directory.path()).ok();
        Ok(ScratchDirectory { directory, keeper })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        if let Some((mut child, our_end)) = self.keeper.take() {
            drop(our_end);
            // It removes the directory; what is left of it is removed here.
            let _ = child.wait();
        }
    }
}

fn keep(directory: &Path) -> io::Result<(Child, ChildStdin)> {
    let arguments: [OsString; 2] = [KEEPER.into(), directory.into()];
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // The signals of the user's terminal are not for it.
        .process_group(0)
        .spawn()?;
    let ours = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((child, ours))
}

/// What the other process does: waits for the end of `source`, of which nothing comes, and removes the directory.
pub fn remove_when_abandoned(directory: &Path, mut source: impl Read) {
    // Whatever it says, it has ended.
    let _ = io::copy(&mut source, &mut io::sink());
    // It may have been removed.
    let _ = fs::remove_dir_all(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_removed_with_what_is_in_it_when_its_owner_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let scratch = directory.path().join("scratch");
        fs::create_dir_all(scratch.join("run")).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let path = scratch.clone();
        let keeper = std::thread::spawn(move || remove_when_abandoned(&path, reader));
        fs::write(scratch.join("run/disk"), "data").unwrap();
        drop(writer);
        keeper.join().unwrap();
        assert!(!scratch.exists());
    }
}
