//! Time, which this crate does not have: it comes as an event.

/// Time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// A second has passed since the last tick. Comes after what the device has found in its queues by
    /// then.
    Tick,
}
