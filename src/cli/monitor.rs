//! What runs the guest.

use super::failure::Failure;
use super::guest::GuestKind;
use super::values::MonitorSpec;
use crate::machine::{self, probe};
use crate::qemu::Qemu;
use crate::say;

/// What the user asked for; otherwise our own machine where KVM can run guests, and else QEMU where there is one
/// that will do, which is said.
///
/// # Errors
/// There is neither.
pub(super) fn choose(
    asked: Option<&MonitorSpec>,
    guest: &GuestKind,
) -> Result<MonitorSpec, Failure> {
    if let Some(qemu) = guest.monitor(asked)? {
        return Ok(qemu);
    }
    if let Some(asked) = asked {
        return Ok(asked.clone());
    }
    let Err(why) = usable_kvm() else {
        return Ok(MonitorSpec::Kvm);
    };
    if let Err(no_qemu) = Qemu::find(None, guest.arch) {
        return Err(match Failure::from(why) {
            Failure::Input(sentence) => Failure::Input(format!(
                "{sentence}; QEMU's emulation could run the guest without KVM, but stickler {no_qemu}"
            )),
            other => other,
        });
    }
    say::line(
        "KVM cannot run guests here, so QEMU's emulation does (--monitor qemu); `stickler doctor` says why",
    );
    Ok(MonitorSpec::Qemu(None))
}

/// Whether our own machine can run guests.
pub(super) fn usable_kvm() -> Result<(), machine::Error> {
    let kvm = probe::open()?;
    probe::check_capabilities(&kvm)?;
    probe::try_guest(&kvm)?;
    Ok(())
}
