//! The thread of a vCPU: runs it and handles its exits from the guest.

use std::cell::Cell;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE,
    KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, KVMIO, kvm_regs,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use stickler_devices::memory::GuestRam;
use vmm_sys_util::ioctl::ioctl_with_mut_ref;
use vmm_sys_util::ioctl_ior_nr;

use super::Error;
use super::control::Control;
use super::ports::Ports;
use crate::end::GuestEnd;
use crate::journal::{self, Journal, VcpuPosition};

/// What a vCPU's thread uses.
pub(super) struct Surroundings {
    pub(super) ports: Ports,
    pub(super) control: Arc<Control>,
    pub(super) journal: Journal,
    /// Keeps the guest's memory mapped as long as a vCPU may touch it.
    pub(super) ram: GuestRam,
}

/// Runs `vcpu` until the run ends. To be called on the vCPU's own thread, which is sent a signal
/// to have it look whether the run is ending.
pub(super) fn run(mut vcpu: VcpuFd, index: u8, around: &Surroundings) -> Result<(), Error> {
    let _trapped = Trapped::here(&vcpu);
    while !around.control.is_stopping() {
        match vcpu.run() {
            Ok(VcpuExit::MmioRead(address, data)) => {
                if !around.ports.bus.mmio_read(address, data) {
                    data.fill(0xff);
                }
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                around.ports.memory_write(address, data);
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                let (start, len) = (data.as_mut_ptr(), data.len());
                let width = port_width(&mut vcpu);
                // SAFETY: These are the bytes of this exit, in the vCPU's shared pages,
                // which are mapped as long as `vcpu` lives; nothing else refers to them.
                let data = unsafe { std::slice::from_raw_parts_mut(start, len) };
                for item in data.chunks_mut(width) {
                    around.ports.read(port, item);
                }
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                let (start, len) = (data.as_ptr(), data.len());
                let width = port_width(&mut vcpu);
                // SAFETY: As above.
                let data = unsafe { std::slice::from_raw_parts(start, len) };
                for item in data.chunks(width) {
                    around.ports.write(port, item);
                }
            }
            Ok(VcpuExit::Shutdown) => around.control.end(GuestEnd::TripleFault),
            Ok(VcpuExit::SystemEvent(kind, _)) => match kind {
                KVM_SYSTEM_EVENT_SHUTDOWN => around.control.end(GuestEnd::PowerOff),
                KVM_SYSTEM_EVENT_RESET => around.control.end(GuestEnd::Reset),
                KVM_SYSTEM_EVENT_CRASH => {
                    let message = "the guest reported a crash to the hypervisor".to_owned();
                    around.control.end(GuestEnd::Panic(message));
                }
                _ => return Err(stopped(&vcpu, index, format!("system event {kind}"))),
            },
            Ok(VcpuExit::Intr) => {}
            Ok(VcpuExit::InternalError) => {
                if let Some(place) = stray(&mut vcpu, &around.ram) {
                    around.control.end(GuestEnd::StrayJump(place));
                    continue;
                }
                let why = internal_error(&mut vcpu);
                return Err(stopped(&vcpu, index, why));
            }
            Ok(VcpuExit::FailEntry(reason, _)) => {
                let why = format!("entering the guest failed (hardware reason {reason:#x})");
                return Err(stopped(&vcpu, index, why));
            }
            Ok(exit) => {
                let why = format!("unexpected exit {exit:?}");
                return Err(stopped(&vcpu, index, why));
            }
            Err(why) => match why.errno() {
                // A signal: look at the loop's condition. A processor that waits for its start-up
                // signal gives EAGAIN.
                libc::EINTR | libc::EAGAIN => {}
                _ => return Err(stopped(&vcpu, index, why.to_string())),
            },
        }
    }
    if around.control.has_timed_out()
        && let Some(position) = position(&vcpu, index)
    {
        around.journal.stands(position);
    }
    Ok(())
}

/// Where the processor is; `None` if the guest has not started it.
fn position(vcpu: &VcpuFd, number: u8) -> Option<VcpuPosition> {
    let state = vcpu.get_mp_state().ok()?.mp_state;
    let started = matches!(state, KVM_MP_STATE_RUNNABLE | KVM_MP_STATE_HALTED);
    let regs = vcpu.get_regs().ok().filter(|_| started)?;
    Some(VcpuPosition {
        number,
        rip: regs.rip,
        halted: state == KVM_MP_STATE_HALTED,
    })
}

/// The width in bytes of the IN or OUT of this exit. A repeated one (INS, OUTS) has several items in
/// one exit.
fn port_width(vcpu: &mut VcpuFd) -> usize {
    // SAFETY: KVM has filled in this member of the union: the exit was for a port access.
    let io = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.io };
    usize::from(io.size).max(1)
}

/// If KVM cannot emulate what the guest does because there is no memory where it continued: where that is.
fn stray(vcpu: &mut VcpuFd, ram: &GuestRam) -> Option<String> {
    // SAFETY: KVM has filled in this member of the union: the exit was for an internal error.
    let error = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal };
    if error.suberror != KVM_INTERNAL_ERROR_EMULATION {
        return None;
    }
    let (regs, sregs) = (vcpu.get_regs().ok()?, vcpu.get_sregs().ok()?);
    let linear = sregs.cs.base.wrapping_add(regs.rip);
    let found = vcpu.translate_gva(linear).ok()?;
    no_memory_at(
        ram,
        linear,
        (found.valid != 0).then_some(found.physical_address),
    )
}

/// What is wrong with an instruction at this linear address, which is at this guest-physical one, if there is no memory.
fn no_memory_at(ram: &GuestRam, linear: u64, physical: Option<u64>) -> Option<String> {
    let physical = physical.filter(|physical| !ram.contains(*physical, 1))?;
    Some(match physical == linear {
        true => format!("there is no memory at {linear:#x}, where it continued"),
        false => format!(
            "there is no memory at {linear:#x}, where it continued (physical address {physical:#x})"
        ),
    })
}

fn internal_error(vcpu: &mut VcpuFd) -> String {
    // SAFETY: KVM has filled in this member of the union: the exit was for an internal error.
    let error = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal };
    let what = match error.suberror {
        KVM_INTERNAL_ERROR_EMULATION => "it cannot emulate the instruction there",
        KVM_INTERNAL_ERROR_SIMUL_EX => "simultaneous exceptions",
        KVM_INTERNAL_ERROR_DELIVERY_EV => "an event could not be delivered",
        KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "the hardware left the guest unexpectedly",
        _ => "reason not known",
    };
    format!("internal error {}: {what}", error.suberror)
}

fn stopped(vcpu: &VcpuFd, index: u8, why: String) -> Error {
    let rip = match vcpu.get_regs() {
        Ok(regs) => format!("{:#x}", regs.rip),
        Err(_) => "unknown".to_owned(),
    };
    Error::KvmStopped {
        vcpu: index,
        rip,
        why,
    }
}

// ---- The guest instruction that trapped, for findings made on this thread

thread_local! {
    static VCPU: Cell<Option<RawFd>> = const { Cell::new(None) };
}

/// While this lives, findings made on this thread know the vCPU's instruction pointer.
struct Trapped;

impl Trapped {
    fn here(vcpu: &VcpuFd) -> Self {
        VCPU.set(Some(vcpu.as_raw_fd()));
        journal::set_rip_source(trapped_rip);
        Trapped
    }
}

impl Drop for Trapped {
    fn drop(&mut self) {
        VCPU.set(None);
    }
}

ioctl_ior_nr!(KVM_GET_REGS, KVMIO, 0x81, kvm_regs);

/// The instruction pointer of this thread's vCPU. It is that of the accessing instruction, or,
/// if KVM has completed the emulation of a write before the exit, of the next one.
fn trapped_rip() -> Option<u64> {
    let vcpu = VCPU.get()?;
    let mut regs = kvm_regs::default();
    // SAFETY: The descriptor is a vCPU's, open as long as it stands in `VCPU`, and KVM_GET_REGS
    // writes one kvm_regs.
    let result = unsafe { ioctl_with_mut_ref(&vcpu, KVM_GET_REGS(), &mut regs) };
    (result == 0).then_some(regs.rip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_there_is_no_memory_has_the_guest_jumped_astray() {
        let ram = GuestRam::anonymous(0x1_0000);
        assert_eq!(no_memory_at(&ram, 0x1000, Some(0x1000)), None);
        assert_eq!(no_memory_at(&ram, 0xd000_0000, Some(0xfff0)), None);
        assert_eq!(no_memory_at(&ram, 0xd000_0000, None), None);
        let place = no_memory_at(&ram, 0xd000_0000, Some(0xd000_0000));
        assert!(place.is_some_and(|place| place.contains("at 0xd0000000,")));
        let place = no_memory_at(&ram, 0xffff_8000, Some(0x2_0000));
        assert!(
            place.is_some_and(|place| place.contains("0xffff8000") && place.contains("0x20000"))
        );
    }
}
