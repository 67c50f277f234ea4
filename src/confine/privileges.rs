//! Privileges: capabilities, new ones by exec, and resource limits.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::{ConfineError, ConfinedProcess};

/// What the main thread keeps, if it has it: a report may go to a directory of another user.
const FOR_REPORTS: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);

/// Room for file descriptors that are opened after set-up: clients, memory, interrupts.
const DESCRIPTORS: u64 = 4096;

/// Takes from this process what it does not need.
pub(super) fn drop_for(process: ConfinedProcess) -> Result<(), ConfineError> {
    set_no_new_privs(true).map_err(ConfineError::host("give up new privileges"))?;
    // A core would contain the guest's memory.
    limit(Resource::Core, 0)?;
    if process == ConfinedProcess::Guest {
        limit(Resource::Nofile, DESCRIPTORS)?;
        drop_capabilities().map_err(ConfineError::host("give up capabilities"))?;
    }
    Ok(())
}

/// Takes all capabilities from this thread.
pub(super) fn drop_all_of_thread() -> io::Result<()> {
    Ok(set_capabilities(None, keeping(CapabilitySet::empty()))?)
}

/// Takes the capabilities from this thread that the main thread does not need, and from the process those
/// that exec could give back.
fn drop_capabilities() -> io::Result<()> {
    let held = capabilities(None)?;
    for capability in CapabilitySet::all().iter() {
        // The kernel does not know the younger ones, and only the privileged may do this.
        let _ = remove_capability_from_bounding_set(capability);
    }
    // Old kernels have no such set.
    let _ = clear_ambient_capability_set();
    Ok(set_capabilities(
        None,
        keeping(held.permitted & held.effective & FOR_REPORTS),
    )?)
}

fn keeping(kept: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    }
}

/// Lowers a limit to `most`, the hard one too.
fn limit(resource: Resource, most: u64) -> Result<(), ConfineError> {
    let now = getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    setrlimit(
        resource,
        Rlimit {
            current: lower(now.current),
            maximum: lower(now.maximum),
        },
    )
    .map_err(ConfineError::host("lower a resource limit"))
}
