//! Guests and end-to-end tests of stickler.

pub mod hostile;
pub mod in_process;
