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
    wake: Event,
    panic: PanicNote,
}

impl Control {
    pub(crate) fn new(panic: PanicNote) -> Result<Self, Error> {
        Ok(Control {
            ending: Mutex::new(None),
            stopping: AtomicBool::new(false),
            wake: Event::new().map_err(Error::host("create an eventfd"))?,
            panic,
        })
    }

    /// The guest has ended.
    pub(crate) fn end(&self, end: GuestEnd) {
        // After a panic, a guest resets, hangs or crashes: that counts as the panic.
        let end = match end {
            GuestEnd::Reset
            | GuestEnd::TripleFault
            | GuestEnd::Timeout
            | GuestEnd::Disconnected => match self.panic.get() {
                Some(message) => GuestEnd::Panic(message),
                None => end,
            },
            end => end,
        };
        self.finish(Ok(end));
    }

    /// The run cannot continue.
    pub(crate) fn fail(&self, error: Error) {
        self.finish(Err(error));
    }

    fn finish(&self, ending: Result<GuestEnd, Error>) {
        self.ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(ending);
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
