//! Ending a run, from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use super::event::Event;
use super::output::PanicNote;
use crate::end::GuestEnd;

/// Shared by all threads of a run. The first to end the run decides how it ended.
#[derive(Debug)]
pub(crate) struct Control {
    ending: Mutex<Option<Result<GuestEnd, Error>>>,
    stopping: AtomicBool,
    timed_out: AtomicBool,
    wake: Event,
    panic: PanicNote,
}

impl Control {
    pub(crate) fn new(panic: PanicNote) -> Result<Self, Error> {
        Ok(Control {
            ending: Mutex::new(None),
            stopping: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            wake: Event::new().map_err(Error::host("create an eventfd"))?,
            panic,
        })
    }

    /// The guest has ended.
    pub(crate) fn end(&self, end: GuestEnd) {
        self.finish(Ok(self.known_as(end)));
    }

    /// After a panic, a guest resets, hangs or crashes: that counts as the panic.
    fn known_as(&self, end: GuestEnd) -> GuestEnd {
        match end {
            GuestEnd::Reset
            | GuestEnd::TripleFault
            | GuestEnd::StrayJump(_)
            | GuestEnd::Timeout
            | GuestEnd::Disconnected => match self.panic.get() {
                Some(message) => GuestEnd::Panic(message),
                None => end,
            },
            end => end,
        }
    }

    /// The guest's time is over: this is how the run ends, whatever comes until it has ended. A guest that has
    /// panicked has ended by that.
    pub(super) fn time_is_over(&self) {
        self.timed_out.store(true, Ordering::Release);
        self.decide(Ok(self.known_as(GuestEnd::Timeout)));
    }

    /// Whether the guest's time is over.
    pub(super) fn has_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Acquire)
    }

    /// Whether the guest's kernel is known to have panicked.
    pub(super) fn has_panicked(&self) -> bool {
        self.panic.get().is_some()
    }

    /// The run cannot continue.
    pub(crate) fn fail(&self, error: Error) {
        self.finish(Err(error));
    }

    fn decide(&self, ending: Result<GuestEnd, Error>) {
        self.ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(ending);
    }

    fn finish(&self, ending: Result<GuestEnd, Error>) {
        self.decide(ending);
        self.stopping.store(true, Ordering::Release);
        self.wake.signal();
    }

    /// Whether the run is ending. Every thread checks this before it waits or continues.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Readable from the moment the run is ending.
    pub(crate) fn wake(&self) -> &Event {
        &self.wake
    }

    /// How it ended, once.
    pub(crate) fn take_ending(&self) -> Option<Result<GuestEnd, Error>> {
        self.ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Ends the run of a machine from another thread.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(crate) Arc<Control>);

impl StopHandle {
    /// Ends the run with `end`, unless it has ended before.
    pub fn stop(&self, end: GuestEnd) {
        self.0.end(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> (Control, PanicNote) {
        let note = PanicNote::default();
        (Control::new(note.clone()).unwrap(), note)
    }

    #[test]
    fn the_first_end_counts() {
        let (control, _) = control();
        assert!(!control.is_stopping());
        control.end(GuestEnd::PowerOff);
        control.end(GuestEnd::Timeout);
        assert!(control.is_stopping());
        assert!(matches!(
            control.take_ending(),
            Some(Ok(GuestEnd::PowerOff))
        ));
    }

    #[test]
    fn a_reset_after_a_panic_is_the_panic() {
        let (control, note) = control();
        note.set("Attempted to kill init!");
        control.end(GuestEnd::Reset);
        let expected = GuestEnd::Panic("Attempted to kill init!".into());
        assert_eq!(control.take_ending().unwrap().unwrap(), expected);
    }

    #[test]
    fn what_a_guest_does_after_its_time_changes_nothing() {
        let (control, note) = control();
        control.time_is_over();
        assert!(!control.is_stopping() && control.has_timed_out());
        note.set("too late");
        control.end(GuestEnd::PowerOff);
        assert!(control.is_stopping());
        assert_eq!(control.take_ending().unwrap().unwrap(), GuestEnd::Timeout);
    }

    #[test]
    fn leaving_after_a_panic_is_leaving() {
        let (control, note) = control();
        note.set("x");
        control.end(GuestEnd::Interrupted);
        assert_eq!(
            control.take_ending().unwrap().unwrap(),
            GuestEnd::Interrupted
        );
    }
}
