//! What the exerciser in the guest and `stickler check` beside it agree upon.

pub mod kernel_log;
mod line;
pub mod pattern;

pub use line::{GuestLine, Kind};

/// Size in bytes of the first disk.
pub const DISK_SIZE: usize = 4 << 20;

/// Seed of the pattern that fills the first disk when the guest begins.
pub const DISK_SEED: u64 = 11;

/// Seed of the pattern that fills the first disk when the guest has passed.
pub const LEFT_SEED: u64 = 12;

/// Size in bytes of the second, read-only disk.
pub const READ_ONLY_SIZE: usize = 2 << 20;

/// Seed of the pattern that fills it.
pub const READ_ONLY_SEED: u64 = 13;

/// The name of the second console port.
pub const PORT: &str = "exercise";

/// The host's address in stickler's own network.
pub const HOST: [u8; 4] = [10, 0, 2, 2];

/// The guest's.
pub const GUEST: [u8; 4] = [10, 0, 2, 15];

/// And their mask.
pub const MASK: [u8; 4] = [255, 255, 255, 0];

/// Kernel parameter: the words of `--latitude` that make the devices what they are.
pub const LATITUDES_PARAMETER: &str = "exercise.latitudes";

/// Kernel parameter, `yes`: a driver may give up on its device and conform all the same.
pub const GIVING_UP_PARAMETER: &str = "exercise.giving-up";

/// Kernel parameter: how long a step may take, in seconds.
pub const PATIENCE_PARAMETER: &str = "exercise.patience";

/// Where the words of a command are that is to be run instead of the exercise, each ended by a null
/// byte.
pub const COMMAND: &str = "/.stickler/command";

/// Where the modules to load are listed, a path a line.
pub const MODULES: &str = "/.stickler/modules";

/// Where a program of the host's goes that is to be run in the guest.
pub const PROGRAMS: &str = "/.stickler/bin";

/// The first process.
pub const INIT: &str = "/.stickler/init";
