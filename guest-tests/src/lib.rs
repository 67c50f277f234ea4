//! Guests and end-to-end tests of stickler.

pub mod in_process;
