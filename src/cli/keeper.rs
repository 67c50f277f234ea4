//! `stickler remove-when-abandoned`, which stickler starts itself: see [`crate::children`].

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::failure::Exit;
use crate::children;

/// What to remove.
#[derive(Debug, Args)]
pub struct KeeperOptions {
    /// The directory
    directory: PathBuf,
}

/// Removes the directory when standard input has ended.
pub(super) fn keep(options: &KeeperOptions) -> Exit {
    children::remove_when_abandoned(&options.directory, io::stdin());
    Exit::Conforming
}
