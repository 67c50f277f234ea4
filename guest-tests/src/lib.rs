//! Guests and end-to-end tests of stickler.
