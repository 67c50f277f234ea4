//! What can go wrong with the machine.

use std::io;
use std::path::PathBuf;

use vmm_sys_util::errno;

/// Why a machine could not be made or run. Each message is one sentence that stands alone; where the
/// user can do something about it, it says what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // ---- What the user asked for
    /// A file cannot be opened or read.
    #[error("cannot read the {what} {}: {why}; give the path of a readable file", path.display())]
    Unreadable {
        /// "kernel" or "initrd".
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The file given as kernel is none.
    #[error("{} is not a Linux kernel: give a bzImage (such as /boot/vmlinuz-*) or an uncompressed x86-64 ELF vmlinux", .0.display())]
    NotAKernel(PathBuf),
    /// A kernel, but of a kind that cannot be started.
    #[error("the kernel {} cannot be started: {why}", path.display())]
    UnsupportedKernel {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it, and what would do.
        why: &'static str,
    },
    /// The kernel's file ends before the kernel does.
    #[error("the kernel {} is truncated ({have} of at least {need} bytes): fetch it again", path.display())]
    TruncatedKernel {
        /// The path as given.
        path: PathBuf,
        /// Bytes in the file.
        have: u64,
        /// Bytes its headers speak of.
        need: u64,
    },
    /// The kernel does not fit into the guest's memory.
    #[error("the kernel {} needs {} MiB of memory: give the guest more with --memory", path.display(), mib(*need))]
    KernelTooLarge {
        /// The path as given.
        path: PathBuf,
        /// Bytes of memory it needs.
        need: u64,
    },
    /// The initrd does not fit into the guest's memory beside the kernel.
    #[error("the initrd {} ({} MiB) does not fit into the guest's memory beside the kernel: use --memory {}M or more", path.display(), mib(*size), mib(*need))]
    InitrdTooLarge {
        /// The path as given.
        path: PathBuf,
        /// Bytes of the initrd.
        size: u64,
        /// Bytes of memory that would do.
        need: u64,
    },
    /// The initrd cannot fit below the addresses the kernel can take it from, whatever the memory.
    #[error("the initrd {} ({} MiB) is larger than this kernel can take: make it smaller", path.display(), mib(*size))]
    InitrdOutOfReach {
        /// The path as given.
        path: PathBuf,
        /// Bytes of the initrd.
        size: u64,
    },
    /// The command line is too long.
    #[error(
        "the kernel's command line has {have} bytes, but this kernel takes only {limit}: shorten --append"
    )]
    CommandLineTooLong {
        /// Bytes of it.
        have: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The command line holds a NUL.
    #[error("the kernel's command line holds a NUL character: remove it from --append")]
    CommandLineNul,
    /// The amount of memory is out of range.
    #[error("{} MiB of guest memory is out of range: choose from {} to {} MiB", mib(*asked), mib(*least), mib(*most))]
    MemorySize {
        /// Bytes asked for.
        asked: u64,
        /// Least bytes.
        least: u64,
        /// Most bytes.
        most: u64,
    },
    /// The host does not give us the memory.
    #[error("this host does not give {} MiB for the guest's memory ({why}): ask for less with --memory", mib(*asked))]
    NoMemory {
        /// Bytes asked for.
        asked: u64,
        /// What the system said.
        why: String,
    },
    /// The number of vCPUs is out of range.
    #[error("{asked} vCPUs is out of range: choose from 1 to {most}")]
    Cpus {
        /// How many were asked for.
        asked: u32,
        /// How many there can be.
        most: u32,
    },
    /// /dev/kvm is not there.
    #[error(
        "there is no /dev/kvm: enable virtualization in the firmware and load kvm-intel or kvm-amd, or use the lab (`cargo xtask lab`)"
    )]
    KvmAbsent,
    /// /dev/kvm may not be opened.
    #[error(
        "no permission to open /dev/kvm: become a member of the group that owns it (usually kvm), or run as root"
    )]
    KvmForbidden,
    /// /dev/kvm is there but does not do.
    #[error(
        "the KVM of this host cannot run stock kernels ({0}): `stickler doctor` tells more; the lab (`cargo xtask lab`) has one that can"
    )]
    KvmUnusable(String),
    /// Two devices on one slot, or a slot that does not exist.
    #[error("cannot place a device in PCI slot {slot}: {why}")]
    Slot {
        /// The slot asked for.
        slot: u8,
        /// What the bus said.
        why: io::Error,
    },

    // ---- Not the user's fault
    /// A KVM call failed.
    #[error("KVM: cannot {what}: {why}")]
    Kvm {
        /// What we tried to do.
        what: &'static str,
        /// What the system said.
        why: errno::Error,
    },
    /// KVM gave up on a vCPU.
    #[error("KVM stopped vCPU {vcpu} at rip {rip}: {why}")]
    KvmStopped {
        /// Which vCPU.
        vcpu: u8,
        /// Its instruction pointer, hexadecimal, or "unknown".
        rip: String,
        /// What KVM said.
        why: String,
    },
    /// A call of the host's failed.
    #[error("cannot {what}: {why}")]
    Host {
        /// What we tried to do.
        what: &'static str,
        /// What the system said.
        why: io::Error,
    },
    /// The guest's memory could not be written where it must be.
    #[error("cannot write {what} to guest memory at {address:#x}")]
    GuestMemory {
        /// What was to be written.
        what: &'static str,
        /// Guest-physical address.
        address: u64,
    },
    /// A thread of ours panicked.
    #[error("internal error in the {thread} thread: {message}")]
    Panicked {
        /// Which thread.
        thread: String,
        /// Its panic message.
        message: String,
    },
}

impl Error {
    /// Whether the user's input or the host is to blame, rather than stickler.
    pub fn is_users(&self) -> bool {
        !matches!(
            self,
            Error::Kvm { .. }
                | Error::KvmStopped { .. }
                | Error::Host { .. }
                | Error::GuestMemory { .. }
                | Error::Panicked { .. }
        )
    }

    /// The program's exit code: 2 for bad input or an unusable host, 4 for an internal error.
    pub fn exit_code(&self) -> u8 {
        if self.is_users() { 2 } else { 4 }
    }

    /// Wraps a failed KVM call, for `map_err`.
    pub(crate) fn kvm(what: &'static str) -> impl FnOnce(errno::Error) -> Error {
        move |why| Error::Kvm { what, why }
    }

    /// Wraps a failed system call, for `map_err`.
    pub(crate) fn host(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |why| Error::Host { what, why }
    }
}

/// Bytes as MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
