//! stickler: a lightweight hypervisor that plays virtio strictly by the book and judges guest
//! drivers.
//!
//! * [`cli`]: the command line.
//! * [`machine`]: the KVM machine: memory, vCPUs, boot, ACPI, legacy devices.
//! * [`serve`]: the devices for a monitor in another process, such as QEMU.
//! * [`paths`]: paths for writing.
//! * [`qemu`]: QEMU as the machine of a run.
//! * [`worker`]: the thread that serves a device, whichever machine the device is in.
//! * [`backends`]: the host's side of the devices: files, taps, terminals.
//! * [`check`]: many runs of one kernel.
//! * [`children`]: processes and directories that end with us.
//! * [`confine`]: what the process keeps of its privileges, files and system calls while a guest runs.
//! * [`complaints`]: what the guest's own kernel complains of.
//! * [`doctor`]: whether this host can run guests.
//! * [`end`]: how a guest ends.
//! * [`firmware`]: firmware as the guest of a run.
//! * [`journal`]: what happened in a run, and when: marks and findings.
//! * [`report`]: the reports for people and programs.
//! * [`say`]: what is said on standard error.
//! * [`signals`]: signals that end a run.

// Their macros panic where the stream is closed; see `say`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod backends;
pub mod check;
pub mod children;
pub mod cli;
pub mod complaints;
pub mod confine;
pub mod doctor;
pub mod end;
pub mod firmware;
pub mod journal;
pub mod machine;
pub mod paths;
pub mod qemu;
pub mod report;
pub mod say;
pub mod serve;
pub mod signals;
pub mod worker;
