//! The initrd.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::kernel::Kernel;
use crate::machine::Error;
use crate::machine::layout::AddressMap;

/// An initrd in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initrd {
    /// First address.
    pub(super) start: u64,
    /// Bytes.
    pub(super) len: u64,
}

const PAGE: u64 = 4096;

/// Loads the initrd at `path` as high in low RAM as the kernel allows.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    map: &AddressMap,
    kernel: &Kernel,
    path: &Path,
) -> Result<Initrd, Error> {
    let unreadable = |why| Error::Unreadable {
        what: "initrd",
        path: path.to_owned(),
        why,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;

    let start = place(map.low_ram, kernel, len, path)?;
    // In pieces, so that reading never asks for more than the file has.
    let bytes = usize::try_from(len).map_err(|_| Error::InitrdOutOfReach {
        path: path.to_owned(),
        size: len,
    })?;
    memory
        .read_exact_volatile_from(GuestAddress(start), &mut file, bytes)
        .map_err(|why| unreadable(io::Error::other(why)))?;
    Ok(Initrd { start, len })
}

/// Where an initrd of `len` bytes goes.
fn place(low_ram: u64, kernel: &Kernel, len: u64, path: &Path) -> Result<u64, Error> {
    let room = len.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    let need = kernel.end.next_multiple_of(PAGE).saturating_add(room);
    let reach = kernel.initrd_max.saturating_add(1) & !(PAGE - 1);
    if need > reach.min(super::super::layout::LOW_RAM_LIMIT) {
        return Err(Error::InitrdOutOfReach {
            path: path.to_owned(),
            size: len,
        });
    }
    if need > low_ram {
        return Err(Error::InitrdTooLarge {
            path: path.to_owned(),
            size: len,
            need,
        });
    }
    Ok(low_ram.min(reach) - room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::boot::Entry;

    const MIB: u64 = 1 << 20;

    fn kernel() -> Kernel {
        Kernel {
            entry: Entry::Pvh { rip: 0 },
            setup: None,
            end: 40 * MIB + 1,
            initrd_max: 0x7fff_ffff,
            command_line_limit: 2047,
        }
    }

    fn placed(low_ram: u64, len: u64) -> Result<u64, Error> {
        place(low_ram, &kernel(), len, Path::new("initrd.img"))
    }

    #[test]
    fn it_goes_to_the_top_of_what_the_kernel_reaches() {
        assert_eq!(placed(64 * MIB, MIB + 1).unwrap(), 63 * MIB - PAGE);
        assert_eq!(placed(3 << 30, MIB).unwrap(), (2 << 30) - MIB);
    }

    #[test]
    fn it_never_overlaps_the_kernel() {
        let most = 24 * MIB - PAGE;
        assert_eq!(placed(64 * MIB, most).unwrap(), 40 * MIB + PAGE);
        let error = placed(64 * MIB, most + 1).unwrap_err();
        assert!(error.is_users());
        let message = error.to_string();
        assert!(message.contains("initrd.img"), "{message}");
        assert!(message.contains("--memory 65M"), "{message}");
    }

    #[test]
    fn no_memory_helps_an_initrd_out_of_reach() {
        for len in [2 << 30, u64::MAX] {
            assert!(matches!(
                placed(3 << 30, len),
                Err(Error::InitrdOutOfReach { .. })
            ));
        }
    }

    #[test]
    fn a_missing_initrd_and_a_directory_are_told() {
        let map = AddressMap::new(64 * MIB, 40).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)]).unwrap();
        for path in ["/nonexistent/initrd", "/"] {
            let error = load(&memory, &map, &kernel(), Path::new(path)).unwrap_err();
            assert!(error.is_users());
            assert!(
                error.to_string().starts_with("cannot read the initrd /"),
                "{error}"
            );
        }
    }
}
