//! Confinement: once a run is set up, the process keeps only what it needs to go on.
//!
//! A guest that found a hole in a device would run code in this process. So, after everything is open
//! and before the guest runs, [`Confinement::apply`] takes away what nobody needs any more: new
//! privileges and capabilities, files other than those that are still to be written ([`Access`]), and
//! system calls. Each thread then takes a [`Role`], which leaves it fewer system calls still. A system
//! call that a role does not have ends the process with exit code 4, and a sentence that names it.

mod calls;
mod files;
mod privileges;
mod role;
mod trap;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use clap::ValueEnum;

pub use files::Access;
pub use role::Role;

use calls::Filters;

/// How much a process confines itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Confinement {
    /// Not at all, for debuggers and profilers.
    None,
    /// As far as this host's kernel can.
    #[default]
    Default,
    /// In full; a host that cannot is refused.
    Strict,
}

/// Why a process cannot confine itself.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel lacks something that [`Confinement::Strict`] asks for.
    #[error("{0}; --confine default does without")]
    Unsupported(String),
    /// A system call failed.
    #[error("cannot {what}: {why}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// The error of the system.
        why: std::io::Error,
    },
}

impl ConfineError {
    fn host<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> ConfineError {
        move |why| ConfineError::Host {
            what,
            why: why.into(),
        }
    }
}

/// What a process is for, which decides what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfinedProcess {
    /// It runs or serves a guest: it opens and starts nothing any more.
    Guest,
    /// It starts processes that run guests, and they inherit its confinement.
    Campaign,
}

/// The filters of this process's threads, once it is confined.
static FILTERS: OnceLock<Filters> = OnceLock::new();

impl Confinement {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Confinement::None => "none",
            Confinement::Default => "default",
            Confinement::Strict => "strict",
        }
    }

    /// Confines this process, which is a `process` and still needs `access`. To be called on the main
    /// thread, before it starts the threads that serve a guest: they inherit what is taken away.
    ///
    /// Returns sentences that say what this host cannot take away.
    ///
    /// # Errors
    ///
    /// A system call fails, or, with [`Confinement::Strict`], the host lacks something.
    pub fn apply(
        self,
        process: ConfinedProcess,
        access: &Access,
    ) -> Result<Vec<String>, ConfineError> {
        if self == Confinement::None {
            return Ok(Vec::new());
        }
        let mut missing = Vec::new();
        privileges::drop_for(process)?;
        missing.extend(files::restrict(process, access)?);
        match Filters::compile()? {
            Some(filters) => {
                trap::install()?;
                filters.apply_to_process(process)?;
                if process == ConfinedProcess::Guest {
                    // Only the first confinement of a process counts, and there is one.
                    let _ = FILTERS.set(filters);
                }
            }
            None => missing
                .push("this kernel has no seccomp filters: system calls are not confined".into()),
        }
        match missing.first() {
            Some(first) if self == Confinement::Strict => {
                Err(ConfineError::Unsupported(first.clone()))
            }
            _ => Ok(missing),
        }
    }
}

/// What this host's kernel can confine, for `stickler doctor`; or what it lacks.
pub fn support() -> Result<String, String> {
    let mut missing = Vec::new();
    if !calls::is_supported() {
        missing.push("seccomp filters");
    }
    if !files::is_supported() {
        missing.push("Landlock");
    }
    if missing.is_empty() {
        Ok("system calls (seccomp), files (Landlock) and privileges can be confined".to_owned())
    } else {
        Err(missing.join(" and "))
    }
}
