//! Files: what a confined process may still open, make and remove.

use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{ConfineError, ConfinedProcess};

/// The youngest version of Landlock of which everything is used, where the kernel has it: that of Linux
/// 6.12.
const YOUNGEST: ABI = ABI::V6;

/// What a process still needs of the file system when it is confined. What does not exist is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Directories in which it makes, replaces and removes files, and files that it writes.
    pub written: Vec<PathBuf>,
    /// Directories in which it removes sockets and empty directories.
    pub cleaned: Vec<PathBuf>,
}

/// Restricts this thread, and those that it starts, to `access`. Returns a sentence if the kernel cannot.
pub(super) fn restrict(
    process: ConfinedProcess,
    access: &Access,
) -> Result<Option<String>, ConfineError> {
    let failed = |why: landlock::RulesetError| ConfineError::Host {
        what: "restrict access to files",
        why: io::Error::other(why),
    };
    let everything = AccessFs::from_all(YOUNGEST);
    let reading = AccessFs::from_read(YOUNGEST);
    let devices = AccessFs::MakeBlock | AccessFs::MakeChar;
    // A campaign reads what its user names, and starts QEMU.
    let handled = match process {
        ConfinedProcess::Guest => everything,
        ConfinedProcess::Campaign => everything & !reading,
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)
        .map_err(failed)?;
    if process == ConfinedProcess::Guest {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(YOUNGEST))
            .map_err(failed)?
            .scope(Scope::AbstractUnixSocket)
            .map_err(failed)?;
    }
    let mut ruleset = ruleset.create().map_err(failed)?;
    let removal = AccessFs::RemoveFile | AccessFs::RemoveDir;
    for (paths, allowed) in [
        (&access.written, handled & !reading & !devices),
        (&access.cleaned, handled & removal),
    ] {
        ruleset = ruleset.add_rules(rules(paths, allowed)).map_err(failed)?;
    }
    // It is set for both: seccomp asks for it, too.
    let status = ruleset.restrict_self().map_err(failed)?;
    Ok((status.ruleset == RulesetStatus::NotEnforced).then(|| {
        "this kernel has no Landlock (Linux 5.13 and later have it, if it is enabled): access to files is confined by system calls alone".into()
    }))
}

/// Whether the kernel has Landlock: it makes a ruleset, which restricts nobody.
pub(super) fn is_supported() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// Rules for the `paths` that exist. What a file cannot have (to make files in it) is left out.
fn rules(
    paths: &[PathBuf],
    allowed: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, landlock::RulesetError>> {
    paths.iter().filter_map(move |path| {
        let fd = PathFd::new(path).ok()?;
        let allowed = if path.is_dir() {
            allowed
        } else {
            allowed & AccessFs::from_file(YOUNGEST)
        };
        // In a file nothing can be removed, and a rule that allows nothing is an error.
        (!allowed.is_empty()).then(|| Ok(PathBeneath::new(fd, allowed)))
    })
}
