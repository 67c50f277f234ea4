//! What the guest with foreign drivers and its test agree upon.

/// Seed of the pattern that the guest writes on its first disk.
pub const DISK_SEED: u64 = 3;

/// Size in bytes of that disk, all of which is written.
pub const DISK_SIZE: usize = 1 << 20;
