//! What the exerciser in the guest and the program beside stickler agree upon.

/// Size in bytes of the file `from-host` on the first disk.
pub const FROM_HOST_SIZE: usize = 1 << 20;

/// Seed of the pattern in the file `from-host`.
pub const FROM_HOST_SEED: u64 = 1;

/// Seed of the pattern that fills the second, read-only disk.
pub const READ_ONLY_SEED: u64 = 2;

/// Size in bytes of the second disk.
pub const READ_ONLY_SIZE: usize = 4 << 20;

/// Seed of the pattern that the guest with foreign drivers writes on its disk.
pub const FOREIGN_SEED: u64 = 3;

/// Size in bytes of that disk, all of which is written.
pub const FOREIGN_SIZE: usize = 1 << 20;

/// How many files `guest-N` the guest leaves on the first disk.
pub const GUEST_FILES: u64 = 4;

/// Size in bytes of each.
pub const GUEST_FILE_SIZE: usize = 2 << 20;

/// Seed of the pattern in the first of them; the next has the next.
pub const GUEST_FILE_SEED: u64 = 100;

/// The name of the second console port.
pub const PORT: &str = "exercise";

/// Kernel parameter: how the guest gets its network: `user` (by DHCP, with the echo services of
/// stickler's own network), `tap` (fixed addresses) or `none`.
pub const NETWORK_PARAMETER: &str = "exercise.network";

/// Kernel parameter: `no` leaves out the unbinding of drivers.
pub const REBIND_PARAMETER: &str = "exercise.rebind";

/// Kernel parameter: how many processors the guest should have.
pub const CPUS_PARAMETER: &str = "exercise.cpus";

/// Kernel parameter: how much memory in MiB the guest should have at least.
pub const MEMORY_PARAMETER: &str = "exercise.memory";

/// Kernel parameter: instead of the exercise, an end: `power-off`, `panic`, `reset`, `hang`.
pub const END_PARAMETER: &str = "exercise.end";

/// The host's address in stickler's own network.
pub const USER_HOST: &str = "10.0.2.2";

/// The host's address on a tap.
pub const TAP_HOST: &str = "192.168.76.1";

/// The guest's address on a tap.
pub const TAP_GUEST: &str = "192.168.76.2";

/// The port of the echo services.
pub const ECHO_PORT: u16 = 7;

/// What the guest writes to its serial port when everything worked.
pub const PASSED: &str = "exercise: passed";
