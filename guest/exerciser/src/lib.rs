//! What the exerciser in the guest and the programs beside stickler agree upon: `stickler check`, the demo
//! and the end-to-end tests.
//!
//! Without any of the parameters below, the exerciser does what `stickler check` wants.

pub mod kernel_log;
mod line;
pub mod pattern;
mod steps;

use std::net::Ipv4Addr;

pub use line::{GuestLine, GuestView, Kind};
pub use steps::{LastStep, Step};

// ---- Disks

/// Size in bytes of the first disk, where its content is a pattern.
pub const DISK_SIZE: usize = 4 << 20;

/// Seed of the pattern that fills the first disk when the guest begins.
pub const DISK_SEED: u64 = 11;

/// Seed of the pattern that fills the first disk when the guest has passed.
pub const LEFT_SEED: u64 = 12;

/// Size in bytes of the second, read-only disk.
pub const READ_ONLY_SIZE: usize = 2 << 20;

/// Seed of the pattern that fills it.
pub const READ_ONLY_SEED: u64 = 13;

/// Kernel parameter, `file-system`: the first disk has an ext4 file system instead of a pattern.
pub const DISK_PARAMETER: &str = "exercise.disk";

/// The file that the host has put into that file system.
pub const FROM_HOST: &str = "from-host";

/// Its size in bytes.
pub const FROM_HOST_SIZE: usize = 1 << 20;

/// Seed of the pattern in it.
pub const FROM_HOST_SEED: u64 = 1;

/// How many files, called `guest-N`, the guest leaves in that file system.
pub const GUEST_FILES: u64 = 4;

/// Size in bytes of each.
pub const GUEST_FILE_SIZE: usize = 2 << 20;

/// Seed of the pattern in `guest-0`; the seed of each further one is higher by one.
pub const GUEST_FILE_SEED: u64 = 100;

// ---- Console

/// The name of the second console port.
pub const PORT: &str = "exercise";

// ---- Network

/// Kernel parameter: how the guest gets its address. Without it, the guest has [`GUEST`] in stickler's own
/// network.
pub const NETWORK_PARAMETER: &str = "exercise.network";

/// Value of that parameter: from stickler's own network by DHCP, with the image's `udhcpc`.
pub const NETWORK_DHCP: &str = "dhcp";

/// Value of that parameter: the guest has [`TAP_GUEST`], and the host behind a tap [`TAP_HOST`].
pub const NETWORK_TAP: &str = "tap";

/// The host's address in stickler's own network.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The guest's address there.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// The mask of both networks.
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// The host's address on a tap.
pub const TAP_HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 76, 1);

/// The guest's address on a tap.
pub const TAP_GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 76, 2);

/// The port on which the host echoes TCP and UDP.
pub const ECHO_PORT: u16 = 7;

// ---- Machine

/// Kernel parameter: how many processors the guest should have.
pub const CPUS_PARAMETER: &str = "exercise.cpus";

/// Kernel parameter: how much memory in MiB the guest should have at least.
pub const MEMORY_PARAMETER: &str = "exercise.memory";

/// Kernel parameter, `strict`: no warning of the kernel may be about a device or a table of stickler's.
pub const KERNEL_LOG_PARAMETER: &str = "exercise.kernel-log";

/// Kernel parameter: the steps to do, by their names with commas between; without it, those of [`Step::QUIET`].
pub const STEPS_PARAMETER: &str = "exercise.steps";

/// Kernel parameter: how to end when all steps are done, a name of [`LastStep`].
pub const LAST_PARAMETER: &str = "exercise.last";

/// Kernel parameter: for how many seconds drivers go and come in each of the steps under load.
pub const STRESS_PARAMETER: &str = "exercise.stress";

/// Kernel parameter, [`SECOND_LIFE`]: the kernel was started by [`LastStep::Kexec`].
pub const LIFE_PARAMETER: &str = "exercise.life";

/// Value of that parameter.
pub const SECOND_LIFE: &str = "second";

/// Kernel parameter: end in this way instead of the exercise: `power-off`, `panic`, `reset` or `hang`.
pub const END_PARAMETER: &str = "exercise.end";

/// Kernel parameter, [`INTERRUPTS_RELAYED`]: interrupts of the devices come through somebody else, and can be late.
pub const INTERRUPTS_PARAMETER: &str = "exercise.interrupts";

/// Value of that parameter.
pub const INTERRUPTS_RELAYED: &str = "relayed";

// ---- Latitudes and time

/// Kernel parameter: the words of `--latitude` that make the devices what they are.
pub const LATITUDES_PARAMETER: &str = "exercise.latitudes";

/// Kernel parameter: the kinds of devices that there are, where they are not all; others are not used.
pub const DEVICES_PARAMETER: &str = "exercise.devices";

/// Kernel parameter, `yes`: a driver may give up on its device and still conform.
pub const GIVING_UP_PARAMETER: &str = "exercise.giving-up";

/// Kernel parameter: how long a step may take, in seconds.
pub const PATIENCE_PARAMETER: &str = "exercise.patience";

// ---- Files in the initial RAM file system

/// Where the words of a command are that is run instead of the exercise, each ended by a null byte.
pub const COMMAND: &str = "/.stickler/command";

/// Where the modules to load are listed, a path a line.
pub const MODULES: &str = "/.stickler/modules";

/// Where a program of the host's goes that is run in the guest.
pub const PROGRAMS: &str = "/.stickler/bin";

/// The kernel that [`LastStep::Kexec`] starts.
pub const SECOND_KERNEL: &str = "/.stickler/kernel";

/// Its initial RAM file system.
pub const SECOND_INITRD: &str = "/.stickler/initrd";

/// The first process.
pub const INIT: &str = "/.stickler/init";

/// Where programs are, besides [`PROGRAMS`]. The kernel gives its first process no such path.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
