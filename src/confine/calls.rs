//! System calls: which of them each role keeps.
//!
//! A filter lists what is allowed. The main thread's is applied to all threads, so that those that were
//! started earlier have it, too; a role's comes on top, and allows nothing that the main thread's does not.

use std::collections::BTreeMap;
use std::io;

use kvm_bindings::KVMIO;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};
use syscalls::Sysno;

use super::{ConfineError, ConfinedProcess, Role};

/// What every thread needs: memory, locks, time, open files, signals, and its end.
const EVERYWHERE: &[Sysno] = &[
    Sysno::brk,
    Sysno::clock_gettime,
    Sysno::clock_nanosleep,
    Sysno::close,
    Sysno::epoll_pwait,
    Sysno::epoll_wait,
    Sysno::exit,
    Sysno::exit_group,
    Sysno::fstat,
    Sysno::futex,
    Sysno::getpid,
    Sysno::getrandom,
    Sysno::gettid,
    Sysno::lseek,
    Sysno::madvise,
    Sysno::mremap,
    Sysno::munmap,
    Sysno::nanosleep,
    Sysno::poll,
    Sysno::ppoll,
    Sysno::read,
    Sysno::readv,
    Sysno::restart_syscall,
    Sysno::rseq,
    Sysno::rt_sigaction,
    Sysno::rt_sigprocmask,
    Sysno::rt_sigreturn,
    Sysno::sched_getaffinity,
    Sysno::sched_yield,
    Sysno::set_robust_list,
    Sysno::sigaltstack,
    Sysno::tgkill,
    Sysno::write,
    Sysno::writev,
];

/// What devices and their back ends do: disks, sockets, event file descriptors.
const DEVICES: &[Sysno] = &[
    Sysno::accept4,
    Sysno::epoll_create1,
    Sysno::epoll_ctl,
    Sysno::eventfd2,
    Sysno::fallocate,
    Sysno::fdatasync,
    Sysno::fsync,
    Sysno::io_uring_enter,
    Sysno::pread64,
    Sysno::preadv,
    Sysno::preadv2,
    Sysno::pwrite64,
    Sysno::pwritev,
    Sysno::pwritev2,
    Sysno::recvfrom,
    Sysno::recvmsg,
    Sysno::sendmsg,
    Sysno::sendto,
    Sysno::shutdown,
    Sysno::timerfd_settime,
];

/// What threads do that make others, and what a thread does to take its role.
const THREADS: &[Sysno] = &[Sysno::capget, Sysno::capset, Sysno::clone3, Sysno::seccomp];

/// What the main thread does to end a run: it ends other processes, and writes reports in files.
const MAIN: &[Sysno] = &[
    Sysno::bind,
    Sysno::connect,
    Sysno::dup,
    Sysno::faccessat,
    Sysno::faccessat2,
    Sysno::fchmod,
    Sysno::ftruncate,
    Sysno::getcwd,
    Sysno::getdents64,
    Sysno::geteuid,
    Sysno::getsockname,
    Sysno::getsockopt,
    Sysno::getuid,
    Sysno::kill,
    Sysno::link,
    Sysno::linkat,
    Sysno::listen,
    Sysno::lstat,
    Sysno::mkdir,
    Sysno::mkdirat,
    Sysno::newfstatat,
    Sysno::pipe2,
    Sysno::prlimit64,
    Sysno::readlink,
    Sysno::readlinkat,
    Sysno::rename,
    Sysno::renameat,
    Sysno::renameat2,
    Sysno::rmdir,
    Sysno::rt_sigpending,
    Sysno::rt_sigtimedwait,
    Sysno::setsockopt,
    Sysno::sigaltstack,
    Sysno::socketpair,
    Sysno::stat,
    Sysno::statx,
    Sysno::uname,
    Sysno::unlink,
    Sysno::unlinkat,
    Sysno::wait4,
    Sysno::waitid,
];

/// How files are opened; it fails in all roles but the main thread's.
const OPENING: &[Sysno] = &[Sysno::open, Sysno::openat];

/// What no process of a campaign needs, nor anyone that it starts: a list of what is forbidden, for it
/// does not know what QEMU does.
const NOBODY: &[Sysno] = &[
    Sysno::acct,
    Sysno::add_key,
    Sysno::bpf,
    Sysno::chroot,
    Sysno::delete_module,
    Sysno::finit_module,
    Sysno::fsopen,
    Sysno::init_module,
    Sysno::ioperm,
    Sysno::iopl,
    Sysno::kexec_file_load,
    Sysno::kexec_load,
    Sysno::keyctl,
    Sysno::mount,
    Sysno::move_mount,
    Sysno::open_by_handle_at,
    Sysno::perf_event_open,
    Sysno::pivot_root,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::ptrace,
    Sysno::quotactl,
    Sysno::reboot,
    Sysno::request_key,
    Sysno::setns,
    Sysno::sethostname,
    Sysno::settimeofday,
    Sysno::swapoff,
    Sysno::swapon,
    Sysno::umount2,
    Sysno::unshare,
    Sysno::userfaultfd,
];

/// The filters of a confined process.
pub(super) struct Filters {
    roles: BTreeMap<Role, BpfProgram>,
    /// With it, a file cannot be opened. It does not end the process: the C library's allocator looks into
    /// files of the kernel at moments of its own, and copes without.
    without_files: BpfProgram,
}

impl Filters {
    /// Compiles them; `None` where the kernel has none.
    pub(super) fn compile() -> Result<Option<Filters>, ConfineError> {
        if !is_supported() {
            return Ok(None);
        }
        let compiled = Role::ALL.into_iter().map(|role| Ok((role, program(role)?)));
        let roles = compiled
            .collect::<Result<_, seccompiler::BackendError>>()
            .map_err(failed)?;
        let without_files = failing(OPENING, libc::EACCES).map_err(failed)?;
        Ok(Some(Filters {
            roles,
            without_files,
        }))
    }

    /// Applies to all threads of this process what all of them can do without.
    pub(super) fn apply_to_process(&self, process: ConfinedProcess) -> Result<(), ConfineError> {
        match process {
            ConfinedProcess::Guest => {
                // A filter cannot see the flags of clone3; libraries use clone where there is none.
                let without_clone3 = failing(&[Sysno::clone3], libc::ENOSYS).map_err(failed)?;
                for program in [&self.roles[&Role::Main], &without_clone3] {
                    apply_filter_all_threads(program).map_err(failed)?;
                }
                Ok(())
            }
            ConfinedProcess::Campaign => {
                let program = forbidding(NOBODY).map_err(failed)?;
                apply_filter_all_threads(&program).map_err(failed)
            }
        }
    }

    /// Applies the role's filter to this thread.
    pub(super) fn apply_to_thread(&self, role: Role) -> io::Result<()> {
        if role != Role::Main {
            apply_filter(&self.without_files).map_err(io::Error::other)?;
        }
        apply_filter(&self.roles[&role]).map_err(io::Error::other)
    }
}

fn failed(why: impl std::error::Error + Send + Sync + 'static) -> ConfineError {
    ConfineError::Host {
        what: "confine system calls",
        why: io::Error::other(why),
    }
}

/// Whether the kernel has filters: it says so of an address where there is none.
pub(super) fn is_supported() -> bool {
    // SAFETY: The kernel finds no program at address 0, and says EFAULT.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::null::<libc::c_void>(),
        )
    };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// The filter of a role.
fn program(role: Role) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut allowed = Allowed::default();
    allowed.all(EVERYWHERE);
    allowed.all(OPENING);
    allowed.memory_without_code()?;
    allowed.when(Sysno::fcntl, 1, FCNTLS)?;
    allowed.when(Sysno::ioctl, 1, &[libc::FIONBIO, libc::FIONREAD])?;
    allowed.when(Sysno::prctl, 0, PRCTLS)?;
    match role {
        Role::Main => {
            // All of them, for this filter is that of all threads.
            allowed.all(DEVICES);
            allowed.all(THREADS);
            allowed.all(MAIN);
            allowed.kvm()?;
            allowed.when(Sysno::ioctl, 1, TERMINAL)?;
            allowed.when(Sysno::ioctl, 1, TAP)?;
            allowed.when(Sysno::socket, 0, &[libc::AF_UNIX as u64])?;
            allowed.threads_only()?;
        }
        Role::Vcpu => {
            allowed.all(DEVICES);
            allowed.kvm()?;
            allowed.when(Sysno::ioctl, 1, TAP)?;
        }
        Role::Device => {
            allowed.all(DEVICES);
            allowed.kvm()?;
            allowed.when(Sysno::ioctl, 1, TAP)?;
            allowed.when(Sysno::ioctl, 1, TERMINAL)?;
        }
        Role::Disk => allowed.all(DEVICES),
        Role::Terminal => allowed.when(Sysno::ioctl, 1, TERMINAL)?,
        Role::Client => {
            allowed.all(DEVICES);
            allowed.when(Sysno::ioctl, 1, TAP)?;
            allowed.all(&[
                Sysno::statx,
                Sysno::fstatfs,
                Sysno::getsockopt,
                // Its socket, at its end.
                Sysno::unlink,
                Sysno::setsockopt,
            ]);
        }
    }
    compile(allowed.0, SeccompAction::Trap, SeccompAction::Allow)
}

/// What is asked of an open file: its flags, and another descriptor of it.
const FCNTLS: &[u64] = &[
    libc::F_GETFD as u64,
    libc::F_SETFD as u64,
    libc::F_GETFL as u64,
    libc::F_SETFL as u64,
    libc::F_DUPFD_CLOEXEC as u64,
    libc::F_GET_SEALS as u64,
];

/// Names of threads and of memory, and what a thread asks for to take its role.
const PRCTLS: &[u64] = &[
    libc::PR_SET_NAME as u64,
    libc::PR_SET_VMA as u64,
    libc::PR_SET_NO_NEW_PRIVS as u64,
];

const TERMINAL: &[u64] = &[
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TIOCGWINSZ,
    libc::TCGETS2,
    libc::TCSETS2,
    libc::TCSETSW2,
    libc::TCSETSF2,
];

const TAP: &[u64] = &[libc::TUNSETOFFLOAD, libc::TUNSETQUEUE];

/// Allowed system calls, each with the rules of which one has to apply; without a rule always.
#[derive(Default)]
struct Allowed(BTreeMap<i64, Vec<SeccompRule>>);

impl Allowed {
    fn all(&mut self, calls: &[Sysno]) {
        for call in calls {
            self.0.insert(i64::from(call.id()), Vec::new());
        }
    }

    /// Allows a call where argument `index` is one of `values`. Commands and flags are of 32 bits: the
    /// kernel ignores what stands above.
    fn when(
        &mut self,
        call: Sysno,
        index: u8,
        values: &[u64],
    ) -> Result<(), seccompiler::BackendError> {
        for value in values {
            let value = *value & 0xffff_ffff;
            self.rule(call, index, SeccompCmpOp::Eq, value)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        call: Sysno,
        index: u8,
        operator: SeccompCmpOp,
        value: u64,
    ) -> Result<(), seccompiler::BackendError> {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
        let rules = self.0.entry(i64::from(call.id())).or_default();
        rules.push(SeccompRule::new(vec![condition])?);
        Ok(())
    }

    /// Memory, but none that is executed.
    fn memory_without_code(&mut self) -> Result<(), seccompiler::BackendError> {
        let executable = libc::PROT_EXEC as u64;
        for call in [Sysno::mmap, Sysno::mprotect] {
            self.rule(call, 2, SeccompCmpOp::MaskedEq(executable), 0)?;
        }
        Ok(())
    }

    /// KVM's ioctls, on whatever of KVM's is open.
    fn kvm(&mut self) -> Result<(), seccompiler::BackendError> {
        let of_kvm = u64::from(KVMIO) << 8;
        self.rule(Sysno::ioctl, 1, SeccompCmpOp::MaskedEq(0xff00), of_kvm)
    }

    /// Threads, but no processes.
    fn threads_only(&mut self) -> Result<(), seccompiler::BackendError> {
        let thread = libc::CLONE_THREAD as u64;
        self.rule(Sysno::clone, 0, SeccompCmpOp::MaskedEq(thread), thread)
    }
}

/// A filter with which `calls` fail with `errno`, and nothing else.
fn failing(calls: &[Sysno], errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = calls.iter().map(|call| (i64::from(call.id()), Vec::new()));
    compile(
        rules.collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
    )
}

/// A filter that forbids `calls` and nothing else.
fn forbidding(calls: &[Sysno]) -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = calls.iter().map(|call| (i64::from(call.id()), Vec::new()));
    compile(rules.collect(), SeccompAction::Allow, SeccompAction::Trap)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, otherwise, listed, TargetArch::x86_64)?.try_into()
}
