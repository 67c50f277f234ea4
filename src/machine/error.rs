//! What can go wrong with the machine.

use std::io;
use std::path::PathBuf;

use vmm_sys_util::errno;

/// Why a machine could not be made or run. Each message is one complete sentence. If the user can
/// solve the problem, the message says how.
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
        /// The error of the system.
        why: io::Error,
    },
    /// The file given as kernel is not a kernel.
    #[error("{} is not a Linux kernel: give a bzImage (such as /boot/vmlinuz-*) or an uncompressed x86-64 ELF vmlinux", .0.display())]
    NotAKernel(PathBuf),
    /// The file given as kernel is a program.
    #[error("{} is a program and not a kernel: give a bzImage (such as /boot/vmlinuz-*) or an uncompressed x86-64 ELF vmlinux; `stickler check --kernel KERNEL -- PROGRAM` runs a program in a guest", .0.display())]
    UserProgram(PathBuf),
    /// The kernel is of a kind that cannot be started.
    #[error("the kernel {} cannot be started: {why}", path.display())]
    UnsupportedKernel {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it, and what to use instead.
        why: &'static str,
    },
    /// The kernel's file ends before the kernel does.
    #[error("the kernel {} is truncated ({have} of at least {need} bytes): copy it again", path.display())]
    TruncatedKernel {
        /// The path as given.
        path: PathBuf,
        /// Bytes in the file.
        have: u64,
        /// Bytes according to its headers.
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
        /// Bytes of memory that would be enough.
        need: u64,
    },
    /// The initrd does not fit below the highest address from which the kernel can load it.
    #[error("the initrd {} ({} MiB) is larger than this kernel can load: make it smaller", path.display(), mib(*size))]
    InitrdOutOfReach {
        /// The path as given.
        path: PathBuf,
        /// Bytes of the initrd.
        size: u64,
    },
    /// The command line is too long.
    #[error(
        "the kernel's command line has {have} bytes, but this kernel accepts only {limit}: shorten --append"
    )]
    CommandLineTooLong {
        /// Bytes of it.
        have: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The command line contains a NUL.
    #[error("the kernel's command line contains a NUL character: remove it from --append")]
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
    /// The host cannot provide the memory.
    #[error("this host cannot provide {} MiB for the guest's memory ({why}): use a smaller --memory", mib(*asked))]
    NoMemory {
        /// Bytes asked for.
        asked: u64,
        /// The error of the system.
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
    /// There is no permission to open /dev/kvm.
    #[error(
        "no permission to open /dev/kvm: become a member of the group that owns it (usually kvm), or run as root"
    )]
    KvmForbidden,
    /// KVM cannot run stock kernels.
    #[error(
        "the KVM of this host cannot run stock kernels ({0}): `stickler doctor` shows more; the KVM of the lab (`cargo xtask lab`) can"
    )]
    KvmUnusable(String),
    /// Two devices on one slot, or a slot that does not exist.
    #[error("cannot place a device in PCI slot {slot}: {why}")]
    Slot {
        /// The slot asked for.
        slot: u8,
        /// The error of the bus.
        why: io::Error,
    },

    // ---- Not the user's fault
    /// A KVM call failed.
    #[error("KVM: cannot {what}: {why}")]
    Kvm {
        /// What we tried to do.
        what: &'static str,
        /// The error of the system.
        why: errno::Error,
    },
    /// KVM stopped a vCPU.
    #[error("KVM stopped vCPU {vcpu} at rip {rip}: {why}")]
    KvmStopped {
        /// Which vCPU.
        vcpu: u8,
        /// Its instruction pointer, hexadecimal, or "unknown".
        rip: String,
        /// The reason KVM gave.
        why: String,
    },
    /// A system call failed.
    #[error("cannot {what}: {why}")]
    Host {
        /// What we tried to do.
        what: &'static str,
        /// The error of the system.
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
    /// Whether the cause is the user's input or the host, and not stickler.
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
