//! Disk images: raw files and block devices of the host behind the guest's block devices.
//!
//! * `open`: from a value of `--disk` to an open and locked image.
//! * `flushes`: flushes, and what is lost when one has failed.
//! * `transfer`: data between image and guest memory.
//! * `ring`, `pool`: two ways to transfer without blocking the device: io_uring if the host has it,
//!   otherwise threads.

#[cfg(test)]
mod failure_tests;
mod flushes;
#[cfg(test)]
mod hang_tests;
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
use std::time::Duration;

use stickler_devices::block::disk::{Completion, Disk, Operation, Properties, Segment, Submitted};
use stickler_devices::memory::GuestRam;

use flushes::{Admission, Durability, FlushQueue};
pub use open::{DiskSpec, OpenError};
use pool::Pool;
use ring::Ring;
use transfer::{Direction, Transfer};

/// An open disk image.
pub struct DiskImage {
    properties: Properties,
    engine: Engine,
    flushes: FlushQueue,
    durability: Arc<Durability>,
    /// Released when all operations have ended: after `engine`.
    lock: File,
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
    fn new(image: &ImageFiles, kind: EngineKind) -> io::Result<Self> {
        Ok(match kind {
            EngineKind::Ring => Engine::Ring(Box::new(Ring::new(image)?)),
            EngineKind::Pool => Engine::Pool(Pool::new(image)?),
        })
    }
}

/// An image as engines use it.
struct ImageFiles {
    data: Arc<File>,
    /// Another open file, for flushes: the kernel tells each open file once that something could not be written, and a
    /// failed write must not be what was told.
    sync: Arc<File>,
    durability: Arc<Durability>,
}

/// How long a driver's vCPU waits at most for operations to end that were cancelled.
const PATIENCE: Duration = Duration::from_millis(100);

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
        DiskImage::with(spec, &[EngineKind::Ring, EngineKind::Pool])
    }

    /// As [`open`](Self::open), with an engine of the caller's choice.
    ///
    /// # Errors
    /// As [`open`](Self::open), or if the host does not have the engine.
    pub fn open_with(spec: &DiskSpec, engine: EngineKind) -> Result<Self, OpenError> {
        DiskImage::with(spec, &[engine])
    }

    /// With the first of `kinds`, of which there is one at least, that the host has.
    fn with(spec: &DiskSpec, kinds: &[EngineKind]) -> Result<Self, OpenError> {
        let opened = open::open(spec)?;
        let durability = Arc::new(Durability::of(spec.path.display().to_string()));
        let image = ImageFiles {
            data: Arc::new(opened.file),
            sync: Arc::new(opened.sync),
            durability: durability.clone(),
        };
        let mut engine = Err(io::ErrorKind::Unsupported.into());
        for kind in kinds {
            if engine.is_err() {
                engine = Engine::new(&image, *kind);
            }
        }
        Ok(DiskImage {
            properties: opened.properties,
            engine: engine.map_err(|e| OpenError::no_engine(spec, &e))?,
            flushes: FlushQueue::default(),
            durability,
            lock: opened.lock,
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

impl Drop for DiskImage {
    fn drop(&mut self) {
        self.cancel();
        if !self.is_quiet() {
            // What hangs may still write: the image stays locked until the process ends.
            if let Ok(lock) = self.lock.try_clone() {
                std::mem::forget(lock);
            }
        }
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
            Operation::Flush => match self.flushes.admit(token, &self.durability) {
                Admission::Begin => self.begin(token, Work::Flush),
                Admission::Wait => Submitted::Pending,
                Admission::Refuse => Submitted::Done(Err(flushes::refusal())),
            },
        }
    }

    fn start(&mut self) {
        if let Engine::Ring(ring) = &mut self.engine {
            ring.start();
        }
    }

    fn is_stalled(&self) -> bool {
        matches!(&self.engine, Engine::Ring(ring) if ring.is_stalled())
    }

    fn acknowledge(&mut self) {
        match &mut self.engine {
            // Taking the completions is enough.
            Engine::Ring(_) => {}
            Engine::Pool(pool) => pool.acknowledge(),
        }
    }

    fn next_completion(&mut self) -> Option<Completion> {
        if let Some(token) = self.flushes.next_refused() {
            let result = Err(flushes::refusal());
            return Some(Completion { token, result });
        }
        let completion = match &mut self.engine {
            Engine::Ring(ring) => ring.next_completion(),
            Engine::Pool(pool) => pool.next_completion(),
        }?;
        if let Some(next) = self.flushes.ended(completion.token, &self.durability) {
            // Engines report the end of a flush later.
            let _ = self.begin(next, Work::Flush);
            self.start();
        }
        Some(completion)
    }

    fn cancel(&mut self) {
        self.flushes.clear();
        match &mut self.engine {
            Engine::Ring(ring) => ring.cancel(),
            Engine::Pool(pool) => pool.cancel(),
        }
    }

    fn is_quiet(&mut self) -> bool {
        match &mut self.engine {
            Engine::Ring(ring) => ring.is_quiet(),
            Engine::Pool(pool) => pool.is_quiet(),
        }
    }
}
