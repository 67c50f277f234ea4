//! Errors are sentences for the user.

use std::fmt::Display;

/// A result whose error is a sentence.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// Adds to an error what was being done.
pub(crate) trait Context<T> {
    /// Puts `what` before the error.
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl Display) -> Result<T> {
        self.ok_or_else(|| what.to_string())
    }
}

/// Fails with `words` unless `condition` holds.
pub(crate) fn ensure(condition: bool, words: impl FnOnce() -> String) -> Result {
    if condition { Ok(()) } else { Err(words()) }
}
