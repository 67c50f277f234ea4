//! How a guest ends.

/// How the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// ACPI power-off.
    PowerOff,
    /// A reset (ACPI reset register, i8042, port 0xCF9) without a panic before it.
    Reset,
    /// The guest kernel panicked; the panic message as far as it was seen on a console.
    Panic(String),
    /// A vCPU shut down (triple fault).
    TripleFault,
    /// The guest continued where it has no memory; where that is.
    StrayJump(String),
    /// The guest did not end within its time limit.
    Timeout,
    /// stickler stopped the guest at the first violation, as the user asked.
    Violation,
    /// The firmware has said that it has nothing to boot.
    GaveUp(String),
    /// The monitor that had the guest has gone away; how the guest ended is not known.
    Disconnected,
    /// The user left with the escape key sequence, or a signal asked stickler to end.
    Interrupted,
}
