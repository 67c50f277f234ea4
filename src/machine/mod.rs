//! The KVM machine.

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
    /// The time given to the guest ran out.
    Timeout,
    /// Stopped at the first violation, as asked.
    Violation,
    /// The user left with the escape key sequence, or a signal asked stickler to end.
    Interrupted,
}
