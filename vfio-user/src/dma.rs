//! The memory that the client shares at present.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{fcntl_getfl, fstat};
use rustix::io::Errno;

use crate::request::Map;

/// The most mappings at a time. The client is told so.
pub const MAX_MAPPINGS: usize = 1024;

/// Mappings begin and end at multiples of so many bytes, in the address space and in the file.
pub const PAGE: u64 = 4096;

/// Memory that the client shares.
#[derive(Clone, Debug)]
pub struct DmaMapping {
    /// Its address on the device's bus.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Where in the file it is, bytes.
    pub offset: u64,
    /// The device may read it.
    pub readable: bool,
    /// The device may write it.
    pub writable: bool,
    /// Without a file, the device cannot reach it.
    pub file: Option<Arc<OwnedFd>>,
}

impl DmaMapping {
    /// The address behind its last byte.
    pub fn end(&self) -> u64 {
        self.address + self.size
    }
}

/// All memory that the client shares, by rising address; no two mappings overlap.
#[derive(Clone, Debug, Default)]
pub struct DmaTable(BTreeMap<u64, DmaMapping>);

impl DmaTable {
    /// The mappings by rising address.
    pub fn iter(&self) -> impl Iterator<Item = &DmaMapping> {
        self.0.values()
    }

    /// Adds what the client shares.
    ///
    /// # Errors
    /// EINVAL if it is not of whole pages, is empty, or reaches beyond the last address or the largest
    /// offset of a file; EEXIST if it overlaps another mapping; ENOSPC if there are too many.
    pub fn map(&mut self, map: Map) -> Result<(), Errno> {
        let Map {
            readable,
            writable,
            offset,
            address,
            size,
            file,
        } = map;
        let whole = [address, size].iter().all(|n| n.is_multiple_of(PAGE))
            && (file.is_none() || offset.is_multiple_of(PAGE));
        let end = address.checked_add(size);
        let in_file = offset
            .checked_add(size)
            .is_some_and(|end| i64::try_from(end).is_ok());
        let (Some(end), true, true, true) = (end, whole, size != 0, in_file) else {
            return Err(Errno::INVAL);
        };
        let below = self.0.range(..end).next_back();
        if below.is_some_and(|(_, other)| other.end() > address) {
            return Err(Errno::EXIST);
        }
        if self.0.len() >= MAX_MAPPINGS {
            return Err(Errno::NOSPC);
        }
        let file = file.map(|file| self.once(file));
        let mapping = DmaMapping {
            address,
            size,
            offset,
            readable,
            writable,
            file,
        };
        self.0.insert(address, mapping);
        Ok(())
    }

    /// The mapping that begins at `address`.
    pub fn get(&self, address: u64) -> Option<&DmaMapping> {
        self.0.get(&address)
    }

    /// The same open file, by a descriptor that is kept already where there is one: a client sends another
    /// descriptor with each mapping, and this process may have few.
    fn once(&self, file: OwnedFd) -> Arc<OwnedFd> {
        let identity = |fd: &OwnedFd| {
            let (stat, flags) = (fstat(fd).ok()?, fcntl_getfl(fd).ok()?);
            Some((stat.st_dev, stat.st_ino, flags))
        };
        let kept = self.0.values().filter_map(|mapping| mapping.file.as_ref());
        let new = identity(&file);
        let mut kept = kept.filter(|kept| new.is_some() && identity(kept) == new);
        match kept.next() {
            Some(kept) => kept.clone(),
            None => Arc::new(file),
        }
    }

    /// Removes the mapping of just these bytes.
    ///
    /// # Errors
    /// ENOENT if there is none.
    pub fn unmap(&mut self, address: u64, size: u64) -> Result<(), Errno> {
        match self.0.get(&address) {
            Some(mapping) if mapping.size == size => {
                self.0.remove(&address);
                Ok(())
            }
            _ => Err(Errno::NOENT),
        }
    }

    /// Removes all mappings.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
