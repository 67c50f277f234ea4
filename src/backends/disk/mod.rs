//! Disk images: raw files and block devices of the host behind the guest's block devices.
//!
//! * `open`: from a value of `--disk` to an open and locked image.
//! * `transfer`: data between image and guest memory.
//! * `ring`, `pool`: two ways to transfer without blocking the device: io_uring if the host has it,
//!   otherwise threads.

mod open;
#[cfg(test)]
mod open_tests;
mod pool;
mod ring;
#[cfg(test)]
mod tests;
mod transfer;

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use stickler_devices::block::disk::{Completion, Disk, Operation, Properties, Segment, Submitted};
use stickler_devices::memory::GuestRam;

pub use open::{DiskSpec, OpenError};
use pool::Pool;
use ring::Ring;
use transfer::{Direction, Transfer};

/// An open disk image.
pub struct DiskImage {
    properties: Properties,
    engine: Engine,
    /// Released when all operations have ended: after `engine`.
    _lock: File,
}

/// How operations are done that may block.
enum Engine {
    Ring(Box<Ring>),
    Pool(Pool),
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring.
    Ring,
    /// A few threads.
    Pool,
}

impl Engine {
    fn new(file: Arc<File>, kind: EngineKind) -> io::Result<Self> {
        Ok(match kind {
            EngineKind::Ring => Engine::Ring(Box::new(Ring::new(file)?)),
            EngineKind::Pool => Engine::Pool(Pool::new(file)?),
        })
    }
}

/// What an engine has to do.
enum Work {
    Transfer(Transfer),
    Flush,
}

impl DiskImage {
    /// Opens and locks the image; a writable one for us alone.
    ///
    /// # Errors
    /// [`OpenError`] if it cannot be opened, is no image, or is in use.
    pub fn open(spec: &DiskSpec) -> Result<Self, OpenError> {
        // Containers often forbid io_uring.
        let opened = open::open(spec)?;
        let file = Arc::new(opened.file);
        let engine = Engine::new(file.clone(), EngineKind::Ring)
            .or_else(|_| Engine::new(file, EngineKind::Pool))
            .map_err(|e| OpenError::no_engine(spec, &e))?;
        Ok(DiskImage {
            properties: opened.properties,
            engine,
            _lock: opened.lock,
        })
    }

    /// As [`open`](Self::open), with an engine of the caller's choice.
    ///
    /// # Errors
    /// As [`open`](Self::open), or if the host does not have the engine.
    pub fn open_with(spec: &DiskSpec, engine: EngineKind) -> Result<Self, OpenError> {
        let opened = open::open(spec)?;
        let engine = Engine::new(Arc::new(opened.file), engine)
            .map_err(|e| OpenError::no_engine(spec, &e))?;
        Ok(DiskImage {
            properties: opened.properties,
            engine,
            _lock: opened.lock,
        })
    }

    /// Which engine is in use.
    pub fn engine(&self) -> EngineKind {
        match self.engine {
            Engine::Ring(_) => EngineKind::Ring,
            Engine::Pool(_) => EngineKind::Pool,
        }
    }

    fn transfer(
        &mut self,
        ram: &GuestRam,
        token: u16,
        direction: Direction,
        offset: u64,
        segments: &[Segment],
    ) -> Submitted {
        let buffers = match &mut self.engine {
            Engine::Ring(ring) => ring.spare_buffers(),
            Engine::Pool(pool) => pool.spare_buffers(),
        };
        match Transfer::new(ram, direction, offset, segments, buffers) {
            Ok(transfer) => self.begin(token, Work::Transfer(transfer)),
            Err(e) => Submitted::Done(Err(e)),
        }
    }

    fn begin(&mut self, token: u16, work: Work) -> Submitted {
        match &mut self.engine {
            Engine::Ring(ring) => ring.submit(token, work),
            Engine::Pool(pool) => return pool.submit(token, work),
        }
        Submitted::Pending
    }
}

impl Disk for DiskImage {
    fn properties(&self) -> Properties {
        self.properties
    }

    fn completion_fd(&self) -> RawFd {
        match &self.engine {
            Engine::Ring(ring) => ring.completion_fd(),
            Engine::Pool(pool) => pool.completion_fd(),
        }
    }

    fn submit(&mut self, ram: &GuestRam, token: u16, operation: Operation<'_>) -> Submitted {
        match operation {
            Operation::Read { offset, into } => {
                self.transfer(ram, token, Direction::Read, offset, into)
            }
            Operation::Write {
                offset,
                from,
                stable,
            } => self.transfer(ram, token, Direction::Write { stable }, offset, from),
            Operation::Flush => self.begin(token, Work::Flush),
        }
    }

    fn start(&mut self) {
        if let Engine::Ring(ring) = &mut self.engine {
            ring.start();
        }
    }

    fn acknowledge(&mut self) {
        match &mut self.engine {
            // Taking the completions is enough.
            Engine::Ring(_) => {}
            Engine::Pool(pool) => pool.acknowledge(),
        }
    }

    fn next_completion(&mut self) -> Option<Completion> {
        match &mut self.engine {
            Engine::Ring(ring) => ring.next_completion(),
            Engine::Pool(pool) => pool.next_completion(),
        }
    }

    fn cancel(&mut self) {
        match &mut self.engine {
            Engine::Ring(ring) => ring.cancel(),
            Engine::Pool(pool) => pool.cancel(),
        }
    }
}
