//! Whether this host's KVM can run stock kernels, found by trying.
//!
//! Some KVMs open, answer every question, and then cannot run a kernel: nested or paravirtual ones
//! that interpret the guest's instructions and lack some. So a few instructions of long-mode guest
//! code that every kernel needs are run, and their results checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::signal::Killable;

use super::boot::{Entry, set_boot_registers, write_boot_structures};
use super::{Error, kick, layout};

/// What stickler needs KVM to have, and what for.
pub const CAPABILITIES: [(Cap, &str); 8] = [
    (Cap::UserMemory, "guest memory"),
    (Cap::Irqchip, "in-kernel interrupt controllers"),
    (Cap::Pit2, "in-kernel interval timer"),
    (Cap::SignalMsi, "message-signalled interrupts"),
    (Cap::ExtCpuid, "CPUID as the guest sees it"),
    (Cap::SetTssAddr, "placing its task state segment"),
    (Cap::SetIdentityMapAddr, "placing its identity map"),
    (Cap::MpState, "starting further vCPUs"),
];

/// The one version of the API there has been since Linux 2.6.22.
pub const API_VERSION: i32 = 12;

/// Opens /dev/kvm.
pub fn open() -> Result<Kvm, Error> {
    Kvm::new().map_err(|why| match why.errno() {
        libc::ENOENT | libc::ENXIO | libc::ENODEV => Error::KvmAbsent,
        libc::EACCES | libc::EPERM => Error::KvmForbidden,
        _ => Error::KvmUnusable(format!("opening /dev/kvm: {why}")),
    })
}

/// Checks that `kvm` has the API and the capabilities that are needed.
pub fn check_capabilities(kvm: &Kvm) -> Result<(), Error> {
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(Error::KvmUnusable(format!(
            "it has API version {version} instead of {API_VERSION}"
        )));
    }
    match CAPABILITIES
        .iter()
        .find(|(cap, _)| !kvm.check_extension(*cap))
    {
        Some((cap, what)) => Err(Error::KvmUnusable(format!("it lacks {cap:?}: {what}"))),
        None => Ok(()),
    }
}

/// How fast a trial ran: guest instructions a second in a counted loop.
pub type Rate = f64;

/// Below this rate instructions must be interpreted one by one: a stock kernel, if it came up at
/// all, would take minutes. The slowest emulators that translate code are ten times as fast.
const INTERPRETED: Rate = 8e6;

/// How long a trial may take before KVM counts as hanging.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the trial code. The error says in a few words what does not work.
pub fn try_guest(kvm: &Kvm) -> Result<Rate, Error> {
    let trial = Trial::new(kvm)?;
    kick::install()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (done, result) = mpsc::channel();
    let stop_there = stop.clone();
    let runner = thread::Builder::new()
        .name("probe".into())
        .spawn(move || {
            // The receiver is gone after a timeout; the result is not needed then.
            let _ = done.send(trial.run(&stop_there));
        })
        .map_err(Error::host("start a thread"))?;

    let verdict = match result.recv_timeout(PATIENCE) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => {
            stop.store(true, Ordering::Release);
            while !runner.is_finished() {
                // It has a handler, and the thread has not been joined.
                let _ = runner.kill(kick::signal());
                thread::sleep(Duration::from_millis(5));
            }
            Err("a few guest instructions did not end".to_owned())
        }
        Err(RecvTimeoutError::Disconnected) => Err("the test of guest code ended early".to_owned()),
    };
    // The result is known; a panic of the thread shows as one that broke off.
    let _ = runner.join();
    let rate = verdict.map_err(Error::KvmUnusable)?;
    if rate < INTERPRETED {
        return Err(Error::KvmUnusable(format!(
            "it interprets instructions: {:.1} million a second",
            rate / 1e6
        )));
    }
    Ok(rate)
}

/// A virtual machine of 128 KiB with the trial code.
struct Trial {
    vcpu: VcpuFd,
    _vm: VmFd,
    _memory: GuestMemoryMmap,
}

impl Trial {
    fn new(kvm: &Kvm) -> Result<Self, Error> {
        const MEMORY: usize = 0x2_0000;
        const CODE: u64 = 0x1_0000;
        /// The entry of the page directory that maps virtual 2 MiB, and what it becomes: the first
        /// 2 MiB of memory once more.
        const SECOND_PAGE: u64 = layout::PAGE_TABLES + 0x2000 + 8;
        const FIRST_2_MIB: u64 = 0x83;
        let entry = Entry::Linux64 { rip: CODE };

        let unusable = |what: &'static str| {
            move |why: vmm_sys_util::errno::Error| Error::KvmUnusable(format!("{what}: {why}"))
        };
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).map_err(|why| {
            Error::NoMemory {
                asked: MEMORY as u64,
                why: why.to_string(),
            }
        })?;
        write_boot_structures(&memory, entry)?;
        memory
            .write_obj(FIRST_2_MIB, GuestAddress(SECOND_PAGE))
            .and_then(|()| memory.write_slice(&code(), GuestAddress(CODE)))
            .map_err(|_| Error::GuestMemory {
                what: "trial code",
                address: CODE,
            })?;

        let vm = kvm.create_vm().map_err(unusable("creating a machine"))?;
        vm.set_tss_address(layout::KVM_TSS)
            .map_err(unusable("placing the task state segment"))?;
        vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
            .map_err(unusable("placing the identity map"))?;
        register(&vm, &memory).map_err(unusable("giving it memory"))?;
        let vcpu = vm.create_vcpu(0).map_err(unusable("creating a vCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
            .map_err(unusable("asking for CPUID"))?;
        vcpu.set_cpuid2(&cpuid).map_err(unusable("setting CPUID"))?;
        set_boot_registers(&vcpu, entry)
            .map_err(|why| Error::KvmUnusable(format!("entering long mode: {why}")))?;
        Ok(Trial {
            vcpu,
            _vm: vm,
            _memory: memory,
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Rate, String> {
        let mut steps = STEPS.iter();
        let mut step = steps.next();
        let mut loop_start = None;
        let mut best: Option<Duration> = None;
        while !stop.load(Ordering::Acquire) {
            let at = step.map_or("a counted loop", |s| s.name);
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(VERDICT_PORT, data)) => {
                    if data != [1] {
                        return Err(format!("wrong result of {at}"));
                    }
                    step = steps.next();
                }
                Ok(VcpuExit::IoOut(LOOP_START_PORT, _)) => loop_start = Some(Instant::now()),
                Ok(VcpuExit::IoOut(LOOP_END_PORT, _)) => {
                    let took = loop_start.map(|start: Instant| start.elapsed());
                    best = best.into_iter().chain(took).min();
                }
                Ok(VcpuExit::Hlt) => {
                    let Some(best) = best.filter(|_| step.is_none()) else {
                        return Err(format!("it lost its way at {at}"));
                    };
                    return Ok(LOOP_INSTRUCTIONS / best.as_secs_f64().max(1e-9));
                }
                Ok(VcpuExit::Shutdown | VcpuExit::InternalError | VcpuExit::FailEntry(..)) => {
                    return Err(format!("it fails at {at}"));
                }
                Ok(VcpuExit::Intr) => {}
                Ok(exit) => return Err(format!("unexpected exit {exit:?} at {at}")),
                Err(why) if matches!(why.errno(), libc::EINTR | libc::EAGAIN) => {}
                Err(why) => return Err(format!("{why} at {at}")),
            }
        }
        Err("it was stopped".to_owned())
    }
}

/// Gives `vm` all of `memory`.
pub(super) fn register(
    vm: &VmFd,
    memory: &GuestMemoryMmap,
) -> Result<(), vmm_sys_util::errno::Error> {
    for (slot, region) in (0..).zip(memory.iter()) {
        let start = region
            .get_host_address(vm_memory::MemoryRegionAddress(0))
            .map_err(|_| vmm_sys_util::errno::Error::new(libc::EFAULT))?;
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: start as u64,
        };
        // SAFETY: The range is mapped, and stays so as long as the machine: whoever owns the
        // machine owns the memory with it.
        unsafe { vm.set_user_memory_region(region) }?;
    }
    Ok(())
}

// ---- The trial code

/// Where a step's verdict goes: 1 if its last comparison was equal.
const VERDICT_PORT: u16 = 0xe2;
const LOOP_START_PORT: u16 = 0xe3;
const LOOP_END_PORT: u16 = 0xe4;
/// Instructions between the two.
const LOOP_INSTRUCTIONS: f64 = 2.0 * 100_000.0;

/// Something every kernel does.
struct Step {
    name: &'static str,
    /// Ends with the zero flag set if the result is right.
    code: &'static [u8],
}

/// All steps, each followed by its verdict, and the loop. The page at 0x6000 is for data; it shows
/// at virtual 0x206000 too.
fn code() -> Vec<u8> {
    let mut code = Vec::new();
    for step in STEPS {
        code.extend(step.code);
        code.extend(VERDICT);
    }
    code.extend(LOOP);
    code
}

#[rustfmt::skip]
const STEPS: &[Step] = &[
    Step {
        name: "paging",
        code: &[
            0xc7, 0x04, 0x25, 0x00, 0x60, 0x20, 0x00, 0xcd, 0xab, 0x34, 0x12, // mov dword ptr [0x206000], 0x1234abcd
            0x81, 0x3c, 0x25, 0x00, 0x60, 0x00, 0x00, 0xcd, 0xab, 0x34, 0x12, // cmp dword ptr [0x6000], 0x1234abcd
        ],
    },
    Step {
        name: "cpuid",
        code: &[
            0x31, 0xc0, // xor eax, eax
            0x0f, 0xa2, // cpuid
            0x83, 0xfb, 0x00, // cmp ebx, 0
            0x0f, 0x94, 0xc0, // sete al
            0x3c, 0x00, // cmp al, 0
        ],
    },
    Step {
        name: "rdtsc",
        code: &[
            0x0f, 0x31, // rdtsc
            0x09, 0xd0, // or eax, edx
            0x0f, 0x94, 0xc0, // sete al
            0x3c, 0x00, // cmp al, 0
        ],
    },
    Step {
        name: "64-bit multiplication and division",
        code: &[
            0x48, 0xbb, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, // movabs rbx, 0x0123456789abcdef
            0x48, 0x89, 0xd8, // mov rax, rbx
            0xb9, 0x01, 0x00, 0x01, 0x00, // mov ecx, 0x10001
            0x48, 0xf7, 0xe1, // mul rcx
            0x48, 0xf7, 0xf1, // div rcx
            0x48, 0x39, 0xd8, // cmp rax, rbx
        ],
    },
    Step {
        name: "lock xadd",
        code: &[
            0x48, 0xc7, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, // mov qword ptr [0x6000], 40
            0xb8, 0x02, 0x00, 0x00, 0x00, // mov eax, 2
            0xf0, 0x48, 0x0f, 0xc1, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, // lock xadd qword ptr [0x6000], rax
            0x48, 0x03, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, // add rax, qword ptr [0x6000]
            0x48, 0x83, 0xf8, 0x52, // cmp rax, 82
        ],
    },
    Step {
        name: "cmpxchg16b",
        code: &[
            0x48, 0xc7, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // mov qword ptr [0x6000], 1
            0x48, 0xc7, 0x04, 0x25, 0x08, 0x60, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, // mov qword ptr [0x6008], 2
            0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
            0xba, 0x02, 0x00, 0x00, 0x00, // mov edx, 2
            0xbb, 0x03, 0x00, 0x00, 0x00, // mov ebx, 3
            0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
            0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x60, 0x00, 0x00, // lock cmpxchg16b [0x6000]
            0x0f, 0x95, 0xc0, // setne al
            0x48, 0x83, 0x3c, 0x25, 0x00, 0x60, 0x00, 0x00, 0x03, // cmp qword ptr [0x6000], 3
            0x0f, 0x95, 0xc3, // setne bl
            0x08, 0xd8, // or al, bl
            0x48, 0x83, 0x3c, 0x25, 0x08, 0x60, 0x00, 0x00, 0x04, // cmp qword ptr [0x6008], 4
            0x0f, 0x95, 0xc3, // setne bl
            0x08, 0xd8, // or al, bl
        ],
    },
    Step {
        name: "SSE2",
        code: &[
            0x0f, 0x20, 0xe0, // mov rax, cr4
            0x0d, 0x00, 0x06, 0x00, 0x00, // or eax, 0x600
            0x0f, 0x22, 0xe0, // mov cr4, rax
            0x48, 0xbb, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // movabs rbx, 0x1122334455667788
            0x66, 0x48, 0x0f, 0x6e, 0xc3, // movq xmm0, rbx
            0x66, 0x0f, 0xd4, 0xc0, // paddq xmm0, xmm0
            0x66, 0x48, 0x0f, 0x7e, 0xc0, // movq rax, xmm0
            0x48, 0x01, 0xdb, // add rbx, rbx
            0x48, 0x39, 0xd8, // cmp rax, rbx
        ],
    },
    Step {
        name: "fxsave and fxrstor",
        code: &[
            0x48, 0x0f, 0xae, 0x04, 0x25, 0x00, 0x70, 0x00, 0x00, // fxsave64 [0x7000]
            0x66, 0x0f, 0xef, 0xc0, // pxor xmm0, xmm0
            0x48, 0x0f, 0xae, 0x0c, 0x25, 0x00, 0x70, 0x00, 0x00, // fxrstor64 [0x7000]
            0x66, 0x48, 0x0f, 0x7e, 0xc0, // movq rax, xmm0
            0x48, 0x39, 0xd8, // cmp rax, rbx
        ],
    },
    Step {
        name: "xsave and xrstor",
        code: &[
            0x48, 0x89, 0xde, // mov rsi, rbx
            0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
            0x0f, 0xa2, // cpuid
            0xf7, 0xd1, // not ecx
            0x0f, 0xba, 0xe1, 0x1a, // bt ecx, 26
            0x72, 0x38, // jc over
            0x0f, 0x20, 0xe0, // mov rax, cr4
            0x0d, 0x00, 0x00, 0x04, 0x00, // or eax, 0x40000
            0x0f, 0x22, 0xe0, // mov cr4, rax
            0x31, 0xc9, // xor ecx, ecx
            0x0f, 0x01, 0xd0, // xgetbv
            0x83, 0xc8, 0x03, // or eax, 3
            0x0f, 0x01, 0xd1, // xsetbv
            0x31, 0xd2, // xor edx, edx
            0xb8, 0x03, 0x00, 0x00, 0x00, // mov eax, 3
            0x48, 0x0f, 0xae, 0x24, 0x25, 0x00, 0x70, 0x00, 0x00, // xsave64 [0x7000]
            0x66, 0x0f, 0xef, 0xc0, // pxor xmm0, xmm0
            0xb8, 0x03, 0x00, 0x00, 0x00, // mov eax, 3
            0x48, 0x0f, 0xae, 0x2c, 0x25, 0x00, 0x70, 0x00, 0x00, // xrstor64 [0x7000]
            0x66, 0x48, 0x0f, 0x7e, 0xc0, // movq rax, xmm0
            0x48, 0x39, 0xf0, // cmp rax, rsi
        ],
    },
    Step {
        name: "rep stos and rep movs",
        code: &[
            0xbf, 0x00, 0x60, 0x00, 0x00, // mov edi, 0x6000
            0xb9, 0x40, 0x00, 0x00, 0x00, // mov ecx, 64
            0xb8, 0x5a, 0x00, 0x00, 0x00, // mov eax, 0x5a
            0xfc, // cld
            0xf3, 0xaa, // rep stosb
            0xbe, 0x00, 0x60, 0x00, 0x00, // mov esi, 0x6000
            0xbf, 0x00, 0x61, 0x00, 0x00, // mov edi, 0x6100
            0xb9, 0x08, 0x00, 0x00, 0x00, // mov ecx, 8
            0xf3, 0x48, 0xa5, // rep movsq
            0x80, 0x3c, 0x25, 0x3f, 0x61, 0x00, 0x00, 0x5a, // cmp byte ptr [0x613f], 0x5a
        ],
    },
];

#[rustfmt::skip]
const VERDICT: &[u8] = &[
    0x0f, 0x94, 0xc0, // sete al
    0xe6, 0xe2, // out 0xe2, al
];

/// A loop of 100,000 rounds, five times, between two signs; then the end.
#[rustfmt::skip]
const LOOP: &[u8] = &[
    0xb3, 0x05, // mov bl, 5
    0xb9, 0xa0, 0x86, 0x01, 0x00, // mov ecx, 100000
    0xe6, 0xe3, // out 0xe3, al
    0xff, 0xc9, // dec ecx
    0x75, 0xfc, // jnz back
    0xe6, 0xe4, // out 0xe4, al
    0xfe, 0xcb, // dec bl
    0x75, 0xef, // jnz again
    0xf4, // hlt
];
