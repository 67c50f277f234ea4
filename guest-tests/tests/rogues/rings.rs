//! Rings (§2.4).
