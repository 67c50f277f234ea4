//! How the device interrupts the driver: through eventfds of the client, which it may change at any time.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, write};

use crate::request::{IrqAction, IrqData, SetIrqs};
use crate::wire::irq;

/// The interrupts of one PCI device. The device signals them from any thread; the session says where they
/// go.
#[derive(Debug)]
pub struct Interrupts(Mutex<IrqState>);

#[derive(Debug)]
struct IrqState {
    pin: Pin,
    vectors: Vec<Option<OwnedFd>>,
}

/// INTA#, which is a level, while an eventfd says that something has happened. So it masks itself when it is
/// sent, and is sent again at its unmasking if it is still asserted.
#[derive(Debug, Default)]
struct Pin {
    eventfd: Option<OwnedFd>,
    asserted: bool,
    masked: bool,
}

impl Interrupts {
    /// Those of a device with a pin and so many MSI-X vectors. Nothing is signalled yet.
    pub fn new(vectors: u16) -> Self {
        Interrupts(Mutex::new(IrqState {
            pin: Pin::default(),
            vectors: (0..vectors).map(|_| None).collect(),
        }))
    }

    /// Signals MSI-X vector `vector`, if the client wants to know.
    pub fn signal(&self, vector: u16) {
        if let Some(Some(eventfd)) = self.lock().vectors.get(usize::from(vector)) {
            notify(eventfd);
        }
    }

    /// The device asserts or deasserts its pin.
    pub fn set_pin(&self, asserted: bool) {
        let pin = &mut self.lock().pin;
        pin.asserted = asserted;
        pin.send();
    }

    /// Forgets where interrupts go: the client is gone.
    pub fn disconnect(&self) {
        let state = &mut *self.lock();
        state.pin.eventfd = None;
        state.pin.masked = false;
        state.vectors.fill_with(|| None);
    }

    /// How many interrupts of kind `index` there are.
    pub(crate) fn count(&self, index: u32) -> u32 {
        match index {
            irq::INTX => 1,
            irq::MSIX => self.lock().vectors.len() as u32,
            _ => 0,
        }
    }

    /// Does what the client wants done.
    pub(crate) fn set(&self, set: SetIrqs) -> Result<(), Errno> {
        let SetIrqs {
            index,
            start,
            count,
            action,
            data,
        } = set;
        if index >= irq::COUNT {
            return Err(Errno::INVAL);
        }
        let there = self.count(index);
        if start.checked_add(count).is_none_or(|end| end > there) {
            return Err(Errno::INVAL);
        }
        let range = start as usize..(start + count) as usize;
        let mut state = self.lock();
        let state = &mut *state;
        match (action, data) {
            // A count of 0 disables them all.
            (IrqAction::Trigger, IrqData::All) if count == 0 => {
                if start != 0 {
                    return Err(Errno::INVAL);
                }
                state.direct(index, 0..there as usize, Vec::new())
            }
            (IrqAction::Trigger, IrqData::EventFds(fds)) => state.direct(index, range, fds),
            (action, data) => {
                let chosen = |at: &usize| match &data {
                    IrqData::All => true,
                    IrqData::Some(bytes) => bytes.get(at - range.start).is_some_and(|b| *b != 0),
                    IrqData::EventFds(_) => false,
                };
                // No one is told by an eventfd of masks that the client sets itself.
                if matches!(data, IrqData::EventFds(_)) {
                    return Err(Errno::OPNOTSUPP);
                }
                range
                    .clone()
                    .filter(chosen)
                    .try_for_each(|at| state.act(index, at, action))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, IrqState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IrqState {
    /// The interrupts of `range` go to these eventfds from now on, or nowhere if there are none.
    fn direct(
        &mut self,
        index: u32,
        range: std::ops::Range<usize>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Errno> {
        for fd in &fds {
            never_wait(fd)?;
        }
        let mut fds = fds.into_iter();
        for at in range {
            let fd = fds.next();
            if index == irq::INTX {
                // Whoever is told of the pin anew has not been told before.
                self.pin.masked = false;
                self.pin.eventfd = fd;
                self.pin.send();
            } else if let Some(vector) = self.vectors.get_mut(at) {
                *vector = fd;
            }
        }
        Ok(())
    }

    fn act(&mut self, index: u32, at: usize, action: IrqAction) -> Result<(), Errno> {
        match (index, action) {
            (irq::INTX, IrqAction::Mask) => self.pin.masked = true,
            (irq::INTX, IrqAction::Unmask) => {
                self.pin.masked = false;
                self.pin.send();
            }
            (irq::INTX, IrqAction::Trigger) => {
                if let Some(eventfd) = &self.pin.eventfd {
                    notify(eventfd);
                }
            }
            (_, IrqAction::Trigger) => {
                if let Some(Some(eventfd)) = self.vectors.get(at) {
                    notify(eventfd);
                }
            }
            // The client keeps the masks of vectors, in the table that it keeps.
            (_, IrqAction::Mask | IrqAction::Unmask) => return Err(Errno::OPNOTSUPP),
        }
        Ok(())
    }
}

impl Pin {
    fn send(&mut self) {
        if self.asserted
            && !self.masked
            && let Some(eventfd) = &self.eventfd
        {
            self.masked = true;
            notify(eventfd);
        }
    }
}

/// What the client sent as an eventfd may be anything. A write to it must not wait.
fn never_wait(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}

/// Adds 1 to the counter of an eventfd. If that fails, the counter is at its end, so that the client is
/// awake anyway, or it is no eventfd, and then nobody waits for it.
fn notify(eventfd: &OwnedFd) {
    let _ = write(eventfd, &1_u64.to_ne_bytes());
}
